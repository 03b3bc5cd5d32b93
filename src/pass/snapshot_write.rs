//! What a success writes: the user's snapshot, the tenant's document where the rules allow it, and the end of the
//! user's state where there is one; and an entry of the equity history.

use crate::documents::equity_history::entry_write;
use crate::documents::snapshot::{Snapshot, legacy_snapshot_name, snapshot_name};
use crate::documents::snapshot_diff::Difference;
use crate::documents::sync_state::sync_state_write;
use crate::firestore::values::is_field_name;
use crate::firestore::write::{Precondition, Write};
use crate::firestore::{Committed, StoreError};
use crate::limits::deadlines::ALONE_RESERVE;
use crate::limits::retry::{Deadline, MAX_ATTEMPTS};
use crate::model::equity_slot::EquitySlot;
use crate::model::ids::TenantId;
use crate::model::keys::Environment;
use crate::model::past::READERS_CALL_STALE_AFTER;
use crate::model::sync_state::{self, PreviousState};
use crate::model::tenancy::{Primary, TenantLookup, TenantWrite};
use crate::pass::account::{AccountFound, UsedKeys};
use crate::pass::context::PassContext;
use crate::pass::sync_outcome::SyncOutcome;
use crate::pass::tenant_write::{first_tenant_write, read_lookup, tenant_write};
use crate::pass::user_record::{KeysAt, UserRecord};
use crate::services::alpaca::Answer;
use crate::services::clients::Clients;
use crate::telemetry::Chain;
use jiff::SignedDuration;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::slice;
use std::time::Duration;
use tracing::warn;

/// An account that was found, and where it is to go.
#[derive(Debug)]
pub(crate) struct SnapshotWrite<'a> {
    pass: &'a PassContext,
    record: &'a UserRecord,
    /// What decides about the tenant's document.
    lookup: Cow<'a, TenantLookup>,
    /// Full name of the snapshot's document.
    name: String,
    snapshot: Snapshot<'a>,
    /// The end of the user's state, if there is one.
    end_of_state: Option<Write>,
    /// The entry of the equity history, if one is to be written.
    entry: Option<Write>,
    /// Whether the snapshot is known to be there: where it is not, the user may be gone.
    demands_snapshot: bool,
}

/// Where a tenant's document is in the commit of all together.
const TENANT: usize = 1;

/// What a user's documents say now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Where the account lives, whose keys Alpaca took.
    pub(crate) host: Environment,
    /// The tenant whose document says it too.
    pub(crate) tenant: Option<TenantId>,
    /// Whether they said it already, and were left alone.
    pub(crate) is_unchanged: bool,
    /// What a dry run would change, where that is asked.
    pub(crate) difference: Option<Difference>,
}

impl Written {
    /// What became of the user.
    #[must_use]
    pub(crate) fn outcome(&self) -> SyncOutcome {
        match self.is_unchanged {
            true => SyncOutcome::Unchanged(self.host),
            false => SyncOutcome::Synced(self.host),
        }
    }
}

/// For how long a snapshot may be gone by. Where it is unknown what keeps users from being synced, a failure cannot be
/// recorded, so that a snapshot must not stand for longer than readers take any for fresh.
fn stands_for(pass: &PassContext, record: &UserRecord) -> SignedDuration {
    match record.previous {
        PreviousState::Unknown => READERS_CALL_STALE_AFTER,
        PreviousState::Clean | PreviousState::Troubled(_) => pass.clients.config.stands_for(),
    }
}

/// Where the keys of a user's secret are: the path, which the snapshot names.
#[must_use]
pub(crate) fn key_path(pass: &PassContext, record: &UserRecord) -> Option<String> {
    match &record.keys {
        KeysAt::Secret(user) => Some(pass.clients.store.database().latest_keys(user)),
        KeysAt::Nowhere(_) | KeysAt::NoSuchUser | KeysAt::Configuration(_) => None,
    }
}

