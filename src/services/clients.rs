//! The clients of the job, and the writes that several parts of it make.

use crate::config::{Config, Endpoints};
use crate::documents::snapshot::{Snapshot, snapshot_name};
use crate::documents::sync_state::sync_state_name;
use crate::documents::tenant::primary_name;
use crate::firestore::write::{Precondition, Write, merge};
use crate::firestore::{Store, StoreError, StoreOptions};
use crate::google::credentials::Identity;
use crate::google::credentials::failure::NoToken;
use crate::limits::rate::RateLimits;
use crate::limits::retry::{Deadline, MAX_ATTEMPTS, RECORD_RESERVE, USER_BUDGET};
use crate::limits::usage::Usage;
use crate::model::ids::{Database, DocumentId, TenantId, UserId};
use crate::model::past::{LastSuccess, Past};
use crate::model::pin::{KnownAccounts, Pin};
use crate::model::recheck::RecheckSchedule;
use crate::model::sync_state::{self as trouble, PreviousState, SyncState};
use crate::model::tenancy::{Decision, Inquiry, Pass, Refusal, TenantLookup, TenantWrite, Told, decide};
use crate::model::user::TenantClaim;
use crate::pass::failure::Failure;
use crate::pass::unchanged::Written;
use crate::pass::user_pages::{PageLookup, UserRecord};
use crate::services::alpaca::Alpaca;
use crate::services::key_cache::KeyCache;
use crate::services::secret_manager::{SecretManager, StoredKeys};
use crate::telemetry::Chain;
use futures::{StreamExt, TryFutureExt, stream};
use gcloud_sdk::google::firestore::v1::Document;
use jiff::Timestamp;
use reqwest::Url;
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// The part of a user's budget that is kept for the snapshot when more is read about a tenant.
const COMMIT_RESERVE: Duration = Duration::from_secs(6);

/// The part of a user's budget that is kept for the snapshot alone, when it cannot be committed with the
/// other documents: as long as one commit may take.
const ALONE_RESERVE: Duration = Duration::from_secs(5);

/// Commits of parts of a batch that is refused: enough to find a few records among many.
const MOST_SPLITS: usize = 128;

/// Commits of trouble at the same time, at the end of a pass.
const COMMITS_AT_ONCE: usize = 4;

/// Snapshots that are read at once, to learn when their users last succeeded.
const SNAPSHOTS_PER_READ: usize = 500;

/// Why a pass could not even begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Who the job is, cannot be shown.
    #[error("Google's credentials gave no token: {0}")]
    Credentials(NoToken),
    /// Firestore cannot be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The client for Secret Manager cannot be set up. Its own words may be about the credentials.
    #[error("the Secret Manager client cannot be set up: check SECRET_MANAGER_EMULATOR_HOST, if it is set")]
    SecretManager,
    /// The client for Alpaca cannot be set up.
    #[error("the Alpaca client cannot be set up")]
    Alpaca(#[from] reqwest::Error),
    /// A bug.
    #[error("setting up the Alpaca client panicked")]
    Panicked,
}

/// The configuration and the clients, shared by all users' tasks.
#[derive(Debug)]
pub(crate) struct Clients {
    /// What was asked for.
    pub(crate) config: Config,
    /// Firestore.
    pub(crate) store: Arc<Store>,
    /// Secret Manager.
    pub(crate) secrets: SecretManager,
    /// Alpaca.
    pub(crate) alpaca: Alpaca,
    google: Identity,
    /// Keys kept from earlier pulses of a loop.
    pub(crate) key_cache: Option<KeyCache>,
    /// What earlier pulses of a loop have written.
    pub(crate) written: Option<Written>,
    /// The accounts that earlier pulses of a loop have seen.
    pub(crate) known_accounts: Option<KnownAccounts>,
    /// What the process has used so far.
    pub(crate) usage: Arc<Usage>,
    /// How fast it may go on.
    pub(crate) pace: Arc<RateLimits>,
    /// The tenants whose owners were spoken of.
    told: Told,
}

