//! The pulse's log, read as a log agent would: line by line from a pipe, while the pulse runs.

use crate::Result;
use serde::Serialize;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};

const STARTED: &str = "\"Syncing Alpaca account for user ";
const SYNCED: &str = "\"Successfully synced Alpaca account for user ";
const MICROS_A_DAY: i64 = 86_400_000_000;

/// How long users took, from the first line about them to the last, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Times {
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
}

/// What a log says.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// How long each user took, in microseconds.
    took: Vec<i64>,
    /// The first lines that tell of trouble.
    pub(crate) trouble: Vec<String>,
}

impl Told {
    pub(crate) fn synced(&self) -> usize {
        self.took.len()
    }

    /// `None` if no user was synced.
    pub(crate) fn times(&mut self) -> Option<Times> {
        self.took.sort_unstable();
        let last = self.took.len().checked_sub(1)?;
        #[expect(clippy::cast_precision_loss, reason = "days in microseconds fit a double")]
        let share = |percent: usize| self.took[last * percent / 100] as f64 / 1000.0;
        Some(Times { p50_ms: share(50), p95_ms: share(95), p99_ms: share(99) })
    }
}

/// Reads to the end. Only the lines that are needed are looked into, and these only where needed: the reader shares
/// the machine with what it measures.
pub(crate) fn read(log: impl Read) -> Result<Told> {
    let mut log = BufReader::with_capacity(1 << 18, log);
    let (mut told, mut under_way) = (Told::default(), HashMap::new());
    let mut line = String::new();
    while log.read_line(&mut line)? > 0 {
        if let Some(user) = after(&line, STARTED) {
            under_way.insert(user.to_owned(), time(&line).ok_or("a line without a time")?);
        } else if let Some(user) = after(&line, SYNCED) {
            let start = under_way.remove(user).ok_or("a user who ended and never began")?;
            let end = time(&line).ok_or("a line without a time")?;
            told.took.push((end - start).rem_euclid(MICROS_A_DAY));
        } else if !line.contains("\"severity\":\"INFO\"") && told.trouble.len() < 3 {
            told.trouble.push(line.trim_end().to_owned());
        }
        line.clear();
    }
    Ok(told)
}

/// The rest of the JSON string that starts with `start`.
fn after<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    let rest = &line[line.find(start)? + start.len()..];
    rest.split('"').next()
}

/// The time of day of a line, in microseconds: `"time":"2026-01-05T14:30:00.123456Z"`.
fn time(line: &str) -> Option<i64> {
    let clock = after(line, "\"time\":\"")?.split_once('T')?.1.trim_end_matches('Z');
    let (seconds, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let seconds = seconds.split(':').try_fold(0, |sum, part| Some(sum * 60 + part.parse::<i64>().ok()?))?;
    let micros: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    Some(seconds * 1_000_000 + micros)
}
