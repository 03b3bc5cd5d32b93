//! What can go wrong with Firestore.

use crate::documents::InvalidId;
use ::firestore::errors::FirestoreError;

/// Why nothing can be said. It is never the same as a document that is not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A user's or tenant's id or a key would name another document. No request was sent.
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
    /// Others changed the same user's documents each time that this proposal was tried, until 30 s after the call. Nothing
    /// was recorded; propose again, under the same key.
    #[error("others changed the same documents each time")]
    Contended(#[source] FirestoreError),
    /// Firestore refused or did not answer, within 10 s for each request. A proposal may have been recorded all the
    /// same: propose again, under the same key, and it is the same signal.
    #[error("Firestore did not answer")]
    Firestore(#[source] FirestoreError),
}

impl From<FirestoreError> for Error {
    /// Firestore says `ABORTED` where a transaction has to give way, of reads as well as of the commit.
    fn from(error: FirestoreError) -> Self {
        match &error {
            FirestoreError::DatabaseError(database) if database.public.code == "Aborted" => {
                Self::Contended(error)
            }
            _ => Self::Firestore(error),
        }
    }
}
