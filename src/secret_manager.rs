//! Secret Manager: where each user's Alpaca keys are kept.

use crate::credentials::failure::NoToken;
use crate::credentials::{Identity, no_token};
use crate::ids::{Database, UserId};
use crate::keys::{AlpacaKeys, MalformedKeys};
use crate::outcome::Code;
use crate::pace::{Calls, Pace};
use crate::retry::{Advice, Advise, Deadline, asked_wait, with_numbered_retries};
use crate::usage::Usage;
use google_cloud_gax::error::Error as GaxError;
use google_cloud_gax::error::rpc::Code as RpcCode;
use google_cloud_gax::options::RequestOptionsBuilder;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_secretmanager_v1::client::SecretManagerService;
use google_cloud_secretmanager_v1::model::{AccessSecretVersionResponse, SecretPayload};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use zeroize::Zeroize;

/// Longest one access may take. Three of them fit in a user's budget.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a user's keys cannot be had. One variant for each thing that has to be done about it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The user never stored keys, or they were deleted.
    #[error("secret {secret} has no version: store the user's keys in it")]
    Missing {
        /// The secret's id.
        secret: String,
    },
    /// Ours to fix: the job's service account lacks a role.
    #[error(
        "access to secret {secret} is denied: grant roles/secretmanager.secretAccessor to the job's service account"
    )]
    Forbidden {
        /// The secret's id.
        secret: String,
    },
    /// `latest` is the newest version, whatever its state.
    #[error("the newest version of secret {secret} is disabled or destroyed: enable it or add a version")]
    Disabled {
        /// The secret's id.
        secret: String,
    },
    /// The secret is there but holds no key pair.
    #[error("secret {secret}: {reason}")]
    Malformed {
        /// The secret's id.
        secret: String,
        /// The version that is malformed.
        version: KeyVersion,
        /// What is wrong with it.
        reason: MalformedKeys,
    },
    /// Worth another try: unreachable, overloaded, or an answer that was damaged on its way.
    #[error("Secret Manager did not answer for secret {secret}")]
    Unavailable {
        /// The secret's id.
        secret: String,
        /// When the server said to come back.
        wait: Option<Duration>,
        /// What happened.
        #[source]
        cause: UnavailableCause,
    },
}

/// What kept Secret Manager from answering. Made of our own words: those of the client quote the
/// answer, and so the payload.
#[derive(Debug, thiserror::Error)]
pub enum UnavailableCause {
    /// An error that may pass.
    #[error("it answered {0}")]
    Status(String),
    /// No connection, or one that broke.
    #[error("it could not be reached, or the connection broke")]
    Connection,
    /// It was not asked, for want of a token.
    #[error("Google's credentials gave no token: {0}")]
    NoToken(NoToken),
    /// The token is not taken.
    #[error(
        "it did not take the token of Google's credentials: check that the job's service account, or the key or \
         login in use, still exists and is enabled"
    )]
    Credentials,
    /// No answer within the time for one call.
    #[error("no answer in time")]
    Timeout,
    /// The answer is not what Secret Manager sends.
    #[error("the answer cannot be read")]
    Undecodable,
    /// The payload is not what was stored.
    #[error("the payload does not match its checksum")]
    Checksum,
    /// The answer lacks its payload or the number of its version.
    #[error("the answer has no {0}")]
    Hollow(&'static str),
}

impl UnavailableCause {
    fn of(err: &GaxError) -> Self {
        if let Some(failure) = no_token(err) {
            return Self::NoToken(*failure);
        }
        match err {
            _ if err.is_timeout() => Self::Timeout,
            _ if err.is_authentication() => Self::Credentials,
            _ if err.is_deserialization() => Self::Undecodable,
            _ => match (err.status(), err.http_status_code()) {
                (Some(status), _) if status.code == RpcCode::Unauthenticated => Self::Credentials,
                (None, Some(401)) => Self::Credentials,
                (Some(status), _) => Self::Status(status.code.name().to_owned()),
                (None, Some(status)) => Self::Status(format!("status {status}")),
                (None, None) => Self::Connection,
            },
        }
    }
}

