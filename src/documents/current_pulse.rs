//! `ops/current_pulse`: the execution that claimed last. A claim replaces it only as it was read, so of two that
//! claim at once, one finds the other. Whoever publishes shows in the same commit that it is still the current one.

use crate::firestore::values::string;
use crate::firestore::write::{Precondition, Write, merge_at, merge_at_all};
use crate::firestore::{Store, StoreError};
use crate::limits::retry::Deadline;
use crate::model::ids::{Database, DocumentId};
use gcloud_sdk::google::firestore::v1::Document;
use gcloud_sdk::prost_types;
use jiff::Timestamp;

/// The field that gets the server's time of the commit.
const CLAIMED_AT: &str = "claimed_at";

/// The document as it was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CurrentPulse {
    /// Which execution claimed last.
    pub(crate) execution: Option<DocumentId>,
    /// There is none without a document.
    version: Option<prost_types::Timestamp>,
}

impl CurrentPulse {
    /// Reads the document, if it exists. What names no execution is in nobody's way.
    #[must_use]
    pub(crate) fn of(document: Option<&Document>) -> Self {
        let id = document.and_then(|document| document.fields.get("execution")).and_then(string);
        Self {
            execution: id.and_then(|id| DocumentId::parse(id).ok()),
            version: document.and_then(|document| document.update_time),
        }
    }

    /// When it was claimed, by the server's clock; nothing without a document.
    #[must_use]
    pub(crate) fn claimed_at(&self) -> Option<Timestamp> {
        self.version.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok())
    }

    /// The write that makes that execution the current one, unless another was faster.
    #[must_use]
    pub(crate) fn replaced_by(&self, execution: &DocumentId, database: &Database) -> Write {
        let fields = [("execution", Some(execution.as_str().into()))];
        merge_at(&current_pulse_name(database), &fields, CLAIMED_AT, &self.as_it_was_read())
    }

    /// The write that changes nothing, and that is refused, with all that is in its commit, once another execution
    /// has claimed. As it changes nothing it can be sent again.
    #[must_use]
    pub(crate) fn kept_by(&self, execution: &DocumentId, database: &Database) -> Write {
        let fields = [("execution", Some(execution.as_str().into()))];
        merge_at_all(&current_pulse_name(database), &fields, &[], &self.as_it_was_read())
    }

    fn as_it_was_read(&self) -> Precondition {
        self.version.map_or(Precondition::Absent, |version| Precondition::Unchanged(Some(version)))
    }
}

impl Store {
    /// The execution that claimed last.
    pub(crate) async fn current_pulse(&self, deadline: Deadline) -> Result<CurrentPulse, StoreError> {
        let name = current_pulse_name(self.database());
        let found = self.found(vec![name.clone()], None, deadline).await?;
        Ok(CurrentPulse::of(found.documents.get(&name)))
    }
}

/// Full name of the document.
#[must_use]
pub(crate) fn current_pulse_name(database: &Database) -> String {
    database.document(format_args!("ops/current_pulse"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::written::Written;
    use crate::firestore::values::{integer, text};
    use gcloud_sdk::google::firestore::v1::precondition::ConditionType;

    #[test]
    fn what_names_no_execution_is_in_nobodys_way_but_has_a_version() {
        let version = Some(prost_types::Timestamp { seconds: 7, nanos: 0 });
        for (stored, execution) in [
            (Some(text("pulse-x")), Some("pulse-x")),
            (Some(text("a/b")), None),
            (Some(integer(7)), None),
            (None, None),
        ] {
            let fields = stored.into_iter().map(|value| ("execution".to_owned(), value)).collect();
            let document = Document { fields, update_time: version, ..Document::default() };
            let read = CurrentPulse::of(Some(&document));
            assert_eq!(read.execution.as_ref().map(DocumentId::as_str), execution);
            assert_eq!(read.version, version);
        }
        assert_eq!(CurrentPulse::of(None), CurrentPulse::default());
    }

    #[test]
    fn a_claim_replaces_the_document_only_as_it_was_read() {
        let (database, id) = (Database::parse("p", "(default)"), DocumentId::parse("pulse-x"));
        let (database, id) = (database.expect("legal"), id.expect("legal"));
        let version = prost_types::Timestamp { seconds: 7, nanos: 9 };
        for (version, precondition) in
            [(None, ConditionType::Exists(false)), (Some(version), ConditionType::UpdateTime(version))]
        {
            let current = CurrentPulse { execution: None, version };
            let claim = Written::of(&current.replaced_by(&id, &database));
            let no_change = Written::of(&current.kept_by(&id, &database));
            assert_eq!((&claim.server_times, &no_change.server_times), (&vec!["claimed_at".into()], &vec![]));
            for write in [claim, no_change] {
                assert_eq!(
                    (write.path.as_str(), write.precondition),
                    ("ops/current_pulse", Some(precondition))
                );
                assert_eq!(write.fields, [("execution".to_owned(), text("pulse-x"))].into());
                assert_eq!(write.mask, ["execution"]);
            }
        }
    }
}
