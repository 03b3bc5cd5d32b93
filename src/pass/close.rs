//! The end of a pass: what had to wait for all users is judged, said and recorded, and the task leaves its execution.

use crate::execution::assignment::TaskAssignment;
use crate::execution::checkpoint::Checkpointer;
use crate::execution::progress::Late;
use crate::execution::publish::{Leave, Leaving, Left};
use crate::limits::deadlines::{LOOK_BACK_BUDGET, LOOK_BACK_LIMIT, PUBLISH_RESERVE, USER_BUDGET};
use crate::limits::retry::Deadline;
use crate::model::fleet_guard::{AtHost, Rejections};
use crate::model::keys::Environment;
use crate::model::ledger::{Finished, TaskState};
use crate::model::outcome::{Code, Counts, PassStatus};
use crate::pass::context::PassContext;
use crate::pass::count::Unreached;
use crate::pass::state_records::last_successes;
use crate::pass::summary::{Figures, PassEnd, conclude, tell_failing_long};
use crate::pass::tally::Tally;
use crate::shutdown::{CLOSING_LIMIT, Stop};
use crate::telemetry::{columns_of_stdout, is_watched, output};
use jiff::{SignedDuration, Timestamp};
use tracing::{error, warn};

/// A pass whose users are done, or given up.
pub(crate) struct Closing<'a> {
    /// What all its users had in common.
    pub(crate) pass: &'a PassContext,
    /// Which users were this task's, and what became of those before a retry.
    pub(crate) assignment: &'a TaskAssignment,
    /// Whether the process is told to stop: then there is little time.
    pub(crate) stop: &'a Stop,
    /// How reading and syncing the users ended.
    pub(crate) end: PassEnd,
}

