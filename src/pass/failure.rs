//! Why a user has no fresh snapshot, and what follows from it.

use crate::firestore::StoreError;
use crate::limits::deadlines::USER_BUDGET;
use crate::limits::retry::{Advice, Advise};
use crate::model::ids::InvalidId;
use crate::model::key_version::KeyVersion;
use crate::model::keys::Environment;
use crate::model::outcome::{Code, Outcome};
use crate::model::sync_state::PreviousState;
use crate::pass::plan::OnFailure;
use crate::pass::sync_outcome::{KeyVerdict, NoSnapshot, Told};
use crate::services::alpaca::AlpacaError;
use crate::services::secret_manager::SecretError;
use crate::telemetry::{Chain, is_watched};

/// The keys that Alpaca was asked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tried {
    /// The environment whose host was asked.
    pub(crate) environment: Environment,
    /// Their version; the legacy account's have none.
    pub(crate) version: Option<KeyVersion>,
}

/// Why a user has no fresh snapshot: one variant for each thing that follows.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There are no keys to ask with, or it could not be read whose document the figures may go to.
    NotAsked(Cause),
    /// The keys of that version cannot be used, or nothing was heard that says anything about them.
    NoAnswer(Cause, Option<KeyVersion>),
    /// Alpaca rejects the keys. Whether that is the user's fault, only the whole pass can tell.
    KeysRejected(AlpacaError, Tried),
    /// Alpaca takes the keys, but there is no snapshot: the account has no figures yet, it is another account, or
    /// Firestore did not take it.
    KeysAccepted(Cause, Tried),
}

/// What kept the snapshot from being written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    /// There can be no secret of that name.
    #[error("the id cannot name a secret: {0}")]
    Id(InvalidId),
    /// The keys could not be read, or are none.
    #[error(transparent)]
    Keys(SecretError),
    /// Alpaca gave no account for these keys.
    #[error(transparent)]
    Broker(AlpacaError),
    /// Another account than the one that the keys of that version had.
    #[error(
        "Alpaca answered twice with another account than the snapshot's, for the same version {} of the \
         keys: if the user did connect another account with them, set keys_updated_at of the user's \
         document to now, or store the keys as a new version",
        .0.as_str()
    )]
    OtherAccount(KeyVersion),
    /// Firestore did not read or write what it was asked to.
    #[error(transparent)]
    Store(StoreError),
}

impl Cause {
    fn code(&self) -> Code {
        match self {
            Self::Id(_) => Code::UserIdInvalid,
            Self::Keys(err) => err.code(),
            Self::Broker(err) => err.code(),
            Self::OtherAccount(_) => Code::BrokerOtherAccount,
            Self::Store(err) => err.code(),
        }
    }

    /// What the service said to do about it.
    fn advice(&self) -> Advice {
        match self {
            Self::Id(_) | Self::OtherAccount(_) => Advice::GiveUp,
            Self::Keys(err) => err.advice(),
            Self::Broker(err) => err.advice(),
            Self::Store(err) => err.advice(),
        }
    }

    /// Whether the time was over, or the service answered nobody: another time may be better.
    fn is_about_time(&self) -> bool {
        match self {
            Self::Id(_) | Self::OtherAccount(_) => false,
            Self::Keys(err) => matches!(err, SecretError::OutOfTime { .. } | SecretError::Silent { .. }),
            Self::Broker(err) => matches!(
                err,
                AlpacaError::OutOfTime(_)
                    | AlpacaError::StoodStill(_)
                    | AlpacaError::Silent
                    | AlpacaError::NoTurn(_)
            ),
            Self::Store(err) => matches!(err, StoreError::OutOfTime),
        }
    }
}

impl From<SecretError> for Failure {
    fn from(err: SecretError) -> Self {
        match &err {
            SecretError::Malformed { version, .. } => {
                let version = version.clone();
                Self::NoAnswer(Cause::Keys(err), Some(version))
            }
            _ => Self::NotAsked(Cause::Keys(err)),
        }
    }
}

