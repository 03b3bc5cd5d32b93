//! Firestore: where the users are read and the snapshots are written.

mod commit;
pub mod ledger;
mod protobuf;
pub mod query;
pub mod tenants;
pub mod values;
pub mod write;

use crate::ids::Database;
use crate::outcome::Code;
use crate::pace::Pace;
use crate::retry::{Advice, Advise, Deadline, with_retries};
use crate::usage::Usage;
use firestore::{FirestoreDb, FirestoreDbOptions};
use gcloud_sdk::google::firestore::v1::batch_get_documents_response::Result as Lookup;
use gcloud_sdk::google::firestore::v1::firestore_client::FirestoreClient;
use gcloud_sdk::google::firestore::v1::{BatchGetDocumentsRequest, Document, DocumentMask};
use gcloud_sdk::tonic::{self, Status};
use gcloud_sdk::{GoogleAuthHeaders, GoogleAuthMiddleware};
use google_cloud_auth::credentials::Credentials;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Streams on one HTTP/2 connection: Google's front end allows about 100.
const STREAMS_PER_CHANNEL: usize = 100;

/// A call that is tried again takes another connection, in case the first one is dead.
const MIN_CHANNELS: usize = 2;

/// Calls of the pass itself beside those of the users: pages, memberships, trouble.
const STREAMS_OF_THE_PASS: usize = 4;

/// Longest a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for the beginning of a streamed answer, and for each further part of it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Why Firestore did not do what it was asked. One variant for each reaction of the caller.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Worth another try: unreachable, contended, overloaded.
    #[error("Firestore did not do it this time")]
    Unavailable(#[source] RpcFailure),
    /// No answer within the time for one call.
    #[error("Firestore did not answer in time")]
    Timeout,
    /// The document is not, or no longer, what the decision was based on: decide again.
    #[error("the document changed meanwhile")]
    Conflict(#[source] RpcFailure),
    /// The same request would be refused again.
    #[error("Firestore refused: check the job's role (roles/datastore.user), the database and its indexes")]
    Rejected(#[source] RpcFailure),
    /// No connection. The client says the same at every level of its chain, so its words are enough.
    #[error("Firestore could not be reached: {0}")]
    Unreachable(String),
}

/// A failed call's status, without its metadata.
#[derive(Debug, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct RpcFailure {
    code: tonic::Code,
    message: String,
}

impl From<Status> for StoreError {
    fn from(status: Status) -> Self {
        use tonic::Code as Rpc;
        let failure = RpcFailure { code: status.code(), message: status.message().to_owned() };
        match failure.code {
            Rpc::Aborted
            | Rpc::Cancelled
            | Rpc::DeadlineExceeded
            | Rpc::Internal
            | Rpc::ResourceExhausted
            | Rpc::Unavailable
            // What tonic makes of a connection that broke.
            | Rpc::Unknown => Self::Unavailable(failure),
            _ => Self::Rejected(failure),
        }
    }
}

impl StoreError {
    /// A commit's refusals that are about the documents, not about the request.
    fn of_commit(status: Status) -> Self {
        match Self::from(status) {
            Self::Rejected(failure)
                if matches!(
                    failure.code,
                    tonic::Code::AlreadyExists | tonic::Code::FailedPrecondition | tonic::Code::NotFound
                ) =>
            {
                Self::Conflict(failure)
            }
            other => other,
        }
    }

    /// Whether a commit of several documents may have failed for one of them alone: one that is full, or
    /// that others touch all the time. Then the others are worth a commit of their own.
    #[must_use]
    pub fn may_be_one_documents(&self) -> bool {
        match self {
            Self::Conflict(_) | Self::Timeout => true,
            Self::Rejected(failure) => failure.code == tonic::Code::InvalidArgument,
            Self::Unavailable(failure) => failure.code == tonic::Code::Aborted,
            Self::Unreachable(_) => false,
        }
    }

    /// The code that logs and documents use for it.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Rejected(_) => Code::StoreRejected,
            Self::Unavailable(_) | Self::Timeout | Self::Conflict(_) | Self::Unreachable(_) => {
                Code::StoreUnavailable
            }
        }
    }
}

impl Advise for StoreError {
    fn advice(&self) -> Advice {
        match self {
            Self::Unavailable(_) | Self::Timeout | Self::Unreachable(_) => Advice::BackOff,
            Self::Conflict(_) | Self::Rejected(_) => Advice::GiveUp,
        }
    }
}

/// The client, shared by all users' tasks.
#[derive(Debug)]
pub struct Store {
    channels: Vec<FirestoreDb>,
    next_channel: AtomicUsize,
    database: Database,
    usage: Arc<Usage>,
    pace: Arc<Pace>,
}

