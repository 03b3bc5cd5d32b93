//! The client: its connections to Firestore, and the token that it shows.

use crate::firestore::dial::{dial, root};
use crate::firestore::error::StoreError;
use crate::google::credentials::Identity;
use crate::limits::clock::ServerClock;
use crate::limits::patience::Patience;
use crate::limits::rate::RateLimits;
use crate::limits::retry::{Deadline, with_retries};
use crate::limits::usage::Usage;
use crate::model::ids::Database;
use crate::network::http::look_up_directly;
use crate::network::names::{LOOKUP_LIMIT, Names};
use gcloud_sdk::google::firestore::v1::firestore_client::FirestoreClient;
use gcloud_sdk::tonic::Status;
use gcloud_sdk::tonic::transport::Channel;
use gcloud_sdk::{GoogleAuthHeaders, GoogleAuthMiddleware, prost_types};
use jiff::Timestamp;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Streams on one HTTP/2 connection: Google's front end allows about 100.
const STREAMS_PER_CHANNEL: usize = 100;

/// A call that is tried again takes another connection, in case the first one is dead.
const MIN_CHANNELS: usize = 2;

/// Calls of the pass itself beside those of the users: pages, memberships, sync states.
const STREAMS_OF_THE_PASS: usize = 4;

const GOOGLE: &str = "https://firestore.googleapis.com";

/// How often a call may be refused unprocessed, and by how much longer each time it waits then.
const FREE_REFUSALS: u32 = 16;
const REFUSAL_PAUSE: Duration = Duration::from_millis(2);

/// Longest the first connections may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for the beginning of a streamed answer, and for each further part of it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// What it takes to be a client of a database.
pub(crate) struct StoreOptions<'a> {
    /// Which database.
    pub(crate) database: &'a Database,
    /// Replaces Google's own address.
    pub(crate) endpoint: Option<&'a str>,
    /// Where it is.
    pub(crate) names: &'a Names,
    /// Who asks.
    pub(crate) identity: Identity,
    /// Calls at once.
    pub(crate) concurrency: usize,
    /// Where the documents that are read and written are counted.
    pub(crate) usage: Arc<Usage>,
    /// How fast documents may be written.
    pub(crate) limits: Arc<RateLimits>,
    /// Learns from Firestore how late it is.
    pub(crate) clock: ServerClock,
}

/// The client, shared by all users' tasks.
pub(crate) struct Store {
    channels: Vec<GoogleAuthMiddleware>,
    next_channel: AtomicUsize,
    identity: Identity,
    pub(super) database: Database,
    pub(super) usage: Arc<Usage>,
    pub(super) limits: Arc<RateLimits>,
    clock: ServerClock,
    /// For calls in a user's sync.
    pub(super) patience: Patience,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("database", &self.database).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens as many connections as that many calls at once need.
    pub(crate) async fn connect(options: StoreOptions<'_>, deadline: Deadline) -> Result<Self, StoreError> {
        let StoreOptions { database, endpoint, names, identity, concurrency, usage, limits, clock } = options;
        let (url, prefix) = (endpoint.unwrap_or(GOOGLE), database.name());
        look_up(url, names, deadline).await?;
        let open = || async {
            let channel = connect(url, names, deadline).await?;
            let auth = GoogleAuthHeaders::from(identity.credentials());
            let authorized = GoogleAuthMiddleware::new(channel, auth, Some(prefix.clone()));
            authorized.map_err(|err| StoreError::unreachable(&err.to_string()))
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
            clock,
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
    pub(super) fn connections<'a>(&'a self) -> impl Fn() -> &'a GoogleAuthMiddleware + use<'a> {
        let turn = AtomicUsize::new(self.next_channel.fetch_add(1, Ordering::Relaxed));
        move || &self.channels[turn.fetch_add(1, Ordering::Relaxed) % self.channels.len()]
    }

    /// The same, as clients of the generated kind.
    pub(super) fn clients(&self) -> impl Fn() -> FirestoreClient<GoogleAuthMiddleware> {
        let connections = self.connections();
        move || FirestoreClient::new(connections().clone())
    }

    /// How late it is.
    #[must_use]
    pub(crate) fn clock(&self) -> &ServerClock {
        &self.clock
    }

    /// Learns how late it is from an answer that has just arrived, to a question that was sent then.
    pub(super) fn learn(&self, sent: Instant, time: Option<prost_types::Timestamp>) {
        let time = time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
        if let Some(time) = time {
            self.clock.learn(sent, time);
        }
    }

    /// Doubts the token that Firestore did not take, so that the next attempt has another one.
    pub(super) fn heed<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Unauthenticated) = answer {
            self.identity.distrust();
        }
        answer
    }
}

/// Before any connection, with a limit of its own. One that took all of it is not worth another.
async fn look_up(url: &str, names: &Names, deadline: Deadline) -> Result<(), StoreError> {
    let looking = || async {
        let found = look_up_directly(names, url).await;
        found.map_err(|err| StoreError::unreachable(&err.to_string()))
    };
    with_retries(deadline.less(LOOKUP_LIMIT), looking).await
}

async fn connect(url: &str, names: &Names, deadline: Deadline) -> Result<Channel, StoreError> {
    let opened = tokio::time::timeout(deadline.for_call(CONNECT_TIMEOUT), dial(url, names)).await;
    let opened = opened.map_err(|_| StoreError::late(deadline))?;
    opened.map_err(|err| StoreError::unreachable(&root(&err).to_string()))
}

/// One attempt of a call: what was certainly not processed, because the server was about to close the connection, is
/// sent again over the next one, and counts as the same attempt.
pub(super) async fn attempt<T, F>(call: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for refused in 0..FREE_REFUSALS {
        match call().await {
            Err(err) if err.is_unprocessed() => tokio::time::sleep(REFUSAL_PAUSE * refused).await,
            other => return other,
        }
    }
    call().await
}

/// One part of a streamed answer.
pub(super) async fn in_time<T>(part: impl Future<Output = Result<T, Status>>) -> Result<T, StoreError> {
    match tokio::time::timeout(IDLE_TIMEOUT, part).await {
        Ok(part) => part.map_err(StoreError::from),
        Err(_) => Err(StoreError::Timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// How often a call is made that fails so often before it works, and whether it does in the end.
    async fn calls(failures: u32, err: fn() -> StoreError) -> (u32, bool) {
        let made = Cell::new(0);
        let call = || {
            made.set(made.get() + 1);
            let failed = made.get() <= failures;
            async move { if failed { Err(err()) } else { Ok(()) } }
        };
        let worked = attempt(call).await.is_ok();
        (made.get(), worked)
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_goes_on_while_it_is_refused_unprocessed_but_not_for_ever() {
        for (failures, made, works) in [(0, 1, true), (1, 2, true), (16, 17, true), (17, 17, false)] {
            assert_eq!(calls(failures, StoreError::unprocessed).await, (made, works), "{failures}");
        }
        assert_eq!(calls(1, || StoreError::Timeout).await, (1, false), "it may have been processed");
    }
}
