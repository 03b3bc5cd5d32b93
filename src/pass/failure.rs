//! What can end a user's journey without a snapshot.

use crate::firestore::StoreError;
use crate::model::ids::InvalidId;
use crate::model::key_version::KeyVersion;
use crate::model::keys::Environment;
use crate::model::outcome::Code;
use crate::pass::tally::Word;
use crate::services::alpaca::AlpacaError;
use crate::services::secret_manager::SecretError;
use crate::telemetry::Chain;

/// The keys that Alpaca was asked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tried {
    /// Whose host was asked.
    pub(crate) environment: Environment,
    /// Their version; the legacy account's have none.
    pub(crate) version: Option<KeyVersion>,
}

/// One variant for each stage of the journey.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There can be no secret of that name.
    Id(InvalidId),
    /// There is no such user.
    Unknown,
    /// What decides about the tenant's document could not be read: the money could end up in a wrong one.
    Facts(StoreError),
    /// No keys.
    Keys(SecretError),
    /// No account with these keys.
    Broker(AlpacaError, Tried),
    /// Another account than the one that the keys of that version had.
    OtherAccount(KeyVersion, Environment),
    /// An account, but no snapshot.
    Store(StoreError, Tried),
}

impl Failure {
    /// The code that logs and documents use for it.
    #[must_use]
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Id(_) => Code::UserIdInvalid,
            Self::Unknown => Code::UserUnknown,
            Self::Facts(err) => err.code(),
            Self::Keys(err) => err.code(),
            Self::Broker(err, _) => err.code(),
            Self::OtherAccount(..) => Code::BrokerOtherAccount,
            Self::Store(err, _) => err.code(),
        }
    }

    /// What happened and why, with all causes.
    #[must_use]
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Id(err) => format!("the id cannot name a secret: {err}"),
            Self::Unknown => {
                "there is no such document in users: check the id, the project and the database".into()
            }
            Self::Facts(err) => Chain(err).to_string(),
            Self::Keys(err) => Chain(err).to_string(),
            Self::Broker(err, _) => Chain(err).to_string(),
            Self::OtherAccount(version, _) => format!(
                "Alpaca answered twice with another account than the snapshot's, for the same version {} of the \
                 keys: if the user did connect another account with them, set keys_updated_at of the user's \
                 document to now, or store the keys as a new version",
                version.as_str()
            ),
            Self::Store(err, _) => Chain(err).to_string(),
        }
    }

    /// The version of the keys that were read, if they were.
    #[must_use]
    pub(crate) fn key_version(&self) -> Option<&KeyVersion> {
        match self {
            Self::Id(_) | Self::Unknown | Self::Facts(_) => None,
            Self::Keys(SecretError::Malformed { version, .. }) => Some(version),
            Self::Keys(_) => None,
            Self::OtherAccount(version, _) => Some(version),
            Self::Broker(_, tried) | Self::Store(_, tried) => tried.version.as_ref(),
        }
    }

    /// The version of the keys that Alpaca rejected, if that is what happened.
    #[must_use]
    pub(crate) fn rejected(&self) -> Option<KeyVersion> {
        match self {
            Self::Broker(AlpacaError::Rejected { .. }, tried) => tried.version.clone(),
            _ => None,
        }
    }

    /// What Alpaca said of the keys, if it spoke of them. An answer that cannot be used may be anybody's.
    #[must_use]
    pub(crate) fn word(&self) -> Option<Word> {
        match self {
            Self::Broker(AlpacaError::Rejected { .. }, Tried { environment, version }) => {
                Some(Word::Rejected(*environment, version.clone()?))
            }
            Self::Broker(AlpacaError::Incomplete(_), tried) | Self::Store(_, tried) => {
                Some(Word::Accepted(tried.environment))
            }
            Self::OtherAccount(_, environment) => Some(Word::Accepted(*environment)),
            _ => None,
        }
    }
}
