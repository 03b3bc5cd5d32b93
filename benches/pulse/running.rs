//! A loop of `pulse` while it runs, and what its log says.

use crate::Result;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, spawn};

/// The loop's own count of what it has started and not ended, in a line that it does not write unless it is asked to.
const TASKS: &str = "\"tasks\":";
const ASKED: &str = "alpaca_pulse=info,alpaca_pulse::commands::sync=debug";

/// A loop. Dropping it ends it.
pub(crate) struct Running {
    process: Child,
    told: Arc<Mutex<LoopTold>>,
    reading: Option<JoinHandle<()>>,
}

/// What a log has said so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LoopTold {
    /// Ticks that ran to their end.
    pub(crate) completed: u64,
    /// Those that reached nobody.
    pub(crate) failed: u64,
    /// Those that came due while the one before still ran.
    pub(crate) skipped: u64,
    /// How many tasks there were after the latest one.
    pub(crate) tasks: u64,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        command.env("RUST_LOG", ASKED);
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let (log, told) = (process.stdout.take().ok_or("no stdout")?, Arc::<Mutex<LoopTold>>::default());
        let reading = spawn({
            let told = Arc::clone(&told);
            move || read(log, &told)
        });
        Ok(Self { process, told, reading: Some(reading) })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn told(&self) -> LoopTold {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its end: the exit code, and all that it said.
    pub(crate) fn end(mut self) -> Result<(Option<i32>, LoopTold)> {
        let exit = self.process.wait()?.code();
        // It ends with what it reads, and has nothing to tell but what is in `told`.
        let _ = self.reading.take().map(JoinHandle::join);
        Ok((exit, self.told()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is no trouble.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read(log: impl Read, told: &Mutex<LoopTold>) {
    for line in BufReader::new(log).lines().map_while(|line| line.ok()) {
        told.lock().unwrap_or_else(PoisonError::into_inner).hear(&line);
    }
}

impl LoopTold {
    fn hear(&mut self, line: &str) {
        self.completed += u64::from(line.contains("\"Completed multi-tenant sync: "));
        self.failed += u64::from(line.contains("\"Failed multi-tenant sync: "));
        self.skipped += u64::from(line.contains("\"Skipped pulse: "));
        let line = line.contains("\"Between two pulses\"").then_some(line);
        let tasks = line.and_then(|line| line.split_once(TASKS)).map(|(_, rest)| rest.trim_end_matches('}'));
        self.tasks = tasks.and_then(|tasks| tasks.parse().ok()).unwrap_or(self.tasks);
    }
}
