//! Firestore's 500/50/5 rule: a database that is new to traffic takes 500 writes a second, and then,
//! every five minutes, half as many more.

use crate::model::ramp::Ramp;
use jiff::{SignedDuration, Timestamp};

/// Writes a second that a database takes from the start.
const FIRST_LIMIT: u32 = 500;

/// Time at a limit before the next one.
const STEP: SignedDuration = SignedDuration::from_mins(5);

impl Ramp {
    /// Where a database starts that nothing is known of.
    #[must_use]
    pub(crate) fn first(now: Timestamp) -> Self {
        Self { limit: FIRST_LIMIT, since: now }
    }

    /// Where a database was, as somebody noted it: never below where all start.
    #[must_use]
    pub(crate) fn noted(limit: u32, since: Timestamp) -> Self {
        Self { limit: limit.max(FIRST_LIMIT), since }
    }

    /// Where a database is after it was seen at `shown_rate` writes a second.
    ///
    /// The limit grows by half when it has held for five minutes and was made use of: what the database
    /// was never shown, it has not prepared for. However long ago that was, it grows by one step only,
    /// for the same reason.
    #[must_use]
    pub(crate) fn after(self, shown_rate: f64, now: Timestamp) -> Self {
        let was_used = shown_rate * 1.5 >= f64::from(self.limit);
        if now < self.since {
            // A clock was wrong, and must not hold the limit down until its time comes.
            return Self { since: now, ..self };
        }
        if !was_used || now.duration_since(self.since) < STEP {
            return self;
        }
        Self { limit: self.limit.saturating_add(self.limit / 2), since: now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    /// The limits of executions that start every minute and show what they may.
    #[test]
    fn a_database_that_is_written_to_gets_half_as_much_more_every_five_minutes() {
        let mut ramp = Ramp::first(at(0));
        let mut limits = vec![ramp.limit];
        for minute in 1..=20 {
            ramp = ramp.after(f64::from(ramp.limit), at(60 * minute));
            limits.push(ramp.limit);
        }
        let steps = [500, 750, 1125, 1687];
        for (limits, limit) in limits.chunks(5).zip(steps) {
            assert!(limits.iter().all(|shown| *shown == limit), "{limits:?}");
        }
        assert_eq!(limits[20], 2530);
    }

    #[test]
    fn a_limit_that_was_not_used_stays() {
        let ramp = Ramp { limit: 900, since: at(0) };
        for (rate, grows) in [
            (0.0, false),
            (599.0, false),
            (600.0, true),
            (900.0, true),
            (f64::NAN, false),
            (-1.0, false),
            (f64::INFINITY, true),
        ] {
            assert_eq!(ramp.after(rate, at(300)) != ramp, grows, "{rate}");
        }
    }

    #[test]
    fn one_step_at_a_time_however_long_ago_the_last_one_was() {
        let ramp = Ramp::first(at(0));
        assert_eq!(ramp.after(500.0, at(299)), ramp);
        assert_eq!(ramp.after(500.0, at(300)), Ramp { limit: 750, since: at(300) });
        assert_eq!(ramp.after(500.0, at(86_400)), Ramp { limit: 750, since: at(86_400) });
    }

    #[test]
    fn a_clock_that_was_ahead_does_not_hold_the_limit_down() {
        let ahead = Ramp { limit: 750, since: at(1_000_000) };
        assert_eq!(ahead.after(750.0, at(10)), Ramp { limit: 750, since: at(10) });
    }

    #[test]
    fn no_note_takes_a_database_below_where_all_start() {
        for (noted, limit) in [(0, 500), (499, 500), (500, 500), (501, 501), (u32::MAX, u32::MAX)] {
            assert_eq!(Ramp::noted(noted, at(7)), Ramp { limit, since: at(7) });
        }
    }

    #[test]
    fn the_limit_that_has_no_next_one_stays() {
        let ramp = Ramp { limit: u32::MAX, since: at(0) };
        assert_eq!(ramp.after(f64::INFINITY, at(300)).limit, u32::MAX);
    }

    proptest! {
        #[test]
        fn a_step_never_shrinks_and_never_exceeds_half_as_much_again(
            limit: u32, since: i32, rate: f64, later in 0_i64..1_000_000
        ) {
            let ramp = Ramp::noted(limit, at(since.into()));
            let next = ramp.after(rate, at(later));
            prop_assert!(next.limit >= ramp.limit);
            prop_assert!(u64::from(next.limit) <= u64::from(ramp.limit) * 3 / 2);
        }
    }
}
