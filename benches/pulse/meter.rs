//! What a process used, as the kernel counted it: exact, however short its life.
//!
//! The kernel tells the parent about its children in sums, so every measured process gets a parent of its own.

use crate::Result;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// What a process used.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Used {
    pub(crate) wall_us: f64,
    pub(crate) user_us: f64,
    pub(crate) system_us: f64,
    pub(crate) peak_kib: f64,
    /// `None` after a signal.
    pub(crate) exit: Option<i32>,
}

impl Used {
    pub(crate) fn cpu_us(&self) -> f64 {
        self.user_us + self.system_us
    }
}

/// The command that runs `program` and writes what it used to the file `into`.
pub(crate) fn metered(program: &OsStr, into: &Path) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("meter").arg(into).arg(program);
    Ok(command)
}

/// What such a command wrote.
pub(crate) fn read(from: &Path) -> Result<Used> {
    Ok(serde_json::from_reader(File::open(from)?)?)
}

/// The part `meter`.
#[expect(clippy::cast_precision_loss, reason = "microseconds of a run fit a double")]
pub(crate) fn run(into: &Path, program: &[OsString]) -> Result<ExitCode> {
    let (name, arguments) = program.split_first().ok_or("no program to measure")?;
    let start = Instant::now();
    let status = Command::new(name).args(arguments).status()?;
    let wall_us = start.elapsed().as_secs_f64() * 1e6;
    let children = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let used = Used {
        wall_us,
        user_us: children.user_time().num_microseconds() as f64,
        system_us: children.system_time().num_microseconds() as f64,
        peak_kib: children.max_rss() as f64,
        exit: status.code(),
    };
    serde_json::to_writer(File::create(into)?, &used)?;
    Ok(ExitCode::SUCCESS)
}
