//! Whether a pass asks Alpaca about a user who is in trouble, looks at the secret (every 5 min), or leaves both alone.
//! How long rejected keys rest is in `sync_state`.

use crate::model::key_version::KeyVersion;
use crate::model::outcome::Code;
use crate::model::sync_state::{PreviousState, State, SyncState};
use crate::model::user::User;
use jiff::{SignedDuration, Timestamp};

/// How often the secret of a user who needs re-authentication, or has had no keys for long, is rechecked, in seconds.
const RECHECK_EVERY_SECONDS: i64 = 300;

/// So long after they sign up, or after their keys are said to have changed, missing keys are looked for in every
/// pulse: whoever waits for that is sitting in front of it.
const LOOKED_FOR_IN_EVERY_PULSE: SignedDuration = SignedDuration::from_hours(1);

/// What this pulse does for a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recheck {
    /// Fetch the keys and ask Alpaca.
    Ask,
    /// Fetch the keys, and ask Alpaca only if they are others than this rejected version.
    AskUnless(KeyVersion),
    /// Nothing: Alpaca rejected the keys, and neither the next attempt nor the next recheck is due.
    Wait,
    /// Nothing: there have been no keys for long, and the next look for some is not due.
    WaitForKeys,
}

/// When the secrets of users who need re-authentication, or have had no keys for long, are rechecked.
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
pub(crate) fn recheck(previous: &PreviousState, user: &User, schedule: &RecheckSchedule) -> Recheck {
    let is_due = || schedule.is_due(user.id.as_str());
    let record = match previous.record() {
        Some(record) if record.state == State::NeedsReauth => record,
        Some(record) if rests(record, user.keys_updated_at, schedule.now) && !is_due() => {
            return Recheck::WaitForKeys;
        }
        Some(_) | None => return Recheck::Ask,
    };
    if record.next_attempt_at.is_none_or(|due| due <= schedule.now) {
        return Recheck::Ask;
    }
    match &record.key_version {
        Some(version) if is_due() => Recheck::AskUnless(version.clone()),
        Some(_) => Recheck::Wait,
        None => Recheck::Ask,
    }
}

