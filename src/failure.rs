//! What can end a user's journey without a snapshot.

use crate::alpaca::AlpacaError;
use crate::ids::InvalidId;
use crate::outcome::Code;
use crate::secret_manager::{KeyVersion, SecretError};
use crate::store::StoreError;
use crate::telemetry::Chain;

/// One variant for each stage of the journey.
#[derive(Debug)]
pub enum Failure {
    /// There can be no secret of that name.
    Id(InvalidId),
    /// There is no such user.
    Unknown,
    /// What decides about the tenant's document could not be read: the money could end up in a wrong one.
    Facts(StoreError),
    /// No keys.
    Keys(SecretError),
    /// No account with the keys of that version (the legacy account's have none).
    Broker(AlpacaError, Option<KeyVersion>),
    /// An account, but no snapshot.
    Store(StoreError, Option<KeyVersion>),
}

impl Failure {
    /// The code that logs and documents use for it.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Id(_) => Code::UserIdInvalid,
            Self::Unknown => Code::UserUnknown,
            Self::Facts(err) => err.code(),
            Self::Keys(err) => err.code(),
            Self::Broker(err, _) => err.code(),
            Self::Store(err, _) => err.code(),
        }
    }

    /// What happened and why, with all causes.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Id(err) => format!("the id cannot name a secret: {err}"),
            Self::Unknown => {
                "there is no such document in users: check the id, the project and the database".into()
            }
            Self::Facts(err) => Chain(err).to_string(),
            Self::Keys(err) => Chain(err).to_string(),
            Self::Broker(err, _) => Chain(err).to_string(),
            Self::Store(err, _) => Chain(err).to_string(),
        }
    }

    /// The version of the keys that were read, if they were.
    #[must_use]
    pub fn key_version(&self) -> Option<&KeyVersion> {
        match self {
            Self::Id(_) | Self::Unknown | Self::Facts(_) => None,
            Self::Keys(SecretError::Malformed { version, .. }) => Some(version),
            Self::Keys(_) => None,
            Self::Broker(_, version) | Self::Store(_, version) => version.as_ref(),
        }
    }

    /// The version of the keys that Alpaca rejected, if that is what happened.
    #[must_use]
    pub fn rejected(&self) -> Option<KeyVersion> {
        match self {
            Self::Broker(AlpacaError::Rejected { .. }, version) => version.clone(),
            _ => None,
        }
    }

    /// Whether Alpaca was asked.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        matches!(self, Self::Broker(..) | Self::Store(..))
    }
}
