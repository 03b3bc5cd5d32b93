//! How a rate is typed.

use std::num::NonZeroU32;

/// Beyond what any of the services allows: whoever writes more has mistaken the unit.
const MAX_RATE: u32 = 10_000_000;

/// A limit: a whole number above 0.
pub(super) fn rate(text: &str) -> Result<NonZeroU32, String> {
    let rate = text.parse().ok().filter(|rate: &NonZeroU32| rate.get() <= MAX_RATE);
    rate.ok_or_else(|| format!("use a whole number from 1 to {MAX_RATE}"))
}
