//! Lines on stdout, handed over without ever waiting for whoever reads them.
//!
//! A pipe may be closed, full or read by nobody, a disk may be full: none of that is a reason to hold up users, a
//! deadline or a signal. So lines go into a bounded queue, and a thread of its own writes them. What does not fit is
//! dropped and counted, the progress of single users first.
//!
//! `tracing-appender` was tried first, and has less than this takes: its queue counts lines and not bytes, knows no
//! line that matters more than another (two of its queues would lose the order), allocates for each line, does not count
//! what could not be written, gives every reader one second at the end, and prints to the very stdout that is
//! blocked when that was too short.

use crate::telemetry::pen::{Pen, RETRY};
use crate::telemetry::queue::{CHUNK, Class, Queue};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::{Metadata, warn};
use tracing_subscriber::fmt::MakeWriter;

/// For more lines to come before the first of them is written: most of the cost of a line is waking the writer.
const GATHERING: Duration = Duration::from_millis(10);

/// What a reader who takes nothing more is waited for at the end.
const STALLED_LIMIT: Duration = Duration::from_secs(3);

/// The same after a signal, when others wait for the process.
const STALLED_LIMIT_WHEN_TOLD: Duration = Duration::from_secs(1);

/// What a reader who goes on reading is waited for at the end.
const READING_LIMIT: Duration = Duration::from_secs(60);

/// What a reader is waited for in any case.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Between two looks at whether the reader takes anything.
const LOOK: Duration = Duration::from_millis(20);

/// The queue and its writer.
struct Output {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// When all of it is written, once the process ends.
    is_empty: Notify,
}

static STDOUT: Output =
    Output { queue: Mutex::new(Queue::new()), wake: Condvar::new(), is_empty: Notify::const_new() };

impl Output {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing that is done with a queue leaves it half done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&'static self, class: Class, line: &[u8]) {
        let mut queue = self.lock();
        if !queue.has_writer {
            // Without a thread lines wait as for a reader who does not read; the next one tries again.
            let writer = thread::Builder::new().name("output".into()).spawn(|| self.write_on());
            queue.has_writer = writer.is_ok();
        }
        queue.push(class, line);
        if queue.wakes_writer() {
            drop(queue);
            self.wake.notify_one();
        }
    }

    /// Writes what comes, until the process ends.
    fn write_on(&self) {
        let mut pen = Pen::new(stdout());
        loop {
            let chunk = self.next();
            let lost = pen.write(&chunk, |bytes| self.lock().written += bytes as u64);
            let mut queue = self.lock();
            queue.done(chunk, lost);
            if queue.bytes == 0 && queue.is_ending {
                self.is_empty.notify_one();
            }
        }
    }

    /// Waits for lines, and a moment for more of them.
    fn next(&self) -> Vec<u8> {
        let mut queue = self.lock();
        while queue.chunks.is_empty() {
            queue.wakes_at = Some(1);
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.bytes < CHUNK && !queue.is_ending {
            queue.wakes_at = Some(CHUNK);
            queue = self.wake.wait_timeout(queue, GATHERING).unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.wakes_at = None;
        queue.chunks.pop_front().unwrap_or_default()
    }

    /// No line waits for others any more.
    fn end(&self) {
        self.lock().is_ending = true;
        self.wake.notify_one();
    }
}

/// Stdout itself: the standard library's holds back a line that is not whole, and keeps a lock while it waits.
fn stdout() -> File {
    loop {
        match io::stdout().as_fd().try_clone_to_owned() {
            Ok(stdout) => return stdout.into(),
            // Until another file is closed, lines wait as for a reader who does not read.
            Err(_) => thread::sleep(RETRY),
        }
    }
}

/// What log lines are written to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines;

/// The same for lines of one class.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinesOf(Class);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LinesOf;

    fn make_writer(&'a self) -> LinesOf {
        LinesOf(Class::Pass)
    }

    fn make_writer_for(&'a self, kind: &Metadata<'_>) -> LinesOf {
        LinesOf(Class::of(kind))
    }
}