impl SecretError {
    /// The code that logs and documents use for it.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Missing { .. } => Code::KeysMissing,
            Self::Forbidden { .. } => Code::KeysForbidden,
            Self::Disabled { .. } => Code::KeysDisabled,
            Self::Malformed { .. } => Code::KeysMalformed,
            Self::Unavailable { .. } => Code::KeysUnavailable,
        }
    }

    fn from_call(secret: &str, err: GaxError) -> Self {
        let secret = secret.to_owned();
        let code = err.status().map(|status| status.code);
        match (code, err.http_status_code()) {
            (Some(RpcCode::NotFound), _) | (None, Some(404)) => Self::Missing { secret },
            (Some(RpcCode::PermissionDenied), _) | (None, Some(403)) => Self::Forbidden { secret },
            (Some(RpcCode::FailedPrecondition), _) => Self::Disabled { secret },
            _ => {
                let header = err.http_headers().and_then(|headers| headers.get("retry-after")?.to_str().ok());
                let wait = asked_wait(None, header, SystemTime::now());
                Self::Unavailable { secret, wait, cause: UnavailableCause::of(&err) }
            }
        }
    }
}

impl Advise for SecretError {
    fn advice(&self) -> Advice {
        match self {
            Self::Unavailable { wait: Some(wait), .. } => Advice::After(*wait),
            Self::Unavailable { wait: None, .. } => Advice::BackOff,
            Self::Missing { .. }
            | Self::Forbidden { .. }
            | Self::Disabled { .. }
            | Self::Malformed { .. } => Advice::GiveUp,
        }
    }
}

/// The number of a secret version, such as `7`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyVersion(String);

impl KeyVersion {
    /// Reads the number off a version's resource name, `projects/…/secrets/…/versions/7`.
    fn from_name(name: &str) -> Option<Self> {
        let number = name.rsplit_once("/versions/")?.1;
        Self::parse(number)
    }

    /// A version is a whole number; `latest` is none.
    #[must_use]
    pub fn parse(number: &str) -> Option<Self> {
        let whole = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        whole.then(|| Self(number.to_owned()))
    }

    /// The number as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Keys, and which version of the secret they came from.
#[derive(Debug)]
pub struct StoredKeys {
    /// The key pair.
    pub keys: AlpacaKeys,
    /// What `latest` resolved to.
    pub version: KeyVersion,
}

/// The client, shared by all users' tasks.
#[derive(Clone, Debug)]
pub struct SecretManager {
    client: SecretManagerService,
    identity: Identity,
    usage: Arc<Usage>,
    pace: Arc<Pace>,
}

impl SecretManager {
    /// `endpoint` replaces Google's own (for the sandbox and tests).
    pub async fn connect(
        endpoint: Option<&str>,
        identity: Identity,
        usage: Arc<Usage>,
        pace: Arc<Pace>,
    ) -> Result<Self, google_cloud_gax::client_builder::Error> {
        let credentials = identity.credentials();
        let builder =
            SecretManagerService::builder().with_credentials(credentials).with_retry_policy(NeverRetry);
        let builder = match endpoint {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        };
        Ok(Self { client: builder.build().await?, identity, usage, pace })
    }

    /// The user's keys in their newest version. The pace must have allowed the access; further attempts
    /// wait for it.
    pub async fn keys(
        &self,
        database: &Database,
        user: &UserId,
        deadline: Deadline,
    ) -> Result<StoredKeys, SecretError> {
        let name = database.latest_keys(user);
        let secret = format!("alpaca-keys-{user}");
        with_numbered_retries(deadline, |attempt| self.access(attempt, &name, &secret, deadline)).await
    }

