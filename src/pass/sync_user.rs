//! One user's sync, and all the ways in which it can end.

use crate::config::choices::UserLines;
use crate::limits::deadlines::RECORD_RESERVE;
use crate::limits::retry::Deadline;
use crate::pass::account::{keys_to_account, same_account};
use crate::pass::context::PassContext;
use crate::pass::failure::{Cause, Failure};
use crate::pass::log_lines::{tell_left_alone, tell_no_snapshot, tell_start, tell_synced};
use crate::pass::plan::{LeftAlone, SyncPlan, SyncSteps};
use crate::pass::set_aside::{Lap, SetAside, TurnEnd};
use crate::pass::snapshot_write::{SnapshotWrite, Written, key_path};
use crate::pass::sync_outcome::{NoSnapshot, SyncOutcome};
use crate::pass::tenant_write::tenant_lookup;
use crate::pass::user_record::UserRecord;
use std::sync::Arc;
use tokio::time::Instant;

/// Does for one user what the plan says, within the user's own 20 s, and says it in the log. Whatever becomes of one
/// user hurts nobody else.
///
/// # The documents
///
/// The snapshot is `users/{userId}/alpacaAccounts/snapshot`, the state `users/{userId}/alpacaAccounts/sync`, the
/// tenant's document `tenants/{tenantId}/accounts/primary`. A dry run reads and asks the same, and writes none of them.
///
/// # The steps
///
/// Every call is tried up to three times within the user's time, with a server's hint how long to wait if that fits
/// (`limits/retry.rs`); who waits holds no slot, and slows down only those who have the same keys.
///
/// 1. The line "Syncing" (INFO). An id that can name no secret fails here (`user_id_invalid`): nothing is asked.
/// 2. The tenant lookup, where the page's is missing or too old.
/// 3. The keys: those that a loop kept, and if Alpaca rejects them and the newest version is another, that.
/// 4. The account. If there is cause to suspect that it is another than this key version's last one, the snapshot is
///    read; if that names another account, and `keys_updated_at` is no newer, Alpaca is asked once more on a new
///    connection, and the known account is used with a WARNING, if it comes then; if not, the user fails
///    (`broker_other_account`, or with that call's failure). Cause is the account in the user's own tenant document, the
///    one that an earlier pass of this loop saw, or `--pin-accounts`; without any, another account is simply
///    written. Of the legacy account the second answer is used whatever it is.
/// 5. One commit of the snapshot, the tenant's document where the rules allow it, the end of a state of trouble, and
///    with `--equity-history` the entry of a new slot, which is written also where the others are left as they are. If
///    one document alone may be the cause of its failure (invalid, contended, changed, no answer in time) they are
///    written apart, or a changed tenant's document is decided anew, and a WARNING says what is missing. If it is not
///    (Firestore unavailable, everything forbidden), the user fails. Where the rules do not allow the tenant's
///    document, a line says so (DEBUG for a second member, mostly WARNING else) and the user is synced without it; with
///    `--legacy-tenant-path off` there is none. In a pass over everybody a member takes it over (INFO) if `owner_uid`
///    names them, or if it names no member, the owner is gone and the figures are older than they promise (5 min; in a loop with
///    `--readers fresh-until` more); that an owner who
///    stays has old ones is a WARNING, once an hour.
///
/// Nothing is written of an account that was read more than 10 s after the question, or after the user's time: whoever
/// stood still, stopped or starved, fails with `broker_unavailable` or `store_unavailable`, unless there is time to ask
/// anew. Whose 20 s are over fails with the `…_unavailable` of the step that they were at, and is set aside as for an
/// outage.
///
/// # How it ends
///
/// The INFO lines come with `--user-lines all`; a dry run says "Would have synced".
///
/// | end | when | last line | counts as | next pass |
/// |---|---|---|---|---|
/// | [`LeftAlone`], nothing asked or written; lines without a code unless one is named | `Paused` by the user's document | INFO "Skipped" | skipped | the same |
/// | | `UnreadableSwitch`: the switch is no boolean | WARNING "Skipped" | skipped | the same |
/// | | `WaitsForReauth`: Alpaca rejected these keys twice | INFO "Skipped" | skipped, `needs_reauth` | a look at the secret every 5 min; Alpaca after 15 min, 1 h, 6 h, then every 24 h |
/// | | `WaitsForKeys`: failing for over an hour with `keys_missing`, or `keys_forbidden` and never synced | INFO "Skipped" with that code | skipped | a look once in 5 min, or at once when `keys_updated_at` is set; without keys it ends as the first time |
/// | | `NotLookedAt`: no keys when last looked, and the pass was stopped before their turn | INFO "Skipped" | skipped | the same |
/// | | `Missing`: named by a person, but there is none | ERROR "Failed" | failed, `user_unknown` | |
/// | [`LeftAlone`] after the keys were read | the secret still holds the keys that Alpaca rejects: it is not asked | INFO "Skipped" | skipped, `needs_reauth` | as `WaitsForReauth` |
/// | the same after Alpaca was asked | `Gone`: in a loop, the snapshot that it wrote was deleted, and so was the user; who was created again meanwhile is another | INFO "Skipped" | skipped | none; the other is read by name |
/// | the same before or after | `Gone`, `Paused` or `UnreadableSwitch`: a loop kept the user, did not read them in this pass, and is about to tell and record `keys_missing`, `keys_forbidden`, `keys_disabled` or `broker_rejected`, which was not recorded of them. Then it looks first whether the document is still there, by name, and forgets the keys if not, or if it is paused; if it cannot be read, the failure counts | as of those | skipped | none; the same |
/// | [`SyncOutcome::Synced`] | all steps; with figures an account of any status | INFO "Successfully synced" | success | all steps |
/// | [`SyncOutcome::Unchanged`] | in a loop: the documents that it wrote say it already, and are young enough | the same | success, `unchanged` | all steps |
/// | [`SyncOutcome::NoSnapshot`] | no keys that can be used: `keys_missing`, `keys_forbidden`, `keys_disabled`, `keys_malformed`, `keys_unavailable` | ERROR "Could not retrieve" | failed | all steps; once `keys_missing` is recorded, after everybody else (`SetAside`); until `WaitsForKeys` |
/// | | a 401 or 403 with Alpaca's own JSON error: `broker_rejected` | ERROR "Failed" | failed | all steps; after the second in a row `WaitsForReauth` |
/// | | any other answer of an edge, a 5xx, none: `broker_unavailable`; 429: `broker_rate_limited` | ERROR "Failed" | failed | all steps |
/// | | no JSON (asked once more), no usable figure or block flag: `broker_bad_answer` | ERROR "Failed" | failed | all steps |
/// | | figures are missing, and the status is one of accounts that are not open (`NOT_OPEN`, `model/account.rs`; with any other `broker_bad_answer`): `account_incomplete` | INFO "Skipped" | skipped | all steps |
/// | | step 4's other account: `broker_other_account` | ERROR "Failed" | failed | all steps |
/// | | Firestore: `store_unavailable`, `store_rejected` | ERROR "Failed" | failed | all steps |
/// | | already in `needs_reauth`, and nothing new of the keys: rejected again, or any failure but `keys_missing` before Alpaca took them, unless another version was read | INFO "Skipped" with the failure's code | skipped, `needs_reauth` | as `WaitsForReauth`; a rejection sets the next attempt when the pass closes |
/// | | step 1's id: `user_id_invalid` | ERROR "Failed" | failed | the same |
/// | [`SyncOutcome::Panicked`] | a bug: `internal` | ERROR "Failed" | failed | all steps, or as `WaitsForReauth` |
/// | [`TurnEnd::SetAside`], first lap only | what may pass (`…_unavailable`, unless the same would fail again: Secret Manager refuses, a token that cannot be had, a conflict at commit; the host asked for more than 20 s; or the job's budget of calls ran out; 10,000 places), but nobody who counts as `needs_reauth`; or, not tried yet, `keys_missing` when last looked | none yet | until then as it is | in this pass: another turn when all others had theirs, for the former with 10 s and one attempt for each call but the commit and the record; if the pass is told to stop before, the first turn's failure is told and counted, and not recorded |
/// | none | not begun, as the pass's time was over or it was told to stop | none | `not_reached`, if it was the time; nowhere, if a signal | comes first |
/// | | the pass was told to stop, and this sync was given up 8 s later, in the first lap | none | nowhere | a retry does it |
///
/// A person's own run (`--user`) never waits: it always reads the newest keys and asks Alpaca. A user who is deleted
/// meanwhile is synced all the same, unless their snapshot went with them. For the exit code see `run_pass`.
///
/// # What is recorded of a failure
///
/// State "incomplete" for `account_incomplete`, "retrying" for all else, with since when; not again if it says so
/// already. At once, but a rejection of stored keys in a pass over everybody, and a panic, when the pass closes; if the
/// record fails, a WARNING says so, and it is left to the next pass:
///
/// - The second rejection in a row (of the same key version, with no other failure recorded between) makes it
///   "needs_reauth", unless the fleet guard holds that back (`model/fleet_guard.rs`: at least 3 rejected who may have
///   worked before, and more than a fifth of them and the accepted, at one of Alpaca's hosts; CRITICAL). Held back,
///   nobody becomes "needs_reauth", and who is in it is asked again in the next pass; but not those who have failed
///   for an hour while the host takes the keys of others.
/// - An acceptance, for the guard, is an account that could be read, or one that is not open: whatever fails after it
///   does not undo it. An answer that cannot be used is none, and nor is any of a person's own run.
/// - Who is in "needs_reauth" stays there, unless there is news: the secret is gone, it holds another version, or
///   Alpaca took the keys.
/// - In a person's own run a rejection is recorded at once as "retrying", and never counts as one of two in a row.
/// - The legacy account has no state.
/// - When the pass closes, 10,000 users at most are recorded (1,000 where a state is only to be completed), of a pass
///   that was cut short only those behind the cursor, and with several tasks nobody; none whose state somebody wrote
///   since. The others come in a later pass, if it happens again.
///
/// Where the states could not be read ([`PreviousState::Unknown`](crate::model::sync_state::PreviousState)), an ERROR
/// says so once. For users after that point, as always for the legacy account, nothing is recorded, nothing is skipped
/// as unchanged, no snapshot promises more than 300 s, a success ends no state, who is rejected is asked again, and the
/// guard counts no rejection.
pub(crate) async fn sync_user(
    pass: Arc<PassContext>,
    user: Box<UserRecord>,
    plan: SyncPlan,
    lap: Lap,
) -> TurnEnd {
    let (start, lines) = (Instant::now(), pass.clients.config.user_lines);
    let steps = match plan {
        SyncPlan::Sync(steps) => steps,
        SyncPlan::SetAside => return TurnEnd::SetAside(Box::new(SetAside::untried(user))),
        SyncPlan::LeaveAlone(reason) => return left_alone(&user, reason, start, lines),
    };
    if !matches!(lap, Lap::Second(_)) {
        tell_start(&user, lines);
    }
    let deadline = lap.deadline();
    match take_steps(&pass, &user, &steps, deadline.less(steps.record_reserve())).await {
        Ok(Ok(written)) => {
            tell_synced(&pass.clients, &user, &written, start);
            TurnEnd::Outcome(written.outcome())
        }
        Ok(Err(reason)) => left_alone(&user, reason, start, lines),
        Err(failure) => {
            let judged = failure.judged(&user.previous, steps.on_failure);
            if judged.is_failure() && user.may_be_gone(failure.code()) {
                // Boxed, as most users do not fail, and all would have to carry it; as is what follows.
                let by_now = Box::pin(left_by_now(&pass, &user, deadline.tried_as_usual())).await;
                if let Some(reason) = by_now {
                    return left_alone(&user, reason, start, lines);
                }
            }
            let may_wait = matches!(lap, Lap::First) && judged.is_failure() && failure.may_pass();
            if may_wait && pass.places.take_failed() {
                return TurnEnd::SetAside(Box::new(SetAside::failed(user, failure, judged, start)));
            }
            let failure = lap.telling(Arc::new(failure));
            tell_no_snapshot(&user.reference(), &failure, judged.counts_as, start, lines);
            if judged.is_left_to_closing() {
                return TurnEnd::Outcome(SyncOutcome::NoSnapshot(judged));
            }
            let (recorder, deadline) = (pass.recorder(), deadline.tried_as_usual());
            let past = recorder.learn_past_and_record(&user, &failure, steps.on_failure, deadline);
            TurnEnd::Outcome(SyncOutcome::NoSnapshot(NoSnapshot { past: Box::pin(past).await, ..judged }))
        }
    }
}

