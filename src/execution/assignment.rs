//! One task's part in an execution: which users are its own, what earlier attempts have done of them, and
//! the ledger it keeps so that others know.

use crate::config::Execution;
use crate::documents::last_pulse::{LastPulse, Synced};
use crate::documents::ledger::{ExecutionEnd, Look, report_unpublished, task_write};
use crate::execution::ledger::{LeaseState, Ledger, TaskRecord, TaskState, standing};
use crate::execution::progress::{Finished, Progress, Slot, UserResult};
use crate::execution::shards::Shards;
use crate::execution::silence::{self, Worth};
use crate::firestore::write::Write;
use crate::firestore::{Store, StoreError};
use crate::limits::rate::RateLimits;
use crate::limits::retry::{Deadline, USER_BUDGET};
use crate::limits::usage::{Usage, Used};
use crate::model::fleet_guard::Rejections;
use crate::model::ids::{Database, DocumentId};
use crate::model::outcome::{Counts, PassStatus};
use crate::model::recheck::RecheckSchedule;
use crate::model::selection::IdRange;
use crate::model::selection::Selection;
use crate::pass::tally::Tally;
use crate::services::clients::Clients;
use crate::shutdown::Stop;
use crate::telemetry::Chain;
use jiff::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

/// The cursor is saved at least this often.
const SAVE_EVERY: Duration = Duration::from_secs(10);

/// And after so many users.
const SAVE_EVERY_USERS: u64 = 1_000;

/// For one save of the cursor, all tries together.
const SAVE_BUDGET: Duration = Duration::from_secs(8);

/// For finding out whether anything is left to do: where that takes long, it is better to begin.
const DONE_BUDGET: Duration = Duration::from_secs(3);

/// For a save that is under way when the process is told to stop.
const LAST_SAVE_WAIT: Duration = Duration::from_millis(500);

/// Tries to become the current execution while others do the same.
const CLAIMS: u32 = 5;

/// How long the other tasks are waited for where the few users of this one do not tell whose fault their
/// rejections are, and how often the ledger is read meanwhile.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(5);
const LOOK_AT_OTHERS_EVERY: Duration = Duration::from_millis(250);

/// Why a task could not take its part.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    /// Without the ledger, one of several tasks does not know which users are its own.
    #[error("the ledger of the execution could not be read or written, and this is one of several tasks")]
    Ledger(#[source] StoreError),
    /// The execution's id was used before, for another number of tasks.
    #[error("the ledger of execution {execution} is for {planned} tasks, not {tasks}: start a new execution")]
    OtherPlan {
        /// The execution.
        execution: String,
        /// The tasks it was planned for.
        planned: usize,
        /// The tasks there are.
        tasks: usize,
    },
}

/// What a task finds on arrival.
#[derive(Debug)]
pub(crate) enum JoinOutcome {
    /// Its part.
    TaskAssignment(Box<TaskAssignment>),
    /// That another execution is still running.
    Busy(DocumentId),
}

/// One task's part in an execution.
#[derive(Debug)]
pub(crate) struct TaskAssignment {
    /// Its users. Those that an earlier attempt has finished are not among them.
    pub(crate) selection: Selection,
    /// Whether the legacy account is this task's, and still to be done.
    pub(crate) has_legacy_account: bool,
    /// When secrets are looked at.
    pub(crate) schedule: RecheckSchedule,
    /// What earlier attempts have finished.
    pub(crate) finished: Finished,
    /// When a pass last synced anybody, by the server's clock.
    last_synced_at: Option<Timestamp>,
    /// That could not be read.
    is_in_the_dark: bool,
    execution: DocumentId,
    /// When the execution started.
    started_at: Timestamp,
    task: usize,
    tasks: usize,
    /// What earlier attempts have used, less what the process had used before this part.
    used_before: (Used, Used),
    /// How the part is recorded.
    record: Recording,
    /// What an earlier attempt has left.
    earlier: Earlier,
}

/// What an earlier attempt of the task has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Earlier {
    /// Nothing: the task is at work, and the ledger was touched lately.
    Nothing,
    /// Something that has to be said again: that the task is at work, and the execution with it.
    Silent,
    /// All of its users; the sums of the execution may still be missing.
    Completed,
    /// All there was to do; what the pass was worth.
    Ended(PassStatus),
}

