//! Which combinations of users, concurrency and latency are measured.

use crate::Args;
use std::time::Duration;

/// One combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    pub(crate) users: u32,
    pub(crate) latency_ms: u32,
    pub(crate) concurrency: u32,
}

/// Calls that a user has to wait for, one after the other: secret, account, commit.
const CALLS: u32 = 3;

/// What the budgets are about.
const OF_BUDGETS: [Cell; 2] = [
    Cell { users: 20_000, latency_ms: 0, concurrency: 64 },
    Cell { users: 20_000, latency_ms: 20, concurrency: 256 },
];

impl Cell {
    /// How long a program would take that does nothing but wait.
    pub(crate) fn ideal(&self) -> Duration {
        let waits = f64::from(self.users) * f64::from(self.latency_ms * CALLS) / f64::from(self.concurrency);
        Duration::from_secs_f64(waits / 1000.0)
    }
}

/// All that were asked for, but those that would take too long; sorted, so that those of one store follow each
/// other. Nothing asked for means the usual ones and those of the budgets.
pub(crate) fn chosen(args: &Args) -> Vec<Cell> {
    let or = |asked: &[u32], usual: &[u32]| if asked.is_empty() { usual.to_vec() } else { asked.to_vec() };
    let longest = Duration::from_secs(args.longest);
    let mut cells = Vec::new();
    for &users in &or(&args.users, &[1_000, 10_000, 100_000]) {
        for &latency_ms in &or(&args.latency, &[0, 20, 100]) {
            for &concurrency in &or(&args.concurrency, &[1, 16, 64, 256]) {
                cells.push(Cell { users, latency_ms, concurrency });
            }
        }
    }
    cells.retain(|cell| cell.ideal() <= longest);
    // One user at a time says the same of 10,000 users as of 100,000.
    if args.concurrency.is_empty() {
        cells.retain(|cell| cell.concurrency > 1 || cell.users <= 10_000);
    }
    if args.users.is_empty() && args.latency.is_empty() && args.concurrency.is_empty() {
        cells.extend(OF_BUDGETS);
    }
    if args.big {
        cells.push(Cell { users: 1_000_000, latency_ms: 0, concurrency: 256 });
    }
    cells.sort_unstable();
    cells.dedup();
    cells
}
