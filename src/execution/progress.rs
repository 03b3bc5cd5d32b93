//! How far a task has come: the users behind its cursor are all finished, however the order in which they
//! ended.

use crate::model::fleet_guard::Rejections;
use crate::model::ids::DocumentId;
use crate::model::ledger::Finished;
use crate::model::outcome::{Blame, Outcome};
use std::collections::VecDeque;

/// What counts of how one user's sync ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UserResult {
    /// What became of the user.
    pub(crate) outcome: Outcome,
    /// Whose cause that is.
    pub(crate) blame: Blame,
    /// One or none of each.
    pub(crate) rejections: Rejections,
}

/// What counts of them, and is only known once snapshots are read at the end of the pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Late {
    /// For the fleet guard.
    pub(crate) rejections: Rejections,
    /// Failing users whose figures turned out to be too old for their readers.
    pub(crate) stale: u64,
}

impl Finished {
    /// Counts that too, when everybody is finished.
    pub(crate) fn add_late(&mut self, late: &Late) {
        self.rejections += late.rejections;
        self.counts.stale += late.stale;
    }
}

/// A user's place among those that were begun, in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u64);

/// The users that were begun and not yet passed by the cursor, in the order of the lap.
#[derive(Debug)]
pub(crate) struct Progress {
    finished: Finished,
    tasks: usize,
    begun: VecDeque<(Option<DocumentId>, Option<UserResult>)>,
    /// The slot of the first of them.
    first: u64,
}

impl Progress {
    /// Goes on from there, as one of so many tasks.
    #[must_use]
    pub(crate) fn resume(finished: Finished, tasks: usize) -> Self {
        Self { finished, tasks, begun: VecDeque::new(), first: 0 }
    }

    /// A sync begins: of a user, who comes after all those before, or of the legacy account, which has
    /// no id.
    pub(crate) fn begin(&mut self, user: Option<DocumentId>) -> Slot {
        self.begun.push_back((user, None));
        Slot(self.first + self.begun.len() as u64 - 1)
    }

    /// It ends; the cursor moves when nobody before them is left.
    pub(crate) fn end(&mut self, slot: Slot, result: UserResult) {
        let begun = slot.0.checked_sub(self.first).and_then(|n| usize::try_from(n).ok());
        if let Some((_, end)) = begun.and_then(|n| self.begun.get_mut(n)) {
            *end = Some(result);
        }
        while let Some((user, Some(result))) = self.begun.pop_front_if(|(_, end)| end.is_some()) {
            self.first += 1;
            self.finished.counts.add(result.outcome);
            self.finished.counts.add_blame(result.blame);
            self.finished.rejections += result.rejections;
            if let Some(user) = user {
                self.finished.sample.take(&user, self.tasks);
                self.finished.cursor = Some(user);
            }
        }
    }

    /// What may be saved: nothing that is not finished is behind it.
    #[must_use]
    pub(crate) fn finished(&self) -> &Finished {
        &self.finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::keys::Environment;
    use proptest::prelude::*;

    fn id(n: usize) -> DocumentId {
        DocumentId::parse(&format!("user-{n:04}")).expect("legal")
    }

    fn synced() -> UserResult {
        let rejections = Rejections::accepted_at(Environment::Paper);
        UserResult { outcome: Outcome::Synced, blame: Blame::default(), rejections }
    }

    #[test]
    fn the_cursor_waits_for_the_slowest() {
        let mut progress = Progress::resume(Finished::default(), 1);
        let slots = [0, 1, 2].map(|n| progress.begin(Some(id(n))));
        progress.end(slots[1], synced());
        progress.end(slots[2], synced());
        assert_eq!(progress.finished(), &Finished::default());
        progress.end(slots[0], synced());
        assert_eq!((&progress.finished().cursor, progress.finished().counts.success), (&Some(id(2)), 3));
    }

    #[test]
    fn the_counts_go_on_from_those_before() {
        let before = Finished { cursor: Some(id(7)), ..Finished::default() };
        let mut progress = Progress::resume(before, 1);
        let legacy = progress.begin(None);
        progress.end(legacy, synced());
        assert_eq!((&progress.finished().cursor, progress.finished().counts.success), (&Some(id(7)), 1));
        assert_eq!(progress.finished().sample.seen, 0, "the legacy account is in nobody's range");
    }

    proptest! {
        #[test]
        fn everybody_behind_the_cursor_is_finished_and_nobody_is_counted_twice(
            order in Just((0..60_usize).collect::<Vec<_>>()).prop_shuffle(),
            stop in 0..60_usize,
        ) {
            let mut progress = Progress::resume(Finished::default(), 1);
            let slots: Vec<_> = (0..60).map(|n| progress.begin(Some(id(n)))).collect();
            let ended = &order[..stop];
            ended.iter().for_each(|n| progress.end(slots[*n], synced()));
            let behind = (0..60).take_while(|n| ended.contains(n)).count();
            let Finished { cursor, counts, rejections, sample } = progress.finished();
            prop_assert_eq!(cursor.clone(), behind.checked_sub(1).map(id));
            let accepted = rejections.at(Environment::Paper).accepted;
            prop_assert_eq!((counts.users(), accepted, sample.seen), (behind as u64, behind as u64, behind as u64));
        }
    }
}
