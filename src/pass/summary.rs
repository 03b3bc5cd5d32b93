//! The last lines of a pass.

use crate::limits::usage::Used;
use crate::model::ledger::TaskState;
use crate::model::outcome::{Counts, PassStatus};
use crate::pass::count::Unreached;
use crate::pass::fan_out::FanOutEnd;
use crate::pass::sync_user::millis;
use crate::pass::user_pages::Unreadable;
use crate::telemetry::Chain;
use crate::telemetry::output;
use tokio::time::Instant;
use tracing::{error, info, warn};

/// How reading and syncing the users ended.
pub(crate) struct PassEnd {
    pub(crate) ended: FanOutEnd,
    /// Only when the deadline ended it.
    pub(crate) unreached: Option<Unreached>,
    pub(crate) unreadable: Option<Unreadable>,
}

impl PassEnd {
    pub(crate) fn new(
        ended: FanOutEnd,
        unreached: Option<Unreached>,
        unreadable: Option<Unreadable>,
    ) -> Self {
        match (ended, unreached) {
            // The deadline came when the last ones were already on their way.
            (FanOutEnd::Stopped, Some(Unreached::Users(0))) => {
                Self { ended: FanOutEnd::Complete, unreached: None, unreadable }
            }
            _ => Self { ended, unreached, unreadable },
        }
    }

    pub(crate) fn state(&self) -> TaskState {
        match (&self.unreadable, self.ended) {
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
    pub(crate) counts: &'a Counts,
    pub(crate) used: Used,
    pub(crate) start: Instant,
}

/// Logs a last line of the pass, with its numbers as fields by the names of `ops/last_pulse`.
macro_rules! summary {
    ($log:ident, $figures:expr, [$($field:tt)*], $($message:tt)+) => {{
        let Figures { scope, status, counts, used, start } = $figures;
        $log!(
            $($field)*
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
            firestore_reads = used.firestore_reads,
            firestore_writes = used.firestore_writes,
            secret_accesses = used.secret_accesses,
            alpaca_calls = used.alpaca_calls,
            dropped_lines = output::dropped_lines(),
            $($message)+
        )
    }};
}

/// The last lines of the log.
pub(crate) fn conclude(figures: &Figures<'_>, ending: &PassEnd) {
    let counts = figures.counts;
    match (&ending.unreadable, ending.ended) {
        (Some(err), _) => summary!(
            error,
            figures,
            [severity = "CRITICAL", error = err.code().as_str(),],
            "Failed multi-tenant sync: {counts}; the other users could not be read: {}",
            Chain(err)
        ),
        (None, FanOutEnd::Complete) => summary!(info, figures, [], "Completed multi-tenant sync: {counts}"),
        (None, ended) => {
            let not_reached = ending.unreached.and_then(Unreached::count);
            let unreached = ending.unreached.map(|users| format!("; {users}")).unwrap_or_default();
            let given_up = if ended == FanOutEnd::CutOff { "; what was in flight is given up" } else { "" };
            summary!(
                warn,
                figures,
                [not_reached,],
                "Stopped multi-tenant sync: {counts}{unreached}{given_up}"
            );
        }
    }
}