impl Closing<'_> {
    /// Says how it went, and records it. Returns what the exit code says.
    ///
    /// All users reached: look back (when those last succeeded who are left to the closing), fleet guard, last line,
    /// their records, leave the execution. Cut short: last line, leave, look back, fleet guard, records. There may be
    /// no time for all of it then, and how far the pass came matters more.
    pub(crate) async fn close(self, checkpointer: Checkpointer, mut tally: Tally) -> PassStatus {
        let Self { pass, assignment, stop, end } = &self;
        tell_wrong_clock(pass.clients.store.clock().deviation(Timestamp::now()));
        let recorded = async {
            let finished = checkpointer.close(stop).await;
            match end.state() {
                TaskState::Completed => self.complete(finished, &mut tally).await,
                _ => self.cut_short(finished, &mut tally).await,
            }
        };
        // Once told to stop, there is little time before the process is killed.
        let left = stop.run_until_stopped_for(CLOSING_LIMIT, recorded).await.unwrap_or_else(|| {
            warn!("Stopped before everything was recorded");
            Leave::Unrecorded.into()
        });
        if let (Some(metrics), Some(figures)) = (&pass.clients.metrics, &left.figures) {
            metrics.export(figures, stop).await;
        }
        assignment.status(end.state(), &tally.counts, left.leave)
    }

    /// All users were reached: they are judged together.
    async fn complete(&self, mut finished: Finished, tally: &mut Tally) -> Left {
        let Self { pass, assignment, stop, .. } = self;
        let (clients, now) = (&*pass.clients, pass.clients.store.clock().now());
        finished.add_late(&self.look_back(tally, now).await);
        // Told to stop, the task has no time to wait for the others.
        let of_others = assignment.rejections_of_others(clients, &finished, |known| tally.need_others(known));
        let of_others = stop.run_until_stopped(of_others).await.unwrap_or_default();
        tell_fleet_wide(&tally.fleet_wide(of_others));
        let worth = assignment.worth(&tally.counts);
        if let Some(silence) = worth.and_then(|worth| worth.silence) {
            silence.tell(&tally.counts, &clients.config);
        }
        tell_failing_long(&tally.failing_long, clients.config.scope(), now);
        self.conclude(tally, worth.map(|worth| worth.status));
        // What is published includes what the records cost; what is left of the time is for publishing.
        let deadline = Deadline::after(USER_BUDGET);
        let records = tally.records(of_others, now);
        pass.recorder().settle(&records, pass.schedule.now, deadline.less(PUBLISH_RESERVE)).await;
        if pass.meets_everybody() {
            let removal = pass.left_overs.remove(clients, deadline.less(PUBLISH_RESERVE));
            stop.run_until_stopped(removal).await;
        }
        assignment.leave(clients, self.leaving(&finished, &tally.counts), deadline).await
    }

    /// The pass was stopped, or could not read its users: an attempt that follows goes on after the cursor.
    async fn cut_short(&self, finished: Finished, tally: &mut Tally) -> Left {
        let Self { pass, assignment, .. } = self;
        let (clients, now) = (&*pass.clients, pass.clients.store.clock().now());
        tell_failing_long(&tally.failing_long, clients.config.scope(), now);
        self.conclude(tally, Some(PassStatus::Failed));
        let deadline = Deadline::after(USER_BUDGET);
        let left = assignment.leave(clients, self.leaving(&finished, &tally.counts), deadline).await;
        self.look_back(tally, now).await;
        let nobody = Rejections::default();
        tell_fleet_wide(&tally.fleet_wide(nobody));
        // The fleet guard of one of several tasks needs what the others saw, and there is no time to wait for them.
        if !assignment.is_one_of_several() {
            let mut records = tally.records(nobody, now);
            // A retried attempt asks again about everybody after the cursor: two rejections within moments are one.
            let cursor = finished.cursor.as_ref();
            records.retain(|(user, _)| {
                cursor.is_some_and(|cursor| assignment.selection.has_passed(cursor, user))
            });
            pass.recorder().settle(&records, pass.schedule.now, deadline.less(PUBLISH_RESERVE)).await;
        }
        left
    }

    fn leaving<'a>(&self, finished: &'a Finished, counts: &'a Counts) -> Leaving<'a> {
        let unreached = self.end.unreached.and_then(Unreached::count);
        Leaving { state: self.end.state(), finished, counts, unreached, start: self.pass.start }
    }

    fn conclude(&self, tally: &Tally, status: Option<PassStatus>) {
        let Self { pass, assignment, end, .. } = self;
        let (scope, used) = (Some(pass.clients.config.scope()), assignment.used(&pass.clients));
        let Tally { counts, durations, .. } = tally;
        if let Some(differences) = &pass.memory.differences {
            differences.close(counts);
        }
        conclude(&Figures { scope, status, counts, durations, used, start: pass.start }, end);
        if let Some(columns) = columns_of_stdout().filter(|_| is_watched()) {
            let config = &pass.clients.config;
            output::print(&tally.failed.summary(&config.database, columns));
            // Of everybody, who is paused is as it should be.
            if !config.takes_everybody() {
                output::print(&tally.failed.paused(&config.database, columns));
            }
        }
    }

    /// Reads when those last succeeded who are left to the closing, as far as it is not known yet.
    async fn look_back(&self, tally: &mut Tally, now: Timestamp) -> Late {
        let unread: Vec<_> = tally.unread().cloned().collect();
        let reading = last_successes(&self.pass.clients, &unread, Deadline::after(LOOK_BACK_BUDGET));
        let read = self.stop.run_until_stopped_for(LOOK_BACK_LIMIT, reading).await;
        tally.learn(&read.unwrap_or_default(), now)
    }
}

/// Where this machine's clock is far off.
fn tell_wrong_clock(ahead: Option<SignedDuration>) {
    if let Some(ahead) = ahead {
        let way = if ahead.is_negative() { "behind" } else { "ahead of" };
        let by = ahead.abs().as_secs();
        warn!(
            clock_ahead_s = ahead.as_secs(),
            "The clock of this machine is {by} s {way} Firestore's, which all times are taken from but those of log \
             lines: set it right"
        );
    }
}

/// Where rejections are the provider's fault or ours.
fn tell_fleet_wide(fleet_wide: &[(Environment, AtHost)]) {
    for (host, at) in fleet_wide {
        let (rejected, users) = (at.rejected, at.users());
        error!(
            severity = "CRITICAL",
            error = Code::BrokerRejected.as_str(),
            environment = host.as_str(),
            "Alpaca rejected {rejected} of {users} users: not marking anyone for re-authentication"
        );
    }
}