/// What came of the wish to run.
enum Claim {
    /// The plan, and the ledger as an earlier task or attempt has left it.
    SyncPlan(Shards, Option<Ledger>),
    /// Nothing: this execution is in the way.
    Nothing(DocumentId),
}

/// When an execution that never came back last synced anybody, as far as can be told.
fn synced_by_dead(ledger: &Ledger) -> Option<Timestamp> {
    (ledger.sums().0.success > 0).then_some(ledger.touched_at)
}

/// What there is to say of an execution that never came back, when another takes over. `last_synced_at`
/// is when it or one before it last synced anybody.
fn write_of_dead(
    execution: &DocumentId,
    ledger: &Ledger,
    last_synced_at: Option<Timestamp>,
    database: &Database,
) -> Write {
    let (counts, used) = ledger.sums();
    let duration = Duration::try_from(ledger.touched_at.duration_since(ledger.started_at));
    LastPulse {
        counts: &counts,
        status: PassStatus::Failed,
        last_synced_at: Synced::Then(last_synced_at),
        execution: execution.as_str(),
        started_at: ledger.started_at,
        duration: duration.unwrap_or_default(),
        used,
    }
    .to_write(database)
}

/// How a part is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recording {
    /// In the ledger and, at the end, in `ops/last_pulse`.
    Ledger,
    /// Only in `ops/last_pulse`: the ledger could not be written.
    LastPulse,
    /// Nowhere: a person's own run.
    Nowhere,
}

impl TaskAssignment {
    /// Takes this task's part in the execution.
    ///
    /// A single task goes on when Firestore does not let it keep a ledger: fresh snapshots matter more
    /// than two passes at the same time, which do no harm.
    pub(crate) async fn enter(
        job: &Clients,
        execution: &Execution,
        now: Timestamp,
    ) -> Result<JoinOutcome, JoinError> {
        let mut part = Box::new(Self::new(job, execution, now));
        if !job.config.takes_everybody() {
            return Ok(JoinOutcome::TaskAssignment(part));
        }
        match part.join(job, execution).await {
            Ok(None) => Ok(JoinOutcome::TaskAssignment(part)),
            Ok(Some(other)) => Ok(JoinOutcome::Busy(other)),
            Err(JoinError::Ledger(err)) if execution.task_count.get() == 1 => {
                error!(
                    error = err.code().as_str(),
                    "Could not keep the ledger ops/last_pulse/executions/{}, so this pulse runs without: {}",
                    execution.id,
                    Chain(&err)
                );
                if !job.config.dry_run {
                    part.record = Recording::LastPulse;
                }
                Ok(JoinOutcome::TaskAssignment(part))
            }
            Err(err) => Err(err),
        }
    }

    /// What the execution was worth, if an earlier attempt has done all of it. Whatever cannot be read is
    /// not done.
    pub(crate) async fn done_before(job: &Clients, execution: &Execution) -> Option<PassStatus> {
        if !job.config.takes_everybody() {
            return None;
        }
        let ledger = job.store.ledgers([Some(&execution.id)], Deadline::after(DONE_BUDGET)).await;
        let [ledger] = ledger.ok()?;
        let outcome = ledger.filter(Ledger::is_done)?.outcome();
        tell_done_before(outcome);
        Some(outcome)
    }

    fn new(job: &Clients, execution: &Execution, now: Timestamp) -> Self {
        Self {
            selection: job.config.selection.clone(),
            has_legacy_account: job.config.takes_everybody(),
            schedule: RecheckSchedule { previous: None, now },
            finished: Finished::default(),
            last_synced_at: None,
            is_in_the_dark: false,
            execution: execution.id.clone(),
            started_at: now,
            task: execution.task_index as usize,
            tasks: execution.task_count.get() as usize,
            used_before: (Used::default(), job.usage.so_far()),
            record: Recording::Nowhere,
            earlier: Earlier::Nothing,
        }
    }

