//! Everything that the project keeps of one user, read to be removed.

use crate::documents::snapshot::snapshot_name;
use crate::documents::sync_state::sync_state_name;
use crate::documents::tenant::{OWNER_UID, membership_name, primary_name, tenant_name};
use crate::documents::user::{TENANT_ID, user_name};
use crate::firestore::values::string;
use crate::firestore::write::{Precondition, Write, delete, delete_any, merge_at_all};
use crate::firestore::{Store, StoreError};
use crate::limits::retry::Deadline;
use crate::model::ids::{Database, DocumentId, TenantId};
use crate::model::user::{TenantClaim, User};
use account_reader::documents::snapshot::USER_ID;
use gcloud_sdk::google::firestore::v1::Document;
use gcloud_sdk::prost_types;
use std::collections::HashMap;

const HISTORY: &str = "equity_history";
const ACCOUNTS: &str = "alpacaAccounts";

/// Entries of the history that are deleted in one commit.
const AT_ONCE: i32 = 400;

/// Members among whom an heir is looked for.
const SOME_MEMBERS: i32 = 50;

/// What there is of a user.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Remains {
    /// `users/{userId}`.
    pub(crate) user: bool,
    /// The tenant that it names.
    pub(crate) claimed: Option<TenantId>,
    /// `users/{userId}/alpacaAccounts/snapshot`.
    pub(crate) snapshot: bool,
    /// Whether there is an entry below the snapshot.
    pub(crate) history: bool,
    /// `users/{userId}/alpacaAccounts/sync`.
    pub(crate) sync: bool,
    /// The tenants whose account document shows the user's account.
    pub(crate) primaries: Vec<OwnedPrimary>,
    /// The tenant that the user is a member of, if it has no account document: a removal that broke off may have
    /// deleted it.
    pub(crate) bereft: Option<TenantId>,
    /// The tenant that the user is a member of.
    pub(crate) membership: Option<TenantId>,
    /// The tenant whose `owner_uid` names the user.
    pub(crate) owned: Option<TenantId>,
    /// Who else of that tenant gets its document.
    pub(crate) heir: Option<DocumentId>,
    /// Collections and documents of other programs, which stay.
    pub(crate) others: Vec<String>,
}

/// A tenant's document that shows a user's account.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OwnedPrimary {
    /// The tenant.
    pub(crate) tenant: TenantId,
    revision: Option<prost_types::Timestamp>,
}

impl Remains {
    /// Whether there is nothing left to delete.
    #[must_use]
    pub(crate) fn is_nothing(&self) -> bool {
        let Self { user, snapshot, history, sync, primaries, membership, owned, .. } = self;
        !(*user || *snapshot || *history || *sync)
            && primaries.is_empty()
            && membership.is_none()
            && owned.is_none()
    }

    /// The tenant that somebody else has to give an account document, with the user's gone.
    #[must_use]
    pub(crate) fn bequeathed(&self, user: &DocumentId) -> Option<&TenantId> {
        let mut owned = self.primaries.iter().map(|primary| &primary.tenant);
        owned.find(|tenant| tenant.as_str() != user.as_str()).or(self.bereft.as_ref())
    }

    /// The deletion of what shows the user's money, and of their trouble. The tenant's next owner is named with it.
    #[must_use]
    pub(crate) fn deletions_of_figures(&self, database: &Database, user: &DocumentId) -> Vec<Write> {
        let of_primary = |OwnedPrimary { tenant, revision }: &OwnedPrimary| {
            let name = primary_name(database, tenant);
            revision.map_or_else(|| delete_any(&name), |revision| delete(&name, revision))
        };
        let mut writes: Vec<Write> = self.primaries.iter().map(of_primary).collect();
        writes.extend(self.owned.as_ref().map(|tenant| self.bequest(database, tenant)));
        writes.extend(self.snapshot.then(|| delete_any(&snapshot_name(database, user))));
        writes.extend(self.sync.then(|| delete_any(&sync_state_name(database, user))));
        writes
    }

    fn bequest(&self, database: &Database, tenant: &TenantId) -> Write {
        let heir = self.heir.as_ref().map(|heir| heir.as_str().into());
        let changes = [(OWNER_UID, heir)];
        merge_at_all(&tenant_name(database, tenant), &changes, &[], &Precondition::Unchanged(None))
    }

    /// The deletion of the user themself: the last, as only their document says which tenant was theirs.
    #[must_use]
    pub(crate) fn deletions_of_user(&self, database: &Database, user: &DocumentId) -> Vec<Write> {
        let membership = self.membership.as_ref();
        let membership =
            membership.map(|tenant| delete_any(&membership_name(database, tenant, user.as_str())));
        let document = self.user.then(|| delete_any(&user_name(database, user)));
        membership.into_iter().chain(document).collect()
    }
}

