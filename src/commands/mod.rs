//! The commands of `pulse`, one file each.

use crate::config::Execution;
use crate::config::args::{self as cli, LogFormat};
use crate::config::variables;
use crate::shutdown::Stop;
use crate::telemetry::output;
use crate::telemetry::{self};
use jiff::Timestamp;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use tracing::error;

#[cfg(feature = "sandbox")]
mod demo;
mod sync;

pub use crate::config::args::Cli;
use crate::config::args::Command;

/// Runs one.
pub async fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Sync(args) => sync::sync(&args).await,
        #[cfg(feature = "sandbox")]
        Command::Sandbox(args) => served(pulse_sandbox::command::run(args).await).await,
        #[cfg(feature = "sandbox")]
        Command::Demo => served(demo::demo().await).await,
    }
}

/// What a variable is set to. Those that are no text are refused by [`variables::check`].
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Shows the help that was asked for, or says what is wrong with the command line: to whoever typed it, and where
/// logs are JSON to their readers too.
pub async fn explain(err: clap::Error) -> ExitCode {
    if !err.use_stderr() {
        // As for any program, whoever reads slowly is waited for; nothing was begun.
        let _ = err.print();
        return ExitCode::SUCCESS;
    }
    let args: Vec<OsString> = std::env::args_os().collect();
    let is = |command: &str| args.get(1).is_some_and(|first| first == command);
    // The parser would not name them.
    let unreadable = variables::check(std::env::vars_os()).err().filter(|_| is("sync"));
    let format = LogFormat::asked_for(&args, environment);
    if format.is_json(io::stdout().is_terminal()) && !is("sandbox") && !is("demo") {
        let execution = Execution::from_lookup(environment, Timestamp::now());
        telemetry::init(LogFormat::Json, execution.as_ref().ok(), environment);
        error!("{}", unreadable.as_ref().map_or_else(|| cli::reason(&err), ToString::to_string));
        output::flush(&Stop::default()).await;
    }
    output::tell(move || match unreadable {
        Some(unreadable) => writeln!(io::stderr(), "error: {unreadable}"),
        None => err.print(),
    })
    .await;
    ExitCode::from(2)
}

#[cfg(feature = "sandbox")]
async fn served(ended: io::Result<ExitCode>) -> ExitCode {
    match ended {
        Ok(code) => code,
        Err(err) => {
            output::tell(move || writeln!(io::stderr(), "pulse: {err}")).await;
            ExitCode::FAILURE
        }
    }
}
