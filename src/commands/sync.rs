//! `pulse sync`.

use crate::commands::environment;
use crate::config::args::SyncArgs;
use crate::config::variables;
use crate::config::{Config, Execution};
use crate::execution::join::{self, JoinError, JoinOutcome};
use crate::execution::ticks::{self, TickOutcome};
use crate::limits::usage::Used;
use crate::model::outcome::{Counts, PassStatus};
use crate::pass::count::Unreached;
use crate::pass::fan_out::FanOutEnd;
use crate::pass::run::run_pass;
use crate::pass::summary::{Figures, PassEnd, conclude};
use crate::services::clients::{Clients, ConnectError};
use crate::shutdown::{Stop, StopSignal};
use crate::telemetry::output;
use crate::telemetry::{self, Chain, ExecutionLabel};
use jiff::Timestamp;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::time::Instant;
use tracing::{error, warn};

/// Configuration, one pass or several, exit code.
pub(crate) async fn sync(args: &SyncArgs) -> ExitCode {
    let begun = Instant::now();
    let execution = Execution::from_lookup(environment, Timestamp::now());
    let label = telemetry::init(args.log_format, execution.as_ref().ok(), environment);
    let stop = match Stop::on_signals() {
        Ok(stop) => stop,
        Err(err) => {
            error!("Cannot listen for signals: {err}");
            output::flush(&Stop::default()).await;
            return ExitCode::FAILURE;
        }
    };
    let readable = variables::check(std::env::vars_os());
    let config = readable.and(execution).and_then(|execution| Config::new(args, environment, execution));
    let code = match config {
        Ok(config) => {
            if let Some(deadline) = config.deadline {
                stop.by_deadline(deadline, begun);
            }
            let status = run_job(config, &label, &stop).await;
            exit_code(status, args.fail_on_error, stop.signal())
        }
        Err(err) => {
            error!("{err}");
            ExitCode::from(2)
        }
    };
    output::flush(&stop).await;
    code
}

/// Cloud Run judges the job by this alone.
pub(crate) fn exit_code(status: PassStatus, fail_on_error: bool, signal: Option<StopSignal>) -> ExitCode {
    match (signal, status) {
        (Some(signal), _) => ExitCode::from(signal.exit_code()),
        (None, PassStatus::Failed) => ExitCode::FAILURE,
        (None, PassStatus::Degraded) if fail_on_error => ExitCode::FAILURE,
        (None, PassStatus::Ok | PassStatus::Degraded) => ExitCode::SUCCESS,
    }
}

/// Connects once, and runs the pulse or the pulses.
pub(crate) async fn run_job(config: Config, label: &ExecutionLabel, stop: &Stop) -> PassStatus {
    let start = Instant::now();
    let (first, repeat) = (config.execution.clone(), config.repeat.clone());
    let job = tokio::select! {
        job = Clients::connect(config) => job,
        () = stop.requested() => return stopped_early(stop, start),
    };
    let job = match job {
        Ok(job) => Arc::new(job),
        Err(err) => return could_not_begin(&CannotBegin::Connect(err)),
    };
    let Some(repeat) = repeat else {
        return match take_turn(job, &first, start, stop, start).await {
            TickOutcome::Ran(status) | TickOutcome::DoneBefore(status) => status,
            TickOutcome::Busy => PassStatus::Ok,
        };
    };
    ticks::run(&repeat, &first, start, stop, async |execution, due| {
        label.set(&execution);
        let began = Instant::now();
        let done_before = tokio::select! {
            done_before = done_before(&job, &execution) => done_before,
            () = stop.requested() => Ok(None),
        };
        match done_before {
            Ok(Some(status)) => TickOutcome::DoneBefore(status),
            Ok(None) => take_turn(Arc::clone(&job), &execution, due, stop, began).await,
            Err(err) => TickOutcome::Ran(could_not_begin(&CannotBegin::Connect(err))),
        }
    })
    .await
}

async fn done_before(job: &Clients, execution: &Execution) -> Result<Option<PassStatus>, ConnectError> {
    job.ready().await?;
    Ok(join::done_before(job, execution).await)
}

/// Finds out what this task's part is in the execution that was due at `due`, and does it.
async fn take_turn(
    job: Arc<Clients>,
    execution: &Execution,
    due: Instant,
    stop: &Stop,
    start: Instant,
) -> TickOutcome {
    let entry = tokio::select! {
        entry = join::join(&job, execution, Timestamp::now()) => entry,
        () = stop.requested() => return TickOutcome::Ran(stopped_early(stop, start)),
    };
    match entry {
        Ok(JoinOutcome::Assigned(part)) => TickOutcome::Ran(run_pass(job, &part, due, stop, start).await),
        Ok(JoinOutcome::Busy(other)) => {
            warn!("Skipped pulse: execution {other} is still running");
            TickOutcome::Busy
        }
        Err(err) => TickOutcome::Ran(could_not_begin(&CannotBegin::Enter(err))),
    }
}

fn stopped_early(stop: &Stop, start: Instant) -> PassStatus {
    let unreached = stop.deadline().map(|_| Unreached::Unknown);
    let ending = PassEnd { ended: FanOutEnd::Stopped, unreached, unreadable: None };
    let (counts, used) = (Counts::default(), Used::default());
    let status = Some(PassStatus::Failed);
    conclude(&Figures { scope: None, status, counts: &counts, used, start }, &ending);
    PassStatus::Failed
}

fn could_not_begin(err: &CannotBegin) -> PassStatus {
    error!(severity = "CRITICAL", "The pass could not begin: {}", Chain(err));
    PassStatus::Failed
}

/// Why a pass could not begin.
#[derive(Debug, thiserror::Error)]
enum CannotBegin {
    #[error(transparent)]
    Connect(ConnectError),
    #[error(transparent)]
    Enter(JoinError),
}
