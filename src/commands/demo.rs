//! `pulse demo`.

use crate::commands::sync::{exit_code, run_job};
use crate::config::args::{LogFormat, SyncArgs};
use crate::config::{Config, Execution};
use crate::shutdown::Stop;
use crate::telemetry::output;
use crate::telemetry::{self};
use jiff::Timestamp;
use std::process::ExitCode;

/// One real pass against a local cloud in this process: nothing but its own addresses is used.
pub(super) async fn demo() -> std::io::Result<ExitCode> {
    use pulse_sandbox::{Options, Sandbox, showcase};
    use std::io::Error;

    let sandbox = Sandbox::start(Options { users: 25, trouble: true, ..Options::default() }).await?;
    let exports = sandbox.exports();
    let environment = |name: &str| Some(exports.iter().find(|(exported, _)| *exported == name)?.1.clone());
    let execution = Execution::from_lookup(environment, Timestamp::now()).map_err(Error::other)?;
    let only_colours = |name: &str| std::env::var(name).ok().filter(|_| name == "NO_COLOR");
    let label = telemetry::init(LogFormat::Text, Some(&execution), only_colours);
    let config = Config::new(&SyncArgs::default(), environment, execution).map_err(Error::other)?;
    let stop = Stop::on_signals()?;
    let status = run_job(config, &label, &stop).await;
    output::print(&format!("\n{}\n", showcase::table(&sandbox)));
    output::flush(&stop).await;
    sandbox.stop().await;
    Ok(exit_code(status, false, stop.signal()))
}
