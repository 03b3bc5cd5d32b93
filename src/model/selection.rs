//! Which users a pass is about, before any of them is read.

use crate::model::ids::DocumentId;

/// Who takes part in a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All users of a round.
    Round(Round),
    /// These, named by a person.
    Named(Vec<DocumentId>),
}

impl Selection {
    /// Whether the cursor has passed that user, who is one of these.
    #[must_use]
    pub(crate) fn has_passed(&self, cursor: &DocumentId, user: &DocumentId) -> bool {
        match self {
            Self::Round(round) => round.place(cursor).is_some_and(|passed| round.place(user) <= Some(passed)),
            Self::Named(users) => {
                let place = |id| users.iter().position(|named| named == id);
                place(cursor).is_some_and(|passed| place(user) <= Some(passed))
            }
        }
    }
}

/// One task's users, in the order in which they are served: one range after the other, nobody in two. All of its share
/// is a round that may begin in the middle of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Round(Vec<IdRange>);

impl Default for Round {
    /// Everybody, in the order of their ids.
    fn default() -> Self {
        Self(vec![IdRange::default()])
    }
}

impl Round {
    /// Once round that range, from behind that id, if it is in it.
    #[must_use]
    pub(crate) fn around(range: IdRange, behind: Option<&DocumentId>) -> Self {
        let Some(behind) = behind.filter(|id| range.contains(id)) else { return Self::of([range]) };
        let IdRange { after, until } = range;
        let first = IdRange { after: Some(behind.clone()), until };
        Self::of([first, IdRange { after, until: Some(behind.clone()) }])
    }

    /// What comes after that user; all of it without one, or when the user is not in it.
    #[must_use]
    pub(crate) fn rest(&self, last: Option<&DocumentId>) -> Self {
        let Some((place, last)) = last.and_then(|last| self.place(last)) else { return self.clone() };
        let mut rest = self.0[place..].to_vec();
        if let Some(range) = rest.first_mut() {
            range.after = Some(last.clone());
        }
        Self::of(rest)
    }

    /// Where in it an id comes, if it is in it.
    fn place<'a>(&self, id: &'a DocumentId) -> Option<(usize, &'a DocumentId)> {
        Some((self.0.iter().position(|range| range.contains(id))?, id))
    }

    /// Whether every id there can be is in it.
    #[must_use]
    pub(crate) fn has_everybody(&self) -> bool {
        match self.0.as_slice() {
            [all] => *all == IdRange::default(),
            [first, second] => first.until.is_none() && second.after.is_none() && first.after == second.until,
            _ => false,
        }
    }

    fn of(ranges: impl IntoIterator<Item = IdRange>) -> Self {
        Self(ranges.into_iter().filter(|range| !range.is_empty()).collect())
    }

    /// Its ranges, none of them empty.
    #[must_use]
    pub(crate) fn ranges(&self) -> &[IdRange] {
        &self.0
    }
}

/// A range of user ids in Firestore's order (by their UTF-8 bytes).
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

    /// Whether the id is in it.
    #[must_use]
    pub(crate) fn contains(&self, id: &DocumentId) -> bool {
        self.after.as_ref().is_none_or(|after| id > after)
            && self.until.as_ref().is_none_or(|until| id <= until)
    }

    /// The ids in both; they may be none.
    #[must_use]
    pub(crate) fn overlap(&self, other: &Self) -> Self {
        let until = match (&self.until, &other.until) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.as_ref().or(other.as_ref()),
        };
        Self { after: self.after.as_ref().max(other.after.as_ref()).cloned(), until: until.cloned() }
    }
}

#[cfg(test)]
mod tests;
