//! Who takes part in a pass.

use crate::model::ids::DocumentId;

/// Who takes part in a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All users of a range.
    Range(IdRange),
    /// These, named by a person.
    Named(Vec<DocumentId>),
}

/// A range of user ids in Firestore's order (by their UTF-8 bytes): one task's share of all users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdRange {
    /// Only ids after this one.
    pub(crate) after: Option<DocumentId>,
    /// Only ids up to and including this one.
    pub(crate) until: Option<DocumentId>,
}

impl IdRange {
    /// Whether no id can be in it.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        matches!((&self.after, &self.until), (Some(after), Some(until)) if after >= until)
    }
}
