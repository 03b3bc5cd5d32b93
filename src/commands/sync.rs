//! `pulse sync`.

use crate::config::args::SyncArgs;
use crate::config::repeat::Repeat;
use crate::config::variables::{self, environment};
use crate::config::{Config, Execution};
use crate::execution::hand_over::{self, HandOver, LoopTick};
use crate::execution::join::{self, JoinError, JoinOutcome};
use crate::execution::ticks::{self, Beginning, Tick, TickOutcome};
use crate::limits::retry::Deadline;
use crate::model::loop_claim::LoopClaim;
use crate::model::outcome::PassStatus;
use crate::pass::{Memory, PassContext, conclude_unbegun, run_pass};
use crate::services::clients::{Clients, ConnectError};
use crate::shutdown::{Stop, StopSignal};
use crate::telemetry::{self, Chain, ExecutionLabel};
use jiff::Timestamp;
use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

/// For a look at the servers' clock before the first pulse of a loop.
const CLOCK_BUDGET: Duration = Duration::from_secs(3);

/// Configuration, one pass or several, exit code.
pub(crate) async fn sync(args: &SyncArgs) -> ExitCode {
    let begun = Instant::now();
    let execution = Execution::from_lookup(environment, Timestamp::now());
    let label = execution.as_ref().map(Execution::label).unwrap_or_default();
    telemetry::init((args.log_format, args.verbose), &label, environment);
    let stop = match Stop::on_signals() {
        Ok(stop) => stop,
        Err(err) => {
            error!("Cannot listen for signals: {err}");
            Stop::default().flush_log().await;
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
            let memory = Arc::new(Memory::new(&config));
            let status = run_passes(config, Arc::clone(&memory), &label, &stop).await;
            let differs = differs(&memory, (status, args.fail_on_error));
            let found = Found { fail_on_error: args.fail_on_error, differs };
            exit_code(status, found, stop.signal())
        }
        Err(err) => {
            error!("{err}");
            ExitCode::from(2)
        }
    };
    stop.flush_log().await;
    code
}

/// What counts beside the status.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    fail_on_error: bool,
    /// Of a dry run that compares.
    differs: bool,
}

/// Whether somebody has to look at what a dry run compared; as a job it is no reason for a retry.
fn differs(memory: &Memory, (status, fail_on_error): (PassStatus, bool)) -> bool {
    let Some(differences) = &memory.differences else { return false };
    let is_job = environment("CLOUD_RUN_EXECUTION").is_some_and(|execution| !execution.is_empty());
    let differs = differences.are_some() && !is_job;
    let fails = status == PassStatus::Failed || (fail_on_error && status == PassStatus::Degraded);
    differences.tell(differs && !fails);
    differs
}

/// Cloud Run judges the job by this alone.
pub(crate) fn exit_code(status: PassStatus, found: Found, signal: Option<StopSignal>) -> ExitCode {
    match (signal, status) {
        (Some(signal), _) => ExitCode::from(signal.exit_code()),
        (None, PassStatus::Failed) => ExitCode::FAILURE,
        (None, PassStatus::Degraded) if found.fail_on_error => ExitCode::FAILURE,
        (None, PassStatus::Ok | PassStatus::Degraded) if found.differs => ExitCode::from(3),
        (None, PassStatus::Ok | PassStatus::Degraded) => ExitCode::SUCCESS,
    }
}

/// Connects once, and runs the pass or the passes.
pub(crate) async fn run_passes(
    config: Config,
    memory: Arc<Memory>,
    label: &ExecutionLabel,
    stop: &Stop,
) -> PassStatus {
    let start = Instant::now();
    let (first, repeat) = (config.execution.clone(), config.repeat.clone());
    let passes = match stop.run_until_stopped(Clients::connect(config)).await {
        Some(Ok(clients)) => Passes {
            clients: Arc::new(clients),
            memory,
            label,
            stop,
            has_told_waiting: AtomicBool::new(false),
        },
        Some(Err(err)) => return could_not_begin(&CannotBegin::Connect(err)),
        None => return stopped_early(stop, start),
    };
    match repeat {
        Some(repeat) => passes.all(&repeat, &first, start).await,
        None => match passes.pass(&first, None, (start, start)).await {
            TickOutcome::Ran(status) | TickOutcome::DoneBefore(status) => status,
            TickOutcome::Busy | TickOutcome::Left | TickOutcome::Unreckoned => PassStatus::Ok,
        },
    }
}

/// What the passes of one process share.
struct Passes<'a> {
    clients: Arc<Clients>,
    memory: Arc<Memory>,
    label: &'a ExecutionLabel,
    stop: &'a Stop,
    /// Whether it was said that another loop is waited for.
    has_told_waiting: AtomicBool,
}

