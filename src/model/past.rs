//! How a user in trouble came into it: since when they fail, and when they last did not.

use crate::model::key_version::KeyVersion;
use jiff::{SignedDuration, Timestamp};

/// Readers call figures stale at this age: nothing that is in order lets them become so old.
pub(crate) const READERS_CALL_STALE_AFTER: SignedDuration = account_reader::MAX_AGE;

/// A user's last success, as their snapshot tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastSuccess {
    /// When Alpaca gave the figures.
    pub(crate) at: Timestamp,
    /// The version of the keys it took for them, where the snapshot says so.
    pub(crate) key_version: Option<KeyVersion>,
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
        self.last_success.as_ref().is_some_and(|last| now.duration_since(last.at) > READERS_CALL_STALE_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_623_400 + second).expect("in range")
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
}
