//! What follows from the ledger of an execution.

use crate::model::fleet_guard::Rejections;
use crate::model::ledger::{Ledger, TaskRecord, TaskState};
use crate::model::measures::Measures;
use crate::model::outcome::{Counts, PassStatus};
use crate::model::ramp::Ramp;
use crate::model::selection::IdRange;
use crate::model::shards::Shards;
use crate::model::usage::Used;
use jiff::{SignedDuration, Timestamp};

/// An execution whose ledger has not been touched for so long is dead.
pub(super) const ALIVE_FOR: SignedDuration = SignedDuration::from_secs(60);

/// A task that comes back says again that it is at work where the ledger is older than that.
const FRESH_FOR: SignedDuration = SignedDuration::from_secs(30);

impl TaskState {
    /// Whether nothing more is to be expected of the task, unless it is tried again.
    #[must_use]
    pub(crate) fn is_at_rest(self) -> bool {
        matches!(self, Self::Completed | Self::Stopped | Self::Failed)
    }
}

impl Ledger {
    /// The ledger that a single task needs of itself: nobody else wrote in it.
    #[must_use]
    pub(super) fn of_one_task(started_at: Timestamp) -> Self {
        Self {
            shards: Shards::guessed(1),
            started_at,
            touched_at: started_at,
            ended_at: None,
            status: None,
            skipped_for: None,
            tasks: Default::default(),
        }
    }

    /// Whether some task of it is at work, as far as can be told.
    #[must_use]
    pub(super) fn is_alive(&self, now: Timestamp) -> bool {
        self.was_touched_within(ALIVE_FOR, now)
    }

    /// Whether others can see for a while yet that the execution is at work.
    #[must_use]
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        self.was_touched_within(FRESH_FOR, now)
    }

    fn was_touched_within(&self, time: SignedDuration, now: Timestamp) -> bool {
        // A time in the future proves no more than one in the past.
        self.ended_at.is_none() && now.duration_since(self.touched_at).abs() <= time
    }

    /// Whether every task has come, and has come to rest.
    #[must_use]
    pub(super) fn is_at_rest(&self) -> bool {
        self.every_task(|record| record.state.is_at_rest())
    }

    /// Whether every task has finished all of its users.
    #[must_use]
    pub(super) fn is_completed(&self) -> bool {
        self.every_task(|record| record.state == TaskState::Completed)
    }

    /// Whether every task has finished its users, and the dashboards know.
    #[must_use]
    pub(super) fn is_done(&self) -> bool {
        self.ended_at.is_some() && self.is_completed()
    }

    /// What the pass of an execution that has ended was worth.
    #[must_use]
    pub(super) fn pass_status(&self) -> PassStatus {
        // Older versions did not record it, and judged by the counts alone.
        self.status.unwrap_or_else(|| match self.is_completed() {
            true => self.sums().0.status(),
            false => PassStatus::Failed,
        })
    }

    /// Whether every task but this one has finished its users.
    #[must_use]
    pub(super) fn others_have_finished(&self, task: usize) -> bool {
        self.indices().all(|index| {
            index == task || self.tasks.get(&index).is_some_and(|record| record.state != TaskState::Running)
        })
    }

    /// What the fleet guard is to know of the tasks but this one.
    #[must_use]
    pub(super) fn rejections_of_others(&self, task: usize) -> Rejections {
        let mut rejections = Rejections::default();
        for (_, record) in self.tasks.iter().filter(|(index, _)| **index != task) {
            rejections += record.finished.rejections;
        }
        rejections
    }

    /// The sums over all tasks, for `ops/last_pulse`.
    #[must_use]
    pub(super) fn sums(&self) -> (Counts, Used) {
        let (mut counts, mut used) = (Counts::default(), Used::default());
        for record in self.tasks.values() {
            counts.add_all(&record.finished.counts);
            used = used + record.used;
        }
        (counts, used)
    }

    /// What was measured of all tasks' users, for the metrics.
    #[must_use]
    pub(super) fn measures(&self) -> Measures {
        let mut measures = Measures::default();
        self.tasks.values().for_each(|record| measures.add_all(&record.finished.measures));
        measures
    }

    /// Users whom no task reached, if all of them could count theirs, for `ops/last_pulse`.
    #[must_use]
    pub(super) fn unreached_count(&self) -> Option<u64> {
        let of = |record: &TaskRecord| match record.state {
            TaskState::Completed => Some(0),
            _ => record.unreached,
        };
        self.tasks.values().map(of).sum()
    }

    /// How far the database was ramped up, and how many writes a second it was shown at most.
    #[must_use]
    pub(super) fn ramp(&self) -> Option<(Ramp, f64)> {
        let ramps: Vec<_> = self.tasks.values().filter_map(|record| record.ramp).collect();
        let ramp = ramps.iter().map(|(ramp, _)| *ramp).max_by_key(|ramp| ramp.limit)?;
        Some((ramp, ramps.iter().map(|(_, busiest)| f64::from(*busiest)).sum()))
    }

    /// The plan for an execution after this one.
    #[must_use]
    pub(super) fn plan_next(&self, tasks: usize) -> Option<Shards> {
        // Who was not reached is in no sample, so half a pass would put the others' borders wrong.
        match (self.is_completed(), self.shards.tasks() == tasks) {
            (false, true) => Some(self.shards.clone().beginning_behind(Default::default())),
            _ => Shards::even(tasks, self.tasks.values().map(|record| &record.finished.sample)),
        }
    }

    /// Whom it did not reach because it was stopped, or died: of each task's users those who were left, in the order
    /// in which it would have served them.
    #[must_use]
    pub(super) fn unreached(&self) -> Vec<IdRange> {
        let left = |task| {
            let record = self.tasks.get(&task);
            let cursor = record.and_then(|record| record.finished.cursor.as_ref());
            // Where a task failed to read its users, or died before anybody was finished, one that begins there may
            // reach nobody again.
            let can_begin_there = match record.map(|record| record.state) {
                Some(TaskState::Stopped) => true,
                Some(TaskState::Running) => cursor.is_some(),
                Some(TaskState::Settling | TaskState::Completed | TaskState::Failed) | None => false,
            };
            self.shards.round(task).filter(|_| can_begin_there).map(|round| round.rest(cursor))
        };
        self.indices().filter_map(left).flat_map(|left| left.ranges().to_vec()).collect()
    }

    fn indices(&self) -> impl Iterator<Item = usize> {
        0..self.shards.tasks()
    }

    fn every_task(&self, is_so: impl Fn(&TaskRecord) -> bool) -> bool {
        self.indices().all(|index| self.tasks.get(&index).is_some_and(&is_so))
    }
}

#[cfg(test)]
mod tests;
