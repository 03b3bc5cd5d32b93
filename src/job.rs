//! The clients of the job, and the writes that several parts of it make.

use crate::alpaca::Alpaca;
use crate::config::{Config, Endpoints};
use crate::credentials;
use crate::ids::{Database, DocumentId, TenantId, UserId};
use crate::key_cache::KeyCache;
use crate::pace::Pace;
use crate::retry::{Deadline, MAX_ATTEMPTS, USER_BUDGET};
use crate::roster::{Member, PageFacts};
use crate::secret_manager::{SecretManager, StoredKeys};
use crate::snapshot::Snapshot;
use crate::store::query::trouble_name;
use crate::store::tenants::primary_name;
use crate::store::write::{Demand, Write, merge};
use crate::store::{Store, StoreError};
use crate::telemetry::Chain;
use crate::tenancy::{Refusal, TenantFacts, TenantWrite, decide};
use crate::trouble::{History, Trouble};
use crate::unchanged::Written;
use crate::usage::Usage;
use crate::user::TenantClaim;
use futures::{StreamExt, TryFutureExt, stream};
use gcloud_sdk::google::firestore::v1::Document;
use jiff::Timestamp;
use reqwest::Url;
use std::sync::Arc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

/// Commits of trouble at the same time, at the end of a pass.
const COMMITS_AT_ONCE: usize = 4;

