//! Firestore: where the users are read and the snapshots are written.

mod commit;
mod protobuf;
pub(crate) mod query;
pub mod values;
pub(crate) mod write;

use crate::google::credentials::failure::NoToken;
use crate::google::credentials::{Identity, no_token};
use crate::google::error::{Reason, shown};
use crate::limits::rate::{RateLimits, UsedUp};
use crate::limits::retry::{Advice, Advise, Deadline, with_retries};
use crate::limits::usage::Usage;
use crate::model::ids::Database;
use crate::model::outcome::Code;
use firestore::{FirestoreDb, FirestoreDbOptions};
use gcloud_sdk::error::{Error as SdkError, ErrorKind};
use gcloud_sdk::google::firestore::v1::batch_get_documents_response::Result as Lookup;
use gcloud_sdk::google::firestore::v1::firestore_client::FirestoreClient;
use gcloud_sdk::google::firestore::v1::{BatchGetDocumentsRequest, Document, DocumentMask};
use gcloud_sdk::google::rpc;
use gcloud_sdk::prost::Message as _;
use gcloud_sdk::tonic::{self, Status};
use gcloud_sdk::{GoogleAuthHeaders, GoogleAuthMiddleware};
use std::collections::HashMap;
use std::error::Error;
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
pub(crate) enum StoreError {
    /// Worth another try: unreachable, contended, overloaded.
    #[error("Firestore did not do it this time")]
    Unavailable(#[source] RpcFailure),
    /// No answer within the time for one call.
    #[error("Firestore did not answer in time")]
    Timeout,
    /// Firestore was not asked.
    #[error("Firestore was not asked")]
    OutOfBudget(#[from] UsedUp),
    /// Nothing was asked, for want of a token.
    #[error("Google's credentials gave no token: {0}")]
    NoToken(NoToken),
    /// The token is not taken. Another one may be.
    #[error(
        "Firestore did not take the token of Google's credentials: check that the job's service account, or the key \
         or login in use, still exists and is enabled"
    )]
    Unauthenticated,
    /// A document is not, or no longer, what the decision was based on: decide again.
    #[error("Firestore did not take the write to a document as it is by now")]
    Conflict(#[source] RpcFailure),
    /// The same request would be refused again.
    #[error("Firestore refused{}", .0.advice())]
    Rejected(#[source] RpcFailure),
    /// No connection. The client says the same at every level of its chain, so its words are enough.
    #[error("Firestore could not be reached: {0}")]
    Unreachable(String),
}

/// A failed call's status, without its metadata.
#[derive(Debug, thiserror::Error)]
#[error("{code:?}: {message}{}", .reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default())]
pub(crate) struct RpcFailure {
    code: tonic::Code,
    /// As much of Firestore's own as can be shown.
    message: String,
    /// Why, if Google says so.
    reason: Option<Reason>,
}

impl RpcFailure {
    fn of(status: &Status) -> Self {
        let (code, message) = (status.code(), shown(status.message()));
        Self { code, message, reason: reason(status.details()) }
    }

    /// What there is to do about it, where that is known.
    fn advice(&self) -> &'static str {
        let is_missing_role = self.reason.as_ref().is_some_and(Reason::is_missing_role);
        match self.code {
            tonic::Code::PermissionDenied if is_missing_role => {
                ": grant roles/datastore.user to the job's service account"
            }
            tonic::Code::NotFound if self.is_about_database() => ": check --project and --database",
            tonic::Code::FailedPrecondition if self.message.contains("requires an index") => {
                ": deploy firestore.indexes.json"
            }
            _ => "",
        }
    }

    /// Whether it is about the whole database, which is none of the kind or does not exist, and not about a document.
    fn is_about_database(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        message.contains("datastore mode")
            || (message.contains("database")
                && message.contains("does not exist")
                && !message.contains("/documents/"))
    }

    /// Whether the documents of a commit are not as it demands.
    fn is_conflict(&self) -> bool {
        use tonic::Code as Rpc;
        let may_be = matches!(self.code, Rpc::AlreadyExists | Rpc::FailedPrecondition | Rpc::NotFound);
        may_be && self.reason.is_none() && !self.is_about_database()
    }
}

/// The reason in the details of a status, if Google gave one.
fn reason(details: &[u8]) -> Option<Reason> {
    let details = rpc::Status::decode(details).ok()?.details;
    let info = details.iter().find(|detail| detail.type_url.ends_with("/google.rpc.ErrorInfo"))?;
    Reason::parse(&rpc::ErrorInfo::decode(&info.value[..]).ok()?.reason)
}

impl From<Status> for StoreError {
    fn from(status: Status) -> Self {
        use tonic::Code as Rpc;
        if let Some(failure) = no_token_behind(&status) {
            return Self::NoToken(failure);
        }
        let failure = RpcFailure::of(&status);
        match failure.code {
            Rpc::Aborted
            | Rpc::Cancelled
            | Rpc::DeadlineExceeded
            | Rpc::Internal
            | Rpc::ResourceExhausted
            | Rpc::Unavailable
            // What tonic makes of a connection that broke.
            | Rpc::Unknown => Self::Unavailable(failure),
            Rpc::Unauthenticated => Self::Unauthenticated,
            _ => Self::Rejected(failure),
        }
    }
}

impl StoreError {
    /// A commit's refusals that are about the documents, not about the request.
    pub(crate) fn of_commit(status: Status) -> Self {
        match Self::from(status) {
            Self::Rejected(failure) if failure.is_conflict() => Self::Conflict(failure),
            other => other,
        }
    }

