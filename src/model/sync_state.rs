//! What keeps a user from being synced: the record that the app and the next pulse read, and what each end of a sync
//! makes of it.

use crate::model::fleet_guard::Guard;
use crate::model::key_version::KeyVersion;
use crate::model::outcome::Code;
use crate::model::past::{LastSuccess, Past};
use account_reader::documents::sync;
use jiff::{SignedDuration, Timestamp};

/// Rejected pulses in a row, for one key version, that make a user need re-authentication: one 401
/// proves little.
const REJECTIONS_THAT_COUNT: u32 = 2;

/// Longest rest of rejected keys.
const LONGEST_REST: SignedDuration = SignedDuration::from_hours(24);

/// How far the clocks of two machines may be apart.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_hours(1);

/// What the app shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Failing, and tried again at every pulse.
    Retrying,
    /// Alpaca rejects the keys: the user has to reconnect their account.
    NeedsReauth,
    /// The account is not open yet.
    Incomplete,
    /// The trouble is over.
    Ok,
}

impl State {
    /// The states of users in trouble, which the pass asks for.
    pub(crate) const IN_TROUBLE: [Self; 3] = [Self::Retrying, Self::NeedsReauth, Self::Incomplete];

    /// The word used in the document.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Retrying => sync::RETRYING,
            Self::NeedsReauth => sync::NEEDS_REAUTH,
            Self::Incomplete => sync::INCOMPLETE,
            Self::Ok => sync::OK,
        }
    }
}

/// One such document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyncState {
    /// What the app shows.
    pub(crate) state: State,
    /// The last failure; none once the trouble is over.
    pub(crate) error: Option<Code>,
    /// When `state` began.
    pub(crate) since: Timestamp,
    /// The first failure after the last success; none once the trouble is over, and as long as the snapshot
    /// that tells of the last success could not be read.
    pub(crate) failing_since: Option<Timestamp>,
    /// The last success; none for a user who never synced.
    pub(crate) last_success: Option<LastSuccess>,
    /// Rejected pulses in a row, for `broker_rejected`; those that the fleet guard holds back do not count.
    pub(crate) rejections: u32,
    /// The version of the keys that the failure is about, where it is about keys that were read.
    pub(crate) key_version: Option<KeyVersion>,
    /// Until then Alpaca is not asked again with that version.
    pub(crate) next_attempt_at: Option<Timestamp>,
}

impl SyncState {
    /// The record without what only a clock that was wrong can have written: a next attempt farther away than keys
    /// ever rest, which would keep the user waiting, and trouble that begins in the future.
    #[must_use]
    pub(crate) fn plausible_at(self, now: Timestamp) -> Self {
        let within = |time: &Timestamp, limit| time.duration_since(now) <= limit;
        Self {
            failing_since: self.failing_since.filter(|since| within(since, CLOCK_TOLERANCE)),
            next_attempt_at: self.next_attempt_at.filter(|next| within(next, LONGEST_REST + CLOCK_TOLERANCE)),
            ..self
        }
    }
}

/// What was recorded of a user before this sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PreviousState {
    /// It could not be read: whatever happens now is not recorded, so that nothing known is lost.
    Unknown,
    /// No trouble.
    Clean,
    /// In trouble.
    Troubled(SyncState),
}

impl PreviousState {
    /// The record, if there is one.
    #[must_use]
    pub(crate) fn record(&self) -> Option<&SyncState> {
        match self {
            Self::Troubled(record) => Some(record),
            Self::Unknown | Self::Clean => None,
        }
    }

    /// The record of a user of whom it is an established fact that Alpaca rejects the keys.
    #[must_use]
    pub(crate) fn reauth(&self) -> Option<&SyncState> {
        self.record().filter(|record| record.state == State::NeedsReauth)
    }

    /// Whether that is an established fact.
    #[must_use]
    pub(crate) fn needs_reauth(&self) -> bool {
        self.reauth().is_some()
    }

