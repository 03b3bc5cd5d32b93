//! How far a task has come: the users behind its cursor are all finished, however the order in which they
//! ended.

use crate::model::fleet_guard::Rejections;
use crate::model::ids::DocumentId;
use crate::model::ledger::Finished;
use crate::model::measures::{Measures, UserMeasures};
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
    /// For the metrics; nothing of a user who has another turn.
    pub(crate) measures: UserMeasures,
}

/// What counts of them, and is only known once snapshots are read at the end of the pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Late {
    /// For the fleet guard.
    pub(crate) rejections: Rejections,
    /// Failing users whose figures turned out to be too old for their readers.
    pub(crate) stale: u64,
    /// Failing users who turned out to have failed for long.
    pub(crate) measures: Measures,
}

impl Finished {
    fn count(&mut self, result: UserResult) {
        self.counts.add(result.outcome);
        self.counts.add_blame(result.blame);
        self.rejections += result.rejections;
        self.measures.add(result.measures);
    }

    /// Counts that too, when everybody is finished.
    pub(crate) fn add_late(&mut self, late: &Late) {
        self.rejections += late.rejections;
        self.counts.stale += late.stale;
        self.measures.add_all(&late.measures);
    }
}

/// A user's place among those that were begun, in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u64);

/// The users that were begun and not yet passed by the cursor, in the order of the round.
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
        if let Some(end) = self.begun_at(slot) {
            *end = Some(result);
        }
        while let Some((user, Some(result))) = self.begun.pop_front_if(|(_, end)| end.is_some()) {
            self.first += 1;
            self.finished.count(result);
            if let Some(user) = user {
                self.finished.sample.take(&user, self.tasks);
                self.finished.cursor = Some(user);
            }
        }
    }

    /// A user who was counted like that for now has ended so, in another turn.
    pub(crate) fn revise(&mut self, slot: Slot, counted: UserResult, result: UserResult) {
        match self.begun_at(slot) {
            Some(end) => *end = Some(result),
            None => {
                self.finished.counts.take_back(counted.outcome, counted.blame);
                self.finished.count(result);
            }
        }
    }

    fn begun_at(&mut self, slot: Slot) -> Option<&mut Option<UserResult>> {
        let n = usize::try_from(slot.0.checked_sub(self.first)?).ok()?;
        self.begun.get_mut(n).map(|(_, end)| end)
    }

    /// Syncs that have begun and not ended.
    #[must_use]
    pub(crate) fn in_flight(&self) -> u64 {
        self.begun.iter().filter(|(_, end)| end.is_none()).count() as u64
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
    use crate::model::outcome::Code;
    use proptest::prelude::*;
    use std::time::Duration;

    fn id(n: usize) -> DocumentId {
        DocumentId::parse(&format!("user-{n:04}")).expect("legal")
    }

    fn took(millis: u64) -> UserMeasures {
        UserMeasures { took: Some(Duration::from_millis(millis)), failing_since: None }
    }

    fn synced() -> UserResult {
        let rejections = Rejections::accepted_at(Environment::Paper);
        UserResult { outcome: Outcome::Synced, blame: Blame::default(), rejections, measures: took(40) }
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

    #[test]
    fn who_has_another_turn_is_counted_once_wherever_the_cursor_is() {
        let outcome = Outcome::Failed(Code::BrokerUnavailable);
        let blame = Blame { is_ours: true, is_stale: true };
        let for_now = UserResult {
            outcome,
            blame,
            rejections: Rejections::default(),
            measures: UserMeasures::default(),
        };
        for is_behind in [true, false] {
            let mut progress = Progress::resume(Finished::default(), 1);
            let slots = [0, 1].map(|n| progress.begin(Some(id(n))));
            progress.end(slots[1], for_now);
            if is_behind {
                progress.end(slots[0], synced());
            }
            progress.revise(slots[1], for_now, synced());
            progress.end(slots[0], synced());
            let Finished { counts, rejections, sample, measures, .. } = progress.finished();
            assert_eq!(measures.way_times.users(), 2);
            assert_eq!(
                (counts.success, counts.users(), counts.ours, counts.stale),
                (2, 2, 0, 0),
                "{is_behind}"
            );
            assert!(counts.errors.is_empty());
            assert_eq!((rejections.at(Environment::Paper).accepted, sample.seen), (2, 2));
        }
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
            prop_assert_eq!(progress.in_flight(), 60 - stop as u64);
            let behind = (0..60).take_while(|n| ended.contains(n)).count();
            let Finished { cursor, counts, rejections, sample, measures } = progress.finished();
            prop_assert_eq!(cursor.clone(), behind.checked_sub(1).map(id));
            let accepted = rejections.at(Environment::Paper).accepted;
            let counted = [counts.users(), accepted, sample.seen, measures.way_times.users()];
            prop_assert_eq!(counted, [behind as u64; 4]);
        }
    }
}