    /// Whether a commit of several documents may have failed for one of them alone: one that is full, or
    /// that others touch all the time. Then the others are worth a commit of their own.
    #[must_use]
    pub(crate) fn may_be_one_documents(&self) -> bool {
        match self {
            Self::Conflict(_) | Self::Timeout => true,
            Self::Rejected(failure) => failure.code == tonic::Code::InvalidArgument,
            Self::Unavailable(failure) => failure.code == tonic::Code::Aborted,
            Self::NoToken(_) | Self::Unauthenticated | Self::OutOfBudget(_) | Self::Unreachable(_) => false,
        }
    }

    /// The code that logs and documents use for it.
    #[must_use]
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Rejected(_) => Code::StoreRejected,
            Self::Unavailable(_)
            | Self::Timeout
            | Self::NoToken(_)
            | Self::Unauthenticated
            | Self::OutOfBudget(_)
            | Self::Conflict(_)
            | Self::Unreachable(_) => Code::StoreUnavailable,
        }
    }
}

/// Why there was no token, if that is what a status is made of.
fn no_token_behind(status: &Status) -> Option<NoToken> {
    let err = status.source()?;
    let boxed = err.downcast_ref::<Box<SdkError>>().map(Box::as_ref);
    // The library's error names no source.
    match boxed.or_else(|| err.downcast_ref::<SdkError>())?.kind() {
        ErrorKind::Credentials(err) => no_token(err).copied(),
        _ => None,
    }
}

impl Advise for StoreError {
    fn advice(&self) -> Advice {
        match self {
            Self::NoToken(failure) if failure.is_final() => Advice::GiveUp,
            Self::Unavailable(_)
            | Self::Timeout
            | Self::NoToken(_)
            | Self::Unauthenticated
            | Self::Unreachable(_) => Advice::BackOff,
            Self::OutOfBudget(_) | Self::Conflict(_) | Self::Rejected(_) => Advice::GiveUp,
        }
    }
}

/// The client, shared by all users' tasks.
#[derive(Debug)]
pub(crate) struct Store {
    channels: Vec<FirestoreDb>,
    next_channel: AtomicUsize,
    identity: Identity,
    database: Database,
    usage: Arc<Usage>,
    pace: Arc<RateLimits>,
}

impl Store {
    /// Opens as many connections as `concurrency` calls at once need. `endpoint` replaces Google's own.
    pub(crate) async fn connect(
        database: &Database,
        endpoint: Option<&str>,
        identity: Identity,
        concurrency: usize,
        (usage, pace): (Arc<Usage>, Arc<RateLimits>),
        deadline: Deadline,
    ) -> Result<Self, StoreError> {
        let options = FirestoreDbOptions::new(database.project.to_string())
            .with_database_id(database.database.to_string())
            .with_max_retries(0)
            .with_firebase_api_url(endpoint.unwrap_or("https://firestore.googleapis.com").to_owned());
        let open = || async {
            let auth = GoogleAuthHeaders::from(identity.credentials());
            let connection = FirestoreDb::with_options_auth(options.clone(), auth);
            match tokio::time::timeout(deadline.for_call(CONNECT_TIMEOUT), connection).await {
                Ok(connected) => connected.map_err(|err| StoreError::Unreachable(shown(&err.to_string()))),
                Err(_) => Err(StoreError::Timeout),
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
            pace,
        })
    }

