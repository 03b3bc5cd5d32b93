//! What a pass has used of the services it pays for.

use std::sync::atomic::{AtomicU64, Ordering};

/// One count, shared by all users' tasks.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Billed operations of one pass, retries included.
#[derive(Debug, Default)]
pub struct Usage {
    /// Documents returned by queries and gets (a missing document and an empty query cost one each).
    pub firestore_reads: Counter,
    /// Writes in commits that were answered.
    pub firestore_writes: Counter,
    /// Secret versions asked for.
    pub secret_accesses: Counter,
    /// Requests sent to Alpaca.
    pub alpaca_calls: Counter,
}
