//! How far a database has been ramped up.

use jiff::Timestamp;

/// How far a database has been ramped up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ramp {
    /// Writes a second that the database may get, from all tasks together. At least 500.
    pub(crate) limit: u32,
    /// When that limit began.
    pub(crate) since: Timestamp,
}
