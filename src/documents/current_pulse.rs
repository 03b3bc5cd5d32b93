//! `ops/current_pulse`: the execution that claimed last, and the loop that did. A claim replaces it only as it was read, so of two that
//! claim at once, one finds the other. Whoever publishes shows in the same commit that it is still the current one.

use crate::firestore::values::{string, time, timestamp};
use crate::firestore::write::{Precondition, Write, merge_at, merge_at_all};
use crate::firestore::{Store, StoreError};
use crate::limits::retry::Deadline;
use crate::model::ids::{Database, DocumentId};
use crate::model::loop_claim::LoopClaim;
use gcloud_sdk::google::firestore::v1::Document;
use gcloud_sdk::prost_types;
use jiff::{SignedDuration, Timestamp};

/// The field that gets the server's time of the commit.
const CLAIMED_AT: &str = "claimed_at";

/// The fields that say which loop claimed last, for which point in time, when its next pulse is due, and from when on it
/// has none. An execution that is not a loop's leaves them as they are.
const LOOP: &str = "loop";
const DUE_AT: &str = "due_at";
const NEXT_AT: &str = "next_at";
const ENDS_AT: &str = "ends_at";

/// As exact as the times in documents are.
const INSTANT: SignedDuration = SignedDuration::from_micros(1);

/// From one pulse of a loop to the next at most.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

/// The document as it was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CurrentPulse {
    /// Which execution claimed last.
    pub(crate) execution: Option<DocumentId>,
    /// Which loop did, in whichever of its pulses.
    pub(crate) looping: Option<LoopClaim>,
    /// There is none without a document.
    version: Option<prost_types::Timestamp>,
}

impl CurrentPulse {
    /// Reads the document, if it exists. What names no execution is in nobody's way.
    #[must_use]
    pub(crate) fn of(document: Option<&Document>) -> Self {
        let id = |name| {
            let id = document.and_then(|document| document.fields.get(name)).and_then(string);
            id.and_then(|id| DocumentId::parse(id).ok())
        };
        let at = |name| document.and_then(|document| document.fields.get(name)).and_then(time);
        let looping = || {
            let (id, next_at, ends_at) = (id(LOOP)?, at(NEXT_AT)?, at(ENDS_AT)?);
            Some(LoopClaim { id, due_at: due_before(next_at, at(DUE_AT)), next_at, ends_at })
        };
        Self {
            execution: id("execution"),
            looping: looping(),
            version: document.and_then(|document| document.update_time),
        }
    }

    /// When it was claimed, by the server's clock; nothing without a document.
    #[must_use]
    pub(crate) fn claimed_at(&self) -> Option<Timestamp> {
        self.version.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok())
    }

    /// The write that makes that execution, which may be a loop's, the current one, unless another was faster.
    #[must_use]
    pub(crate) fn replaced_by(
        &self,
        execution: &DocumentId,
        looping: Option<&LoopClaim>,
        database: &Database,
    ) -> Write {
        let mut fields = vec![("execution", Some(execution.as_str().into()))];
        if let Some(LoopClaim { id, due_at, next_at, ends_at }) = looping {
            fields.extend([
                (LOOP, Some(id.as_str().into())),
                (DUE_AT, Some(timestamp(*due_at).into())),
                (NEXT_AT, Some(timestamp(*next_at).into())),
                (ENDS_AT, Some(timestamp(*ends_at).into())),
            ]);
        }
        merge_at(&current_pulse_name(database), &fields, CLAIMED_AT, &self.as_it_was_read())
    }

    /// The write by which that loop, if it is the one that claimed last, has no pulse any more after that one; nothing
    /// where that was written.
    #[must_use]
    pub(crate) fn given_up_by(&self, own: &DocumentId, database: &Database) -> Option<Write> {
        let claim = self.looping.as_ref().filter(|claim| claim.id == *own && claim.ends_at > claim.due_at)?;
        // Not at the next one: for whoever goes by other points in time that may be hours away.
        let fields = [(ENDS_AT, Some(timestamp(claim.due_at).into()))];
        Some(merge_at_all(&current_pulse_name(database), &fields, &[], &self.as_it_was_read()))
    }

    /// The number of the last execution of that loop, if it is the one that claimed last.
    #[must_use]
    pub(crate) fn last_of(&self, own: &DocumentId) -> Option<u32> {
        self.looping.as_ref().filter(|claim| claim.id == *own)?;
        self.execution.as_ref()?.number_of(own)
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

/// The point in time of a loop's last pulse. Versions that do not record it count all before the next one as done; what
/// another version had recorded before them is of no use.
fn due_before(next_at: Timestamp, recorded: Option<Timestamp>) -> Timestamp {
    let is_possible = |due_at: &Timestamp| *due_at < next_at && next_at.duration_since(*due_at) <= LONGEST;
    recorded.filter(is_possible).unwrap_or(next_at.saturating_sub(INSTANT).unwrap_or(next_at))
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
            let current = CurrentPulse { version, ..CurrentPulse::default() };
            let claim = Written::of(&current.replaced_by(&id, None, &database));
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

    #[test]
    fn a_loop_is_read_as_it_was_written_and_no_other_execution_takes_that_away() {
        let database = Database::parse("p", "(default)").expect("legal");
        let at = |second: i64| Timestamp::from_second(1_767_623_400 + second).expect("in range");
        let id = |text| DocumentId::parse(text).expect("legal");
        let claim = LoopClaim { id: id("pulse-x"), due_at: at(0), next_at: at(60), ends_at: at(900) };
        let write = CurrentPulse::default().replaced_by(&id("pulse-x-2"), Some(&claim), &database);
        let Written { mut fields, .. } = Written::of(&write);
        let read = |fields: &crate::firestore::values::Fields| {
            CurrentPulse::of(Some(&Document { fields: fields.clone(), ..Document::default() }))
        };
        assert_eq!(read(&fields).looping, Some(claim.clone()));
        let last_of = |own| read(&fields).last_of(&id(own));
        assert_eq!((last_of("pulse-x"), last_of("pulse"), last_of("pulse-x-2")), (Some(2), None, None));
        for field in [LOOP, NEXT_AT, ENDS_AT] {
            let mut half = fields.clone();
            half.remove(field);
            assert_eq!(read(&half).looping, None, "{field}");
        }
        for due_at in [None, Some(at(60)), Some(at(59 - 24 * 3_600))] {
            let mut older = fields.clone();
            older.remove(DUE_AT);
            older.extend(due_at.map(|due_at| (DUE_AT.to_owned(), timestamp(due_at))));
            let read = read(&older).looping.expect("a loop's");
            assert_eq!((read.due_at, read.next_at), (at(60) - INSTANT, at(60)), "{due_at:?}");
        }
        let other = Written::of(&read(&fields).replaced_by(&id("pulse-y"), None, &database));
        assert_eq!(other.mask, ["execution"]);

        let given_up = read(&fields).given_up_by(&id("pulse-x"), &database).expect("its own");
        let given_up = Written::of(&given_up);
        assert_eq!((given_up.mask.as_slice(), given_up.server_times.len()), (&[ENDS_AT.to_owned()][..], 0));
        assert_eq!(given_up.fields[ENDS_AT], timestamp(claim.due_at));
        assert_eq!(read(&fields).given_up_by(&id("pulse-y"), &database), None);
        fields.extend(given_up.fields);
        assert_eq!(read(&fields).given_up_by(&id("pulse-x"), &database), None, "once is enough");
    }
}
