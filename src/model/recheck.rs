//! When a user whom Alpaca rejects is asked about again, and when somebody looks whether they have stored other keys.

use crate::model::key_version::KeyVersion;
use crate::model::sync_state::PreviousState;
use jiff::Timestamp;

/// How often the secret of a user who needs re-authentication is rechecked, in seconds.
const RECHECK_EVERY_SECONDS: i64 = 300;

/// What this pulse does for a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recheck {
    /// Fetch the keys and ask Alpaca.
    Ask,
    /// Fetch the keys, and ask Alpaca only if they are others than this rejected version.
    AskUnless(KeyVersion),
    /// Nothing: Alpaca rejected the keys, and neither the next attempt nor the next recheck is due.
    Wait,
}

/// When the secrets of users who need re-authentication are rechecked.
///
/// Every user has a slot of five minutes, shifted by a hash of their id so that not all are rechecked
/// in the same pulse. A pulse rechecks if the user's slot has changed since the pulse before, which
/// needs no write and no memory, however irregular the pulses are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecheckSchedule {
    /// When the pulse before this one started. Without one, everybody is rechecked.
    pub(crate) previous: Option<Timestamp>,
    /// When this pulse started.
    pub(crate) now: Timestamp,
}

impl RecheckSchedule {
    fn is_due(&self, user: &str) -> bool {
        let shift = i64::from(crc32c::crc32c(user.as_bytes())) % RECHECK_EVERY_SECONDS;
        let slot = |time: Timestamp| (time.as_second() + shift).div_euclid(RECHECK_EVERY_SECONDS);
        self.previous.is_none_or(|previous| slot(previous) != slot(self.now))
    }
}

/// What this pulse does for a user of whom that was recorded.
#[must_use]
pub(crate) fn recheck(previous: &PreviousState, user: &str, schedule: &RecheckSchedule) -> Recheck {
    let Some(record) = previous.reauth() else { return Recheck::Ask };
    if record.next_attempt_at.is_none_or(|due| due <= schedule.now) {
        return Recheck::Ask;
    }
    match &record.key_version {
        Some(version) if schedule.is_due(user) => Recheck::AskUnless(version.clone()),
        Some(_) => Recheck::Wait,
        None => Recheck::Ask,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fleet_guard::Guard;
    use crate::model::past::Past;
    use crate::model::sync_state::{State, SyncState, after_rejection};
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
    }

    fn version(number: u32) -> KeyVersion {
        KeyVersion::parse(&number.to_string()).expect("a number")
    }

    /// After that many rejected pulses in a row, one second apart.
    fn rejected(times: i64) -> PreviousState {
        let past = Past { failing_since: at(0), last_success: None };
        (0..times).fold(PreviousState::Clean, |previous, n| {
            let record = after_rejection(&previous, Some(&past), &version(3), Guard::Off, at(n));
            PreviousState::Troubled(record.expect("one more"))
        })
    }

    fn minutely(now: i64) -> RecheckSchedule {
        RecheckSchedule { previous: Some(at(now - 60)), now: at(now) }
    }

    /// A record of rejected keys of version 3, changed.
    fn changed(change: impl FnOnce(&mut SyncState)) -> PreviousState {
        let mut record = rejected(2).record().expect("in trouble").clone();
        change(&mut record);
        PreviousState::Troubled(record)
    }

    #[test]
    fn only_users_who_have_to_reconnect_wait() {
        let waits = |previous: &PreviousState| {
            let schedule = RecheckSchedule { previous: Some(at(2)), now: at(2) };
            recheck(previous, "ana", &schedule) == Recheck::Wait
        };
        assert!(waits(&rejected(2)) && waits(&rejected(5)));
        for previous in [PreviousState::Unknown, PreviousState::Clean, rejected(1)] {
            assert_eq!(recheck(&previous, "ana", &minutely(60)), Recheck::Ask, "{previous:?}");
        }
        for state in [State::Retrying, State::Incomplete, State::Ok] {
            assert!(!waits(&changed(|record| record.state = state)), "{state:?}");
        }
    }

    #[test]
    fn alpaca_is_asked_again_from_the_moment_on_that_it_is_due() {
        let now = RecheckSchedule { previous: Some(at(60)), now: at(60) };
        for (next, expected) in [
            (Some(at(61)), Recheck::Wait),
            (Some(at(60)), Recheck::Ask),
            (Some(at(59)), Recheck::Ask),
            (None, Recheck::Ask),
        ] {
            let previous = changed(|record| record.next_attempt_at = next);
            assert_eq!(recheck(&previous, "ana", &now), expected, "{next:?}");
        }
        let unversioned = changed(|record| record.key_version = None);
        assert_eq!(recheck(&unversioned, "ana", &now), Recheck::Ask, "nothing to compare with");
        let first = RecheckSchedule { previous: None, now: at(60) };
        assert_eq!(recheck(&rejected(2), "ana", &first), Recheck::AskUnless(version(3)));
    }

    #[test]
    fn a_user_is_due_at_the_second_in_which_their_slot_changes() {
        for user in ["ana", "ben", "cy"] {
            let shift = i64::from(crc32c::crc32c(user.as_bytes())) % 300;
            let turn = 300 - (at(0).as_second() + shift) % 300;
            for (second, expected) in [(turn - 1, false), (turn, true), (turn + 1, false), (turn + 300, true)]
            {
                let schedule = RecheckSchedule { previous: Some(at(second - 1)), now: at(second) };
                assert_eq!(schedule.is_due(user), expected, "{user} {second}");
            }
        }
    }

    #[test]
    fn a_fifth_of_all_users_is_due_in_each_minute() {
        let due = (0..1000).filter(|n| minutely(0).is_due(&format!("user{n}"))).count();
        assert!((150..250).contains(&due), "{due} of 1000");
    }

    #[test]
    fn alpaca_is_asked_again_when_due_and_the_secret_rechecked_once_in_five_minutes() {
        let previous = rejected(2);
        let mut rechecks = 0;
        for minute in 1..=20 {
            match recheck(&previous, "ana", &minutely(1 + 60 * minute)) {
                Recheck::Ask => assert!(minute >= 15, "asked after {minute} minutes"),
                Recheck::AskUnless(rejected) => {
                    (rechecks, _) = (rechecks + 1, assert_eq!(rejected, version(3)))
                }
                Recheck::Wait => assert!(minute < 15, "not asked after {minute} minutes"),
            }
        }
        assert!((2..=3).contains(&rechecks), "{rechecks} rechecks in 15 minutes");
    }

    proptest! {
        #[test]
        fn each_user_is_rechecked_exactly_once_in_five_minutes_of_pulses(user in "[a-zA-Z0-9]{1,28}", start in 0_i64..100_000) {
            let pulses = (0..5).map(|n| RecheckSchedule { previous: Some(at(start + 60 * n)), now: at(start + 60 * (n + 1)) });
            prop_assert_eq!(pulses.filter(|pulse| pulse.is_due(&user)).count(), 1);
        }

        #[test]
        fn a_pulse_whose_clock_was_wrong_delays_no_recheck_by_more_than_five_minutes(
            user in "[a-zA-Z0-9]{1,28}", wrong in any::<i32>(), start in 0_i64..100_000,
        ) {
            let now = |n: i64| at(start + 60 * n);
            let wrong = RecheckSchedule { previous: Some(at(i64::from(wrong))), now: now(0) };
            let right = (1..=5).map(|n| RecheckSchedule { previous: Some(now(n - 1)), now: now(n) });
            prop_assert!(std::iter::once(wrong).chain(right).any(|pulse| pulse.is_due(&user)));
        }
    }
}
