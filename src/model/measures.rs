//! What is measured of a pass beside its counts, in a form in which tasks can be summed: how long users' ways took, and
//! who has been failing for long.

use crate::model::failing::FailingLong;
use jiff::Timestamp;
use std::time::Duration;

/// What the buckets of [`WayTimes`] reach to, in milliseconds; the last one is open. Those who look at the metrics know
/// them, and sums of tasks need them to be the same in every version that may run beside this one.
pub(crate) const BOUNDS_MS: [u64; 16] =
    [50, 100, 200, 300, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 7_500, 10_000, 15_000, 20_000, 30_000];

/// The open one too.
pub(crate) const BUCKETS: usize = BOUNDS_MS.len() + 1;

/// How long the ways of users took who were synced, by buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WayTimes(pub(crate) [Bucket; BUCKETS]);

/// The users whose ways took about that long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// How many they are.
    pub(crate) users: u64,
    /// How long all of them took together.
    pub(crate) sum_ms: u64,
}

impl WayTimes {
    /// Counts one more.
    pub(crate) fn add(&mut self, took: Duration) {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let bucket = &mut self.0[BOUNDS_MS.partition_point(|bound| *bound < millis)];
        bucket.users += 1;
        bucket.sum_ms = bucket.sum_ms.saturating_add(millis);
    }

    fn add_all(&mut self, more: &Self) {
        for (bucket, more) in self.0.iter_mut().zip(more.0) {
            bucket.users += more.users;
            bucket.sum_ms = bucket.sum_ms.saturating_add(more.sum_ms);
        }
    }

    /// The users of all buckets.
    #[must_use]
    pub(crate) fn users(&self) -> u64 {
        self.0.iter().map(|bucket| bucket.users).sum()
    }
}

/// What is measured of many users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measures {
    /// Of those who were synced.
    pub(crate) way_times: WayTimes,
    /// Of those who failed for a cause of ours.
    pub(crate) failing: FailingLong,
}

/// What is measured of one user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UserMeasures {
    /// How long the way took of one who was synced.
    pub(crate) took: Option<Duration>,
    /// Since when they fail, if that is long, for a cause of ours.
    pub(crate) failing_since: Option<Timestamp>,
}

impl Measures {
    /// Takes in one user more.
    pub(crate) fn add(&mut self, user: UserMeasures) {
        if let Some(took) = user.took {
            self.way_times.add(took);
        }
        if let Some(since) = user.failing_since {
            self.failing.count_since(since);
        }
    }

    /// Takes in those of other users.
    pub(crate) fn add_all(&mut self, more: &Self) {
        self.way_times.add_all(&more.way_times);
        self.failing.add_all(&more.failing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_way_is_in_the_first_bucket_that_reaches_to_it() {
        for (took, bucket) in [
            (Duration::ZERO, 0),
            (Duration::from_micros(50_999), 0),
            (millis(50), 0),
            (millis(51), 1),
            (millis(1_000), 6),
            (millis(30_000), 15),
            (millis(30_001), 16),
            (Duration::MAX, 16),
        ] {
            let mut times = WayTimes::default();
            times.add(took);
            assert_eq!(times.0.map(|bucket| bucket.users).iter().position(|users| *users == 1), Some(bucket));
            assert_eq!(times.users(), 1);
        }
        assert!(BOUNDS_MS.is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn those_of_tasks_add_up() {
        let at = |second| Timestamp::from_second(second).ok();
        let users = [
            UserMeasures { took: Some(millis(40)), failing_since: None },
            UserMeasures { took: Some(millis(45)), failing_since: None },
            UserMeasures { took: None, failing_since: at(7) },
            UserMeasures { took: None, failing_since: at(3) },
            UserMeasures { took: Some(millis(60_000)), failing_since: None },
            UserMeasures::default(),
        ];
        let of = |users: &[UserMeasures]| {
            let mut measures = Measures::default();
            users.iter().for_each(|user| measures.add(*user));
            measures
        };
        for cut in 0..=users.len() {
            let mut sum = of(&users[..cut]);
            sum.add_all(&of(&users[cut..]));
            assert_eq!(sum, of(&users), "{cut}");
        }
        let all = of(&users);
        assert_eq!(all.way_times.0[0], Bucket { users: 2, sum_ms: 85 });
        assert_eq!((all.way_times.users(), all.failing.count, all.failing.first), (3, 2, at(3)));
    }
}