impl Write for LinesOf {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        STDOUT.push(self.0, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Puts a text behind the lines of the log. It ends with a line break.
pub(crate) fn print(text: &str) {
    STDOUT.push(Class::Pass, text.as_bytes());
}

/// How many lines of this process were dropped so far, if any were: for the line that sums the pass up.
#[must_use]
pub(crate) fn dropped_lines() -> Option<u64> {
    let mut queue = STDOUT.lock();
    queue.tell();
    (queue.dropped > 0).then_some(queue.dropped)
}

/// What the end of the process leaves for the log's reader.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hurry {
    /// A signal came: others wait for the process.
    pub(crate) is_told: bool,
    /// When the process has to have ended.
    pub(crate) latest_end: Option<Instant>,
}

/// Waits at the end of the process until everything is written: longer for a reader who reads than for one who does
/// not, and never past what a signal or `--deadline` leaves, which `hurry` is asked for while it lasts.
pub(crate) async fn flush(hurry: impl Fn() -> Hurry) {
    STDOUT.end();
    let mut patience = Patience::new(Instant::now());
    if !all_written(&mut patience, &hurry).await {
        return;
    }
    let untold = STDOUT.lock().tell();
    if let Some(dropped_lines) = untold {
        warn!(
            dropped_lines,
            "{dropped_lines} lines of the log were dropped: stdout did not take them in time"
        );
        all_written(&mut patience, &hurry).await;
    }
}

/// The same for a process that ends at once.
pub(crate) async fn flush_for(limit: Duration) {
    let _ = timeout(limit, flush(Hurry::default)).await;
}

/// Says something to a person in whatever way may block, and waits for it as for a reader who does not read.
pub(crate) async fn tell(say: impl FnOnce() -> io::Result<()> + Send + 'static) {
    // Where nobody can be told, the exit code remains.
    let _ = timeout(STALLED_LIMIT, tokio::task::spawn_blocking(say)).await;
}

/// Whether it was, before the patience was over.
async fn all_written(patience: &mut Patience, hurry: &impl Fn() -> Hurry) -> bool {
    loop {
        let (bytes, written) = {
            let queue = STDOUT.lock();
            (queue.bytes, queue.written)
        };
        if bytes == 0 {
            return true;
        }
        if patience.is_over(written, Instant::now(), hurry()) {
            return false;
        }
        // Soon enough to see whether the reader takes anything.
        let _ = timeout(LOOK, STDOUT.is_empty.notified()).await;
    }
}

/// How long the reader is waited for.
struct Patience {
    begun: Instant,
    written: u64,
    /// When the reader last took something.
    moved: Instant,
}

impl Patience {
    fn new(now: Instant) -> Self {
        Self { begun: now, written: 0, moved: now }
    }

    /// Whether it is, now that the reader has taken so many bytes.
    fn is_over(&mut self, written: u64, now: Instant, hurry: Hurry) -> bool {
        if written != self.written {
            (self.written, self.moved) = (written, now);
        }
        let stalled = if hurry.is_told { STALLED_LIMIT_WHEN_TOLD } else { STALLED_LIMIT };
        let end = (self.moved + stalled).min(self.begun + READING_LIMIT);
        // A pass may end when its time is over: what it says at the end still gets to a reader who takes it.
        now >= hurry.latest_end.map_or(end, |latest| latest.max(self.begun + LAST_WORDS).min(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many seconds a reader is given up who takes something so often, so many times.
    fn given_up(hurry: Hurry, every: f64, times: u64) -> f64 {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        let mut now = 0.0;
        loop {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a small positive number"
            )]
            let taken = (now / every) as u64;
            if patience.is_over(taken.min(times), start + Duration::from_secs_f64(now), hurry) {
                return now;
            }
            now += 0.02;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_who_reads_is_waited_for_longer() {
        let ends = |is_told, seconds: f64| {
            let latest_end = Some(Instant::now() + Duration::from_secs_f64(seconds));
            Hurry { is_told, latest_end }
        };
        let (told, due, over) = (ends(true, 9.7), ends(false, 30.0), ends(false, 0.001));
        for (hurry, every, times, expected) in [
            (Hurry::default(), 1.0, 0, 3.0),
            (Hurry::default(), 1.0, 5, 8.0),
            (Hurry::default(), 2.9, 1_000_000, 60.0),
            (told, 1.0, 0, 1.0),
            (told, 0.9, 1_000_000, 9.7),
            (due, 1.0, 0, 3.0),
            (due, 1.0, 1_000_000, 30.0),
            (over, 0.1, 1_000_000, 0.3),
        ] {
            let given_up = given_up(hurry, every, times);
            assert!((given_up - expected).abs() < 0.1, "{every} {times}: {given_up} for {expected}");
        }
    }
}