    /// The record, if it is about a rejection of the keys of that version.
    fn rejection_of(&self, version: Option<&KeyVersion>) -> Option<&SyncState> {
        let is_rejection = |record: &&SyncState| record.error == Some(Code::BrokerRejected);
        self.record().filter(is_rejection).filter(|record| record.key_version.as_ref() == version)
    }

    /// How the user came into trouble, where it is known without their snapshot.
    #[must_use]
    pub(crate) fn past(&self) -> Option<Past> {
        let record = self.record()?;
        let failing_since = record.failing_since?;
        Some(Past { failing_since, last_success: record.last_success.clone() })
    }

    /// Whether the snapshot has to be read before a failure is recorded: nothing was recorded so far, or not
    /// all of it, by an older version or because the snapshot could not be read.
    #[must_use]
    pub(crate) fn lacks_past(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Clean => true,
            Self::Troubled(record) => record.failing_since.is_none(),
        }
    }

    /// The same once the snapshot is read, for a user who fails at `now`.
    #[must_use]
    pub(crate) fn past_with(&self, last_success: Option<LastSuccess>, now: Timestamp) -> Past {
        let failing_since = self.record().map_or(now, |record| record.since.min(now));
        Past { failing_since, last_success }
    }

    /// Whether a failure leaves it at that Alpaca rejects the keys. It does not when it says more than
    /// that they could not be tried again: that they are gone, that they are others, or that Alpaca
    /// took them and something later failed.
    #[must_use]
    pub(crate) fn stays_rejected(&self, code: Code, version: Option<&KeyVersion>) -> bool {
        let Some(record) = self.reauth() else { return false };
        let other_keys = version.is_some() && version != record.key_version.as_ref();
        match code {
            Code::KeysMissing => false,
            // With keys in hand, these come after Alpaca has taken them.
            Code::AccountIncomplete
            | Code::BrokerOtherAccount
            | Code::StoreUnavailable
            | Code::StoreRejected => version.is_none(),
            // An answer that cannot be used may be a proxy's: it says nothing about the keys.
            Code::KeysForbidden
            | Code::KeysDisabled
            | Code::KeysMalformed
            | Code::KeysUnavailable
            | Code::UserIdInvalid
            | Code::UserUnknown
            | Code::BrokerRejected
            | Code::BrokerBadAnswer
            | Code::BrokerRateLimited
            | Code::BrokerUnavailable
            | Code::Internal => !other_keys,
        }
    }

    /// Whether a new record may take the place of what is there. One that lacks the beginning of the trouble
    /// stays until that is known: only its `since` tells it.
    fn can_be_replaced(&self, past: Option<&Past>) -> bool {
        match self {
            Self::Unknown => false,
            Self::Clean => true,
            Self::Troubled(_) => past.is_some(),
        }
    }

    /// The new record, unless it says what is there already.
    fn unless_same(&self, record: SyncState) -> Option<SyncState> {
        (self.record() != Some(&record)).then_some(record)
    }
}

/// The record after a success, where there is trouble to end.
#[must_use]
pub(crate) fn after_success(
    previous: &PreviousState,
    version: &KeyVersion,
    now: Timestamp,
) -> Option<SyncState> {
    previous.record().map(|_| SyncState {
        state: State::Ok,
        error: None,
        since: now,
        failing_since: None,
        last_success: Some(LastSuccess { at: now, key_version: Some(version.clone()) }),
        rejections: 0,
        key_version: Some(version.clone()),
        next_attempt_at: None,
    })
}

/// The record after a failure other than a rejection, or `None` when nothing in it changes.
///
/// `past` is what is known of how the user came into trouble, and `version` that of the keys that were
/// read, if they were.
#[must_use]
pub(crate) fn after_failure(
    previous: &PreviousState,
    past: Option<&Past>,
    code: Code,
    version: Option<&KeyVersion>,
    now: Timestamp,
) -> Option<SyncState> {
    if !previous.can_be_replaced(past) {
        return None;
    }
    if previous.stays_rejected(code, version) {
        return completed(previous, past);
    }
    let state = if code == Code::AccountIncomplete { State::Incomplete } else { State::Retrying };
    let key_version = version.cloned();
    previous.unless_same(SyncState { key_version, ..failing(previous, past, (state, code), now) })
}