impl Store {
    /// What there is of a user, in the tenant that their document names; where it names none, in that one.
    pub(crate) async fn remains(
        &self,
        user: &DocumentId,
        tenant: Option<&TenantId>,
        deadline: Deadline,
    ) -> Result<Remains, StoreError> {
        let database = self.database();
        let [document, snapshot, sync] =
            [user_name(database, user), snapshot_name(database, user), sync_state_name(database, user)];
        let found = self
            .documents(vec![document.clone(), snapshot.clone(), sync.clone()], &[TENANT_ID], deadline)
            .await?;
        let claimed = text(&found, &document, TENANT_ID).and_then(|claimed| TenantId::parse(claimed).ok());
        let tenant = claimed.as_ref().or(tenant).cloned();
        let history = self.some_ids(snapshot.clone(), HISTORY, 1, deadline).await?;
        let mut remains = Remains {
            user: found.contains_key(&document),
            claimed,
            snapshot: found.contains_key(&snapshot),
            history: !history.is_empty(),
            sync: found.contains_key(&sync),
            others: self.others(&document, deadline).await?,
            ..Remains::default()
        };
        self.tenants_of(user, tenant, &mut remains, deadline).await?;
        Ok(remains)
    }

    /// What other programs keep below a user's document.
    async fn others(&self, document: &str, deadline: Deadline) -> Result<Vec<String>, StoreError> {
        let mut others = self.collections_below(document.to_owned(), deadline).await?;
        if let Some(accounts) = others.iter().position(|id| id == ACCOUNTS) {
            others.remove(accounts);
            let accounts = self.some_ids(document.to_owned(), ACCOUNTS, SOME_MEMBERS, deadline).await?;
            let foreign = accounts.iter().filter(|id| !["snapshot", "sync"].contains(&id.as_str()));
            others.extend(foreign.map(|id| format!("{ACCOUNTS}/{id}")));
        }
        others.sort();
        Ok(others)
    }

    /// Adds what the tenants have of the user: the one that the user is a member of, and the one of their own id.
    async fn tenants_of(
        &self,
        user: &DocumentId,
        tenant: Option<TenantId>,
        remains: &mut Remains,
        deadline: Deadline,
    ) -> Result<(), StoreError> {
        let database = self.database();
        let own = TenantId::parse(user.as_str()).ok();
        let shared = tenant.filter(|tenant| Some(tenant) != own.as_ref());
        let mut names: Vec<String> =
            own.iter().chain(&shared).map(|tenant| primary_name(database, tenant)).collect();
        if let Some(tenant) = &shared {
            names.extend([membership_name(database, tenant, user.as_str()), tenant_name(database, tenant)]);
        }
        let found = self.documents(names, &[USER_ID, OWNER_UID], deadline).await?;
        let names_user = |name: &str, field| text(&found, name, field) == Some(user.as_str());
        for tenant in own.into_iter().chain(shared.clone()) {
            let name = primary_name(database, &tenant);
            if names_user(&name, USER_ID) {
                let revision = found.get(&name).and_then(|document| document.update_time);
                remains.primaries.push(OwnedPrimary { tenant, revision });
            }
        }
        let Some(tenant) = shared else { return Ok(()) };
        let is_member = found.contains_key(&membership_name(database, &tenant, user.as_str()));
        let is_bereft = is_member && !found.contains_key(&primary_name(database, &tenant));
        remains.bereft = is_bereft.then(|| tenant.clone());
        let owner = text(&found, &tenant_name(database, &tenant), OWNER_UID);
        remains.heir = self.heir(&tenant, user, owner, deadline).await?;
        remains.owned = (owner == Some(user.as_str())).then(|| tenant.clone());
        remains.membership = is_member.then_some(tenant);
        Ok(())
    }

    /// Who of a tenant's other members gets its document: whom it names as its owner, else the first one; before those
    /// who are paused, whose figures would get old.
    async fn heir(
        &self,
        tenant: &TenantId,
        user: &DocumentId,
        owner: Option<&str>,
        deadline: Deadline,
    ) -> Result<Option<DocumentId>, StoreError> {
        let database = self.database();
        let members = self.some_ids(tenant_name(database, tenant), "users", SOME_MEMBERS, deadline).await?;
        let mut members: Vec<DocumentId> = members.into_iter().filter(|member| member != user).collect();
        members.sort_by_key(|member| Some(member.as_str()) != owner);
        let claims = TenantClaim::Of(tenant.clone());
        let users = self.named_users(&members, deadline).await?.into_iter().filter_map(|(user, _)| user);
        let members: Vec<User> = users.filter(|user| user.tenant == claims).collect();
        let is_synced = members.iter().find(|user| user.is_synced());
        Ok(is_synced.or(members.first()).map(|user| user.id.clone()))
    }

    /// Deletes some entries of a user's history; how many.
    pub(crate) async fn delete_some_history(
        &self,
        user: &DocumentId,
        deadline: Deadline,
    ) -> Result<usize, StoreError> {
        let snapshot = snapshot_name(self.database(), user);
        let ids = self.some_ids(snapshot.clone(), HISTORY, AT_ONCE, deadline).await?;
        let deletion = |id: &DocumentId| delete_any(&format!("{snapshot}/{HISTORY}/{}", id.as_str()));
        let writes: Vec<Write> = ids.iter().map(deletion).collect();
        if !writes.is_empty() {
            self.commit(&writes, deadline).await?;
        }
        Ok(writes.len())
    }
}

fn text<'a>(found: &'a HashMap<String, Document>, name: &str, field: &str) -> Option<&'a str> {
    found.get(name).and_then(|document| string(document.fields.get(field)?))
}