impl Passes<'_> {
    /// The passes of a loop. All loops go by the servers' clock, so that is looked at first, and how far an earlier attempt
    /// has come. Where it is not answered, they are no loop's in the eyes of others until it is.
    async fn all(&self, repeat: &Repeat, first: &Execution, start: Instant) -> PassStatus {
        let store = &self.clients.store;
        let look = self.stop.run_until_stopped(store.current_pulse(Deadline::after(CLOCK_BUDGET))).await;
        // Where it is not answered, the executions that are done are passed over one by one.
        let number = look.and_then(Result::ok).and_then(|current| current.last_of(&first.id)).unwrap_or(1);
        let from = Beginning { start, clock: store.clock(), number };
        let tick = async |tick| self.tick(&tick).await;
        let passes = ticks::run(repeat, first, from, self.stop, tick);
        match self.clients.config.takes_everybody() {
            true => hand_over::until_given_up(&self.clients, &first.id, self.stop, passes).await,
            false => passes.await,
        }
    }

    /// A pass of a loop, unless an earlier attempt has done it.
    async fn tick(&self, Tick { execution, due, looping }: &Tick) -> TickOutcome {
        self.label.set(&execution.id);
        let start = Instant::now();
        let outcome = match self.stop.run_until_stopped(self.done_before(execution)).await {
            Some(Ok(Some(status))) => TickOutcome::DoneBefore(status),
            Some(Err(err)) => TickOutcome::Ran(could_not_begin(&CannotBegin::Connect(err))),
            Some(Ok(None)) | None => self.pass(execution, looping.as_ref(), (*due, start)).await,
        };
        // What grows from one pulse to the next in a long loop is nowhere else to be seen.
        debug!(tasks = Handle::current().metrics().num_alive_tasks(), "Between two pulses");
        outcome
    }

    async fn done_before(&self, execution: &Execution) -> Result<Option<PassStatus>, ConnectError> {
        self.clients.ready().await?;
        Ok(join::done_before(&self.clients, execution).await)
    }

    /// Finds out what this task's part is in the execution that was due at `due`, and does it.
    async fn pass(
        &self,
        execution: &Execution,
        looping: Option<&LoopTick>,
        (due, start): (Instant, Instant),
    ) -> TickOutcome {
        let joining = join::join(&self.clients, execution, looping);
        match self.stop.run_until_stopped(joining).await {
            Some(Ok(JoinOutcome::Assigned(assignment))) => {
                let (clients, memory) = (Arc::clone(&self.clients), Arc::clone(&self.memory));
                let pass = PassContext::new(clients, memory, assignment.schedule, (due, start));
                TickOutcome::Ran(run_pass(pass, &assignment, self.stop).await)
            }
            Some(Ok(JoinOutcome::Busy(other))) => {
                warn!("Skipped pulse: execution {other} is still running");
                TickOutcome::Busy
            }
            Some(Ok(JoinOutcome::NotIts(hand_over))) => self.not_its(&hand_over),
            Some(Err(err)) => TickOutcome::Ran(could_not_begin(&CannotBegin::Enter(err))),
            None => TickOutcome::Ran(stopped_early(self.stop, start)),
        }
    }

    /// Another loop has that point in time, or it had its pulse.
    fn not_its(&self, hand_over: &HandOver) -> TickOutcome {
        match hand_over {
            HandOver::Now => TickOutcome::Busy,
            HandOver::Done => {
                info!("This point in time has had its pulse: waiting for the next one");
                TickOutcome::Busy
            }
            HandOver::Wait(LoopClaim { id, ends_at, .. }) => {
                self.tell_waiting(format_args!("Waiting for the loop of execution {id} to end at {ends_at}"))
            }
            HandOver::StandBy(LoopClaim { id, next_at, .. }) => self.tell_waiting(format_args!(
                "Waiting for the next pulse of execution {id}'s loop at {next_at}"
            )),
            HandOver::Reckon => TickOutcome::Unreckoned,
            HandOver::Leave(other) => {
                let (id, ends_at) = (&other.id, other.ends_at);
                info!("Skipped pulse: execution {id} is still running, in a loop until {ends_at}");
                TickOutcome::Left
            }
        }
    }

    fn tell_waiting(&self, why: fmt::Arguments<'_>) -> TickOutcome {
        if !self.has_told_waiting.swap(true, Ordering::Relaxed) {
            info!("{why}");
        }
        TickOutcome::Busy
    }
}

fn stopped_early(stop: &Stop, start: Instant) -> PassStatus {
    conclude_unbegun(stop, start);
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
