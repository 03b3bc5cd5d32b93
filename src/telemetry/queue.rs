//! Lines that wait to be written: so many of each class, the least worth dropped first.

use crate::telemetry::targets::is_own;
use std::collections::VecDeque;
use tracing::{Level, Metadata};

const MIB: usize = 1024 * 1024;

/// Lines are kept, and handed to the writer, in pieces of about this size.
pub(super) const CHUNK: usize = 64 * 1024;

/// What a line is about: which of them are dropped first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The progress of a single user, and what libraries tell.
    Progress,
    /// An error or a warning, of which each user may have one.
    Problem,
    /// The pass itself, and how it ended.
    Pass,
}

impl Class {
    /// From what is known of every event of its kind, so that no line is looked into.
    pub(super) fn of(kind: &Metadata<'_>) -> Self {
        let is_about_the_pass = is_own(kind.target()) && kind.fields().field("user_id").is_none();
        match *kind.level() {
            Level::ERROR | Level::WARN | Level::INFO if is_about_the_pass => Self::Pass,
            Level::ERROR | Level::WARN => Self::Problem,
            _ => Self::Progress,
        }
    }

    /// How many bytes may be waiting when one more of these is taken: in a pass in which nearly nobody fails not 2 MB,
    /// and otherwise what 70,000 users take who fail while nobody reads.
    fn room(self) -> usize {
        match self {
            Self::Progress => 3 * MIB / 2,
            Self::Problem => 32 * MIB,
            Self::Pass => 33 * MIB,
        }
    }
}

/// Lines in their order.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) chunks: VecDeque<Vec<u8>>,
    /// One that is empty, to be used again.
    spare: Vec<u8>,
    /// Waiting, or being written.
    pub(super) bytes: usize,
    /// Bytes that were taken by the reader.
    pub(super) written: u64,
    /// Lines that never will be.
    pub(super) dropped: u64,
    /// How many of those the log has told of.
    told: u64,
    /// The writer sleeps until there are so many bytes; nothing while it is busy.
    pub(super) wakes_at: Option<usize>,
    /// The process ends: no line waits for others.
    pub(super) is_ending: bool,
    pub(super) has_writer: bool,
}

impl Queue {
    pub(super) const fn new() -> Self {
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
    pub(super) fn push(&mut self, class: Class, line: &[u8]) {
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
    pub(super) fn wakes_writer(&mut self) -> bool {
        let is_due = self.wakes_at.is_some_and(|bytes| self.bytes >= bytes);
        if is_due {
            self.wakes_at = None;
        }
        is_due
    }

    /// A chunk that was taken has been written, but for so many lines.
    pub(super) fn done(&mut self, mut chunk: Vec<u8>, lost: u64) {
        self.bytes -= chunk.len();
        self.dropped += lost;
        if chunk.capacity() <= CHUNK {
            chunk.clear();
            self.spare = chunk;
        }
    }

    /// How many lines were dropped so far, if the log has not told of all of them.
    pub(super) fn tell(&mut self) -> Option<u64> {
        let is_news = self.dropped > self.told;
        self.told = self.dropped;
        is_news.then_some(self.dropped)
    }
}

pub(super) fn lines_in(text: &[u8]) -> u64 {
    text.iter().filter(|&&byte| byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use std::sync::Mutex;

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
        use Class::{Pass, Problem, Progress};
        let mut queue = Queue::new();
        let mut taken_until = |class, length: usize| {
            let before = queue.dropped;
            while queue.dropped == before {
                queue.push(class, &line(length));
            }
            queue.bytes
        };
        let full =
            [(Progress, 400), (Problem, 600), (Pass, 600)].map(|(class, length)| taken_until(class, length));
        assert!(full.is_sorted() && full[0] > MIB && full[0] < 2_000_000 - CHUNK, "{full:?}");
        assert!(full[1] > 10_000 * 3 * 1024, "ten thousand who fail at once with long reasons: {full:?}");
        assert!(full[2] - full[1] > MIB / 2, "the summary fits in any case");
        for (class, dropped) in [(Progress, 4), (Problem, 5), (Pass, 6)] {
            queue.push(class, &line(2 * MIB));
            assert_eq!((queue.dropped, queue.bytes), (dropped, full[2]), "{class:?}");
        }
        queue.push(Problem, b"a table\nof two lines\n");
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
                queue.push(Class::Problem, &line);
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
        use Class::{Pass, Problem, Progress};
        let expected = [Progress, Progress, Progress, Problem, Problem, Pass, Pass, Pass];
        assert_eq!(*classes.0.lock().expect("not poisoned"), expected);
    }
}
