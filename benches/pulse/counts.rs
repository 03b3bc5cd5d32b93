//! What a user costs in instructions and in allocated memory, as valgrind counts them.
//!
//! Much slower than a real run, and so apart from all timing; but the counts hardly change from run to run, however
//! busy the machine is. Instructions are those of the program itself, without the kernel's.

use crate::Result;
use crate::run::Bench;
use serde::Serialize;
use std::process::{Command, Stdio};

/// Two passes of different size, so that what a pass costs apart from its users cancels out.
const USERS: [u32; 2] = [200, 1_200];
const CONCURRENCY: &str = "16";
const CALLGRIND: [&str; 2] = ["--tool=callgrind", "--callgrind-out-file=/dev/null"];
const DHAT: [&str; 2] = ["--tool=dhat", "--dhat-out-file=/dev/null"];

/// For each user.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Counts {
    pub(crate) instructions: f64,
    pub(crate) instructions_of_the_floor: f64,
    pub(crate) bytes_allocated: f64,
    pub(crate) blocks_allocated: f64,
}

pub(crate) fn measure(bench: &Bench) -> Result<Counts> {
    let [less, more] = [count(bench, USERS[0])?, count(bench, USERS[1])?];
    let users = f64::from(USERS[1] - USERS[0]);
    let each = |of: fn(&Counts) -> f64| (of(&more) - of(&less)) / users;
    let counts = Counts {
        instructions: each(|counts| counts.instructions),
        instructions_of_the_floor: each(|counts| counts.instructions_of_the_floor),
        bytes_allocated: each(|counts| counts.bytes_allocated),
        blocks_allocated: each(|counts| counts.blocks_allocated),
    };
    if counts.blocks_allocated < 1.0 {
        bench.note("valgrind saw no allocations: does this pulse have an allocator of its own?".into());
    }
    Ok(counts)
}

/// Of whole passes.
fn count(bench: &Bench, users: u32) -> Result<Counts> {
    let cloud = bench.cloud(users, 0)?;
    let pulse = |tool: [&str; 2]| {
        let mut command = Command::new("valgrind");
        command
            .args(tool)
            .arg(&bench.args.pulse)
            .args(["sync", "--concurrency", CONCURRENCY, "--log-format", "json"])
            .envs(cloud.exports.iter().cloned());
        command
    };
    let mut floor = Command::new("valgrind");
    floor.args(CALLGRIND).arg(std::env::current_exe()?);
    floor.args(["floor", "--concurrency", CONCURRENCY]).args(bench.floor_arguments(&cloud)?);
    let [instructions] = numbers(pulse(CALLGRIND), "Collected :")?;
    let [instructions_of_the_floor] = numbers(floor, "Collected :")?;
    // ==1== Total:     12,345 bytes in 678 blocks
    let [bytes_allocated, blocks_allocated] = numbers(pulse(DHAT), "Total:")?;
    Ok(Counts { instructions, instructions_of_the_floor, bytes_allocated, blocks_allocated })
}

/// Runs the command, and reads the numbers behind `label` in what valgrind says.
fn numbers<const N: usize>(mut command: Command, label: &str) -> Result<[f64; N]> {
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .map_err(|err| format!("valgrind cannot be run: {err}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find_map(|line| line.split_once(label)).ok_or_else(|| text.to_string())?.1;
    let words = line.split_whitespace().filter_map(|word| word.replace(',', "").parse().ok());
    let numbers: Vec<f64> = words.collect();
    numbers.get(..N).and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| format!("read {line}").into())
}