/// When a pulse takes place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    /// When it was due.
    pub(crate) due: Instant,
    /// By the server's clock, when it started, and when the one before did.
    pub(crate) schedule: RecheckSchedule,
}

impl Clients {
    /// Sets up the clients.
    pub(crate) async fn connect(config: Config) -> Result<Self, ConnectError> {
        let Endpoints { firestore, secret_manager, alpaca } = &config.endpoints;
        // Shared, so that one token serves both services; stand-ins for both need none at all.
        let google = match (firestore, secret_manager) {
            (Some(_), Some(_)) => Identity::nobody(),
            _ => Identity::application_default(|name| std::env::var_os(name))
                .map_err(ConnectError::Credentials)?,
        };
        let deadline = Deadline::after(USER_BUDGET);
        let usage = Arc::new(Usage::default());
        let pace = Arc::new(RateLimits::new(&config.budgets, config.execution.share(), Timestamp::now()));
        // Reading the system's certificates takes milliseconds, in which Firestore's connection can be made.
        let alpaca = {
            let (base_url, usage, pace) = (alpaca.clone(), Arc::clone(&usage), Arc::clone(&pace));
            let client = spawn_blocking(move || Alpaca::new(base_url, usage, pace));
            async { Ok(client.await.map_err(|_| ConnectError::Panicked)??) }
        };
        let options = StoreOptions {
            database: &config.database,
            endpoint: firestore.as_ref().map(Url::as_str),
            identity: if firestore.is_some() { Identity::emulator_owner() } else { google.clone() },
            concurrency: config.concurrency.get(),
            usage: Arc::clone(&usage),
            limits: Arc::clone(&pace),
        };
        let store = Store::connect(options, deadline);
        let secrets = SecretManager::connect(
            secret_manager.as_ref().map(Url::as_str),
            if secret_manager.is_some() { Identity::nobody() } else { google.clone() },
            Arc::clone(&usage),
            Arc::clone(&pace),
        );
        let secrets = secrets.map_err(|_| ConnectError::SecretManager);
        let store = store.map_err(ConnectError::Store);
        // Before anybody needs it, and with more patience than any single call.
        let token = google.ready(deadline).map_err(ConnectError::Credentials);
        let (store, secrets, alpaca, ()) = tokio::try_join!(store, secrets, alpaca, token)?;
        let repeat = config.repeat.as_ref();
        let key_ttl = repeat.map(|repeat| repeat.key_ttl).filter(|ttl| !ttl.is_zero());
        // Whoever names users wants to know of the newest keys.
        let key_ttl = key_ttl.filter(|_| config.takes_everybody());
        let refresh = repeat.map(|repeat| repeat.refresh_unchanged).filter(|refresh| !refresh.is_zero());
        Ok(Self {
            store: Arc::new(store),
            secrets,
            alpaca,
            google,
            written: refresh.map(Written::new),
            known_accounts: repeat.map(|_| KnownAccounts::default()),
            key_cache: key_ttl.map(KeyCache::new),
            config,
            usage,
            pace,
            told: Told::default(),
        })
    }

    /// Returns once there is a token for Google's services: in a loop, the one of the start may be over.
    pub(crate) async fn ready(&self) -> Result<(), ConnectError> {
        self.google.ready(Deadline::after(USER_BUDGET)).await.map_err(ConnectError::Credentials)
    }

    /// A user's keys, if an earlier pulse of a loop has left them.
    #[must_use]
    pub(crate) fn kept_keys(&self, user: &UserId, history: &PreviousState) -> Option<Arc<StoredKeys>> {
        self.key_cache.as_ref()?.get(user, history)
    }

