//! Counts the calls of one key pair: for the rate limit, and to move its figures along.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Calls that Alpaca takes from one key pair in a minute.
pub(super) const CALLS_A_MINUTE: u32 = 200;

const MINUTE: u64 = 60;

/// Lock-free and 16 bytes, as there may be a million of them.
#[derive(Default)]
pub(super) struct Meter {
    /// The minute since the epoch in the upper half, the calls within it in the lower.
    window: AtomicU64,
    answered: AtomicU32,
}

/// What the meter says about one call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Calls left in this minute, or `None` for a call too many.
    pub(super) remaining: Option<u32>,
    /// When the next minute starts, in seconds since the epoch.
    pub(super) reset: u64,
}

impl Meter {
    /// Counts one call at `now`, in seconds since the epoch.
    pub(super) fn count(&self, now: u64) -> Reading {
        let minute = now / MINUTE;
        let step = |window: u64| {
            let used = if window >> 32 == minute { window & 0xffff_ffff } else { 0 };
            (minute << 32) | (used + 1).min(u64::from(CALLS_A_MINUTE) + 1)
        };
        let (Ok(before) | Err(before)) =
            self.window.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |window| Some(step(window)));
        let used = step(before) & 0xffff_ffff;
        let remaining = u32::try_from(used).ok().and_then(|used| CALLS_A_MINUTE.checked_sub(used));
        Reading { remaining, reset: (minute + 1) * MINUTE }
    }

    /// How many answers came before this one.
    pub(super) fn next_answer(&self) -> u32 {
        self.answered.fetch_add(1, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hundred_calls_a_minute_and_no_more() {
        let meter = Meter::default();
        for left in (0..CALLS_A_MINUTE).rev() {
            assert_eq!(meter.count(600), Reading { remaining: Some(left), reset: 660 });
        }
        assert_eq!(meter.count(659), Reading { remaining: None, reset: 660 });
        assert_eq!(meter.count(659).remaining, None);
        assert_eq!(meter.count(660), Reading { remaining: Some(CALLS_A_MINUTE - 1), reset: 720 });
    }
}
