//! `ops/last_pulse`, which dashboards subscribe to. Every signed-in user can read it: no user id and
//! no error text goes in.

use crate::firestore::values::{Fields, integer, map, string, text, time, timestamp, whole_number};
use crate::firestore::write::{FieldChange, Precondition, Write, merge_at_all};
use crate::model::ids::{Database, DocumentId};
use crate::model::outcome::{Counts, PassStatus};
use crate::model::usage::Used;
use account_reader::documents::last_pulse::{PATH, STATUS, TIMESTAMP};
use gcloud_sdk::google::firestore::v1::{Document, Value};
use jiff::Timestamp;
use std::time::Duration;

/// The field that says when a pass last synced anybody.
const LAST_SYNCED_AT: &str = "last_synced_at";

/// One finished pass of all tasks together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LastPulse {
    /// What became of the users.
    pub(crate) counts: Counts,
    /// Users whom it did not reach; no field where that is not known.
    pub(crate) unreached: Option<u64>,
    /// What became of the pass.
    pub(crate) status: PassStatus,
    /// When a pass last synced anybody.
    pub(crate) last_synced_at: Synced,
    /// Which run it was.
    pub(crate) execution: DocumentId,
    /// When it started.
    pub(crate) started_at: Timestamp,
    /// How long it took.
    pub(crate) duration: Duration,
    /// What it used, this document's write included.
    pub(crate) used: Used,
}

/// When a pass last synced anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Synced {
    /// This one did: the time of the commit.
    Now,
    /// Then, as far as it is known; otherwise the document goes on saying what it says.
    Then(Option<Timestamp>),
}

impl LastPulse {
    fn fields(&self) -> Vec<FieldChange<'static>> {
        let Self { counts, unreached, status, last_synced_at, execution, started_at, duration, used } = self;
        let number = |number: u64| integer(i64::try_from(number).unwrap_or(i64::MAX));
        let errors = counts.errors.iter().map(|(code, count)| (code.as_str().to_owned(), number(*count)));
        let fields: [(&'static str, Value); 16] = [
            ("success_count", number(counts.success)),
            ("error_count", number(counts.error())),
            ("skipped_count", number(counts.skipped)),
            ("needs_reauth_count", number(counts.needs_reauth)),
            ("stale_count", number(counts.stale)),
            ("users_count", number(counts.users())),
            ("errors", map(errors.collect())),
            (STATUS, text(status.as_str())),
            ("execution", text(execution.as_str())),
            ("started_at", timestamp(*started_at)),
            ("duration_ms", integer(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))),
            ("version", text(env!("PULSE_VERSION"))),
            ("firestore_reads", number(used.firestore_reads)),
            ("firestore_writes", number(used.firestore_writes)),
            ("secret_accesses", number(used.secret_accesses)),
            ("alpaca_calls", number(used.alpaca_calls)),
        ];
        let then = match last_synced_at {
            Synced::Now => None,
            Synced::Then(then) => then.map(|then| (LAST_SYNCED_AT, timestamp(then))),
        };
        let unreached = ("unreached_count", unreached.map(|unreached| number(unreached).into()));
        let known = fields.into_iter().chain(then).map(|(field, value)| (field, Some(value.into())));
        known.chain([unreached]).collect()
    }

    /// The write of the document; `timestamp` gets the server's time.
    #[must_use]
    pub(crate) fn to_write(&self, database: &Database) -> Write {
        let server_times: &[&str] = match self.last_synced_at {
            Synced::Now => &[TIMESTAMP, LAST_SYNCED_AT],
            Synced::Then(_) => &[TIMESTAMP],
        };
        merge_at_all(&last_pulse_name(database), &self.fields(), server_times, &Precondition::Nothing)
    }
}

/// What the document says of the execution that finished last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LastExecution {
    /// Which it was.
    pub(crate) id: Option<DocumentId>,
    /// When it started.
    pub(crate) started_at: Option<Timestamp>,
    /// When any execution last synced anybody.
    pub(crate) synced_at: Option<Timestamp>,
}

impl LastExecution {
    /// Reads the document, if it exists.
    #[must_use]
    pub(crate) fn of(document: Option<&Document>) -> Self {
        let Some(Document { fields, .. }) = document else { return Self::default() };
        let id = fields.get("execution").and_then(string);
        Self {
            id: id.and_then(|id| DocumentId::parse(id).ok()),
            started_at: fields.get("started_at").and_then(time),
            synced_at: last_synced_at(fields),
        }
    }
}

/// Full name of the document.
#[must_use]
pub(crate) fn last_pulse_name(database: &Database) -> String {
    database.document(format_args!("{PATH}"))
}