    /// What the user's snapshot says of their account, where there is reason to look: that the account is
    /// another than the tenant's document says, or than an earlier pulse of the loop saw.
    pub(crate) async fn pin(
        &self,
        user: &DocumentId,
        facts: &TenantLookup,
        account: &str,
        deadline: Deadline,
    ) -> Result<Option<Pin>, StoreError> {
        let is_suspect = facts.show_another(user.as_str(), account)
            || self.config.pin_accounts
            || self.known_accounts.as_ref().is_some_and(|known| known.contradict(user, account));
        if !is_suspect {
            return Ok(None);
        }
        let name = snapshot_name(self.store.database(), user);
        // Boxed, as nearly nobody's journey gets here, and all would have to carry it.
        let found = Box::pin(self.store.documents(vec![name.clone()], &Pin::FIELDS, deadline)).await?;
        Ok(found.get(&name).and_then(|document| Pin::from_fields(&document.fields)))
    }

    /// Writes a snapshot and, where the rules allow it, the tenant's document, in one atomic commit
    /// with the end of any trouble. Decides anew when the tenant's document changes meanwhile. The pace
    /// must have allowed the writes.
    ///
    /// Returns the tenant whose document was written.
    pub(crate) async fn write(
        &self,
        arrival: &SnapshotWrite<'_>,
        deadline: Deadline,
    ) -> Result<Option<TenantId>, StoreError> {
        let tenant = self.tenant_write(arrival, &arrival.facts, deadline).await;
        self.write_as(arrival, tenant, deadline).await
    }

    /// The same, but leaves alone what an earlier pulse of the loop has written and what has not changed since.
    /// Returns whether it did, too.
    pub(crate) async fn write_if_changed(
        &self,
        user: &DocumentId,
        history: &PreviousState,
        arrival: &SnapshotWrite<'_>,
        deadline: Deadline,
    ) -> Result<(Option<TenantId>, bool), StoreError> {
        let due = arrival.tick.due;
        let tenant = self.tenant_write(arrival, &arrival.facts, deadline).await;
        let Some(written) = &self.written else {
            return Ok((self.write_as(arrival, tenant, deadline).await?, false));
        };
        let kept = tenant.as_ref().map(TenantWrite::tenant);
        let print = written.fingerprint(&arrival.snapshot, kept);
        // A tenant's document that is not there yet, or not any more, is a change.
        let is_there = !matches!(tenant, Some(TenantWrite::Create(_)));
        if *history == PreviousState::Clean && is_there && written.is_unchanged(user, print, due) {
            return Ok((kept.cloned(), true));
        }
        // A write that fails, or whose outcome nobody learns, must not pass for one that worked.
        written.forget(user);
        let tenant = self.write_as(arrival, tenant, deadline).await?;
        written.remember(user, written.fingerprint(&arrival.snapshot, tenant.as_ref()), due);
        Ok((tenant, false))
    }

    async fn write_as(
        &self,
        arrival: &SnapshotWrite<'_>,
        mut tenant: Option<TenantWrite>,
        deadline: Deadline,
    ) -> Result<Option<TenantId>, StoreError> {
        if self.config.dry_run {
            return Ok(tenant.map(|write| write.tenant().clone()));
        }
        let is_alone = tenant.is_none() && arrival.end_of_trouble.is_none();
        let reserve = if is_alone { Duration::ZERO } else { ALONE_RESERVE.min(deadline.left() / 2) };
        match self.write_together(arrival, &mut tenant, deadline.less(reserve)).await {
            Err(err) if !is_alone && err.may_be_one_documents() => {
                Box::pin(self.write_apart(arrival, tenant, err, deadline)).await
            }
            written => written.map(|()| tenant.map(|write| write.tenant().clone())),
        }
    }

