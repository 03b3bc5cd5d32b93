//! The client: its connections to Firestore, and the token that it shows.

use crate::firestore::error::StoreError;
use crate::google::credentials::Identity;
use crate::limits::patience::Patience;
use crate::limits::rate::RateLimits;
use crate::limits::retry::{Deadline, with_retries};
use crate::limits::usage::Usage;
use crate::model::ids::Database;
use firestore::{FirestoreDb, FirestoreDbOptions};
use gcloud_sdk::google::firestore::v1::firestore_client::FirestoreClient;
use gcloud_sdk::tonic::Status;
use gcloud_sdk::{GoogleAuthHeaders, GoogleAuthMiddleware};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Streams on one HTTP/2 connection: Google's front end allows about 100.
const STREAMS_PER_CHANNEL: usize = 100;

/// A call that is tried again takes another connection, in case the first one is dead.
const MIN_CHANNELS: usize = 2;

/// Calls of the pass itself beside those of the users: pages, memberships, sync states.
const STREAMS_OF_THE_PASS: usize = 4;

/// Longest a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for the beginning of a streamed answer, and for each further part of it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// What it takes to be a client of a database.
pub(crate) struct StoreOptions<'a> {
    /// Which database.
    pub(crate) database: &'a Database,
    /// Replaces Google's own address.
    pub(crate) endpoint: Option<&'a str>,
    /// Who asks.
    pub(crate) identity: Identity,
    /// Calls at once.
    pub(crate) concurrency: usize,
    /// Where the documents that are read and written are counted.
    pub(crate) usage: Arc<Usage>,
    /// How fast documents may be written.
    pub(crate) limits: Arc<RateLimits>,
}

/// The client, shared by all users' tasks.
#[derive(Debug)]
pub(crate) struct Store {
    channels: Vec<FirestoreDb>,
    next_channel: AtomicUsize,
    identity: Identity,
    pub(super) database: Database,
    pub(super) usage: Arc<Usage>,
    pub(super) limits: Arc<RateLimits>,
    /// For calls in a user's sync.
    pub(super) patience: Patience,
}

impl Store {
    /// Opens as many connections as that many calls at once need.
    pub(crate) async fn connect(options: StoreOptions<'_>, deadline: Deadline) -> Result<Self, StoreError> {
        let StoreOptions { database, endpoint, identity, concurrency, usage, limits } = options;
        let options = FirestoreDbOptions::new(database.project.to_string())
            .with_database_id(database.database.to_string())
            .with_max_retries(0)
            .with_firebase_api_url(endpoint.unwrap_or("https://firestore.googleapis.com").to_owned());
        let open = || async {
            let auth = GoogleAuthHeaders::from(identity.credentials());
            let connection = FirestoreDb::with_options_auth(options.clone(), auth);
            match tokio::time::timeout(deadline.for_call(CONNECT_TIMEOUT), connection).await {
                Ok(connected) => connected.map_err(|err| StoreError::unreachable(&err.to_string())),
                Err(_) => Err(StoreError::late(deadline)),
            }
        };
        let channels = (concurrency + STREAMS_OF_THE_PASS).div_ceil(STREAMS_PER_CHANNEL).max(MIN_CHANNELS);
        let channels = (0..channels).map(|_| with_retries(deadline, open));
        Ok(Self {
            channels: futures::future::try_join_all(channels).await?,
            next_channel: AtomicUsize::new(0),
            identity,
            database: database.clone(),
            usage,
            limits,
            patience: Patience::default(),
        })
    }

    /// The database that this is a client of.
    #[must_use]
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// The connection whose turn it is; the next one for every further attempt of a call, because the
    /// first may be dead without anybody having noticed.
    pub(super) fn connections<'a>(&'a self) -> impl FnMut() -> &'a FirestoreDb + use<'a> {
        let mut turn = self.next_channel.fetch_add(1, Ordering::Relaxed);
        move || {
            turn = turn.wrapping_add(1);
            &self.channels[turn % self.channels.len()]
        }
    }

    /// The same, as clients of the generated kind.
    pub(super) fn clients(&self) -> impl FnMut() -> FirestoreClient<GoogleAuthMiddleware> {
        let mut connections = self.connections();
        move || connections().client().get()
    }

    /// Doubts the token that Firestore did not take, so that the next attempt has another one.
    pub(super) fn heed<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Unauthenticated) = answer {
            self.identity.distrust();
        }
        answer
    }
}

/// One part of a streamed answer.
pub(super) async fn in_time<T>(part: impl Future<Output = Result<T, Status>>) -> Result<T, StoreError> {
    match tokio::time::timeout(IDLE_TIMEOUT, part).await {
        Ok(part) => part.map_err(StoreError::from),
        Err(_) => Err(StoreError::Timeout),
    }
}
