//! Which task of an execution has which users, and the ids that the next execution learns that from.

use crate::model::ids::DocumentId;
use std::collections::BTreeMap;

/// The split points of one execution: task 0 has the ids up to and including the first, task 1 those
/// after it up to the second, and so on; the last has the rest. Disjoint, and all ids are in one.
///
/// And where each task begins, if not with the first of its ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shards {
    splits: Vec<DocumentId>,
    begins_behind: BTreeMap<usize, DocumentId>,
}

impl Shards {
    /// Takes split points as they are recorded; `None` if they are in no order.
    #[must_use]
    pub(crate) fn new(splits: Vec<DocumentId>) -> Option<Self> {
        splits.is_sorted().then_some(Self { splits, begins_behind: BTreeMap::new() })
    }

    /// Puts split points in their order.
    #[must_use]
    pub(crate) fn sorted(mut splits: Vec<DocumentId>) -> Self {
        splits.sort();
        Self { splits, begins_behind: BTreeMap::new() }
    }

    /// With tasks, by their index, that begin behind these ids and go round once.
    #[must_use]
    pub(crate) fn beginning_behind(self, begins_behind: BTreeMap<usize, DocumentId>) -> Self {
        Self { begins_behind, ..self }
    }

    /// The number of tasks.
    #[must_use]
    pub(crate) fn tasks(&self) -> usize {
        self.splits.len() + 1
    }

    /// The split points.
    #[must_use]
    pub(crate) fn splits(&self) -> &[DocumentId] {
        &self.splits
    }

    /// The ids behind which tasks begin, of those that do not begin with the first of theirs.
    #[must_use]
    pub(crate) fn begins_behind(&self) -> &BTreeMap<usize, DocumentId> {
        &self.begins_behind
    }
}

/// Every so-manieth of the ids that a task has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Ids seen.
    pub(crate) seen: u64,
    /// One in how many was kept.
    pub(crate) stride: u64,
    /// Those kept, in the order they were seen.
    pub(crate) ids: Vec<DocumentId>,
}

impl Default for Sample {
    fn default() -> Self {
        Self { seen: 0, stride: 1, ids: Vec::new() }
    }
}
