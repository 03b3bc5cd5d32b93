//! What a user costs in allocated memory, as valgrind's dhat counts it at every call of the allocator.

use crate::Result;
use crate::run::Bench;
use serde::Serialize;
use std::process::{Command, Stdio};

/// Two passes of different size, so that what a pass costs apart from its users cancels out.
const USERS: [u32; 2] = [200, 1_200];

/// For each user.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Allocations {
    pub(crate) bytes_per_user: f64,
    pub(crate) blocks_per_user: f64,
}

pub(crate) fn measure(bench: &Bench) -> Result<Allocations> {
    let [(less_bytes, less_blocks), (more_bytes, more_blocks)] =
        [total(bench, USERS[0])?, total(bench, USERS[1])?];
    let users = f64::from(USERS[1] - USERS[0]);
    let (bytes, blocks) = (more_bytes - less_bytes, more_blocks - less_blocks);
    if blocks < users {
        return Err("valgrind saw almost none; has pulse an allocator of its own?".into());
    }
    Ok(Allocations { bytes_per_user: bytes / users, blocks_per_user: blocks / users })
}

/// Bytes and blocks of a whole pass.
fn total(bench: &Bench, users: u32) -> Result<(f64, f64)> {
    let cloud = bench.cloud(users, 0)?;
    let output = Command::new("valgrind")
        .args(["--tool=dhat", "--dhat-out-file=/dev/null"])
        .arg(&bench.args.pulse)
        .args(["sync", "--concurrency", "16", "--log-format", "json"])
        .env_remove("LD_PRELOAD")
        .envs(cloud.exports.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .map_err(|err| format!("valgrind cannot be run: {err}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    // ==1== Total:     12,345 bytes in 678 blocks
    let line = text.lines().find(|line| line.contains(" Total:")).ok_or_else(|| text.to_string())?;
    let mut numbers = line.split_whitespace().filter_map(|word| word.replace(',', "").parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(bytes), Some(blocks)) => Ok((bytes, blocks)),
        _ => Err(format!("not understood: {line}").into()),
    }
}