impl Store {
    /// Opens as many connections as `concurrency` calls at once need. `endpoint` replaces Google's own.
    pub async fn connect(
        database: &Database,
        endpoint: Option<&str>,
        credentials: Credentials,
        concurrency: usize,
        (usage, pace): (Arc<Usage>, Arc<Pace>),
        deadline: Deadline,
    ) -> Result<Self, StoreError> {
        let options = FirestoreDbOptions::new(database.project.to_string())
            .with_database_id(database.database.to_string())
            .with_max_retries(0)
            .with_firebase_api_url(endpoint.unwrap_or("https://firestore.googleapis.com").to_owned());
        let open = || async {
            let auth = GoogleAuthHeaders::from(credentials.clone());
            let connection = FirestoreDb::with_options_auth(options.clone(), auth);
            match tokio::time::timeout(deadline.for_call(CONNECT_TIMEOUT), connection).await {
                Ok(connected) => connected.map_err(|err| StoreError::Unreachable(err.to_string())),
                Err(_) => Err(StoreError::Timeout),
            }
        };
        let channels = (concurrency + STREAMS_OF_THE_PASS).div_ceil(STREAMS_PER_CHANNEL).max(MIN_CHANNELS);
        let channels = (0..channels).map(|_| with_retries(deadline, open));
        Ok(Self {
            channels: futures::future::try_join_all(channels).await?,
            next_channel: AtomicUsize::new(0),
            database: database.clone(),
            usage,
            pace,
        })
    }

    /// The database that this is a client of.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The connection whose turn it is; the next one for every further attempt of a call, because the
    /// first may be dead without anybody having noticed.
    fn connections<'a>(&'a self) -> impl FnMut() -> &'a FirestoreDb + use<'a> {
        let mut turn = self.next_channel.fetch_add(1, Ordering::Relaxed);
        move || {
            turn = turn.wrapping_add(1);
            &self.channels[turn % self.channels.len()]
        }
    }

    /// The same, as clients of the generated kind.
    fn clients(&self) -> impl FnMut() -> FirestoreClient<GoogleAuthMiddleware> {
        let mut connections = self.connections();
        move || connections().client().get()
    }

    /// The documents of those full names that exist, with only `fields` of them.
    pub async fn documents(
        &self,
        names: Vec<String>,
        fields: &[&str],
        deadline: Deadline,
    ) -> Result<HashMap<String, Document>, StoreError> {
        Ok(self.found(names, Some(mask(fields.iter().copied())), deadline).await?.documents)
    }

    async fn found(
        &self,
        names: Vec<String>,
        mask: Option<DocumentMask>,
        deadline: Deadline,
    ) -> Result<Found, StoreError> {
        if names.is_empty() {
            return Ok(Found::default());
        }
        let request = BatchGetDocumentsRequest {
            database: self.database.name(),
            documents: names,
            mask,
            ..BatchGetDocumentsRequest::default()
        };
        let mut clients = self.clients();
        with_retries(deadline, || self.look_up(clients(), request.clone(), deadline)).await
    }

    async fn look_up(
        &self,
        mut client: FirestoreClient<GoogleAuthMiddleware>,
        request: BatchGetDocumentsRequest,
        deadline: Deadline,
    ) -> Result<Found, StoreError> {
        let reading = async {
            let mut found = Found::default();
            let mut answers = in_time(client.batch_get_documents(request)).await?.into_inner();
            while let Some(answer) = in_time(answers.message()).await? {
                // A document that does not exist is billed like one that does.
                self.usage.firestore_reads.add(u64::from(answer.result.is_some()));
                found.read_at = answer.read_time.or(found.read_at);
                if let Some(Lookup::Found(document)) = answer.result {
                    found.documents.insert(document.name.clone(), document);
                }
            }
            Ok(found)
        };
        tokio::time::timeout(deadline.left(), reading).await.unwrap_or(Err(StoreError::Timeout))
    }
}

/// What a lookup found.
#[derive(Debug, Default)]
struct Found {
    /// By their full names.
    documents: HashMap<String, Document>,
    /// The server's time.
    read_at: Option<gcloud_sdk::prost_types::Timestamp>,
}

/// One part of a streamed answer.
async fn in_time<T>(part: impl Future<Output = Result<T, Status>>) -> Result<T, StoreError> {
    match tokio::time::timeout(IDLE_TIMEOUT, part).await {
        Ok(part) => part.map_err(StoreError::from),
        Err(_) => Err(StoreError::Timeout),
    }
}

fn mask<'a>(fields: impl IntoIterator<Item = &'a str>) -> DocumentMask {
    DocumentMask { field_paths: fields.into_iter().map(str::to_owned).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart_by_what_the_caller_can_do() {
        let of = |code| StoreError::from(Status::new(code, "x"));
        for code in
            [tonic::Code::Unavailable, tonic::Code::Aborted, tonic::Code::Unknown, tonic::Code::Internal]
        {
            assert_eq!(
                (of(code).code(), of(code).advice()),
                (Code::StoreUnavailable, Advice::BackOff),
                "{code:?}"
            );
        }
        for code in
            [tonic::Code::PermissionDenied, tonic::Code::InvalidArgument, tonic::Code::FailedPrecondition]
        {
            assert_eq!(
                (of(code).code(), of(code).advice()),
                (Code::StoreRejected, Advice::GiveUp),
                "{code:?}"
            );
        }
        for (code, is_one_documents) in [
            (tonic::Code::InvalidArgument, true),
            (tonic::Code::Aborted, true),
            (tonic::Code::PermissionDenied, false),
            (tonic::Code::Unavailable, false),
            (tonic::Code::ResourceExhausted, false),
        ] {
            assert_eq!(of(code).may_be_one_documents(), is_one_documents, "{code:?}");
        }
        for code in [tonic::Code::AlreadyExists, tonic::Code::FailedPrecondition, tonic::Code::NotFound] {
            assert!(
                matches!(StoreError::of_commit(Status::new(code, "x")), StoreError::Conflict(_)),
                "{code:?}"
            );
        }
    }
}
