//! What Google's services cost by their price list, in US dollars.

/// When the prices were read, and for which region.
pub(crate) const AS_OF: &str = "October 2026, us-central1";

/// Days of a month here.
pub(crate) const DAYS: u64 = 30;

/// What one of something costs, and how many a month are free.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Price {
    each: f64,
    pub(crate) free: f64,
}

/// Firestore: documents read.
pub(crate) const READS: Price = Price { each: 0.03 / 100_000.0, free: 50_000.0 * DAYS as f64 };

/// Firestore: documents written.
pub(crate) const WRITES: Price = Price { each: 0.09 / 100_000.0, free: 20_000.0 * DAYS as f64 };

/// Secret Manager: versions accessed.
pub(crate) const ACCESSES: Price = Price { each: 0.03 / 10_000.0, free: 10_000.0 };

/// Secret Manager: versions that are not destroyed.
pub(crate) const VERSIONS: Price = Price { each: 0.06, free: 6.0 };

/// Cloud Run: seconds of a CPU.
pub(crate) const CPU_SECONDS: Price = Price { each: 0.000_018, free: 240_000.0 };

/// Cloud Run: seconds of a GiB of memory.
pub(crate) const GIB_SECONDS: Price = Price { each: 0.000_002, free: 450_000.0 };

/// Cloud Logging: GiB taken in.
pub(crate) const LOG_GIB: Price = Price { each: 0.50, free: 50.0 };

impl Price {
    /// What so many of a month cost, after the free ones.
    #[must_use]
    pub(crate) fn of(self, amount: f64) -> f64 {
        (amount - self.free).max(0.0) * self.each
    }

    /// What so many cost where the free ones are used up.
    #[must_use]
    pub(crate) fn of_all(self, amount: f64) -> f64 {
        amount * self.each
    }
}

/// What so many documents cost, without what is free each day.
#[must_use]
pub(crate) fn firestore(reads: u64, writes: u64) -> f64 {
    READS.of_all(reads as f64) + WRITES.of_all(writes as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_of_each_costs_what_the_list_says() {
        assert!((firestore(1_000_000, 0) - 0.30).abs() < 1e-9);
        assert!((firestore(0, 1_000_000) - 0.90).abs() < 1e-9);
        for (price, amount, dollars) in [
            (READS, 1_500_000.0, 0.0),
            (READS, 2_500_000.0, 0.30),
            (ACCESSES, 20_000.0, 0.03),
            (VERSIONS, 5.0, 0.0),
            (VERSIONS, 106.0, 6.0),
            (LOG_GIB, 52.0, 1.0),
        ] {
            assert!((price.of(amount) - dollars).abs() < 1e-9, "{price:?} {amount}");
        }
    }
}
