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

use crate::shutdown::Stop;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::{Level, Metadata, warn};
use tracing_subscriber::fmt::MakeWriter;

const MIB: usize = 1024 * 1024;

/// Lines are kept, and handed to the writer, in pieces of about this size.
const CHUNK: usize = 64 * 1024;

/// Bytes in one write: a pipe has room for so many or for none, so that this is the finest progress to be seen.
const WRITE: usize = 4096;

/// For more lines to come before the first of them is written: most of the cost of a line is waking the writer.
const GATHERING: Duration = Duration::from_millis(10);

/// Between two attempts at a stdout that is full and that someone else made non-blocking.
const RETRY: Duration = Duration::from_millis(5);

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

/// What a line is about: which of them are dropped first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The progress of a single user, and what libraries tell.
    Progress,
    /// An error or a warning, of which each user may have one.
    SyncState,
    /// The pass itself, and how it ended.
    Pass,
}

impl Class {
    /// From what is known of every event of its kind, so that no line is looked into.
    fn of(kind: &Metadata<'_>) -> Self {
        let is_own = kind.target().starts_with("alpaca_pulse") || kind.target().starts_with("pulse");
        let is_about_the_pass = is_own && kind.fields().field("user_id").is_none();
        match *kind.level() {
            Level::ERROR | Level::WARN | Level::INFO if is_about_the_pass => Self::Pass,
            Level::ERROR | Level::WARN => Self::SyncState,
            _ => Self::Progress,
        }
    }

    /// How many bytes may be waiting when one more of these is taken: in a pass in which nearly nobody fails not 2 MB,
    /// and otherwise what 70,000 users take who fail while nobody reads.
    fn room(self) -> usize {
        match self {
            Self::Progress => 3 * MIB / 2,
            Self::SyncState => 32 * MIB,
            Self::Pass => 33 * MIB,
        }
    }
}

/// Lines in their order.
#[derive(Default)]
struct Queue {
    chunks: VecDeque<Vec<u8>>,
    /// One that is empty, to be used again.
    spare: Vec<u8>,
    /// Waiting, or being written.
    bytes: usize,
    /// Bytes that were taken by the reader.
    written: u64,
    /// Lines that never will be.
    dropped: u64,
    /// How many of those the log has told of.
    told: u64,
    /// The writer sleeps until there are so many bytes; nothing while it is busy.
    wakes_at: Option<usize>,
    /// The process ends: no line waits for others.
    is_ending: bool,
    has_writer: bool,
}

impl Queue {
    const fn new() -> Self {
        Self {
            chunks: VecDeque::new(),
            spare: Vec::new(),
            bytes: 0,
            written: 0,
            dropped: 0,
            told: 0,
            wakes_at: None,
            is_ending: false,
            has_writer: false,
        }
    }

    /// Takes a line if there is room for its class.
    fn push(&mut self, class: Class, line: &[u8]) {
        if self.bytes + line.len() > class.room() {
            self.dropped += lines_in(line);
            return;
        }
        self.bytes += line.len();
        match self.chunks.back_mut() {
            Some(last) if last.len() + line.len() <= CHUNK => last.extend_from_slice(line),
            _ => {
                let mut chunk = std::mem::take(&mut self.spare);
                chunk.reserve(CHUNK.max(line.len()));
                chunk.extend_from_slice(line);
                self.chunks.push_back(chunk);
            }
        }
    }

    /// Whether the writer is to be woken, which then is busy.
    fn wakes_writer(&mut self) -> bool {
        let is_due = self.wakes_at.is_some_and(|bytes| self.bytes >= bytes);
        if is_due {
            self.wakes_at = None;
        }
        is_due
    }

    /// A chunk that was taken has been written, but for so many lines.
    fn done(&mut self, mut chunk: Vec<u8>, lost: u64) {
        self.bytes -= chunk.len();
        self.dropped += lost;
        if chunk.capacity() <= CHUNK {
            chunk.clear();
            self.spare = chunk;
        }
    }

    /// How many lines were dropped so far, if the log has not told of all of them.
    fn tell(&mut self) -> Option<u64> {
        let is_news = self.dropped > self.told;
        self.told = self.dropped;
        is_news.then_some(self.dropped)
    }
}

