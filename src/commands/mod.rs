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
use clap::CommandFactory;
use clap::error::ErrorKind;
use jiff::Timestamp;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use tracing::error;

/// Commands for operators, which answer with one object where `--json` is given.
const FOR_OPERATORS: [&str; 9] =
    ["cost", "doctor", "explain", "keys", "migrate", "read", "status", "user", "users"];

/// Others that have no log.
const WITHOUT_LOG: [&str; 3] = ["completions", "demo", "sandbox"];

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
    if let Some(command) = asked_for_json(&args) {
        let sentence = format!("{}.", failures::capitalised(&args::reason(&err)));
        frame::refuse(command, "Usage", sentence).await;
    }
    let has_log = !FOR_OPERATORS.into_iter().chain(WITHOUT_LOG).any(is);
    if has_log && format.is_json(io::stdout().is_terminal()) {
        let execution = Execution::from_lookup(environment, Timestamp::now());
        let label = execution.as_ref().map(Execution::label).unwrap_or_default();
        telemetry::init((LogFormat::Json, true), &label, environment);
        error!("{}", unreadable.as_ref().map_or_else(|| args::reason(&err), ToString::to_string));
        Stop::default().flush_log().await;
    }
    output::tell(move || match unreadable {
        Some(unreadable) => write!(io::stderr(), "{}", frame::refusal(&format!("error: {unreadable}"))),
        None if err.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => err.print(),
        None => write!(io::stderr(), "{}", frame::refusal(&err.render().to_string())),
    })
    .await;
    ExitCode::from(2)
}

/// The operator's command that was typed with `--json`, by the name that its answers have.
fn asked_for_json(args: &[OsString]) -> Option<String> {
    let words = args.iter().skip(1).map(|word| word.to_string_lossy()).take_while(|word| word != "--");
    let words: Vec<_> = words.collect();
    let first = words.first().filter(|word| FOR_OPERATORS.contains(&&***word))?;
    let cli = Cli::command();
    // Anything else that was typed may be a key.
    let below = words.get(1).filter(|word| {
        cli.find_subcommand(&**first).is_some_and(|command| command.find_subcommand(&***word).is_some())
    });
    let name = below.map_or_else(|| first.to_string(), |below| format!("{first} {below}"));
    words.iter().any(|word| word == "--json").then_some(name)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_json_has_the_name_of_the_command_and_of_nothing_else_that_was_typed() {
        for (line, expected) in [
            ("pulse explain a/b --json", Some("explain")),
            ("pulse user --json add a/b", Some("user")),
            ("pulse user add a/b --json", Some("user add")),
            ("pulse keys hush --json", Some("keys")),
            ("pulse status hush --json", Some("status")),
            ("pulse explain a/b", None),
            ("pulse explain -- --json", None),
            ("pulse sync --json", None),
            ("pulse --json", None),
            ("pulse", None),
        ] {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(asked_for_json(&args).as_deref(), expected, "{line}");
        }
    }
}
