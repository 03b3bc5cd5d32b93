//! The job `pulse`: one pass over all users, each on a journey from their keys to a fresh snapshot.

use alpaca_pulse::admission::Admission;
use alpaca_pulse::alpaca::{AlpacaError, Answer};
use alpaca_pulse::census::{self, Unreached};
use alpaca_pulse::cli::{self, Cli, Command, LogFormat, SyncArgs};
use alpaca_pulse::config::{Config, Execution, LegacyAccount};
use alpaca_pulse::failure::{Failure, Tried};
use alpaca_pulse::fan_out::{Ended, fan_out};
use alpaca_pulse::fleet_guard::{AtHost, Rejections};
use alpaca_pulse::ids::{DocumentId, TenantId, UserId};
use alpaca_pulse::job::{Arrival, ConnectError, Job, Tick};
use alpaca_pulse::keys::Environment;
use alpaca_pulse::ledger::TaskState;
use alpaca_pulse::outcome::{Code, Counts, Outcome, PassStatus};
use alpaca_pulse::output;
use alpaca_pulse::pace::Calls;
use alpaca_pulse::part::{Bookkeeper, Entry, EntryError, Part};
use alpaca_pulse::progress::Late;
use alpaca_pulse::repeat::{self, Turn};
use alpaca_pulse::retry::{Deadline, PUBLISH_RESERVE, RECORD_RESERVE, USER_BUDGET};
use alpaca_pulse::roster::{self, Member, PageFacts, RosterReader, Unreadable};
use alpaca_pulse::secret_manager::StoredKeys;
use alpaca_pulse::snapshot::Snapshot;
use alpaca_pulse::stop::{CLOSING_LIMIT, Stop, StopSignal};
use alpaca_pulse::store::query::snapshot_name;
use alpaca_pulse::store::values::is_field_name;
use alpaca_pulse::telemetry::{self, Chain, ExecutionLabel};
use alpaca_pulse::tenancy::TenantFacts;
use alpaca_pulse::trouble::{self, History, LookSchedule, Plan};
use alpaca_pulse::usage::Used;
use alpaca_pulse::user::{Switch, TenantClaim};
use alpaca_pulse::variables;
use alpaca_pulse::verdicts::{End, Traveller, Verdicts, Word};
use clap::Parser;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use tracing::{error, info, warn};

/// For reading, at the end of a pass, when those last succeeded who came into trouble in it. What could not be
/// read by then is taken for the worst.
const LOOK_BACK_BUDGET: Duration = Duration::from_secs(5);

/// The same from the moment the process is told to stop: a third of [`CLOSING_LIMIT`].
const LOOK_BACK_LIMIT: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let usage = Cli::try_parse();
    let runtime = match runtime_for(usage.as_ref().ok()) {
        Ok(runtime) => runtime,
        Err(err) => {
            // Where stderr is closed, the exit code says it.
            let _ = writeln!(io::stderr(), "pulse: cannot start: {err}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        match usage {
            Ok(cli) => run(cli).await,
            Err(err) => explain(err).await,
        }
    });
    // Dropping the runtime would wait for a name server that does not answer.
    runtime.shutdown_background();
    code
}

fn runtime_for(cli: Option<&Cli>) -> io::Result<Runtime> {
    match cli.map(|cli| &cli.command) {
        // What it serves is measured beside it: one core is left to that, where there are several.
        #[cfg(feature = "sandbox")]
        Some(Command::Sandbox(_)) => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            Builder::new_multi_thread().worker_threads((cores - 1).max(1)).enable_all().build()
        }
        // A journey is waiting, with a little work between. On one thread none of its many messages has to
        // wake another thread, which takes half of the CPU time off, and one core still syncs several times
        // as many users as Secret Manager's quota lets through. Several tasks use several cores.
        _ => Builder::new_current_thread().enable_all().build(),
    }
}

async fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Sync(args) => sync(&args).await,
        #[cfg(feature = "sandbox")]
        Command::Sandbox(args) => served(alpaca_pulse::sandbox::command::run(args).await).await,
        #[cfg(feature = "sandbox")]
        Command::Demo => served(demo().await).await,
    }
}

