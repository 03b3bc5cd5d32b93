//! The job `pulse`: one pass over all users, each on a journey from their keys to a fresh snapshot.

use alpaca_pulse::admission::Admission;
use alpaca_pulse::alpaca::{AlpacaError, Answer};
use alpaca_pulse::census::{self, Unreached};
#[cfg(feature = "sandbox")]
use alpaca_pulse::cli::LogFormat;
use alpaca_pulse::cli::{Cli, Command, SyncArgs};
use alpaca_pulse::config::{Config, Execution, LegacyAccount};
use alpaca_pulse::failure::Failure;
use alpaca_pulse::fan_out::{Ended, fan_out};
use alpaca_pulse::ids::{DocumentId, TenantId, UserId};
use alpaca_pulse::job::{Arrival, ConnectError, Job};
use alpaca_pulse::keys::Environment;
use alpaca_pulse::ledger::TaskState;
use alpaca_pulse::outcome::{Code, Counts, Outcome, PassStatus};
use alpaca_pulse::pace::Calls;
use alpaca_pulse::part::{Bookkeeper, Entry, EntryError, Part};
use alpaca_pulse::progress::Rejections;
use alpaca_pulse::repeat::{self, Turn};
use alpaca_pulse::retry::{Deadline, PUBLISH_RESERVE, RECORD_RESERVE, USER_BUDGET};
use alpaca_pulse::roster::{self, Member, PageFacts, RosterReader, Unreadable};
use alpaca_pulse::secret_manager::{KeyVersion, StoredKeys};
use alpaca_pulse::snapshot::Snapshot;
use alpaca_pulse::stop::{CLOSING_LIMIT, Stop, StopSignal};
use alpaca_pulse::telemetry::{self, Chain, ExecutionLabel};
use alpaca_pulse::trouble::{self, History, LookSchedule, Plan};
use alpaca_pulse::usage::Used;
use alpaca_pulse::user::TenantClaim;
use alpaca_pulse::verdicts::{End, Traveller, Verdicts};
use clap::Parser;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use tracing::{error, info, warn};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match runtime_for(cli.command.as_ref()) {
        Ok(runtime) => runtime,
        Err(err) => {
            eprintln!("pulse: cannot start: {err}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run(cli));
    // Dropping the runtime would wait for a name server that does not answer.
    runtime.shutdown_background();
    code
}

fn runtime_for(command: Option<&Command>) -> std::io::Result<Runtime> {
    match command {
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
    match cli.command.unwrap_or(Command::Sync(cli.sync)) {
        Command::Sync(args) => sync(&args).await,
        #[cfg(feature = "sandbox")]
        Command::Sandbox(args) => served(alpaca_pulse::sandbox::command::run(args).await),
        #[cfg(feature = "sandbox")]
        Command::Demo => served(demo().await),
    }
}

/// Configuration, one pass or several, exit code.
async fn sync(args: &SyncArgs) -> ExitCode {
    let begun = Instant::now();
    let environment = |name: &str| std::env::var(name).ok();
    let execution = Execution::from_lookup(environment, Timestamp::now());
    let label = telemetry::init(args.log_format, execution.as_ref().ok(), environment);
    let config = match execution.and_then(|execution| Config::new(args, environment, execution)) {
        Ok(config) => config,
        Err(err) => {
            error!("{err}");
            return ExitCode::from(2);
        }
    };
    let stop = match Stop::on_signals() {
        Ok(stop) => stop,
        Err(err) => {
            error!("Cannot listen for signals: {err}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(deadline) = config.deadline {
        stop.by_deadline(deadline, begun);
    }
    let status = run_job(config, &label, &stop).await;
    exit_code(status, args.fail_on_error, stop.signal())
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
            done_before = Part::done_before(&job, &execution) => done_before,
            () = stop.requested() => None,
        };
        match done_before {
            Some(status) => Turn::DoneBefore(status),
            None => take_turn(Arc::clone(&job), &execution, due, stop, began).await,
        }
    })
    .await
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
    conclude(&Figures { scope: None, status, counts: &counts, used, start }, None, &ending);
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
        admit(&admission, &job, &subject).await;
        ((books.begin(subject.user_id()), subject.traveller()), subject)
    });

    let mut verdicts = Verdicts::after(&part.finished);
    let journey = |subject| travel(Arc::clone(&job), subject, due);
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
        sums = close(&job, part, books, &verdicts, &ending, stop, start) => sums,
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
    verdicts: &Verdicts,
    ending: &Ending,
    stop: &Stop,
    start: Instant,
) -> Option<PassStatus> {
    let finished = books.close(stop).await;
    let is_complete = ending.state() == TaskState::Completed;
    let of_others = tokio::select! {
        of_others = part.rejections_of_others(job, verdicts, &finished), if is_complete => of_others,
        // Told to stop, or with users unread, the task has no time to wait for the others.
        () = stop.requested(), if is_complete => Rejections::default(),
        else => Rejections::default(),
    };
    let fleet_wide = verdicts.fleet_wide(of_others);
    let (counts, scope, used) = (&verdicts.counts, Some(job.config.scope()), part.used(job));
    let worth = if is_complete { part.worth(counts) } else { None };
    if let Some(silence) = worth.and_then(|worth| worth.silence) {
        silence.tell(counts, &job.config);
    }
    let status = if is_complete { worth.map(|worth| worth.status) } else { Some(PassStatus::Failed) };
    conclude(&Figures { scope, status, counts, used, start }, fleet_wide, ending);
    let mut records = verdicts.records(fleet_wide.is_some(), Timestamp::now());
    // What is published includes what the records cost; what is left of the time is for publishing.
    let deadline = Deadline::after(USER_BUDGET);
    if is_complete {
        job.settle(records, part.schedule.now, deadline.less(PUBLISH_RESERVE)).await;
        return part.leave(job, ending.state(), &finished, counts, start, deadline).await;
    }
    // How far it came matters more, when there may be no time for both.
    let sums = part.leave(job, ending.state(), &finished, counts, start, deadline).await;
    // A retried attempt asks again about everybody after the cursor: two rejections within moments are one.
    records.retain(|(user, _)| finished.cursor.as_ref().is_some_and(|cursor| user <= cursor));
    if !part.is_one_of_several() {
        job.settle(records, part.schedule.now, deadline.less(PUBLISH_RESERVE)).await;
    }
    sums
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
            skipped_count = counts.skipped,
            needs_reauth_count = counts.needs_reauth,
            users_count = counts.users(),
            firestore_reads = used.firestore_reads,
            firestore_writes = used.firestore_writes,
            secret_accesses = used.secret_accesses,
            alpaca_calls = used.alpaca_calls,
            $($message)+
        )
    }};
}

