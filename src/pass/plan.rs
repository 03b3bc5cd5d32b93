//! What is done for each user in a pass: decided once, before anything is asked, from what is known by then.

use crate::config::LegacyAccount;
use crate::config::choices::TenantPath;
use crate::limits::deadlines::RECORD_RESERVE;
use crate::limits::rate::Permits;
use crate::model::equity_slot::EquitySlot;
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
    /// No keys are read, Alpaca is not asked, nothing is written.
    LeaveAlone(LeftAlone),
    /// Nothing before all others had their turn: the secret is known to have had no keys.
    SetAside,
    /// Tenant lookup, keys, account, snapshot.
    Sync(SyncSteps),
}

/// Why a user is left alone: nothing is asked of Alpaca and nothing written. Only `Missing` counts as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeftAlone {
    /// `sync_enabled` is false. Counts as skipped.
    Paused,
    /// `sync_enabled` is neither true nor false: money is not synced on a guess. Counts as skipped, with a warning.
    UnreadableSwitch,
    /// Alpaca rejected the keys often enough. Nothing is due yet, or the secret was looked at, after the tenant lookup,
    /// and still holds the same keys: it is the user's turn to store others. Counts as skipped, and as needing
    /// re-authentication.
    WaitsForReauth,
    /// There have been no keys for over an hour, and they are looked for only once in five minutes: it is the user's
    /// turn to store some. Counts as skipped.
    WaitsForKeys,
    /// A person named a user who has no document. Counts as failed, with an ERROR.
    Missing,
    /// A loop knew the user, who is deleted by now: that is looked at where the snapshot that it wrote is gone, and where
    /// the keys are of no use any more. Counts as skipped.
    Gone,
    /// The secret had no keys when it was last looked at, and the pass was told to stop before this user's turn, the
    /// last one. Counts as skipped.
    NotLookedAt,
}

impl LeftAlone {
    /// Why nothing is done for a user, by their document alone; nothing where that does not say so.
    #[must_use]
    pub(crate) fn by_switch(sync: Switch) -> Option<Self> {
        match sync {
            Switch::On => None,
            Switch::Off => Some(Self::Paused),
            Switch::Unreadable => Some(Self::UnreadableSwitch),
        }
    }
}

/// How a user is synced.
#[derive(Debug)]
pub(crate) struct SyncSteps {
    /// Where the keys come from; for an id that can name no secret, why not: the user fails then.
    pub(crate) keys: Result<KeySource, InvalidId>,
    /// Whether the write may be skipped: for a user who is known to have no state to end, in a loop that remembers in
    /// its process what it wrote. It is skipped if that has the same fingerprint and is younger than
    /// `--refresh-unchanged`, and no tenant's document is to be created. The permits of the writes are taken all the
    /// same.
    pub(crate) may_skip_write: bool,
    /// The slot of the equity history, if this pass writes an entry of the user in it: also where the other writes are
    /// skipped.
    pub(crate) equity_slot: Option<EquitySlot>,
    /// The writes after a success, as far as they have to be allowed: the snapshot, the tenant's document where the
    /// rules may permit it, the end of the user's state where there is one, and an entry of the equity history.
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
    /// It is recorded at once; but that Alpaca rejects the keys is left to the closing, as only all users together tell
    /// whether that is the user's fault.
    Record,
    /// A person's own run: it is recorded at once, a rejection too, and proves nothing about the keys, as it is tried
    /// again within seconds. No rejection is counted.
    RecordOwnRun,
    /// Nothing: the legacy account has no state to record it in. No rejection is counted.
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
    /// For whom tenants' documents are written.
    pub(crate) tenant_path: TenantPath,
    /// The rules of tenants' documents, in a pass that writes them.
    pub(crate) tenants: Option<tenancy::Pass<'a>>,
    /// The slot of the equity history, in a pass that keeps one.
    pub(crate) equity_slot: Option<EquitySlot>,
}

/// Decides what is done for a user; `kept` are their keys, if an earlier pass of a loop left them.
#[must_use]
pub(crate) fn decide(record: &UserRecord, kept: Option<Weak<StoredKeys>>, rules: &PassRules<'_>) -> SyncPlan {
    if let Some(reason) = LeftAlone::by_switch(record.user.sync) {
        return SyncPlan::LeaveAlone(reason);
    }
    let recheck = match rules.is_named {
        true => Recheck::Ask,
        false => recheck(&record.previous, &record.user, &rules.schedule),
    };
    let keys = match (&record.keys, recheck) {
        (KeysAt::NoSuchUser, _) => return SyncPlan::LeaveAlone(LeftAlone::Missing),
        (_, Recheck::Wait) => return SyncPlan::LeaveAlone(LeftAlone::WaitsForReauth),
        (_, Recheck::WaitForKeys) => return SyncPlan::LeaveAlone(LeftAlone::WaitsForKeys),
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
    let equity_slot = equity_slot(record, rules);
    SyncPlan::Sync(SyncSteps {
        keys,
        equity_slot,
        may_skip_write: rules.remembers_writes && record.previous == PreviousState::Clean,
        writes: expected_writes(record, equity_slot, rules),
        on_failure: match &record.keys {
            KeysAt::Configuration(_) => OnFailure::Forget,
            _ if rules.is_named => OnFailure::RecordOwnRun,
            _ => OnFailure::Record,
        },
    })
}

/// The legacy account has no history.
fn equity_slot(record: &UserRecord, rules: &PassRules<'_>) -> Option<EquitySlot> {
    let is_user = !matches!(record.keys, KeysAt::Configuration(_));
    rules.equity_slot.filter(|slot| is_user && slot.lacks(&record.previous))
}

/// How many writes have to be allowed for a user whose sync ends well.
fn expected_writes(record: &UserRecord, equity_slot: Option<EquitySlot>, rules: &PassRules<'_>) -> u32 {
    if !rules.permits_writes {
        return 0;
    }
    let may_write = |tenants: &tenancy::Pass<'_>| {
        // What is not known yet is read during the sync, and may well allow it.
        record.fresh_lookup().is_none_or(|lookup| {
            let decision = tenancy::decide(record.id().as_str(), &record.user.tenant, lookup, None, tenants);
            !matches!(decision, Decision::Refuse(_))
        })
    };
    let tenants = rules.tenants.as_ref().filter(|_| rules.tenant_path.covers(&record.user.tenant));
    let with_tenant = tenants.is_some_and(may_write);
    let ends_trouble = matches!(record.previous, PreviousState::Troubled(_));
    1 + [with_tenant, ends_trouble, equity_slot.is_some()].map(u32::from).iter().sum::<u32>()
}

impl SyncPlan {
    /// The calls that have to be allowed before the user is started: those of a sync that ends well, so that it
    /// need not wait in between.
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
    /// What of the user's time is kept for recording a failure.
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