/// What a variable is set to. Those that are no text are refused by [`variables::check`].
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Shows the help that was asked for, or says what is wrong with the command line: to whoever typed it, and where
/// logs are JSON to their readers too.
async fn explain(err: clap::Error) -> ExitCode {
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
    if format.is_json(io::stdout().is_terminal()) && !is("sandbox") && !is("demo") {
        let execution = Execution::from_lookup(environment, Timestamp::now());
        telemetry::init(LogFormat::Json, execution.as_ref().ok(), environment);
        error!("{}", unreadable.as_ref().map_or_else(|| cli::reason(&err), ToString::to_string));
        output::flush(&Stop::default()).await;
    }
    output::tell(move || match unreadable {
        Some(unreadable) => writeln!(io::stderr(), "error: {unreadable}"),
        None => err.print(),
    })
    .await;
    ExitCode::from(2)
}

/// Configuration, one pass or several, exit code.
async fn sync(args: &SyncArgs) -> ExitCode {
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
fn exit_code(status: PassStatus, fail_on_error: bool, signal: Option<StopSignal>) -> ExitCode {
    match (signal, status) {
        (Some(signal), _) => ExitCode::from(signal.exit_code()),
        (None, PassStatus::Failed) => ExitCode::FAILURE,
        (None, PassStatus::Degraded) if fail_on_error => ExitCode::FAILURE,
        (None, PassStatus::Ok | PassStatus::Degraded) => ExitCode::SUCCESS,
    }
}

/// Connects once, and runs the pulse or the pulses.
async fn run_job(config: Config, label: &ExecutionLabel, stop: &Stop) -> PassStatus {
    let start = Instant::now();
    let (first, repeat) = (config.execution.clone(), config.repeat.clone());
    let job = tokio::select! {
        job = Job::connect(config) => job,
        () = stop.requested() => return stopped_early(stop, start),
    };
    let job = match job {
        Ok(job) => Arc::new(job),
        Err(err) => return could_not_begin(&CannotBegin::Connect(err)),
    };
    let Some(repeat) = repeat else {
        return match take_turn(job, &first, start, stop, start).await {
            Turn::Ran(status) | Turn::DoneBefore(status) => status,
            Turn::Busy => PassStatus::Ok,
        };
    };
    repeat::run(&repeat, &first, start, stop, async |execution, due| {
        label.set(&execution);
        let began = Instant::now();
        let done_before = tokio::select! {
            done_before = done_before(&job, &execution) => done_before,
            () = stop.requested() => Ok(None),
        };
        match done_before {
            Ok(Some(status)) => Turn::DoneBefore(status),
            Ok(None) => take_turn(Arc::clone(&job), &execution, due, stop, began).await,
            Err(err) => Turn::Ran(could_not_begin(&CannotBegin::Connect(err))),
        }
    })
    .await
}

async fn done_before(job: &Job, execution: &Execution) -> Result<Option<PassStatus>, ConnectError> {
    job.ready().await?;
    Ok(Part::done_before(job, execution).await)
}

/// Finds out what this task's part is in the execution that was due at `due`, and does it.
async fn take_turn(job: Arc<Job>, execution: &Execution, due: Instant, stop: &Stop, start: Instant) -> Turn {
    let entry = tokio::select! {
        entry = Part::enter(&job, execution, Timestamp::now()) => entry,
        () = stop.requested() => return Turn::Ran(stopped_early(stop, start)),
    };
    match entry {
        Ok(Entry::Part(part)) => Turn::Ran(pulse(job, &part, due, stop, start).await),
        Ok(Entry::Busy(other)) => {
            warn!("Skipped pulse: execution {other} is still running");
            Turn::Busy
        }
        Err(err) => Turn::Ran(could_not_begin(&CannotBegin::Enter(err))),
    }
}

fn stopped_early(stop: &Stop, start: Instant) -> PassStatus {
    let unreached = stop.deadline().map(|_| Unreached::Unknown);
    let ending = Ending { ended: Ended::Stopped, unreached, unreadable: None };
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
    Enter(EntryError),
}

/// One pass over all users that are this task's, which was due at `due`.
async fn pulse(job: Arc<Job>, part: &Part, due: Instant, stop: &Stop, start: Instant) -> PassStatus {
    let Config { filter, spread, concurrency, legacy_account, legacy_tenant_path, .. } = &job.config;
    let legacy = legacy_account.clone().filter(|_| part.has_legacy_account);
    if let Some(written) = &job.written {
        written.begin(due);
    }
    let spread = tokio::select! {
        spread = census::spread(&job.store, &part.selection, filter, *spread, start) => spread,
        () = stop.requested() => None,
    };
    let admission = Admission::new(&job.pace, spread);

    let roster = RosterReader::new(&job.store, *legacy_tenant_path, part.schedule.now).only(filter.clone());
    let pages = roster.start(part.selection.clone());
    let mut unreadable = None;
    let users = stream::unfold(pages, |mut pages| async { Some((pages.recv().await?, pages)) })
        .filter_map(|page| std::future::ready(page.map_err(|err| unreadable = Some(err)).ok()))
        .flat_map(stream::iter)
        .map(|entry| Subject::user(entry, (!part.is_named()).then_some(&part.schedule)));
    let subjects = stream::iter(legacy.map(Subject::Legacy)).chain(users);
    let books = part.keep(&job);
    let travellers = subjects.then(async |subject| {
        admit(&admission, &job, &subject, part.schedule).await;
        ((books.begin(subject.user_id()), subject.traveller()), subject)
    });

    let mut verdicts = Verdicts::after(&part.finished, part.schedule.now);
    let tick = Tick { due, schedule: part.schedule };
    let journey = |subject| travel(Arc::clone(&job), subject, tick);
    let ended = fan_out(travellers, *concurrency, stop, journey, |(place, traveller), end| {
        books.end(place, verdicts.add(traveller, end.ok()));
    })
    .await;

    let told = stop.deadline().filter(|_| ended != Ended::Complete);
    let unreached = match told {
        Some(told) => {
            let reached = admission.reached();
            Some(census::unreached(&job.store, &part.selection, filter, reached, told).await)
        }
        None => None,
    };
    let ending = Ending::new(ended, unreached, unreadable);
    let sums = tokio::select! {
        sums = close(&job, part, books, &mut verdicts, &ending, stop, start) => sums,
        // Once told to stop, there is little time before the process is killed.
        () = stop.requested_for(CLOSING_LIMIT) => {
            warn!("Stopped before everything was recorded");
            None
        }
    };
    let known = || part.worth(&verdicts.counts).map(|worth| worth.status);
    status_of_task(&ending, &verdicts.counts, sums.or_else(known), part.is_one_of_several())
}

/// What this task's part is worth, for the exit code. `pass` is what the pass of all tasks is, where this one
/// knows.
fn status_of_task(
    ending: &Ending,
    counts: &Counts,
    pass: Option<PassStatus>,
    is_one_of_several: bool,
) -> PassStatus {
    let own = ending.status(counts);
    match (own, pass) {
        _ if ending.state() != TaskState::Completed => own,
        // Whatever came of this task's users.
        (_, Some(PassStatus::Failed)) => PassStatus::Failed,
        // Whether nobody was synced, only the last task knows. That nobody of a small share was, is no
        // reason for Cloud Run to try it again.
        (PassStatus::Failed, Some(pass)) => pass,
        (PassStatus::Failed, None) if is_one_of_several => PassStatus::Degraded,
        _ => own,
    }
}

/// Says how it went, and records it. Returns what the pass of all tasks is worth, if this one knows of one
/// that reached all users.
async fn close(
    job: &Job,
    part: &Part,
    books: Bookkeeper,
    verdicts: &mut Verdicts,
    ending: &Ending,
    stop: &Stop,
    start: Instant,
) -> Option<PassStatus> {
    let mut finished = books.close(stop).await;
    let (scope, now) = (Some(job.config.scope()), Timestamp::now());
    if ending.state() == TaskState::Completed {
        finished.add_late(&look_back(job, verdicts, stop, now).await);
        let of_others = tokio::select! {
            of_others = part.rejections_of_others(job, verdicts, &finished) => of_others,
            // Told to stop, the task has no time to wait for the others.
            () = stop.requested() => Rejections::default(),
        };
        report_rejections(&verdicts.fleet_wide(of_others));
        let worth = part.worth(&verdicts.counts);
        if let Some(silence) = worth.and_then(|worth| worth.silence) {
            silence.tell(&verdicts.counts, &job.config);
        }
        let (counts, used, status) = (&verdicts.counts, part.used(job), worth.map(|worth| worth.status));
        conclude(&Figures { scope, status, counts, used, start }, ending);
        // What is published includes what the records cost; what is left of the time is for publishing.
        let deadline = Deadline::after(USER_BUDGET);
        let records = verdicts.records(of_others, now);
        job.settle(records, part.schedule.now, deadline.less(PUBLISH_RESERVE)).await;
        return part.leave(job, ending.state(), &finished, counts, start, deadline).await;
    }
    let (counts, used, status) = (&verdicts.counts, part.used(job), Some(PassStatus::Failed));
    conclude(&Figures { scope, status, counts, used, start }, ending);
    // How far it came matters more, when there may be no time for both.
    let deadline = Deadline::after(USER_BUDGET);
    let sums = part.leave(job, ending.state(), &finished, &verdicts.counts, start, deadline).await;
    look_back(job, verdicts, stop, now).await;
    report_rejections(&verdicts.fleet_wide(Rejections::default()));
    let mut records = verdicts.records(Rejections::default(), now);
    // A retried attempt asks again about everybody after the cursor: two rejections within moments are one.
    records.retain(|(user, _)| finished.cursor.as_ref().is_some_and(|cursor| user <= cursor));
    if !part.is_one_of_several() {
        job.settle(records, part.schedule.now, deadline.less(PUBLISH_RESERVE)).await;
    }
    sums
}

/// Reads when those last succeeded who came into trouble in this pass and wait for its judgement.
async fn look_back(job: &Job, verdicts: &mut Verdicts, stop: &Stop, now: Timestamp) -> Late {
    let unread: Vec<_> = verdicts.unread().cloned().collect();
    let read = tokio::select! {
        read = job.last_successes(&unread, Deadline::after(LOOK_BACK_BUDGET)) => read,
        () = stop.requested_for(LOOK_BACK_LIMIT) => HashMap::new(),
    };
    verdicts.learn(&read, now)
}

/// Where rejections are the provider's fault or ours.
fn report_rejections(fleet_wide: &[(Environment, AtHost)]) {
    for (host, at) in fleet_wide {
        let (rejected, users) = (at.rejected, at.users());
        error!(
            severity = "CRITICAL",
            error = Code::BrokerRejected.as_str(),
            environment = host.as_str(),
            "Alpaca rejected {rejected} of {users} users: not marking anyone for re-authentication"
        );
    }
}

/// How reading and syncing the users ended.
struct Ending {
    ended: Ended,
    /// Only when the deadline ended it.
    unreached: Option<Unreached>,
    unreadable: Option<Unreadable>,
}

impl Ending {
    fn new(ended: Ended, unreached: Option<Unreached>, unreadable: Option<Unreadable>) -> Self {
        match (ended, unreached) {
            // The deadline came when the last ones were already on their way.
            (Ended::Stopped, Some(Unreached::Users(0))) => {
                Self { ended: Ended::Complete, unreached: None, unreadable }
            }
            _ => Self { ended, unreached, unreadable },
        }
    }

    fn state(&self) -> TaskState {
        match (&self.unreadable, self.ended) {
            (Some(_), _) => TaskState::Failed,
            (None, Ended::Complete) => TaskState::Completed,
            (None, Ended::Stopped | Ended::CutOff) => TaskState::Stopped,
        }
    }

    fn status(&self, counts: &Counts) -> PassStatus {
        match self.state() {
            TaskState::Completed => counts.status(),
            _ => PassStatus::Failed,
        }
    }
}

/// The numbers of the last line.
struct Figures<'a> {
    /// What kind of pass it was, if it began.
    scope: Option<&'static str>,
    /// What it is worth, if this task knows.
    status: Option<PassStatus>,
    counts: &'a Counts,
    used: Used,
    start: Instant,
}

