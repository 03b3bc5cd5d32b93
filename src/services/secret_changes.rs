//! What operators' commands do in Secret Manager: list secrets and versions, store keys, destroy and delete. No call is
//! made twice on a guess: whoever does not know whether keys were stored looks, before they are stored again. Each waits
//! for its turn first, as Secret Manager takes few of them a minute.

use crate::limits::rate::SecretCall;
use crate::limits::retry::{Advice, Advise, Deadline, asked_wait, with_retries};
use crate::model::ids::{Database, UserId};
use crate::model::key_version::KeyVersion;
use crate::services::secret_manager::{
    Denial, ErrorAnswer, SecretManager, UnavailableCause, code, denial, is_final,
};
use bytes::Bytes;
use google_cloud_gax::error::Error as GaxError;
use google_cloud_gax::error::rpc::Code as RpcCode;
use google_cloud_secretmanager_v1::model::replication::Automatic;
use google_cloud_secretmanager_v1::model::secret_version::State;
use google_cloud_secretmanager_v1::model::{Replication, Secret, SecretPayload, SecretVersion};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use std::time::{Duration, SystemTime};
use zeroize::{Zeroize, Zeroizing};

/// Longest one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// As many as Google gives at once.
const SECRETS_OF_A_PAGE: i32 = 25_000;

/// How secrets with keys begin.
const PREFIX: &str = "alpaca-keys-";

/// Why it was not done. One variant for each reaction.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretChangeError {
    /// There is no such secret or version: nothing to destroy or delete any more.
    #[error("there is no such secret or version")]
    Missing,
    /// Somebody has created it meanwhile: it is there.
    #[error("it exists already")]
    Exists,
    /// Whoever asks lacks a right.
    #[error("{}", lacking(.right, .denial))]
    Forbidden {
        /// The right that it takes.
        right: &'static str,
        /// What is known of the cause.
        denial: Denial,
    },
    /// The same request would be refused again.
    #[error("Secret Manager refuses it")]
    Refused(#[source] ErrorAnswer),
    /// It is not what was stored, whatever the answer said.
    #[error("the version that was stored does not read back as what was stored")]
    Different,
    /// Whether it was done is not known.
    #[error("Secret Manager could not be asked to the end")]
    Unavailable {
        /// When the server said to come back.
        wait: Option<Duration>,
        /// What happened.
        #[source]
        cause: UnavailableCause,
    },
}

fn lacking(right: &str, denial: &Denial) -> String {
    match denial {
        Denial::Role => format!("the right {right} is missing: ask for roles/secretmanager.admin"),
        other => format!("{right} is denied: {other}"),
    }
}

impl SecretChangeError {
    fn of(err: &GaxError, right: &'static str) -> Self {
        let (code, status) = (code(err), err.http_status_code());
        match (code, status) {
            (Some(RpcCode::NotFound), _) => Self::Missing,
            (Some(RpcCode::AlreadyExists), _) => Self::Exists,
            (Some(RpcCode::PermissionDenied), _) | (None, Some(403)) => {
                Self::Forbidden { right, denial: denial(err) }
            }
            _ => match ErrorAnswer::of(err) {
                Some(answer) if is_final(code, status) => Self::Refused(answer),
                _ => Self::unavailable(err),
            },
        }
    }

    fn unavailable(err: &GaxError) -> Self {
        let header = err.http_headers().and_then(|headers| headers.get("retry-after")?.to_str().ok());
        let wait = asked_wait(None, header, SystemTime::now());
        Self::Unavailable { wait, cause: UnavailableCause::of(err) }
    }

    fn damaged(cause: UnavailableCause) -> Self {
        Self::Unavailable { wait: None, cause }
    }

    /// Whether looking again may help.
    #[must_use]
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

impl Advise for SecretChangeError {
    fn advice(&self) -> Advice {
        match self {
            Self::Unavailable { wait: Some(wait), .. } => Advice::After(*wait),
            Self::Unavailable { wait: None, .. } => Advice::BackOff,
            Self::Missing | Self::Exists | Self::Forbidden { .. } | Self::Refused(_) | Self::Different => {
                Advice::GiveUp
            }
        }
    }
}

/// A version of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VersionInfo {
    /// Its number.
    pub(crate) version: KeyVersion,
    /// What can be done with it.
    pub(crate) state: VersionState,
    /// When it was added.
    pub(crate) created: Option<Timestamp>,
}

/// What can be done with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionState {
    /// It can be read.
    Enabled,
    /// It can be read once it is enabled.
    Disabled,
    /// Nothing any more, and it costs nothing.
    Destroyed,
}

