//! What is done for each user in a pass: decided once, before anything is asked, from what is known by then.

use crate::config::LegacyAccount;
use crate::limits::deadlines::RECORD_RESERVE;
use crate::limits::rate::Permits;
use crate::model::ids::{InvalidId, UserId};
use crate::model::key_version::KeyVersion;
use crate::model::recheck::{Recheck, RecheckSchedule, recheck};
use crate::model::sync_state::PreviousState;
use crate::model::tenancy::{self, Decision};
use crate::model::user::Switch;
use crate::pass::user_record::{KeysAt, UserRecord};
use crate::services::secret_manager::StoredKeys;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What is done for one user in this pass.
#[derive(Debug)]
pub(crate) enum SyncPlan {
    /// Nothing: no keys are read, Alpaca is not asked, nothing is written.
    Nothing(NotSynced),
    /// Keys, account, snapshot.
    Sync(SyncSteps),
}

/// Why nothing is done for a user. A log line says it, and the user is counted; that is all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotSynced {
    /// `sync_enabled` is false. Counts as skipped.
    Paused,
    /// `sync_enabled` is neither true nor false: money is not synced on a guess. Counts as skipped, with a warning.
    UnreadableSwitch,
    /// Alpaca rejected the keys often enough. Nothing is due yet, or the secret was looked at and still holds the
    /// same keys: it is the user's turn to store others. Counts as skipped, and as needing re-authentication.
    WaitsForReauth,
    /// A person named a user who has no document. Counts as failed.
    Missing,
}

/// How a user is synced.
#[derive(Debug)]
pub(crate) struct SyncSteps {
    /// Where the keys come from; for an id that can name no secret, why not: the user fails then.
    pub(crate) keys: Result<KeySource, InvalidId>,
    /// Whether documents that say the same may be left alone: those of a user without a state to end, in a loop
    /// that remembers what it wrote.
    pub(crate) may_skip_write: bool,
    /// The writes after a success, as far as they have to be allowed: the snapshot, the tenant's document where the
    /// rules may permit it, and the end of the user's state where there is one.
    pub(crate) writes: u32,
    /// What follows from a failure.
    pub(crate) on_failure: OnFailure,
}

/// Where a user's keys come from.
#[derive(Debug)]
pub(crate) enum KeySource {
    /// Those that an earlier pass of a loop kept, as long as they are kept. If Alpaca rejects them, the newest ones.
    Kept(UserId, Weak<StoredKeys>),
    /// The newest version of the user's secret.
    Newest(UserId),
    /// The same, but Alpaca is not asked if it is still this version, which it is known to reject.
    NewestUnless(UserId, KeyVersion),
    /// The configuration.
    Configuration(Arc<LegacyAccount>),
}

/// What follows from a failure, besides its log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// It is recorded at once; but that Alpaca rejects the keys only when the pass closes, as only all users together
    /// tell whether that is the user's fault.
    Record,
    /// A person's own run: it is recorded at once, and proves nothing about the keys, as it is tried again within
    /// seconds. Nothing that Alpaca says of them is counted.
    RecordOwnRun,
    /// Nothing: the legacy account has no record.
    Forget,
}

/// What is the same for all users of a pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PassRules<'a> {
    /// When secrets are looked at.
    pub(crate) schedule: RecheckSchedule,
    /// Whether a person named the users: they are asked about whatever is known of their keys.
    pub(crate) is_named: bool,
    /// Whether what earlier passes wrote is remembered.
    pub(crate) remembers_writes: bool,
    /// Whether writes have to be allowed.
    pub(crate) permits_writes: bool,
    /// The rules of tenants' documents, in a pass that writes them.
    pub(crate) tenants: Option<tenancy::Pass<'a>>,
}