impl<'a> SnapshotWrite<'a> {
    /// Of an account that was found with the keys at that path.
    #[must_use]
    pub(crate) fn new(
        pass: &'a PassContext,
        record: &'a UserRecord,
        lookup: Cow<'a, TenantLookup>,
        AccountFound { answer, keys }: &'a AccountFound,
        key_path: Option<&'a str>,
    ) -> Self {
        let (store, id) = (&pass.clients.store, record.id());
        let (database, answered_at) = (store.database(), store.clock().at(answer.answered_at));
        let over = keys
            .version()
            .and_then(|version| sync_state::after_success(&record.previous, version, answered_at));
        Self {
            pass,
            record,
            lookup,
            name: match keys {
                UsedKeys::Stored(_) => snapshot_name(database, id),
                UsedKeys::Configured(_) => legacy_snapshot_name(database),
            },
            snapshot: Snapshot {
                user_id: id.as_str(),
                account: &answer.account,
                environment: keys.keys().environment(),
                answered_at,
                stands_for: stands_for(pass, record),
                keys: key_path.zip(keys.version()),
                raw: raw(&pass.clients, id.as_str(), answer),
            },
            end_of_state: over.map(|state| sync_state_write(database, id, &state)),
            entry: None,
            demands_snapshot: record.has_snapshot,
        }
    }

    /// The same with an entry of the equity history, if there is a slot for one.
    #[must_use]
    pub(crate) fn with_entry_in(self, slot: Option<EquitySlot>) -> Self {
        let Snapshot { account, answered_at, .. } = self.snapshot;
        let (database, id) = (self.pass.clients.store.database(), self.record.id());
        let entry = slot.map(|slot| entry_write(database, id, slot, account, answered_at));
        Self { entry, ..self }
    }

    /// Writes all of it in one atomic commit, or nothing where that may be skipped and the documents say the same
    /// already; an entry of the equity history is written all the same. The limits must have allowed the writes.
    /// Nothing is left, and nothing returned, of a user who is gone.
    pub(crate) async fn write(
        &mut self,
        may_skip: bool,
        deadline: Deadline,
    ) -> Result<Option<Written>, StoreError> {
        match self.write_once(may_skip, deadline).await {
            // Boxed, as nearly nobody's sync gets here, and all would have to carry it.
            Err(err) if self.misses_snapshot(&err) => {
                if Box::pin(self.pass.user_now(&self.record.user, deadline)).await?.is_none() {
                    return Ok(None);
                }
                self.demands_snapshot = false;
                Box::pin(self.write_once(may_skip, deadline)).await.map(Some)
            }
            written => written.map(Some),
        }
    }

    /// Whether a commit failed for a snapshot that this loop has written, and somebody has deleted.
    fn misses_snapshot(&self, err: &StoreError) -> bool {
        self.demands_snapshot && err.is_about_missing()
    }

    async fn write_once(&self, may_skip: bool, deadline: Deadline) -> Result<Written, StoreError> {
        let (id, due) = (self.record.id(), self.pass.due);
        let tenant = first_tenant_write(self.pass, self.record, &self.lookup, deadline).await;
        let Some(memory) = &self.pass.memory.written else {
            return self.commit(tenant, deadline).await;
        };
        let kept = tenant.as_ref().map(TenantWrite::tenant);
        let print = memory.fingerprint(&self.snapshot, self.record.user.created_at, kept);
        // A tenant's document that is not there yet, or not any more, is a change.
        let is_there = !matches!(tenant, Some(TenantWrite::Create(_)));
        if may_skip && is_there && memory.is_unchanged(id, print, due) {
            self.commit_entry_of_unchanged(deadline).await.inspect_err(|_| memory.forget(id))?;
            if let Some(users) = self.pass.memory.kept.as_ref().filter(|_| !self.record.has_snapshot) {
                users.note_written(id, None);
            }
            return Ok(self.written(kept.cloned(), true));
        }
        // A write that fails, or whose outcome nobody learns, must not pass for one that worked.
        memory.forget(id);
        let written = self.commit(tenant, deadline).await?;
        let created_at = self.record.user.created_at;
        memory.remember(id, memory.fingerprint(&self.snapshot, created_at, written.tenant.as_ref()), due);
        Ok(written)
    }

