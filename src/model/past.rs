//! How a user in trouble came into it: since when they fail, and when they last did not.

use crate::firestore::values::{Fields, number, string, time};
use crate::model::key_version::KeyVersion;
use jiff::{SignedDuration, Timestamp};

/// Readers call a snapshot stale that is older.
const STALE_AFTER: SignedDuration = SignedDuration::from_secs(300);

/// A user's last success, as their snapshot tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastSuccess {
    /// When Alpaca gave the figures.
    pub(crate) at: Timestamp,
    /// The version of the keys it took for them, where the snapshot says so.
    pub(crate) key_version: Option<KeyVersion>,
}

impl LastSuccess {
    /// The fields of the snapshot that tell.
    pub(crate) const FIELDS: [&str; 6] =
        ["updated_at_iso", "updated_at", "key_version", "equity", "buying_power", "cash"];

    /// Reads them. A placeholder, without figures or without the time of an answer, is no success.
    #[must_use]
    pub(crate) fn from_snapshot(fields: &Fields) -> Option<Self> {
        let has_figures = ["equity", "buying_power", "cash"]
            .iter()
            .all(|figure| fields.get(*figure).and_then(number).is_some_and(f64::is_finite));
        let answered: Timestamp = fields.get("updated_at_iso").and_then(string)?.parse().ok()?;
        // No answer is newer than the commit that stored it, whatever the clock of that time said.
        let written = fields.get("updated_at").and_then(time);
        has_figures.then(|| Self {
            at: written.map_or(answered, |written| written.min(answered)),
            key_version: fields.get("key_version").and_then(string).and_then(KeyVersion::parse),
        })
    }
}

/// What is known of a user in trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Past {
    /// The first failure after the last success.
    pub(crate) failing_since: Timestamp,
    /// That success; none for a user who never synced.
    pub(crate) last_success: Option<LastSuccess>,
}

impl Past {
    /// Whether Alpaca has taken the keys of that version before.
    #[must_use]
    pub(crate) fn has_worked(&self, version: &KeyVersion) -> bool {
        self.last_success.as_ref().is_some_and(|last| last.key_version.as_ref() == Some(version))
    }

    /// Whether the user's figures are known to be older than readers take.
    #[must_use]
    pub(crate) fn is_stale(&self, now: Timestamp) -> bool {
        self.last_success.as_ref().is_some_and(|last| now.duration_since(last.at) > STALE_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::arbitrary::any_fields;
    use crate::firestore::values::{double, integer, null, text, timestamp};
    use gcloud_sdk::google::firestore::v1::Value;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_623_400 + second).expect("in range")
    }

    /// A good snapshot with some fields changed.
    fn read(changes: &[(&str, Option<Value>)]) -> Option<LastSuccess> {
        let whole = [
            ("updated_at_iso", text("2026-01-05T14:30:00.000Z")),
            ("updated_at", timestamp(at(1))),
            ("key_version", text("3")),
            ("equity", double(1.5)),
            ("buying_power", double(0.0)),
            ("cash", double(-2.0)),
        ];
        let mut fields = Fields::from_iter(whole.map(|(name, value)| (name.to_owned(), value)));
        for (name, value) in changes {
            match value {
                Some(value) => fields.insert((*name).to_owned(), value.clone()),
                None => fields.remove(*name),
            };
        }
        LastSuccess::from_snapshot(&fields)
    }

    #[test]
    fn a_snapshot_tells_when_alpaca_answered_and_by_which_keys() {
        assert_eq!(read(&[]), Some(LastSuccess { at: at(0), key_version: KeyVersion::parse("3") }));
        let without_version = LastSuccess { at: at(0), key_version: None };
        for version in [None, Some(null()), Some(text("latest")), Some(integer(3))] {
            assert_eq!(read(&[("key_version", version)]), Some(without_version.clone()));
        }
    }

    #[test]
    fn a_whole_number_is_a_figure_too() {
        assert!(read(&[("equity", Some(integer(100)))]).is_some());
    }

    #[test]
    fn a_placeholder_is_no_success() {
        for figure in ["equity", "buying_power", "cash"] {
            for value in [None, Some(text("0")), Some(null()), Some(double(f64::NAN))] {
                assert_eq!(read(&[(figure, value.clone())]), None, "{figure} {value:?}");
            }
        }
        for iso in [None, Some(text("")), Some(text("yesterday")), Some(timestamp(at(0)))] {
            assert_eq!(read(&[("updated_at_iso", iso.clone())]), None, "{iso:?}");
        }
    }

    #[test]
    fn an_answer_is_no_newer_than_its_commit() {
        let ahead = Some(text("2026-01-05T20:00:00.000Z"));
        assert_eq!(read(&[("updated_at_iso", ahead.clone())]).map(|last| last.at), Some(at(1)));
        let alone = read(&[("updated_at_iso", ahead), ("updated_at", None)]).map(|last| last.at);
        assert_eq!(alone, Some(at(19_800)));
    }

    fn past(last_success: Option<(i64, &str)>) -> Past {
        let last =
            |(second, version)| LastSuccess { at: at(second), key_version: KeyVersion::parse(version) };
        Past { failing_since: at(0), last_success: last_success.map(last) }
    }

    #[test]
    fn keys_have_worked_only_if_they_are_those_of_the_last_success() {
        let three = KeyVersion::parse("3").expect("a number");
        for (last, expected) in
            [(None, false), (Some((0, "3")), true), (Some((0, "2")), false), (Some((0, "")), false)]
        {
            assert_eq!(past(last).has_worked(&three), expected, "{last:?}");
        }
    }

    #[test]
    fn figures_are_stale_after_five_minutes_if_there_are_any() {
        for (last, expected) in [(None, false), (Some(0), true), (Some(1), false), (Some(9_999), false)] {
            assert_eq!(past(last.map(|second| (second, "3"))).is_stale(at(301)), expected, "{last:?}");
        }
    }

    proptest! {
        #[test]
        fn no_snapshot_panics(fields in any_fields(&LastSuccess::FIELDS), version in 1_u32..9) {
            let past = Past { failing_since: at(0), last_success: LastSuccess::from_snapshot(&fields) };
            let version = KeyVersion::parse(&version.to_string()).expect("a number");
            prop_assert!(past.last_success.is_some() || !(past.has_worked(&version) || past.is_stale(at(0))));
        }
    }
}
