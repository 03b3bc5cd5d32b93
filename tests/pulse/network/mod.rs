//! The network as it is: name servers that are silent, servers that end their connections, few open files.

mod names;
mod nginx;
mod open_files;

use std::env;
use std::process::Stdio;
use tokio::process::Command;

/// Says that something cannot be tried here; on a CI machine, where all is installed, that is a failure.
fn skipped(why: &str) {
    assert_ne!(env::var("CI").as_deref(), Ok("true"), "on a CI machine: {why}");
    println!("skipped: {why}");
}

/// So many users' ids.
fn users(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("user-{number:04}")).collect()
}

/// A pass that another program starts, with the same arguments and variables.
fn through(mut program: Command, pulse: &Command) -> Command {
    let pulse = pulse.as_std();
    program.arg(pulse.get_program()).args(pulse.get_args());
    program.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default());
    program.envs(pulse.get_envs().filter_map(|(name, value)| Some((name, value?))));
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    program
}
