//! Secret Manager: where each user's Alpaca keys are kept.

use crate::google::credentials::failure::NoToken;
use crate::google::credentials::{Identity, no_token};
use crate::google::error::Reason;
use crate::limits::patience::Patience;
use crate::limits::rate::{Permits, RateLimits, UsedUp};
use crate::limits::retry::{Advice, Advise, Deadline, asked_wait, with_numbered_retries};
use crate::limits::slots::answer_within;
use crate::limits::usage::Usage;
use crate::model::ids::{Database, UserId};
use crate::model::key_version::KeyVersion;
use crate::model::keys::{AlpacaKeys, MalformedKeys};
use crate::model::outcome::Code;
use crate::network::names::{Names, NoAddress, no_address};
use crate::services::host_watch::{HostWatch, Silent};
use crate::services::secret_access::SecretAccess;
use google_cloud_gax::error::Error as GaxError;
use google_cloud_gax::error::rpc::{Code as RpcCode, StatusDetails};
use google_cloud_secretmanager_v1::client::SecretManagerService;
use google_cloud_secretmanager_v1::model::{AccessSecretVersionResponse, SecretPayload};
use reqwest::Url;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use zeroize::Zeroize;

/// Longest one access may take. Three of them fit in a user's budget.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a user's keys cannot be had. One variant for each thing that has to be done about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// The user never stored keys, or they were deleted.
    #[error("secret {secret} has no version: store the user's keys in it")]
    Missing {
        /// The secret's id.
        secret: String,
    },
    /// Ours to fix, as far as is known.
    #[error("access to secret {secret} is denied: {denial}")]
    Forbidden {
        /// The secret's id.
        secret: String,
        /// What is known of the cause.
        denial: Denial,
    },
    /// `latest` is the newest version, whatever its state.
    #[error("the newest version of secret {secret} is {state}: {}", state.advice())]
    Disabled {
        /// The secret's id.
        secret: String,
        /// Its state, as Secret Manager told it.
        state: Unusable,
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
    /// The same request would be refused again, for a cause of ours.
    #[error("Secret Manager refuses to give secret {secret}")]
    Refused {
        /// The secret's id.
        secret: String,
        /// What it answered.
        #[source]
        answer: ErrorAnswer,
    },
    /// No answer within what was left of the user's time.
    #[error("Secret Manager did not give secret {secret} in the time that was left for it")]
    OutOfTime {
        /// The secret's id.
        secret: String,
    },
    /// Secret Manager was not asked: the job's own budget of calls was used up.
    #[error("Secret Manager was not asked for secret {secret}")]
    OutOfBudget {
        /// The secret's id.
        secret: String,
        /// Which budget.
        #[source]
        used_up: UsedUp,
    },
    /// Secret Manager was not asked: it answers nobody.
    #[error("Secret Manager was not asked for secret {secret}: it has answered nobody for 10 s or more")]
    Silent {
        /// The secret's id.
        secret: String,
    },
    /// Worth another try: unreachable, overloaded, or an answer that was damaged on its way.
    #[error("Secret Manager did not give secret {secret} this time")]
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

/// What is known about a denial. Made of our own words, as everything here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denial {
    /// Whoever asked lacks a role.
    #[error("IAM_PERMISSION_DENIED: grant roles/secretmanager.secretAccessor to the account it runs as")]
    Role,
    /// Google says why.
    #[error("{0}")]
    Reason(Reason),
    /// Google does not say why.
    #[error("PERMISSION_DENIED, and Google gives no reason for it")]
    Unexplained,
    /// Nobody knows who denied it.
    #[error("status 403 without Google's own error, as from a proxy or a firewall in between")]
    NotGoogles,
}

/// A state of a version that has to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It can be enabled again.
    Disabled,
    /// It is gone for good.
    Destroyed,
}