/// Logs a last line of the pass, with its numbers as fields by the names of `ops/last_pulse`.
macro_rules! summary {
    ($log:ident, $figures:expr, [$($field:tt)*], $($message:tt)+) => {{
        let Figures { scope, status, counts, used, start } = $figures;
        $log!(
            $($field)*
            scope,
            status = status.map(PassStatus::as_str),
            duration_ms = millis(*start),
            success_count = counts.success,
            error_count = counts.error(),
            our_error_count = counts.ours,
            skipped_count = counts.skipped,
            needs_reauth_count = counts.needs_reauth,
            stale_count = counts.stale,
            users_count = counts.users(),
            firestore_reads = used.firestore_reads,
            firestore_writes = used.firestore_writes,
            secret_accesses = used.secret_accesses,
            alpaca_calls = used.alpaca_calls,
            dropped_lines = output::dropped_lines(),
            $($message)+
        )
    }};
}

/// The last lines of the log.
fn conclude(figures: &Figures<'_>, ending: &Ending) {
    let counts = figures.counts;
    match (&ending.unreadable, ending.ended) {
        (Some(err), _) => summary!(
            error,
            figures,
            [severity = "CRITICAL", error = err.code().as_str(),],
            "Failed multi-tenant sync: {counts}; the other users could not be read: {}",
            Chain(err)
        ),
        (None, Ended::Complete) => summary!(info, figures, [], "Completed multi-tenant sync: {counts}"),
        (None, ended) => {
            let not_reached = ending.unreached.and_then(Unreached::count);
            let unreached = ending.unreached.map(|users| format!("; {users}")).unwrap_or_default();
            let given_up = if ended == Ended::CutOff { "; what was in flight is given up" } else { "" };
            summary!(
                warn,
                figures,
                [not_reached,],
                "Stopped multi-tenant sync: {counts}{unreached}{given_up}"
            );
        }
    }
}

