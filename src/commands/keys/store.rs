//! Storing keys so that they are there once, whatever breaks in between.

use crate::limits::deadlines::USER_BUDGET;
use crate::limits::retry::{Deadline, MAX_ATTEMPTS};
use crate::model::ids::{Database, UserId};
use crate::model::key_version::KeyVersion;
use crate::model::keys::{AlpacaKeys, Credentials};
use crate::services::secret_changes::{SecretChangeError, VersionInfo, VersionState};
use crate::services::secret_manager::SecretManager;
use secrecy::SecretString;
use std::time::Duration;

/// Before it is looked whether a call whose answer was lost has stored the keys.
const PAUSE: Duration = Duration::from_millis(500);

/// Where a user's keys are stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shelf<'a> {
    pub(crate) secrets: &'a SecretManager,
    pub(crate) database: &'a Database,
    pub(crate) user: &'a UserId,
}

/// Keys that are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// In this version.
    pub(crate) version: KeyVersion,
    /// Whether an earlier run, or somebody else, had stored them.
    pub(crate) was_there: bool,
}

impl Shelf<'_> {
    /// Stores the payload as the newest version, unless it is that already, and reads it back by its number.
    pub(crate) async fn put(&self, payload: &SecretString) -> Result<Stored, SecretChangeError> {
        let mut attempt = 1;
        loop {
            let deadline = Deadline::after(USER_BUDGET);
            match self.try_to_put(payload, deadline).await {
                // A version may have been added all the same: that is looked for first.
                Err(err) if err.may_pass() && attempt < MAX_ATTEMPTS => {
                    tokio::time::sleep(PAUSE * attempt).await;
                    attempt += 1;
                }
                Ok(stored) => return Ok(Stored { was_there: stored.was_there && attempt == 1, ..stored }),
                Err(err) => return Err(err),
            }
        }
    }

    async fn try_to_put(
        &self,
        payload: &SecretString,
        deadline: Deadline,
    ) -> Result<Stored, SecretChangeError> {
        let Self { secrets, database, user } = self;
        match secrets.versions(database, user, deadline).await {
            Err(SecretChangeError::Missing) => secrets.create_secret(database, user, deadline).await?,
            Err(err) => return Err(err),
            Ok(versions) => {
                if let Some(VersionInfo { version, state: VersionState::Enabled, .. }) = versions.first()
                    && secrets.holds(database, (user, version), payload, deadline).await?
                {
                    return Ok(Stored { version: version.clone(), was_there: true });
                }
            }
        }
        let version = secrets.add_version(database, user, payload, deadline).await?;
        match secrets.holds(database, (user, &version), payload, deadline).await? {
            true => Ok(Stored { version, was_there: false }),
            false => Err(SecretChangeError::Different),
        }
    }

    /// The versions before that one that are not destroyed, the newest first.
    pub(super) async fn older(&self, than: &KeyVersion) -> Result<Vec<KeyVersion>, SecretChangeError> {
        let versions = self.secrets.versions(self.database, self.user, Deadline::after(USER_BUDGET)).await?;
        let older =
            versions.into_iter().filter(|info| info.is_left() && info.version.number() < than.number());
        Ok(older.map(|info| info.version).collect())
    }

    /// Destroys that version.
    pub(super) async fn destroy(&self, version: &KeyVersion) -> Result<(), SecretChangeError> {
        self.secrets.destroy_version(self.database, self.user, version, Deadline::after(USER_BUDGET)).await
    }
}

/// What such keys are, for programs, and what they can do.
pub(super) fn kind_of(keys: &AlpacaKeys) -> (&'static str, &'static str) {
    match keys.credentials() {
        Credentials::Pair { .. } => ("key_pair", "a key pair: keys that can trade"),
        Credentials::Token(_) => ("token", "a token: read-only, unless it was given the scope `trading`"),
    }
}