impl Unusable {
    /// What Secret Manager says of the version itself; not what it says of a key of KMS.
    fn told_by(message: &str) -> Option<Self> {
        let of_version = message.strip_prefix("Secret Version [")?.split_once("] is in ")?.1;
        match of_version.split_once(' ')?.0 {
            "DISABLED" => Some(Self::Disabled),
            "DESTROYED" => Some(Self::Destroyed),
            _ => None,
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Disabled => "enable it or add a version",
            Self::Destroyed => "add a version",
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "disabled",
            Self::Destroyed => "destroyed",
        })
    }
}

/// An error that was answered: its code, and the reason if Google gave one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it answered {code}{}", .reason.as_ref().map(|reason| format!(", {reason}")).unwrap_or_default())]
pub(crate) struct ErrorAnswer {
    code: String,
    reason: Option<Reason>,
}

impl ErrorAnswer {
    pub(super) fn of(err: &GaxError) -> Option<Self> {
        let code = match (code(err), err.http_status_code()) {
            (Some(code), _) => code.name().to_owned(),
            (None, Some(status @ 300..=399)) => {
                format!("a redirect (status {status}), which is not followed")
            }
            (None, Some(status)) => format!("status {status}"),
            (None, None) => return None,
        };
        Some(Self { code, reason: reason(err) })
    }
}

/// The reason that Google gave, if it did.
fn reason(err: &GaxError) -> Option<Reason> {
    let details = err.status().map(|status| &status.details[..]).unwrap_or_default();
    details.iter().find_map(|detail| match detail {
        StatusDetails::ErrorInfo(info) => Reason::parse(&info.reason),
        _ => None,
    })
}

/// What kept Secret Manager from answering. Made of our own words: those of the client quote the
/// answer, and so the payload.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnavailableCause {
    /// An error that may pass.
    #[error(transparent)]
    Answer(ErrorAnswer),
    /// No connection, or one that broke.
    #[error("it could not be reached, or the connection broke")]
    Connection,
    /// Nobody knows where it is.
    #[error(transparent)]
    NoAddress(NoAddress),
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
    /// The answer lacks its payload or its name.
    #[error("the answer has no {0}")]
    Hollow(&'static str),
    /// The answer is about something else than what was asked for.
    #[error("the answer is not about a version of this secret")]
    OtherSecret,
}

impl UnavailableCause {
    pub(super) fn of(err: &GaxError) -> Self {
        if let Some(failure) = no_token(err) {
            return Self::NoToken(*failure);
        }
        if let Some(failure) = no_address(err) {
            return Self::NoAddress(failure.clone());
        }
        match code(err) {
            _ if err.is_timeout() => Self::Timeout,
            _ if err.is_authentication() => Self::Credentials,
            _ if err.is_deserialization() => Self::Undecodable,
            Some(RpcCode::Unauthenticated) => Self::Credentials,
            None if err.http_status_code() == Some(401) => Self::Credentials,
            _ => ErrorAnswer::of(err).map_or(Self::Connection, Self::Answer),
        }
    }
}

impl SecretError {
    /// The code that logs and documents use for it.
    #[must_use]
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Missing { .. } => Code::KeysMissing,
            Self::Forbidden { .. } => Code::KeysForbidden,
            Self::Disabled { .. } => Code::KeysDisabled,
            Self::Malformed { .. } => Code::KeysMalformed,
            Self::Refused { .. }
            | Self::OutOfTime { .. }
            | Self::OutOfBudget { .. }
            | Self::Silent { .. }
            | Self::Unavailable { .. } => Code::KeysUnavailable,
        }
    }

    fn from_call(secret: &str, err: &GaxError) -> Self {
        let secret = secret.to_owned();
        let code = code(err);
        match (code, err.http_status_code()) {
            (Some(RpcCode::NotFound), _) => Self::Missing { secret },
            (None, Some(404)) if err.http_payload().is_some_and(|page| page.is_empty()) => {
                Self::Missing { secret }
            }
            (Some(RpcCode::PermissionDenied), _) | (None, Some(403)) => {
                Self::Forbidden { secret, denial: denial(err) }
            }
            (_, status) => match (unusable(err), ErrorAnswer::of(err)) {
                (Some(state), _) => Self::Disabled { secret, state },
                (None, Some(answer)) if is_final(code, status) => Self::Refused { secret, answer },
                (None, _) => Self::unavailable(secret, err),
            },
        }
    }

    /// The same, unless it was the deadline that the call ran into, and not its own limit.
    fn at(self, deadline: Deadline) -> Self {
        match self {
            Self::Unavailable { secret, cause: UnavailableCause::Timeout, .. } if deadline.is_over() => {
                Self::OutOfTime { secret }
            }
            other => other,
        }
    }

    fn unavailable(secret: String, err: &GaxError) -> Self {
        let header = err.http_headers().and_then(|headers| headers.get("retry-after")?.to_str().ok());
        let wait = asked_wait(None, header, SystemTime::now());
        Self::Unavailable { secret, wait, cause: UnavailableCause::of(err) }
    }
}

