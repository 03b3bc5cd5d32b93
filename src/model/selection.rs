//! Which users a pass is about, before any of them is read.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_empty_where_it_ends_before_it_begins() {
        for (after, until, expected) in [
            (None, None, false),
            (Some("a"), None, false),
            (None, Some("a"), false),
            (Some("a"), Some("b"), false),
            (Some("a"), Some("a"), true),
            (Some("b"), Some("a"), true),
            (Some("__id10__"), Some("__id9__"), true),
            (Some("__id9__"), Some("__id10__"), false),
        ] {
            let id = |id: &str| DocumentId::of_existing(id);
            let range = IdRange { after: after.map(id), until: until.map(id) };
            assert_eq!(range.is_empty(), expected, "{range:?}");
        }
    }
}
