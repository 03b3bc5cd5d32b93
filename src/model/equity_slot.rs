//! The slots of the equity history: in each of them one entry is kept of what a user's account is worth.

use crate::model::recheck::RecheckSchedule;
use crate::model::sync_state::PreviousState;
use account_reader::time::iso;
use jiff::Timestamp;
use std::time::Duration;

/// Digits of a year, a month, a day, an hour and a minute.
const DIGITS_TO_THE_MINUTE: usize = 12;

/// How long the slots are: one, two or three minutes. Longer ones would not leave three entries in ten minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EquitySlots {
    minutes: i64,
}

impl EquitySlots {
    /// Slots of that length, if there are such.
    #[must_use]
    pub(crate) fn of(length: Duration) -> Option<Self> {
        (1..=3)
            .find(|minutes| Duration::from_mins(*minutes) == length)
            .map(|minutes| Self { minutes: minutes as i64 })
    }

    /// The slot that a pass is in.
    #[must_use]
    pub(crate) fn of_pass(self, schedule: &RecheckSchedule) -> EquitySlot {
        let begin = |time: Timestamp| time.as_second().div_euclid(60 * self.minutes) * 60 * self.minutes;
        let is_new = schedule.previous.is_none_or(|previous| begin(previous) != begin(schedule.now));
        EquitySlot { begin: Timestamp::from_second(begin(schedule.now)).unwrap_or(schedule.now), is_new }
    }
}

/// The slot that a pass is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EquitySlot {
    begin: Timestamp,
    /// Whether the pass before was in another.
    is_new: bool,
}

impl EquitySlot {
    /// Whether a user of whom that was recorded has no entry in it yet, as far as can be told without looking: the pass
    /// before was in another slot, or brought no figures of theirs.
    #[must_use]
    pub(crate) fn lacks(self, previous: &PreviousState) -> bool {
        self.is_new || matches!(previous, PreviousState::Troubled(_))
    }

    /// The minute in which it begins, `202601051430`: the id of its entry.
    #[must_use]
    pub(crate) fn id(self) -> String {
        iso(self.begin).chars().filter(char::is_ascii_digit).take(DIGITS_TO_THE_MINUTE).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sync_state::{State, SyncState};
    use jiff::SignedDuration;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn slots(minutes: u64) -> EquitySlots {
        EquitySlots::of(Duration::from_mins(minutes)).expect("such a length")
    }

    #[test]
    fn slots_are_of_one_two_or_three_minutes() {
        for (seconds, is_length) in
            [(0, false), (59, false), (60, true), (61, false), (120, true), (180, true), (240, false)]
        {
            assert_eq!(EquitySlots::of(Duration::from_secs(seconds)).is_some(), is_length, "{seconds}");
        }
    }

    #[test]
    fn a_slot_is_named_by_its_first_minute_and_new_once() {
        let now = at("2026-01-05T14:35:59.999Z");
        for (minutes, previous, id, is_new) in [
            (1, Some("2026-01-05T14:35:00Z"), "202601051435", false),
            (1, Some("2026-01-05T14:34:59.999Z"), "202601051435", true),
            (2, Some("2026-01-05T14:34:00Z"), "202601051434", false),
            (2, Some("2026-01-05T14:33:59Z"), "202601051434", true),
            (3, Some("2026-01-05T14:33:00Z"), "202601051433", false),
            (3, Some("2026-01-05T14:32:59Z"), "202601051433", true),
            (3, Some("2026-01-04T14:33:00Z"), "202601051433", true),
            (3, None, "202601051433", true),
        ] {
            let slot = slots(minutes).of_pass(&RecheckSchedule { previous: previous.map(at), now });
            assert_eq!((slot.id().as_str(), slot.is_new), (id, is_new), "{minutes} {previous:?}");
        }
    }

    #[test]
    fn who_failed_before_lacks_an_entry_of_the_slot() {
        let now = at("2026-01-05T14:35:30Z");
        let failing = SyncState {
            state: State::Retrying,
            error: None,
            since: now,
            failing_since: Some(now),
            last_success: None,
            rejections: 0,
            key_version: None,
            next_attempt_at: None,
        };
        let same = slots(1).of_pass(&RecheckSchedule { previous: Some(now), now });
        let states = [PreviousState::Clean, PreviousState::Unknown, PreviousState::Troubled(failing)];
        assert_eq!(states.each_ref().map(|previous| same.lacks(previous)), [false, false, true]);
        let new = slots(1).of_pass(&RecheckSchedule { previous: None, now });
        assert!(states.iter().all(|previous| new.lacks(previous)));
    }

    /// The platform's loss guard: with fewer entries it would not guard.
    const GUARD_NEEDS: usize = 3;
    const GUARD_LOOKS_BACK: SignedDuration = SignedDuration::from_mins(10);

    proptest! {
        #[test]
        fn a_loss_guard_finds_three_entries_in_ten_minutes(
            minutes in 1_u64..=3, start in 0_i64..1_000_000, delays in prop::collection::vec(0_i64..20, 60),
        ) {
            let start = 1_767_623_400 + start;
            // Passes every minute, each a little late, of which the entry is written when Alpaca has answered.
            let starts = delays.iter().enumerate().map(|(pass, delay)| start + 60 * pass as i64 + delay);
            let starts: Vec<_> = starts.map(|second| Timestamp::from_second(second).expect("in range")).collect();
            let mut entries = std::collections::BTreeMap::new();
            for (pass, now) in starts.iter().enumerate() {
                let previous = pass.checked_sub(1).map(|before| starts[before]);
                let slot = slots(minutes).of_pass(&RecheckSchedule { previous, now: *now });
                if slot.lacks(&PreviousState::Clean) {
                    prop_assert_eq!(entries.insert(slot.id(), *now), None, "one entry in a slot");
                }
                let recent = entries.values().filter(|ts| now.duration_since(**ts) <= GUARD_LOOKS_BACK).count();
                prop_assert!(recent >= GUARD_NEEDS || pass < 7, "{recent} entries after {pass} passes");
            }
        }
    }
}
