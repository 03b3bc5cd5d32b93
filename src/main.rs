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
use alpaca_pulse::last_pulse::LastPulse;
use alpaca_pulse::outcome::{Code, Counts, Outcome, PassStatus};
use alpaca_pulse::pace::Calls;
use alpaca_pulse::retry::{Deadline, PUBLISH_RESERVE, RECORD_RESERVE, USER_BUDGET};
use alpaca_pulse::roster::{Entry, Member, PageFacts, RosterReader, Unreadable};
use alpaca_pulse::secret_manager::StoredKeys;
use alpaca_pulse::snapshot::Snapshot;
use alpaca_pulse::stop::{CLOSING_LIMIT, Stop, StopSignal};
use alpaca_pulse::telemetry::{self, Chain};
use alpaca_pulse::trouble::{self, History, Plan};
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
    telemetry::init(args.log_format, &execution, environment);
    let config = match Config::new(args, environment, execution) {
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
    let status = match pulse(config, &stop).await {
        Ok(status) => status,
        Err(err) => {
            error!(severity = "CRITICAL", "The pass could not begin: {}", Chain(&err));
            PassStatus::Failed
        }
    };
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

/// One pass over all users.
async fn pulse(mut config: Config, stop: &Stop) -> Result<PassStatus, ConnectError> {
    let (started_at, start) = (Timestamp::now(), Instant::now());
    let legacy = config.legacy_account.take().filter(|_| config.takes_everybody());
    let job = tokio::select! {
        job = Job::connect(config, started_at) => Arc::new(job?),
        () = stop.requested() => {
            let unreached = stop.deadline().map(|_| Unreached::Unknown);
            conclude(&Verdicts::default(), None, Ended::Stopped, unreached, start);
            return Ok(PassStatus::Failed);
        }
    };

    let Config { selection, filter, spread, .. } = &job.config;
    let spread = tokio::select! {
        spread = census::spread(&job.store, selection, filter, *spread, start) => spread,
        () = stop.requested() => None,
    };
    let admission = Admission::new(&job.pace, spread);
    let roster = RosterReader::new(&job.store, job.config.legacy_tenant_path, started_at);
    let roster = roster.only(filter.clone());
    let pages = roster.start(selection.clone());
    let mut unreadable = None;
    let users = stream::unfold(pages, |mut pages| async { Some((pages.recv().await?, pages)) })
        .filter_map(|page| std::future::ready(page.map_err(|err| unreadable = Some(err)).ok()))
        .flat_map(stream::iter)
        .map(Subject::User);
    let subjects = stream::iter(legacy.map(Subject::Legacy)).chain(users);
    let travellers = subjects.then(async |subject| {
        admit(&admission, &job, &subject).await;
        (subject.traveller(), subject)
    });

    let mut verdicts = Verdicts::default();
    let journey = |subject| travel(Arc::clone(&job), subject);
    let ended = fan_out(travellers, job.config.concurrency, stop, journey, |traveller, end| {
        verdicts.add(traveller, end.ok());
    })
    .await;

    let unreached = match stop.deadline().filter(|_| ended != Ended::Complete) {
        Some(told) => Some(census::unreached(&job.store, selection, filter, admission.reached(), told).await),
        None => None,
    };
    let (ended, unreached) = match (ended, unreached) {
        // The deadline came when the last ones were already on their way.
        (Ended::Stopped, Some(Unreached::Users(0))) => (Ended::Complete, None),
        other => other,
    };
    let status = match (&unreadable, ended) {
        (None, Ended::Complete) => verdicts.counts.status(),
        _ => PassStatus::Failed,
    };
    conclude(&verdicts, unreadable.as_ref(), ended, unreached, start);
    let closing = async {
        // What the records cost is part of what is published; what is left of the time is for that.
        let deadline = Deadline::after(USER_BUDGET);
        job.settle(verdicts.records(Timestamp::now()), started_at, deadline.less(PUBLISH_RESERVE)).await;
        publish(&job, &verdicts.counts, status, started_at, start, deadline).await;
    };
    // Once told to stop, there is little time before the process is killed.
    let patience = async {
        stop.requested().await;
        tokio::time::sleep(CLOSING_LIMIT).await;
    };
    tokio::select! {
        () = closing => {}
        () = patience => warn!("Stopped before everything was recorded"),
    }
    Ok(status)
}

/// The last lines of the log.
fn conclude(
    verdicts: &Verdicts,
    unreadable: Option<&Unreadable>,
    ended: Ended,
    unreached: Option<Unreached>,
    start: Instant,
) {
    if let Some((rejected, asked)) = verdicts.fleet_wide() {
        error!(
            severity = "CRITICAL",
            error = Code::BrokerRejected.as_str(),
            "Alpaca rejected {rejected} of {asked} users: not marking anyone for re-authentication"
        );
    }
    let (counts, duration_ms) = (&verdicts.counts, millis(start));
    match (unreadable, ended) {
        (Some(err), _) => error!(
            severity = "CRITICAL",
            error = err.code().as_str(),
            duration_ms,
            "Failed multi-tenant sync: {counts}; the other users could not be read: {}",
            Chain(err)
        ),
        (None, Ended::Complete) => info!(duration_ms, "Completed multi-tenant sync: {counts}"),
        (None, Ended::Stopped | Ended::CutOff) => {
            let not_reached = unreached.and_then(Unreached::count);
            let unreached = unreached.map(|users| format!("; {users}")).unwrap_or_default();
            let given_up = if ended == Ended::CutOff { "; what was in flight is given up" } else { "" };
            warn!(duration_ms, not_reached, "Stopped multi-tenant sync: {counts}{unreached}{given_up}");
        }
    }
}

/// Tells the dashboards, unless it was not a pass for them.
async fn publish(
    job: &Job,
    counts: &Counts,
    status: PassStatus,
    started_at: Timestamp,
    start: Instant,
    deadline: Deadline,
) {
    if job.config.dry_run || !job.config.takes_everybody() {
        return;
    }
    let (execution, duration) = (job.config.execution.id.as_str(), start.elapsed());
    let last_pulse = LastPulse { counts, status, execution, started_at, duration, usage: &job.usage };
    if let Err(err) = last_pulse.write(&job.store, deadline).await {
        error!(error = err.code().as_str(), "Could not write ops/last_pulse: {}", Chain(&err));
    }
}

/// Who a journey is about.
enum Subject {
    User(Entry),
    Legacy(LegacyAccount),
}

impl Subject {
    fn traveller(&self) -> Traveller {
        match self {
            Self::User(Entry::Member(member)) => {
                Traveller { id: member.user.id.clone(), history: member.history.clone() }
            }
            Self::User(Entry::Nobody(id)) => Traveller { id: id.clone(), history: History::Unknown },
            Self::Legacy(account) => Traveller { id: account.id.clone(), history: History::Unknown },
        }
    }
}

/// Waits until a journey may begin.
async fn admit(admission: &Admission, job: &Job, subject: &Subject) {
    match subject {
        Subject::User(Entry::Member(member)) => admission.admit(&member.user.id, calls_of(job, member)).await,
        Subject::User(Entry::Nobody(id)) => admission.admit(id, Calls::NONE).await,
        Subject::Legacy(_) => {
            let writes = if job.config.dry_run { 0 } else { 1 + u32::from(job.config.legacy_tenant_path) };
            job.pace.allow(Calls { writes, ..Calls::ALPACA_CALL }).await;
        }
    }
}

/// The calls of a journey that ends well, so that it need not wait on its way.
fn calls_of(job: &Job, member: &Member) -> Calls {
    let has_keys = member.user.sync_enabled && UserId::parse(member.user.id.as_str()).is_ok();
    match trouble::plan(&member.history, member.user.id.as_str(), &job.schedule) {
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
        Subject::User(Entry::Member(member)) => sync_user(&job, &member).await,
        Subject::User(Entry::Nobody(id)) => skip(&id, Outcome::Skipped, "there is no such document in users"),
        Subject::Legacy(account) => sync_legacy_account(&job, &account).await,
    }
}

/// One user's journey, from what is known of them to what became of it.
async fn sync_user(job: &Job, member: &Member) -> End {
    let (id, start) = (&member.user.id, Instant::now());
    if !member.user.sync_enabled {
        return skip(id, Outcome::Skipped, "sync_enabled is false");
    }
    let plan = trouble::plan(&member.history, id.as_str(), &job.schedule);
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
    let execution = Execution::from_lookup(environment, Timestamp::now());
    let only_colours = |name: &str| std::env::var(name).ok().filter(|_| name == "NO_COLOR");
    telemetry::init(LogFormat::Text, &execution, only_colours);
    let config = Config::new(&SyncArgs::default(), environment, execution).map_err(Error::other)?;
    let stop = Stop::on_signals()?;
    let status = pulse(config, &stop).await.map_err(Error::other)?;
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