/// When a pass last synced anybody, as the document says it.
///
/// Older versions leave the field alone, so that it may be missing, or older than their own last pass. Then
/// the time of that pass stands in, if it synced anybody.
fn last_synced_at(fields: &Fields) -> Option<Timestamp> {
    let at = |name| fields.get(name).and_then(time);
    let known = at(LAST_SYNCED_AT);
    let synced = fields.get("success_count").and_then(whole_number).is_some_and(|count| count > 0);
    let is_of_before = known.is_none_or(|known| at("started_at").is_some_and(|started| known < started));
    at(TIMESTAMP).filter(|_| synced && is_of_before).or(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::written::Written;
    use crate::firestore::values::arbitrary::any_fields;
    use crate::firestore::write::FieldValue;
    use crate::model::outcome::{Code, Outcome};
    use proptest::prelude::*;

    /// `last_synced_at`, `started_at` and `timestamp` in seconds, and `success_count`.
    fn read(
        known: Option<i64>,
        started: Option<i64>,
        written: Option<i64>,
        count: Option<i64>,
    ) -> Option<i64> {
        let at = |second: i64| timestamp(Timestamp::from_second(second).expect("in range"));
        let fields = [
            (LAST_SYNCED_AT, known.map(at)),
            ("started_at", started.map(at)),
            (TIMESTAMP, written.map(at)),
            ("success_count", count.map(integer)),
        ];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        last_synced_at(&fields.collect()).map(Timestamp::as_second)
    }

    #[test]
    fn a_pulse_of_a_version_without_the_field_stands_in_if_it_synced_anybody() {
        for (known, started, written, count, expected) in [
            (None, None, None, None, None),
            (None, Some(100), Some(110), Some(3), Some(110)),
            (None, None, Some(110), Some(3), Some(110)),
            (None, Some(100), Some(110), Some(0), None),
            (None, Some(100), Some(110), None, None),
            // This version's own.
            (Some(110), Some(100), Some(110), Some(3), Some(110)),
            (Some(50), Some(100), Some(110), Some(0), Some(50)),
            // One that died at 105, as whoever took over at 900 wrote.
            (Some(105), Some(100), Some(900), Some(3), Some(105)),
            // An older version's, after this version's.
            (Some(50), Some(100), Some(110), Some(3), Some(110)),
            (Some(50), None, Some(110), Some(3), Some(50)),
        ] {
            assert_eq!(
                read(known, started, written, count),
                expected,
                "{known:?} {started:?} {written:?} {count:?}"
            );
        }
    }

    #[test]
    fn what_says_nothing_of_the_last_execution_teaches_nothing() {
        let started = Timestamp::from_second(100).expect("in range");
        let id = |text| DocumentId::parse(text).expect("legal");
        for (execution, expected) in
            [(text("pulse-x"), Some(id("pulse-x"))), (text("a/b"), None), (integer(7), None)]
        {
            let fields = [("execution", execution), ("started_at", timestamp(started))];
            let fields = fields.map(|(name, value)| (name.to_owned(), value)).into();
            let read = LastExecution::of(Some(&Document { fields, ..Document::default() }));
            assert_eq!(read, LastExecution { id: expected, started_at: Some(started), synced_at: None });
        }
        assert_eq!(LastExecution::of(None), LastExecution::default());
    }

    fn last_pulse(last_synced_at: Synced) -> LastPulse {
        let mut counts = Counts::default();
        [Outcome::Synced, Outcome::NeedsReauth, Outcome::Failed(Code::KeysMissing)]
            .into_iter()
            .for_each(|outcome| counts.add(outcome));
        LastPulse {
            counts,
            unreached: Some(9),
            status: PassStatus::Degraded,
            last_synced_at,
            execution: DocumentId::parse("pulse-x").expect("legal"),
            started_at: Timestamp::from_second(100).expect("in range"),
            duration: Duration::from_millis(1234),
            used: Used { firestore_reads: 5, firestore_writes: 6, secret_accesses: 7, alpaca_calls: 8 },
        }
    }

    #[test]
    fn when_somebody_was_synced_is_written_as_far_as_it_is_known() {
        let then = Timestamp::from_second(7).expect("in range");
        for (synced, value, server_times) in [
            (Synced::Now, None, &["timestamp", "last_synced_at"][..]),
            (Synced::Then(Some(then)), Some(timestamp(then)), &["timestamp"]),
            // The document goes on saying what it says.
            (Synced::Then(None), None, &["timestamp"]),
        ] {
            let database = Database::parse("p", "(default)").expect("legal");
            let write = Written::of(&last_pulse(synced).to_write(&database));
            assert_eq!((write.path.as_str(), write.precondition), ("ops/last_pulse", None));
            assert_eq!(write.fields.get(LAST_SYNCED_AT).cloned(), value, "{synced:?}");
            assert_eq!(write.mask.iter().any(|path| path == LAST_SYNCED_AT), value.is_some(), "{synced:?}");
            assert_eq!(write.server_times, server_times, "{synced:?}");
        }
    }

    #[test]
    fn each_number_is_in_its_field() {
        let fields: Fields = last_pulse(Synced::Now)
            .fields()
            .into_iter()
            .filter_map(|(name, value)| match value {
                Some(FieldValue::Any(value)) => Some((name.to_owned(), value)),
                _ => None,
            })
            .collect();
        for (name, expected) in [
            ("success_count", 1),
            ("error_count", 1),
            ("skipped_count", 1),
            ("needs_reauth_count", 1),
            ("stale_count", 0),
            ("users_count", 3),
            ("unreached_count", 9),
            ("duration_ms", 1234),
            ("firestore_reads", 5),
            ("firestore_writes", 6),
            ("secret_accesses", 7),
            ("alpaca_calls", 8),
        ] {
            assert_eq!(fields.get(name), Some(&integer(expected)), "{name}");
        }
        assert_eq!(fields.get("errors"), Some(&map([("keys_missing".to_owned(), integer(1))].into())));
        assert_eq!(fields.get("status"), Some(&text("degraded")));
    }

    #[test]
    fn what_is_not_known_does_not_stay_as_it_was() {
        let database = Database::parse("p", "(default)").expect("legal");
        let unknown = LastPulse { unreached: None, ..last_pulse(Synced::Now) };
        let write = Written::of(&unknown.to_write(&database));
        assert_eq!(write.fields.get("unreached_count"), None);
        assert!(write.mask.iter().any(|path| path == "unreached_count"), "an earlier one is removed");
    }

    proptest! {
        #[test]
        fn no_document_panics(
            fields in any_fields(&["last_synced_at", "started_at", "timestamp", "success_count"]),
        ) {
            let read = last_synced_at(&fields);
            let times = ["last_synced_at", "timestamp"].map(|name| fields.get(name).and_then(time));
            prop_assert!(read.is_none() || times.contains(&read));
        }
    }
}
