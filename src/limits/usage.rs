//! What a pass has used of the services it pays for.

use crate::model::usage::Used;
use std::sync::atomic::{AtomicU64, Ordering};

/// One count, shared by all users' tasks.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count so far.
    #[must_use]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Billed operations of one pass, retries included.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// Documents returned by queries and gets (a missing document and an empty query cost one each).
    pub(crate) firestore_reads: Counter,
    /// Writes in commits that were answered.
    pub(crate) firestore_writes: Counter,
    /// Secret versions asked for.
    pub(crate) secret_accesses: Counter,
    /// Requests sent to Alpaca.
    pub(crate) alpaca_calls: Counter,
}

impl Usage {
    /// What it comes to by now.
    #[must_use]
    pub(crate) fn so_far(&self) -> Used {
        Used {
            firestore_reads: self.firestore_reads.get(),
            firestore_writes: self.firestore_writes.get(),
            secret_accesses: self.secret_accesses.get(),
            alpaca_calls: self.alpaca_calls.get(),
        }
    }
}