    /// All documents or none. Decides anew when the tenant's changes meanwhile.
    async fn write_together(
        &self,
        arrival: &SnapshotWrite<'_>,
        tenant: &mut Option<TenantWrite>,
        deadline: Deadline,
    ) -> Result<(), StoreError> {
        let mut attempt = 1;
        loop {
            let writes = arrival.writes(self.store.database(), tenant.as_ref());
            let committed = match attempt {
                1 => self.store.commit_allowed(&writes, deadline).await,
                _ => self.store.commit(&writes, deadline).await,
            };
            let conflict = match committed {
                Err(err @ StoreError::Conflict(_)) if attempt < MAX_ATTEMPTS => err,
                result => return result,
            };
            let facts = self.tenant_facts(arrival.snapshot.user_id, arrival.claim, deadline).await;
            let Ok(facts) = facts else { return Err(conflict) };
            *tenant = self.tenant_write(arrival, &facts, deadline).await;
            attempt += 1;
        }
    }

    /// The snapshot without a document that is refused, which costs only itself: not the user their money.
    /// `refusal` is what became of all together.
    async fn write_apart(
        &self,
        arrival: &SnapshotWrite<'_>,
        tenant: Option<TenantWrite>,
        refusal: StoreError,
        deadline: Deadline,
    ) -> Result<Option<TenantId>, StoreError> {
        let (user_id, database) = (arrival.snapshot.user_id, self.store.database());
        let mut own = arrival.writes(database, None);
        if tenant.is_some() || own.len() == 1 {
            match self.store.commit(&own, deadline).await {
                Err(err) if own.len() > 1 && err.may_be_one_documents() => {}
                Err(err) => return Err(err),
                Ok(()) => {
                    warn_without_tenant(user_id, tenant.as_ref(), &refusal);
                    return Ok(None);
                }
            }
        }
        let end_of_trouble = own.split_off(1);
        self.store.commit(&own, deadline).await?;
        if let Err(err) = self.store.commit(&end_of_trouble, deadline).await {
            warn_still_in_trouble(user_id, &err);
        }
        let Some(write) = tenant else { return Ok(None) };
        match self.store.commit(&[arrival.tenant_write(database, &write)], deadline).await {
            Ok(()) => Ok(Some(write.tenant().clone())),
            Err(err) => {
                warn_without_tenant(user_id, Some(&write), &err);
                Ok(None)
            }
        }
    }

    /// What decides about the tenant's document of one user; nothing, when the pass writes none.
    pub(crate) async fn tenant_facts(
        &self,
        user: &str,
        claim: &TenantClaim,
        deadline: Deadline,
    ) -> Result<TenantLookup, StoreError> {
        if !self.config.legacy_tenant_path {
            return Ok(TenantLookup::default());
        }
        Ok(self.store.tenant_facts(&[(user, claim)], deadline).await?.pop().unwrap_or_default())
    }

    async fn tenant_write(
        &self,
        arrival: &SnapshotWrite<'_>,
        facts: &TenantLookup,
        deadline: Deadline,
    ) -> Option<TenantWrite> {
        if !self.config.legacy_tenant_path {
            return None;
        }
        let (user, pass) = (arrival.snapshot.user_id, self.pass(arrival.tick.schedule));
        let mut decision = decide(user, arrival.claim, facts, None, &pass);
        if let Decision::Ask(inquiry) = &decision {
            // Boxed, as nearly nobody's journey gets here, and all would have to carry it.
            let found = Box::pin(self.store.findings(user, inquiry, deadline.less(COMMIT_RESERVE))).await;
            decision = match found {
                Ok(found) => decide(user, arrival.claim, facts, Some(&found), &pass),
                Err(err) => {
                    warn_undecided(user, inquiry, &err);
                    return None;
                }
            };
        }
        match decision {
            Decision::Write(write) => {
                tell_succession(user, write.tenant(), facts);
                Some(write)
            }
            Decision::Ask(_) => None,
            Decision::Refuse(refusal) => {
                self.tell(arrival, &refusal);
                None
            }
        }
    }

