//! What one task of an execution is given to do: which users are its own, less what its earlier attempts have done.

use crate::config::{Config, Execution};
use crate::execution::record::{Recording, TaskRecorder, UsedBefore};
use crate::execution::silence::LastSynced;
use crate::model::ids::DocumentId;
use crate::model::ledger::{Finished, Ledger, TaskRecord, TaskState};
use crate::model::outcome::PassStatus;
use crate::model::recheck::RecheckSchedule;
use crate::model::selection::{Round, Selection};
use crate::model::shards::Shards;
use crate::model::usage::Used;
use crate::services::clients::Clients;
use jiff::Timestamp;
use std::sync::Arc;

/// One task's part in an execution.
#[derive(Clone, Debug)]
pub(crate) struct TaskAssignment {
    /// Its users, beginning with those whom the execution before did not reach. Those that an earlier attempt has
    /// finished are not among them.
    pub(crate) selection: Selection,
    /// Whether the legacy account is this task's, and still to be done.
    pub(crate) has_legacy_account: bool,
    /// When secrets are looked at.
    pub(crate) schedule: RecheckSchedule,
    /// What earlier attempts have finished.
    pub(crate) finished: Finished,
    /// Whether others may have synced everybody since this loop's last pulse: what it wrote may not be there any more.
    pub(crate) follows_others: bool,
    /// When a pass last synced anybody, by the server's clock.
    pub(super) last_synced: LastSynced,
    pub(super) execution: DocumentId,
    /// When the execution started.
    pub(super) started_at: Timestamp,
    pub(super) task: usize,
    pub(super) tasks: usize,
    pub(super) used_before: UsedBefore,
    pub(super) recording: Recording,
    pub(super) earlier: Earlier,
}

/// What the attempts before this one have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Earlier {
    /// Nothing, and others can see that the execution is at work.
    Nothing,
    /// Nothing, and the execution has been silent for a while.
    Silence,
    /// Some of its users.
    Unfinished,
    /// All of its users; the sums of the execution may still be missing.
    Completed,
    /// All there was to do; what the pass was worth.
    Ended(PassStatus),
}

impl Earlier {
    /// Whether there are users to do, so that the ledger is kept meanwhile.
    #[must_use]
    pub(super) fn leaves_work(self) -> bool {
        matches!(self, Self::Nothing | Self::Silence | Self::Unfinished)
    }

    /// Whether it has to be said again that the task is at work, and the execution with it.
    #[must_use]
    pub(super) fn is_silent(self) -> bool {
        matches!(self, Self::Silence | Self::Unfinished)
    }

    /// Whether there was an attempt before.
    #[must_use]
    pub(super) fn was_recorded(self) -> bool {
        matches!(self, Self::Unfinished | Self::Completed | Self::Ended(_))
    }
}

/// What a task goes by that takes part in an execution.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Joined {
    /// Which task has which users.
    pub(super) shards: Shards,
    /// The ledger as an earlier task or attempt has left it.
    pub(super) own: Option<Ledger>,
    /// When the execution that finished last had started.
    pub(super) previous: Option<Timestamp>,
    /// By the server's clock, which dates the records of trouble too.
    pub(super) now: Timestamp,
}

/// The execution's id was used before, for another number of tasks.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ledger of execution {execution} is for {planned} tasks, not {tasks}: start a new execution")]
pub(crate) struct OtherPlan {
    execution: DocumentId,
    planned: usize,
    tasks: usize,
}

impl TaskAssignment {
    /// All that was asked for, by nobody's plan; `used` is what the process has used so far.
    #[must_use]
    pub(super) fn new(config: &Config, execution: &Execution, used: Used, now: Timestamp) -> Self {
        let takes_everybody = config.takes_everybody();
        Self {
            selection: config.selection.clone(),
            has_legacy_account: takes_everybody,
            schedule: RecheckSchedule { previous: None, now },
            finished: Finished::default(),
            // Until it was seen that nobody has. Of runs for named users nobody keeps an account.
            follows_others: takes_everybody,
            last_synced: if takes_everybody { LastSynced::Unreadable } else { LastSynced::NotAsked },
            execution: execution.id.clone(),
            started_at: now,
            task: execution.task_index as usize,
            tasks: execution.task_count.get() as usize,
            used_before: UsedBefore { attempts: Used::default(), process: used },
            recording: Recording::of(config),
            earlier: Earlier::Nothing,
        }
    }

    /// Takes what the plan gives this task, less what an earlier attempt has finished.
    pub(super) fn take(&mut self, joined: Joined) -> Result<(), OtherPlan> {
        let Joined { shards, own, previous, now } = joined;
        let round = self.share(&shards)?;
        self.schedule = RecheckSchedule { previous, now };
        self.started_at = now;
        if let Some(own) = own {
            self.go_on(own, now);
        }
        self.selection = Selection::Round(round.rest(self.finished.cursor.as_ref()));
        // It comes before all users.
        self.has_legacy_account = self.task == 0 && self.finished.counts.users() == 0;
        Ok(())
    }

    fn share(&self, shards: &Shards) -> Result<Round, OtherPlan> {
        let planned = shards.tasks();
        let round = shards.round(self.task).filter(|_| planned == self.tasks);
        round.ok_or_else(|| OtherPlan { execution: self.execution.clone(), planned, tasks: self.tasks })
    }

    fn go_on(&mut self, mut own: Ledger, now: Timestamp) {
        self.started_at = own.started_at;
        self.earlier = own.earlier(self.task, now);
        if let Some(TaskRecord { state: _, finished, used, unreached: _, ramp: _ }) =
            own.tasks.remove(&self.task)
        {
            self.finished = finished;
            self.used_before.attempts = used;
        }
    }

    /// Whether this is one of several tasks.
    #[must_use]
    pub(crate) fn is_one_of_several(&self) -> bool {
        self.tasks > 1
    }

    /// What the task has used by now, all attempts together.
    #[must_use]
    pub(crate) fn used(&self, clients: &Clients) -> Used {
        self.used_before.and(clients.usage.so_far())
    }

    /// What writes this task's record in the ledger.
    #[must_use]
    pub(super) fn recorder(&self, clients: &Clients) -> TaskRecorder {
        TaskRecorder {
            store: Arc::clone(&clients.store),
            usage: Arc::clone(&clients.usage),
            limits: Arc::clone(&clients.limits),
            execution: self.execution.clone(),
            task: self.task,
            used_before: self.used_before,
        }
    }
}

impl Ledger {
    /// What that task's earlier attempts have left.
    fn earlier(&self, task: usize, now: Timestamp) -> Earlier {
        match self.tasks.get(&task) {
            Some(record) if record.state != TaskState::Completed => Earlier::Unfinished,
            Some(_) if self.ended_at.is_some() => Earlier::Ended(self.pass_status()),
            Some(_) => Earlier::Completed,
            None if self.is_fresh(now) => Earlier::Nothing,
            None => Earlier::Silence,
        }
    }
}

#[cfg(test)]
mod tests;