impl VersionInfo {
    fn read(version: &SecretVersion, project: &str, secret: &str) -> Result<Self, SecretChangeError> {
        let state = match version.state {
            State::Enabled => VersionState::Enabled,
            State::Disabled => VersionState::Disabled,
            State::Destroyed => VersionState::Destroyed,
            _ => return Err(SecretChangeError::damaged(UnavailableCause::Hollow("state"))),
        };
        let number = KeyVersion::of(&version.name, project, secret);
        let number = number.ok_or_else(|| SecretChangeError::damaged(UnavailableCause::OtherSecret))?;
        let created = version.create_time.and_then(|time| Timestamp::new(time.seconds(), time.nanos()).ok());
        Ok(Self { version: number, state, created })
    }

    /// Whether it can still be read, or be made readable, and so costs money.
    #[must_use]
    pub(crate) fn is_left(&self) -> bool {
        self.state != VersionState::Destroyed
    }
}

/// The id of the secret with a user's keys.
#[must_use]
pub(crate) fn secret_of(user: &UserId) -> String {
    format!("{PREFIX}{user}")
}

impl SecretManager {
    /// Waits until the call may be made, which is no part of its time.
    async fn allowed(&self, call: SecretCall, deadline: Deadline) -> Deadline {
        self.limits.allow_before(call, deadline).await
    }

    /// The users of a page of the secrets with keys, as their names say, and where the next page begins.
    pub(crate) async fn key_secrets(
        &self,
        database: &Database,
        page: &str,
        deadline: Deadline,
    ) -> Result<(Vec<String>, Option<String>), SecretChangeError> {
        let deadline = self.allowed(SecretCall::Look, deadline).await;
        let parent = format!("projects/{}", database.project);
        let ask = || {
            let request = self.client().list_secrets().set_parent(&parent).set_page_size(SECRETS_OF_A_PAGE);
            let request = request.set_filter(format!("name:{PREFIX}")).set_page_token(page);
            within(request.send(), "secretmanager.secrets.list", deadline)
        };
        let answer = with_retries(deadline, ask).await?;
        let user = |secret: &Secret| {
            let (_, id) = secret.name.rsplit_once("/secrets/")?;
            Some(id.strip_prefix(PREFIX)?.to_owned())
        };
        let next = Some(answer.next_page_token).filter(|token| !token.is_empty());
        Ok((answer.secrets.iter().filter_map(user).collect(), next))
    }

    /// All versions of a secret, the newest first.
    pub(crate) async fn versions(
        &self,
        database: &Database,
        user: &UserId,
        deadline: Deadline,
    ) -> Result<Vec<VersionInfo>, SecretChangeError> {
        let deadline = self.allowed(SecretCall::Look, deadline).await;
        let (project, secret) = (&database.project, secret_of(user));
        let (parent, mut page) = (format!("projects/{project}/secrets/{secret}"), String::new());
        let mut versions = Vec::new();
        loop {
            let ask = || {
                let request = self.client().list_secret_versions().set_parent(&parent);
                let request = request.set_page_size(SECRETS_OF_A_PAGE).set_page_token(&page);
                within(request.send(), "secretmanager.versions.list", deadline)
            };
            let answer = with_retries(deadline, ask).await?;
            for version in &answer.versions {
                versions.push(VersionInfo::read(version, project, &secret)?);
            }
            page = answer.next_page_token;
            if page.is_empty() {
                versions.sort_by_key(|info| std::cmp::Reverse(info.version.number()));
                return Ok(versions);
            }
        }
    }

    /// Creates the secret for a user's keys, as Google replicates it by default.
    pub(crate) async fn create_secret(
        &self,
        database: &Database,
        user: &UserId,
        deadline: Deadline,
    ) -> Result<(), SecretChangeError> {
        let deadline = self.allowed(SecretCall::Change, deadline).await;
        let parent = format!("projects/{}", database.project);
        let secret = Secret::new().set_replication(Replication::new().set_automatic(Automatic::new()));
        let ask = || {
            let request = self.client().create_secret().set_parent(&parent).set_secret_id(secret_of(user));
            within(request.set_secret(secret.clone()).send(), "secretmanager.secrets.create", deadline)
        };
        match with_retries(deadline, ask).await {
            Ok(_) | Err(SecretChangeError::Exists) => Ok(()),
            Err(err) => Err(err),
        }
    }

