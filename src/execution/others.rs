//! What the other tasks of an execution have seen: a few rejections alone do not tell whose fault they are.

use crate::execution::assignment::TaskAssignment;
use crate::execution::record::{Recording, SAVE_BUDGET, TaskRecorder};
use crate::limits::retry::Deadline;
use crate::model::fleet_guard::Rejections;
use crate::model::ledger::{ExecutionEnd, Finished, Ledger, TaskState};
use crate::services::clients::Clients;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long the other tasks are waited for where the few users of this one do not tell whose fault their
/// rejections are.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(5);

/// How often the ledger is read meanwhile.
const LOOK_AT_OTHERS_EVERY: Duration = Duration::from_millis(250);

impl TaskAssignment {
    /// What is known of the rejections that the other tasks of the execution have seen. Where what is known does
    /// not suffice for this task's own (`needs_more`), waits for the others a little.
    pub(crate) async fn rejections_of_others(
        &self,
        clients: &Clients,
        finished: &Finished,
        needs_more: impl Fn(&Rejections) -> bool,
    ) -> Rejections {
        if !self.has_company() || !needs_more(&Rejections::default()) {
            return Rejections::default();
        }
        let recorder = self.recorder(clients);
        let settle = async {
            let settling = recorder.record(TaskState::Settling, finished.clone());
            recorder.save(&settling, ExecutionEnd::Unchanged, Deadline::after(SAVE_BUDGET)).await;
        };
        let read = async || read_soon(&recorder).await;
        wait_for_others(self.task, settle, read, needs_more).await
    }

    fn has_company(&self) -> bool {
        self.is_one_of_several() && self.recording == Recording::Ledger
    }
}

async fn read_soon(recorder: &TaskRecorder) -> Option<Ledger> {
    recorder.ledger(Deadline::after(SAVE_BUDGET)).await
}

/// Settles, and reads the ledger until it suffices, cannot be read, or nothing more is to come. Whatever is known
/// when the time is over has to do.
async fn wait_for_others(
    task: usize,
    settle: impl Future<Output = ()>,
    read: impl AsyncFn() -> Option<Ledger>,
    needs_more: impl Fn(&Rejections) -> bool,
) -> Rejections {
    let mut known = Rejections::default();
    let waiting = async {
        settle.await;
        while let Some(ledger) = read().await {
            known = ledger.rejections_of_others(task);
            if !needs_more(&known) || ledger.others_have_finished(task) {
                break;
            }
            sleep(LOOK_AT_OTHERS_EVERY).await;
        }
    };
    let _ = timeout(WAIT_FOR_OTHERS, waiting).await;
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::examples::{COMPLETED, RUNNING, assignment, ledger, rejected_live};
    use crate::execution::record::Recording;
    use std::cell::Cell;
    use tokio::time::Instant;

    #[test]
    fn only_who_writes_in_a_ledger_with_others_has_company() {
        for (tasks, recording, expected) in [
            (2, Recording::Ledger, true),
            (1, Recording::Ledger, false),
            (2, Recording::LastPulse, false),
            (2, Recording::Nowhere, false),
        ] {
            let assignment = TaskAssignment { tasks, recording, ..assignment(0, tasks) };
            assert_eq!(assignment.has_company(), expected, "{tasks} {recording:?}");
        }
    }

    /// What task 0 gets to know, how long it waits, and how often it reads, when the ledger is in turn as given and
    /// then stays so, and it needs more than `enough` rejected users.
    async fn waited(ledgers: &[Option<Ledger>], enough: u64) -> (Rejections, Duration, usize) {
        let (start, reads) = (Instant::now(), Cell::new(0));
        let read = async || {
            let ledger = ledgers[reads.get().min(ledgers.len() - 1)].clone();
            reads.set(reads.get() + 1);
            ledger
        };
        let needs_more = |known: &Rejections| *known != rejected_live(enough);
        let known = wait_for_others(0, async {}, read, needs_more).await;
        (known, start.elapsed(), reads.get())
    }

    /// A ledger whose other task is in that state and has seen so many rejected.
    fn seen(state: Option<TaskState>, rejected: u64) -> Option<Ledger> {
        let mut ledger = ledger(&[RUNNING, state]);
        if let Some(other) = ledger.tasks.get_mut(&1) {
            other.finished.rejections = rejected_live(rejected);
        }
        Some(ledger)
    }

    #[tokio::test(start_paused = true)]
    async fn the_others_are_waited_for_as_long_as_they_may_tell_more_and_no_longer_than_5_seconds() {
        let (none, few, many) = (Rejections::default(), rejected_live(1), rejected_live(7));
        for (ledgers, expected, millis, reads) in [
            (vec![seen(RUNNING, 7)], many, 0, 1),
            (vec![seen(RUNNING, 1), seen(RUNNING, 1), seen(RUNNING, 7)], many, 500, 3),
            (vec![seen(RUNNING, 1), seen(COMPLETED, 1)], few, 250, 2),
            (vec![seen(RUNNING, 1), seen(Some(TaskState::Settling), 1)], few, 250, 2),
            (vec![seen(RUNNING, 1), None], few, 250, 2),
            (vec![None], none, 0, 1),
            (vec![seen(RUNNING, 1)], few, 5000, 21),
            (vec![seen(None, 0)], none, 5000, 21),
        ] {
            let waited = waited(&ledgers, 7).await;
            assert_eq!(waited, (expected, Duration::from_millis(millis), reads), "{ledgers:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ledger_that_takes_too_long_tells_nothing() {
        let never = async || std::future::pending().await;
        assert_eq!(wait_for_others(0, async {}, never, |_| true).await, Rejections::default());
        let read = async || seen(COMPLETED, 7);
        let settle = std::future::pending();
        assert_eq!(wait_for_others(0, settle, read, |_| true).await, Rejections::default());
    }
}