    /// Joins the execution, or finds the one that is in its way.
    async fn join(&mut self, job: &Clients, execution: &Execution) -> Result<Option<DocumentId>, JoinError> {
        let deadline = Deadline::after(USER_BUDGET);
        let mut conflict = None;
        self.is_in_the_dark = true;
        for _ in 0..CLAIMS {
            let look = job.store.look(&self.execution, deadline).await.map_err(JoinError::Ledger)?;
            self.is_in_the_dark = false;
            self.last_synced_at = look.last.synced_at;
            match self.claim(job, execution, &look, deadline).await {
                Ok(Claim::SyncPlan(shards, own)) => {
                    self.take(&look, &shards, own)?;
                    if !job.config.dry_run {
                        self.record = Recording::Ledger;
                    }
                    return Ok(None);
                }
                Ok(Claim::Nothing(other)) => return Ok(Some(other)),
                Err(err @ StoreError::Conflict(_)) => conflict = Some(err),
                Err(err) => return Err(JoinError::Ledger(err)),
            }
        }
        Err(JoinError::Ledger(conflict.unwrap_or(StoreError::Timeout)))
    }

    /// Claims the pulse for the execution where that is due, and goes on with the last one's ramp.
    ///
    /// What one task finds counts for all of its execution: the first to find another execution at work
    /// leaves a ledger that says so, or the others might claim what is left of the time, and some shares
    /// would be synced and others not.
    async fn claim(
        &mut self,
        job: &Clients,
        execution: &Execution,
        look: &Look,
        deadline: Deadline,
    ) -> Result<Claim, StoreError> {
        if let Some(other) = look.own.as_ref().and_then(|own| own.skipped_for.clone()) {
            return Ok(Claim::Nothing(other));
        }
        let current = look.current.execution.as_ref();
        let is_current = current == Some(&self.execution);
        // Of the pulses of one loop no two run at the same time, whatever their ledgers say.
        let is_own_loop = |other| job.config.repeat.is_some() && execution.is_of_same_loop(other);
        let other = current.filter(|other| !is_current && !is_own_loop(other));
        // One task has everybody, whatever the last execution saw.
        let plans = self.tasks > 1 && look.own.is_none();
        let last = look.last.execution.as_ref().filter(|_| plans || job.pace.ramp().is_some());
        let [other_ledger, last_ledger] = job.store.ledgers([other, last], deadline).await?;
        let standing = standing(look.own.as_ref(), is_current, other_ledger.as_ref(), look.now);
        let plan = || {
            let plan = last_ledger.as_ref().and_then(|last| last.plan_next(self.tasks));
            plan.unwrap_or_else(|| Shards::guessed(self.tasks))
        };
        if let Some((ramp, shown_rate)) = last_ledger.as_ref().and_then(Ledger::ramp) {
            job.pace.resume_ramp(ramp, shown_rate);
        }
        let found = match &look.own {
            Some(own) => (own.shards.clone(), Some(own.clone())),
            None => (plan(), None),
        };
        // Nobody else will say what became of an execution that never came back.
        let dead = other.zip(other_ledger.as_ref());
        let dead = dead.filter(|(_, dead)| standing == LeaseState::Claim && dead.ended_at.is_none());
        self.last_synced_at = self.last_synced_at.max(dead.and_then(|(_, dead)| synced_by_dead(dead)));
        match (standing, other) {
            // A dry run writes nothing, and is in nobody's way.
            _ if job.config.dry_run => {}
            (LeaseState::Busy, Some(other)) => {
                if self.tasks > 1 && found.1.is_none() {
                    job.store.skip(&self.execution, &found.0, other, look.now, deadline).await?;
                }
                return Ok(Claim::Nothing(other.clone()));
            }
            (LeaseState::Join, _) => {}
            (LeaseState::Claim | LeaseState::Busy, _) => {
                let new = found.1.is_none().then_some((&found.0, look.now));
                let dead = dead.map(|(other, dead)| {
                    write_of_dead(other, dead, self.last_synced_at, job.store.database())
                });
                job.store.claim(&self.execution, new, &look.current, dead, deadline).await?;
            }
        }
        Ok(Claim::SyncPlan(found.0, found.1))
    }