/// The last lines of the log.
fn conclude(figures: &Figures<'_>, fleet_wide: Option<Rejections>, ending: &Ending) {
    if let Some(Rejections { asked, rejected }) = fleet_wide {
        error!(
            severity = "CRITICAL",
            error = Code::BrokerRejected.as_str(),
            "Alpaca rejected {rejected} of {asked} users: not marking anyone for re-authentication"
        );
    }
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
async fn admit(admission: &Admission, job: &Job, subject: &Subject) {
    match subject {
        Subject::User(member, plan) => admission.admit(&member.user.id, calls_of(job, member, plan)).await,
        Subject::Nobody(id) => admission.admit(id, Calls::NONE).await,
        Subject::Legacy(_) => {
            let writes = if job.config.dry_run { 0 } else { 1 + u32::from(job.config.legacy_tenant_path) };
            job.pace.allow(Calls { writes, ..Calls::ALPACA_CALL }).await;
        }
    }
}

/// The calls of a journey that ends well, so that it need not wait on its way.
fn calls_of(job: &Job, member: &Member, plan: &Plan) -> Calls {
    let user = UserId::parse(member.user.id.as_str()).ok().filter(|_| member.user.sync_enabled);
    let Some(user) = user else { return Calls::NONE };
    match plan {
        Plan::Ask => {
            let is_known = job.kept_keys(&user, &member.history).is_some();
            let writes = job.expected_writes(member);
            Calls { secret_accesses: u32::from(!is_known), alpaca_calls: 1, writes }
        }
        // Nearly all of them still have the keys that are known, and then it ends with that.
        Plan::AskUnless(_) => Calls::SECRET_ACCESS,
        Plan::Wait => Calls::NONE,
    }
}

/// One journey.
async fn travel(job: Arc<Job>, subject: Subject, due: Instant) -> End {
    match subject {
        Subject::User(member, plan) => sync_user(&job, &member, plan, due).await,
        Subject::Nobody(id) => fail(&id, &Failure::Unknown, false, Instant::now()),
        Subject::Legacy(account) => sync_legacy_account(&job, &account).await,
    }
}

/// One user's journey, from what is known of them to what became of it.
async fn sync_user(job: &Job, member: &Member, plan: Plan, due: Instant) -> End {
    let (id, start) = (&member.user.id, Instant::now());
    if !member.user.sync_enabled {
        return skip(id, Outcome::Skipped, "sync_enabled is false");
    }
    if plan == Plan::Wait {
        return skip(id, Outcome::NeedsReauth, REAUTH);
    }
    info!(user_id = id.as_str(), "Syncing Alpaca account for user {id}");
    let deadline = Deadline::after(USER_BUDGET);
    match keys_to_snapshot(job, member, plan, due, deadline.less(RECORD_RESERVE)).await {
        Ok(Arrived::Synced(tenant)) => succeed(job, id, tenant.as_ref(), None, start),
        Ok(Arrived::Unchanged(tenant)) => succeed(job, id, tenant.as_ref(), Some(true), start),
        Ok(Arrived::SameKeys) => skip(id, Outcome::NeedsReauth, REAUTH),
        Err(failure) => {
            let (code, version) = (failure.code(), failure.key_version());
            let is_named = !job.config.takes_everybody();
            // Nothing new: they are waited for.
            let is_known = !is_named && member.history.stays_rejected(code, version);
            let mut end = fail(id, &failure, is_known, start);
            if is_named {
                end.rejected = None;
            }
            // Whether a rejection counts, only the whole pass can tell.
            if end.rejected.is_none() {
                let record = if is_named { trouble::after_named_failure } else { trouble::after_failure };
                let trouble = record(&member.history, code, version, Timestamp::now());
                let record: Vec<_> = trouble.map(|trouble| (id.clone(), trouble)).into_iter().collect();
                job.record(&record, deadline).await;
            }
            end
        }
    }
}

/// The journey itself: keys, account, snapshot.
async fn keys_to_snapshot(
    job: &Job,
    member: &Member,
    plan: Plan,
    due: Instant,
    deadline: Deadline,
) -> Result<Arrived, Failure> {
    let user = UserId::parse(member.user.id.as_str()).map_err(Failure::Id)?;
    let facts = match member.facts.clone().and_then(PageFacts::fresh) {
        Some(facts) => facts,
        None => {
            job.tenant_facts(user.as_str(), &member.user.tenant, deadline).await.map_err(Failure::Facts)?
        }
    };
    let database = job.store.database();

    let Some((answer, environment, version)) = keys_to_account(job, member, &user, plan, deadline).await?
    else {
        return Ok(Arrived::SameKeys);
    };

    let over = trouble::after_success(&member.history, &version, Timestamp::now());
    let arrival = Arrival {
        name: database.document(format_args!("users/{user}/alpacaAccounts/snapshot")),
        snapshot: Snapshot {
            user_id: user.as_str(),
            account: &answer.account,
            environment,
            answered_at: answer.answered_at,
            keys: Some((&database.latest_keys(&user), &version)),
            raw: answer.raw(job.config.store_raw),
        },
        claim: &member.user.tenant,
        facts,
        end_of_trouble: over.map(|trouble| job.trouble_write(&member.user.id, &trouble)),
    };
    let id = &member.user.id;
    match job.write_if_changed(id, &member.history, &arrival, due, deadline).await {
        Ok((tenant, true)) => Ok(Arrived::Unchanged(tenant)),
        Ok((tenant, false)) => Ok(Arrived::Synced(tenant)),
        Err(err) => Err(Failure::Store(err, Some(version))),
    }
}

/// The first half of it. Nothing when the keys are those that Alpaca is known to reject.
async fn keys_to_account(
    job: &Job,
    member: &Member,
    user: &UserId,
    plan: Plan,
    deadline: Deadline,
) -> Result<Option<(Answer, Environment, KeyVersion)>, Failure> {
    let mut rejected = None;
    if let Some(kept) = job.kept_keys(user, &member.history) {
        match ask(job, user, &kept, deadline).await {
            // Kept keys may be old ones: the user may have stored others since.
            Err(failure) if failure.rejected().is_some() => {
                let calls = Calls { secret_accesses: 1, ..Calls::ALPACA_CALL };
                if !job.pace.allow_by(calls, deadline).await {
                    return Err(failure);
                }
                rejected = Some((kept.version.clone(), failure));
            }
            answer => return answer.map(Some),
        }
    }
    let newest = job.secrets.keys(job.store.database(), user, deadline).await.map_err(Failure::Keys)?;
    if let Plan::AskUnless(known) = plan {
        if known == newest.version {
            return Ok(None);
        }
        // Only now is it known that there is more to do.
        let calls = Calls { writes: job.expected_writes(member), ..Calls::ALPACA_CALL };
        if !job.pace.allow_by(calls, deadline).await {
            return Err(Failure::Broker(AlpacaError::TooLate, Some(newest.version)));
        }
    }
    if let Some((_, failure)) = rejected.filter(|(version, _)| *version == newest.version) {
        return Err(failure);
    }
    let newest = Arc::new(newest);
    if let Some(cache) = &job.key_cache {
        cache.keep(user, &newest);
    }
    ask(job, user, &newest, deadline).await.map(Some)
}

/// Asks Alpaca; keys that it rejects are not kept.
async fn ask(
    job: &Job,
    user: &UserId,
    StoredKeys { keys, version }: &StoredKeys,
    deadline: Deadline,
) -> Result<(Answer, Environment, KeyVersion), Failure> {
    match job.alpaca.account(keys, deadline).await {
        Ok(answer) => Ok((answer, keys.environment(), version.clone())),
        Err(err) => {
            if let (AlpacaError::Rejected { .. }, Some(cache)) = (&err, &job.key_cache) {
                cache.forget(user);
            }
            Err(Failure::Broker(err, Some(version.clone())))
        }
    }
}

/// The same for the single account of old deployments, whose keys are in the configuration.
async fn sync_legacy_account(job: &Job, legacy: &LegacyAccount) -> End {
    let (id, start) = (&legacy.id, Instant::now());
    warn!(
        "APCA_API_KEY_ID and APCA_API_SECRET_KEY are deprecated: store the keys in Secret Manager as \
         alpaca-keys-<userId> and unset both"
    );
    info!(user_id = id.as_str(), "Syncing Alpaca account for user {id}");
    match legacy_keys_to_snapshot(job, legacy).await {
        Ok(tenant) => succeed(job, id, tenant.as_ref(), None, start),
        Err(failure) => fail(id, &failure, false, start),
    }
}

async fn legacy_keys_to_snapshot(job: &Job, legacy: &LegacyAccount) -> Result<Option<TenantId>, Failure> {
    let deadline = Deadline::after(USER_BUDGET);
    let claim = TenantClaim::Assigned(legacy.tenant.clone());
    let facts = job.tenant_facts(legacy.id.as_str(), &claim, deadline).await.map_err(Failure::Facts)?;
    let answer =
        job.alpaca.account(&legacy.keys, deadline).await.map_err(|err| Failure::Broker(err, None))?;
    let arrival = Arrival {
        name: job.store.database().document(format_args!("alpacaAccounts/snapshot")),
        snapshot: Snapshot {
            user_id: legacy.id.as_str(),
            account: &answer.account,
            environment: legacy.keys.environment(),
            answered_at: answer.answered_at,
            keys: None,
            raw: answer.raw(job.config.store_raw),
        },
        claim: &claim,
        facts,
        end_of_trouble: None,
    };
    job.write(&arrival, deadline).await.map_err(|err| Failure::Store(err, None))
}

/// Where a journey that did not fail arrived.
enum Arrived {
    /// At a fresh snapshot, and the document of this tenant.
    Synced(Option<TenantId>),
    /// At ones that are fresh enough and say the same.
    Unchanged(Option<TenantId>),
    /// At the keys that Alpaca is known to reject.
    SameKeys,
}

const REAUTH: &str = "Alpaca rejects its keys, and the user has not stored new ones yet";

/// `unchanged` is true for a user whose snapshot said the same already.
fn succeed(
    job: &Job,
    id: &DocumentId,
    tenant: Option<&TenantId>,
    unchanged: Option<bool>,
    start: Instant,
) -> End {
    let (user_id, tenant_id, duration_ms) = (id.as_str(), tenant.map(TenantId::as_str), millis(start));
    if job.config.dry_run {
        info!(user_id, tenant_id, duration_ms, "Would have synced Alpaca account for user {id} (dry run)");
    } else {
        info!(user_id, tenant_id, unchanged, duration_ms, "Successfully synced Alpaca account for user {id}");
    }
    End { outcome: Outcome::Synced, asked: true, rejected: None }
}

fn skip(id: &DocumentId, outcome: Outcome, reason: &str) -> End {
    info!(user_id = id.as_str(), "Skipped Alpaca account for user {id}: {reason}");
    End::unasked(outcome)
}

/// `is_known` for a user of whom it is known that Alpaca rejects the keys.
fn fail(id: &DocumentId, failure: &Failure, is_known: bool, start: Instant) -> End {
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
        _ => info!(user_id, error, duration_ms, "Skipped Alpaca account for user {id}: {reason}"),
    }
    End { outcome, asked: failure.was_asked(), rejected: failure.rejected() }
}

