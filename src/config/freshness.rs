//! How old an unchanged snapshot may become.

use crate::config::choices::Readers;
use crate::model::past::READERS_CALL_STALE_AFTER;
use std::time::Duration;

/// Left for a pass that is slow before readers call a snapshot stale.
pub(super) const FOR_A_SLOW_PASS: Duration = Duration::from_secs(60);

/// Longest `--refresh-unchanged` and `--every` together. A snapshot may become that old before the pulse
/// begins that rewrites it.
pub(super) const OLDEST: Duration = READERS_CALL_STALE_AFTER.unsigned_abs().saturating_sub(FOR_A_SLOW_PASS);

/// Longest `--refresh-unchanged` where all readers go by `fresh_until`.
pub(crate) const LONGEST_REFRESH: Duration = Duration::from_mins(15);

/// `--refresh-unchanged` where some readers go by the age, unless it says otherwise.
const USUAL_REFRESH: Duration = Duration::from_secs(180);

/// `--refresh-unchanged`, unless it says otherwise: as long as readers take.
#[must_use]
pub(super) fn usual_refresh(readers: Readers, every: Duration) -> Duration {
    match readers {
        Readers::Age => USUAL_REFRESH.min(OLDEST.saturating_sub(every)),
        Readers::FreshUntil if every <= OLDEST => LONGEST_REFRESH,
        Readers::FreshUntil => Duration::ZERO,
    }
}