fn lines_in(text: &[u8]) -> u64 {
    text.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// Writes chunks to a stream that may refuse them.
struct Pen<W> {
    stream: W,
    /// The last line could be written only in part.
    is_torn: bool,
}

impl<W: Write> Pen<W> {
    /// Tells `progress` of all bytes that were taken. Returns how many lines were lost.
    fn write(&mut self, chunk: &[u8], progress: impl FnMut(usize)) -> u64 {
        if self.is_torn && self.write_all(b"\n", |_| {}) > 0 {
            return lines_in(chunk);
        }
        let lost = self.write_all(chunk, progress);
        let (written, rest) = chunk.split_at(chunk.len() - lost);
        self.is_torn = written.last().is_some_and(|&byte| byte != b'\n');
        // A line that lacks nothing but its end gets that before the next one.
        lines_in(rest.strip_prefix(b"\n").filter(|_| self.is_torn).unwrap_or(rest))
    }

    /// Returns how many bytes were not taken.
    fn write_all(&mut self, mut rest: &[u8], mut progress: impl FnMut(usize)) -> usize {
        while !rest.is_empty() {
            let Ok(written) = self.write_part(&rest[..rest.len().min(WRITE)]) else { break };
            progress(written);
            rest = &rest[written..];
        }
        rest.len()
    }

    /// Waits, where it must, as long as it takes.
    fn write_part(&mut self, part: &[u8]) -> io::Result<usize> {
        loop {
            match self.stream.write(part) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) if err.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
                done => return done,
            }
        }
    }
}

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
        let mut pen = Pen { stream: stdout(), is_torn: false };
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
#[cfg(feature = "sandbox")]
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

/// Waits at the end of the process until everything is written: longer for a reader who reads than for one who does
/// not, and never past what a signal or `--deadline` leaves.
pub(crate) async fn flush(stop: &Stop) {
    STDOUT.end();
    let mut patience = Patience::new(Instant::now());
    if !all_written(&mut patience, stop).await {
        return;
    }
    let untold = STDOUT.lock().tell();
    if let Some(dropped_lines) = untold {
        warn!(
            dropped_lines,
            "{dropped_lines} lines of the log were dropped: stdout did not take them in time"
        );
        all_written(&mut patience, stop).await;
    }
}

/// The same for a process that ends at once.
pub(crate) async fn flush_for(limit: Duration) {
    let _ = timeout(limit, flush(&Stop::default())).await;
}

/// Says something to a person in whatever way may block, and waits for it as for a reader who does not read.
pub(crate) async fn tell(say: impl FnOnce() -> io::Result<()> + Send + 'static) {
    // Where nobody can be told, the exit code remains.
    let _ = timeout(STALLED_LIMIT, tokio::task::spawn_blocking(say)).await;
}

