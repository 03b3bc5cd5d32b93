//! The job `pulse`: one pass over all users, each on a journey from their keys to a fresh snapshot.

use alpaca_pulse::admission::Admission;
use alpaca_pulse::alpaca::AlpacaError;
use alpaca_pulse::census::{self, Unreached};
#[cfg(feature = "sandbox")]
use alpaca_pulse::cli::LogFormat;
use alpaca_pulse::cli::{Cli, Command, SyncArgs};
use alpaca_pulse::config::{Config, Execution, LegacyAccount};
use alpaca_pulse::failure::Failure;
use alpaca_pulse::fan_out::{Ended, fan_out};
use alpaca_pulse::ids::{DocumentId, TenantId, UserId};
use alpaca_pulse::job::{Arrival, ConnectError, Job};
use alpaca_pulse::ledger::TaskState;
use alpaca_pulse::outcome::{Code, Counts, Outcome, PassStatus};
use alpaca_pulse::pace::Calls;
use alpaca_pulse::part::{Bookkeeper, Entry, EntryError, Part};
use alpaca_pulse::progress::Rejections;
use alpaca_pulse::retry::{Deadline, PUBLISH_RESERVE, RECORD_RESERVE, USER_BUDGET};
use alpaca_pulse::roster::{self, Member, PageFacts, RosterReader, Unreadable};
use alpaca_pulse::secret_manager::StoredKeys;
use alpaca_pulse::snapshot::Snapshot;
use alpaca_pulse::stop::{CLOSING_LIMIT, Stop, StopSignal};
use alpaca_pulse::telemetry::{self, Chain};
use alpaca_pulse::trouble::{self, History, LookSchedule, Plan};
use alpaca_pulse::user::TenantClaim;
use alpaca_pulse::verdicts::{End, Traveller, Verdicts};
use clap::Parser;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::time::Instant;
use tracing::{error, info, warn};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
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

async fn run(cli: Cli) -> ExitCode {
    match cli.command.unwrap_or(Command::Sync(cli.sync)) {
        Command::Sync(args) => sync(&args).await,
        #[cfg(feature = "sandbox")]
        Command::Sandbox(args) => served(alpaca_pulse::sandbox::command::run(args).await),
        #[cfg(feature = "sandbox")]
        Command::Demo => served(demo().await),
    }
}

