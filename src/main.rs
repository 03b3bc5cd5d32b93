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
use alpaca_pulse::job::{Arrival, ConnectError, Job, Tick, snapshot_name};
use alpaca_pulse::ledger::TaskState;
use alpaca_pulse::outcome::{Code, Counts, Outcome, PassStatus};
use alpaca_pulse::pace::Calls;
use alpaca_pulse::part::{Bookkeeper, Entry, EntryError, Part};
use alpaca_pulse::progress::Rejections;
use alpaca_pulse::repeat::{self, Turn};
use alpaca_pulse::retry::{Deadline, PUBLISH_RESERVE, RECORD_RESERVE, USER_BUDGET};
use alpaca_pulse::roster::{self, Member, PageFacts, RosterReader, Unreadable};
use alpaca_pulse::secret_manager::StoredKeys;
use alpaca_pulse::snapshot::Snapshot;
use alpaca_pulse::stop::{CLOSING_LIMIT, Stop, StopSignal};
use alpaca_pulse::telemetry::{self, Chain, ExecutionLabel};
use alpaca_pulse::tenancy::TenantFacts;
use alpaca_pulse::trouble::{self, History, LookSchedule, Plan};
use alpaca_pulse::user::{Switch, TenantClaim};
use alpaca_pulse::verdicts::{End, Traveller, Verdicts};
use clap::Parser;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use std::borrow::Cow;
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
            Turn::Ran(status) => status,
            Turn::Busy | Turn::DoneBefore => PassStatus::Ok,
        };
    };
    repeat::run(&repeat, &first, start, stop, async |execution, due| {
        label.set(&execution);
        let began = Instant::now();
        let is_done = tokio::select! {
            is_done = Part::is_done(&job, &execution) => is_done,
            () = stop.requested() => false,
        };
        match is_done {
            true => Turn::DoneBefore,
            false => take_turn(Arc::clone(&job), &execution, due, stop, began).await,
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
    conclude(&Verdicts::default(), None, &ending, None, start);
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
        .map(|entry| Subject::user(entry, &part.schedule));
    let subjects = stream::iter(legacy.map(Subject::Legacy)).chain(users);
    let books = part.keep(&job);
    let travellers = subjects.then(async |subject| {
        admit(&admission, &job, &subject, part.schedule).await;
        ((books.begin(subject.user_id()), subject.traveller()), subject)
    });

    let mut verdicts = Verdicts::after(&part.finished);
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
        sums = close(&job, part, books, &verdicts, &ending, stop, start) => sums,
        // Once told to stop, there is little time before the process is killed.
        () = stop.requested_for(CLOSING_LIMIT) => {
            warn!("Stopped before everything was recorded");
            None
        }
    };
    match (ending.status(&verdicts.counts), sums) {
        // Whether nobody was synced, only the last task knows. That nobody of a small share was, is no
        // reason for Cloud Run to try it again.
        (PassStatus::Failed, Some(sums)) if ending.state() == TaskState::Completed => sums,
        (PassStatus::Failed, None) if ending.state() == TaskState::Completed && part.is_one_of_several() => {
            PassStatus::Degraded
        }
        (status, _) => status,
    }
}

/// Says how it went, and records it. Returns what the pass of all tasks is worth, if this one knows.
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
    conclude(verdicts, fleet_wide, ending, Some(job.config.scope()), start);
    let mut records = verdicts.records(fleet_wide.is_some(), Timestamp::now());
    // What is published includes what the records cost; what is left of the time is for publishing.
    let deadline = Deadline::after(USER_BUDGET);
    if is_complete {
        job.settle(records, part.schedule.now, deadline.less(PUBLISH_RESERVE)).await;
        return part.leave(job, ending.state(), &finished, &verdicts.counts, start, deadline).await;
    }
    // How far it came matters more, when there may be no time for both.
    let sums = part.leave(job, ending.state(), &finished, &verdicts.counts, start, deadline).await;
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

/// The last lines of the log.
fn conclude(
    verdicts: &Verdicts,
    fleet_wide: Option<Rejections>,
    ending: &Ending,
    scope: Option<&'static str>,
    start: Instant,
) {
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
            scope,
            duration_ms,
            "Failed multi-tenant sync: {counts}; the other users could not be read: {}",
            Chain(err)
        ),
        (None, Ended::Complete) => info!(scope, duration_ms, "Completed multi-tenant sync: {counts}"),
        (None, ended) => {
            let not_reached = ending.unreached.and_then(Unreached::count);
            let unreached = ending.unreached.map(|users| format!("; {users}")).unwrap_or_default();
            let given_up = if ended == Ended::CutOff { "; what was in flight is given up" } else { "" };
            warn!(
                scope,
                duration_ms, not_reached, "Stopped multi-tenant sync: {counts}{unreached}{given_up}"
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
        Subject::Nobody(id) => skip(&id, Outcome::Skipped, "there is no such document in users"),
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
        return skip(id, Outcome::NeedsReauth, REAUTH);
    }
    info!(user_id = id.as_str(), "Syncing Alpaca account for user {id}");
    let deadline = Deadline::after(USER_BUDGET);
    match keys_to_snapshot(job, member, plan, tick, deadline.less(RECORD_RESERVE)).await {
        Ok(Arrived::Synced(tenant)) => succeed(job, id, tenant.as_ref(), None, start),
        Ok(Arrived::Unchanged(tenant)) => succeed(job, id, tenant.as_ref(), Some(true), start),
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

    let over = trouble::after_success(&member.history, version, Timestamp::now());
    let arrival = Arrival {
        name: snapshot_name(database, &member.user.id),
        snapshot: Snapshot {
            user_id: user.as_str(),
            account: &answer.account,
            environment: stored.keys.environment(),
            answered_at: answer.answered_at,
            keys: Some((&database.latest_keys(&user), version)),
            raw: answer.raw(job.config.store_raw),
        },
        claim: &member.user.tenant,
        facts,
        tick,
        end_of_trouble: over.map(|trouble| job.trouble_write(&member.user.id, &trouble)),
    };
    let id = &member.user.id;
    let written = job.write_if_changed(id, &member.history, &arrival, deadline).await;
    let (tenant, is_unchanged) = written.map_err(|err| Failure::Store(err, Some(version.clone())))?;
    if let Some(known) = &job.known_accounts {
        known.remember(id, &answer.account.external_account_id);
    }
    Ok(if is_unchanged { Arrived::Unchanged(tenant) } else { Arrived::Synced(tenant) })
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
    let Some(pin) = pin.map_err(|err| Failure::Store(err, Some(version.clone())))? else { return Ok(answer) };
    // Whichever of the clocks is ahead: a change that is only just made is none that is still to come.
    let now = Timestamp::now().max(tick.schedule.now);
    if !pin.forbids(account, version, user.keys_updated_at, now) {
        return Ok(answer);
    }
    if !job.pace.allow_by(Calls::ALPACA_CALL, deadline).await {
        return Err(Failure::Broker(AlpacaError::TooLate, Some(version.clone())));
    }
    let again = Box::pin(job.alpaca.account_over_new_connection(keys, deadline)).await;
    let again = again.map_err(|err| Failure::Broker(err, Some(version.clone())))?;
    if again.account.external_account_id != pin.account {
        return Err(Failure::OtherAccount(version.clone()));
    }
    let (id, user_id, error) = (&user.id, user.id.as_str(), Code::BrokerOtherAccount.as_str());
    warn!(
        user_id,
        error, "Alpaca's first answer for user {id} was about another account: the second one is used"
    );
    Ok(again)
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
                if !job.pace.allow_by(calls, deadline).await {
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
    Ok(Some((ask(job, user, &newest, deadline).await?, newest)))
}

/// Asks Alpaca; keys that it rejects are not kept.
async fn ask(
    job: &Job,
    user: &UserId,
    StoredKeys { keys, version }: &StoredKeys,
    deadline: Deadline,
) -> Result<Answer, Failure> {
    match job.alpaca.account(keys, deadline).await {
        Ok(answer) => Ok(answer),
        Err(err) => {
            if let (AlpacaError::Rejected { .. }, Some(cache)) = (&err, &job.key_cache) {
                cache.forget(user);
            }
            Err(Failure::Broker(err, Some(version.clone())))
        }
    }
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
        Ok(tenant) => succeed(job, id, tenant.as_ref(), None, start),
        Err(failure) => fail(id, &History::Unknown, &failure, start),
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
    let broker = |err| Failure::Broker(err, None);
    let mut answer = job.alpaca.account(&legacy.keys, deadline).await.map_err(broker)?;
    // Its keys have no version: whether they were changed, nobody knows. But a second answer is nobody else's.
    if facts.show_another(legacy.id.as_str(), &answer.account.external_account_id) {
        if !job.pace.allow_by(Calls::ALPACA_CALL, deadline).await {
            return Err(broker(AlpacaError::TooLate));
        }
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
            raw: answer.raw(job.config.store_raw),
        },
        claim: &claim,
        facts: Cow::Owned(facts),
        tick,
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
