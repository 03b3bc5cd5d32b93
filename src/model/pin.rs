//! Which account a user's keys belong to, as far as it is known: an answer about another one was meant for
//! somebody else.

use crate::model::ids::DocumentId;
use crate::model::key_version::KeyVersion;
use jiff::Timestamp;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most users whose accounts are remembered, with some 30 bytes each.
const MOST: usize = 500_000;

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

/// The accounts that this process has seen, for the pulses of a loop.
///
/// Kept as hashes under keys that nobody knows: two that are equal by chance will not be seen, and would
/// cost a look at the snapshot.
#[derive(Debug, Default)]
pub(crate) struct KnownAccounts {
    hasher: RandomState,
    /// By user.
    accounts: Mutex<HashMap<u64, u64>>,
}

impl KnownAccounts {
    /// Whether the user is known to have had another account.
    #[must_use]
    pub(crate) fn contradict(&self, user: &DocumentId, account: &str) -> bool {
        let known = self.accounts().get(&self.hasher.hash_one(user.as_str())).copied();
        known.is_some_and(|known| known != self.hasher.hash_one(account))
    }

    /// Remembers the account of a user who was synced.
    pub(crate) fn remember(&self, user: &DocumentId, account: &str) {
        let (user, account) = (self.hasher.hash_one(user.as_str()), self.hasher.hash_one(account));
        let mut accounts = self.accounts();
        if accounts.len() < MOST || accounts.contains_key(&user) {
            accounts.insert(user, account);
        }
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<u64, u64>> {
        // Whatever panics while it is locked leaves entries that are whole.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn a_user_is_known_by_their_last_account() {
        let (known, ana, ben) = (KnownAccounts::default(), id("ana"), id("ben"));
        assert!(!known.contradict(&ana, "a1"));
        known.remember(&ana, "a1");
        assert!(!known.contradict(&ana, "a1") && known.contradict(&ana, "a2"));
        assert!(!known.contradict(&ben, "a2"));
        known.remember(&ana, "a2");
        assert!(known.contradict(&ana, "a1") && !known.contradict(&ana, "a2"));
    }

    fn id(id: &str) -> DocumentId {
        DocumentId::parse(id).expect("legal")
    }
}