/// Configuration, one pass, exit code.
async fn sync(args: &SyncArgs) -> ExitCode {
    let begun = Instant::now();
    let environment = |name: &str| std::env::var(name).ok();
    let execution = Execution::from_lookup(environment, Timestamp::now());
    telemetry::init(args.log_format, execution.as_ref().ok(), environment);
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
    let status = run_job(config, &stop).await;
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

/// Connects, finds out what this task's part is, and does it.
async fn run_job(config: Config, stop: &Stop) -> PassStatus {
    let start = Instant::now();
    let began = async {
        let execution = config.execution.clone();
        let job = Arc::new(Job::connect(config).await.map_err(CannotBegin::Connect)?);
        let part = Part::enter(&job, &execution, Timestamp::now()).await.map_err(CannotBegin::Enter)?;
        Ok((job, part))
    };
    let began: Result<_, CannotBegin> = tokio::select! {
        began = began => began,
        () = stop.requested() => {
            let unreached = stop.deadline().map(|_| Unreached::Unknown);
            conclude(&Verdicts::default(), None, &Ending { ended: Ended::Stopped, unreached, unreadable: None }, start);
            return PassStatus::Failed;
        }
    };
    match began {
        Ok((job, Entry::Part(part))) => pulse(job, &part, stop, start).await,
        Ok((_, Entry::Busy(other))) => {
            warn!("Skipped pulse: execution {other} is still running");
            PassStatus::Ok
        }
        Err(err) => {
            error!(severity = "CRITICAL", "The pass could not begin: {}", Chain(&err));
            PassStatus::Failed
        }
    }
}

/// Why a pass could not begin.
#[derive(Debug, thiserror::Error)]
enum CannotBegin {
    #[error(transparent)]
    Connect(ConnectError),
    #[error(transparent)]
    Enter(EntryError),
}

/// One pass over all users that are this task's.
async fn pulse(mut job: Arc<Job>, part: &Part, stop: &Stop, start: Instant) -> PassStatus {
    let legacy = Arc::get_mut(&mut job).and_then(|job| job.config.legacy_account.take());
    let legacy = legacy.filter(|_| part.has_legacy_account);
    let Config { filter, spread, concurrency, legacy_tenant_path, .. } = &job.config;
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
        .map(|entry| Subject::user(entry, &part.schedule));
    let subjects = stream::iter(legacy.map(Subject::Legacy)).chain(users);
    let books = part.keep(&job);
    let travellers = subjects.then(async |subject| {
        admit(&admission, &job, &subject).await;
        ((books.begin(subject.user_id()), subject.traveller()), subject)
    });

    let mut verdicts = Verdicts::after(&part.finished);
    let journey = |subject| travel(Arc::clone(&job), subject);
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
    let status = ending.status(&verdicts.counts);
    tokio::select! {
        () = close(&job, part, books, &verdicts, &ending, start) => {}
        // Once told to stop, there is little time before the process is killed.
        () = stop.requested_for(CLOSING_LIMIT) => warn!("Stopped before everything was recorded"),
    }
    status
}

/// Says how it went, and records it.
async fn close(
    job: &Job,
    part: &Part,
    books: Bookkeeper,
    verdicts: &Verdicts,
    ending: &Ending,
    start: Instant,
) {
    let finished = books.close().await;
    let fleet_wide = verdicts.fleet_wide(part.rejections_of_others(job, verdicts, &finished).await);
    conclude(verdicts, fleet_wide, ending, start);
    // What the records cost is part of what is published; what is left of the time is for that.
    let deadline = Deadline::after(USER_BUDGET);
    let records = verdicts.records(fleet_wide.is_some(), Timestamp::now());
    job.settle(records, part.schedule.now, deadline.less(PUBLISH_RESERVE)).await;
    part.leave(job, ending.state(), &finished, &verdicts.counts, start, deadline).await;
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

/// The last lines of the log.
fn conclude(verdicts: &Verdicts, fleet_wide: Option<Rejections>, ending: &Ending, start: Instant) {
    if let Some(Rejections { asked, rejected }) = fleet_wide {
        error!(
            severity = "CRITICAL",
            error = Code::BrokerRejected.as_str(),
            "Alpaca rejected {rejected} of {asked} users: not marking anyone for re-authentication"
        );
    }
    let (counts, duration_ms) = (&verdicts.counts, millis(start));
    match (&ending.unreadable, ending.ended) {
        (Some(err), _) => error!(
            severity = "CRITICAL",
            error = err.code().as_str(),
            duration_ms,
            "Failed multi-tenant sync: {counts}; the other users could not be read: {}",
            Chain(err)
        ),
        (None, Ended::Complete) => info!(duration_ms, "Completed multi-tenant sync: {counts}"),
        (None, ended) => {
            let not_reached = ending.unreached.and_then(Unreached::count);
            let unreached = ending.unreached.map(|users| format!("; {users}")).unwrap_or_default();
            let given_up = if ended == Ended::CutOff { "; what was in flight is given up" } else { "" };
            warn!(duration_ms, not_reached, "Stopped multi-tenant sync: {counts}{unreached}{given_up}");
        }
    }
}

/// Who a journey is about.
enum Subject {
    User(Box<Member>, Plan),
    Nobody(DocumentId),
    Legacy(LegacyAccount),
}

impl Subject {
    fn user(entry: roster::Entry, schedule: &LookSchedule) -> Self {
        match entry {
            roster::Entry::Member(member) => {
                let plan = trouble::plan(&member.history, member.user.id.as_str(), schedule);
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
    let has_keys = member.user.sync_enabled && UserId::parse(member.user.id.as_str()).is_ok();
    match plan {
        Plan::Ask if has_keys => {
            Calls { secret_accesses: 1, alpaca_calls: 1, writes: job.expected_writes(member) }
        }
        // Nearly all of them still have the keys that are known, and then it ends with that.
        Plan::AskUnless(_) if has_keys => Calls::SECRET_ACCESS,
        Plan::Ask | Plan::AskUnless(_) | Plan::Wait => Calls::NONE,
    }
}

/// One journey.
async fn travel(job: Arc<Job>, subject: Subject) -> End {
    match subject {
        Subject::User(member, plan) => sync_user(&job, &member, plan).await,
        Subject::Nobody(id) => skip(&id, Outcome::Skipped, "there is no such document in users"),
        Subject::Legacy(account) => sync_legacy_account(&job, &account).await,
    }
}

/// One user's journey, from what is known of them to what became of it.
async fn sync_user(job: &Job, member: &Member, plan: Plan) -> End {
    let (id, start) = (&member.user.id, Instant::now());
    if !member.user.sync_enabled {
        return skip(id, Outcome::Skipped, "sync_enabled is false");
    }
    if plan == Plan::Wait {
        return skip(id, Outcome::NeedsReauth, REAUTH);
    }
    info!(user_id = id.as_str(), "Syncing Alpaca account for user {id}");
    let deadline = Deadline::after(USER_BUDGET);
    match keys_to_snapshot(job, member, plan, deadline.less(RECORD_RESERVE)).await {
        Ok(Arrived::Synced(tenant)) => succeed(job, id, tenant.as_ref(), start),
        Ok(Arrived::SameKeys) => skip(id, Outcome::NeedsReauth, REAUTH),
        Err(failure) => {
            let end = fail(id, &member.history, &failure, start);
            // Whether a rejection counts, only the whole pass can tell.
            if end.rejected.is_none() {
                let now = Timestamp::now();
                let trouble =
                    trouble::after_failure(&member.history, failure.code(), failure.key_version(), now);
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

    let StoredKeys { keys, version } =
        job.secrets.keys(database, &user, deadline).await.map_err(Failure::Keys)?;
    if let Plan::AskUnless(rejected) = plan {
        if rejected == version {
            return Ok(Arrived::SameKeys);
        }
        // Only now is it known that there is more to do.
        let calls = Calls { writes: job.expected_writes(member), ..Calls::ALPACA_CALL };
        if !job.pace.allow_by(calls, deadline).await {
            return Err(Failure::Broker(AlpacaError::TooLate, Some(version)));
        }
    }
    let answer = job.alpaca.account(&keys, deadline).await;
    let answer = answer.map_err(|err| Failure::Broker(err, Some(version.clone())))?;
    let environment = keys.environment();
    drop(keys);

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
    let tenant =
        job.write(&arrival, deadline).await.map_err(|err| Failure::Store(err, Some(version.clone())))?;
    Ok(Arrived::Synced(tenant))
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
        Ok(tenant) => succeed(job, id, tenant.as_ref(), start),
        Err(failure) => fail(id, &History::Unknown, &failure, start),
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
    /// At the keys that Alpaca is known to reject.
    SameKeys,
}

const REAUTH: &str = "Alpaca rejects its keys, and the user has not stored new ones yet";

fn succeed(job: &Job, id: &DocumentId, tenant: Option<&TenantId>, start: Instant) -> End {
    let (user_id, tenant_id, duration_ms) = (id.as_str(), tenant.map(TenantId::as_str), millis(start));
    if job.config.dry_run {
        info!(user_id, tenant_id, duration_ms, "Would have synced Alpaca account for user {id} (dry run)");
    } else {
        info!(user_id, tenant_id, duration_ms, "Successfully synced Alpaca account for user {id}");
    }
    End { outcome: Outcome::Synced, asked: true, rejected: None }
}

fn skip(id: &DocumentId, outcome: Outcome, reason: &str) -> End {
    info!(user_id = id.as_str(), "Skipped Alpaca account for user {id}: {reason}");
    End::unasked(outcome)
}

fn fail(id: &DocumentId, history: &History, failure: &Failure, start: Instant) -> End {
    let (code, reason, duration_ms) = (failure.code(), failure.reason(), millis(start));
    let (user_id, error) = (id.as_str(), code.as_str());
    let outcome = match code {
        Code::AccountIncomplete => Outcome::Skipped,
        // Nothing new: they are waited for.
        _ if history.stays_rejected(code, failure.key_version()) => Outcome::NeedsReauth,
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
    telemetry::init(LogFormat::Text, Some(&execution), only_colours);
    let config = Config::new(&SyncArgs::default(), environment, execution).map_err(Error::other)?;
    let stop = Stop::on_signals()?;
    let status = run_job(config, &stop).await;
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
