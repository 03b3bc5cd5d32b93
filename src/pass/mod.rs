//! One pass over the users: who they are, what is done for each, what becomes of it, and how it ends.

mod account;
mod admission;
mod close;
mod context;
mod count;
mod differences;
mod failure;
mod fan_out;
mod kept;
mod known_accounts;
mod left_overs;
mod log_lines;
mod memory;
pub(crate) mod own_run;
mod plan;
mod set_aside;
mod snapshot_write;
mod state_records;
mod summary;
mod sync_outcome;
mod sync_user;
mod tally;
mod tenant_write;
mod turns;
mod user_pages;
mod user_record;
mod watched;
mod written_snapshots;

pub(crate) use crate::pass::context::PassContext;
pub(crate) use crate::pass::memory::Memory;
pub(crate) use crate::pass::summary::conclude_unbegun;

use crate::execution::assignment::TaskAssignment;
use crate::limits::slots::WorkSlot;
use crate::model::outcome::PassStatus;
use crate::pass::admission::Admission;
use crate::pass::close::Closing;
use crate::pass::fan_out::fan_out;
use crate::pass::set_aside::Lap;
use crate::pass::summary::PassEnd;
use crate::pass::sync_user::sync_user;
use crate::pass::tally::Tally;
use crate::pass::turns::{Begun, Turns, first_plan};
use crate::pass::user_pages::UserPages;
use crate::pass::user_record::UserRecord;
use crate::shutdown::Stop;
use futures::{StreamExt, stream};
use std::sync::Arc;
use tokio::time::Instant;

/// One pass over all users that are this task's. For each of them it is decided once what is done (`decide`), they
/// wait until that may begin (`Admission`), it is done in a task of its own ([`sync_user()`], where all the ways in
/// which it can end are listed), and what becomes of it is counted (`Tally`) and moves the cursor that a retried
/// attempt goes on from (`Checkpointer`). Some have another turn when all others had theirs (`Turns`). What only all
/// users together tell is judged, recorded and published at the end (`Closing`).
///
/// Whether another execution took over meanwhile is found out only at the closing: the users are done and counted all
/// the same, and `ops/last_pulse` is left alone (`execution/fence.rs`, WARNING). One user's failure changes no exit
/// code, unless nobody was synced and somebody failed, or with `--fail-on-error` (1); a pass whose time was over while
/// users were still to begin is 1, one that a signal stopped 143 or 130 (`commands/sync.rs`). Nobody is begun in the last 10 s of `--deadline` (in its second half, if it
/// is shorter than 20 s).
pub(crate) async fn run_pass(pass: PassContext, assignment: &TaskAssignment, stop: &Stop) -> PassStatus {
    let pass = Arc::new(pass);
    pass.memory.begin(pass.due, assignment.follows_others);
    pass.clients.begin_pass();
    let spread = stop.run_until_stopped(count::spread(&pass, &assignment.selection)).await.flatten();
    let admission = Admission::new(&pass.clients.limits, &pass.slots, spread);
    let mut pages = UserPages::start(pass.page_reader(), assignment.selection.clone());
    let legacy = pass.clients.config.legacy_account.clone().filter(|_| assignment.has_legacy_account);
    let checkpointer = assignment.checkpointer(&pass.clients);
    let rules = pass.rules();
    let records = stream::iter(legacy.map(UserRecord::legacy)).chain(pages.users());
    let users = records.then(async |record| {
        let plan = first_plan(&pass, &record, &rules);
        let work_slot = admission.admit(record.id_among_users(), plan.permits()).await;
        let slot = checkpointer.begin(record.id_among_users().cloned());
        let begun = Begun { slot, user: record.reference(), since: Instant::now() };
        (begun, (work_slot, Box::new(record), plan))
    });
    let sync = |(slot, record, plan): (WorkSlot, _, _)| {
        slot.hold_during(sync_user(Arc::clone(&pass), record, plan, Lap::First))
    };
    let tally = Tally::after(&assignment.finished, pass.schedule.now);
    let mut turns = Turns::new(&checkpointer, tally, pass.clients.config.user_lines);
    let progress = count::progress(&pass, &assignment.selection);
    let take_in = |begun: Begun, end| {
        turns.end(begun, end);
        if let Some(progress) = &progress {
            progress.tell(turns.counts());
        }
    };
    let fan_out_end = fan_out(users, pass.slots.in_all(), stop, sync, take_in).await;
    let tally = turns.end_all(&pass, &admission, stop).await;
    drop(progress);
    let given_up = checkpointer.in_flight();
    if fan_out_end.is_complete() && pages.unreadable.is_none() {
        pass.clients.end_round();
    }
    let unreached = match fan_out_end.is_complete() {
        true => None,
        false => count::unreached(&pass.clients, &assignment.selection, admission.reached(), stop).await,
    };
    let end = PassEnd::new((fan_out_end, given_up), unreached, pages.unreadable);
    Closing { pass: &pass, assignment, stop, end }.close(checkpointer, tally).await
}