/// The code that Google gave: what others answer has none.
pub(super) fn code(err: &GaxError) -> Option<RpcCode> {
    err.status().map(|status| status.code).filter(|code| *code != RpcCode::Unknown)
}

pub(super) fn denial(err: &GaxError) -> Denial {
    match (reason(err), code(err)) {
        (Some(reason), _) if reason.is_missing_role() => Denial::Role,
        (Some(reason), _) => Denial::Reason(reason),
        (None, Some(_)) => Denial::Unexplained,
        (None, None) => Denial::NotGoogles,
    }
}

fn unusable(err: &GaxError) -> Option<Unusable> {
    let status = err.status().filter(|status| status.code == RpcCode::FailedPrecondition)?;
    Unusable::told_by(&status.message)
}

/// Whether the same request would get the same error.
pub(super) fn is_final(code: Option<RpcCode>, status: Option<u16>) -> bool {
    use RpcCode as Rpc;
    match code {
        Some(code) => matches!(
            code,
            Rpc::InvalidArgument | Rpc::FailedPrecondition | Rpc::OutOfRange | Rpc::Unimplemented
        ),
        None => matches!(status, Some(400 | 402 | 405 | 406 | 410..=417 | 422 | 431 | 451)),
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
            | Self::Malformed { .. }
            | Self::Refused { .. }
            | Self::OutOfTime { .. }
            | Self::OutOfBudget { .. }
            | Self::Silent { .. } => Advice::GiveUp,
        }
    }

    fn was_not_asked(&self) -> bool {
        matches!(self, Self::Silent { .. })
    }
}

/// Keys, and which version of the secret they came from.
#[derive(Debug)]
pub(crate) struct StoredKeys {
    /// The key pair.
    pub(crate) keys: AlpacaKeys,
    /// What `latest` resolved to.
    pub(crate) version: KeyVersion,
}

/// The client, shared by all users' tasks.
#[derive(Clone, Debug)]
pub(crate) struct SecretManager {
    client: SecretManagerService,
    identity: Identity,
    usage: Arc<Usage>,
    pub(super) limits: Arc<RateLimits>,
    watch: Arc<HostWatch>,
    patience: Arc<Patience>,
}

impl SecretManager {
    /// `endpoint` is Google's own, but in tests and for the sandbox. Reads the system's certificates, which takes
    /// milliseconds.
    pub(crate) fn new(
        endpoint: Url,
        identity: Identity,
        names: Names,
        usage: Arc<Usage>,
        limits: Arc<RateLimits>,
    ) -> Result<Self, reqwest::Error> {
        let access = SecretAccess::new(endpoint, identity.credentials(), names)?;
        let client = SecretManagerService::from_stub::<SecretAccess>(access);
        let (watch, patience) = Default::default();
        Ok(Self { client, identity, usage, limits, watch, patience })
    }

    /// A pass begins.
    pub(crate) fn begin_pass(&self) {
        self.watch.begin_pass();
    }

    /// The users who were set aside come.
    pub(crate) fn begin_lap(&self) {
        self.watch.begin_lap();
    }

