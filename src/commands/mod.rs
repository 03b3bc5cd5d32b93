//! The commands of `pulse`, one file each.

mod completions;
mod cost;
#[cfg(feature = "sandbox")]
mod demo;
mod doctor;
mod explain;
mod failures;
mod frame;
mod keys;
mod migrate;
mod office;
mod pulse_check;
mod read;
mod reading;
mod standing;
mod status;
mod sync;
mod user;
mod user_list;
mod users;

pub use crate::config::args::Cli;

use crate::config::Execution;
use crate::config::args::{self, Command};
use crate::config::variables::{self, environment};
use crate::shutdown::Stop;
use crate::telemetry::{self, LogFormat, output};
use jiff::Timestamp;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use tracing::error;

/// Commands for a person, which have no log.
const WITHOUT_LOG: [&str; 12] = [
    "completions",
    "cost",
    "demo",
    "doctor",
    "explain",
    "keys",
    "migrate",
    "read",
    "sandbox",
    "status",
    "user",
    "users",
];

/// Runs the command that was given.
pub async fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Sync(args) => sync::sync(&args).await,
        Command::Migrate(command) => migrate::migrate(&command).await,
        Command::Status(args) => status::status(&args).await,
        Command::Users(args) => users::users(&args).await,
        Command::Explain(args) => explain::explain(&args).await,
        Command::Read(args) => read::read(&args).await,
        Command::Doctor(args) => doctor::doctor(&args).await,
        Command::Cost(args) => cost::cost(&args).await,
        Command::Keys(command) => keys::run(&command).await,
        Command::User(command) => user::run(&command).await,
        Command::Completions { shell } => completions::print(shell),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(args) => served(pulse_sandbox::command::run(args).await).await,
        #[cfg(feature = "sandbox")]
        Command::Demo(args) => served(demo::demo(&args).await).await,
    }
}

/// Shows the help that was asked for, or says what is wrong with the command line: to whoever typed it, and where
/// logs are JSON to their readers too.
pub async fn refuse(err: clap::Error) -> ExitCode {
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
    if format.is_json(io::stdout().is_terminal()) && !WITHOUT_LOG.into_iter().any(is) {
        let execution = Execution::from_lookup(environment, Timestamp::now());
        let label = execution.as_ref().map(Execution::label).unwrap_or_default();
        telemetry::init((LogFormat::Json, true), &label, environment);
        error!("{}", unreadable.as_ref().map_or_else(|| args::reason(&err), ToString::to_string));
        Stop::default().flush_log().await;
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
