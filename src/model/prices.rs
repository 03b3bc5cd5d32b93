//! What Google's services cost by their price list, in US dollars.

/// When the prices were read, and for which region.
pub(crate) const AS_OF: &str = "October 2026, us-central1";

/// Firestore: a document read.
const READ: f64 = 0.03 / 100_000.0;

/// Firestore: a document written.
const WRITE: f64 = 0.09 / 100_000.0;

/// What so many documents cost, without what is free each day.
#[must_use]
pub(crate) fn firestore(reads: u64, writes: u64) -> f64 {
    reads as f64 * READ + writes as f64 * WRITE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_of_each_costs_what_the_list_says() {
        assert!((firestore(1_000_000, 0) - 0.30).abs() < 1e-9);
        assert!((firestore(0, 1_000_000) - 0.90).abs() < 1e-9);
    }
}