    /// The user's keys in their newest version. The limits must have allowed the access; further attempts
    /// wait for it.
    pub(crate) async fn keys(
        &self,
        database: &Database,
        user: &UserId,
        deadline: Deadline,
    ) -> Result<StoredKeys, SecretError> {
        let asked = Asked {
            name: database.latest_keys(user),
            project: &database.project,
            secret: format!("alpaca-keys-{user}"),
        };
        with_numbered_retries(deadline, |attempt| self.access(attempt, &asked, deadline)).await
    }

    async fn access(
        &self,
        attempt: u32,
        asked: &Asked<'_>,
        deadline: Deadline,
    ) -> Result<StoredKeys, SecretError> {
        let secret = || asked.secret.clone();
        let entry = self.watch.enter(attempt, deadline).await;
        let entry = entry.map_err(|Silent| SecretError::Silent { secret: secret() })?;
        if attempt > 0 {
            let allowed = self.limits.allow_by(Permits::SECRET_ACCESS, deadline).await;
            allowed.map_err(|used_up| SecretError::OutOfBudget { secret: secret(), used_up })?;
        }
        self.usage.secret_accesses.add(1);
        let limit = deadline.for_call(entry.limit(CALL_TIMEOUT));
        let call = pin!(async {
            let answer = self.client.access_secret_version().set_name(&asked.name).send().await;
            if answer.as_ref().err().is_none_or(is_answer) {
                self.watch.answered();
            }
            answer
        });
        let err = match answer_within(limit, &self.patience, call).await {
            Ok(Ok(answer)) => return read(answer, asked),
            Ok(Err(err)) => self.heed(SecretError::from_call(&asked.secret, &err)),
            Err(_) => unavailable(&asked.secret, UnavailableCause::Timeout),
        };
        Err(err.at(deadline))
    }
}

impl SecretManager {
    /// Google's client, for the calls of operators' commands.
    pub(super) fn client(&self) -> &SecretManagerService {
        &self.client
    }

    /// A call of theirs was asked for a secret's payload.
    pub(super) fn count_access(&self) {
        self.usage.secret_accesses.add(1);
    }

    /// Doubts the token that Secret Manager did not take, so that the next attempt has another one.
    fn heed(&self, err: SecretError) -> SecretError {
        if let SecretError::Unavailable { cause: UnavailableCause::Credentials, .. } = err {
            self.identity.distrust();
        }
        err
    }
}

/// What was asked for.
struct Asked<'a> {
    /// The resource's name.
    name: String,
    /// The project's id.
    project: &'a str,
    /// The secret's id.
    secret: String,
}

/// Whether a call that failed has had an answer, whatever it says.
fn is_answer(err: &GaxError) -> bool {
    err.http_status_code().is_some() || err.status().is_some()
}

fn unavailable(secret: &str, cause: UnavailableCause) -> SecretError {
    SecretError::Unavailable { secret: secret.to_owned(), wait: None, cause }
}

