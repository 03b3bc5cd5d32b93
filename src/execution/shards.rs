//! How the users of an execution are divided among its tasks: ranges of ids, from a sample of those that
//! the execution before has seen.

use crate::model::ids::DocumentId;
use crate::model::selection::{IdRange, Round};
use crate::model::shards::{Sample, Shards};

/// Ids kept by each task, at least; at most twice as many. When one task has seen everybody, the shares of
/// `n` tasks are at most `n` in so many off.
const SAMPLED_IDS: usize = 512;

/// For the sampled ids of all tasks together: they share a document of at most 1 MiB with everything else.
const SAMPLED_BYTES: usize = 700 * 1024;

/// The signs of the ids that Firebase Authentication gives, in Firestore's order.
const USUAL_SIGNS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

impl Shards {
    /// A guess, for want of an execution to learn from: even for random ids of letters and digits.
    #[must_use]
    pub(crate) fn guessed(tasks: usize) -> Self {
        let signs = USUAL_SIGNS.len();
        let split = |task: usize| {
            let place = signs * signs * task / tasks;
            let id = [USUAL_SIGNS[place / signs], USUAL_SIGNS[place % signs]].map(char::from);
            DocumentId::of_existing(&String::from_iter(id))
        };
        Self::sorted((1..tasks).map(split).collect())
    }

    /// Even shares of the users that were sampled, in the order of the tasks that sampled them; `None`
    /// when there are none.
    #[must_use]
    pub(crate) fn even<'a>(tasks: usize, samples: impl IntoIterator<Item = &'a Sample>) -> Option<Self> {
        let mut ranked = Vec::new();
        let mut total = 0;
        for sample in samples {
            let rank =
                |(place, id)| (sample.stride.saturating_mul(place as u64 + 1).saturating_add(total), id);
            // Whoever began in the middle of a share has seen the first of it last.
            let mut ids: Vec<_> = sample.ids.iter().collect();
            ids.sort();
            ranked.extend(ids.into_iter().enumerate().map(rank));
            total += sample.seen;
        }
        ranked.sort_by_key(|(_, id): &(u64, &DocumentId)| *id);
        let split = |task: usize| {
            let wanted = total * task as u64 / tasks as u64;
            ranked.iter().min_by_key(|(rank, _)| rank.abs_diff(wanted)).map(|(_, id)| (*id).clone())
        };
        let splits = (1..tasks).map(split).collect::<Option<Vec<_>>>()?;
        // Samples of executions whose shares overlapped could contradict each other.
        (total > 0).then(|| Self::sorted(splits))
    }

    /// The same shares, each begun where the first of these ranges begins in it.
    #[must_use]
    pub(super) fn beginning_with(self, unreached: &[IdRange]) -> Self {
        let behind = |task| {
            let range = self.range(task)?;
            let first = unreached.iter().map(|ids| range.overlap(ids)).find(|ids| !ids.is_empty())?;
            Some((task, first.after.filter(|id| range.contains(id))?))
        };
        let begins_behind = (0..self.tasks()).filter_map(behind).collect();
        self.beginning_behind(begins_behind)
    }

    /// The users of one task in the order in which it serves them, or nothing if there is no such task.
    #[must_use]
    pub(super) fn round(&self, task: usize) -> Option<Round> {
        Some(Round::around(self.range(task)?, self.begins_behind().get(&task)))
    }

    /// The share of one task, or nothing if there is no such task.
    #[must_use]
    fn range(&self, task: usize) -> Option<IdRange> {
        let splits = self.splits();
        let after = task.checked_sub(1).map(|before| splits.get(before).cloned());
        match after {
            Some(None) => None,
            after => Some(IdRange { after: after.flatten(), until: splits.get(task).cloned() }),
        }
    }
}

impl Sample {
    /// Takes in the next id of one of so many tasks. Memory stays bounded, however many there are: when there are
    /// too many, every other one is dropped.
    pub(crate) fn take(&mut self, id: &DocumentId, tasks: usize) {
        self.seen += 1;
        if !self.seen.is_multiple_of(self.stride) {
            return;
        }
        self.ids.push(id.clone());
        while self.is_too_large(tasks) {
            self.stride *= 2;
            let mut place = 0_u64;
            self.ids.retain(|_| {
                place += 1;
                place.is_multiple_of(2)
            });
        }
    }

