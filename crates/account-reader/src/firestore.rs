//! Reads snapshots and proposes signals with the client of the crate `firestore`, which is named here as
//! [`FirestoreDb`]. Only with the feature `firestore`.
//!
//! [`Signals`] judges by Firestore's clock; what [`Accounts`] reads is judged by whichever its caller has. The client's service account needs `roles/datastore.viewer` for
//! [`Accounts`] and `roles/datastore.user` for [`Signals`].

mod convert;
mod error;
mod pace;
mod read;
mod signals;

pub use self::error::Error;
pub use self::read::Accounts;
pub use self::signals::Signals;
pub use ::firestore::{FirestoreDb, FirestoreDbOptions, errors::FirestoreError};
