//! How a task records what it does, if it does: the thin edge between what is decided and what is committed.

use crate::config::Config;
use crate::documents::ledger::LedgerWrites;
use crate::firestore::write::Write;
use crate::firestore::{Store, StoreError};
use crate::limits::rate::RateLimits;
use crate::limits::retry::Deadline;
use crate::limits::usage::Usage;
use crate::model::ids::DocumentId;
use crate::model::ledger::{ExecutionEnd, Finished, Ledger, TaskRecord, TaskState};
use crate::model::usage::Used;
use crate::telemetry::Chain;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// For one save of the cursor, and for one look at the others' ledger, all tries together.
pub(super) const SAVE_BUDGET: Duration = Duration::from_secs(8);

/// How a task is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recording {
    /// In the ledger and, at the end, in `ops/last_pulse`.
    Ledger,
    /// Only in `ops/last_pulse`: the ledger could not be written.
    LastPulse,
    /// Nowhere: a dry run, or a person's own run for some users.
    Nowhere,
}

impl Recording {
    /// How it is meant to be.
    #[must_use]
    pub(super) fn of(config: &Config) -> Self {
        if config.dry_run || !config.takes_everybody() { Self::Nowhere } else { Self::Ledger }
    }

    /// How it is when the ledger cannot be written.
    #[must_use]
    pub(super) fn without_ledger(self) -> Self {
        match self {
            Self::Ledger | Self::LastPulse => Self::LastPulse,
            Self::Nowhere => Self::Nowhere,
        }
    }
}

/// What was used before a task began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UsedBefore {
    /// By its earlier attempts.
    pub(super) attempts: Used,
    /// By this process, in other executions.
    pub(super) process: Used,
}

impl UsedBefore {
    /// What the task has used, all attempts together, when that is what the process has used.
    #[must_use]
    pub(super) fn and(self, process: Used) -> Used {
        self.attempts + (process - self.process)
    }
}

/// What writes one task's record in the ledger of its execution.
#[derive(Debug)]
pub(super) struct TaskRecorder {
    pub(super) store: Arc<Store>,
    pub(super) usage: Arc<Usage>,
    pub(super) limits: Arc<RateLimits>,
    pub(super) execution: DocumentId,
    pub(super) task: usize,
    pub(super) used_before: UsedBefore,
}

impl TaskRecorder {
    /// What the task has used by now, all attempts together.
    #[must_use]
    pub(super) fn used(&self) -> Used {
        self.used_before.and(self.usage.so_far())
    }

    /// What there is to record by now.
    #[must_use]
    pub(super) fn record(&self, state: TaskState, finished: Finished) -> TaskRecord {
        TaskRecord { state, finished, used: self.used(), unreached: None, ramp: self.limits.ramp() }
    }

    /// The write of a record.
    #[must_use]
    pub(super) fn write(&self, record: &TaskRecord, end: ExecutionEnd) -> Write {
        let writes = LedgerWrites { database: self.store.database(), execution: &self.execution };
        writes.task(self.task, record, end)
    }

    /// Saves a record, or says that it could not. Whether it was saved.
    pub(super) async fn save(&self, record: &TaskRecord, end: ExecutionEnd, deadline: Deadline) -> bool {
        let saved = self.store.commit(&[self.write(record, end)], deadline).await;
        if let Err(err) = &saved {
            report_unsaved(&self.execution, err);
        }
        saved.is_ok()
    }

    /// The ledger as it is by now; says so if it could not be read.
    pub(super) async fn ledger(&self, deadline: Deadline) -> Option<Ledger> {
        match self.store.ledgers([Some(&self.execution)], deadline).await {
            Ok([ledger]) => ledger,
            Err(err) => {
                report_unsaved(&self.execution, &err);
                None
            }
        }
    }
}

/// Says that the others were not told.
pub(super) fn report_unsaved(execution: &DocumentId, err: &StoreError) {
    warn!(
        error = err.code().as_str(),
        "Could not keep the ledger ops/last_pulse/executions/{execution}: {}",
        Chain(err)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_to_be_recorded_is_not_for_want_of_a_ledger_either() {
        let without =
            [Recording::Ledger, Recording::LastPulse, Recording::Nowhere].map(Recording::without_ledger);
        assert_eq!(without, [Recording::LastPulse, Recording::LastPulse, Recording::Nowhere]);
    }

    #[test]
    fn what_other_executions_of_the_process_used_is_not_counted_and_what_earlier_attempts_did_is() {
        let used = |alpaca_calls| Used { alpaca_calls, ..Used::default() };
        for (attempts, process, so_far, expected) in [(0, 0, 7, 7), (5, 0, 7, 12), (0, 3, 7, 4), (5, 3, 7, 9)]
        {
            let before = UsedBefore { attempts: used(attempts), process: used(process) };
            assert_eq!(before.and(used(so_far)), used(expected));
        }
    }
}
