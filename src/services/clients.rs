//! Everything that the job calls, connected once.

use crate::config::{Config, Endpoints};
use crate::firestore::{Store, StoreError, StoreOptions};
use crate::google::credentials::Identity;
use crate::google::credentials::failure::NoToken;
use crate::limits::clock::ServerClock;
use crate::limits::deadlines::USER_BUDGET;
use crate::limits::rate::RateLimits;
use crate::limits::retry::Deadline;
use crate::limits::usage::Usage;
use crate::services::alpaca::Alpaca;
use crate::services::key_cache::KeyCache;
use crate::services::secret_manager::SecretManager;
use crate::services::writer::Writer;
use futures::TryFutureExt;
use jiff::Timestamp;
use reqwest::Url;
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// Why a pass could not even begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Who the job is, cannot be shown.
    #[error("Google's credentials gave no token: {0}")]
    Credentials(NoToken),
    /// Firestore cannot be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The client for Secret Manager cannot be set up. Its own words may be about the credentials.
    #[error("the Secret Manager client cannot be set up: check SECRET_MANAGER_EMULATOR_HOST, if it is set")]
    SecretManager,
    /// The client for Alpaca cannot be set up.
    #[error("the Alpaca client cannot be set up")]
    Alpaca(#[from] reqwest::Error),
    /// A bug.
    #[error("setting up the Alpaca client panicked")]
    Panicked,
}

/// The configuration and the clients, shared by all users' tasks.
#[derive(Debug)]
pub(crate) struct Clients {
    /// What was asked for.
    pub(crate) config: Config,
    /// Firestore, for reading.
    pub(crate) store: Arc<Store>,
    /// Firestore, for writing.
    pub(crate) writer: Writer,
    /// Secret Manager.
    pub(crate) secrets: SecretManager,
    /// Alpaca.
    pub(crate) alpaca: Alpaca,
    google: Identity,
    /// Keys kept from earlier passes of a loop.
    pub(crate) key_cache: Option<KeyCache>,
    /// What the process has used so far.
    pub(crate) usage: Arc<Usage>,
    /// How fast it may go on.
    pub(crate) limits: Arc<RateLimits>,
}

impl Clients {
    /// Sets up the clients.
    pub(crate) async fn connect(config: Config) -> Result<Self, ConnectError> {
        let Endpoints { firestore, secret_manager, alpaca } = &config.endpoints;
        let google = identity(&config.endpoints)?;
        let deadline = Deadline::after(USER_BUDGET);
        let usage = Arc::new(Usage::default());
        let limits = Arc::new(RateLimits::new(&config.budgets, config.execution.share(), Timestamp::now()));
        // Reading the system's certificates takes milliseconds, in which Firestore's connection can be made.
        let alpaca = {
            let (base_url, usage, limits) = (alpaca.clone(), Arc::clone(&usage), Arc::clone(&limits));
            let client = spawn_blocking(move || Alpaca::new(base_url, usage, limits));
            async { Ok(client.await.map_err(|_| ConnectError::Panicked)??) }
        };
        let options = StoreOptions {
            database: &config.database,
            endpoint: firestore.as_ref().map(Url::as_str),
            identity: if firestore.is_some() { Identity::emulator_owner() } else { google.clone() },
            concurrency: config.concurrency.get(),
            usage: Arc::clone(&usage),
            limits: Arc::clone(&limits),
            clock: ServerClock::new(Timestamp::now()),
        };
        let store = Store::connect(options, deadline);
        let secrets = SecretManager::connect(
            secret_manager.as_ref().map(Url::as_str),
            if secret_manager.is_some() { Identity::nobody() } else { google.clone() },
            Arc::clone(&usage),
            Arc::clone(&limits),
        );
        let secrets = secrets.map_err(|_| ConnectError::SecretManager);
        let store = store.map_err(ConnectError::Store);
        // Before anybody needs it, and with more patience than any single call.
        let token = google.ready(deadline).map_err(ConnectError::Credentials);
        let (store, secrets, alpaca, ()) = tokio::try_join!(store, secrets, alpaca, token)?;
        let store = Arc::new(store);
        Ok(Self {
            writer: Writer::new(config.dry_run, &store, &limits),
            store,
            secrets,
            alpaca,
            google,
            key_cache: key_cache(&config),
            config,
            usage,
            limits,
        })
    }

    /// Returns once there is a token for Google's services: in a loop, the one of the start may be over.
    pub(crate) async fn ready(&self) -> Result<(), ConnectError> {
        self.google.ready(Deadline::after(USER_BUDGET)).await.map_err(ConnectError::Credentials)
    }
}

/// Who the job is. Shared, so that one token serves both services; stand-ins for both need none at all.
fn identity(endpoints: &Endpoints) -> Result<Identity, ConnectError> {
    match (&endpoints.firestore, &endpoints.secret_manager) {
        (Some(_), Some(_)) => Ok(Identity::nobody()),
        _ => Identity::application_default(|name| std::env::var_os(name)).map_err(ConnectError::Credentials),
    }
}

/// Only for a loop. Whoever names users wants to know of the newest keys.
fn key_cache(config: &Config) -> Option<KeyCache> {
    let key_ttl = config.repeat.as_ref().filter(|_| config.takes_everybody())?.key_ttl;
    (!key_ttl.is_zero()).then(|| KeyCache::new(key_ttl))
}
