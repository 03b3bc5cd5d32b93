//! What a pass is worth: to the task that ran, and to the last of several tasks for all of them.

use crate::execution::assignment::{Earlier, TaskAssignment};
use crate::execution::silence::{LastSynced, Silence};
use crate::model::ledger::Ledger;
use crate::model::outcome::{Counts, PassStatus};
use jiff::{SignedDuration, Timestamp};

/// Whoever was synced within this time is missed.
const LATELY: SignedDuration = SignedDuration::from_hours(24);

/// What a pass that reached all users is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Worth {
    /// For the dashboards and the exit code.
    pub(crate) status: PassStatus,
    /// What there is to say of it, if nobody was synced.
    pub(crate) silence: Option<Silence>,
}

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

    fn judge(&self, counts: &Counts) -> Worth {
        worth(counts, self.last_synced, self.schedule.now)
    }

    /// Of named users each task has all.
    fn depends_on_others(&self) -> bool {
        self.is_one_of_several() && self.last_synced != LastSynced::NotAsked
    }
}

/// Judges a pass that reached all its users, at `now`.
#[must_use]
fn worth(counts: &Counts, last_synced: LastSynced, now: Timestamp) -> Worth {
    let silence = match last_synced {
        _ if counts.success > 0 => None,
        LastSynced::NotAsked => None,
        LastSynced::Unreadable => Some(Silence::Unknown),
        LastSynced::At(at) if now.duration_since(at) < LATELY => Some(Silence::Sudden(at)),
        LastSynced::At(_) | LastSynced::Never => (counts.users() == 0).then_some(Silence::NoUsers),
    };
    let status = match silence {
        Some(Silence::Sudden(_) | Silence::Unknown) => PassStatus::Failed,
        Some(Silence::NoUsers) | None => counts.status(),
    };
    Worth { status, silence }
}

#[cfg(test)]
mod tests;
