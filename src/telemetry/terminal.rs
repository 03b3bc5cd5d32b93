//! Whether a person watches, and on how many columns.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// Columns of a terminal that does not say.
const COLUMNS: usize = 80;

/// The log goes to a terminal, as text.
static IS_WATCHED: AtomicBool = AtomicBool::new(false);

pub(super) fn is_watched_from_now_on() {
    IS_WATCHED.store(true, Ordering::Relaxed);
}

/// Whether a person watches the log.
#[must_use]
pub(crate) fn is_watched() -> bool {
    IS_WATCHED.load(Ordering::Relaxed)
}

/// Whether a line on stderr can be drawn over, beside a log that is watched.
pub(super) fn can_redraw(term: Option<&str>) -> bool {
    io::stderr().is_terminal() && term != Some("dumb")
}

/// The columns of stdout, if it is a terminal.
#[must_use]
pub(crate) fn columns_of_stdout() -> Option<usize> {
    let stdout = io::stdout();
    stdout.is_terminal().then(|| columns(stdout))
}

/// The columns of stderr, if it is one.
#[must_use]
pub(crate) fn columns_of_stderr() -> Option<usize> {
    let stderr = io::stderr();
    stderr.is_terminal().then(|| columns(stderr))
}

pub(super) fn columns(terminal: impl AsFd) -> usize {
    let size = rustix::termios::tcgetwinsize(terminal);
    let columns = size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    columns.unwrap_or(COLUMNS)
}