/// Whether missing keys are not looked for in every pulse any more. With rights per secret, one that a user never made
/// looks like one that is forbidden.
fn rests(record: &SyncState, keys_updated_at: Option<Timestamp>, now: Timestamp) -> bool {
    let is_missing = match record.error {
        Some(Code::KeysMissing) => true,
        Some(Code::KeysForbidden) => record.last_success.is_none(),
        _ => false,
    };
    let is_long_ago = |time: Timestamp| now.duration_since(time) > LOOKED_FOR_IN_EVERY_PULSE;
    // A time in the future is none.
    let changed = keys_updated_at.filter(|changed| *changed <= now);
    is_missing && record.failing_since.is_some_and(is_long_ago) && changed.is_none_or(is_long_ago)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fleet_guard::Guard;
    use crate::model::ids::DocumentId;
    use crate::model::past::{LastSuccess, Past};
    use crate::model::sync_state::{after_failure, after_rejection};
    use crate::model::user::{Switch, TenantClaim};
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
    }

    fn user(id: &str) -> User {
        let id = DocumentId::parse(id).expect("legal");
        User { id, tenant: TenantClaim::Own, sync: Switch::On, keys_updated_at: None, created_at: None }
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
            recheck(previous, &user("ana"), &schedule) == Recheck::Wait
        };
        assert!(waits(&rejected(2)) && waits(&rejected(5)));
        for previous in [PreviousState::Unknown, PreviousState::Clean, rejected(1)] {
            assert_eq!(recheck(&previous, &user("ana"), &minutely(60)), Recheck::Ask, "{previous:?}");
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
            assert_eq!(recheck(&previous, &user("ana"), &now), expected, "{next:?}");
        }
        let unversioned = changed(|record| record.key_version = None);
        assert_eq!(recheck(&unversioned, &user("ana"), &now), Recheck::Ask, "nothing to compare with");
        let first = RecheckSchedule { previous: None, now: at(60) };
        assert_eq!(recheck(&rejected(2), &user("ana"), &first), Recheck::AskUnless(version(3)));
    }

    /// A user who fails with that code since so many minutes ago, and whether they ever synced.
    fn without_keys(code: Code, minutes_ago: i64, ever_synced: bool) -> PreviousState {
        let last_success = ever_synced.then(|| LastSuccess { at: at(-9_000_000), key_version: None });
        let past = Past { failing_since: at(-60 * minutes_ago), last_success };
        let record = after_failure(&PreviousState::Clean, Some(&past), code, None, past.failing_since);
        PreviousState::Troubled(record.expect("news"))
    }

    #[test]
    fn missing_keys_rest_once_they_are_missing_and_unchanged_for_over_an_hour() {
        use Code::{BrokerUnavailable, KeysDisabled, KeysForbidden, KeysMalformed, KeysMissing};
        for (code, minutes_ago, ever_synced, changed, rests) in [
            (KeysMissing, 61, false, None, true),
            (KeysMissing, 61, true, None, true),
            (KeysMissing, 60, false, None, false),
            (KeysMissing, 0, false, None, false),
            (KeysMissing, 61, false, Some(61), true),
            (KeysMissing, 61, false, Some(60), false),
            (KeysMissing, 9_999, false, Some(0), false),
            // In the future: that is no time.
            (KeysMissing, 61, false, Some(-1), true),
            (KeysMissing, 59, false, Some(61), false),
            (KeysForbidden, 61, false, None, true),
            (KeysForbidden, 61, true, None, false),
            (KeysDisabled, 9_999, false, None, false),
            (KeysMalformed, 9_999, false, None, false),
            (BrokerUnavailable, 9_999, false, None, false),
        ] {
            let previous = without_keys(code, minutes_ago, ever_synced);
            let user = User { keys_updated_at: changed.map(|minutes: i64| at(-60 * minutes)), ..user("ana") };
            let case = format!("{code} {minutes_ago} {ever_synced} {changed:?}");
            let not_due = RecheckSchedule { previous: Some(at(0)), now: at(0) };
            let expected = if rests { Recheck::WaitForKeys } else { Recheck::Ask };
            assert_eq!(recheck(&previous, &user, &not_due), expected, "{case}");
            let due = RecheckSchedule { previous: None, now: at(0) };
            assert_eq!(recheck(&previous, &user, &due), Recheck::Ask, "{case}");
        }
    }

    #[test]
    fn nobody_rests_of_whom_it_is_not_known_since_when_they_fail() {
        let PreviousState::Troubled(record) = without_keys(Code::KeysMissing, 61, false) else { panic!() };
        let unfinished = PreviousState::Troubled(SyncState { failing_since: None, ..record });
        let not_due = RecheckSchedule { previous: Some(at(0)), now: at(0) };
        assert_eq!(recheck(&unfinished, &user("ana"), &not_due), Recheck::Ask);
    }

    #[test]
    fn resting_keys_are_looked_for_once_in_five_minutes() {
        let previous = without_keys(Code::KeysMissing, 61, false);
        let looks = (1..=20).filter(|n| recheck(&previous, &user("ana"), &minutely(60 * n)) == Recheck::Ask);
        assert_eq!(looks.count(), 4);
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
            match recheck(&previous, &user("ana"), &minutely(1 + 60 * minute)) {
                Recheck::Ask => assert!(minute >= 15, "asked after {minute} minutes"),
                Recheck::AskUnless(rejected) => {
                    (rechecks, _) = (rechecks + 1, assert_eq!(rejected, version(3)))
                }
                Recheck::Wait => assert!(minute < 15, "not asked after {minute} minutes"),
                Recheck::WaitForKeys => panic!("there are keys"),
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
