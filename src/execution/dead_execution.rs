//! What is recorded of an execution that never came back, by the one that takes over: nobody else will say what
//! became of it. When one counts as dead is a rule of the ledger, and who takes over one of the claim.

use crate::documents::last_pulse::{LastPulse, Synced};
use crate::execution::silence::LastSynced;
use crate::model::ids::DocumentId;
use crate::model::ledger::Ledger;
use crate::model::outcome::PassStatus;
use jiff::Timestamp;
use std::time::Duration;

/// An execution that has not ended, and of which nothing was heard for too long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct DeadExecution<'a> {
    /// Which it is.
    pub(super) id: &'a DocumentId,
    /// What it has left.
    pub(super) ledger: &'a Ledger,
}

impl DeadExecution<'_> {
    /// When it last synced anybody, as far as can be told.
    #[must_use]
    pub(super) fn synced_at(self) -> Option<Timestamp> {
        (self.ledger.sums().0.success > 0).then_some(self.ledger.touched_at)
    }

    /// What the dashboards are told. `last_synced` is when it or one before it last synced anybody.
    #[must_use]
    pub(super) fn last_pulse(self, last_synced: LastSynced) -> LastPulse {
        let (counts, used) = self.ledger.sums();
        let duration = Duration::try_from(self.ledger.touched_at.duration_since(self.ledger.started_at));
        LastPulse {
            counts,
            // Whoever counts them is dead.
            unreached: None,
            status: PassStatus::Failed,
            last_synced_at: Synced::Then(last_synced.known()),
            execution: self.id.clone(),
            started_at: self.ledger.started_at,
            duration: duration.unwrap_or_default(),
            used,
        }
    }
}