    fn is_too_large(&self, tasks: usize) -> bool {
        // Firestore counts a byte more for every text.
        let bytes = self.ids.iter().map(|id| id.as_str().len() + 1).sum::<usize>();
        self.ids.len() > 1 && (self.ids.len() > 2 * SAMPLED_IDS || bytes > SAMPLED_BYTES / tasks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(count: u64, prefix: &str) -> Vec<DocumentId> {
        (0..count).map(|n| DocumentId::parse(&format!("{prefix}{n:09}")).expect("legal")).collect()
    }

    /// What each task sees of these users, who are in order.
    fn shares(shards: &Shards, users: &[DocumentId]) -> Vec<u64> {
        let share = |task| {
            let IdRange { after, until } = shards.range(task).expect("a task");
            let within = |id: &&DocumentId| {
                after.as_ref().is_none_or(|after| *id > after)
                    && until.as_ref().is_none_or(|until| *id <= until)
            };
            users.iter().filter(within).count() as u64
        };
        (0..shards.tasks()).map(share).collect()
    }

    fn sampled(shards: &Shards, users: &[DocumentId]) -> Vec<Sample> {
        let mut left = users.iter();
        let sample = |share| {
            let mut sample = Sample::default();
            left.by_ref().take(share as usize).for_each(|id| sample.take(id, shards.tasks()));
            sample
        };
        shares(shards, users).into_iter().map(sample).collect()
    }

    /// The same with tasks that began in the middle of their shares.
    fn sampled_from_the_middle(shards: &Shards, users: &[DocumentId]) -> Vec<Sample> {
        let mut left = users;
        let sample = |share: u64| {
            let own = left.split_off(..share as usize).expect("as many");
            let (first, last) = own.split_at(own.len() / 3);
            let mut sample = Sample::default();
            last.iter().chain(first).for_each(|id| sample.take(id, shards.tasks()));
            sample
        };
        shares(shards, users).into_iter().map(sample).collect()
    }

    fn assert_even(shards: &Shards, users: &[DocumentId]) {
        let (shares, even) = (shares(shards, users), users.len() as f64 / shards.tasks() as f64);
        assert_eq!(shares.iter().sum::<u64>(), users.len() as u64);
        assert!(shares.iter().all(|share| (*share as f64 - even).abs() <= even * 0.2), "{shares:?}");
    }

    #[test]
    fn after_one_execution_the_shares_are_even_however_the_number_of_tasks_changes() {
        let users = ids(20_000, "customers-of-the-same-broker-");
        for (before, now) in [(1, 4), (4, 4), (4, 7), (7, 1), (50, 3), (3, 50), (50, 50), (1, 100)] {
            let first = Shards::guessed(before);
            let second = Shards::even(now, &sampled(&first, &users)).expect("users were seen");
            assert_even(&second, &users);
            assert_eq!(second.tasks(), now);
            let third = Shards::even(now, &sampled(&second, &users)).expect("users were seen");
            assert_even(&third, &users);
            let third = Shards::even(now, &sampled_from_the_middle(&second, &users));
            assert_even(&third.expect("users were seen"), &users);
        }
    }

    #[test]
    fn a_first_execution_is_even_for_random_ids() {
        let signs = |n: usize| char::from(USUAL_SIGNS[n % 62]);
        let users = (0..62 * 62).map(|n| DocumentId::parse(&format!("{}{}x", signs(n / 62), signs(n))));
        let users: Vec<_> = users.map(|id| id.expect("legal")).collect();
        assert_even(&Shards::guessed(8), &users);
    }

    #[test]
    fn more_tasks_than_users_leave_some_without_any() {
        let users = ids(3, "u");
        let shards = Shards::even(8, &sampled(&Shards::guessed(1), &users)).expect("users were seen");
        assert_eq!(shares(&shards, &users).iter().sum::<u64>(), 3);
        assert_eq!((shards.tasks(), shards.range(8)), (8, None));
    }

    #[test]
    fn nobody_seen_teaches_nothing() {
        assert_eq!(Shards::even(4, &[Sample::default(), Sample::default()]), None);
        assert_eq!(Shards::even(4, &[]), None);
    }

    #[test]
    fn a_sample_stays_small_whatever_the_ids_are() {
        let mut sample = Sample::default();
        for n in 0..10_000 {
            let id = DocumentId::parse(&format!("{n:05}{}", "x".repeat(1_400))).expect("legal");
            sample.take(&id, 4);
        }
        let bytes: usize = sample.ids.iter().map(|id| id.as_str().len()).sum();
        assert!(
            bytes <= SAMPLED_BYTES / 4 && sample.ids.len() > 20,
            "{bytes} bytes, {} ids",
            sample.ids.len()
        );
        assert_eq!(sample.seen, 10_000);
        assert!(sample.ids.len() as u64 == sample.seen / sample.stride);
    }

    proptest! {
        #[test]
        fn every_id_is_in_exactly_one_share(
            mut texts in proptest::collection::vec("[a-zA-Z0-9é_-]{1,6}", 0..200),
            before in 1_usize..9,
            now in 1_usize..9,
            probe in "[a-zA-Z0-9é_-]{1,6}",
        ) {
            texts.sort();
            texts.dedup();
            let users: Vec<_> = texts.iter().filter_map(|text| DocumentId::parse(text).ok()).collect();
            let shards = Shards::even(now, &sampled(&Shards::guessed(before), &users));
            let shards = shards.unwrap_or_else(|| Shards::guessed(now));
            prop_assert_eq!(shards.tasks(), now);
            prop_assert!(shards.splits().is_sorted());
            let probe = DocumentId::parse(&probe);
            if let Ok(probe) = probe {
                prop_assert_eq!(shares(&shards, std::slice::from_ref(&probe)).iter().sum::<u64>(), 1);
            }
        }
    }
}
