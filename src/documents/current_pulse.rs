//! `ops/current_pulse`: the execution that claimed last. A claim replaces it only as it was read, so of two that
//! claim at once, one finds the other.

use crate::firestore::values::string;
use crate::firestore::write::{Precondition, Write, merge_at};
use crate::model::ids::{Database, DocumentId};
use gcloud_sdk::google::firestore::v1::Document;
use gcloud_sdk::prost_types;

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

    /// The write that makes that execution the current one, unless another was faster.
    #[must_use]
    pub(crate) fn replaced_by(&self, execution: &DocumentId, database: &Database) -> Write {
        let precondition = match &self.version {
            Some(version) => Precondition::Unchanged(Some(*version)),
            None => Precondition::Absent,
        };
        let fields = [("execution", Some(execution.as_str().into()))];
        merge_at(&current_pulse_name(database), &fields, CLAIMED_AT, &precondition)
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
            let write = Written::of(&current.replaced_by(&id, &database));
            assert_eq!((write.path.as_str(), write.precondition), ("ops/current_pulse", Some(precondition)));
            assert_eq!(write.fields, [("execution".to_owned(), text("pulse-x"))].into());
            assert_eq!(
                (write.mask, write.server_times),
                (vec!["execution".into()], vec!["claimed_at".into()])
            );
        }
    }
}
