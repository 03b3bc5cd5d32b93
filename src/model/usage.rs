//! What has been used of the services that cost money.

use std::ops::{Add, Sub};

/// Billed operations, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// Documents returned by queries and gets.
    pub(crate) firestore_reads: u64,
    /// Writes in commits.
    pub(crate) firestore_writes: u64,
    /// Secret versions asked for.
    pub(crate) secret_accesses: u64,
    /// Requests sent to Alpaca.
    pub(crate) alpaca_calls: u64,
}

impl Used {
    fn with(self, other: Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            firestore_reads: combine(self.firestore_reads, other.firestore_reads),
            firestore_writes: combine(self.firestore_writes, other.firestore_writes),
            secret_accesses: combine(self.secret_accesses, other.secret_accesses),
            alpaca_calls: combine(self.alpaca_calls, other.alpaca_calls),
        }
    }
}

impl Add for Used {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        self.with(more, u64::saturating_add)
    }
}

impl Sub for Used {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        self.with(before, u64::saturating_sub)
    }
}
