//! Writing lines whole, or counting those that are lost.

use crate::telemetry::queue::lines_in;
use std::io::{self, ErrorKind, Write};
use std::thread;
use std::time::Duration;

/// Bytes in one write: a pipe has room for so many or for none, so that this is the finest progress to be seen.
const WRITE: usize = 4096;

/// Between two attempts at a stdout that is full and that someone else made non-blocking.
pub(super) const RETRY: Duration = Duration::from_millis(5);

/// Writes chunks to a stream that may refuse them.
pub(super) struct Pen<W> {
    stream: W,
    /// The last line could be written only in part.
    is_torn: bool,
}

impl<W: Write> Pen<W> {
    pub(super) fn new(stream: W) -> Self {
        Self { stream, is_torn: false }
    }

    /// Tells `progress` of all bytes that were taken. Returns how many lines were lost.
    pub(super) fn write(&mut self, chunk: &[u8], progress: impl FnMut(usize)) -> u64 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    proptest! {
        /// Whatever a stream refuses, each line arrives whole or is counted, and none is glued to another.
        #[test]
        fn what_a_stream_refuses_is_counted(
            answers in proptest::collection::vec(any::<u8>(), 0..60),
            chunks in proptest::collection::vec(1..6_usize, 1..12),
        ) {
            let (mut pen, mut lost, mut number) = (Pen::new(Moody::new(&answers)), 0, 0);
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
}
