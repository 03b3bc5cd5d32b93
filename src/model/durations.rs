//! How long many things took, in little memory: percentiles that are right to a tenth.

use std::time::Duration;

/// Between the limits of two neighbouring buckets.
const STEP: f64 = 1.1;

/// Enough for minutes.
const BUCKETS: usize = 136;

/// Durations, counted by buckets that get wider as they get longer.
#[derive(Clone, Debug)]
pub(crate) struct Durations {
    counts: Box<[u32; BUCKETS]>,
    total: u64,
}

impl Default for Durations {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0 }
    }
}

impl Durations {
    /// Counts one more.
    pub(crate) fn add(&mut self, duration: Duration) {
        let millis = (duration.as_secs_f64() * 1000.0).max(1.0);
        let bucket = (millis.ln() / STEP.ln()).ceil() as usize;
        let count = &mut self.counts[bucket.min(BUCKETS - 1)];
        *count = count.saturating_add(1);
        self.total += 1;
    }

    /// What so many of 100 took at most, in milliseconds; nothing where nothing was counted.
    #[must_use]
    pub(crate) fn percentile_ms(&self, of_hundred: u64) -> Option<u64> {
        let wanted = (self.total * of_hundred).div_ceil(100).max(1);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted
        });
        let limit = |bucket: usize| STEP.powf(bucket as f64).round() as u64;
        bucket.map(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_a_tenth() {
        let mut durations = Durations::default();
        assert_eq!(durations.percentile_ms(50), None);
        (1..=1000).rev().for_each(|millis| durations.add(Duration::from_millis(millis)));
        for (of_hundred, exact) in [(1, 10.0), (50, 500.0), (95, 950.0), (99, 990.0), (100, 1000.0)] {
            let told = durations.percentile_ms(of_hundred).expect("some") as f64;
            assert!(told >= exact * 0.95 && told <= exact * 1.11, "{of_hundred}: {told}");
        }
    }

    #[test]
    fn what_is_very_short_or_very_long_is_counted_too() {
        for (duration, expected) in
            [(Duration::ZERO, 1), (Duration::from_nanos(1), 1), (Duration::from_millis(1), 1)]
        {
            let mut durations = Durations::default();
            durations.add(duration);
            assert_eq!(durations.percentile_ms(50), Some(expected));
        }
        let mut durations = Durations::default();
        durations.add(Duration::MAX);
        assert!(durations.percentile_ms(50) > Some(60_000));
    }
}