    /// Takes what the plan gives this task, less what an earlier attempt has finished.
    fn take(&mut self, look: &Look, shards: &Shards, own: Option<Ledger>) -> Result<(), JoinError> {
        let planned = shards.tasks();
        let range = shards.range(self.task).filter(|_| planned == self.tasks);
        let range = range.ok_or_else(|| JoinError::OtherPlan {
            execution: self.execution.to_string(),
            planned,
            tasks: self.tasks,
        })?;
        // The server's clock, which dates the records of trouble too.
        self.schedule = RecheckSchedule { previous: look.last.started_at, now: look.now };
        self.started_at = look.now;
        if let Some(mut own) = own {
            self.started_at = own.started_at;
            let outcome = own.outcome();
            let record = own.tasks.remove(&self.task);
            self.earlier = match &record {
                Some(record) if record.state != TaskState::Completed => Earlier::Silent,
                Some(_) if own.ended_at.is_some() => Earlier::Ended(outcome),
                Some(_) => Earlier::Completed,
                None if own.is_fresh(look.now) => Earlier::Nothing,
                None => Earlier::Silent,
            };
            if let Some(TaskRecord { state: _, finished, used, ramp: _ }) = record {
                info!("Going on where the attempt before ended: {} so far", finished.counts);
                self.finished = finished;
                self.used_before.0 = used;
            }
            if let Earlier::Ended(outcome) = self.earlier {
                tell_done_before(outcome);
            }
        }
        let after = self.finished.cursor.clone().or(range.after);
        self.selection = Selection::Range(IdRange { after, until: range.until });
        // It comes before all users.
        self.has_legacy_account = self.task == 0 && self.finished.counts.users() == 0;
        Ok(())
    }

    /// Starts to keep the ledger.
    #[must_use]
    pub(crate) fn keep(&self, job: &Clients) -> Checkpointer {
        let progress = Progress::resume(self.finished.clone(), self.tasks);
        let book = Arc::new(Book {
            progress: Mutex::new((progress, self.finished.counts.users())),
            enough: Notify::new(),
            over: CancellationToken::new(),
        });
        let is_at_work = matches!(self.earlier, Earlier::Nothing | Earlier::Silent);
        let saver = (self.record == Recording::Ledger && is_at_work).then(|| {
            let saver = Saver {
                book: Arc::clone(&book),
                store: Arc::clone(&job.store),
                usage: Arc::clone(&job.usage),
                pace: Arc::clone(&job.pace),
                execution: self.execution.clone(),
                task: self.task,
                used_before: self.used_before,
            };
            AbortOnDropHandle::new(tokio::spawn(saver.run(self.earlier == Earlier::Silent)))
        });
        Checkpointer { book, saver }
    }

    /// What is known of the rejections that the other tasks of the execution have seen. Where the few
    /// users of this task alone would not tell whose fault they are, waits for the others a little.
    pub(crate) async fn rejections_of_others(
        &self,
        job: &Clients,
        verdicts: &Tally,
        finished: &Finished,
    ) -> Rejections {
        let mut known = Rejections::default();
        let is_alone = self.tasks == 1 || self.record != Recording::Ledger;
        if is_alone || !verdicts.need_others(&known) {
            return known;
        }
        let waiting = async {
            let settling = self.record(TaskState::Settling, finished, job);
            self.save(job, &settling, ExecutionEnd::Unchanged, Deadline::after(SAVE_BUDGET)).await;
            loop {
                let deadline = Deadline::after(SAVE_BUDGET);
                match self.ledger(job, deadline).await {
                    Some(ledger) => {
                        known = ledger.rejections_of_others(self.task);
                        if !verdicts.need_others(&known) || ledger.others_have_finished(self.task) {
                            break;
                        }
                    }
                    None => break,
                }
                sleep(LOOK_AT_OTHERS_EVERY).await;
            }
        };
        // Whatever is known by then has to do.
        let _ = timeout(WAIT_FOR_OTHERS, waiting).await;
        known
    }

    /// Whether this is a person's own run, for some users.
    #[must_use]
    pub(crate) fn is_named(&self) -> bool {
        matches!(self.selection, Selection::Named(_))
    }

    /// Whether this is one of several tasks.
    #[must_use]
    pub(crate) fn is_one_of_several(&self) -> bool {
        self.tasks > 1
    }

    /// What the whole pass is worth once all users of this task are counted, if that does not depend on
    /// other tasks.
    #[must_use]
    pub(crate) fn worth(&self, counts: &Counts) -> Option<Worth> {
        match self.earlier {
            _ if self.is_named() => Some(Worth { status: counts.status(), silence: None }),
            // Nothing has come of it since.
            Earlier::Ended(status) if *counts == self.finished.counts => {
                Some(Worth { status, silence: None })
            }
            _ if self.is_one_of_several() => None,
            _ if self.is_in_the_dark => Some(silence::worth_in_the_dark(counts)),
            _ => Some(silence::worth(counts, self.last_synced_at, self.schedule.now)),
        }
    }

