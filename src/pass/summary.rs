//! The last lines of a pass.

use crate::model::durations::Durations;
use crate::model::failing::FailingLong;
use crate::model::ledger::TaskState;
use crate::model::outcome::{Counts, PassStatus};
use crate::model::usage::Used;
use crate::pass::count::Unreached;
use crate::pass::fan_out::FanOutEnd;
use crate::pass::log_lines::millis;
use crate::pass::user_pages::Unreadable;
use crate::shutdown::Stop;
use crate::telemetry::Chain;
use crate::telemetry::output;
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{Level, event, warn};

/// How reading and syncing the users ended.
pub(crate) struct PassEnd {
    /// Whether all users that were read were synced.
    pub(crate) fan_out_end: FanOutEnd,
    /// Users who were given up in flight.
    given_up: u64,
    /// Who was not done, those who were given up included, only when the deadline stopped the pass.
    pub(crate) unreached: Option<Unreached>,
    /// Why not all users could be read.
    pub(crate) unreadable: Option<Unreadable>,
}

impl PassEnd {
    /// With so many in flight who were given up, and those who were not begun.
    pub(crate) fn new(
        (fan_out_end, given_up): (FanOutEnd, u64),
        unbegun: Option<Unreached>,
        unreadable: Option<Unreadable>,
    ) -> Self {
        match (fan_out_end, unbegun) {
            // The deadline came when the last ones were already begun.
            (FanOutEnd::Stopped, Some(Unreached::Users(0))) => {
                Self { fan_out_end: FanOutEnd::Complete, given_up, unreached: None, unreadable }
            }
            _ => Self {
                fan_out_end,
                given_up,
                unreached: unbegun.map(|unbegun| unbegun.and(given_up)),
                unreadable,
            },
        }
    }

    pub(crate) fn state(&self) -> TaskState {
        match (&self.unreadable, self.fan_out_end) {
            (Some(_), _) => TaskState::Failed,
            (None, FanOutEnd::Complete) => TaskState::Completed,
            (None, FanOutEnd::Stopped | FanOutEnd::CutOff) => TaskState::Stopped,
        }
    }
}

/// The numbers of the last line.
pub(crate) struct Figures<'a> {
    /// What kind of pass it was, if it began.
    pub(crate) scope: Option<&'static str>,
    /// What it is worth, if this task knows.
    pub(crate) status: Option<PassStatus>,
    /// What became of the users.
    pub(crate) counts: &'a Counts,
    /// How long the ways of those took who were synced.
    pub(crate) durations: &'a Durations,
    /// What the task has used, all attempts together.
    pub(crate) used: Used,
    /// When the pass began.
    pub(crate) start: Instant,
}

/// Says that a pass was stopped before it began.
pub(crate) fn conclude_unbegun(stop: &Stop, start: Instant) {
    let unreached = stop.deadline().map(|_| Unreached::Unknown);
    let end = PassEnd { fan_out_end: FanOutEnd::Stopped, given_up: 0, unreached, unreadable: None };
    let (counts, durations, used) = (Counts::default(), Durations::default(), Used::default());
    let status = Some(PassStatus::Failed);
    let figures = Figures { scope: None, status, counts: &counts, durations: &durations, used, start };
    conclude(&figures, &end);
}

/// The last line of the log, but for its numbers.
#[derive(Debug, PartialEq, Eq)]
struct LastLine {
    level: Level,
    severity: Option<&'static str>,
    error: Option<&'static str>,
    not_reached: Option<u64>,
    message: String,
}

impl PassEnd {
    fn last_line(&self, counts: &Counts) -> LastLine {
        let line =
            |level, message| LastLine { level, severity: None, error: None, not_reached: None, message };
        match (&self.unreadable, self.fan_out_end) {
            (Some(err), _) => LastLine {
                severity: Some("CRITICAL"),
                error: Some(err.code().as_str()),
                ..line(
                    Level::ERROR,
                    format!(
                        "Failed multi-tenant sync: {counts}; the other users could not be read: {}",
                        Chain(err)
                    ),
                )
            },
            (None, FanOutEnd::Complete) => {
                line(Level::INFO, format!("Completed multi-tenant sync: {counts}"))
            }
            (None, fan_out_end) => {
                let unreached = self.unreached.map(|users| format!("; {users}")).unwrap_or_default();
                let given_up = match (fan_out_end, self.unreached) {
                    (FanOutEnd::CutOff, Some(Unreached::Users(_))) => {
                        format!(", {} of them given up in flight", self.given_up)
                    }
                    (FanOutEnd::CutOff, _) => "; what was in flight is given up".to_owned(),
                    (FanOutEnd::Stopped | FanOutEnd::Complete, _) => String::new(),
                };
                let message = format!("Stopped multi-tenant sync: {counts}{unreached}{given_up}");
                let not_reached = self.unreached.and_then(Unreached::count);
                LastLine { not_reached, ..line(Level::WARN, message) }
            }
        }
    }
}

/// Says who has been failing for long, if anybody has.
pub(crate) fn tell_failing_long(failing: &FailingLong, scope: &str, now: Timestamp) {
    let (failing_count, longest_failing_s) = (failing.count, failing.longest(now).as_secs());
    let users = match failing_count {
        0 => return,
        1 => "1 user has".to_owned(),
        count => format!("{count} users have"),
    };
    warn!(scope, failing_count, longest_failing_s, "{users} been failing for 5 minutes or more");
}

