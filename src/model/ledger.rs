//! What the tasks of an execution record of themselves, in its ledger. Its rules are the execution's, its form is
//! the document's.

use crate::model::fleet_guard::Rejections;
use crate::model::ids::DocumentId;
use crate::model::measures::Measures;
use crate::model::outcome::{Counts, PassStatus};
use crate::model::ramp::Ramp;
use crate::model::shards::{Sample, Shards};
use crate::model::usage::Used;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What the ledger of one execution says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ledger {
    /// Which task has which users, and with whom it begins.
    pub(crate) shards: Shards,
    /// When the first task claimed it.
    pub(crate) started_at: Timestamp,
    /// When a task last wrote it, by the server's clock.
    pub(crate) touched_at: Timestamp,
    /// When its last task came to rest.
    pub(crate) ended_at: Option<Timestamp>,
    /// What the pass was worth then.
    pub(crate) status: Option<PassStatus>,
    /// The other execution that was at work when this one was to start, so that it did not.
    pub(crate) skipped_for: Option<DocumentId>,
    /// The tasks that have arrived so far, by their index.
    pub(crate) tasks: BTreeMap<usize, TaskRecord>,
}

/// What one task has recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskRecord {
    /// What it is doing.
    pub(crate) state: TaskState,
    /// How far it has come.
    pub(crate) finished: Finished,
    /// What it has used, all attempts together.
    pub(crate) used: Used,
    /// Users whom it did not reach, if it was stopped and that could be counted.
    pub(crate) unreached: Option<u64>,
    /// How far the database is ramped up, and the writes of this task's busiest second at that; only with
    /// `--ramp-writes`.
    pub(crate) ramp: Option<(Ramp, u32)>,
}

/// What a task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskState {
    /// Syncing users.
    Running,
    /// All its users are finished; what was learned from them is being recorded.
    Settling,
    /// Done.
    Completed,
    /// Told to stop, or out of time, before all its users were reached.
    Stopped,
    /// It could not read its users.
    Failed,
}

impl TaskState {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Running, Self::Settling, Self::Completed, Self::Stopped, Self::Failed];
}

/// What is known of the users up to the cursor, in the order in which the task serves them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Finished {
    /// The last of them.
    pub(crate) cursor: Option<DocumentId>,
    /// What became of them, and of the legacy account.
    pub(crate) counts: Counts,
    /// For the fleet guard.
    pub(crate) rejections: Rejections,
    /// Some of their ids, for the next execution's shares.
    pub(crate) sample: Sample,
    /// For the metrics.
    pub(crate) measures: Measures,
}

/// What a task says of the end of the whole execution, along with its own record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExecutionEnd {
    /// It has not ended.
    Open,
    /// Nothing.
    Unchanged,
    /// This was its end, and what the pass was worth.
    At(Timestamp, PassStatus),
}