    async fn commit(
        &self,
        mut tenant: Option<TenantWrite>,
        deadline: Deadline,
    ) -> Result<Written, StoreError> {
        let is_alone = tenant.is_none() && self.end_of_state.is_none() && self.entry.is_none();
        let reserve = if is_alone { Duration::ZERO } else { ALONE_RESERVE.min(deadline.left() / 2) };
        let together = self.commit_together(&mut tenant, deadline.less(reserve)).await;
        if together.is_err() && self.end_of_state.is_some() {
            // It may have ended all the same: the next pass of a loop reads it.
            self.pass.memory.doubt(self.record.id());
        }
        let tenant = match together {
            // Boxed, as nearly nobody's sync gets here, and all would have to carry it.
            Err(err) if !is_alone && err.may_be_one_documents() && !self.misses_snapshot(&err) => {
                // Which of them are written then, the next pass of a loop reads.
                self.pass.memory.doubt(self.record.id());
                Box::pin(self.commit_what_can_be(tenant, err, deadline)).await?
            }
            together => together.map(|()| tenant)?,
        };
        Ok(self.written(tenant.map(|write| write.tenant().clone()), false))
    }

    /// First without the entry of the equity history, which would be missed least, and is written last. `refusal` is
    /// what became of all together. Returns the tenant's write, if that was made.
    async fn commit_what_can_be(
        &self,
        tenant: Option<TenantWrite>,
        refusal: StoreError,
        deadline: Deadline,
    ) -> Result<Option<TenantWrite>, StoreError> {
        let has_others = tenant.is_some() || self.end_of_state.is_some();
        let refusal = match (&self.entry, &refusal) {
            (Some(_), StoreError::Rejected(_)) if has_others => {
                self.pass.clients.writer.commit(&self.writes(tenant.as_ref()), deadline).await.err()
            }
            _ => Some(refusal),
        };
        let tenant = match refusal {
            None => tenant,
            Some(refusal) if refusal.may_be_one_documents() => {
                self.commit_apart(tenant, refusal, deadline).await?
            }
            Some(refusal) => return Err(refusal),
        };
        self.commit_entry(deadline).await;
        Ok(tenant)
    }

    /// The entry of the equity history alone, if there is one. Where it cannot be written, it costs nothing else.
    async fn commit_entry(&self, deadline: Deadline) {
        let Some(entry) = self.entry.as_ref().map(slice::from_ref) else { return };
        if let Err(err) = self.pass.clients.writer.commit(entry, deadline).await {
            tell_without_entry(self.snapshot.user_id, &err);
        }
    }

    /// The same beside a snapshot that is left as it is, and has to be there where it is known to have been: nobody who
    /// is gone gets an entry. The limits have allowed it. Fails only for want of the snapshot.
    async fn commit_entry_of_unchanged(&self, deadline: Deadline) -> Result<(), StoreError> {
        let Some(entry) = &self.entry else { return Ok(()) };
        let demand = self.demands_snapshot.then(|| self.snapshot.to_demand(&self.name));
        let writes: Vec<_> = demand.into_iter().chain([entry.clone()]).collect();
        match self.pass.clients.writer.commit_after(1, &writes, deadline).await {
            Err(err) if self.misses_snapshot(&err) => return Err(err),
            Err(err) => tell_without_entry(self.snapshot.user_id, &err),
            Ok(_) => {}
        }
        Ok(())
    }

    /// All documents or none. Decides anew when the tenant's changes meanwhile.
    async fn commit_together(
        &self,
        tenant: &mut Option<TenantWrite>,
        deadline: Deadline,
    ) -> Result<(), StoreError> {
        let writer = &self.pass.clients.writer;
        let mut attempt = 1;
        loop {
            let mut writes = self.writes(tenant.as_ref());
            writes.extend(self.entry.clone());
            let allowed = u32::from(attempt == 1);
            let conflict = match writer.commit_after(allowed, &writes, deadline).await {
                Ok(committed) => {
                    self.note(tenant.as_ref(), &committed);
                    return Ok(());
                }
                Err(err @ StoreError::Conflict(_))
                    if attempt < MAX_ATTEMPTS && !self.misses_snapshot(&err) =>
                {
                    err
                }
                Err(err) => return Err(err),
            };
            let lookup = read_lookup(self.pass, self.record, deadline).await;
            let Ok(lookup) = lookup else { return Err(conflict) };
            *tenant = tenant_write(self.pass, self.record, &lookup, deadline).await;
            attempt += 1;
        }
    }

