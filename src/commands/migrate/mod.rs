//! `pulse migrate`.

mod apply;
mod cleanup;
mod close;
mod ground;
mod keys;
mod plan;
mod progress;
mod rollback;
mod status;
mod told;
mod verify;

use crate::config::migrate_args::MigrateCommand;
use std::process::ExitCode;

pub(super) async fn migrate(command: &MigrateCommand) -> ExitCode {
    match command {
        MigrateCommand::Plan(args) => plan::plan(args).await,
        MigrateCommand::Apply(args) => apply::apply(args).await,
        MigrateCommand::Verify(args) => verify::verify(args).await,
        MigrateCommand::Rollback(args) => rollback::rollback(args).await,
        MigrateCommand::Cleanup(args) => cleanup::cleanup(args).await,
        MigrateCommand::Status(args) => status::status(args).await,
    }
}