/// Whether it was, before the patience was over.
async fn all_written(patience: &mut Patience, stop: &Stop) -> bool {
    loop {
        let (bytes, written) = {
            let queue = STDOUT.lock();
            (queue.bytes, queue.written)
        };
        if bytes == 0 {
            return true;
        }
        if patience.is_over(written, Instant::now(), stop) {
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
    fn is_over(&mut self, written: u64, now: Instant, stop: &Stop) -> bool {
        if written != self.written {
            (self.written, self.moved) = (written, now);
        }
        let stalled = if stop.signal().is_some() { STALLED_LIMIT_WHEN_TOLD } else { STALLED_LIMIT };
        let end = (self.moved + stalled).min(self.begun + READING_LIMIT);
        // A pass may end when its time is over: what it says at the end still gets to a reader who takes it.
        now >= stop.latest_end().map_or(end, |latest| latest.max(self.begun + LAST_WORDS).min(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown::StopSignal;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    fn line(length: usize) -> Vec<u8> {
        let mut line = vec![b'x'; length];
        line.push(b'\n');
        line
    }

    /// All that is waiting, in its order.
    fn waiting(queue: &Queue) -> Vec<u8> {
        queue.chunks.iter().flatten().copied().collect()
    }

    #[test]
    fn the_progress_of_single_users_is_dropped_first_and_the_end_of_the_pass_last() {
        use Class::{Pass, Progress, SyncState};
        let mut queue = Queue::new();
        let mut taken_until = |class, length: usize| {
            let before = queue.dropped;
            while queue.dropped == before {
                queue.push(class, &line(length));
            }
            queue.bytes
        };
        let full = [(Progress, 400), (SyncState, 600), (Pass, 600)]
            .map(|(class, length)| taken_until(class, length));
        assert!(full.is_sorted() && full[0] > MIB && full[0] < 2_000_000 - CHUNK, "{full:?}");
        assert!(full[1] > 10_000 * 3 * 1024, "ten thousand who fail at once with long reasons: {full:?}");
        assert!(full[2] - full[1] > MIB / 2, "the summary fits in any case");
        for (class, dropped) in [(Progress, 4), (SyncState, 5), (Pass, 6)] {
            queue.push(class, &line(2 * MIB));
            assert_eq!((queue.dropped, queue.bytes), (dropped, full[2]), "{class:?}");
        }
        queue.push(SyncState, b"a table\nof two lines\n");
        assert_eq!((queue.tell(), queue.tell()), (Some(8), None), "told once");
    }

    proptest! {
        /// Whatever is taken comes out whole and in its order.
        #[test]
        fn lines_stay_in_their_order(lengths in proptest::collection::vec(0..200_000_usize, 0..40)) {
            let (mut queue, mut expected) = (Queue::new(), Vec::new());
            for (number, length) in lengths.into_iter().enumerate() {
                let line = [number.to_string().into_bytes(), line(length)].concat();
                let before = queue.dropped;
                queue.push(Class::SyncState, &line);
                prop_assert_eq!(queue.dropped, before);
                expected.extend(line);
                if number % 3 == 2 {
                    let chunk = queue.chunks.pop_front().expect("a line was pushed");
                    let rest = expected.split_off(chunk.len());
                    prop_assert_eq!(std::mem::replace(&mut expected, rest), chunk.clone());
                    queue.done(chunk, 0);
                }
                prop_assert!(queue.spare.capacity() <= CHUNK);
                prop_assert_eq!(queue.bytes, expected.len());
            }
            prop_assert_eq!(waiting(&queue), expected);
        }

        /// Whatever a stream refuses, each line arrives whole or is counted, and none is glued to another.
        #[test]
        fn what_a_stream_refuses_is_counted(
            answers in proptest::collection::vec(any::<u8>(), 0..60),
            chunks in proptest::collection::vec(1..6_usize, 1..12),
        ) {
            let (mut pen, mut lost, mut number) = (Pen { stream: Moody::new(&answers), is_torn: false }, 0, 0);
            for lines in chunks {
                let chunk: Vec<u8> = (number..number + lines).flat_map(|n| format!("line {n:04}\n").into_bytes()).collect();
                number += lines;
                lost += pen.write(&chunk, |_| {});
            }
            let text = String::from_utf8(pen.stream.taken).expect("ASCII");
            let whole: Vec<_> = text.lines().filter(|line| line.len() == "line 0000".len()).collect();
            prop_assert_eq!(whole.len() as u64 + lost, number as u64, "{}", text);
            prop_assert!(whole.is_sorted() && text.lines().all(|line| "line 0000".len() >= line.len()), "{}", text);
        }
    }

    /// A stream that answers as it likes: a part, not now, interrupted, no space.
    struct Moody {
        answers: Vec<u8>,
        taken: Vec<u8>,
    }

    impl Moody {
        fn new(answers: &[u8]) -> Self {
            Self { answers: answers.to_vec(), taken: Vec::new() }
        }
    }

    impl Write for Moody {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = match self.answers.pop() {
                Some(0..60) => return Err(ErrorKind::StorageFull.into()),
                Some(60..70) => return Err(ErrorKind::WouldBlock.into()),
                Some(70..80) => return Err(ErrorKind::Interrupted.into()),
                Some(80..90) => return Ok(0),
                Some(part) => bytes.len().min(usize::from(part) % 23 + 1),
                None => bytes.len(),
            };
            self.taken.extend(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines of these events are of these classes.
    #[test]
    fn what_a_line_is_about_is_known_by_its_kind() {
        #[derive(Clone, Default)]
        struct Classes(std::sync::Arc<Mutex<Vec<Class>>>);

        impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Classes {
            fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
                self.0.lock().expect("not poisoned").push(Class::of(event.metadata()));
            }
        }

        use tracing_subscriber::layer::SubscriberExt;
        let classes = Classes::default();
        let subscriber = tracing_subscriber::registry().with(classes.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(user_id = "ana", "Syncing");
            tracing::debug!("how it works");
            tracing::info!(target: "h2", "of a library");
            tracing::error!(user_id = "ana", error = "keys_missing", "Failed");
            tracing::warn!(target: "h2", "of a library");
            tracing::info!(duration_ms = 12, "Completed");
            tracing::warn!("Stopped");
            tracing::error!(severity = "CRITICAL", "Failed");
        });
        use Class::{Pass, Progress, SyncState};
        let expected = [Progress, Progress, Progress, SyncState, SyncState, Pass, Pass, Pass];
        assert_eq!(*classes.0.lock().expect("not poisoned"), expected);
    }

    /// After how many seconds a reader is given up who takes something so often, so many times.
    fn given_up(stop: &Stop, every: f64, times: u64) -> f64 {
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
            if patience.is_over(taken.min(times), start + Duration::from_secs_f64(now), stop) {
                return now;
            }
            now += 0.02;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_who_reads_is_waited_for_longer() {
        let told = Stop::default();
        told.request(StopSignal::Terminate);
        let due = Stop::default();
        due.by_deadline(Duration::from_secs(30), Instant::now());
        let over = Stop::default();
        over.by_deadline(Duration::from_millis(1), Instant::now());
        for (stop, every, times, expected) in [
            (&Stop::default(), 1.0, 0, 3.0),
            (&Stop::default(), 1.0, 5, 8.0),
            (&Stop::default(), 2.9, 1_000_000, 60.0),
            (&told, 1.0, 0, 1.0),
            (&told, 0.9, 1_000_000, 9.7),
            (&due, 1.0, 0, 3.0),
            (&due, 1.0, 1_000_000, 30.0),
            (&over, 0.1, 1_000_000, 0.3),
        ] {
            let given_up = given_up(stop, every, times);
            assert!((given_up - expected).abs() < 0.1, "{every} {times}: {given_up} for {expected}");
        }
    }
}
