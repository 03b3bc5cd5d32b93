//! How a task leaves its execution: it records that it has come to rest, the last one tells the dashboards what the
//! pass of all was worth, and whoever started the process learns it by the exit code.

use crate::documents::last_pulse::{LastPulse, Synced};
use crate::execution::assignment::{Earlier, TaskAssignment};
use crate::execution::fence::{Fence, Unpublished};
use crate::execution::record::{Recording, TaskRecorder, report_unsaved};
use crate::execution::worth::Worth;
use crate::firestore::StoreError;
use crate::firestore::write::Write;
use crate::limits::retry::Deadline;
use crate::model::ledger::{ExecutionEnd, Finished, Ledger, TaskRecord, TaskState};
use crate::model::measures::Measures;
use crate::model::outcome::{Counts, PassStatus};
use crate::model::pass_figures::PassFigures;
use crate::model::usage::Used;
use crate::services::clients::Clients;
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// Documents that are read to know who has the pulse, if nothing goes wrong.
const LOOKS: u64 = 1;

/// How a task has left its execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Nothing is recorded of it: it was not to be, or there was no time.
    Unrecorded,
    /// Before others, as far as can be told: what the pass of all is worth, only the last one knows.
    OthersAtWork,
    /// As the last one, while not all tasks have reached all of their users: the pass has failed, which is not for
    /// this one to answer for.
    LastOfUnfinished,
    /// As the last one of a pass that reached all users. What that is worth.
    Last(PassStatus),
}

/// How a task has left, and what the pass of all came to, where it is the last one and had not been taken over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Left {
    /// How it has left.
    pub(crate) leave: Leave,
    /// For the metrics.
    pub(crate) figures: Option<PassFigures>,
}

impl From<Leave> for Left {
    fn from(leave: Leave) -> Self {
        Self { leave, figures: None }
    }
}

/// What a task leaves behind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaving<'a> {
    /// How it came to rest.
    pub(crate) state: TaskState,
    /// How far it came, for a retry.
    pub(crate) finished: &'a Finished,
    /// What became of its users, with those that the cursor is behind: they count, and are synced again by a retry.
    pub(crate) counts: &'a Counts,
    /// Users whom it did not reach, if it was stopped and that could be counted.
    pub(crate) unreached: Option<u64>,
    /// When it started.
    pub(crate) start: Instant,
}

/// What the last task says for all.
#[derive(Clone, Debug, PartialEq)]
struct LastWord {
    counts: Counts,
    measures: Measures,
    unreached: Option<u64>,
    used: Used,
    worth: Worth,
    leave: Leave,
}

impl Leaving<'_> {
    /// Users whom its record does not count: beside those who were not reached, those who ended before others that did
    /// not, if that is known. A retry syncs all of them.
    fn uncounted(&self) -> Option<u64> {
        let ended = self.counts.users().saturating_sub(self.finished.counts.users());
        self.unreached.map(|unreached| unreached + ended)
    }
}

