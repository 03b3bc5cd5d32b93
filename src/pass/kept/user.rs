//! A user in the least memory: some 100 bytes and the id.

use crate::model::ids::{DocumentId, TenantId};
use crate::model::sync_state::{PreviousState, SyncState};
use crate::model::tenancy::{Findings, Primary, Revision, TenantLookup, tenant_in_question};
use crate::model::user::{Switch, TenantClaim, User};
use crate::pass::user_record::{PageLookup, UserRecord};
use jiff::Timestamp;
use std::collections::HashMap;

/// The documents of tenants that have more members than the user whose id they have.
pub(super) type Tenants = HashMap<TenantId, Option<KeptPrimary>>;

/// What is kept of a user between two passes.
#[derive(Debug)]
pub(super) struct KeptUser {
    id: DocumentId,
    /// Nothing for who is their own tenant, as most are.
    claim: Option<Box<TenantClaim>>,
    /// Nothing for who is in no trouble, as most are.
    state: Option<Box<SyncState>>,
    keys_updated_at: Moment,
    created_at: Moment,
    lookup: KeptLookup,
    /// The document of their own tenant, for who claims no other.
    primary: Option<KeptPrimary>,
    /// What was found when more was asked about the tenant than the lookup says: nothing for who was not asked, as most
    /// are not.
    findings: Option<Box<Findings>>,
    sync: Switch,
    has_snapshot: bool,
}

/// What is kept of a tenant lookup, besides the document that it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeptLookup {
    /// It was not made.
    Unknown,
    NoMember,
    Member,
}

/// What is kept of a tenant's document: not the account, which is among those that were seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeptPrimary {
    /// Empty for the user of whom it is kept.
    owner: Option<Box<str>>,
    updated_at: Moment,
    /// Nanoseconds since 1970.
    revision: Option<i64>,
}

/// A point in time to the microsecond, as Firestore stores it, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment(i64);

impl From<Option<Timestamp>> for Moment {
    fn from(time: Option<Timestamp>) -> Self {
        Self(time.map_or(i64::MIN, Timestamp::as_microsecond))
    }
}

impl Moment {
    fn time(self) -> Option<Timestamp> {
        Timestamp::from_microsecond(self.0).ok()
    }
}

impl KeptPrimary {
    /// Nothing, if it could not be told by what is kept whether it is still that revision.
    pub(super) fn of(primary: &Primary, user: &DocumentId) -> Option<Self> {
        let owner = primary.owner.as_deref().map(|owner| if owner == user.as_str() { "" } else { owner });
        let revision = primary.revision.map(to_nanos);
        let is_whole = revision.map(from_nanos) == primary.revision;
        let updated_at = primary.updated_at.into();
        is_whole.then(|| Self { owner: owner.map(Into::into), updated_at, revision })
    }

    fn to_primary(&self, user: &DocumentId) -> Primary {
        let owner = self.owner.as_deref().map(|owner| if owner.is_empty() { user.as_str() } else { owner });
        Primary {
            owner: owner.map(str::to_owned),
            account: None,
            updated_at: self.updated_at.time(),
            revision: self.revision.map(from_nanos),
        }
    }
}

fn to_nanos(Revision { seconds, nanos }: Revision) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos.into())
}

fn from_nanos(nanos: i64) -> Revision {
    let rest = i32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or_default();
    Revision { seconds: nanos.div_euclid(1_000_000_000), nanos: rest }
}

impl KeptUser {
    /// A user as they were read. The documents of tenants with other members are shared.
    pub(super) fn of(record: &UserRecord, tenants: &mut Tenants) -> Self {
        let UserRecord { user, lookup, previous, .. } = record;
        let mut kept = Self {
            id: user.id.clone(),
            claim: (user.tenant != TenantClaim::Own).then(|| Box::new(user.tenant.clone())),
            state: previous.record().cloned().map(Box::new),
            keys_updated_at: user.keys_updated_at.into(),
            created_at: user.created_at.into(),
            lookup: KeptLookup::Unknown,
            primary: None,
            findings: None,
            sync: user.sync,
            has_snapshot: false,
        };
        if let Some(PageLookup { lookup, .. }) = lookup {
            kept.learn(lookup, tenants);
        }
        kept
    }

    /// That was found for them.
    pub(super) fn learn(
        &mut self,
        TenantLookup { is_member, primary }: &TenantLookup,
        tenants: &mut Tenants,
    ) {
        let found = primary.as_ref().map(|primary| KeptPrimary::of(primary, &self.id));
        let Some(found) = found.map_or(Some(None), |kept| kept.map(Some)) else { return };
        self.lookup = if *is_member { KeptLookup::Member } else { KeptLookup::NoMember };
        self.findings = None;
        self.put(found, tenants);
    }

    /// The user's tenant has that document now.
    pub(super) fn put(&mut self, primary: Option<KeptPrimary>, tenants: &mut Tenants) {
        match self.shared_tenant() {
            Some(tenant) => drop(tenants.insert(tenant, primary.map(|primary| primary.named(&self.id)))),
            None => self.primary = primary,
        }
    }

    /// A tenant's document that is not only this user's.
    fn shared_tenant(&self) -> Option<TenantId> {
        self.claim.as_deref().and_then(|claim| tenant_in_question(self.id.as_str(), claim))
    }

    /// The user's id.
    pub(super) fn id(&self) -> &DocumentId {
        &self.id
    }

    /// The snapshot is there, if nobody has deleted it.
    pub(super) fn has_written(&mut self) {
        self.has_snapshot = true;
    }

    /// What was found when more was asked.
    pub(super) fn has_found(&mut self, found: Findings) {
        self.findings = Some(Box::new(found));
    }

    /// Whether that is what is kept of their document.
    pub(super) fn is_same(&self, user: &User) -> bool {
        self.user() == *user
    }

    fn user(&self) -> User {
        User {
            id: self.id.clone(),
            tenant: self.claim.as_deref().cloned().unwrap_or(TenantClaim::Own),
            sync: self.sync,
            keys_updated_at: self.keys_updated_at.time(),
            created_at: self.created_at.time(),
        }
    }

    /// The user as a pass takes them.
    pub(super) fn record(&self, tenants: &Tenants) -> UserRecord {
        let state = self.state.as_deref().cloned();
        let previous = state.map_or(PreviousState::Clean, PreviousState::Troubled);
        UserRecord {
            lookup: self.lookup(tenants).map(|lookup| PageLookup::kept(lookup, self.findings.clone())),
            has_snapshot: self.has_snapshot,
            ..UserRecord::new(self.user(), previous)
        }
    }

    fn lookup(&self, tenants: &Tenants) -> Option<TenantLookup> {
        let is_member = match self.lookup {
            KeptLookup::Unknown => return None,
            KeptLookup::NoMember => false,
            KeptLookup::Member => true,
        };
        let primary = match self.shared_tenant() {
            Some(tenant) => tenants.get(&tenant)?.as_ref(),
            None => self.primary.as_ref(),
        };
        Some(TenantLookup { is_member, primary: primary.map(|primary| primary.to_primary(&self.id)) })
    }
}

impl KeptPrimary {
    /// The same with its owner by name, for several users.
    fn named(self, user: &DocumentId) -> Self {
        let owner = self.owner.map(|owner| if owner.is_empty() { user.as_str().into() } else { owner });
        Self { owner, ..self }
    }
}