/// Who a journey is about.
enum Subject {
    User(Box<Member>, Plan),
    Nobody(DocumentId),
    Legacy(Arc<LegacyAccount>),
}

impl Subject {
    /// Who is named is asked about whatever is known of their keys: they get no `schedule`.
    fn user(entry: roster::Entry, schedule: Option<&LookSchedule>) -> Self {
        match entry {
            roster::Entry::Member(member) => {
                let plan = |schedule| trouble::plan(&member.history, member.user.id.as_str(), schedule);
                let plan = schedule.map_or(Plan::Ask, plan);
                Self::User(member, plan)
            }
            roster::Entry::Nobody(id) => Self::Nobody(id),
        }
    }

    /// Whom the cursor passes when they are finished.
    fn user_id(&self) -> Option<DocumentId> {
        match self {
            Self::User(member, _) => Some(member.user.id.clone()),
            Self::Nobody(id) => Some(id.clone()),
            Self::Legacy(_) => None,
        }
    }

    fn traveller(&self) -> Traveller {
        match self {
            Self::User(member, _) => {
                Traveller { id: member.user.id.clone(), history: member.history.clone() }
            }
            Self::Nobody(id) => Traveller { id: id.clone(), history: History::Unknown },
            Self::Legacy(account) => Traveller { id: account.id.clone(), history: History::Unknown },
        }
    }
}

