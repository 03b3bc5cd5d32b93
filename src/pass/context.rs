//! One pass, as every user's sync needs it.

use crate::config::choices::TenantPath;
use crate::firestore::StoreError;
use crate::limits::retry::Deadline;
use crate::limits::slots::Slots;
use crate::model::equity_slot::EquitySlot;
use crate::model::ids::TenantId;
use crate::model::recheck::RecheckSchedule;
use crate::model::tenancy;
use crate::model::user::{TenantClaim, User};
use crate::pass::left_overs::LeftOvers;
use crate::pass::memory::Memory;
use crate::pass::plan::PassRules;
use crate::pass::set_aside::Places;
use crate::pass::state_records::Recorder;
use crate::pass::user_pages::PageReader;
use crate::pass::user_record::{KeysAt, UserRecord};
use crate::services::clients::Clients;
use crate::services::key_cache::LastChange;
use crate::services::secret_manager::StoredKeys;
use std::collections::HashSet;
use std::slice;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::time::Instant;

/// One pass: made once, and shared by the tasks of all its users.
#[derive(Debug)]
pub(crate) struct PassContext {
    /// The services that are called.
    pub(crate) clients: Arc<Clients>,
    /// What earlier passes of a loop left.
    pub(crate) memory: Arc<Memory>,
    /// By the server's clock, when the pass started, and when the one before did.
    pub(crate) schedule: RecheckSchedule,
    /// When the pass was due.
    pub(crate) due: Instant,
    /// When the pass began.
    pub(crate) start: Instant,
    /// The tenants whose owners were spoken of.
    pub(crate) told: ToldTenants,
    /// For those who are at work.
    pub(crate) slots: Slots,
    /// For those who are set aside.
    pub(crate) places: Places,
    /// What deleted users have left.
    pub(crate) left_overs: Arc<LeftOvers>,
}

impl PassContext {
    /// A pass that was due at `due` and began at `start`.
    #[must_use]
    pub(crate) fn new(
        clients: Arc<Clients>,
        memory: Arc<Memory>,
        schedule: RecheckSchedule,
        (due, start): (Instant, Instant),
    ) -> Self {
        let slots = Slots::new(clients.config.concurrency);
        let (told, places, left_overs) = Default::default();
        Self { clients, memory, schedule, due, start, told, slots, places, left_overs }
    }

    /// What is the same for all users when it is decided what is done for them.
    #[must_use]
    pub(crate) fn rules(&self) -> PassRules<'_> {
        let config = &self.clients.config;
        PassRules {
            schedule: self.schedule,
            is_named: !config.takes_everybody(),
            remembers_writes: self.memory.written.is_some(),
            permits_writes: self.clients.writer.needs_permits(),
            tenants: self.tenant_rules(),
            tenant_path: config.legacy_tenant_path,
            equity_slot: self.equity_slot(),
        }
    }

    /// The slot of the equity history that the pass is in; none, when it keeps none. A person's own run does not know
    /// which pass was before it.
    fn equity_slot(&self) -> Option<EquitySlot> {
        let config = &self.clients.config;
        let slots = config.equity_history.filter(|_| config.takes_everybody());
        slots.map(|slots| slots.of_pass(&self.schedule))
    }

    /// The rules of tenants' documents; none, when the pass writes no such documents.
    #[must_use]
    fn tenant_rules(&self) -> Option<tenancy::Pass<'_>> {
        let config = &self.clients.config;
        let legacy_account = config.legacy_account.as_ref().map(|account| account.id.as_str());
        let takes_over = config.takes_everybody();
        (config.legacy_tenant_path != TenantPath::Off).then_some(tenancy::Pass {
            schedule: self.schedule,
            takes_over,
            legacy_account,
            stands_for: config.stands_for(),
        })
    }

    /// The same for the tenant that a user claims.
    #[must_use]
    pub(crate) fn tenant_rules_of(&self, claim: &TenantClaim) -> Option<tenancy::Pass<'_>> {
        self.tenant_rules().filter(|_| self.clients.config.legacy_tenant_path.covers(claim))
    }

    /// Reads the pass's users.
    #[must_use]
    pub(crate) fn page_reader(&self) -> PageReader {
        let Clients { config, store, .. } = &*self.clients;
        PageReader {
            store: Arc::clone(store),
            clients: Arc::clone(&self.clients),
            filter: config.filter.clone(),
            tenant_path: config.legacy_tenant_path,
            schedule: self.schedule,
            left_overs: Arc::clone(&self.left_overs),
            memory: Arc::clone(&self.memory),
            due: self.due,
        }
    }

    /// Records what keeps users from being synced.
    #[must_use]
    pub(crate) fn recorder(&self) -> Recorder<'_> {
        Recorder { clients: &self.clients, memory: &self.memory }
    }

    /// Whether the pass meets every user of its range, and may remove what is left of those it did not meet.
    #[must_use]
    pub(crate) fn meets_everybody(&self) -> bool {
        let Clients { config, writer, .. } = &*self.clients;
        config.takes_everybody() && config.filter.is_empty() && writer.commits()
    }

    /// The document of a user whom a loop knows, as it is by now; nothing, if they are gone. What is known of them may be
    /// wrong: the next pass reads it. Whoever was created again is somebody else: the account may not be theirs.
    pub(crate) async fn user_now(
        &self,
        known: &User,
        deadline: Deadline,
    ) -> Result<Option<User>, StoreError> {
        self.memory.doubt(&known.id);
        let users = self.clients.store.named_users(slice::from_ref(&known.id), deadline).await?;
        let now = users.into_iter().find_map(|(user, _)| user);
        Ok(now.filter(|now| now.created_at == known.created_at))
    }

    /// The user's keys, if an earlier pass of a loop left them and the user is synced. Held only as long as the cache keeps
    /// them, which whoever does not ask for them shortens.
    #[must_use]
    pub(crate) fn kept_keys(&self, record: &UserRecord) -> Option<Weak<StoredKeys>> {
        let KeysAt::Secret(user) = &record.keys else { return None };
        if !record.user.is_synced() {
            return None;
        }
        let kept = self.clients.key_cache.as_ref()?.get(user, &record.previous, self.last_change(record))?;
        Some(Arc::downgrade(&kept))
    }

    /// When the user's keys were last changed, as far as their document tells.
    #[must_use]
    pub(crate) fn last_change(&self, record: &UserRecord) -> LastChange {
        LastChange::of(&record.user, self.schedule.now)
    }
}

/// The tenants that were spoken of in a pass: all members but one meet the same document.
#[derive(Debug, Default)]
pub(crate) struct ToldTenants(Mutex<HashSet<TenantId>>);

impl ToldTenants {
    /// Whether that tenant has not been spoken of yet.
    pub(crate) fn is_first(&self, tenant: &TenantId) -> bool {
        // Whatever panics while it is locked leaves a set that is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_speaks_of_a_tenant_once() {
        let (told, another) = (ToldTenants::default(), ToldTenants::default());
        let tenant = |id| TenantId::parse(id).expect("legal");
        assert!(told.is_first(&tenant("acme")) && told.is_first(&tenant("zeta")));
        assert!(!told.is_first(&tenant("acme")));
        assert!(another.is_first(&tenant("acme")), "another pass");
    }
}
