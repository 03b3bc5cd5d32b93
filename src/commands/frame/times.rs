//! Times and ages for people.

use jiff::{SignedDuration, Timestamp};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// An age in few characters, for tables: `45s`, `12m`, `3h`, `2d`.
#[must_use]
pub(crate) fn brief(age: SignedDuration) -> String {
    let (number, unit) = parts(age);
    format!("{number}{}", &unit[..1])
}

/// The same in a sentence: `45 s`, `12 min`, `3 h`, `2 days`.
#[must_use]
pub(crate) fn in_words(age: SignedDuration) -> String {
    let (number, unit) = parts(age);
    format!("{number} {unit}")
}

/// Rounded down, and never less than nothing. Two of a unit are worth the next one.
fn parts(age: SignedDuration) -> (i64, &'static str) {
    match age.as_secs().max(0) {
        seconds if seconds < 2 * MINUTE => (seconds, "s"),
        seconds if seconds < 2 * HOUR => (seconds / MINUTE, "min"),
        seconds if seconds < 2 * DAY => (seconds / HOUR, "h"),
        seconds => (seconds / DAY, "days"),
    }
}

/// A point in time to the second: `2026-01-05 14:30:00Z`.
#[must_use]
pub(crate) fn point(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_the_unit_that_fits() {
        for (seconds, short, words) in [
            (-5, "0s", "0 s"),
            (0, "0s", "0 s"),
            (119, "119s", "119 s"),
            (120, "2m", "2 min"),
            (300, "5m", "5 min"),
            (7199, "119m", "119 min"),
            (7200, "2h", "2 h"),
            (172_799, "47h", "47 h"),
            (172_800, "2d", "2 days"),
            (864_000, "10d", "10 days"),
        ] {
            let age = SignedDuration::from_secs(seconds);
            assert_eq!((brief(age).as_str(), in_words(age).as_str()), (short, words));
        }
    }

    #[test]
    fn a_point_in_time_is_utc_to_the_second() {
        let time: Timestamp = "2026-01-05T14:30:00.987Z".parse().expect("a time");
        assert_eq!(point(time), "2026-01-05 14:30:00Z");
    }
}