fn millis(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// One real pass against a local cloud in this process: nothing but its own addresses is used.
#[cfg(feature = "sandbox")]
async fn demo() -> std::io::Result<ExitCode> {
    use alpaca_pulse::sandbox::{Options, Sandbox, showcase};
    use std::io::{Error, Write};

    let sandbox = Sandbox::start(Options { users: 25, trouble: true, ..Options::default() }).await?;
    let exports = sandbox.exports();
    let environment = |name: &str| Some(exports.iter().find(|(exported, _)| *exported == name)?.1.clone());
    let execution = Execution::from_lookup(environment, Timestamp::now()).map_err(Error::other)?;
    let only_colours = |name: &str| std::env::var(name).ok().filter(|_| name == "NO_COLOR");
    let label = telemetry::init(LogFormat::Text, Some(&execution), only_colours);
    let config = Config::new(&SyncArgs::default(), environment, execution).map_err(Error::other)?;
    let stop = Stop::on_signals()?;
    let status = run_job(config, &label, &stop).await;
    writeln!(std::io::stdout(), "\n{}", showcase::table(&sandbox))?;
    sandbox.stop().await;
    Ok(exit_code(status, false, stop.signal()))
}

#[cfg(feature = "sandbox")]
fn served(ended: std::io::Result<ExitCode>) -> ExitCode {
    ended.unwrap_or_else(|err| {
        eprintln!("pulse: {err}");
        ExitCode::FAILURE
    })
}
