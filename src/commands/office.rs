//! The clients that a pass for one named user has, for commands that sync somebody.

use crate::commands::failures::Stopped;
use crate::commands::frame::{CheckState, Finding};
use crate::config::args::{self, Cli, Command};
use crate::config::variables::environment;
use crate::config::{Config, Execution, Place};
use crate::model::ids::DocumentId;
use crate::services::clients::Clients;
use clap::Parser;
use jiff::Timestamp;
use std::sync::Arc;

/// Connects as `pulse sync --user` does, with the settings of the environment; but it is no dry run, and no loop.
pub(super) async fn connect(place: &Place, user: &DocumentId) -> Result<Arc<Clients>, Stopped> {
    let (project, database) = (&*place.database.project, &*place.database.database);
    let user = format!("--user={}", user.as_str());
    let line = ["pulse", "sync", &user, "--project", project, "--database", database];
    let unusable =
        |sentence: String| Stopped::Usage(Finding::new(CheckState::Failed, "Configuration", sentence));
    let cli = Cli::try_parse_from(line).map_err(|err| unusable(args::reason(&err)))?;
    let Command::Sync(mut args) = cli.command else { return Err(unusable("no command".into())) };
    (args.dry_run, args.diff, args.every, args.length, args.spread, args.deadline) =
        (false, false, None, None, None, None);
    let execution = Execution::from_lookup(environment, Timestamp::now())?;
    let config = Config::new(&args, environment, execution)?;
    Ok(Arc::new(Clients::connect(config).await?))
}