/// Waits until a journey may begin.
async fn admit(admission: &Admission, job: &Job, subject: &Subject, schedule: LookSchedule) {
    match subject {
        Subject::User(member, plan) => {
            admission.admit(&member.user.id, calls_of(job, member, plan, schedule)).await;
        }
        Subject::Nobody(id) => admission.admit(id, Calls::NONE).await,
        Subject::Legacy(_) => {
            let writes = if job.config.dry_run { 0 } else { 1 + u32::from(job.config.legacy_tenant_path) };
            job.pace.allow(Calls { writes, ..Calls::ALPACA_CALL }).await;
        }
    }
}

/// The calls of a journey that ends well, so that it need not wait on its way.
fn calls_of(job: &Job, member: &Member, plan: &Plan, schedule: LookSchedule) -> Calls {
    let user = UserId::parse(member.user.id.as_str()).ok().filter(|_| member.user.is_synced());
    let Some(user) = user else { return Calls::NONE };
    match plan {
        Plan::Ask => {
            let is_known = job.kept_keys(&user, &member.history).is_some();
            let writes = job.expected_writes(member, schedule);
            Calls { secret_accesses: u32::from(!is_known), alpaca_calls: 1, writes }
        }
        // Nearly all of them still have the keys that are known, and then it ends with that.
        Plan::AskUnless(_) => Calls::SECRET_ACCESS,
        Plan::Wait => Calls::NONE,
    }
}

/// One journey.
async fn travel(job: Arc<Job>, subject: Subject, tick: Tick) -> End {
    match subject {
        Subject::User(member, plan) => sync_user(&job, &member, plan, tick).await,
        Subject::Nobody(id) => fail(&id, &History::Unknown, &Failure::Unknown, false, Instant::now()),
        Subject::Legacy(account) => sync_legacy_account(&job, &account, tick).await,
    }
}

/// One user's journey, from what is known of them to what became of it.
async fn sync_user(job: &Job, member: &Member, plan: Plan, tick: Tick) -> End {
    let (id, start) = (&member.user.id, Instant::now());
    match member.user.sync {
        Switch::On => {}
        Switch::Off => return skip(id, Outcome::Skipped, "sync_enabled is false"),
        Switch::Unreadable => {
            let reason =
                "its sync_enabled is neither true nor false, so it counts as paused: store a boolean";
            warn!(user_id = id.as_str(), "Skipped Alpaca account for user {id}: {reason}");
            return End::unasked(Outcome::Skipped);
        }
    }
    if plan == Plan::Wait {
        return wait(id, &member.history);
    }
    info!(user_id = id.as_str(), "Syncing Alpaca account for user {id}");
    let deadline = Deadline::after(USER_BUDGET);
    match keys_to_snapshot(job, member, plan, tick, deadline.less(RECORD_RESERVE)).await {
        Ok(Arrived::Synced(host, tenant)) => succeed(job, id, tenant.as_ref(), host, None, start),
        Ok(Arrived::Unchanged(host, tenant)) => succeed(job, id, tenant.as_ref(), host, Some(true), start),
        Ok(Arrived::SameKeys) => wait(id, &member.history),
        Err(failure) => {
            let (code, version) = (failure.code(), failure.key_version());
            let is_named = !job.config.takes_everybody();
            // Nothing new: they are waited for.
            let is_known = !is_named && member.history.stays_rejected(code, version);
            let end = fail(id, &member.history, &failure, is_known, start);
            // Whether a rejection counts, only the whole pass can tell; a person's own run has nothing to say of it.
            if !is_named && matches!(end.word, Some(Word::Rejected(..))) {
                return end;
            }
            let word = end.word.filter(|_| !is_named);
            let past = job.record_failure(id, &member.history, &failure, deadline).await;
            End { word, past, ..end }
        }
    }
}

