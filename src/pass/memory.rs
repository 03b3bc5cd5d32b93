//! What a process remembers from one pass of a loop to the next, besides keys.

use crate::config::Config;
use crate::config::repeat::Repeat;
use crate::model::account::Account;
use crate::model::ids::DocumentId;
use crate::pass::differences::Differences;
use crate::pass::kept::KeptUsers;
use crate::pass::known_accounts::KnownAccounts;
use crate::pass::user_record::UserRecord;
use crate::pass::written_snapshots::WrittenSnapshots;
use tokio::time::Instant;

/// What earlier passes of a loop left; nothing for a single pass.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// What they have written, where unchanged documents may be left alone.
    pub(crate) written: Option<WrittenSnapshots>,
    /// The accounts that they have seen.
    pub(crate) accounts: Option<KnownAccounts>,
    /// The users, where they are kept.
    pub(crate) kept: Option<KeptUsers>,
    /// What a dry run would change, if that is asked.
    pub(crate) differences: Option<Differences>,
}

impl Memory {
    /// Nothing yet.
    #[must_use]
    pub(crate) fn new(config: &Config) -> Self {
        let repeat = config.repeat.as_ref();
        let refresh = repeat.map(|repeat| repeat.refresh_unchanged).filter(|refresh| !refresh.is_zero());
        Self {
            written: refresh.map(WrittenSnapshots::new),
            accounts: repeat.map(|_| KnownAccounts::default()),
            kept: repeat
                .filter(|_| config.takes_everybody() && config.filter.is_empty())
                .and_then(kept_users),
            differences: config.diff.then(Differences::default),
        }
    }

    /// A pass begins that was due at `due`; others may have synced everybody since the last one.
    pub(crate) fn begin(&self, due: Instant, follows_others: bool) {
        match &self.written {
            Some(written) if follows_others => written.forget_all(),
            Some(written) => written.begin(due),
            None => {}
        }
    }

    /// Keeps a page of users. The accounts that the documents of their tenants show are known then.
    pub(super) fn keep(&self, kept: &KeptUsers, page: &[UserRecord]) {
        kept.extend(page);
        self.remember_shown(page);
    }

    /// The accounts that the documents of these users' tenants show are known from now on.
    pub(super) fn remember_shown(&self, read: &[UserRecord]) {
        let Some(accounts) = &self.accounts else { return };
        for record in read {
            if let Some(account) = record.fresh_lookup().and_then(|lookup| lookup.shown(record.id().as_str()))
            {
                accounts.remember_first(record.id(), account);
            }
        }
    }

    /// What is known of the user may be wrong by now.
    pub(super) fn doubt(&self, user: &DocumentId) {
        if let Some(kept) = &self.kept {
            kept.doubt(user);
        }
    }

    /// That account is the user's.
    pub(crate) fn remember_account(&self, user: &DocumentId, account: &Account) {
        if let Some(accounts) = &self.accounts {
            accounts.remember(user, &account.external_account_id);
        }
    }
}

/// Nobody is kept for no time, nor in no room.
fn kept_users(repeat: &Repeat) -> Option<KeptUsers> {
    let Repeat { users_ttl, kept_users, .. } = repeat;
    (!users_ttl.is_zero() && *kept_users > 0).then(|| KeptUsers::new(*users_ttl, *kept_users))
}
