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
use crate::model::ids::{DocumentId, UserId};
use crate::network::http::look_up;
use crate::network::names::Names;
use crate::network::open_files;
use crate::services::alpaca::Alpaca;
use crate::services::key_cache::KeyCache;
use crate::services::metrics::Metrics;
use crate::services::secret_manager::SecretManager;
use crate::services::writer::Writer;
use futures::TryFutureExt;
use futures::future::join_all;
use jiff::Timestamp;
use reqwest::Url;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::spawn_blocking;
use tracing::warn;

const SECRET_MANAGER: &str = "https://secretmanager.googleapis.com";

/// Why a pass could not even begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Who the job is, cannot be shown.
    #[error("Google's credentials gave no token: {0}")]
    Credentials(NoToken),
    /// Firestore cannot be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The clients for Secret Manager and Alpaca cannot be set up.
    #[error("the clients for Secret Manager and Alpaca cannot be set up")]
    Http(#[from] reqwest::Error),
    /// A bug.
    #[error("setting up the clients for Secret Manager and Alpaca panicked")]
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
    names: Names,
    /// Who gets a pass's metrics, if anybody.
    pub(crate) metrics: Option<Metrics>,
    /// Keys kept from earlier passes of a loop.
    pub(crate) key_cache: Option<KeyCache>,
    /// What the process has used so far.
    pub(crate) usage: Arc<Usage>,
    /// How fast it may go on.
    pub(crate) limits: Arc<RateLimits>,
}

impl Clients {
    /// Sets up the clients.
    pub(crate) async fn connect(mut config: Config) -> Result<Self, ConnectError> {
        config.concurrency = open_files::affordable(config.concurrency);
        let google = identity(&config.endpoints)?;
        let deadline = Deadline::after(USER_BUDGET);
        let names = Names::of_the_machine();
        let usage = Arc::new(Usage::default());
        let limits = Arc::new(RateLimits::new(&config.budgets, config.execution.share(), Timestamp::now()));
        let firestore = config.endpoints.firestore.as_ref();
        let options = StoreOptions {
            database: &config.database,
            endpoint: firestore.map(Url::as_str),
            names: &names,
            identity: if firestore.is_some() { Identity::emulator_owner() } else { google.clone() },
            concurrency: config.concurrency.get(),
            usage: Arc::clone(&usage),
            limits: Arc::clone(&limits),
            clock: ServerClock::new(Timestamp::now()),
        };
        let store = Store::connect(options, deadline).map_err(ConnectError::Store);
        let others = others(&config.endpoints, &google, &names, &usage, &limits);
        // Before anybody needs it, and with more patience than any single call.
        let token = google.ready(deadline).map_err(ConnectError::Credentials);
        let (store, (secrets, alpaca), ()) = tokio::try_join!(store, others, token)?;
        let store = Arc::new(store);
        let metrics = metrics(&config, &google, &names);
        Ok(Self {
            writer: Writer::new(config.dry_run, &store, &limits),
            store,
            secrets,
            alpaca,
            google,
            names,
            metrics,
            key_cache: key_cache(&config),
            config,
            usage,
            limits,
        })
    }

    /// Forgets the keys of a user who is gone.
    pub(crate) fn forget_keys(&self, user: &DocumentId) {
        if let (Some(cache), Ok(user)) = (&self.key_cache, UserId::parse(user.as_str())) {
            cache.forget(&user);
        }
    }

    /// A pass has met everybody: the keys of who was not among them are forgotten.
    pub(crate) fn end_round(&self) {
        if let Some(cache) = &self.key_cache {
            cache.end_round();
        }
    }

    /// A pass begins: it finds out by itself who answers.
    pub(crate) fn begin_pass(&self) {
        self.secrets.begin_pass();
        self.alpaca.begin_pass();
    }

    /// The users who were set aside come.
    pub(crate) fn begin_lap(&self) {
        self.secrets.begin_lap();
        self.alpaca.begin_lap();
    }

    /// Returns once there is a token for Google's services, and the names of all hosts were looked up: in a loop, the
    /// token of the start may be over.
    pub(crate) async fn ready(&self) -> Result<(), ConnectError> {
        let token = self.google.ready(Deadline::after(USER_BUDGET)).map_err(ConnectError::Credentials);
        let hosts = look_up_all(&self.config.endpoints, &self.alpaca, &self.names);
        let (ready, ()) = tokio::join!(token, hosts);
        ready
    }
}

/// The clients for Secret Manager and Alpaca. Reading the system's certificates takes milliseconds, in which Firestore's
/// connection can be made.
async fn others(
    endpoints: &Endpoints,
    google: &Identity,
    names: &Names,
    usage: &Arc<Usage>,
    limits: &Arc<RateLimits>,
) -> Result<(SecretManager, Alpaca), ConnectError> {
    let (base_url, place) = (endpoints.alpaca.clone(), secret_manager(endpoints));
    let identity = if endpoints.secret_manager.is_some() { Identity::nobody() } else { google.clone() };
    let (usage, limits, of_all) = (Arc::clone(usage), Arc::clone(limits), names.clone());
    let clients = spawn_blocking(move || {
        let alpaca = Alpaca::new(base_url, of_all.clone(), Arc::clone(&usage), Arc::clone(&limits))?;
        Ok::<_, reqwest::Error>((SecretManager::new(place, identity, of_all, usage, limits)?, alpaca))
    });
    let (secrets, alpaca) = clients.await.map_err(|_| ConnectError::Panicked)??;
    look_up_all(endpoints, &alpaca, names).await;
    Ok((secrets, alpaca))
}

/// Before the users come: a connection has no time to wait for a slow name server.
async fn look_up_all(endpoints: &Endpoints, alpaca: &Alpaca, names: &Names) {
    let place = secret_manager(endpoints);
    let urls = alpaca.urls().into_iter().chain([&place]);
    let found = join_all(urls.map(|url| look_up(names, url))).await;
    // Those who need it fail for it, one by one, unless it is found by then.
    let failures: BTreeSet<String> =
        found.into_iter().filter_map(|found| Some(found.err()?.to_string())).collect();
    for failure in failures {
        warn!("{failure}");
    }
}

#[expect(clippy::expect_used, reason = "Google's is one")]
pub(super) fn secret_manager(endpoints: &Endpoints) -> Url {
    endpoints.secret_manager.clone().unwrap_or_else(|| SECRET_MANAGER.parse().expect("a URL"))
}

/// Who the job is. Shared, so that one token serves both services; stand-ins for both need none at all.
fn identity(endpoints: &Endpoints) -> Result<Identity, ConnectError> {
    match (&endpoints.firestore, &endpoints.secret_manager) {
        (Some(_), Some(_)) => Ok(Identity::nobody()),
        _ => Identity::application_default(|name| std::env::var_os(name)).map_err(ConnectError::Credentials),
    }
}

/// A pass goes on without them.
fn metrics(config: &Config, google: &Identity, names: &Names) -> Option<Metrics> {
    let target = config.metrics.as_ref()?;
    let metrics = Metrics::new(target, &config.database, google, names);
    metrics.inspect_err(|err| warn!("There are no metrics: {err}")).ok()
}

/// Only for a loop. Whoever names users wants to know of the newest keys.
fn key_cache(config: &Config) -> Option<KeyCache> {
    let key_ttl = config.repeat.as_ref().filter(|_| config.takes_everybody())?.key_ttl;
    (!key_ttl.is_zero()).then(|| KeyCache::new(key_ttl))
}