/// The journey itself: keys, account, snapshot.
async fn keys_to_snapshot(
    job: &Job,
    member: &Member,
    plan: Plan,
    tick: Tick,
    deadline: Deadline,
) -> Result<Arrived, Failure> {
    let user = UserId::parse(member.user.id.as_str()).map_err(Failure::Id)?;
    let facts = match member.facts.as_ref().and_then(PageFacts::fresh) {
        Some(facts) => Cow::Borrowed(facts),
        None => {
            let facts = job.tenant_facts(user.as_str(), &member.user.tenant, deadline).await;
            Cow::Owned(facts.map_err(Failure::Facts)?)
        }
    };
    let database = job.store.database();

    let Some((answer, stored)) = keys_to_account(job, member, &user, plan, tick, deadline).await? else {
        return Ok(Arrived::SameKeys);
    };
    let answer = same_account(job, member, &facts, (answer, &stored), tick, deadline).await?;
    let version = &stored.version;

    let over = trouble::after_success(&member.history, version, answer.answered_at);
    let arrival = Arrival {
        name: snapshot_name(database, &member.user.id),
        snapshot: Snapshot {
            user_id: user.as_str(),
            account: &answer.account,
            environment: stored.keys.environment(),
            answered_at: answer.answered_at,
            keys: Some((&database.latest_keys(&user), version)),
            raw: raw(job, user.as_str(), &answer),
        },
        claim: &member.user.tenant,
        facts,
        tick,
        end_of_trouble: over.map(|trouble| job.trouble_write(&member.user.id, &trouble)),
    };
    let id = &member.user.id;
    let written = job.write_if_changed(id, &member.history, &arrival, deadline).await;
    let (tenant, is_unchanged) = written.map_err(|err| Failure::Store(err, tried(&stored)))?;
    if let Some(known) = &job.known_accounts {
        known.remember(id, &answer.account.external_account_id);
    }
    let host = stored.keys.environment();
    Ok(if is_unchanged { Arrived::Unchanged(host, tenant) } else { Arrived::Synced(host, tenant) })
}

/// The answer, if it is about the account that these keys are known to have; where it is not, what Alpaca
/// says when it is asked once more.
async fn same_account(
    job: &Job,
    member: &Member,
    facts: &TenantFacts,
    (answer, stored): (Answer, &StoredKeys),
    tick: Tick,
    deadline: Deadline,
) -> Result<Answer, Failure> {
    let (user, StoredKeys { keys, version }) = (&member.user, stored);
    let account = &answer.account.external_account_id;
    let pin = job.pin(&user.id, facts, account, deadline).await;
    let Some(pin) = pin.map_err(|err| Failure::Store(err, tried(stored)))? else { return Ok(answer) };
    // Whichever of the clocks is ahead: a change that is only just made is none that is still to come.
    let now = Timestamp::now().max(tick.schedule.now);
    if !pin.forbids(account, version, user.keys_updated_at, now) {
        return Ok(answer);
    }
    let broker = |err| Failure::Broker(err, tried(stored));
    job.pace.allow_by(Calls::ALPACA_CALL, deadline).await.map_err(|used_up| broker(used_up.into()))?;
    let again = Box::pin(job.alpaca.account_over_new_connection(keys, deadline)).await.map_err(broker)?;
    if again.account.external_account_id != pin.account {
        return Err(Failure::OtherAccount(version.clone(), keys.environment()));
    }
    let (id, user_id, error) = (&user.id, user.id.as_str(), Code::BrokerOtherAccount.as_str());
    warn!(
        user_id,
        error, "Alpaca's first answer for user {id} was about another account: the second one is used"
    );
    Ok(again)
}

