//! What an operator's command calls, connected piece by piece: whatever cannot be had is told by whoever needs it, and
//! keeps nobody else from looking.

use crate::config::Place;
use crate::firestore::{Store, StoreOptions};
use crate::google::credentials::Identity;
use crate::google::credentials::failure::NoToken;
use crate::limits::clock::ServerClock;
use crate::limits::deadlines::USER_BUDGET;
use crate::limits::rate::{Budgets, RateLimits, Share};
use crate::limits::retry::Deadline;
use crate::limits::usage::Usage;
use crate::model::keys::Environment;
use crate::model::usage::Used;
use crate::network::names::Names;
use crate::services::admin::{Admin, knock};
use crate::services::alpaca::Alpaca;
use crate::services::clients::{ConnectError, secret_manager};
use crate::services::secret_manager::SecretManager;
use futures::future::join_all;
use jiff::Timestamp;
use reqwest::Url;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Calls at once: a person waits for each.
const CONCURRENCY: usize = 16;

/// The way to the services.
#[derive(Debug)]
pub(crate) struct Desk<'a> {
    place: &'a Place,
    names: Names,
    usage: Arc<Usage>,
    limits: Arc<RateLimits>,
}

impl<'a> Desk<'a> {
    /// Nothing is connected yet.
    #[must_use]
    pub(crate) fn at(place: &'a Place) -> Self {
        Self::with_budgets(place, &Budgets::default())
    }

    /// The same for a command that writes many documents.
    #[must_use]
    pub(crate) fn with_budgets(place: &'a Place, budgets: &Budgets) -> Self {
        let whole = Share { task_index: 0, task_count: NonZeroU32::MIN };
        Self {
            place,
            names: Names::of_the_machine(),
            usage: Arc::default(),
            limits: Arc::new(RateLimits::new(budgets, whole, Timestamp::now())),
        }
    }

    /// Where it is.
    #[must_use]
    pub(crate) fn place(&self) -> &'a Place {
        self.place
    }

    /// How fast documents may be written, for a writer.
    #[must_use]
    pub(crate) fn limits(&self) -> &Arc<RateLimits> {
        &self.limits
    }

    /// What was used so far.
    #[must_use]
    pub(crate) fn used(&self) -> Used {
        self.usage.so_far()
    }

    /// Who the operator is to Google, with a token; nobody where no service of Google's own is called.
    pub(crate) async fn identity(&self) -> Result<Option<Identity>, NoToken> {
        let endpoints = &self.place.endpoints;
        if endpoints.firestore.is_some() && endpoints.secret_manager.is_some() {
            return Ok(None);
        }
        self.google(Deadline::after(USER_BUDGET)).await.map(Some)
    }

    /// Google's APIs about the project.
    pub(crate) fn admin(&self, identity: Option<&Identity>) -> Result<Admin, ConnectError> {
        Ok(Admin::new(&self.place.endpoints, &self.names, identity)?)
    }

    /// Whether it is Alpaca that answers at its hosts; nobody's keys are sent.
    pub(crate) async fn knock_at_alpaca(&self) -> Vec<(String, Result<(), String>)> {
        let urls = match &self.place.endpoints.alpaca {
            Some(url) => vec![url.to_string()],
            None => [Environment::Paper, Environment::Live].map(|host| host.base_url().to_owned()).into(),
        };
        let knock = async |url: String| {
            let answered = knock(&self.names, &url).await;
            (url, answered)
        };
        join_all(urls.into_iter().map(knock)).await
    }

    /// Firestore.
    pub(crate) async fn store(&self) -> Result<Arc<Store>, ConnectError> {
        let deadline = Deadline::after(USER_BUDGET);
        let endpoint = self.place.endpoints.firestore.as_ref();
        let identity = match endpoint {
            Some(_) => Identity::emulator_owner(),
            None => self.google(deadline).await.map_err(ConnectError::Credentials)?,
        };
        let options = StoreOptions {
            database: &self.place.database,
            endpoint: endpoint.map(Url::as_str),
            names: &self.names,
            identity,
            concurrency: CONCURRENCY,
            usage: Arc::clone(&self.usage),
            limits: Arc::clone(&self.limits),
            clock: ServerClock::new(Timestamp::now()),
        };
        Ok(Arc::new(Store::connect(options, deadline).await?))
    }

    /// Secret Manager.
    pub(crate) async fn secrets(&self) -> Result<SecretManager, ConnectError> {
        let identity = match self.place.endpoints.secret_manager {
            Some(_) => Identity::nobody(),
            None => self.google(Deadline::after(USER_BUDGET)).await.map_err(ConnectError::Credentials)?,
        };
        let (place, names) = (secret_manager(&self.place.endpoints), self.names.clone());
        Ok(SecretManager::new(place, identity, names, Arc::clone(&self.usage), Arc::clone(&self.limits))?)
    }

    /// Alpaca.
    pub(crate) fn alpaca(&self) -> Result<Alpaca, ConnectError> {
        let (base_url, names) = (self.place.endpoints.alpaca.clone(), self.names.clone());
        Ok(Alpaca::new(base_url, names, Arc::clone(&self.usage), Arc::clone(&self.limits))?)
    }

    /// Who the operator is to Google, with a token.
    async fn google(&self, deadline: Deadline) -> Result<Identity, NoToken> {
        let google = Identity::application_default(|name| std::env::var_os(name))?;
        google.ready(deadline).await?;
        Ok(google)
    }
}