    /// The pass, as far as tenants' documents depend on it.
    fn pass(&self, schedule: RecheckSchedule) -> Pass<'_> {
        let legacy_account = self.config.legacy_account.as_ref().map(|account| account.id.as_str());
        Pass { schedule, takes_over: self.config.takes_everybody(), legacy_account }
    }

    fn tell(&self, arrival: &SnapshotWrite<'_>, refusal: &Refusal) {
        let (user_id, now) = (arrival.snapshot.user_id, arrival.tick.schedule.now);
        let is_news = |tenant| self.told.is_first(tenant, now);
        match refusal {
            Refusal::OwnerIsSilent(tenant, silence) if is_news(tenant) => warn!(
                tenant_id = tenant.as_str(),
                owner = silence.owner,
                age_s = silence.age.map(|age| age.as_secs()),
                "The account of tenant {tenant} is another member's, who is not synced; {silence}: see what keeps that user from being synced, or name another member in \
                 tenants/{tenant}.owner_uid"
            ),
            Refusal::OwnerIsNoMember(tenant, owner) if is_news(tenant) => warn!(
                tenant_id = tenant.as_str(),
                owner,
                "The account of tenant {tenant} belongs to a user whom tenants/{tenant}/users or users does not \
                 have: unless that user stops being synced, name a member in tenants/{tenant}.owner_uid"
            ),
            // Every pulse of a second member: not worth a warning, unless the operator named the tenant.
            Refusal::OwnedByAnother(_) | Refusal::OwnerIsSilent(..) | Refusal::OwnerIsNoMember(..)
                if !matches!(arrival.claim, TenantClaim::Assigned(_)) =>
            {
                debug!(user_id, "Not writing a tenant document for user {user_id}: {refusal}");
            }
            refusal => warn!(user_id, "Refused the tenant document of user {user_id}: {refusal}"),
        }
    }

    /// Records a failure that is not Alpaca's rejection, which only the whole pass can judge. Returns how the
    /// user came into trouble, if that could be found out.
    pub(crate) async fn record_failure(
        &self,
        user: &DocumentId,
        history: &PreviousState,
        failure: &Failure,
        deadline: Deadline,
    ) -> Option<Past> {
        let now = Timestamp::now();
        let past = match history.lacks_past() {
            // The record matters more, when there may be no time for both.
            true => self.read_past(user, history, now, deadline.less(RECORD_RESERVE / 2)).await,
            false => history.past(),
        };
        let (code, version) = (failure.code(), failure.key_version());
        let after =
            if self.config.takes_everybody() { trouble::after_failure } else { trouble::after_named_failure };
        let trouble = after(history, past.as_ref(), code, version, now);
        let record: Vec<_> = trouble.map(|trouble| (user.clone(), trouble)).into_iter().collect();
        self.record(&record, deadline).await;
        past
    }

    async fn read_past(
        &self,
        user: &DocumentId,
        history: &PreviousState,
        now: Timestamp,
        deadline: Deadline,
    ) -> Option<Past> {
        let mut read = self.last_successes(std::slice::from_ref(user), deadline).await;
        Some(history.past_with(read.remove(user)?, now))
    }

    /// When these users last succeeded, as their snapshots tell it, with few calls. Those whose snapshots
    /// cannot be read are left out, which is logged: their records are completed at a later pulse.
    pub(crate) async fn last_successes(
        &self,
        users: &[DocumentId],
        deadline: Deadline,
    ) -> HashMap<DocumentId, Option<LastSuccess>> {
        let name = |user: &DocumentId| snapshot_name(self.store.database(), user);
        let mut read = HashMap::new();
        for part in users.chunks(SNAPSHOTS_PER_READ) {
            let names = part.iter().map(name).collect();
            match self.store.documents(names, &LastSuccess::FIELDS, deadline).await {
                Ok(found) => {
                    let last = |user| LastSuccess::from_snapshot(&found.get(&name(user))?.fields);
                    read.extend(part.iter().map(|user| (user.clone(), last(user))));
                }
                Err(err) => {
                    let users = part.len();
                    warn!(
                        error = err.code().as_str(),
                        "Could not read when {users} users in trouble last succeeded: {}",
                        Chain(&err)
                    );
                }
            }
        }
        read
    }

    /// Records what was learned at the end of a pass. A record that somebody has written since the pass
    /// started is left alone: a person who synced the user by name knows more.
    pub(crate) async fn settle(
        &self,
        troubles: Vec<(DocumentId, SyncState)>,
        started_at: Timestamp,
        deadline: Deadline,
    ) {
        if self.config.dry_run {
            return;
        }
        for part in troubles.chunks(self.pace.writes_per_commit() * COMMITS_AT_ONCE) {
            let name = |user: &DocumentId| sync_state_name(self.store.database(), user);
            let names = part.iter().map(|(user, _)| name(user)).collect();
            match self.store.documents(names, &["state"], deadline).await {
                Ok(found) => {
                    let touched =
                        |user| found.get(&name(user)).and_then(update_time).is_some_and(|at| at > started_at);
                    let untouched: Vec<_> = part.iter().filter(|(user, _)| !touched(user)).cloned().collect();
                    self.record(&untouched, deadline).await;
                }
                Err(err) => warn_unrecorded(part.len(), &err),
            }
        }
    }

    /// Records trouble, of many users in as few commits as Firestore takes. What cannot be recorded is
    /// logged and comes up again at the next pulse.
    pub(crate) async fn record(&self, troubles: &[(DocumentId, SyncState)], deadline: Deadline) {
        if self.config.dry_run {
            return;
        }
        let writes = |batch: &[(DocumentId, SyncState)]| -> Vec<Write> {
            batch.iter().map(|(user, trouble)| self.trouble_write(user, trouble)).collect()
        };
        let batches: Vec<_> = troubles.chunks(self.pace.writes_per_commit()).map(writes).collect();
        let failed: Vec<_> = stream::iter(batches)
            .map(|writes| async move { self.commit_all_but_refused(&writes, deadline).await })
            .buffer_unordered(COMMITS_AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await;
        if let Some((_, err)) = failed.first() {
            let users: usize = failed.iter().map(|(users, _)| users).sum();
            warn_unrecorded(users, err);
        }
    }

    /// Commits writes that have nothing to do with each other. A batch that is refused is split, so that a
    /// document which cannot be written costs only itself. Returns how many were not written, and why.
    async fn commit_all_but_refused(
        &self,
        writes: &[Write],
        deadline: Deadline,
    ) -> Option<(usize, StoreError)> {
        // The largest first: what is left when the splits are used up is small.
        let (mut parts, mut splits) = (VecDeque::from([writes]), 0);
        let (mut unwritten, mut last) = (0, None);
        while let Some(part) = parts.pop_front() {
            let Err(err) = self.store.commit(part, deadline).await else { continue };
            let worth_a_split = err.may_be_one_documents() && !deadline.left().is_zero();
            if part.len() > 1 && worth_a_split && splits < MOST_SPLITS {
                splits += 1;
                let (one, other) = part.split_at(part.len() / 2);
                parts.extend([one, other]);
            } else {
                unwritten += part.len();
                last = Some(err);
            }
        }
        last.map(|err| (unwritten, err))
    }

    /// How many writes the pace has to allow [`Clients::write`] for a user whose journey ends well.
    #[must_use]
    pub(crate) fn expected_writes(&self, member: &UserRecord, schedule: RecheckSchedule) -> u32 {
        if self.config.dry_run || !self.pace.limits_writes() {
            return 0;
        }
        // What is not known yet is read on the journey, and may well allow it.
        let may_write = |facts: &TenantLookup| {
            let (user, pass) = (&member.user, self.pass(schedule));
            !matches!(decide(user.id.as_str(), &user.tenant, facts, None, &pass), Decision::Refuse(_))
        };
        let facts = member.facts.as_ref().and_then(PageLookup::fresh);
        let with_tenant = self.config.legacy_tenant_path && facts.is_none_or(may_write);
        1 + u32::from(with_tenant) + u32::from(matches!(member.history, PreviousState::Troubled(_)))
    }

    /// The write that records a user's trouble, or its end.
    #[must_use]
    pub(crate) fn trouble_write(&self, user: &DocumentId, trouble: &SyncState) -> Write {
        let fields = trouble.to_fields().map(|(field, value)| (field, value.map(Into::into)));
        merge(&sync_state_name(self.store.database(), user), &fields, &Precondition::Nothing)
    }
}

