//! The servers' clock: what is written, and what waits, goes by it, however wrong this machine's own is.

use jiff::{SignedDuration, Timestamp};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// So far the local clock may be off before that is worth a word.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(60);

/// Nothing is known of the servers' clock yet.
const UNKNOWN: i64 = i64::MIN;

/// The servers' clock, as far as their answers tell it: the time since the process began, which no clock that is set
/// changes, and what the servers' time was then. Until a server has told a time, this machine's.
#[derive(Debug)]
pub(crate) struct ServerClock {
    began: Instant,
    /// By this machine's clock.
    began_at: Timestamp,
    /// What the servers' clock showed when it began, in microseconds since 1970.
    origin: AtomicI64,
}

impl ServerClock {
    /// A clock that has learned nothing yet; `now` is what this machine's shows.
    #[must_use]
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { began: Instant::now(), began_at: now, origin: AtomicI64::new(UNKNOWN) }
    }

    /// One that a server has told that time just now.
    #[cfg(test)]
    pub(crate) fn told(now: Timestamp) -> Self {
        let clock = Self::new(now);
        clock.learn(Instant::now(), now);
        clock
    }

    /// Learns from an answer to a question that was sent then: it has just arrived, and its server said so late it was.
    pub(crate) fn learn(&self, sent: Instant, time: Timestamp) {
        let (sent, received) = (self.since_begin(sent), self.since_begin(Instant::now()));
        let told = |origin| Some(origin_after(origin, time.as_microsecond(), (sent, received)));
        // What another answer has taught meanwhile is as good.
        let _ = self.origin.fetch_update(Ordering::Relaxed, Ordering::Relaxed, told);
    }

    /// How late it is.
    #[must_use]
    pub(crate) fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// How late it was then.
    #[must_use]
    pub(crate) fn at(&self, moment: Instant) -> Timestamp {
        let origin = match self.origin.load(Ordering::Relaxed) {
            UNKNOWN => self.began_at.as_microsecond(),
            origin => origin,
        };
        let at = origin.saturating_add(self.since_begin(moment));
        Timestamp::from_microsecond(at).unwrap_or(self.began_at)
    }

    /// Whether a server has said how late it is.
    #[must_use]
    pub(crate) fn is_known(&self) -> bool {
        self.origin.load(Ordering::Relaxed) != UNKNOWN
    }

    /// How far a clock of this machine that shows `local` now is ahead, if that is worth a word; negative if it is
    /// behind.
    #[must_use]
    pub(crate) fn deviation(&self, local: Timestamp) -> Option<SignedDuration> {
        let ahead = local.duration_since(self.now());
        (self.is_known() && ahead.abs() > TOLERANCE).then_some(ahead)
    }

    fn since_begin(&self, moment: Instant) -> i64 {
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        match moment.checked_duration_since(self.began) {
            Some(after) => micros(after),
            None => -micros(self.began.duration_since(moment)),
        }
    }
}

/// The servers' time at the process's begin, after an answer that says `time` and was given between two moments: what
/// was thought before, as far as that agrees with it. All in microseconds.
fn origin_after(origin: i64, time: i64, (sent, received): (i64, i64)) -> i64 {
    let (earliest, latest) = (time.saturating_sub(received.max(sent)), time.saturating_sub(sent));
    match origin {
        UNKNOWN => earliest + (latest - earliest) / 2,
        origin => origin.clamp(earliest, latest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_623_400 + second).expect("in range")
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_as_late_as_the_servers_say_and_then_as_much_later_as_time_goes_by() {
        let clock = ServerClock::new(at(5 * 3600));
        assert_eq!((clock.now(), clock.deviation(at(0))), (at(5 * 3600), None), "nothing is known yet");
        clock.learn(Instant::now(), at(0));
        assert_eq!(clock.now(), at(0));
        let answered = Instant::now();
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!((clock.now(), clock.at(answered)), (at(90), at(0)));
        for (local, expected) in [
            (at(150), None),
            (at(151), Some(61)),
            (at(30), None),
            (at(29), Some(-61)),
            (at(18_090), Some(18_000)),
        ] {
            let deviation = clock.deviation(local).map(|by| by.as_secs());
            assert_eq!(deviation, expected, "{local}");
        }
    }

    #[test]
    fn an_answer_corrects_only_what_it_contradicts() {
        for (before, time, span, expected) in [
            (UNKNOWN, 1_000, (0, 10), 995),
            (995, 2_000, (1_000, 1_020), 995),
            // Slow answers tell little.
            (995, 2_000, (0, 5_000), 995),
            (995, 2_000, (1_003, 1_020), 995),
            (995, 2_000, (1_010, 1_020), 990),
            // The machine was suspended, and its clock with it.
            (995, 9_000, (1_000, 1_020), 7_980),
            (995, i64::MAX, (0, 0), i64::MAX),
            (995, i64::MIN, (5, 9), i64::MIN),
        ] {
            assert_eq!(origin_after(before, time, span), expected, "{before} {time} {span:?}");
        }
    }

    proptest! {
        #[test]
        fn it_is_never_off_by_more_than_the_fastest_answer_took(
            truth in 0_i64..1_000_000,
            answers in prop::collection::vec((0_i64..1_000_000, 0_i64..5_000, 0.0..=1.0), 1..20),
        ) {
            let mut origin = UNKNOWN;
            for (sent, took, share) in &answers {
                let given = sent + (*took as f64 * share) as i64;
                origin = origin_after(origin, truth + given, (*sent, sent + took));
            }
            let fastest = answers.iter().map(|(_, took, _)| *took).min().expect("some");
            prop_assert!((origin - truth).abs() <= fastest);
        }
    }
}
