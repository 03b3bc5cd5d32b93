//! How many users a dry run would change (`--diff`).

use crate::documents::snapshot_diff::Difference;
use std::sync::atomic::{AtomicU64, Ordering};
use tracing::info;

/// What was counted so far.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    new: AtomicU64,
    changed: AtomicU64,
    unchanged: AtomicU64,
}

impl Differences {
    /// One user more.
    pub(crate) fn add(&self, difference: &Difference) {
        let count = match difference {
            Difference::New => &self.new,
            Difference::Changed(_) => &self.changed,
            Difference::Unchanged => &self.unchanged,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether anybody's would change.
    #[must_use]
    pub(crate) fn are_some(&self) -> bool {
        [&self.new, &self.changed].iter().any(|count| count.load(Ordering::Relaxed) > 0)
    }

    /// All in one line.
    pub(crate) fn tell(&self) {
        let [new, changed, unchanged] =
            [&self.new, &self.changed, &self.unchanged].map(|count| count.load(Ordering::Relaxed));
        info!(
            new,
            changed,
            unchanged,
            "Compared with what is stored: {new} new, {changed} changed, {unchanged} unchanged"
        );
    }
}
