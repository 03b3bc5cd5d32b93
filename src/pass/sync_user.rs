//! One user's way.

use crate::config::LegacyAccount;
use crate::documents::snapshot::{Snapshot, legacy_snapshot_name, snapshot_name};
use crate::firestore::values::is_field_name;
use crate::limits::rate::Permits;
use crate::limits::retry::{Deadline, RECORD_RESERVE, USER_BUDGET};
use crate::model::ids::{DocumentId, TenantId, UserId};
use crate::model::keys::Environment;
use crate::model::outcome::{Code, Outcome};
use crate::model::recheck::{self, Recheck, RecheckSchedule};
use crate::model::sync_state::{self as trouble, PreviousState};
use crate::model::tenancy::TenantLookup;
use crate::model::user::{Switch, TenantClaim};
use crate::pass::admission::Admission;
use crate::pass::failure::{Failure, Tried};
use crate::pass::tally::{SyncOutcome, UserRef, Word};
use crate::pass::user_pages::{self as roster, PageLookup, UserRecord};
use crate::services::alpaca::{AlpacaError, Answer};
use crate::services::clients::{Clients, SnapshotWrite, Tick};
use crate::services::secret_manager::StoredKeys;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::Arc;
use tokio::time::Instant;
use tracing::{error, info, warn};

/// Who a journey is about.
pub(crate) enum SyncTarget {
    User(Box<UserRecord>, Recheck),
    Missing(DocumentId),
    Legacy(Arc<LegacyAccount>),
}

impl SyncTarget {
    /// Who is named is asked about whatever is known of their keys: they get no `schedule`.
    pub(crate) fn user(entry: roster::PageEntry, schedule: Option<&RecheckSchedule>) -> Self {
        match entry {
            roster::PageEntry::UserRecord(member) => {
                let plan = |schedule| recheck::recheck(&member.history, member.user.id.as_str(), schedule);
                let plan = schedule.map_or(Recheck::Ask, plan);
                Self::User(member, plan)
            }
            roster::PageEntry::Missing(id) => Self::Missing(id),
        }
    }

    /// Whom the cursor passes when they are finished.
    pub(crate) fn user_id(&self) -> Option<DocumentId> {
        match self {
            Self::User(member, _) => Some(member.user.id.clone()),
            Self::Missing(id) => Some(id.clone()),
            Self::Legacy(_) => None,
        }
    }

    pub(crate) fn traveller(&self) -> UserRef {
        match self {
            Self::User(member, _) => UserRef { id: member.user.id.clone(), history: member.history.clone() },
            Self::Missing(id) => UserRef { id: id.clone(), history: PreviousState::Unknown },
            Self::Legacy(account) => UserRef { id: account.id.clone(), history: PreviousState::Unknown },
        }
    }
}

/// Waits until a journey may begin.
pub(crate) async fn admit(
    admission: &Admission,
    job: &Clients,
    subject: &SyncTarget,
    schedule: RecheckSchedule,
) {
    match subject {
        SyncTarget::User(member, plan) => {
            admission.admit(&member.user.id, calls_of(job, member, plan, schedule)).await;
        }
        SyncTarget::Missing(id) => admission.admit(id, Permits::NONE).await,
        SyncTarget::Legacy(_) => {
            let writes = if job.config.dry_run { 0 } else { 1 + u32::from(job.config.legacy_tenant_path) };
            job.pace.allow(Permits { writes, ..Permits::ALPACA_CALL }).await;
        }
    }
}

/// The calls of a journey that ends well, so that it need not wait on its way.
fn calls_of(job: &Clients, member: &UserRecord, plan: &Recheck, schedule: RecheckSchedule) -> Permits {
    let user = UserId::parse(member.user.id.as_str()).ok().filter(|_| member.user.is_synced());
    let Some(user) = user else { return Permits::NONE };
    match plan {
        Recheck::Ask => {
            let is_known = job.kept_keys(&user, &member.history).is_some();
            let writes = job.expected_writes(member, schedule);
            Permits { secret_accesses: u32::from(!is_known), alpaca_calls: 1, writes }
        }
        // Nearly all of them still have the keys that are known, and then it ends with that.
        Recheck::AskUnless(_) => Permits::SECRET_ACCESS,
        Recheck::Wait => Permits::NONE,
    }
}