/// An account that has arrived, and where it may go.
#[derive(Debug)]
pub(crate) struct SnapshotWrite<'a> {
    /// Full name of the snapshot's document.
    pub(crate) name: String,
    /// What goes in.
    pub(crate) snapshot: Snapshot<'a>,
    /// The tenant that is spoken of.
    pub(crate) claim: &'a TenantClaim,
    /// What decides about that tenant's document.
    pub(crate) facts: Cow<'a, TenantLookup>,
    /// The pulse.
    pub(crate) tick: Tick,
    /// The end of the user's trouble, if they were in any.
    pub(crate) end_of_trouble: Option<Write>,
}

impl SnapshotWrite<'_> {
    fn writes(&self, database: &Database, tenant: Option<&TenantWrite>) -> Vec<Write> {
        let mut writes = vec![merge(&self.name, &self.snapshot.user_document(), &Precondition::Nothing)];
        writes.extend(tenant.map(|write| self.tenant_write(database, write)));
        writes.extend(self.end_of_trouble.clone());
        writes
    }

    fn tenant_write(&self, database: &Database, write: &TenantWrite) -> Write {
        let tenant = write.tenant();
        let fields = self.snapshot.tenant_document(tenant);
        merge(&primary_name(database, tenant), &fields, &write.precondition())
    }
}