    /// The database that this is a client of.
    #[must_use]
    pub(crate) fn database(&self) -> &Database {
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

    /// Doubts the token that Firestore did not take, so that the next attempt has another one.
    fn heed<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Unauthenticated) = answer {
            self.identity.distrust();
        }
        answer
    }

    /// The documents of those full names that exist, with only `fields` of them.
    pub(crate) async fn documents(
        &self,
        names: Vec<String>,
        fields: &[&str],
        deadline: Deadline,
    ) -> Result<HashMap<String, Document>, StoreError> {
        Ok(self.found(names, Some(mask(fields.iter().copied())), deadline).await?.documents)
    }

    pub(crate) async fn found(
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
        self.heed(tokio::time::timeout(deadline.left(), reading).await.unwrap_or(Err(StoreError::Timeout)))
    }
}

/// What a lookup found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// By their full names.
    pub(crate) documents: HashMap<String, Document>,
    /// The server's time.
    pub(crate) read_at: Option<gcloud_sdk::prost_types::Timestamp>,
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
        let refused = of(tonic::Code::Unauthenticated);
        assert_eq!((refused.code(), refused.advice()), (Code::StoreUnavailable, Advice::BackOff));
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

    fn told(code: tonic::Code, message: &str, reason: Option<&str>) -> StoreError {
        let info = reason.map(|reason| rpc::ErrorInfo { reason: reason.into(), ..rpc::ErrorInfo::default() });
        let any = info.map(|info| gcloud_sdk::prost_types::Any {
            type_url: "type.googleapis.com/google.rpc.ErrorInfo".into(),
            value: info.encode_to_vec(),
        });
        let details = rpc::Status { details: any.into_iter().collect(), ..rpc::Status::default() };
        StoreError::of_commit(Status::with_details(code, message, details.encode_to_vec().into()))
    }

    #[test]
    fn a_cause_is_stated_only_where_it_is_known() {
        use tonic::Code as Rpc;
        for (err, parts, absent) in [
            (
                told(Rpc::PermissionDenied, "no", Some("IAM_PERMISSION_DENIED")),
                &["roles/datastore.user"][..],
                "index",
            ),
            (
                told(Rpc::PermissionDenied, "no", Some("SERVICE_DISABLED")),
                &["SERVICE_DISABLED: enable the API"],
                "role",
            ),
            (
                told(Rpc::PermissionDenied, "no", Some("ya29 hush")),
                &["Firestore refused: PermissionDenied: no"],
                "hush",
            ),
            (told(Rpc::PermissionDenied, "no", None), &["Firestore refused: PermissionDenied: no"], "role"),
            (
                told(
                    Rpc::NotFound,
                    "The database x does not exist for project p Please visit https://c/",
                    None,
                ),
                &["check --project and --database", "The database x does not exist"],
                "by now",
            ),
            (
                told(Rpc::NotFound, "No document to update: projects/p/databases/d/documents/a", None),
                &["NotFound: No document"],
                "--database",
            ),
            (
                told(Rpc::FailedPrecondition, "The query requires an index.", None),
                &["requires an index"],
                "role",
            ),
            (told(Rpc::InvalidArgument, "Bearer hush\nx", None), &["InvalidArgument: Bearer … x"], "hush"),
        ] {
            let told = crate::telemetry::Chain(&err).to_string();
            assert!(parts.iter().all(|part| told.contains(part)) && !told.contains(absent), "{told}");
        }
    }

    #[test]
    fn only_what_is_about_the_documents_is_a_conflict() {
        use tonic::Code as Rpc;
        let is_conflict = |err| matches!(err, StoreError::Conflict(_));
        assert!(is_conflict(told(
            Rpc::NotFound,
            "No document to update: projects/p/databases/d/documents/a",
            None
        )));
        assert!(is_conflict(told(
            Rpc::AlreadyExists,
            "Document already exists: projects/p/databases/does not exist/documents/a",
            None
        )));
        assert!(is_conflict(told(
            Rpc::FailedPrecondition,
            "the stored version (1) does not match (2)",
            None
        )));
        for (code, message, reason) in [
            (Rpc::NotFound, "The database (default) does not exist for project p", None),
            (Rpc::NotFound, "Database 'x' does not exist.", None),
            (
                Rpc::FailedPrecondition,
                "The Cloud Firestore API is not available for Firestore in Datastore Mode database",
                None,
            ),
            (Rpc::FailedPrecondition, "no", Some("BILLING_DISABLED")),
            (Rpc::NotFound, "no", Some("CONSUMER_INVALID")),
        ] {
            let err = told(code, message, reason);
            assert!(matches!(err, StoreError::Rejected(_)), "{message}: {err}");
        }
    }

    #[test]
    fn details_that_cannot_be_read_give_no_reason() {
        for details in [&b""[..], b"\xff\xff", b"\x1a\x02\x12\xff"] {
            let status = Status::with_details(tonic::Code::PermissionDenied, "x", details.to_vec().into());
            assert_eq!(RpcFailure::of(&status).reason, None, "{details:?}");
        }
    }
}
