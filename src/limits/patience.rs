//! How long an answer is waited for before its call counts as one without an answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The most: a call without an answer for so long is not at work any more.
const MOST: Duration = Duration::from_secs(1);

/// The least: below it, the difference is the machine's.
const LEAST: Duration = Duration::from_millis(50);

/// Times what is usual.
const UNUSUAL: u32 = 3;

/// The weight of one answer among those before: one in so many.
const MEMORY: u64 = 16;

/// Learns how long one service's answers take. Those that are much slower than usual free their users' slots long
/// before a second is over: a few hundred users of whom nothing is heard would hold all slots for seconds otherwise.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// In microseconds; 0 is unknown. Two who learn at once may lose one of both, which changes little.
    usual: AtomicU64,
}

impl Patience {
    /// How long to wait, as far as it is known by now.
    #[must_use]
    pub(crate) fn limit(&self) -> Duration {
        match self.usual.load(Ordering::Relaxed) {
            0 => MOST,
            usual => (Duration::from_micros(usual) * UNUSUAL).clamp(LEAST, MOST),
        }
    }

    /// An answer took so long.
    pub(crate) fn learn(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let usual = match self.usual.load(Ordering::Relaxed) {
            0 => took,
            usual => usual - usual / MEMORY + took.min(usual.saturating_mul(u64::from(UNUSUAL))) / MEMORY,
        };
        self.usual.store(usual.max(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(answers: &[u64]) -> u128 {
        let patience = Patience::default();
        answers.iter().for_each(|millis| patience.learn(Duration::from_millis(*millis)));
        patience.limit().as_millis()
    }

    #[test]
    fn it_is_a_few_times_what_is_usual_and_a_second_at_most() {
        assert_eq!(after(&[]), 1000, "nothing is known");
        assert_eq!(after(&[1]), 50);
        assert_eq!(after(&[100; 20]), 300);
        assert_eq!(after(&[5000]), 1000);
    }

    #[test]
    fn one_slow_answer_among_many_changes_little_and_many_change_it() {
        let mut answers = vec![100; 50];
        answers.push(9_000);
        assert!(after(&answers) < 350);
        answers.extend([1_000; 100]);
        assert_eq!(after(&answers), 1000);
    }
}