fn warn_without_tenant(user_id: &str, tenant: Option<&TenantWrite>, err: &StoreError) {
    if let Some(tenant) = tenant.map(TenantWrite::tenant) {
        warn!(
            user_id,
            tenant_id = tenant.as_str(),
            error = err.code().as_str(),
            "Wrote the snapshot of user {user_id} without the document of tenant {tenant}: {}",
            Chain(err)
        );
    }
}

fn warn_still_in_trouble(user_id: &str, err: &StoreError) {
    warn!(
        user_id,
        error = err.code().as_str(),
        "Wrote the snapshot of user {user_id}, but not the end of their trouble, users/{user_id}/alpacaAccounts/sync: {}",
        Chain(err)
    );
}

fn tell_succession(user_id: &str, tenant: &TenantId, facts: &TenantLookup) {
    let owner = facts.primary.as_ref().and_then(|primary| primary.owner.as_deref());
    if let Some(owner) = owner.filter(|owner| *owner != user_id) {
        let tenant_id = tenant.as_str();
        info!(user_id, tenant_id, owner, "User {user_id} is to take the account of tenant {tenant} over");
    }
}

/// The user's own snapshot needs nothing of that.
fn warn_undecided(user_id: &str, inquiry: &Inquiry, err: &StoreError) {
    let (Inquiry::OwnTenant(tenant) | Inquiry::Owner(tenant, _)) = inquiry;
    warn!(
        user_id,
        tenant_id = tenant.as_str(),
        error = err.code().as_str(),
        "Not writing the document of tenant {tenant} for user {user_id}: whose it is could not be read: {}",
        Chain(err)
    );
}

fn warn_unrecorded(users: usize, err: &StoreError) {
    warn!(error = err.code().as_str(), "Could not record the trouble of {users} users: {}", Chain(err));
}

fn update_time(document: &Document) -> Option<Timestamp> {
    let time = document.update_time?;
    Timestamp::new(time.seconds, time.nanos).ok()
}
