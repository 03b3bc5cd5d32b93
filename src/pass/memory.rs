//! What a process remembers from one pass of a loop to the next, besides keys.

use crate::config::Config;
use crate::model::account::Account;
use crate::model::ids::DocumentId;
use crate::pass::differences::Differences;
use crate::pass::known_accounts::KnownAccounts;
use crate::pass::written_snapshots::WrittenSnapshots;
use tokio::time::Instant;

/// What earlier passes of a loop left; nothing for a single pass.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// What they have written, where unchanged documents may be left alone.
    pub(crate) written: Option<WrittenSnapshots>,
    /// The accounts that they have seen.
    pub(crate) accounts: Option<KnownAccounts>,
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
            differences: config.diff.then(Differences::default),
        }
    }

    /// A pass begins that was due at `due`.
    pub(crate) fn begin(&self, due: Instant) {
        if let Some(written) = &self.written {
            written.begin(due);
        }
    }

    /// That account is the user's.
    pub(crate) fn remember_account(&self, user: &DocumentId, account: &Account) {
        if let Some(accounts) = &self.accounts {
            accounts.remember(user, &account.external_account_id);
        }
    }
}