/// The record after any failure, rejections included, of a person's own run, or `None` when nothing in it
/// changes.
///
/// It is tried again within seconds, so that it proves nothing more than a pulse does: no rejection counts, and
/// users who have to reconnect stay so until Alpaca takes their keys.
#[must_use]
pub(crate) fn after_named_failure(
    previous: &PreviousState,
    past: Option<&Past>,
    code: Code,
    version: Option<&KeyVersion>,
    now: Timestamp,
) -> Option<SyncState> {
    match code {
        Code::BrokerRejected if previous.rejection_of(version).is_some() => None,
        Code::AccountIncomplete => after_failure(previous, past, code, version, now),
        _ if previous.needs_reauth() => None,
        _ => after_failure(previous, past, code, version, now),
    }
}

/// The record after Alpaca rejected the keys of that version, or `None` when nothing in it changes.
#[must_use]
pub(crate) fn after_rejection(
    previous: &PreviousState,
    past: Option<&Past>,
    version: &KeyVersion,
    guard: Guard,
    now: Timestamp,
) -> Option<SyncState> {
    if !previous.can_be_replaced(past) {
        return None;
    }
    let before = previous.rejection_of(Some(version));
    // It proves nothing new about keys that are known to be rejected.
    if guard == Guard::Holds && before.is_some_and(|record| record.state == State::NeedsReauth) {
        return completed(previous, past);
    }
    let rejections = rejections(before.map(|record| record.rejections), guard);
    let state = if rejections < REJECTIONS_THAT_COUNT { State::Retrying } else { State::NeedsReauth };
    previous.unless_same(SyncState {
        rejections,
        key_version: Some(version.clone()),
        next_attempt_at: (state == State::NeedsReauth).then(|| now + pause(rejections)),
        ..failing(previous, past, (state, Code::BrokerRejected), now)
    })
}

/// What a record says of any failure.
fn failing(
    previous: &PreviousState,
    past: Option<&Past>,
    (state, code): (State, Code),
    now: Timestamp,
) -> SyncState {
    let same = previous.record().filter(|record| record.state == state);
    SyncState {
        state,
        error: Some(code),
        since: same.map_or(now, |record| record.since),
        failing_since: past.map(|past| past.failing_since),
        last_success: past.and_then(|past| past.last_success.clone()),
        rejections: 0,
        key_version: None,
        next_attempt_at: None,
    }
}

/// The rejections in a row that count, with this one, after so many (`None`: the one before was no
/// rejection of these keys).
fn rejections(before: Option<u32>, guard: Guard) -> u32 {
    match (guard, before) {
        (Guard::Holds, before) => before.unwrap_or_default().min(REJECTIONS_THAT_COUNT - 1),
        (Guard::Off | Guard::Over, None) => 1,
        (Guard::Off, Some(before)) => before.saturating_add(1),
        // Those that were held back count after all.
        (Guard::Over, Some(before)) => before.saturating_add(1).max(REJECTIONS_THAT_COUNT),
    }
}

/// A record of an older version, or one that was written without the snapshot, with what it lacks.
#[must_use]
pub(crate) fn completed(previous: &PreviousState, past: Option<&Past>) -> Option<SyncState> {
    let (record, past) = (previous.record().filter(|_| previous.lacks_past())?, past?);
    let (failing_since, last_success) = (Some(past.failing_since), past.last_success.clone());
    Some(SyncState { failing_since, last_success, ..record.clone() })
}

/// How long rejected keys rest: 15 min, 1 h, 6 h, then 24 h.
fn pause(rejections: u32) -> SignedDuration {
    match rejections.saturating_sub(REJECTIONS_THAT_COUNT) {
        0 => SignedDuration::from_mins(15),
        1 => SignedDuration::from_hours(1),
        2 => SignedDuration::from_hours(6),
        _ => LONGEST_REST,
    }
}

#[cfg(test)]
mod tests;
