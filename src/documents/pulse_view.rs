//! `ops/last_pulse` as an operator reads it: whatever is there, of whichever version.

use crate::documents::last_pulse::last_pulse_name;
use crate::documents::reader::to_reader;
use crate::firestore::values::{Fields, entries, string, time, whole_number};
use crate::firestore::{Store, StoreError};
use crate::limits::retry::Deadline;
use crate::model::outcome::PassStatus;
use crate::model::usage::Used;
use account_reader::Fields as ReaderFields;
use account_reader::documents::last_pulse::{STATUS, TIMESTAMP};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The last pass over everybody. A number that is not there is 0, as in every reader.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PulseView {
    /// When it was published.
    pub(crate) at: Option<Timestamp>,
    /// When it started.
    pub(crate) started_at: Option<Timestamp>,
    /// How long it took.
    pub(crate) duration: Duration,
    /// What became of it.
    pub(crate) status: Option<PassStatus>,
    /// What became of the users.
    pub(crate) counts: PulseCounts,
    /// It ended early, and how many it did not reach could not be counted.
    pub(crate) is_uncounted: bool,
    /// How many failed, by code.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Which run it was.
    pub(crate) execution: Option<String>,
    /// Which version ran.
    pub(crate) version: Option<String>,
    /// When a pass last synced anybody.
    pub(crate) last_synced_at: Option<Timestamp>,
    /// What it used.
    pub(crate) used: Used,
    /// The document as readers judge by it.
    pub(crate) fields: ReaderFields,
}

/// What became of its users, by the document's own names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct PulseCounts {
    pub(crate) users_count: u64,
    pub(crate) success_count: u64,
    pub(crate) error_count: u64,
    pub(crate) skipped_count: u64,
    pub(crate) needs_reauth_count: u64,
    pub(crate) stale_count: u64,
    pub(crate) unreached_count: u64,
}

impl PulseView {
    fn of(fields: &Fields) -> Self {
        let number = |name: &str| count(fields, name);
        let moment = |name: &str| fields.get(name).and_then(time);
        let word = |name: &str| fields.get(name).and_then(string);
        let counts = PulseCounts {
            users_count: number("users_count"),
            success_count: number("success_count"),
            error_count: number("error_count"),
            skipped_count: number("skipped_count"),
            needs_reauth_count: number("needs_reauth_count"),
            stale_count: number("stale_count"),
            unreached_count: number("unreached_count"),
        };
        let used = Used {
            firestore_reads: number("firestore_reads"),
            firestore_writes: number("firestore_writes"),
            secret_accesses: number("secret_accesses"),
            alpaca_calls: number("alpaca_calls"),
        };
        Self {
            at: moment(TIMESTAMP),
            started_at: moment("started_at"),
            duration: Duration::from_millis(number("duration_ms")),
            status: word(STATUS).and_then(PassStatus::parse),
            counts,
            is_uncounted: !fields.contains_key("unreached_count"),
            errors: fields.get("errors").and_then(entries).map(errors).unwrap_or_default(),
            execution: word("execution").map(str::to_owned),
            version: word("version").map(str::to_owned),
            last_synced_at: moment("last_synced_at"),
            used,
            fields: to_reader(fields),
        }
    }
}

fn count(fields: &Fields, name: &str) -> u64 {
    let number = fields.get(name).and_then(whole_number);
    number.and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

fn errors(fields: &Fields) -> BTreeMap<String, u64> {
    fields.keys().map(|code| (code.clone(), count(fields, code))).collect()
}

impl Store {
    /// What `ops/last_pulse` says, if it exists.
    pub(crate) async fn pulse_view(&self, deadline: Deadline) -> Result<Option<PulseView>, StoreError> {
        let name = last_pulse_name(self.database());
        let found = self.found(vec![name.clone()], None, deadline).await?;
        Ok(found.documents.get(&name).map(|document| PulseView::of(&document.fields)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::{integer, map, text, timestamp};

    #[test]
    fn whatever_is_there_is_read_and_what_is_not_is_nothing() {
        let now = Timestamp::from_second(1_767_623_400).expect("in range");
        let fields = [
            ("timestamp", timestamp(now)),
            ("users_count", integer(3)),
            ("error_count", text("3")),
            ("success_count", integer(-1)),
            ("errors", map([("keys_missing".to_owned(), integer(2))].into())),
            ("status", text("degraded")),
            ("duration_ms", integer(1500)),
        ];
        let view = PulseView::of(&fields.map(|(name, value)| (name.to_owned(), value)).into());
        let counts = PulseCounts { users_count: 3, ..PulseCounts::default() };
        assert_eq!((view.at, view.counts, view.status), (Some(now), counts, Some(PassStatus::Degraded)));
        assert_eq!(view.errors, [("keys_missing".to_owned(), 2)].into());
        assert_eq!((view.duration, view.fields.len()), (Duration::from_millis(1500), 7));
        let nothing = PulseView::of(&Fields::default());
        assert_eq!(nothing, PulseView { is_uncounted: true, ..PulseView::default() });
        let counted = [("unreached_count".to_owned(), integer(0))].into();
        assert!(!PulseView::of(&counted).is_uncounted);
    }
}
