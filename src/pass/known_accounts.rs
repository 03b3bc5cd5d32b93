//! The accounts that users were seen to have, for the next passes of a loop: an answer about another one may have been
//! meant for somebody else.

use crate::model::ids::DocumentId;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most users whose accounts are remembered, with some 30 bytes each.
const MOST: usize = 500_000;

/// The accounts that this process has seen, for the passes of a loop.
///
/// Kept as hashes under keys that nobody knows: two that are equal by chance will not be seen, and would
/// cost a look at the snapshot.
#[derive(Debug, Default)]
pub(crate) struct KnownAccounts {
    hasher: RandomState,
    /// The hashes of accounts, by those of their users.
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

    /// Remembers the account that the document of a user's tenant shows, unless one was seen already.
    pub(crate) fn remember_first(&self, user: &DocumentId, account: &str) {
        let (user, account) = (self.hasher.hash_one(user.as_str()), self.hasher.hash_one(account));
        let mut accounts = self.accounts();
        if accounts.len() < MOST {
            accounts.entry(user).or_insert(account);
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

    #[test]
    fn a_user_is_known_by_their_last_account() {
        let (known, ana, ben) = (KnownAccounts::default(), id("ana"), id("ben"));
        assert!(!known.contradict(&ana, "a1"));
        known.remember(&ana, "a1");
        assert!(!known.contradict(&ana, "a1") && known.contradict(&ana, "a2"));
        assert!(!known.contradict(&ben, "a2"));
        known.remember(&ana, "a2");
        assert!(known.contradict(&ana, "a1") && !known.contradict(&ana, "a2"));
        known.remember_first(&ana, "a3");
        known.remember_first(&ben, "b1");
        assert!(!known.contradict(&ana, "a2") && known.contradict(&ben, "b2"));
    }

    #[test]
    fn no_more_accounts_are_known_than_there_is_room_for() {
        let (known, ana, ben) = (KnownAccounts::default(), id("ana"), id("ben"));
        known.remember(&ana, "a1");
        let others = u64::try_from(MOST).expect("a number") - 1;
        known.accounts().extend((0..others).map(|user| (user, user)));
        known.remember(&ben, "b1");
        known.remember_first(&ben, "b1");
        assert_eq!(known.accounts().len(), MOST);
        assert!(!known.contradict(&ben, "b2"));
        known.remember(&ana, "a2");
        assert!(known.contradict(&ana, "a1"), "nobody goes on with an old one");
    }

    fn id(id: &str) -> DocumentId {
        DocumentId::parse(id).expect("legal")
    }
}