impl Failure {
    /// What follows from Alpaca's failure with these keys. An answer that cannot be used may be anybody's.
    #[must_use]
    pub(crate) fn of_broker(err: AlpacaError, tried: Tried) -> Self {
        match err {
            AlpacaError::Rejected { .. } => Self::KeysRejected(err, tried),
            AlpacaError::Incomplete(_) => Self::KeysAccepted(Cause::Broker(err), tried),
            _ => Self::NoAnswer(Cause::Broker(err), tried.version),
        }
    }

    /// The code that logs and documents use for it.
    #[must_use]
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::NotAsked(cause) | Self::NoAnswer(cause, _) | Self::KeysAccepted(cause, _) => cause.code(),
            Self::KeysRejected(err, _) => err.code(),
        }
    }

    /// Whether the same may well work in a while: some service did not answer, or not in its right mind, and did not
    /// say to come back later than in the pass.
    #[must_use]
    pub(crate) fn may_pass(&self) -> bool {
        use Code::{BrokerUnavailable, KeysUnavailable, StoreUnavailable};
        let (Self::NotAsked(cause) | Self::NoAnswer(cause, _) | Self::KeysAccepted(cause, _)) = self else {
            return false;
        };
        matches!(self.code(), KeysUnavailable | BrokerUnavailable | StoreUnavailable)
            && match cause.advice() {
                Advice::BackOff => true,
                Advice::After(wait) => wait <= USER_BUDGET,
                Advice::GiveUp => cause.is_about_time(),
            }
    }

    /// Whether some host was not asked because it answers nobody.
    #[must_use]
    pub(crate) fn is_of_silent_host(&self) -> bool {
        matches!(
            self,
            Self::NotAsked(Cause::Keys(SecretError::Silent { .. }))
                | Self::NoAnswer(Cause::Broker(AlpacaError::Silent), _)
        )
    }

    /// What happened and why, with all causes.
    #[must_use]
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::NotAsked(cause) | Self::NoAnswer(cause, _) | Self::KeysAccepted(cause, _) => {
                Chain(cause).to_string()
            }
            Self::KeysRejected(err, _) => Chain(err).to_string(),
        }
    }

    /// Whether Firestore refused the user's document, rather than the job.
    fn is_one_documents(&self) -> bool {
        let Self::KeysAccepted(Cause::Store(err), _) = self else { return false };
        err.code() == Code::StoreRejected && err.may_be_one_documents()
    }

    /// The version of the keys that were read, if they were.
    #[must_use]
    pub(crate) fn key_version(&self) -> Option<&KeyVersion> {
        match self {
            Self::NotAsked(_) => None,
            Self::NoAnswer(_, version) => version.as_ref(),
            Self::KeysRejected(_, tried) | Self::KeysAccepted(_, tried) => tried.version.as_ref(),
        }
    }

    /// What Alpaca said of the keys, if it spoke of them.
    fn key_verdict(&self) -> Option<KeyVerdict> {
        match self {
            Self::NotAsked(_) | Self::NoAnswer(..) => None,
            Self::KeysRejected(_, Tried { environment, version }) => {
                Some(KeyVerdict::Rejected(*environment, version.clone()?))
            }
            Self::KeysAccepted(_, tried) => Some(KeyVerdict::Accepted(tried.environment)),
        }
    }

    /// What a user counts as who was in that state before and fails so, and what is to be remembered until the pass
    /// closes.
    #[must_use]
    pub(crate) fn judged(&self, previous: &PreviousState, on_failure: OnFailure) -> NoSnapshot {
        let code = self.code();
        let is_own_run = on_failure == OnFailure::RecordOwnRun;
        let counts_as = match code {
            Code::AccountIncomplete => Outcome::Skipped,
            // Nothing new: they are waited for.
            _ if !is_own_run && previous.stays_rejected(code, self.key_version()) => Outcome::NeedsReauth,
            _ => Outcome::Failed(code),
        };
        let key_verdict = self.key_verdict().filter(|_| !is_own_run);
        let told = || Told { reason: self.reason(), is_one_documents: self.is_one_documents() };
        let why = is_watched().then(|| Box::new(told()));
        NoSnapshot { counts_as, key_verdict, past: None, why }
    }
}

#[cfg(test)]
mod tests;
