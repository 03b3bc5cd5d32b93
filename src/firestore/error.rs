//! Why Firestore did not do what it was asked, by what the caller can do about it.

use crate::google::credentials::failure::NoToken;
use crate::google::credentials::no_token;
use crate::google::error::{Denied, Reason, shown};
use crate::limits::rate::UsedUp;
use crate::limits::retry::{Advice, Advise, Deadline};
use crate::model::outcome::Code;
use gcloud_sdk::error::{Error as SdkError, ErrorKind};
use gcloud_sdk::google::rpc;
use gcloud_sdk::prost::Message as _;
use gcloud_sdk::tonic::{self, Status};
use std::error::Error;

/// Why Firestore did not do what it was asked. One variant for each reaction of the caller.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Worth another try: unreachable, contended, overloaded.
    #[error(transparent)]
    Unavailable(Outage),
    /// No answer within the time for one call.
    #[error("Firestore did not answer in time")]
    Timeout,
    /// No answer within the time that was left of the job's own.
    #[error("Firestore did not answer in the time that was left for it")]
    OutOfTime,
    /// Firestore was not asked: the job's own budget of calls was used up.
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
}

/// What kept Firestore from answering as it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Outage {
    /// It answered with an error that may pass.
    #[error("Firestore did not do it this time")]
    Failure(#[source] RpcFailure),
    /// It closed the connection without having processed the call.
    #[error("Firestore closed the connection before the call")]
    Unprocessed(#[source] RpcFailure),
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
                ": grant roles/datastore.user to the account it runs as"
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
        if was_not_processed(&status) {
            return Self::Unavailable(Outage::Unprocessed(failure));
        }
        match failure.code {
            Rpc::Aborted
            | Rpc::Cancelled
            | Rpc::DeadlineExceeded
            | Rpc::Internal
            | Rpc::ResourceExhausted
            | Rpc::Unavailable
            // What tonic makes of a connection that broke.
            | Rpc::Unknown => Self::Unavailable(Outage::Failure(failure)),
            Rpc::Unauthenticated => Self::Unauthenticated,
            _ => Self::Rejected(failure),
        }
    }
}

impl StoreError {
    /// What a connection that is about to close did not take.
    #[cfg(test)]
    pub(super) fn unprocessed() -> Self {
        Self::Unavailable(Outage::Unprocessed(RpcFailure::of(&Status::internal("x"))))
    }

    /// No connection, in the client's words.
    pub(super) fn unreachable(words: &str) -> Self {
        Self::Unavailable(Outage::Unreachable(shown(words)))
    }

    /// No answer before a call ran into its own limit, or into the deadline.
    pub(super) fn late(deadline: Deadline) -> Self {
        if deadline.is_over() { Self::OutOfTime } else { Self::Timeout }
    }

    /// Whether the call certainly had no effect, because of how its connection ended.
    pub(super) fn is_unprocessed(&self) -> bool {
        matches!(self, Self::Unavailable(Outage::Unprocessed(_)))
    }

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
            Self::Conflict(_) | Self::Timeout | Self::OutOfTime => true,
            Self::Rejected(failure) => failure.code == tonic::Code::InvalidArgument,
            Self::Unavailable(Outage::Failure(failure)) => failure.code == tonic::Code::Aborted,
            Self::Unavailable(Outage::Unprocessed(_) | Outage::Unreachable(_))
            | Self::NoToken(_)
            | Self::Unauthenticated
            | Self::OutOfBudget(_) => false,
        }
    }

    /// Whether a commit demanded a document that does not exist.
    #[must_use]
    pub(crate) fn is_about_missing(&self) -> bool {
        matches!(self, Self::Conflict(failure) if failure.code == tonic::Code::NotFound)
    }

    /// What it was denied for, if it was.
    #[must_use]
    pub(crate) fn denied(&self) -> Option<Denied> {
        match self {
            Self::Rejected(failure) if failure.code == tonic::Code::PermissionDenied => {
                Some(Denied::by(failure.reason.as_ref()))
            }
            _ => None,
        }
    }

    /// The code that logs and documents use for it.
    #[must_use]
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Rejected(_) => Code::StoreRejected,
            Self::Unavailable(_)
            | Self::Timeout
            | Self::OutOfTime
            | Self::NoToken(_)
            | Self::Unauthenticated
            | Self::OutOfBudget(_)
            | Self::Conflict(_) => Code::StoreUnavailable,
        }
    }
}

/// Whether the server said so, by a GOAWAY that names an earlier call as its last one or by refusing the stream, or the
/// connection had ended before the call was sent.
fn was_not_processed(status: &Status) -> bool {
    let refused = |err: &h2::Error| {
        let is_reset = err.is_reset() && err.reason() == Some(h2::Reason::REFUSED_STREAM);
        err.is_remote() && (err.is_go_away() || is_reset)
    };
    std::iter::successors(status.source(), |&err| err.source()).any(|err| {
        err.downcast_ref().is_some_and(refused) || err.downcast_ref().is_some_and(hyper::Error::is_canceled)
    })
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
            Self::Unavailable(_) | Self::Timeout | Self::NoToken(_) | Self::Unauthenticated => {
                Advice::BackOff
            }
            Self::OutOfTime | Self::OutOfBudget(_) | Self::Conflict(_) | Self::Rejected(_) => Advice::GiveUp,
        }
    }
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

    #[tokio::test(start_paused = true)]
    async fn the_jobs_own_time_is_not_firestores() {
        let second = std::time::Duration::from_secs(1);
        let deadline = Deadline::after(second);
        tokio::time::advance(second - std::time::Duration::from_millis(1)).await;
        let (early, text) = (StoreError::late(deadline), "Firestore did not answer in time");
        assert_eq!((early.to_string().as_str(), early.advice()), (text, Advice::BackOff));
        tokio::time::advance(std::time::Duration::from_millis(1)).await;
        let late = StoreError::late(deadline);
        assert!(matches!(late, StoreError::OutOfTime));
        // The same in what others read, and a document of its own may still be worth a commit with time kept for that.
        for err in [early, late] {
            assert_eq!((err.code(), err.may_be_one_documents()), (Code::StoreUnavailable, true), "{err}");
        }
    }

    #[test]
    fn what_was_not_reached_says_so_in_one_line() {
        let err = StoreError::unreachable("tcp connect error");
        assert_eq!(
            crate::telemetry::Chain(&err).to_string(),
            "Firestore could not be reached: tcp connect error"
        );
        assert_eq!((err.code(), err.advice()), (Code::StoreUnavailable, Advice::BackOff));
        assert!(!err.may_be_one_documents());
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
