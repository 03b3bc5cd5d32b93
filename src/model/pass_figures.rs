//! A finished pass of all tasks together, in numbers, as the metrics have it.

use crate::model::measures::Measures;
use crate::model::outcome::Counts;
use crate::model::usage::Used;
use jiff::Timestamp;
use std::time::Duration;

/// What there is to say of it. No user is named.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PassFigures {
    /// What became of the users.
    pub(crate) counts: Counts,
    /// What was measured of them.
    pub(crate) measures: Measures,
    /// What the pass used.
    pub(crate) used: Used,
    /// How long it took, from its first task's start.
    pub(crate) duration: Duration,
    /// When it ended, by the server's clock.
    pub(crate) ended_at: Timestamp,
    /// When a pass last synced anybody, as far as it is known.
    pub(crate) last_success: Option<Timestamp>,
}