/// Tenant lookup, keys, account, snapshot; or why the user is left alone after all: the keys are still those that Alpaca
/// is known to reject, or the user is gone.
async fn take_steps(
    pass: &PassContext,
    user: &UserRecord,
    steps: &SyncSteps,
    deadline: Deadline,
) -> Result<Result<Written, LeftAlone>, Failure> {
    let keys = steps.keys.as_ref().map_err(|invalid| Failure::NotAsked(Cause::Id(*invalid)))?;
    let lookup = tenant_lookup(pass, user, deadline).await;
    let lookup = lookup.map_err(|err| Failure::NotAsked(Cause::Store(err)))?;
    let source = (keys, pass.last_change(user));
    let found = keys_to_account(pass, source, steps.permits_with_keys(), deadline).await?;
    let Some(found) = found else { return Ok(Err(LeftAlone::WaitsForReauth)) };
    let found = same_account(pass, user, &lookup, found, deadline).await?;
    let key_path = key_path(pass, user);
    let write = SnapshotWrite::new(pass, user, lookup, &found, key_path.as_deref());
    let mut write = write.with_entry_in(steps.equity_slot);
    // What was learned is not lost for one attempt that failed, whichever lap it is.
    // Boxed, as those who wait for the calls before need none of it, and they may be many.
    let written = Box::pin(write.write(steps.may_skip_write, deadline.tried_as_usual())).await;
    let failed = |err| Failure::KeysAccepted(Cause::Store(err), found.keys.tried());
    let Some(mut written) = written.map_err(failed)? else {
        pass.clients.forget_keys(user.id());
        return Ok(Err(LeftAlone::Gone));
    };
    if let Some(differences) = &pass.memory.differences {
        let difference = Box::pin(write.difference(deadline)).await.map_err(failed)?;
        differences.add(&difference);
        written.difference = Some(difference);
    }
    pass.memory.remember_account(user.id(), &found.answer.account);
    Ok(Ok(written))
}

/// Why a user whom a loop has only kept is to be left alone, by what there is of them now: gone, or paused, as they are
/// first who are going. Nothing where nobody says.
async fn left_by_now(pass: &PassContext, user: &UserRecord, deadline: Deadline) -> Option<LeftAlone> {
    // The record matters more, when there may be no time for both.
    let now = pass.user_now(&user.user, deadline.less(RECORD_RESERVE / 2)).await.ok()?;
    let reason = now.map_or(Some(LeftAlone::Gone), |user| LeftAlone::by_switch(user.sync))?;
    pass.clients.forget_keys(user.id());
    Some(reason)
}

fn left_alone(user: &UserRecord, reason: LeftAlone, start: Instant, lines: UserLines) -> TurnEnd {
    tell_left_alone(&user.reference(), reason, start, lines);
    TurnEnd::Outcome(SyncOutcome::LeftAlone(reason))
}
