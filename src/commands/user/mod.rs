//! `pulse user`.

mod add;
mod remove;
mod switch;

use crate::config::user_args::UserCommand;
use std::process::ExitCode;

/// Runs one of its commands.
pub(super) async fn run(command: &UserCommand) -> ExitCode {
    match command {
        UserCommand::Add(args) => add::run(args).await,
        UserCommand::Pause(args) => switch::run("user pause", args, false).await,
        UserCommand::Resume(args) => switch::run("user resume", args, true).await,
        UserCommand::Remove(args) => remove::run(args).await,
    }
}