/// The whole answer, if it is to be stored. What cannot be stored of it takes nothing else with it.
fn raw(job: &Job, user_id: &str, answer: &Answer) -> Option<Map<String, Value>> {
    if !job.config.store_raw {
        return None;
    }
    let raw = answer.raw();
    match &raw {
        Ok(raw) => {
            let left_out = raw.keys().filter(|name| !is_field_name(name)).count();
            if left_out > 0 {
                warn!(
                    user_id,
                    "Storing raw for user {user_id} without {left_out} fields, whose names Firestore does not take"
                );
            }
        }
        Err(reason) => warn!(user_id, "Not storing raw for user {user_id}: {reason}"),
    }
    raw.ok()
}

/// The first half of it. Nothing when the keys are those that Alpaca is known to reject.
async fn keys_to_account(
    job: &Job,
    member: &Member,
    user: &UserId,
    plan: Plan,
    tick: Tick,
    deadline: Deadline,
) -> Result<Option<(Answer, Arc<StoredKeys>)>, Failure> {
    let mut rejected = None;
    if let Some(kept) = job.kept_keys(user, &member.history) {
        match ask(job, user, &kept, deadline).await {
            // Kept keys may be old ones: the user may have stored others since.
            Err(failure) if failure.rejected().is_some() => {
                let calls = Calls { secret_accesses: 1, ..Calls::ALPACA_CALL };
                if job.pace.allow_by(calls, deadline).await.is_err() {
                    return Err(failure);
                }
                rejected = Some((kept.version.clone(), failure));
            }
            answer => return answer.map(|answer| Some((answer, kept))),
        }
    }
    let newest = job.secrets.keys(job.store.database(), user, deadline).await.map_err(Failure::Keys)?;
    if let Plan::AskUnless(known) = plan {
        if known == newest.version {
            return Ok(None);
        }
        // Only now is it known that there is more to do.
        let calls = Calls { writes: job.expected_writes(member, tick.schedule), ..Calls::ALPACA_CALL };
        if let Err(used_up) = job.pace.allow_by(calls, deadline).await {
            return Err(Failure::Broker(used_up.into(), tried(&newest)));
        }
    }
    if let Some((_, failure)) = rejected.filter(|(version, _)| *version == newest.version) {
        return Err(failure);
    }
    let newest = Arc::new(newest);
    if let Some(cache) = &job.key_cache {
        cache.keep(user, &newest);
    }
    Ok(Some((ask(job, user, &newest, deadline).await?, newest)))
}

/// Asks Alpaca; keys that it rejects are not kept.
async fn ask(job: &Job, user: &UserId, stored: &StoredKeys, deadline: Deadline) -> Result<Answer, Failure> {
    match job.alpaca.account(&stored.keys, deadline).await {
        Ok(answer) => Ok(answer),
        Err(err) => {
            if let (AlpacaError::Rejected { .. }, Some(cache)) = (&err, &job.key_cache) {
                cache.forget(user);
            }
            Err(Failure::Broker(err, tried(stored)))
        }
    }
}

fn tried(StoredKeys { keys, version }: &StoredKeys) -> Tried {
    Tried { environment: keys.environment(), version: Some(version.clone()) }
}

/// The same for the single account of old deployments, whose keys are in the configuration.
async fn sync_legacy_account(job: &Job, legacy: &LegacyAccount, tick: Tick) -> End {
    let (id, start) = (&legacy.id, Instant::now());
    warn!(
        "APCA_API_KEY_ID and APCA_API_SECRET_KEY are deprecated: store the keys in Secret Manager as \
         alpaca-keys-<userId> and unset both"
    );
    info!(user_id = id.as_str(), "Syncing Alpaca account for user {id}");
    match legacy_keys_to_snapshot(job, legacy, tick).await {
        Ok(tenant) => succeed(job, id, tenant.as_ref(), legacy.keys.environment(), None, start),
        Err(failure) => fail(id, &History::Unknown, &failure, false, start),
    }
}