/// The errors as an object, which the log makes one of.
fn errors(counts: &Counts) -> String {
    let errors: Vec<_> = counts.errors.iter().map(|(code, count)| format!("\"{code}\":{count}")).collect();
    format!("{{{}}}", errors.join(","))
}

/// Logs the last line of the pass, with its numbers as fields by the names of `ops/last_pulse`.
pub(crate) fn conclude(figures: &Figures<'_>, end: &PassEnd) {
    let Figures { scope, status, counts, durations, used, start } = figures;
    let errors = errors(counts);
    let LastLine { level, severity, error, not_reached, message } = end.last_line(counts);
    macro_rules! log_at {
        ($level:expr) => {
            event!(
                $level,
                severity,
                error,
                not_reached,
                scope,
                status = status.map(PassStatus::as_str),
                duration_ms = millis(*start),
                success_count = counts.success,
                error_count = counts.error(),
                our_error_count = counts.ours,
                skipped_count = counts.skipped,
                needs_reauth_count = counts.needs_reauth,
                stale_count = counts.stale,
                users_count = counts.users(),
                unreached_count = not_reached,
                errors,
                p50_ms = durations.percentile_ms(50),
                p95_ms = durations.percentile_ms(95),
                p99_ms = durations.percentile_ms(99),
                firestore_reads = used.firestore_reads,
                firestore_writes = used.firestore_writes,
                secret_accesses = used.secret_accesses,
                alpaca_calls = used.alpaca_calls,
                dropped_lines = output::dropped_lines(),
                "{message}"
            )
        };
    }
    // The level of a line is known when it is compiled.
    match level {
        Level::ERROR => log_at!(Level::ERROR),
        Level::WARN => log_at!(Level::WARN),
        _ => log_at!(Level::INFO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FanOutEnd::{Complete, CutOff, Stopped};

    fn end(fan_out_end: FanOutEnd, unreached: Option<Unreached>, is_readable: bool) -> PassEnd {
        let unreadable = (!is_readable).then_some(Unreadable::Panicked);
        let given_up = if fan_out_end == CutOff { 2 } else { 0 };
        PassEnd::new((fan_out_end, given_up), unreached, unreadable)
    }

    #[test]
    fn a_pass_is_over_when_all_users_were_reached_and_read() {
        let nobody = Some(Unreached::Users(0));
        let some = Some(Unreached::Users(7));
        for (fan_out_end, unreached, is_readable, state) in [
            (Complete, None, true, TaskState::Completed),
            (Complete, None, false, TaskState::Failed),
            (Stopped, None, true, TaskState::Stopped),
            (Stopped, nobody, true, TaskState::Completed),
            (Stopped, nobody, false, TaskState::Failed),
            (Stopped, some, true, TaskState::Stopped),
            (Stopped, Some(Unreached::Unknown), true, TaskState::Stopped),
            (CutOff, None, true, TaskState::Stopped),
            (CutOff, nobody, true, TaskState::Stopped),
            (CutOff, some, false, TaskState::Failed),
        ] {
            let end = end(fan_out_end, unreached, is_readable);
            assert_eq!(end.state(), state, "{fan_out_end:?} {unreached:?} {is_readable}");
        }
    }

    #[test]
    fn the_last_line_says_how_it_ended_and_who_was_not_reached() {
        let counts = Counts::default();
        let some = Some(Unreached::Users(7));
        for (end, level, error, not_reached, said) in [
            (
                end(Complete, None, true),
                Level::INFO,
                None,
                None,
                format!("Completed multi-tenant sync: {counts}"),
            ),
            (
                end(Stopped, None, true),
                Level::WARN,
                None,
                None,
                format!("Stopped multi-tenant sync: {counts}"),
            ),
            (
                end(Stopped, some, true),
                Level::WARN,
                None,
                Some(7),
                format!("Stopped multi-tenant sync: {counts}; 7 users were not reached before the deadline"),
            ),
            (
                end(CutOff, some, true),
                Level::WARN,
                None,
                Some(9),
                format!(
                    "Stopped multi-tenant sync: {counts}; 9 users were not reached before the deadline, 2 of them given up \
                     in flight"
                ),
            ),
            (
                end(CutOff, None, true),
                Level::WARN,
                None,
                None,
                format!("Stopped multi-tenant sync: {counts}; what was in flight is given up"),
            ),
            (
                end(CutOff, Some(Unreached::Unknown), true),
                Level::WARN,
                None,
                None,
                format!(
                    "Stopped multi-tenant sync: {counts}; the other users were not reached before the deadline; what \
                     was in flight is given up"
                ),
            ),
            (
                end(CutOff, some, false),
                Level::ERROR,
                Some("internal"),
                None,
                format!(
                    "Failed multi-tenant sync: {counts}; the other users could not be read: the task that reads them \
                     panicked"
                ),
            ),
        ] {
            let severity = error.map(|_| "CRITICAL");
            let expected = LastLine { level, severity, error, not_reached, message: said };
            assert_eq!(end.last_line(&counts), expected);
        }
    }
}
