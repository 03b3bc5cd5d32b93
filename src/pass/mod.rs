//! One pass over the users: who they are, what is done for each, what becomes of it, and how it ends.

mod account;
mod admission;
mod close;
mod context;
mod count;
mod failure;
mod fan_out;
mod known_accounts;
mod log_lines;
mod memory;
mod plan;
mod snapshot_write;
mod state_records;
mod summary;
mod sync_outcome;
mod sync_user;
pub(crate) mod tally;
mod tenant_write;
mod user_pages;
mod user_record;
mod written_snapshots;

pub(crate) use crate::pass::context::PassContext;
pub(crate) use crate::pass::memory::Memory;
pub(crate) use crate::pass::summary::conclude_unbegun;

use crate::execution::assignment::TaskAssignment;
use crate::model::outcome::PassStatus;
use crate::pass::admission::Admission;
use crate::pass::close::Closing;
use crate::pass::fan_out::fan_out;
use crate::pass::plan::decide;
use crate::pass::summary::PassEnd;
use crate::pass::sync_user::{panicked, sync_user};
use crate::pass::tally::Tally;
use crate::pass::user_pages::UserPages;
use crate::pass::user_record::UserRecord;
use crate::shutdown::Stop;
use futures::{StreamExt, stream};
use std::sync::Arc;

/// One pass over all users that are this task's. For each of them it is decided once what is done (`decide`), they wait
/// until that may begin (`Admission`), it is done in a task of its own (`sync_user`), and what becomes of it is counted
/// (`Tally`) and moves the cursor that a retried attempt goes on from (`Checkpointer`). What only all users together tell
/// is judged, recorded and published at the end (`Closing`).
pub(crate) async fn run_pass(pass: PassContext, assignment: &TaskAssignment, stop: &Stop) -> PassStatus {
    let pass = Arc::new(pass);
    pass.memory.begin(pass.due);
    let spread = stop.run_until_stopped(count::spread(&pass, &assignment.selection)).await.flatten();
    let admission = Admission::new(&pass.clients.limits, spread);
    let mut pages = UserPages::start(pass.page_reader(), assignment.selection.clone());
    let legacy = pass.clients.config.legacy_account.clone().filter(|_| assignment.has_legacy_account);
    let checkpointer = assignment.checkpointer(&pass.clients);
    let rules = pass.rules();
    let records = stream::iter(legacy.map(UserRecord::legacy)).chain(pages.users());
    let users = records.then(async |record| {
        let plan = decide(&record, pass.kept_keys(&record), &rules);
        admission.admit(record.id_among_users(), plan.permits()).await;
        let slot = checkpointer.begin(record.id_among_users().cloned());
        ((slot, record.reference()), (Box::new(record), plan))
    });
    let mut tally = Tally::after(&assignment.finished, pass.schedule.now);
    let way = |(record, plan)| sync_user(Arc::clone(&pass), record, plan);
    let ended = fan_out(users, pass.clients.config.concurrency, stop, way, |(slot, user), outcome| {
        let outcome = outcome.unwrap_or_else(|_| panicked(&user));
        checkpointer.end(slot, tally.add(user, outcome));
    })
    .await;
    let unreached = match stop.deadline().filter(|_| !ended.is_complete()) {
        Some(told) => {
            let (selection, reached) = (&assignment.selection, admission.reached());
            Some(count::unreached(&pass.clients, selection, reached, told).await)
        }
        None => None,
    };
    let end = PassEnd::new(ended, unreached, pages.unreadable);
    Closing { pass: &pass, assignment, stop, end }.close(checkpointer, tally).await
}