/// Checks the answer, which the client passes on unverified, and wipes the payload it came in.
fn read(answer: AccessSecretVersionResponse, asked: &Asked<'_>) -> Result<StoredKeys, SecretError> {
    let secret = &asked.secret;
    let unavailable = |cause| unavailable(secret, cause);
    let name = if answer.name.is_empty() { Err(UnavailableCause::Hollow("name")) } else { Ok(&answer.name) };
    let version = name
        .and_then(|name| KeyVersion::of(name, asked.project, secret).ok_or(UnavailableCause::OtherSecret));
    let payload = answer.payload.ok_or_else(|| unavailable(UnavailableCause::Hollow("payload")))?;
    let SecretPayload { data, data_crc32c, .. } = payload;
    let intact = data_crc32c.is_none_or(|stored| stored == i64::from(crc32c::crc32c(&data)));
    let keys = AlpacaKeys::from_payload(&data);
    if let Ok(mut data) = data.try_into_mut() {
        data.zeroize();
    }
    let version = version.map_err(unavailable)?;
    if !intact {
        return Err(unavailable(UnavailableCause::Checksum));
    }
    match keys {
        Ok(keys) => Ok(StoredKeys { keys, version }),
        Err(reason) => Err(SecretError::Malformed { secret: secret.clone(), version, reason }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked() -> Asked<'static> {
        Asked { name: String::new(), project: "acme-prod", secret: "alpaca-keys-ana".into() }
    }

    proptest! {
        #[test]
        fn whatever_is_answered_only_an_intact_payload_of_this_secret_gives_keys(
            name in "\\PC{0,20}|projects/(1|acme-prod|evil)/secrets/alpaca-keys-(ana|ben)(/x)?/versions/[0-9]{1,3}",
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
            if let Ok(stored) = read(answer, &asked()) {
                prop_assert!(checksum.is_none() || checksum == intact);
                let right = ["1", "acme-prod"].map(|project| {
                    format!("projects/{project}/secrets/alpaca-keys-ana/versions/{}", stored.version.as_str())
                });
                prop_assert!(right.contains(&name), "{}", name);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_jobs_own_time_is_not_secret_managers() {
        use std::time::Duration;
        let deadline = Deadline::after(Duration::from_secs(1));
        let timeout = || unavailable("s", UnavailableCause::Timeout).at(deadline);
        assert!(matches!(timeout(), SecretError::Unavailable { .. }));
        tokio::time::advance(Duration::from_secs(1)).await;
        let late = timeout();
        assert!(matches!(late, SecretError::OutOfTime { .. }));
        assert_eq!((late.code(), late.advice()), (Code::KeysUnavailable, Advice::GiveUp));
        let other = unavailable("s", UnavailableCause::Connection).at(deadline);
        assert!(matches!(other, SecretError::Unavailable { .. }), "whenever it was");
    }

    #[test]
    fn a_version_is_the_number_at_the_end_of_this_secrets_name() {
        let version = |name: &str| {
            KeyVersion::of(name, "acme-prod", "alpaca-keys-ana").map(|version| version.as_str().to_owned())
        };
        for project in ["1", "123456789012", "acme-prod"] {
            let name = format!("projects/{project}/secrets/alpaca-keys-ana/versions/17");
            assert_eq!(version(&name).as_deref(), Some("17"), "{name}");
        }
        for name in [
            "",
            "17",
            "projects/1/secrets/alpaca-keys-ana/versions/latest",
            "projects/1/secrets/alpaca-keys-ana/versions/",
            "projects/1/secrets/alpaca-keys-ana/versions/-1",
            "projects/1/secrets/alpaca-keys-ana/versions/17/",
            "projects/1/secrets/alpaca-keys-ana/versions/17 ",
            "projects/1/secrets/alpaca-keys-ana/versions/12345678901234567890",
            "projects/1/secrets/alpaca-keys-ben/versions/17",
            "projects/1/secrets/alpaca-keys-Ana/versions/17",
            "projects/1/secrets/alpaca-keys-ana2/versions/17",
            "projects/1/secrets/alpaca-keys-ana/x/versions/17",
            "projects/1/secrets/alpaca-keys-ben/secrets/alpaca-keys-ana/versions/17",
            "projects/1/secrets/alpaca-keys-ana/versions/2/secrets/alpaca-keys-ana/versions/17",
            "projects/1/locations/eu/secrets/alpaca-keys-ana/versions/17",
            "projects//secrets/alpaca-keys-ana/versions/17",
            "projects/evil/secrets/alpaca-keys-ana/versions/17",
            "/projects/1/secrets/alpaca-keys-ana/versions/17",
            "//secretmanager.googleapis.com/projects/1/secrets/alpaca-keys-ana/versions/17",
        ] {
            assert_eq!(version(name), None, "{name}");
        }
    }

    fn answered(status: u16, body: &str) -> SecretError {
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        let err = match google_cloud_gax::error::rpc::Status::try_from(&body) {
            Ok(told) => GaxError::service_with_http_metadata(told, Some(status), None),
            Err(_) => GaxError::http(status, http::HeaderMap::new(), body),
        };
        SecretError::from_call("s", &err)
    }

    fn googles(status: u16, code: &str, message: &str, reason: Option<&str>) -> SecretError {
        let info = |reason| serde_json::json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason});
        let details: Vec<_> = reason.map(info).into_iter().collect();
        let error =
            serde_json::json!({"code": status, "status": code, "message": message, "details": details});
        answered(status, &serde_json::json!({ "error": error }).to_string())
    }

    #[test]
    fn a_cause_is_stated_only_where_it_is_known() {
        let denied = |reason| googles(403, "PERMISSION_DENIED", "hush", reason);
        for (err, code, told) in [
            (
                denied(Some("IAM_PERMISSION_DENIED")),
                Code::KeysForbidden,
                "roles/secretmanager.secretAccessor",
            ),
            (denied(Some("SERVICE_DISABLED")), Code::KeysForbidden, "SERVICE_DISABLED: enable the API"),
            (denied(Some("SECURITY_POLICY_VIOLATED")), Code::KeysForbidden, "perimeter"),
            (denied(Some("A_NEW_ONE")), Code::KeysForbidden, "A_NEW_ONE"),
            (denied(Some("no word")), Code::KeysForbidden, "gives no reason"),
            (denied(None), Code::KeysForbidden, "gives no reason"),
            (answered(403, "<html>hush</html>"), Code::KeysForbidden, "without Google's own error"),
            (answered(403, ""), Code::KeysForbidden, "without Google's own error"),
            (googles(404, "NOT_FOUND", "hush", None), Code::KeysMissing, "no version"),
            (answered(404, "<html>hush</html>"), Code::KeysUnavailable, "status 404"),
            (googles(400, "INVALID_ARGUMENT", "hush", None), Code::KeysUnavailable, "INVALID_ARGUMENT"),
            (googles(400, "FAILED_PRECONDITION", "hush", None), Code::KeysUnavailable, "FAILED_PRECONDITION"),
            (answered(413, "<html>hush</html>"), Code::KeysUnavailable, "status 413"),
            (answered(302, ""), Code::KeysUnavailable, "redirect"),
            (
                googles(429, "RESOURCE_EXHAUSTED", "hush", Some("RATE_LIMIT_EXCEEDED")),
                Code::KeysUnavailable,
                "quota",
            ),
        ] {
            let shown = crate::telemetry::Chain(&err).to_string();
            assert_eq!(err.code(), code, "{shown}");
            assert!(shown.contains(told) && !shown.contains("hush"), "{told}: {shown}");
            assert_eq!(shown.contains("role"), told.contains("role"), "{shown}");
        }
    }

    #[test]
    fn a_version_is_disabled_or_destroyed_only_if_secret_manager_says_so_of_it() {
        let state = |message: &str| match googles(400, "FAILED_PRECONDITION", message, None) {
            SecretError::Disabled { state, .. } => Some(state),
            _ => None,
        };
        let version = "Secret Version [projects/1/secrets/s/versions/1] is in";
        assert_eq!(state(&format!("{version} DISABLED state.")), Some(Unusable::Disabled));
        assert_eq!(state(&format!("{version} DESTROYED state.")), Some(Unusable::Destroyed));
        for message in [
            "",
            &format!("{version} ENABLED state."),
            "projects/1/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1 is not enabled, current state is: DESTROYED.",
            "The CMEK of Secret Version [projects/1/secrets/s/versions/1] is DISABLED",
            "The key is in DISABLED state.",
        ] {
            assert_eq!(state(message), None, "{message}");
        }
    }

    #[test]
    fn what_would_be_refused_again_is_not_asked_again() {
        for status in [400, 402, 405, 410, 411, 413, 414, 415, 422, 431] {
            assert_eq!(answered(status, "").advice(), Advice::GiveUp, "{status}");
        }
        for status in [302, 307, 401, 408, 421, 425, 429, 499, 500, 501, 502, 503, 504, 520] {
            assert_eq!(answered(status, "").advice(), Advice::BackOff, "{status}");
        }
    }
}
