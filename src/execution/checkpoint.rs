//! While a task is at work: how far it has come is saved now and then, so that a retry goes on from there.

use crate::execution::assignment::TaskAssignment;
use crate::execution::progress::{Progress, Slot, UserResult};
use crate::execution::record::{Recording, SAVE_BUDGET};
use crate::limits::retry::Deadline;
use crate::model::ids::DocumentId;
use crate::model::ledger::{ExecutionEnd, Finished, TaskState};
use crate::services::clients::Clients;
use crate::shutdown::Stop;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// A task's cursor is saved at least this often.
const SAVE_EVERY: Duration = Duration::from_secs(10);

/// A save is due after so many users, however soon that is.
const SAVE_EVERY_USERS: u64 = 1_000;

/// For a save that is under way when the process is told to stop.
const LAST_SAVE_WAIT: Duration = Duration::from_millis(500);

/// Follows the pass, and has its progress saved.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    shared: Arc<Shared>,
    saving: Option<AbortOnDropHandle<()>>,
}

/// What the pass and the task that saves share.
#[derive(Debug)]
struct Shared {
    tracked: Mutex<Tracked>,
    /// Enough users are finished for a save.
    enough: Notify,
    /// The pass is over.
    over: CancellationToken,
}

#[derive(Debug)]
struct Tracked {
    progress: Progress,
    /// Users that were finished when a save was last asked for.
    asked_at: u64,
}

impl TaskAssignment {
    /// Starts to follow the pass.
    #[must_use]
    pub(crate) fn checkpointer(&self, clients: &Clients) -> Checkpointer {
        let checkpointer = Checkpointer::new(self.finished.clone(), self.tasks);
        if !self.is_checkpointed() {
            return checkpointer;
        }
        let recorder = Arc::new(self.recorder(clients));
        checkpointer.saved_by(self.earlier.is_silent(), move |finished, end| {
            let recorder = Arc::clone(&recorder);
            async move {
                let record = recorder.record(TaskState::Running, finished);
                recorder.save(&record, end, Deadline::after(SAVE_BUDGET)).await
            }
        })
    }

    fn is_checkpointed(&self) -> bool {
        self.recording == Recording::Ledger && self.earlier.leaves_work()
    }
}

impl Checkpointer {
    fn new(finished: Finished, tasks: usize) -> Self {
        let asked_at = finished.counts.users();
        let tracked = Tracked { progress: Progress::resume(finished, tasks), asked_at };
        let shared =
            Shared { tracked: Mutex::new(tracked), enough: Notify::new(), over: CancellationToken::new() };
        Self { shared: Arc::new(shared), saving: None }
    }

    /// Has it saved in the background by `save`, which says whether it did. Must be called within a runtime.
    fn saved_by<F>(
        self,
        is_silent: bool,
        save: impl Fn(Finished, ExecutionEnd) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let saving = tokio::spawn(Arc::clone(&self.shared).save_now_and_then(is_silent, save));
        Self { saving: Some(AbortOnDropHandle::new(saving)), ..self }
    }

    /// The sync of a user begins; see [`Progress::begin`].
    #[must_use]
    pub(crate) fn begin(&self, user: Option<DocumentId>) -> Slot {
        self.shared.tracked().progress.begin(user)
    }

    /// The sync of a user ends.
    pub(crate) fn end(&self, slot: Slot, result: UserResult) {
        if self.shared.tracked().end(slot, result) {
            self.shared.enough.notify_one();
        }
    }

    /// A user's other turn has ended; see [`Progress::revise`].
    pub(crate) fn revise(&self, slot: Slot, counted: UserResult, result: UserResult) {
        self.shared.tracked().progress.revise(slot, counted, result);
    }

    /// Syncs that have begun and not ended.
    #[must_use]
    pub(crate) fn in_flight(&self) -> u64 {
        self.shared.tracked().progress.in_flight()
    }

    /// The pass is over; how far it came. Waits for a save that is under way, or the last one might be
    /// overtaken by it.
    pub(crate) async fn close(self, stop: &Stop) -> Finished {
        self.shared.over.cancel();
        if let Some(saving) = self.saving {
            tokio::select! {
                _ = saving => {}
                () = stop.requested_for(LAST_SAVE_WAIT) => {}
            }
        }
        self.shared.finished()
    }
}

impl Tracked {
    /// Whether a save is due.
    fn end(&mut self, slot: Slot, result: UserResult) -> bool {
        self.progress.end(slot, result);
        let users = self.progress.finished().counts.users();
        let is_due = users >= self.asked_at + SAVE_EVERY_USERS;
        if is_due {
            self.asked_at = users;
        }
        is_due
    }
}

impl Shared {
    fn tracked(&self) -> MutexGuard<'_, Tracked> {
        // Whatever panics while it is locked leaves progress that is whole.
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finished(&self) -> Finished {
        self.tracked().progress.finished().clone()
    }

    async fn save_now_and_then<F: Future<Output = bool>>(
        self: Arc<Self>,
        mut is_silent: bool,
        save: impl Fn(Finished, ExecutionEnd) -> F,
    ) {
        if is_silent {
            is_silent = !save(self.finished(), ExecutionEnd::Open).await;
        }
        loop {
            tokio::select! {
                () = sleep(SAVE_EVERY) => {}
                () = self.enough.notified() => {}
                () = self.over.cancelled() => return,
            }
            // Until it is said that the task is at work, it counts as at rest.
            let end = if is_silent { ExecutionEnd::Open } else { ExecutionEnd::Unchanged };
            is_silent &= !save(self.finished(), end).await;
        }
    }
}

#[cfg(test)]
mod tests;