/// Decides what is done for a user; `kept` are their keys, if an earlier pass of a loop left them.
#[must_use]
pub(crate) fn decide(record: &UserRecord, kept: Option<Weak<StoredKeys>>, rules: &PassRules<'_>) -> SyncPlan {
    match record.user.sync {
        Switch::On => {}
        Switch::Off => return SyncPlan::Nothing(NotSynced::Paused),
        Switch::Unreadable => return SyncPlan::Nothing(NotSynced::UnreadableSwitch),
    }
    let recheck = match rules.is_named {
        true => Recheck::Ask,
        false => recheck(&record.previous, record.id().as_str(), &rules.schedule),
    };
    let keys = match (&record.keys, recheck) {
        (KeysAt::NoSuchUser, _) => return SyncPlan::Nothing(NotSynced::Missing),
        (_, Recheck::Wait) => return SyncPlan::Nothing(NotSynced::WaitsForReauth),
        (KeysAt::Nowhere(invalid), _) => Err(*invalid),
        (KeysAt::Configuration(account), _) => Ok(KeySource::Configuration(Arc::clone(account))),
        (KeysAt::Secret(user), Recheck::AskUnless(rejected)) => {
            Ok(KeySource::NewestUnless(user.clone(), rejected))
        }
        (KeysAt::Secret(user), Recheck::Ask) => Ok(match kept {
            Some(kept) => KeySource::Kept(user.clone(), kept),
            None => KeySource::Newest(user.clone()),
        }),
    };
    SyncPlan::Sync(SyncSteps {
        keys,
        may_skip_write: rules.remembers_writes && record.previous == PreviousState::Clean,
        writes: expected_writes(record, rules),
        on_failure: match &record.keys {
            KeysAt::Configuration(_) => OnFailure::Forget,
            _ if rules.is_named => OnFailure::RecordOwnRun,
            _ => OnFailure::Record,
        },
    })
}

/// How many writes have to be allowed for a user whose way ends well.
fn expected_writes(record: &UserRecord, rules: &PassRules<'_>) -> u32 {
    if !rules.permits_writes {
        return 0;
    }
    let may_write = |tenants: &tenancy::Pass<'_>| {
        // What is not known yet is read on the way, and may well allow it.
        record.fresh_lookup().is_none_or(|lookup| {
            let decision = tenancy::decide(record.id().as_str(), &record.user.tenant, lookup, None, tenants);
            !matches!(decision, Decision::Refuse(_))
        })
    };
    let with_tenant = rules.tenants.as_ref().is_some_and(may_write);
    1 + u32::from(with_tenant) + u32::from(matches!(record.previous, PreviousState::Troubled(_)))
}

impl SyncPlan {
    /// The calls that have to be allowed before the user is started: those of a way that ends well, so that it need
    /// not wait in between.
    #[must_use]
    pub(crate) fn permits(&self) -> Permits {
        let Self::Sync(steps) = self else { return Permits::NONE };
        match &steps.keys {
            Err(_) => Permits::NONE,
            Ok(KeySource::Kept(..) | KeySource::Configuration(_)) => steps.permits_with_keys(),
            Ok(KeySource::Newest(_)) => Permits { secret_accesses: 1, ..steps.permits_with_keys() },
            // Nearly all of them still have the keys that are known, and then it ends with that.
            Ok(KeySource::NewestUnless(..)) => Permits::SECRET_ACCESS,
        }
    }
}

impl SyncSteps {
    /// The part of the user's time that is kept for recording a failure.
    #[must_use]
    pub(crate) fn record_reserve(&self) -> Duration {
        match self.on_failure {
            OnFailure::Record | OnFailure::RecordOwnRun => RECORD_RESERVE,
            OnFailure::Forget => Duration::ZERO,
        }
    }

    /// The calls that are left once the keys are there.
    #[must_use]
    pub(crate) fn permits_with_keys(&self) -> Permits {
        Permits { writes: self.writes, ..Permits::ALPACA_CALL }
    }
}

#[cfg(test)]
mod tests;
