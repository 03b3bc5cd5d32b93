//! How far it is, on a terminal.

use crate::commands::frame::grouped;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;
use tokio::time::Instant;

/// So often the line is drawn anew.
const INTERVAL: Duration = Duration::from_millis(500);

/// A line on stderr that is drawn anew while something takes long. Where there is no terminal, nothing is shown.
#[derive(Debug)]
pub(super) struct Progress {
    doing: &'static str,
    is_shown: bool,
    begun: Instant,
    drawn: Option<Instant>,
}

impl Progress {
    pub(super) fn new(doing: &'static str) -> Self {
        Self { doing, is_shown: io::stderr().is_terminal(), begun: Instant::now(), drawn: None }
    }

    /// So many are done.
    pub(super) fn at(&mut self, done: u64) {
        let now = Instant::now();
        if !self.is_shown || now - self.drawn.unwrap_or(self.begun) < INTERVAL {
            return;
        }
        self.drawn = Some(now);
        let rate = done as f64 / (now - self.begun).as_secs_f64();
        let line = format!("{}: {} documents, {} a second", self.doing, grouped(done), grouped(rate as u64));
        // Where nobody reads any more, it goes on without.
        let _ = write!(io::stderr(), "\r\x1b[K{line}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
