//! `pulse demo`.

use crate::commands::sync::{Found, exit_code, run_passes};
use crate::config::args::{DemoArgs, SyncArgs};
use crate::config::{Config, Execution};
use crate::shutdown::Stop;
use crate::telemetry::{self, LogFormat, output};
use jiff::Timestamp;
use pulse_sandbox::{Options, Sandbox, showcase};
use std::io::Error;
use std::process::ExitCode;
use std::sync::Arc;

/// One real pass against a local cloud in this process: nothing but its own addresses is used.
pub(super) async fn demo(args: &DemoArgs) -> std::io::Result<ExitCode> {
    let sandbox = Sandbox::start(Options { users: 25, trouble: true, ..Options::default() }).await?;
    let exports = sandbox.exports();
    let environment = |name: &str| Some(exports.iter().find(|(exported, _)| *exported == name)?.1.clone());
    let execution = Execution::from_lookup(environment, Timestamp::now()).map_err(Error::other)?;
    let label = execution.label();
    if args.verbose {
        let only_colours = |name: &str| std::env::var(name).ok().filter(|_| name == "NO_COLOR");
        telemetry::init((LogFormat::Text, true), &label, only_colours);
    }
    let config = Config::new(&SyncArgs::default(), environment, execution).map_err(Error::other)?;
    let stop = Stop::on_signals()?;
    let status = run_passes(config, Arc::default(), &label, &stop).await;
    if args.verbose {
        output::print("\n");
    }
    output::print(&showcase::text(&sandbox));
    stop.flush_log().await;
    sandbox.stop().await;
    Ok(exit_code(status, Found::default(), stop.signal()))
}
