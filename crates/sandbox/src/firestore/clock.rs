//! The database's time: microseconds, never the same for two commits.

use super::values::value;
use gcloud_sdk::google::firestore::v1::Value;
use gcloud_sdk::google::firestore::v1::value::ValueType;
use prost_types::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

const MICROS_PER_SECOND: i64 = 1_000_000;
const NANOS_PER_MICRO: i64 = 1_000;
const MICROS_PER_MILLI: i64 = 1_000;

/// Microseconds since 1970.
pub(super) type Micros = i64;

/// Wall time that never runs backwards.
#[derive(Debug, Default)]
pub(super) struct Clock {
    latest: Micros,
}

impl Clock {
    /// The time of a read: everything committed so far is at or before it, everything later behind it.
    pub(super) fn now(&mut self) -> Micros {
        self.latest = self.latest.max(wall_time());
        self.latest
    }

    /// The time of a commit: behind every time given before.
    pub(super) fn tick(&mut self) -> Micros {
        self.latest = (self.latest + 1).max(wall_time());
        self.latest
    }
}

fn wall_time() -> Micros {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros::try_from(since_epoch.as_micros()).unwrap_or(Micros::MAX)
}

/// The wire form of a time.
pub(super) fn timestamp(time: Micros) -> Timestamp {
    let nanos = time.rem_euclid(MICROS_PER_SECOND) * NANOS_PER_MICRO;
    Timestamp {
        seconds: time.div_euclid(MICROS_PER_SECOND),
        // Below one thousand million, so it always fits.
        nanos: i32::try_from(nanos).unwrap_or_default(),
    }
}

/// The time in a wire form, cut to microseconds.
pub(super) fn micros(timestamp: &Timestamp) -> Micros {
    timestamp
        .seconds
        .saturating_mul(MICROS_PER_SECOND)
        .saturating_add(i64::from(timestamp.nanos) / NANOS_PER_MICRO)
}

/// The value that `REQUEST_TIME` stands for: whole milliseconds.
pub(super) fn request_time(time: Micros) -> Value {
    value(ValueType::TimestampValue(timestamp(time - time.rem_euclid(MICROS_PER_MILLI))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_commits_share_a_time_and_reads_stay_between_them() {
        let mut clock = Clock::default();
        let first = clock.tick();
        let read = clock.now();
        let second = clock.tick();
        assert!(first <= read && read < second);
    }

    #[test]
    fn request_time_is_cut_to_milliseconds() {
        let cut = Timestamp { seconds: 48, nanos: 489_000_000 };
        assert_eq!(request_time(48_489_137), value(ValueType::TimestampValue(cut)));
    }

    #[test]
    fn times_survive_the_wire() {
        for time in [0, 1, -1, 1_795_475_657_469_497] {
            assert_eq!(micros(&timestamp(time)), time);
        }
    }
}
