//! One user's way: keys, account, snapshot.

use crate::limits::deadlines::USER_BUDGET;
use crate::limits::retry::Deadline;
use crate::pass::account::{keys_to_account, same_account};
use crate::pass::context::PassContext;
use crate::pass::failure::{Cause, Failure};
use crate::pass::log_lines::{tell_failed, tell_not_synced, tell_panicked, tell_start};
use crate::pass::plan::{NotSynced, SyncPlan, SyncSteps};
use crate::pass::snapshot_write::{SnapshotWrite, Written, key_path};
use crate::pass::state_records::record_failure;
use crate::pass::sync_outcome::{Failed, SyncOutcome};
use crate::pass::tenant_write::tenant_lookup;
use crate::pass::user_record::{UserRecord, UserRef};
use std::sync::Arc;
use tokio::time::Instant;

/// Does for one user what the plan says, within the user's own time, and says it in the log. What becomes of it hurts
/// nobody else.
///
/// - Paused, unreadable switch, waiting for re-authentication, missing: the plan is to do nothing ([`NotSynced`]).
/// - The same keys: the secret was looked at, and still holds those that Alpaca rejects. The user goes on waiting.
/// - Synced, or unchanged in a loop: [`SyncOutcome`]. A tenant's document that the rules refuse is only left out.
/// - Another account than these keys had: Alpaca is asked once more; if it is another again, the user fails.
/// - Failed: [`Failure`] says how. It is recorded at once as far as the plan says
///   ([`OnFailure`](crate::pass::plan::OnFailure)); a rejection of the keys waits until the pass closes.
pub(crate) async fn sync_user(pass: Arc<PassContext>, user: Box<UserRecord>, plan: SyncPlan) -> SyncOutcome {
    let start = Instant::now();
    let steps = match plan {
        SyncPlan::Sync(steps) => steps,
        SyncPlan::Nothing(reason) => return not_synced(&user, reason, start),
    };
    tell_start(&user);
    let deadline = Deadline::after(USER_BUDGET);
    match keys_to_snapshot(&pass, &user, &steps, deadline.less(steps.record_reserve())).await {
        Ok(Some(written)) => {
            pass.clients.writer.tell_synced(user.id(), &written, start);
            written.outcome()
        }
        // The secret still holds the keys that Alpaca is known to reject.
        Ok(None) => not_synced(&user, NotSynced::WaitsForReauth, start),
        Err(failure) => {
            let failed = failure.outcome(&user.previous, steps.on_failure);
            tell_failed(&user, &failure, failed.counts_as, start);
            if failed.is_judged_at_close() {
                return SyncOutcome::Failed(failed);
            }
            // Boxed, as most users do not fail, and all would have to carry it.
            let recorded = record_failure(&pass.clients, &user, &failure, steps.on_failure, deadline);
            SyncOutcome::Failed(Failed { past: Box::pin(recorded).await, ..failed })
        }
    }
}

/// The way itself: keys, account, snapshot. Nothing when it ended with the keys, as Alpaca is known to reject them.
async fn keys_to_snapshot(
    pass: &PassContext,
    user: &UserRecord,
    steps: &SyncSteps,
    deadline: Deadline,
) -> Result<Option<Written>, Failure> {
    let keys = steps.keys.as_ref().map_err(|invalid| Failure::NotAsked(Cause::Id(*invalid)))?;
    let lookup = tenant_lookup(pass, user, deadline).await;
    let lookup = lookup.map_err(|err| Failure::NotAsked(Cause::Store(err)))?;
    let found = keys_to_account(pass, keys, steps.permits_with_keys(), deadline).await?;
    let Some(found) = found else { return Ok(None) };
    let found = same_account(pass, user, &lookup, found, deadline).await?;
    let key_path = key_path(pass, user);
    let write = SnapshotWrite::new(pass, user, lookup, &found, key_path.as_deref());
    let written = write.write(steps.may_skip_write, deadline).await;
    let written = written.map_err(|err| Failure::NoSnapshot(Cause::Store(err), found.keys.tried()))?;
    pass.memory.remember_account(user.id(), &found.answer.account);
    Ok(Some(written))
}

fn not_synced(user: &UserRecord, reason: NotSynced, start: Instant) -> SyncOutcome {
    tell_not_synced(user, reason, start);
    SyncOutcome::NotSynced(reason)
}

/// A bug: the user's task panicked, whom this is about.
pub(crate) fn panicked(user: &UserRef) -> SyncOutcome {
    tell_panicked(&user.id);
    SyncOutcome::Panicked
}
