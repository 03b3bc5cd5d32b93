//! `pulse keys`.

mod check;
mod destroy;
mod list;
mod set;
pub(super) mod store;
mod typed;
mod unseen;

use crate::config::keys_args::KeysCommand;
use std::process::ExitCode;

/// Runs one of its commands.
pub(super) async fn run(command: &KeysCommand) -> ExitCode {
    match command {
        KeysCommand::Check(args) => check::run(args).await,
        KeysCommand::Set(args) => set::run(args).await,
        KeysCommand::List(args) => list::run(args).await,
    }
}