    /// Records that this task has come to rest and, if it is the last one, tells the dashboards. Returns
    /// what the pass of all tasks is worth, if this is the one that knows; when others have not completed
    /// theirs, what this task's part of it is.
    pub(crate) async fn leave(
        &self,
        job: &Clients,
        state: TaskState,
        finished: &Finished,
        counts: &Counts,
        start: Instant,
        deadline: Deadline,
    ) -> Option<PassStatus> {
        if self.record == Recording::Nowhere || matches!(self.earlier, Earlier::Ended(_)) {
            return None;
        }
        let record = self.record(state, finished, job);
        let mut ledger = Ledger {
            shards: Shards::guessed(self.tasks),
            started_at: self.started_at,
            touched_at: self.started_at,
            ended_at: None,
            status: None,
            skipped_for: None,
            tasks: Default::default(),
        };
        if self.tasks > 1 {
            self.save(job, &record, ExecutionEnd::Unchanged, deadline).await;
            match self.ledger(job, deadline).await {
                Some(found) => ledger = found,
                None => return None,
            }
        }
        ledger.tasks.insert(self.task, record.clone());
        if !ledger.is_at_rest() {
            return None;
        }
        // The cursor may be behind users that are finished: they count, and are synced again by a retry.
        let published =
            TaskRecord { finished: Finished { counts: counts.clone(), ..finished.clone() }, ..record };
        ledger.tasks.insert(self.task, TaskRecord { used: self.used(job), ..published });
        let Worth { status, silence } = match self.is_in_the_dark && ledger.is_completed() {
            true => silence::worth_in_the_dark(&ledger.sums().0),
            false => ledger.worth(self.last_synced_at, self.schedule.now),
        };
        if let Some(silence) = silence.filter(|_| self.is_one_of_several()) {
            silence.tell(&ledger.sums().0, &job.config);
        }
        self.publish(job, &ledger, status, &record, start, deadline).await;
        Some(if ledger.is_completed() { status } else { counts.status() })
    }

    async fn publish(
        &self,
        job: &Clients,
        sums: &Ledger,
        status: PassStatus,
        record: &TaskRecord,
        start: Instant,
        deadline: Deadline,
    ) {
        let now = Timestamp::now();
        let (counts, used) = sums.sums();
        // Of the whole execution; no clock that jumps makes it shorter than this part of it.
        let duration = Duration::try_from(now.duration_since(self.started_at)).unwrap_or_default();
        let last_pulse = |own_writes| {
            LastPulse {
                counts: &counts,
                status,
                last_synced_at: match counts.success {
                    0 => Synced::Then(self.last_synced_at),
                    _ => Synced::Now,
                },
                execution: self.execution.as_str(),
                started_at: self.started_at,
                duration: duration.max(start.elapsed()),
                used: used + Used { firestore_writes: own_writes, ..Used::default() },
            }
            .to_write(job.store.database())
        };
        if self.record == Recording::Ledger {
            let end = task_write(
                job.store.database(),
                &self.execution,
                self.task,
                record,
                ExecutionEnd::At(now, status),
            );
            // In two parts, where they may be refused together, there must be time for the second.
            let together = deadline.less(deadline.left() / 2);
            match job.store.commit(&[end.clone(), last_pulse(2)], together).await {
                // The ledger is gone; the dashboards are not.
                Err(StoreError::Conflict(_)) => {}
                // Each costs only itself: above all, the next pulse must not take this one for running.
                Err(err) if err.may_be_one_documents() => {
                    if let Err(err) = job.store.commit(&[end], deadline).await {
                        report_unsaved(&self.execution, &err);
                    }
                }
                result => return report(result),
            }
        }
        report(job.store.commit(&[last_pulse(1)], deadline).await);
    }

    async fn ledger(&self, job: &Clients, deadline: Deadline) -> Option<Ledger> {
        match job.store.ledgers([Some(&self.execution)], deadline).await {
            Ok([ledger]) => ledger,
            Err(err) => {
                report_unsaved(&self.execution, &err);
                None
            }
        }
    }

    async fn save(&self, job: &Clients, record: &TaskRecord, end: ExecutionEnd, deadline: Deadline) {
        let write = task_write(job.store.database(), &self.execution, self.task, record, end);
        if let Err(err) = job.store.commit(&[write], deadline).await {
            report_unsaved(&self.execution, &err);
        }
    }