/// One journey.
pub(crate) async fn sync_target(job: Arc<Clients>, subject: SyncTarget, tick: Tick) -> SyncOutcome {
    match subject {
        SyncTarget::User(member, plan) => sync_user(&job, &member, plan, tick).await,
        SyncTarget::Missing(id) => {
            fail(&id, &PreviousState::Unknown, &Failure::Unknown, false, Instant::now())
        }
        SyncTarget::Legacy(account) => sync_legacy_account(&job, &account, tick).await,
    }
}

/// One user's journey, from what is known of them to what became of it.
async fn sync_user(job: &Clients, member: &UserRecord, plan: Recheck, tick: Tick) -> SyncOutcome {
    let (id, start) = (&member.user.id, Instant::now());
    match member.user.sync {
        Switch::On => {}
        Switch::Off => return skip(id, Outcome::Skipped, "sync_enabled is false"),
        Switch::Unreadable => {
            let reason =
                "its sync_enabled is neither true nor false, so it counts as paused: store a boolean";
            warn!(user_id = id.as_str(), "Skipped Alpaca account for user {id}: {reason}");
            return SyncOutcome::unasked(Outcome::Skipped);
        }
    }
    if plan == Recheck::Wait {
        return wait(id, &member.history);
    }
    info!(user_id = id.as_str(), "Syncing Alpaca account for user {id}");
    let deadline = Deadline::after(USER_BUDGET);
    match keys_to_snapshot(job, member, plan, tick, deadline.less(RECORD_RESERVE)).await {
        Ok(SnapshotEnd::Synced(host, tenant)) => succeed(job, id, tenant.as_ref(), host, None, start),
        Ok(SnapshotEnd::Unchanged(host, tenant)) => {
            succeed(job, id, tenant.as_ref(), host, Some(true), start)
        }
        Ok(SnapshotEnd::SameKeys) => wait(id, &member.history),
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
            SyncOutcome { word, past, ..end }
        }
    }
}

