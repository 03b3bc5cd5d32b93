//! Values that the tests of this room begin with.

use crate::config::{Config, Execution};
use crate::documents::written::Written;
use crate::execution::assignment::{Earlier, TaskAssignment};
use crate::execution::record::{Recording, UsedBefore};
use crate::execution::silence::LastSynced;
use crate::firestore::StoreError;
use crate::firestore::write::Write;
use crate::model::fleet_guard::{AtHost, Rejections};
use crate::model::ids::{Database, DocumentId};
use crate::model::keys::Environment;
use crate::model::ledger::{Finished, Ledger, TaskRecord, TaskState};
use crate::model::outcome::{Code, Counts, Outcome};
use crate::model::recheck::RecheckSchedule;
use crate::model::selection::{Round, Selection};
use crate::model::shards::Shards;
use crate::model::usage::Used;
use gcloud_sdk::tonic::Status;
use jiff::Timestamp;

pub(super) const RUNNING: Option<TaskState> = Some(TaskState::Running);
pub(super) const COMPLETED: Option<TaskState> = Some(TaskState::Completed);
pub(super) const STOPPED: Option<TaskState> = Some(TaskState::Stopped);

pub(super) const SYNCED: Outcome = Outcome::Synced;
pub(super) const SKIPPED: Outcome = Outcome::Skipped;
pub(super) const FAILED: Outcome = Outcome::Failed(Code::KeysMissing);

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_623_400 + second).expect("in range")
}

pub(super) fn id(text: &str) -> DocumentId {
    DocumentId::parse(text).expect("legal")
}

pub(super) fn counts(outcomes: &[Outcome]) -> Counts {
    let mut counts = Counts::default();
    outcomes.iter().for_each(|outcome| counts.add(*outcome));
    counts
}

pub(super) fn record(state: TaskState) -> TaskRecord {
    TaskRecord { state, finished: Finished::default(), used: Used::default(), unreached: None, ramp: None }
}

/// The ledger of an execution that started at 0 and was touched at 10, by the states of its tasks; those without
/// one have not come yet.
pub(super) fn ledger(states: &[Option<TaskState>]) -> Ledger {
    let tasks = states.iter().enumerate().filter_map(|(task, state)| Some((task, record((*state)?))));
    Ledger {
        shards: Shards::guessed(states.len()),
        started_at: at(0),
        touched_at: at(10),
        ended_at: None,
        status: None,
        skipped_for: None,
        tasks: tasks.collect(),
    }
}

/// A host that took the keys of three users, and rejected those of so many more.
pub(super) fn rejected_live(users: u64) -> Rejections {
    let mut rejections = Rejections::default();
    *rejections.at_mut(Environment::Live) = AtHost { accepted: 3, rejected: users };
    rejections
}

/// What one of the tasks of `pulse-x` is to do, with these flags.
pub(super) fn config(flags: &[&str], task: usize, tasks: usize) -> Config {
    use clap::Parser;
    #[derive(Parser)]
    struct Sync {
        #[command(flatten)]
        args: crate::config::args::SyncArgs,
    }
    let flags = ["sync", "--project", "p"].iter().chain(flags);
    Config::new(&Sync::parse_from(flags).args, |_| None, execution(task, tasks)).expect("usable")
}

pub(super) fn execution(task: usize, tasks: usize) -> Execution {
    let lookup = |name: &str| match name {
        "CLOUD_RUN_EXECUTION" => Some("pulse-x".to_owned()),
        "CLOUD_RUN_TASK_INDEX" => Some(task.to_string()),
        "CLOUD_RUN_TASK_COUNT" => Some(tasks.to_string()),
        _ => None,
    };
    Execution::from_lookup(lookup, at(0)).expect("usable")
}

/// The part of one of the tasks of an execution that has just begun.
pub(super) fn assignment(task: usize, tasks: usize) -> TaskAssignment {
    TaskAssignment {
        selection: Selection::Round(Round::default()),
        has_legacy_account: task == 0,
        schedule: RecheckSchedule { previous: None, now: at(0) },
        finished: Finished::default(),
        follows_others: false,
        last_synced: LastSynced::Never,
        execution: id("pulse-x"),
        started_at: at(0),
        task,
        tasks,
        used_before: UsedBefore::default(),
        recording: Recording::Ledger,
        earlier: Earlier::Nothing,
    }
}

pub(super) fn database() -> Database {
    Database::parse("p", "(default)").expect("legal")
}

pub(super) fn conflict() -> StoreError {
    StoreError::of_commit(Status::already_exists("there is one"))
}

pub(super) fn refused() -> StoreError {
    StoreError::of_commit(Status::permission_denied("no"))
}

/// The documents that are written.
pub(super) fn paths(writes: &[Write]) -> Vec<String> {
    writes.iter().map(|write| Written::of(write).path).collect()
}
