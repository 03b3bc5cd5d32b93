//! A line that says how far a pass is, drawn over and over on a terminal.
//!
//! It is drawn by a thread of its own: a terminal that is stopped, or read by nobody, holds up that thread alone.

use crate::telemetry::terminal::{columns, is_watched};
use crate::telemetry::text::CLEAR_LINE;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A pass that is over before needs no progress.
pub(crate) const SILENCE: Duration = Duration::from_secs(1);

/// Between two drawings.
const REDRAW: Duration = Duration::from_millis(200);

/// How far a pass is. Once it is dropped, the line is drawn no more.
#[derive(Debug)]
pub(crate) struct Progress(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    done: AtomicU64,
    failed: AtomicU64,
    /// 0 as long as it is not known.
    total: AtomicU64,
    is_over: AtomicBool,
}

impl Progress {
    /// Begins to draw it, where somebody watches.
    #[must_use]
    pub(crate) fn begin() -> Option<Self> {
        let can_draw = is_watched() && super::terminal::can_redraw(std::env::var("TERM").ok().as_deref());
        let shared = Arc::new(Shared::default());
        let drawn = Arc::clone(&shared);
        let begun =
            can_draw.then(|| thread::Builder::new().name("progress".into()).spawn(move || drawn.draw_on()));
        // Without a thread there is no line.
        begun?.ok().map(|_| Self(shared))
    }

    /// How many there are.
    pub(crate) fn set_total(&self, total: u64) {
        self.0.total.store(total, Ordering::Relaxed);
    }

    /// How many are done, and how many of them failed.
    pub(crate) fn set(&self, done: u64, failed: u64) {
        self.0.done.store(done, Ordering::Relaxed);
        self.0.failed.store(failed, Ordering::Relaxed);
    }

    /// For whoever learns how many there are.
    #[must_use]
    pub(crate) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// Draws it no more.
    pub(crate) fn end(&self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn draw_on(&self) {
        let begun = Instant::now();
        thread::sleep(SILENCE);
        while !self.is_over.load(Ordering::Relaxed) {
            let line = self.seen(begun.elapsed()).line(columns(io::stderr()));
            // Where it cannot be written, nobody misses it.
            let _ = io::stderr().write_all(format!("{CLEAR_LINE}{line}").as_bytes());
            thread::sleep(REDRAW);
        }
    }

    fn seen(&self, elapsed: Duration) -> Seen {
        let number = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Seen { done: number(&self.done), failed: number(&self.failed), total: number(&self.total), elapsed }
    }
}

/// What there is to draw.
#[derive(Clone, Copy, Debug)]
struct Seen {
    done: u64,
    failed: u64,
    total: u64,
    elapsed: Duration,
}

impl Seen {
    /// As much of it as the columns allow: what matters most comes first.
    fn line(self, columns: usize) -> String {
        let Self { done, failed, total, elapsed } = self;
        let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
        let of = if total > 0 { format!("{done}/{}", total.max(done)) } else { done.to_string() };
        let left = (total > done && rate > 0.0).then(|| (total - done) as f64 / rate);
        let parts = [
            Some(format!("{of} users")),
            Some(format!("{failed} failed")),
            Some(format!("{rate:.0} users/s")),
            left.map(|seconds| format!("{seconds:.0} s left")),
        ];
        let mut line = String::new();
        for part in parts.into_iter().flatten() {
            let gap = if line.is_empty() { "" } else { " · " };
            // The last column stays free: some terminals begin a line behind it.
            if line.chars().count() + gap.chars().count() + part.len() < columns {
                line.push_str(gap);
                line.push_str(&part);
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_is_known_and_fits() {
        let seen = |done, failed, total| Seen { done, failed, total, elapsed: Duration::from_secs(2) };
        for (seen, columns, expected) in [
            (seen(1000, 4, 5000), 80, "1000/5000 users · 4 failed · 500 users/s · 8 s left"),
            (seen(1000, 4, 0), 80, "1000 users · 4 failed · 500 users/s"),
            (seen(0, 0, 5000), 80, "0/5000 users · 0 failed · 0 users/s"),
            (seen(6, 0, 5), 80, "6/6 users · 0 failed · 3 users/s"),
            (seen(1000, 4, 5000), 30, "1000/5000 users · 4 failed"),
            (seen(1000, 4, 5000), 5, ""),
        ] {
            assert_eq!(seen.line(columns), expected);
        }
    }
}