impl TaskAssignment {
    /// Records that this task has come to rest and, if it is the last one, tells the dashboards.
    pub(crate) async fn leave(&self, clients: &Clients, leaving: Leaving<'_>, deadline: Deadline) -> Left {
        if !self.has_something_to_tell() {
            return Leave::Unrecorded.into();
        }
        let recorder = self.recorder(clients);
        let record = recorder.record(leaving.state, leaving.finished.clone());
        let record = TaskRecord { unreached: leaving.uncounted(), ..record };
        let ledger = match self.is_one_of_several() {
            true => {
                recorder.save(&record, ExecutionEnd::Unchanged, deadline).await;
                recorder.ledger(deadline).await
            }
            false => Some(Ledger::of_one_task(self.started_at)),
        };
        let published = as_published(&record, &leaving, recorder.used());
        let last_word = ledger.and_then(|ledger| self.last_word(ledger, published));
        let Some(last_word) = last_word else { return Leave::OthersAtWork.into() };
        if let Some(silence) = last_word.worth.silence.filter(|_| self.is_one_of_several()) {
            silence.tell(&last_word.counts, &clients.config);
        }
        let figures = self.publish_end(&recorder, &last_word, (&record, leaving.start), deadline).await;
        Left { leave: last_word.leave, figures }
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

    fn has_something_to_tell(&self) -> bool {
        self.recording != Recording::Nowhere && !matches!(self.earlier, Earlier::Ended(_))
    }

    /// What there is to say for all tasks, in whose ledger this one records that; nothing while others are at work.
    fn last_word(&self, mut ledger: Ledger, own: TaskRecord) -> Option<LastWord> {
        ledger.tasks.insert(self.task, own);
        if !ledger.is_at_rest() {
            return None;
        }
        let ((counts, used), measures) = (ledger.sums(), ledger.measures());
        let worth = self.worth_of_all(&ledger);
        let leave = match ledger.is_completed() {
            true => Leave::Last(worth.status),
            false => Leave::LastOfUnfinished,
        };
        let unreached = ledger.unreached_count();
        Some(LastWord { counts, measures, unreached, used, worth, leave })
    }

    /// Returns what the pass came to, unless another execution has taken over: then that one tells.
    async fn publish_end(
        &self,
        recorder: &TaskRecorder,
        last_word: &LastWord,
        (record, start): (&TaskRecord, Instant),
        deadline: Deadline,
    ) -> Option<PassFigures> {
        let (store, status) = (&recorder.store, last_word.worth.status);
        let (now, elapsed) = (store.clock().now(), start.elapsed());
        let last_pulse =
            |writes| self.last_pulse(last_word, (now, elapsed), writes).to_write(store.database());
        let end = (self.recording == Recording::Ledger)
            .then(|| recorder.write(record, ExecutionEnd::At(now, status)));
        let firestore = Firestore {
            fence: async || Ok(self.fence(&store.current_pulse(deadline).await?, store.database())),
            commit: async |writes: Vec<Write>, deadline| store.commit(&writes, deadline).await,
        };
        let Published { end, last_pulse } = commit_end(end, last_pulse, deadline, firestore).await;
        if let Err(err) = end {
            report_unsaved(&self.execution, &err);
        }
        if let Err(unpublished) = &last_pulse {
            unpublished.report(&self.execution);
        }
        let is_taken_over = matches!(last_pulse, Err(Unpublished::TakenOver(_)));
        (!is_taken_over).then(|| self.figures(last_word, (now, elapsed)))
    }

    /// What the metrics are told at `now`, when this task has taken so long.
    fn figures(&self, last_word: &LastWord, (now, elapsed): (Timestamp, Duration)) -> PassFigures {
        let LastPulse { counts, last_synced_at, duration, used, .. } =
            self.last_pulse(last_word, (now, elapsed), 1);
        let last_success = match last_synced_at {
            Synced::Now => Some(now),
            Synced::Then(then) => then,
        };
        PassFigures {
            counts,
            measures: last_word.measures.clone(),
            used,
            duration,
            ended_at: now,
            last_success,
        }
    }

    /// What the dashboards are told at `now`, when this task has taken so long; with so many writes to tell them.
    fn last_pulse(
        &self,
        last_word: &LastWord,
        (now, elapsed): (Timestamp, Duration),
        writes: u64,
    ) -> LastPulse {
        let LastWord { counts, unreached, used, worth, measures: _, leave: _ } = last_word;
        // Of the whole execution; no clock that jumps makes it shorter than this part of it.
        let duration = Duration::try_from(now.duration_since(self.started_at)).unwrap_or_default();
        LastPulse {
            counts: counts.clone(),
            unreached: *unreached,
            status: worth.status,
            last_synced_at: match counts.success {
                0 => Synced::Then(self.last_synced.known()),
                _ => Synced::Now,
            },
            execution: self.execution.clone(),
            started_at: self.started_at,
            duration: duration.max(elapsed),
            used: *used + Used { firestore_reads: LOOKS, firestore_writes: writes, ..Used::default() },
        }
    }
}

/// A task's record as it counts in what is published.
fn as_published(record: &TaskRecord, leaving: &Leaving<'_>, used: Used) -> TaskRecord {
    let finished = Finished { counts: leaving.counts.clone(), ..record.finished.clone() };
    TaskRecord { finished, used, unreached: leaving.unreached, ..record.clone() }
}

/// What came of each document.
#[derive(Debug)]
struct Published {
    end: Result<(), StoreError>,
    last_pulse: Result<(), Unpublished>,
}

/// What an execution ends by: a look at who has the pulse, and commits.
struct Firestore<F, C> {
    fence: F,
    commit: C,
}

/// Commits the end of the execution, if it has a ledger, and, as long as it has the pulse, what the dashboards are told,
/// which says how many writes that takes.
async fn commit_end(
    end: Option<Write>,
    last_pulse: impl Fn(u64) -> Write,
    deadline: Deadline,
    firestore: Firestore<
        impl AsyncFn() -> Result<Fence, StoreError>,
        impl AsyncFn(Vec<Write>, Deadline) -> Result<(), StoreError>,
    >,
) -> Published {
    let Firestore { fence: look, commit } = firestore;
    let mut fence = look().await;
    if let (Some(end), Ok(Fence::Open(claim))) = (&end, &fence) {
        // In two parts, where they may be refused together, there must be time for the second.
        let together = deadline.less(deadline.left() / 2);
        match commit(vec![end.clone(), claim.clone(), last_pulse(3)], together).await {
            Err(StoreError::Conflict(_)) => fence = look().await,
            Err(err) if err.may_be_one_documents() => {}
            result => return Published { end: Ok(()), last_pulse: result.map_err(Unpublished::Refused) },
        }
    }
    // Each costs only itself: above all, the next pulse must not take this one for running.
    let end = match end {
        Some(end) => commit(vec![end], deadline).await,
        None => Ok(()),
    };
    let last_pulse = match fence {
        Ok(Fence::Open(claim)) => {
            commit(vec![claim, last_pulse(2)], deadline).await.map_err(Unpublished::Refused)
        }
        Ok(Fence::Closed(by)) => Err(Unpublished::TakenOver(by)),
        Err(err) => Err(Unpublished::Refused(err)),
    };
    // A ledger that is gone needs no end.
    Published { end: end.or_else(but_for_conflict), last_pulse }
}

fn but_for_conflict(err: StoreError) -> Result<(), StoreError> {
    if matches!(err, StoreError::Conflict(_)) { Ok(()) } else { Err(err) }
}

#[cfg(test)]
mod tests;