    fn record(&self, state: TaskState, finished: &Finished, job: &Clients) -> TaskRecord {
        TaskRecord { state, finished: finished.clone(), used: self.used(job), ramp: job.pace.ramp() }
    }

    /// What the task has used by now, all attempts together.
    #[must_use]
    pub(crate) fn used(&self, job: &Clients) -> Used {
        used(self.used_before, &job.usage)
    }
}

fn used((earlier, of_others): (Used, Used), usage: &Usage) -> Used {
    earlier + (usage.so_far() - of_others)
}

/// Whoever looks at the log of this attempt must not take it for one that found all well.
fn tell_done_before(outcome: PassStatus) {
    if outcome == PassStatus::Failed {
        error!("An earlier attempt has ended this execution as failed: its log lines say why");
    }
}

fn report(published: Result<(), StoreError>) {
    if let Err(err) = published {
        report_unpublished(&err);
    }
}

fn report_unsaved(execution: &DocumentId, err: &StoreError) {
    warn!(
        error = err.code().as_str(),
        "Could not keep the ledger ops/last_pulse/executions/{execution}: {}",
        Chain(err)
    );
}

/// What the pass and the task that saves share.
#[derive(Debug)]
struct Book {
    /// And the number of users that were finished when a save was last asked for.
    progress: Mutex<(Progress, u64)>,
    /// Enough users are finished for a save.
    enough: Notify,
    /// The pass is over.
    over: CancellationToken,
}

impl Book {
    fn progress(&self) -> MutexGuard<'_, (Progress, u64)> {
        // Whatever panics while it is locked leaves progress that is whole.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the pass, and has its progress saved.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    book: Arc<Book>,
    saver: Option<AbortOnDropHandle<()>>,
}

impl Checkpointer {
    /// A journey begins; see [`Progress::begin`].
    #[must_use]
    pub(crate) fn begin(&self, user: Option<DocumentId>) -> Slot {
        self.book.progress().0.begin(user)
    }

    /// It ends.
    pub(crate) fn end(&self, place: Slot, score: UserResult) {
        let (progress, saved) = &mut *self.book.progress();
        progress.end(place, score);
        let users = progress.finished().counts.users();
        if users >= *saved + SAVE_EVERY_USERS {
            *saved = users;
            self.book.enough.notify_one();
        }
    }

    /// The pass is over; how far it came. Waits for a save that is under way, or the last one might be
    /// overtaken by it.
    pub(crate) async fn close(self, stop: &Stop) -> Finished {
        self.book.over.cancel();
        if let Some(saver) = self.saver {
            tokio::select! {
                _ = saver => {}
                () = stop.requested_for(LAST_SAVE_WAIT) => {}
            }
        }
        self.book.progress().0.finished().clone()
    }
}

/// Saves the cursor in the background.
struct Saver {
    book: Arc<Book>,
    store: Arc<Store>,
    usage: Arc<Usage>,
    pace: Arc<RateLimits>,
    execution: DocumentId,
    task: usize,
    used_before: (Used, Used),
}

impl Saver {
    async fn run(self, mut was_silent: bool) {
        if was_silent {
            was_silent = !self.save(ExecutionEnd::Open).await;
        }
        loop {
            tokio::select! {
                () = sleep(SAVE_EVERY) => {}
                () = self.book.enough.notified() => {}
                () = self.book.over.cancelled() => return,
            }
            // Until it is said that the task is at work, it counts as at rest.
            let end = if was_silent { ExecutionEnd::Open } else { ExecutionEnd::Unchanged };
            was_silent &= !self.save(end).await;
        }
    }

    /// Whether it was saved.
    async fn save(&self, end: ExecutionEnd) -> bool {
        let finished = self.book.progress().0.finished().clone();
        let used = used(self.used_before, &self.usage);
        let record = TaskRecord { state: TaskState::Running, finished, used, ramp: self.pace.ramp() };
        let write = task_write(self.store.database(), &self.execution, self.task, &record, end);
        let saved = self.store.commit(&[write], Deadline::after(SAVE_BUDGET)).await;
        if let Err(err) = &saved {
            report_unsaved(&self.execution, err);
        }
        saved.is_ok()
    }
}
