//! Users who have been failing for long, for a cause of ours.

use crate::model::outcome::Blame;
use crate::model::past::Past;
use jiff::{SignedDuration, Timestamp};

/// Since then readers call their figures stale.
const LONG: SignedDuration = SignedDuration::from_mins(5);

/// How many they are, and since when the first of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FailingLong {
    pub(crate) count: u64,
    pub(crate) first: Option<Timestamp>,
}

impl FailingLong {
    /// Takes in a user who failed at `now`, with what is known of how it began. Since when, if that is long.
    pub(crate) fn add(&mut self, blame: Blame, past: Option<&Past>, now: Timestamp) -> Option<Timestamp> {
        let since = past.filter(|_| blame.is_ours).map(|past| past.failing_since);
        let since = since.filter(|since| now.duration_since(*since) >= LONG);
        since.inspect(|since| self.count_since(*since))
    }

    /// Counts one more, who has been failing for long.
    pub(crate) fn count_since(&mut self, since: Timestamp) {
        self.add_all(&Self { count: 1, first: Some(since) });
    }

    /// Counts all of those more.
    pub(crate) fn add_all(&mut self, more: &Self) {
        self.count += more.count;
        self.first = self.first.into_iter().chain(more.first).min();
    }

    /// For how long the first of them.
    #[must_use]
    pub(crate) fn longest(&self, now: Timestamp) -> SignedDuration {
        self.first.map_or(SignedDuration::ZERO, |first| now.duration_since(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_fails_for_long_for_a_cause_of_ours_is_one() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let ours = Blame { is_ours: true, is_stale: false };
        let mut failing = FailingLong::default();
        for (blame, since, count) in [
            (ours, None, 0),
            (ours, Some(701), 0),
            (ours, Some(700), 1),
            (Blame::default(), Some(0), 1),
            (ours, Some(400), 2),
            (ours, Some(600), 3),
        ] {
            let past = since.map(|since| Past { failing_since: at(since), last_success: None });
            failing.add(blame, past.as_ref(), at(1000));
            assert_eq!(failing.count, count, "{since:?}");
        }
        assert_eq!(failing.longest(at(1000)), SignedDuration::from_secs(600));
        assert_eq!(FailingLong::default().longest(at(1000)), SignedDuration::ZERO);
    }
}
