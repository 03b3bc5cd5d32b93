//! How syncing goes: one user's, and the whole job's.

use crate::documents::{last_pulse, sync};
use crate::value::{Fields, Value, optional, text, time};
use jiff::{SignedDuration, Timestamp};

/// A document that was asked for, or was not. What nobody read is not the same as what is not there.
#[derive(Clone, Copy, Debug)]
pub enum Lookup<'a> {
    /// Not asked for, or without an answer.
    Unread,
    /// Asked for, and there is none.
    Absent,
    /// Its fields.
    Found(&'a Fields),
}

/// How a user's sync goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncState {
    /// The last sync was a success, or none ever failed.
    Ok,
    /// It fails and is tried again: "we are having trouble".
    Retrying,
    /// The broker rejects the keys: "reconnect your account".
    NeedsReauth,
    /// The account is not open yet.
    Incomplete,
    /// The document was not read, or does not say.
    Unknown,
}

impl SyncState {
    /// `ok`, `retrying`, `needs_reauth`, `incomplete`, as in the document, or `unknown`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => sync::OK,
            Self::Retrying => sync::RETRYING,
            Self::NeedsReauth => sync::NEEDS_REAUTH,
            Self::Incomplete => sync::INCOMPLETE,
            Self::Unknown => "unknown",
        }
    }

    fn parse(text: &str) -> Self {
        let known = [Self::Ok, Self::Retrying, Self::NeedsReauth, Self::Incomplete];
        known.into_iter().find(|state| state.as_str() == text).unwrap_or(Self::Unknown)
    }
}

/// What `users/{user}/alpacaAccounts/sync` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// How it goes.
    pub state: SyncState,
    /// The code of the failure.
    pub error: Option<String>,
    /// Since when the state is what it is.
    pub since: Option<Timestamp>,
    /// The first failure after the last success.
    pub failing_since: Option<Timestamp>,
    /// When the broker is asked next.
    pub next_attempt_at: Option<Timestamp>,
}

impl Sync {
    pub(crate) fn of(document: Lookup<'_>) -> Self {
        match document {
            Lookup::Unread => Self::without_document(SyncState::Unknown),
            Lookup::Absent => Self::without_document(SyncState::Ok),
            Lookup::Found(fields) => Self {
                state: state(fields),
                error: text(fields, sync::ERROR).map(str::to_owned),
                since: time(fields, sync::SINCE),
                failing_since: time(fields, sync::FAILING_SINCE),
                next_attempt_at: time(fields, sync::NEXT_ATTEMPT_AT),
            },
        }
    }

    fn without_document(state: SyncState) -> Self {
        Self { state, error: None, since: None, failing_since: None, next_attempt_at: None }
    }

    /// Whether the user is known not to fail.
    pub(crate) fn is_well(&self) -> bool {
        self.state == SyncState::Ok && self.failing_since.is_none()
    }
}

/// A `failing_since` that says no time does not say that all is well either.
fn state(fields: &Fields) -> SyncState {
    match optional(fields, sync::FAILING_SINCE, Value::time) {
        Ok(_) => text(fields, sync::STATE).map_or(SyncState::Unknown, SyncState::parse),
        Err(_) => SyncState::Unknown,
    }
}

/// What `ops/last_pulse` says of the job: when it last came round, unless it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastPulse(Timestamp);

impl LastPulse {
    /// The last pass, if one is known that did not fail.
    pub(crate) fn of(document: Lookup<'_>) -> Option<Self> {
        let Lookup::Found(fields) = document else { return None };
        let came_round = matches!(text(fields, last_pulse::STATUS)?, last_pulse::OK | last_pulse::DEGRADED);
        time(fields, last_pulse::TIMESTAMP).filter(|_| came_round).map(Self)
    }

    /// Whether it is at most that old, and not from a future that no clock's error explains.
    pub(crate) fn is_recent(self, now: Timestamp, most: SignedDuration, ahead: SignedDuration) -> bool {
        let age = now.duration_since(self.0);
        age <= most && age >= -ahead
    }
}