    /// Notes for the next passes of a loop what the documents are now.
    fn note(&self, tenant: Option<&TenantWrite>, committed: &Committed) {
        let Some(kept) = &self.pass.memory.kept else { return };
        let primary = tenant.map(|_| Primary {
            owner: Some(self.snapshot.user_id.to_owned()),
            account: None,
            updated_at: committed.at(),
            revision: committed.revision(TENANT),
        });
        kept.note_written(self.record.id(), primary.as_ref());
        if self.end_of_state.is_some() {
            kept.doubt(self.record.id());
        }
    }

    /// The snapshot without a document that is refused, which costs only itself: not the user their money.
    /// `refusal` is what became of all together. Returns the tenant's write, if that was made.
    async fn commit_apart(
        &self,
        tenant: Option<TenantWrite>,
        refusal: StoreError,
        deadline: Deadline,
    ) -> Result<Option<TenantWrite>, StoreError> {
        let (user_id, writer) = (self.snapshot.user_id, &self.pass.clients.writer);
        let mut own = self.writes(None);
        if tenant.is_some() || own.len() == 1 {
            match writer.commit(&own, deadline).await {
                Err(err) if own.len() > 1 && err.may_be_one_documents() => {}
                Err(err) => return Err(err),
                Ok(()) => {
                    tell_without_tenant(user_id, tenant.as_ref(), &refusal);
                    return Ok(None);
                }
            }
        }
        let end_of_state = own.split_off(1);
        writer.commit(&own, deadline).await?;
        if let Err(err) = writer.commit(&end_of_state, deadline).await {
            tell_state_not_ended(user_id, &err);
        }
        let Some(write) = tenant else { return Ok(None) };
        match writer.commit(&[self.tenant_document(&write)], deadline).await {
            Ok(()) => Ok(Some(write)),
            Err(err) => {
                tell_without_tenant(user_id, Some(&write), &err);
                Ok(None)
            }
        }
    }

    /// What it would change of the snapshot that is stored.
    pub(crate) async fn difference(&self, deadline: Deadline) -> Result<Difference, StoreError> {
        self.pass.clients.store.difference(&self.name, &self.snapshot, deadline).await
    }

    fn written(&self, tenant: Option<TenantId>, is_unchanged: bool) -> Written {
        Written { host: self.snapshot.environment, tenant, is_unchanged, difference: None }
    }

    fn writes(&self, tenant: Option<&TenantWrite>) -> Vec<Write> {
        let precondition = match self.demands_snapshot {
            true => Precondition::Unchanged(None),
            false => Precondition::Nothing,
        };
        let mut writes = vec![self.snapshot.to_write(&self.name, &precondition)];
        writes.extend(tenant.map(|write| self.tenant_document(write)));
        writes.extend(self.end_of_state.clone());
        writes
    }

    fn tenant_document(&self, write: &TenantWrite) -> Write {
        self.snapshot.to_tenant_write(self.pass.clients.store.database(), write)
    }
}

/// The whole answer, if it is to be stored. What cannot be stored of it takes nothing else with it.
fn raw(clients: &Clients, user_id: &str, answer: &Answer) -> Option<Map<String, Value>> {
    if !clients.config.store_raw {
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

fn tell_without_tenant(user_id: &str, tenant: Option<&TenantWrite>, err: &StoreError) {
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

fn tell_without_entry(user_id: &str, err: &StoreError) {
    warn!(
        user_id,
        error = err.code().as_str(),
        "Could not write the equity history of user {user_id}: {}",
        Chain(err)
    );
}

fn tell_state_not_ended(user_id: &str, err: &StoreError) {
    warn!(
        user_id,
        error = err.code().as_str(),
        "Wrote the snapshot of user {user_id}, but not the end of their trouble, users/{user_id}/alpacaAccounts/sync: {}",
        Chain(err)
    );
}
