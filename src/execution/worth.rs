//! What a pass is worth: to the task that ran, to the last of several tasks for all of them, and to whoever started
//! the process.

use crate::execution::assignment::{Earlier, TaskAssignment};
use crate::execution::publish::Leave;
use crate::execution::silence::{self, LastSynced, Worth};
use crate::model::ledger::{Ledger, TaskState};
use crate::model::outcome::{Counts, PassStatus};

impl TaskAssignment {
    /// What the whole pass is worth once all users of this task are counted, if that does not depend on
    /// other tasks.
    #[must_use]
    pub(crate) fn worth(&self, counts: &Counts) -> Option<Worth> {
        match self.earlier {
            // Nothing has come of it since.
            Earlier::Ended(status) if *counts == self.finished.counts => {
                Some(Worth { status, silence: None })
            }
            _ if self.depends_on_others() => None,
            _ => Some(self.judge(counts)),
        }
    }

    /// What the pass of all tasks is worth, by the ledger in which all have come to rest.
    #[must_use]
    pub(super) fn worth_of_all(&self, ledger: &Ledger) -> Worth {
        match ledger.is_completed() {
            true => self.judge(&ledger.sums().0),
            // Users were not reached, whatever became of the others.
            false => Worth { status: PassStatus::Failed, silence: None },
        }
    }

    /// What the process is worth, for its exit code: this task came to such an end, and left the execution so.
    #[must_use]
    pub(crate) fn status(&self, state: TaskState, counts: &Counts, leave: Leave) -> PassStatus {
        if state != TaskState::Completed {
            return PassStatus::Failed;
        }
        let pass = match leave {
            Leave::Last(status) => Some(status),
            Leave::LastOfUnfinished => return counts.status(),
            Leave::Unrecorded | Leave::OthersAtWork => self.worth(counts).map(|worth| worth.status),
        };
        match (counts.status(), pass) {
            // Whatever came of this task's users.
            (_, Some(PassStatus::Failed)) => PassStatus::Failed,
            // Whether nobody was synced, only the last task knows. That nobody of a small share was, is no
            // reason for Cloud Run to try it again.
            (PassStatus::Failed, Some(pass)) => pass,
            (PassStatus::Failed, None) => PassStatus::Degraded,
            (own, _) => own,
        }
    }

    fn judge(&self, counts: &Counts) -> Worth {
        silence::worth(counts, self.last_synced, self.schedule.now)
    }

    /// Of named users each task has all.
    fn depends_on_others(&self) -> bool {
        self.is_one_of_several() && self.last_synced != LastSynced::NotAsked
    }
}

#[cfg(test)]
mod tests;
