//! A loop of pulses, as the claim of its last one tells of it.

use crate::model::ids::DocumentId;
use jiff::Timestamp;

/// What others know of a loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoopClaim {
    /// Which it is: the id of its first execution.
    pub(crate) id: DocumentId,
    /// The point in time of its last pulse.
    pub(crate) due_at: Timestamp,
    /// The point in time of its next pulse.
    pub(crate) next_at: Timestamp,
    /// The point in time from which it has none.
    pub(crate) ends_at: Timestamp,
}
