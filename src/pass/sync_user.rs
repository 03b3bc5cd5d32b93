//! One user's sync, and all the ways in which it can end.

use crate::limits::retry::Deadline;
use crate::pass::account::{keys_to_account, same_account};
use crate::pass::context::PassContext;
use crate::pass::failure::{Cause, Failure};
use crate::pass::log_lines::{tell_left_alone, tell_no_snapshot, tell_start, tell_synced};
use crate::pass::plan::{LeftAlone, SyncPlan, SyncSteps};
use crate::pass::set_aside::{Lap, SetAside, TurnEnd};
use crate::pass::snapshot_write::{SnapshotWrite, Written, key_path};
use crate::pass::state_records::learn_past_and_record;
use crate::pass::sync_outcome::{NoSnapshot, SyncOutcome};
use crate::pass::tenant_write::tenant_lookup;
use crate::pass::user_record::UserRecord;
use std::sync::Arc;
use tokio::time::Instant;

/// Does for one user what the plan says, within the user's own time, and says it in the log. Whatever becomes of one
/// user hurts nobody else.
///
/// Nothing is written of an account that was read more than 10 s after the question, or after the user's time: whoever
/// stood still, stopped or starved, fails with `broker_unavailable` or `store_unavailable`, unless there is time to ask
/// anew.
///
/// The steps, unless the plan is to leave the user alone: the line "Syncing" (INFO); the tenant lookup (read where the
/// page's is missing or too old: users who need re-authentication have none from the page); the keys (those that a loop
/// kept, and if Alpaca rejects them, the newest); the account (if it is another than these keys are known to have,
/// Alpaca is asked once more, over a new connection: if that is the known one, a WARNING says so and it is used; if
/// not, the user fails, `broker_other_account`, though Alpaca took the keys; of the legacy account the second answer is
/// used whatever it is); the snapshot. An id that can name no secret fails right after the line "Syncing"
/// (`user_id_invalid`): nothing is looked up or asked.
///
/// A user who is deleted meanwhile is synced all the same, from the document that was read; of one whom the pass did
/// not meet, only the state is removed when it closes (`LeftOvers`).
///
/// How it ends. For each: what is read, asked and written; the last line; what the user counts as; what the next pass
/// does. "State" is `users/{userId}/alpacaAccounts/sync`. A dry run does the same, but writes and records nothing.
///
/// - [`LeftAlone`], by the plan: no step is taken, nothing is written.
///   - `Paused`: INFO "Skipped"; skipped. `UnreadableSwitch`: the same, at WARNING. Next: the same, until the user's
///     document is changed.
///   - `WaitsForReauth`, never in a person's own run: INFO "Skipped"; skipped, and as needing re-authentication. Next:
///     the same, until the secret is to be looked at, or Alpaca to be asked again. If the state lacks since when the
///     user fails, that is left to the closing.
///   - `WaitsForKeys`, never in a person's own run: INFO "Skipped"; skipped. Next: the same, until the secret is to be
///     looked at, or `keys_updated_at` of the user's document is set.
///   - `Missing`, only in a person's own run: ERROR "Failed"; failed (`user_unknown`).
/// - [`LeftAlone::WaitsForReauth`], after a look at the secret: tenant lookup and newest keys are read. They are still
///   those that Alpaca rejects: it is not asked, nothing is written. The rest as above.
/// - [`SyncOutcome::Synced`]: all steps. One commit writes the snapshot, the tenant's document where the rules allow
///   it, "ok" into the state of a user who was in trouble, and with `--equity-history` the slot's entry. If the tenant's document changed meanwhile, it is
///   decided anew; refused together, or not answered in time, they are written apart, and a WARNING says what is
///   missing. Where the rules do not allow the tenant's document (whose it is may have to be read first), a line says
///   so on the way, DEBUG for a second member and mostly WARNING else, and the user is synced all the same. A member
///   may also take over the document of an owner who is gone, or whom `owner_uid` does not name: INFO "is to take the
///   account over". INFO "Successfully synced" (dry run: "Would have synced"); success, and for the fleet guard an
///   acceptance. Next: all steps again.
/// - [`SyncOutcome::Unchanged`], in a loop: all steps, but the documents that this process wrote say it already, and
///   are younger than `--refresh-unchanged`: nothing is written but an entry of the equity history. Line and count as `Synced`, with `unchanged`. Next:
///   all steps again.
/// - [`SyncOutcome::NoSnapshot`]: the steps up to the [`Failure`], which says why. ERROR "Could not retrieve" for the
///   codes `keys_...`, "Failed" for all others (`broker_...`, `store_...`, `user_id_invalid`); failed, by its code. But
///   INFO "Skipped" for an account that is not open yet (skipped), and, unless in a person's own run, where Alpaca was
///   known to reject the keys and nothing new was learned (skipped, and as needing re-authentication). If Alpaca took
///   the keys, that is an acceptance, unless in a person's own run.
///   - In a pass over everybody, a rejection of a stored key is left to the closing. Recorded, it makes the user
///     "retrying", and the second one in a row (of the same key version, with no other failure recorded between),
///     unless the fleet guard holds it back, "needs_reauth". The guard (`model/fleet_guard.rs`: at least 3 rejected,
///     and more than a fifth of them and the accepted, at one of Alpaca's hosts) counts only rejections of keys that
///     may have worked before, of users who are not in "needs_reauth" yet; one CRITICAL line for each such host says so
///     when the pass closes. It holds back rejections of keys that may have worked before: nobody becomes
///     "needs_reauth", and who is in it already rests no longer than before and is asked again in the next pass; but
///     not of users who have failed for an hour while the host takes the keys of others. Since when the user fails is
///     read at the closing. Next: all steps again; once "needs_reauth" is the state, the user waits, longer after each
///     rejection that counts.
///   - Any other failure there is recorded at once (as "incomplete" for an account that is not open yet, as "retrying"
///     for all else; not again if the state says so already). The snapshot is read first, in a dry run too, if no state
///     tells since when the user fails. Next: all steps again. Who is in "needs_reauth" stays there, unless that is
///     news: the secret is gone, it holds another version, or Alpaca took the keys.
///   - A person's own run: all failures are recorded at once, so is a rejection; but none counts as one of two in a
///     row, and who needed re-authentication still does, unless the account turns out not to be open yet.
///   - The legacy account: nothing is recorded, it has no state.
/// - [`SyncOutcome::Panicked`], a bug, after any step: ERROR "Failed"; failed (`internal`). Left to the closing: it is
///   recorded as "retrying", or "needs_reauth" stays. Next: as that says.
/// - No outcome: a pass that was told to stop starts nobody new, gives what is in flight 8 s, and then gave this sync
///   up. It is counted nowhere; a retry does it again.
///
/// Left to the closing means: recorded when the pass closes. But not in this pass, only in a later one if it happens
/// again: if 10,000 others came before it (1,000 where a state is only to be completed); if somebody wrote the state
/// since the pass started; and in a pass that was cut short, if the cursor has not passed the user, or the task is one
/// of several. The same holds, with a WARNING, for whatever cannot be recorded, or not in time.
///
/// Where the states could not be read ([`PreviousState::Unknown`](crate::model::sync_state::PreviousState)), an ERROR
/// says so once, and of users after that point, as always of the legacy account:
/// - those whom Alpaca rejects are asked about again, as nobody knows of it; keys kept by a loop are dropped;
/// - nothing is skipped as unchanged, and a success does not end a state;
/// - no failure is recorded, neither at once nor at the closing. The fleet guard does not count their rejections, which
///   may be old ones, but does count where Alpaca took their keys.
pub(crate) async fn sync_user(
    pass: Arc<PassContext>,
    user: Box<UserRecord>,
    plan: SyncPlan,
    lap: Lap,
) -> TurnEnd {
    let start = Instant::now();
    let steps = match plan {
        SyncPlan::Sync(steps) => steps,
        SyncPlan::SetAside => return TurnEnd::SetAside(Box::new(SetAside::untried(user))),
        SyncPlan::LeaveAlone(reason) => return left_alone(&user, reason, start),
    };
    if !matches!(lap, Lap::Second(_)) {
        tell_start(&user);
    }
    let deadline = lap.deadline();
    match take_steps(&pass, &user, &steps, deadline.less(steps.record_reserve())).await {
        Ok(Some(written)) => {
            tell_synced(&pass.clients.writer, user.id(), &written, start);
            TurnEnd::Outcome(written.outcome())
        }
        // The secret still holds the keys that Alpaca is known to reject.
        Ok(None) => left_alone(&user, LeftAlone::WaitsForReauth, start),
        Err(failure) => {
            let judged = failure.judged(&user.previous, steps.on_failure);
            let may_wait = matches!(lap, Lap::First) && judged.is_failure() && failure.may_pass();
            if may_wait && pass.places.take() {
                return TurnEnd::SetAside(Box::new(SetAside::failed(user, failure, judged, start)));
            }
            let failure = lap.telling(Arc::new(failure));
            tell_no_snapshot(&user.reference(), &failure, judged.counts_as, start);
            if judged.is_left_to_closing() {
                return TurnEnd::Outcome(SyncOutcome::NoSnapshot(judged));
            }
            // Boxed, as most users do not fail, and all would have to carry it.
            let past = learn_past_and_record(
                &pass.clients,
                &user,
                &failure,
                steps.on_failure,
                deadline.tried_as_usual(),
            );
            TurnEnd::Outcome(SyncOutcome::NoSnapshot(NoSnapshot { past: Box::pin(past).await, ..judged }))
        }
    }
}

/// Tenant lookup, keys, account, snapshot. Nothing when the keys are still those that Alpaca is known to reject.
async fn take_steps(
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
    let write = write.with_entry_in(steps.equity_slot);
    // What was learned is not lost for one attempt that failed, whichever lap it is.
    let written = write.write(steps.may_skip_write, deadline.tried_as_usual()).await;
    let written = written.map_err(|err| Failure::KeysAccepted(Cause::Store(err), found.keys.tried()))?;
    pass.memory.remember_account(user.id(), &found.answer.account);
    Ok(Some(written))
}

fn left_alone(user: &UserRecord, reason: LeftAlone, start: Instant) -> TurnEnd {
    tell_left_alone(&user.reference(), reason, start);
    TurnEnd::Outcome(SyncOutcome::LeftAlone(reason))
}
