//! Rejections of so many users at one of Alpaca's hosts that it is the provider's fault or ours.

use crate::model::keys::Environment;
use crate::model::past::Past;
use jiff::{SignedDuration, Timestamp};

/// Fewer rejected users than that are their own fault, however few there are.
pub(crate) const FEWEST: u64 = 3;

/// One in so many is the users' own fault; more are not.
const ONE_IN: u64 = 5;

/// For so long nobody is marked, as long as others succeed.
const LONGEST_HOLD: SignedDuration = SignedDuration::from_hours(1);

/// What one host said of keys that it had taken before, or takes now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AtHost {
    /// Users whose keys it took.
    pub(crate) accepted: u64,
    /// Users whose keys it took before, and rejected.
    pub(crate) rejected: u64,
}

impl AtHost {
    /// All of them.
    #[must_use]
    pub(crate) fn users(self) -> u64 {
        self.accepted + self.rejected
    }

    /// Whether so many rejections at once are no single user's fault.
    #[must_use]
    pub(crate) fn is_fleet_wide(self) -> bool {
        self.rejected >= FEWEST && self.rejected * ONE_IN > self.users()
    }

    /// What follows for a user whose keys it took before and rejects now. What cannot be known of them yet
    /// (`None`) makes nobody reconnect.
    #[must_use]
    pub(crate) fn guard(self, past: Option<&Past>, now: Timestamp) -> Guard {
        let is_long = past.is_some_and(|past| now.duration_since(past.failing_since) >= LONGEST_HOLD);
        match self.is_fleet_wide() {
            false => Guard::Off,
            true if is_long && self.accepted > 0 => Guard::Over,
            true => Guard::Holds,
        }
    }
}

/// Whether a rejection may make its user reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// It counts.
    Off,
    /// Too many are rejected at once: it does not count.
    Holds,
    /// They still are, but the others have succeeded for so long meanwhile that it is the user's own.
    Over,
}

/// The same for each of Alpaca's hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rejections {
    paper: AtHost,
    live: AtHost,
}

impl Rejections {
    /// The hosts, by the environment of their accounts.
    pub(crate) const HOSTS: [Environment; 2] = [Environment::Paper, Environment::Live];

    /// One user whose keys the host took.
    #[must_use]
    pub(crate) fn accepted_at(host: Environment) -> Self {
        let mut one = Self::default();
        one.at_mut(host).accepted = 1;
        one
    }

    /// One user whose keys the host took before, and rejected.
    #[must_use]
    pub(crate) fn rejected_at(host: Environment) -> Self {
        let mut one = Self::default();
        one.at_mut(host).rejected = 1;
        one
    }

    /// Those of one host.
    #[must_use]
    pub(crate) fn at(&self, host: Environment) -> AtHost {
        match host {
            Environment::Paper => self.paper,
            Environment::Live => self.live,
        }
    }

    /// The same, to be changed.
    pub(crate) fn at_mut(&mut self, host: Environment) -> &mut AtHost {
        match host {
            Environment::Paper => &mut self.paper,
            Environment::Live => &mut self.live,
        }
    }

    /// The hosts where too many were rejected at once.
    pub(crate) fn fleet_wide(&self) -> impl Iterator<Item = (Environment, AtHost)> {
        let of = *self;
        Self::HOSTS.into_iter().map(move |host| (host, of.at(host))).filter(|(_, at)| at.is_fleet_wide())
    }
}

impl std::ops::AddAssign for Rejections {
    fn add_assign(&mut self, more: Self) {
        for host in Self::HOSTS {
            let at = self.at_mut(host);
            at.accepted += more.at(host).accepted;
            at.rejected += more.at(host).rejected;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + 60 * minute).expect("in range")
    }

    fn failing_since(minute: i64) -> Past {
        Past { failing_since: at(minute), last_success: None }
    }

    #[test]
    fn it_takes_three_and_more_than_a_fifth() {
        for (rejected, accepted, expected) in [
            (0, 0, false),
            (2, 0, false),
            (3, 0, true),
            (3, 11, true),
            (3, 12, false),
            (5, 19, true),
            (5, 20, false),
            (20, 80, false),
            (21, 79, true),
        ] {
            let host = AtHost { accepted, rejected };
            assert_eq!(host.is_fleet_wide(), expected, "{rejected} of {rejected} + {accepted}");
        }
    }

    #[test]
    fn it_holds_for_an_hour_while_others_succeed_and_longer_while_nobody_does() {
        let (trips, nobody_succeeds) =
            (AtHost { accepted: 1, rejected: 3 }, AtHost { accepted: 0, rejected: 3 });
        let few = AtHost { accepted: 1, rejected: 2 };
        for (host, since, expected) in [
            (few, Some(0), Guard::Off),
            (few, Some(600), Guard::Off),
            (trips, Some(600), Guard::Holds),
            (trips, Some(541), Guard::Holds),
            (trips, Some(540), Guard::Over),
            (trips, Some(-9_999), Guard::Over),
            (trips, Some(9_999), Guard::Holds),
            (trips, None, Guard::Holds),
            (nobody_succeeds, Some(0), Guard::Holds),
        ] {
            let past = since.map(failing_since);
            assert_eq!(host.guard(past.as_ref(), at(600)), expected, "{host:?} since {since:?}");
        }
    }

    #[test]
    fn the_hosts_are_counted_apart() {
        let mut rejections = Rejections::default();
        for _ in 0..3 {
            rejections += Rejections::rejected_at(Environment::Live);
            rejections += Rejections::accepted_at(Environment::Paper);
        }
        let live = AtHost { accepted: 0, rejected: 3 };
        assert_eq!(rejections.fleet_wide().collect::<Vec<_>>(), [(Environment::Live, live)]);
        assert_eq!(rejections.at(Environment::Paper), AtHost { accepted: 3, rejected: 0 });
    }

    proptest! {
        #[test]
        fn more_who_are_accepted_never_trip_it(
            accepted in 0..99_u64, rejected in 0..99_u64, more in 0..99_u64,
        ) {
            let before = AtHost { accepted, rejected };
            let after = AtHost { accepted: accepted + more, rejected };
            prop_assert!(before.is_fleet_wide() || !after.is_fleet_wide());
        }
    }
}
