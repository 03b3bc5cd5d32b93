//! Who may write `ops/last_pulse`: only the execution that has the pulse, which its commit has to show. One that was
//! frozen, and taken over meanwhile, does not have it any more and cannot know that by itself.

use crate::documents::current_pulse::CurrentPulse;
use crate::execution::assignment::TaskAssignment;
use crate::execution::record::Recording;
use crate::firestore::StoreError;
use crate::firestore::write::Write;
use crate::model::ids::{Database, DocumentId};
use crate::telemetry::Chain;
use tracing::{error, warn};

/// Whether an execution may publish.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fence {
    /// It may, with this write in the same commit.
    Open(Write),
    /// It may not: that one has the pulse.
    Closed(Option<DocumentId>),
}

/// Why the dashboards were not told.
#[derive(Debug)]
pub(super) enum Unpublished {
    /// Another execution has the pulse.
    TakenOver(Option<DocumentId>),
    /// Firestore did not take it, or did not say who has the pulse.
    Refused(StoreError),
}

impl TaskAssignment {
    /// What is to be shown of the pulse as it is now.
    #[must_use]
    pub(super) fn fence(&self, current: &CurrentPulse, database: &Database) -> Fence {
        let is_ours = current.execution.as_ref() == Some(&self.execution);
        let claimed_meanwhile = current.claimed_at().is_some_and(|at| at > self.started_at);
        // It could not claim when it began, but still can.
        let can_claim = self.recording == Recording::LastPulse && !claimed_meanwhile;
        match current.claimed_at() {
            Some(_) if is_ours => Fence::Open(current.kept_by(&self.execution, database)),
            Some(_) if !can_claim => Fence::Closed(current.execution.clone()),
            Some(_) | None => Fence::Open(current.replaced_by(&self.execution, None, database)),
        }
    }
}

impl Unpublished {
    /// Says that the dashboards were not told.
    pub(super) fn report(&self, own: &DocumentId) {
        match self {
            Self::TakenOver(by) => {
                let by = by.as_ref().map_or("another execution", DocumentId::as_str);
                warn!(
                    taken_over_by = by,
                    "Left ops/last_pulse alone: {by} has taken over from {own}, which stood still for too long"
                );
            }
            Self::Refused(err) => report_unpublished(err),
        }
    }
}

/// Says that Firestore did not let the dashboards be told.
pub(super) fn report_unpublished(err: &StoreError) {
    error!(error = err.code().as_str(), "Could not write ops/last_pulse: {}", Chain(err));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::written::Written;
    use crate::execution::examples::{assignment, at, database};
    use crate::firestore::values::text;
    use gcloud_sdk::google::firestore::v1::Document;
    use gcloud_sdk::prost_types::Timestamp;

    /// Claimed by that execution so many seconds after the examples' has started.
    fn claimed(execution: &str, second: i64) -> CurrentPulse {
        let fields = [("execution".to_owned(), text(execution))].into();
        let update_time = Some(Timestamp { seconds: at(second).as_second(), nanos: 0 });
        CurrentPulse::of(Some(&Document { fields, update_time, ..Document::default() }))
    }

    #[test]
    fn who_has_the_pulse_may_publish_and_who_never_had_it_may_still_claim_it() {
        use Recording::{LastPulse, Ledger};
        const KEPT: Result<&[&str], Option<&str>> = Ok(&[]);
        const CLAIMED: Result<&[&str], Option<&str>> = Ok(&["claimed_at"]);
        let unreadable = CurrentPulse::of(Some(&Document {
            update_time: Some(Timestamp::default()),
            ..Document::default()
        }));
        for (recording, current, expected) in [
            (Ledger, claimed("pulse-x", 0), KEPT),
            (LastPulse, claimed("pulse-x", 9), KEPT),
            (Ledger, claimed("pulse-y", 9), Err(Some("pulse-y"))),
            (Ledger, claimed("pulse-y", -9), Err(Some("pulse-y"))),
            (Ledger, unreadable, Err(None)),
            (LastPulse, claimed("pulse-y", 9), Err(Some("pulse-y"))),
            (LastPulse, claimed("pulse-y", -9), CLAIMED),
            (LastPulse, CurrentPulse::default(), CLAIMED),
            // Somebody has removed the claim, which takes over from nobody.
            (Ledger, CurrentPulse::default(), CLAIMED),
        ] {
            let assignment = TaskAssignment { recording, ..assignment(0, 1) };
            let fence = assignment.fence(&current, &database());
            match fence {
                Fence::Open(write) => {
                    let times = Written::of(&write).server_times;
                    let times: Vec<_> = times.iter().map(String::as_str).collect();
                    assert_eq!(Ok(&*times), expected, "{current:?}");
                }
                Fence::Closed(by) => {
                    assert_eq!(Err(by.as_ref().map(DocumentId::as_str)), expected, "{current:?}")
                }
            }
        }
    }
}
