//! Which account a user's keys belong to, as far as it is known: an answer about another one was meant for
//! somebody else.

use crate::model::key_version::KeyVersion;
use jiff::Timestamp;

/// What a snapshot says of its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pin {
    /// Alpaca's id of the account.
    pub(crate) account: String,
    /// The version of the keys that it belongs to.
    pub(crate) version: KeyVersion,
    /// When the snapshot was written, if it says so.
    pub(crate) updated_at: Option<Timestamp>,
}

impl Pin {
    /// Whether an answer about that account, for the keys of that version, cannot be right.
    ///
    /// `changed_at` is when the user's document says that the keys were changed: whoever says so after the
    /// snapshot was written knows of another account. A time that is still to come says nothing.
    #[must_use]
    pub(crate) fn forbids(
        &self,
        account: &str,
        version: &KeyVersion,
        changed_at: Option<Timestamp>,
        now: Timestamp,
    ) -> bool {
        let is_newer = |at: Timestamp| at <= now && self.updated_at.is_none_or(|updated_at| at > updated_at);
        self.account != account && self.version == *version && !changed_at.is_some_and(is_newer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn version(number: &str) -> KeyVersion {
        KeyVersion::parse(number).expect("a number")
    }

    fn pin(updated_at: Option<i64>) -> Pin {
        Pin { account: "a1".into(), version: version("3"), updated_at: updated_at.map(at) }
    }

    #[test]
    fn another_account_is_forbidden_under_the_same_version_of_the_keys_alone() {
        for (account, number, forbidden) in [
            ("a1", "3", false),
            ("a2", "3", true),
            ("a2", "4", false),
            ("a2", "2", false),
            ("a1", "4", false),
        ] {
            let forbids = pin(Some(50)).forbids(account, &version(number), None, at(100));
            assert_eq!(forbids, forbidden, "{account} {number}");
        }
    }

    #[test]
    fn a_newer_change_of_the_keys_ends_it_unless_it_is_still_to_come() {
        for (updated_at, changed_at, forbidden) in [
            (Some(50), None, true),
            (Some(50), Some(49), true),
            (Some(50), Some(50), true),
            (Some(50), Some(51), false),
            (Some(50), Some(100), false),
            (Some(50), Some(101), true),
            (None, Some(1), false),
            (None, None, true),
            (None, Some(101), true),
        ] {
            let forbids = pin(updated_at).forbids("a2", &version("3"), changed_at.map(at), at(100));
            assert_eq!(forbids, forbidden, "{updated_at:?} {changed_at:?}");
        }
    }
}