/// Why a pass could not even begin.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is a credentials file, but it cannot be used.
    #[error("Google's credentials cannot be used: check GOOGLE_APPLICATION_CREDENTIALS")]
    Credentials(#[from] google_cloud_auth::build_errors::Error),
    /// Firestore cannot be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The client for Secret Manager cannot be set up.
    #[error("the Secret Manager client cannot be set up")]
    SecretManager(#[from] google_cloud_gax::client_builder::Error),
    /// The credentials' metadata server does not answer.
    #[error("Google's credentials did not answer in time")]
    Timeout,
    /// The client for Alpaca cannot be set up.
    #[error("the Alpaca client cannot be set up")]
    Alpaca(#[from] reqwest::Error),
    /// A bug.
    #[error("setting up the Alpaca client panicked")]
    Panicked,
}

/// The configuration and the clients, shared by all users' tasks.
#[derive(Debug)]
pub struct Job {
    /// What was asked for.
    pub config: Config,
    /// Firestore.
    pub store: Arc<Store>,
    /// Secret Manager.
    pub secrets: SecretManager,
    /// Alpaca.
    pub alpaca: Alpaca,
    /// Keys kept from earlier pulses of a loop.
    pub key_cache: Option<KeyCache>,
    /// What earlier pulses of a loop have written.
    pub written: Option<Written>,
    /// What the process has used so far.
    pub usage: Arc<Usage>,
    /// How fast it may go on.
    pub pace: Arc<Pace>,
}

impl Job {
    /// Sets up the clients.
    pub async fn connect(config: Config) -> Result<Self, ConnectError> {
        let Endpoints { firestore, secret_manager, alpaca } = &config.endpoints;
        // Shared, so that one token serves both services; stand-ins for both need none at all.
        let google = match (firestore, secret_manager) {
            (Some(_), Some(_)) => credentials::none(),
            _ => credentials::application_default()?,
        };
        let usage = Arc::new(Usage::default());
        let pace = Arc::new(Pace::new(&config.budgets, config.execution.share(), Timestamp::now()));
        // Reading the system's certificates takes milliseconds, in which Firestore's connection can be made.
        let alpaca = {
            let (base_url, usage, pace) = (alpaca.clone(), Arc::clone(&usage), Arc::clone(&pace));
            let client = spawn_blocking(move || Alpaca::new(base_url, usage, pace));
            async { Ok(client.await.map_err(|_| ConnectError::Panicked)??) }
        };
        let store = Store::connect(
            &config.database,
            firestore.as_ref().map(Url::as_str),
            if firestore.is_some() { credentials::emulator_owner() } else { google.clone() },
            config.concurrency.get(),
            (Arc::clone(&usage), Arc::clone(&pace)),
            Deadline::after(USER_BUDGET),
        );
        let secrets = SecretManager::connect(
            secret_manager.as_ref().map(Url::as_str),
            if secret_manager.is_some() { credentials::none() } else { google },
            Arc::clone(&usage),
            Arc::clone(&pace),
        );
        // The credentials may ask a metadata server, without a time limit of their own.
        let secrets = timeout(USER_BUDGET, secrets);
        let secrets = async { Ok(secrets.await.map_err(|_| ConnectError::Timeout)??) };
        let store = store.map_err(ConnectError::Store);
        let (store, secrets, alpaca) = tokio::try_join!(store, secrets, alpaca)?;
        let repeat = config.repeat.as_ref();
        let key_ttl = repeat.map(|repeat| repeat.key_ttl).filter(|ttl| !ttl.is_zero());
        // Whoever names users wants to know of the newest keys.
        let key_ttl = key_ttl.filter(|_| config.takes_everybody());
        let refresh = repeat.map(|repeat| repeat.refresh_unchanged).filter(|refresh| !refresh.is_zero());
        Ok(Self {
            store: Arc::new(store),
            secrets,
            alpaca,
            written: refresh.map(Written::new),
            key_cache: key_ttl.map(KeyCache::new),
            config,
            usage,
            pace,
        })
    }

    /// A user's keys, if an earlier pulse of a loop has left them.
    #[must_use]
    pub fn kept_keys(&self, user: &UserId, history: &History) -> Option<Arc<StoredKeys>> {
        self.key_cache.as_ref()?.get(user, history)
    }

    /// Writes a snapshot and, where the rules allow it, the tenant's document, in one atomic commit
    /// with the end of any trouble. Decides anew when the tenant's document changes meanwhile. The pace
    /// must have allowed the writes.
    ///
    /// Returns the tenant whose document was written.
    pub async fn write(
        &self,
        arrival: &Arrival<'_>,
        deadline: Deadline,
    ) -> Result<Option<TenantId>, StoreError> {
        self.write_as(arrival, self.tenant_write(arrival, &arrival.facts), deadline).await
    }

    /// The same for the pulse that was due at `due`, but leaves alone what an earlier pulse of the loop
    /// has written and what has not changed since. Returns whether it did, too.
    pub async fn write_if_changed(
        &self,
        user: &DocumentId,
        history: &History,
        arrival: &Arrival<'_>,
        due: Instant,
        deadline: Deadline,
    ) -> Result<(Option<TenantId>, bool), StoreError> {
        let tenant = self.tenant_write(arrival, &arrival.facts);
        let Some(written) = &self.written else {
            return Ok((self.write_as(arrival, tenant, deadline).await?, false));
        };
        let kept = tenant.as_ref().map(TenantWrite::tenant);
        let print = written.fingerprint(&arrival.snapshot, kept);
        // A tenant's document that is not there yet, or not any more, is a change.
        let is_there = !matches!(tenant, Some(TenantWrite::Create(_)));
        if *history == History::Clean && is_there && written.is_unchanged(user, print, due) {
            return Ok((kept.cloned(), true));
        }
        // A write that fails, or whose outcome nobody learns, must not pass for one that worked.
        written.forget(user);
        let tenant = self.write_as(arrival, tenant, deadline).await?;
        written.remember(user, written.fingerprint(&arrival.snapshot, tenant.as_ref()), due);
        Ok((tenant, false))
    }

    async fn write_as(
        &self,
        arrival: &Arrival<'_>,
        mut tenant: Option<TenantWrite>,
        deadline: Deadline,
    ) -> Result<Option<TenantId>, StoreError> {
        for attempt in 1.. {
            if self.config.dry_run {
                break;
            }
            let writes = arrival.writes(self.store.database(), tenant.as_ref());
            let committed = match attempt {
                1 => self.store.commit_allowed(&writes, deadline).await,
                _ => self.store.commit(&writes, deadline).await,
            };
            match committed {
                Err(StoreError::Conflict(_)) if attempt < MAX_ATTEMPTS => {}
                result => {
                    result?;
                    break;
                }
            }
            let facts = self.tenant_facts(arrival.snapshot.user_id, arrival.claim, deadline).await?;
            tenant = self.tenant_write(arrival, &facts);
        }
        Ok(tenant.map(|write| write.tenant().clone()))
    }

    /// What decides about the tenant's document of one user; nothing, when the pass writes none.
    pub async fn tenant_facts(
        &self,
        user: &str,
        claim: &TenantClaim,
        deadline: Deadline,
    ) -> Result<TenantFacts, StoreError> {
        if !self.config.legacy_tenant_path {
            return Ok(TenantFacts::default());
        }
        Ok(self.store.tenant_facts(&[(user, claim)], deadline).await?.pop().unwrap_or_default())
    }

    fn tenant_write(&self, arrival: &Arrival<'_>, facts: &TenantFacts) -> Option<TenantWrite> {
        if !self.config.legacy_tenant_path {
            return None;
        }
        let user_id = arrival.snapshot.user_id;
        match decide(user_id, arrival.claim, facts) {
            Ok(write) => Some(write),
            // Every pulse of a second member: not worth a warning, unless the operator named the tenant.
            Err(refusal @ Refusal::OwnedByAnother(_))
                if !matches!(arrival.claim, TenantClaim::Assigned(_)) =>
            {
                debug!(user_id, "Not writing a tenant document for user {user_id}: {refusal}");
                None
            }
            Err(refusal) => {
                warn!(user_id, "Refused the tenant document of user {user_id}: {refusal}");
                None
            }
        }
    }

    /// Records what was learned at the end of a pass. A record that somebody has written since the pass
    /// started is left alone: a person who synced the user by name knows more.
    pub async fn settle(
        &self,
        troubles: Vec<(DocumentId, Trouble)>,
        started_at: Timestamp,
        deadline: Deadline,
    ) {
        if self.config.dry_run {
            return;
        }
        for part in troubles.chunks(self.pace.writes_per_commit() * COMMITS_AT_ONCE) {
            let name = |user: &DocumentId| trouble_name(self.store.database(), user);
            let names = part.iter().map(|(user, _)| name(user)).collect();
            match self.store.documents(names, &["state"], deadline).await {
                Ok(found) => {
                    let touched =
                        |user| found.get(&name(user)).and_then(update_time).is_some_and(|at| at > started_at);
                    let untouched: Vec<_> = part.iter().filter(|(user, _)| !touched(user)).cloned().collect();
                    self.record(&untouched, deadline).await;
                }
                Err(err) => warn_unrecorded(part.len(), &err),
            }
        }
    }

    /// Records trouble, of many users in as few commits as Firestore takes. What cannot be recorded is
    /// logged and comes up again at the next pulse.
    pub async fn record(&self, troubles: &[(DocumentId, Trouble)], deadline: Deadline) {
        if self.config.dry_run {
            return;
        }
        let writes = |batch: &[(DocumentId, Trouble)]| -> Vec<Write> {
            batch.iter().map(|(user, trouble)| self.trouble_write(user, trouble)).collect()
        };
        let batches: Vec<_> = troubles.chunks(self.pace.writes_per_commit()).map(writes).collect();
        let failed: Vec<_> = stream::iter(batches)
            .map(|writes| async move {
                let result = self.store.commit(&writes, deadline).await;
                result.err().map(|err| (writes.len(), err))
            })
            .buffer_unordered(COMMITS_AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await;
        if let Some((_, err)) = failed.first() {
            let users: usize = failed.iter().map(|(users, _)| users).sum();
            warn_unrecorded(users, err);
        }
    }

    /// How many writes the pace has to allow [`Job::write`] for a user whose journey ends well.
    #[must_use]
    pub fn expected_writes(&self, member: &Member) -> u32 {
        if self.config.dry_run || !self.pace.limits_writes() {
            return 0;
        }
        // What is not known yet is read on the journey, and may well allow it.
        let with_tenant = self.config.legacy_tenant_path
            && member
                .facts
                .clone()
                .and_then(PageFacts::fresh)
                .is_none_or(|facts| decide(member.user.id.as_str(), &member.user.tenant, &facts).is_ok());
        1 + u32::from(with_tenant) + u32::from(matches!(member.history, History::Troubled(_)))
    }

    /// The write that records a user's trouble, or its end.
    #[must_use]
    pub fn trouble_write(&self, user: &DocumentId, trouble: &Trouble) -> Write {
        let fields = trouble.to_fields().map(|(field, value)| (field, Some(value.into())));
        merge(&trouble_name(self.store.database(), user), &fields, &Demand::Nothing)
    }
}

/// An account that has arrived, and where it may go.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// Full name of the snapshot's document.
    pub name: String,
    /// What goes in.
    pub snapshot: Snapshot<'a>,
    /// The tenant that is spoken of.
    pub claim: &'a TenantClaim,
    /// What decides about that tenant's document.
    pub facts: TenantFacts,
    /// The end of the user's trouble, if they were in any.
    pub end_of_trouble: Option<Write>,
}

impl Arrival<'_> {
    fn writes(&self, database: &Database, tenant: Option<&TenantWrite>) -> Vec<Write> {
        let mut writes = vec![merge(&self.name, &self.snapshot.user_document(), &Demand::Nothing)];
        writes.extend(tenant.map(|write| {
            let demand = match write {
                TenantWrite::Create(_) => Demand::Absent,
                TenantWrite::Replace(_, version) => Demand::Unchanged(*version),
            };
            let tenant = write.tenant();
            merge(&primary_name(database, tenant), &self.snapshot.tenant_document(tenant), &demand)
        }));
        writes.extend(self.end_of_trouble.clone());
        writes
    }
}

fn warn_unrecorded(users: usize, err: &StoreError) {
    warn!(error = err.code().as_str(), "Could not record the trouble of {users} users: {}", Chain(err));
}

fn update_time(document: &Document) -> Option<Timestamp> {
    let time = document.update_time?;
    Timestamp::new(time.seconds, time.nanos).ok()
}