    /// Adds the payload as the newest version. It is asked for once.
    pub(crate) async fn add_version(
        &self,
        database: &Database,
        user: &UserId,
        payload: &SecretString,
        deadline: Deadline,
    ) -> Result<KeyVersion, SecretChangeError> {
        let deadline = self.allowed(SecretCall::Change, deadline).await;
        let secret = secret_of(user);
        let parent = format!("projects/{}/secrets/{secret}", database.project);
        let request = self.client().add_secret_version().set_parent(parent).set_payload(to_send(payload));
        let added = within(request.send(), "secretmanager.versions.add", deadline).await?;
        KeyVersion::of(&added.name, &database.project, &secret)
            .ok_or_else(|| SecretChangeError::damaged(UnavailableCause::OtherSecret))
    }

    /// Whether that version holds exactly this payload.
    pub(crate) async fn holds(
        &self,
        database: &Database,
        (user, version): (&UserId, &KeyVersion),
        payload: &SecretString,
        deadline: Deadline,
    ) -> Result<bool, SecretChangeError> {
        let deadline = self.allowed(SecretCall::Access, deadline).await;
        let name = version_name(database, user, version);
        let ask = || {
            self.count_access();
            let request = self.client().access_secret_version().set_name(&name);
            within(request.send(), "secretmanager.versions.access", deadline)
        };
        let answer = with_retries(deadline, ask).await?;
        let of = KeyVersion::of(&answer.name, &database.project, &secret_of(user));
        let stored = answer.payload.unwrap_or_default();
        let is_same = stored.data == payload.expose_secret().as_bytes();
        if let Ok(mut data) = stored.data.try_into_mut() {
            data.zeroize();
        }
        Ok(is_same && of.as_ref() == Some(version))
    }

    /// Destroys a version for good. One that is destroyed already, or gone, is no failure.
    pub(crate) async fn destroy_version(
        &self,
        database: &Database,
        user: &UserId,
        version: &KeyVersion,
        deadline: Deadline,
    ) -> Result<(), SecretChangeError> {
        let deadline = self.allowed(SecretCall::Change, deadline).await;
        let name = version_name(database, user, version);
        let ask = || {
            let request = self.client().destroy_secret_version().set_name(&name);
            within(request.send(), "secretmanager.versions.destroy", deadline)
        };
        match with_retries(deadline, ask).await {
            Ok(_) | Err(SecretChangeError::Missing) => Ok(()),
            Err(err) => Err(err),
        }
    }

    /// Disables a version, which can be enabled again.
    pub(crate) async fn disable_version(
        &self,
        database: &Database,
        user: &UserId,
        version: &KeyVersion,
        deadline: Deadline,
    ) -> Result<(), SecretChangeError> {
        let deadline = self.allowed(SecretCall::Change, deadline).await;
        let name = version_name(database, user, version);
        let ask = || {
            let request = self.client().disable_secret_version().set_name(&name);
            within(request.send(), "secretmanager.versions.disable", deadline)
        };
        with_retries(deadline, ask).await.map(drop)
    }

    /// Deletes a user's secret with all its versions. One that is gone already is no failure.
    pub(crate) async fn delete_secret(
        &self,
        database: &Database,
        user: &UserId,
        deadline: Deadline,
    ) -> Result<(), SecretChangeError> {
        let deadline = self.allowed(SecretCall::Change, deadline).await;
        let name = format!("projects/{}/secrets/{}", database.project, secret_of(user));
        let ask = || {
            let request = self.client().delete_secret().set_name(&name);
            within(request.send(), "secretmanager.secrets.delete", deadline)
        };
        match with_retries(deadline, ask).await {
            Ok(()) | Err(SecretChangeError::Missing) => Ok(()),
            Err(err) => Err(err),
        }
    }
}

/// The payload as the client takes it; its bytes are wiped with the last copy of the request.
fn to_send(payload: &SecretString) -> SecretPayload {
    let data = Zeroizing::new(payload.expose_secret().as_bytes().to_vec());
    let checksum = i64::from(crc32c::crc32c(&data));
    SecretPayload::new().set_data(Bytes::from_owner(data)).set_data_crc32c(checksum)
}

fn version_name(database: &Database, user: &UserId, version: &KeyVersion) -> String {
    format!("projects/{}/secrets/{}/versions/{}", database.project, secret_of(user), version.as_str())
}

async fn within<T>(
    call: impl Future<Output = Result<T, GaxError>>,
    right: &'static str,
    deadline: Deadline,
) -> Result<T, SecretChangeError> {
    match tokio::time::timeout(deadline.for_call(CALL_TIMEOUT), call).await {
        Ok(answer) => answer.map_err(|err| SecretChangeError::of(&err, right)),
        Err(_) => Err(SecretChangeError::damaged(UnavailableCause::Timeout)),
    }
}