/// The journey itself: keys, account, snapshot.
async fn keys_to_snapshot(
    job: &Clients,
    member: &UserRecord,
    plan: Recheck,
    tick: Tick,
    deadline: Deadline,
) -> Result<SnapshotEnd, Failure> {
    let user = UserId::parse(member.user.id.as_str()).map_err(Failure::Id)?;
    let facts = match member.facts.as_ref().and_then(PageLookup::fresh) {
        Some(facts) => Cow::Borrowed(facts),
        None => {
            let facts = job.tenant_facts(user.as_str(), &member.user.tenant, deadline).await;
            Cow::Owned(facts.map_err(Failure::Facts)?)
        }
    };
    let database = job.store.database();

    let Some((answer, stored)) = keys_to_account(job, member, &user, plan, tick, deadline).await? else {
        return Ok(SnapshotEnd::SameKeys);
    };
    let answer = same_account(job, member, &facts, (answer, &stored), tick, deadline).await?;
    let version = &stored.version;

    let over = trouble::after_success(&member.history, version, answer.answered_at);
    let arrival = SnapshotWrite {
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
    Ok(if is_unchanged { SnapshotEnd::Unchanged(host, tenant) } else { SnapshotEnd::Synced(host, tenant) })
}

/// The answer, if it is about the account that these keys are known to have; where it is not, what Alpaca
/// says when it is asked once more.
async fn same_account(
    job: &Clients,
    member: &UserRecord,
    facts: &TenantLookup,
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
    job.pace.allow_by(Permits::ALPACA_CALL, deadline).await.map_err(|used_up| broker(used_up.into()))?;
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
fn raw(job: &Clients, user_id: &str, answer: &Answer) -> Option<Map<String, Value>> {
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
    job: &Clients,
    member: &UserRecord,
    user: &UserId,
    plan: Recheck,
    tick: Tick,
    deadline: Deadline,
) -> Result<Option<(Answer, Arc<StoredKeys>)>, Failure> {
    let mut rejected = None;
    if let Some(kept) = job.kept_keys(user, &member.history) {
        match ask(job, user, &kept, deadline).await {
            // Kept keys may be old ones: the user may have stored others since.
            Err(failure) if failure.rejected().is_some() => {
                let calls = Permits { secret_accesses: 1, ..Permits::ALPACA_CALL };
                if job.pace.allow_by(calls, deadline).await.is_err() {
                    return Err(failure);
                }
                rejected = Some((kept.version.clone(), failure));
            }
            answer => return answer.map(|answer| Some((answer, kept))),
        }
    }
    let newest = job.secrets.keys(job.store.database(), user, deadline).await.map_err(Failure::Keys)?;
    if let Recheck::AskUnless(known) = plan {
        if known == newest.version {
            return Ok(None);
        }
        // Only now is it known that there is more to do.
        let calls = Permits { writes: job.expected_writes(member, tick.schedule), ..Permits::ALPACA_CALL };
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
async fn ask(
    job: &Clients,
    user: &UserId,
    stored: &StoredKeys,
    deadline: Deadline,
) -> Result<Answer, Failure> {
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
async fn sync_legacy_account(job: &Clients, legacy: &LegacyAccount, tick: Tick) -> SyncOutcome {
    let (id, start) = (&legacy.id, Instant::now());
    warn!(
        "APCA_API_KEY_ID and APCA_API_SECRET_KEY are deprecated: store the keys in Secret Manager as \
         alpaca-keys-<userId> and unset both"
    );
    info!(user_id = id.as_str(), "Syncing Alpaca account for user {id}");
    match legacy_keys_to_snapshot(job, legacy, tick).await {
        Ok(tenant) => succeed(job, id, tenant.as_ref(), legacy.keys.environment(), None, start),
        Err(failure) => fail(id, &PreviousState::Unknown, &failure, false, start),
    }
}

async fn legacy_keys_to_snapshot(
    job: &Clients,
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
        job.pace.allow_by(Permits::ALPACA_CALL, deadline).await.map_err(|used_up| broker(used_up.into()))?;
        answer = job.alpaca.account_over_new_connection(&legacy.keys, deadline).await.map_err(broker)?;
    }
    let arrival = SnapshotWrite {
        name: legacy_snapshot_name(job.store.database()),
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
enum SnapshotEnd {
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
    job: &Clients,
    id: &DocumentId,
    tenant: Option<&TenantId>,
    host: Environment,
    unchanged: Option<bool>,
    start: Instant,
) -> SyncOutcome {
    let (user_id, tenant_id, duration_ms) = (id.as_str(), tenant.map(TenantId::as_str), millis(start));
    if job.config.dry_run {
        info!(user_id, tenant_id, duration_ms, "Would have synced Alpaca account for user {id} (dry run)");
    } else {
        info!(user_id, tenant_id, unchanged, duration_ms, "Successfully synced Alpaca account for user {id}");
    }
    SyncOutcome { outcome: Outcome::Synced, word: Some(Word::Accepted(host)), past: None }
}

fn skip(id: &DocumentId, outcome: Outcome, reason: &str) -> SyncOutcome {
    info!(user_id = id.as_str(), "Skipped Alpaca account for user {id}: {reason}");
    SyncOutcome::unasked(outcome)
}

/// Nothing is done for a user whose keys Alpaca rejects.
fn wait(id: &DocumentId, history: &PreviousState) -> SyncOutcome {
    let (since, next_attempt_at) = rest_of(history);
    info!(user_id = id.as_str(), since, next_attempt_at, "Skipped Alpaca account for user {id}: {REAUTH}");
    SyncOutcome::unasked(Outcome::NeedsReauth)
}

/// Since when a user has to reconnect, and when Alpaca is asked again all the same.
fn rest_of(history: &PreviousState) -> (Option<String>, Option<String>) {
    let record = history.reauth();
    let next = record.and_then(|record| record.next_attempt_at);
    (record.map(|record| record.since.to_string()), next.map(|next| next.to_string()))
}

/// `is_known` for a user of whom it is known that Alpaca rejects the keys.
fn fail(
    id: &DocumentId,
    history: &PreviousState,
    failure: &Failure,
    is_known: bool,
    start: Instant,
) -> SyncOutcome {
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
    SyncOutcome { outcome, word: failure.word(), past: None }
}

pub(crate) fn millis(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}