async fn legacy_keys_to_snapshot(
    job: &Job,
    legacy: &LegacyAccount,
    tick: Tick,
) -> Result<Option<TenantId>, Failure> {
    let deadline = Deadline::after(USER_BUDGET);
    let claim = TenantClaim::Assigned(legacy.tenant.clone());
    let facts = job.tenant_facts(legacy.id.as_str(), &claim, deadline).await.map_err(Failure::Facts)?;
    let tried = Tried { environment: legacy.keys.environment(), version: None };
    let broker = |err| Failure::Broker(err, tried.clone());
    let mut answer = job.alpaca.account(&legacy.keys, deadline).await.map_err(broker)?;
    // Its keys have no version: whether they were changed, nobody knows. But a second answer is nobody else's.
    if facts.show_another(legacy.id.as_str(), &answer.account.external_account_id) {
        job.pace.allow_by(Calls::ALPACA_CALL, deadline).await.map_err(|used_up| broker(used_up.into()))?;
        answer = job.alpaca.account_over_new_connection(&legacy.keys, deadline).await.map_err(broker)?;
    }
    let arrival = Arrival {
        name: job.store.database().document(format_args!("alpacaAccounts/snapshot")),
        snapshot: Snapshot {
            user_id: legacy.id.as_str(),
            account: &answer.account,
            environment: legacy.keys.environment(),
            answered_at: answer.answered_at,
            keys: None,
            raw: raw(job, legacy.id.as_str(), &answer),
        },
        claim: &claim,
        facts: Cow::Owned(facts),
        tick,
        end_of_trouble: None,
    };
    job.write(&arrival, deadline).await.map_err(|err| Failure::Store(err, tried))
}

/// Where a journey that did not fail arrived.
enum Arrived {
    /// At a fresh snapshot from this host, and the document of this tenant.
    Synced(Environment, Option<TenantId>),
    /// At ones that are fresh enough and say the same.
    Unchanged(Environment, Option<TenantId>),
    /// At the keys that Alpaca is known to reject.
    SameKeys,
}

const REAUTH: &str = "Alpaca rejects its keys, and the user has not stored new ones yet";

/// `unchanged` is true for a user whose snapshot said the same already.
fn succeed(
    job: &Job,
    id: &DocumentId,
    tenant: Option<&TenantId>,
    host: Environment,
    unchanged: Option<bool>,
    start: Instant,
) -> End {
    let (user_id, tenant_id, duration_ms) = (id.as_str(), tenant.map(TenantId::as_str), millis(start));
    if job.config.dry_run {
        info!(user_id, tenant_id, duration_ms, "Would have synced Alpaca account for user {id} (dry run)");
    } else {
        info!(user_id, tenant_id, unchanged, duration_ms, "Successfully synced Alpaca account for user {id}");
    }
    End { outcome: Outcome::Synced, word: Some(Word::Accepted(host)), past: None }
}

fn skip(id: &DocumentId, outcome: Outcome, reason: &str) -> End {
    info!(user_id = id.as_str(), "Skipped Alpaca account for user {id}: {reason}");
    End::unasked(outcome)
}

/// Nothing is done for a user whose keys Alpaca rejects.
fn wait(id: &DocumentId, history: &History) -> End {
    let (since, next_attempt_at) = rest_of(history);
    info!(user_id = id.as_str(), since, next_attempt_at, "Skipped Alpaca account for user {id}: {REAUTH}");
    End::unasked(Outcome::NeedsReauth)
}

/// Since when a user has to reconnect, and when Alpaca is asked again all the same.
fn rest_of(history: &History) -> (Option<String>, Option<String>) {
    let record = history.trouble().filter(|_| history.needs_reauth());
    let next = record.and_then(|record| record.next_attempt_at);
    (record.map(|record| record.since.to_string()), next.map(|next| next.to_string()))
}

/// `is_known` for a user of whom it is known that Alpaca rejects the keys.
fn fail(id: &DocumentId, history: &History, failure: &Failure, is_known: bool, start: Instant) -> End {
    let (code, reason, duration_ms) = (failure.code(), failure.reason(), millis(start));
    let (user_id, error) = (id.as_str(), code.as_str());
    let outcome = match code {
        Code::AccountIncomplete => Outcome::Skipped,
        _ if is_known => Outcome::NeedsReauth,
        _ => Outcome::Failed(code),
    };
    match outcome {
        Outcome::Failed(_) if code.is_about_keys() => {
            error!(user_id, error, duration_ms, "Could not retrieve Alpaca keys for user {id}: {reason}");
        }
        Outcome::Failed(_) => {
            error!(user_id, error, duration_ms, "Failed to sync Alpaca account for user {id}: {reason}");
        }
        _ => {
            let (since, next_attempt_at) = rest_of(history);
            info!(
                user_id,
                error, since, next_attempt_at, duration_ms, "Skipped Alpaca account for user {id}: {reason}"
            );
        }
    }
    End { outcome, word: failure.word(), past: None }
}

fn millis(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// One real pass against a local cloud in this process: nothing but its own addresses is used.
#[cfg(feature = "sandbox")]
async fn demo() -> std::io::Result<ExitCode> {
    use alpaca_pulse::sandbox::{Options, Sandbox, showcase};
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