    async fn access(
        &self,
        attempt: u32,
        name: &str,
        secret: &str,
        deadline: Deadline,
    ) -> Result<StoredKeys, SecretError> {
        if attempt > 0 && !self.pace.allow_by(Calls::SECRET_ACCESS, deadline).await {
            return Err(unavailable(secret, UnavailableCause::Timeout));
        }
        self.usage.secret_accesses.add(1);
        let limit = deadline.for_call(CALL_TIMEOUT);
        let call = self.client.access_secret_version().set_name(name).with_attempt_timeout(limit).send();
        // The client's own time limit covers the request but not reading the body.
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(answer)) => read(answer, secret),
            Ok(Err(err)) => Err(self.heed(SecretError::from_call(secret, err))),
            Err(_) => Err(unavailable(secret, UnavailableCause::Timeout)),
        }
    }
}

impl SecretManager {
    /// Doubts the token that Secret Manager did not take, so that the next attempt has another one.
    fn heed(&self, err: SecretError) -> SecretError {
        if let SecretError::Unavailable { cause: UnavailableCause::Credentials, .. } = err {
            self.identity.distrust();
        }
        err
    }
}

fn unavailable(secret: &str, cause: UnavailableCause) -> SecretError {
    SecretError::Unavailable { secret: secret.to_owned(), wait: None, cause }
}

/// Checks the answer, which the client passes on unverified, and wipes the payload it came in.
fn read(answer: AccessSecretVersionResponse, secret: &str) -> Result<StoredKeys, SecretError> {
    let hollow = |what| unavailable(secret, UnavailableCause::Hollow(what));
    let version = KeyVersion::from_name(&answer.name).ok_or_else(|| hollow("version number"))?;
    let SecretPayload { data, data_crc32c, .. } = answer.payload.ok_or_else(|| hollow("payload"))?;
    let intact = data_crc32c.is_none_or(|stored| stored == i64::from(crc32c::crc32c(&data)));
    let keys = AlpacaKeys::from_payload(&data);
    if let Ok(mut data) = data.try_into_mut() {
        data.zeroize();
    }
    if !intact {
        return Err(unavailable(secret, UnavailableCause::Checksum));
    }
    let malformed =
        |reason| SecretError::Malformed { secret: secret.to_owned(), version: version.clone(), reason };
    Ok(StoredKeys { keys: keys.map_err(malformed)?, version: version.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_is_answered_only_an_intact_payload_with_its_version_gives_keys(
            name in "\\PC{0,20}|projects/1/secrets/s/versions/[0-9]{1,3}",
            data in prop::collection::vec(any::<u8>(), 0..40).prop_map(Some)
                .boxed().prop_union(Just(Some(br#"{"key_id":"PK1","secret_key":"s"}"#.to_vec())).boxed()),
            checksum in prop_oneof![Just(None), any::<i64>().prop_map(Some), Just(Some(-1))], right: bool,
        ) {
            let intact = data.as_deref().map(|data| i64::from(crc32c::crc32c(data)));
            let checksum = if right { intact } else { checksum };
            let payload = data.map(|data| {
                let payload = SecretPayload::new().set_data(data);
                match checksum { Some(sum) => payload.set_data_crc32c(sum), None => payload }
            });
            let answer = AccessSecretVersionResponse::new().set_name(&name).set_or_clear_payload(payload);
            if let Ok(stored) = read(answer, "s") {
                prop_assert!(checksum.is_none() || checksum == intact);
                let end = format!("/versions/{}", stored.version.as_str());
                prop_assert!(name.ends_with(&end));
            }
        }
    }

    #[test]
    fn a_version_is_the_number_at_the_end_of_its_name() {
        let version = |name| KeyVersion::from_name(name).map(|version| version.0);
        assert_eq!(version("projects/1/secrets/alpaca-keys-ana/versions/17").as_deref(), Some("17"));
        for name in [
            "",
            "17",
            "projects/1/secrets/x/versions/latest",
            "projects/1/secrets/x/versions/",
            "a/versions/-1",
        ] {
            assert_eq!(version(name), None, "{name}");
        }
    }
}
