//! A document as it is stored: Firestore's own values, kept exactly.

use crate::firestore::values::Fields;
use gcloud_sdk::google::firestore::v1::Document;
use jiff::Timestamp;

/// A document.
#[derive(Clone, PartialEq)]
pub(crate) struct Stored {
    /// Below the database's root.
    pub(crate) path: String,
    /// Its values.
    pub(crate) fields: Fields,
    /// When it was written last.
    pub(crate) updated_at: Timestamp,
}

impl std::fmt::Debug for Stored {
    /// Without its values, which may be keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored")
            .field("path", &self.path)
            .field("updated_at", &self.updated_at)
            .finish_non_exhaustive()
    }
}

impl Stored {
    /// What Firestore sent; nothing if it is no whole document.
    #[must_use]
    pub(crate) fn of(document: Document) -> Option<Self> {
        let time = document.update_time?;
        Some(Self {
            path: document.name.split_once("/documents/")?.1.to_owned(),
            fields: document.fields,
            updated_at: Timestamp::new(time.seconds, time.nanos).ok()?,
        })
    }
}
