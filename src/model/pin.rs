//! Which account a user's keys belong to, as far as it is known: an answer about another one was meant for
//! somebody else.

use crate::firestore::values::{Fields, string, time};
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
    version: KeyVersion,
    updated_at: Option<Timestamp>,
}

impl Pin {
    /// The fields of a snapshot that pin an account.
    pub(crate) const FIELDS: [&str; 3] = ["external_account_id", "key_version", "updated_at"];

    /// Reads those fields. A snapshot without figures of ours, such as a placeholder, pins nothing.
    #[must_use]
    pub(crate) fn from_fields(fields: &Fields) -> Option<Self> {
        let text = |name: &str| fields.get(name).and_then(string).filter(|text| !text.is_empty());
        Some(Self {
            account: text("external_account_id")?.to_owned(),
            version: KeyVersion::parse(text("key_version")?)?,
            updated_at: fields.get("updated_at").and_then(time),
        })
    }

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
    use crate::firestore::values::arbitrary::any_fields;
    use crate::firestore::values::{integer, text, timestamp};
    use proptest::prelude::*;

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
    fn a_snapshot_without_account_or_version_pins_nothing() {
        let fields = |fields: &[(&str, gcloud_sdk::google::firestore::v1::Value)]| -> Fields {
            fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
        };
        let (account, key_version) = (("external_account_id", text("a1")), ("key_version", text("3")));
        let whole = fields(&[account.clone(), key_version.clone(), ("updated_at", timestamp(at(50)))]);
        assert_eq!(Pin::from_fields(&whole), Some(pin(Some(50))));
        assert_eq!(Pin::from_fields(&fields(&[account.clone(), key_version.clone()])), Some(pin(None)));
        for partial in [
            &[][..],
            std::slice::from_ref(&account),
            std::slice::from_ref(&key_version),
            &[("external_account_id", text("")), key_version.clone()],
            &[("external_account_id", integer(1)), key_version.clone()],
            &[account.clone(), ("key_version", integer(3))],
            &[account.clone(), ("key_version", text("latest"))],
        ] {
            assert_eq!(Pin::from_fields(&fields(partial)), None, "{partial:?}");
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

    proptest! {
        #[test]
        fn whatever_a_snapshot_says_its_own_account_is_never_forbidden(fields in any_fields(&Pin::FIELDS)) {
            if let Some(pin) = Pin::from_fields(&fields) {
                prop_assert!(!pin.forbids(&pin.account, &pin.version, None, Timestamp::MAX));
                prop_assert!(pin.forbids("other", &pin.version, None, Timestamp::MAX) || pin.account == "other");
            }
        }
    }
}
