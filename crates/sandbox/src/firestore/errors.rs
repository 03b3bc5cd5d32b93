//! Why a call is refused, in Firestore's status codes.

use std::fmt::Display;
use tonic::Status;

/// The request can never be served as it stands.
pub(super) fn invalid(message: impl Into<String>) -> Status {
    Status::invalid_argument(message)
}

/// `GetDocument` of a document that does not exist.
pub(super) fn document_not_found(name: &str) -> Status {
    Status::not_found(format!("Document \"{name}\" not found."))
}

/// A write that needs its document to exist already.
pub(super) fn nothing_to_update(path: &impl Display) -> Status {
    Status::not_found(format!("No document to update: {path}"))
}

/// A write that needs its document not to exist yet.
pub(super) fn already_exists(path: &impl Display) -> Status {
    Status::already_exists(format!("Document already exists: {path}"))
}

/// A write that needs its document to be of another version.
pub(super) fn version_mismatch(path: &impl Display, stored: i64, required: i64) -> Status {
    Status::failed_precondition(format!(
        "the stored version ({stored}) of {path} does not match the required base version ({required})"
    ))
}

/// A write whose precondition contradicts an earlier write of the same request.
pub(super) fn contradicts_earlier_write(path: &impl Display) -> Status {
    invalid(format!("the precondition on {path} contradicts an earlier write of the same request"))
}

/// A transaction id that was never handed out.
pub(super) fn unknown_transaction() -> Status {
    invalid("Invalid transaction.")
}

/// A transaction that was committed, rolled back or forgotten.
pub(super) fn closed_transaction() -> Status {
    invalid("Transaction is invalid or closed.")
}

/// A transaction that read something which has changed since.
pub(super) fn contention(what: &str) -> Status {
    Status::aborted(format!("The transaction read {what}, which has changed since: try again."))
}

/// A method that the sandbox does not have.
pub(super) fn unknown_method(path: &str) -> Status {
    Status::unimplemented(format!("the sandbox's Firestore has no method \"{path}\""))
}
