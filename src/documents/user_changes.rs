//! What operators' commands change in `users/{userId}` and in `tenants/{tenantId}/users/{userId}`. Every change says when
//! it was made in `keys_updated_at`, so that a loop notices it at its next tick.

use crate::documents::tenant::membership_name;
use crate::documents::user::{KEYS_UPDATED_AT, SYNC_ENABLED, TENANT_ID, user_name};
use crate::firestore::values::{Fields, boolean, string};
use crate::firestore::write::{FieldChange, FieldValue, Precondition, Write, merge_at, merge_at_all};
use crate::firestore::{Store, StoreError};
use crate::limits::retry::Deadline;
use crate::model::ids::{Database, DocumentId, TenantId};

const CREATED_AT: &str = "created_at";
const EMAIL: &str = "email";
const DISPLAY_NAME: &str = "display_name";

/// What is known of a user who is added.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NewUser<'a> {
    /// `email`.
    pub(crate) email: Option<&'a str>,
    /// `display_name`.
    pub(crate) display_name: Option<&'a str>,
    /// `tenant_id`.
    pub(crate) tenant: Option<&'a TenantId>,
}

impl<'a> NewUser<'a> {
    /// Whether nothing is known.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.fields().is_empty()
    }

    fn fields(&self) -> Vec<FieldChange<'a>> {
        let fields = [
            (EMAIL, self.email),
            (DISPLAY_NAME, self.display_name),
            (TENANT_ID, self.tenant.map(TenantId::as_str)),
        ];
        fields.into_iter().filter_map(|(name, text)| Some((name, Some(text?.into())))).collect()
    }
}

/// The write that creates a user's document.
#[must_use]
pub(crate) fn creation(database: &Database, user: &DocumentId, new: &NewUser<'_>) -> Write {
    let name = user_name(database, user);
    merge_at_all(&name, &new.fields(), &[CREATED_AT, KEYS_UPDATED_AT], &Precondition::Absent)
}

/// The write that puts what is given into a document that exists.
#[must_use]
pub(crate) fn completion(database: &Database, user: &DocumentId, new: &NewUser<'_>) -> Write {
    changed(database, user, &new.fields())
}

/// The write that makes a user a member of a tenant.
#[must_use]
pub(crate) fn membership(database: &Database, tenant: &TenantId, user: &DocumentId) -> Write {
    let name = membership_name(database, tenant, user.as_str());
    merge_at(&name, &[("role", Some("member".into()))], CREATED_AT, &Precondition::Absent)
}

/// The write that pauses a user, or ends the pause.
#[must_use]
pub(crate) fn switch(database: &Database, user: &DocumentId, is_on: bool) -> Write {
    changed(database, user, &[(SYNC_ENABLED, Some(FieldValue::Any(boolean(is_on))))])
}

/// The write that says that the user has other keys now.
#[must_use]
pub(crate) fn keys_updated(database: &Database, user: &DocumentId) -> Write {
    changed(database, user, &[])
}

fn changed(database: &Database, user: &DocumentId, fields: &[FieldChange<'_>]) -> Write {
    merge_at(&user_name(database, user), fields, KEYS_UPDATED_AT, &Precondition::Unchanged(None))
}

/// What a user's document and membership say already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExistingUser {
    /// The document, if there is one.
    pub(crate) profile: Option<Profile>,
    /// Whether the membership of the tenant in question exists.
    pub(crate) is_member: bool,
}

/// What a user's document says of who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    /// `email`.
    pub(crate) email: Option<String>,
    /// `display_name`.
    pub(crate) display_name: Option<String>,
    /// `tenant_id`.
    pub(crate) tenant: Option<String>,
}

impl Profile {
    fn read(fields: &Fields) -> Self {
        let read = |name: &str| fields.get(name).and_then(string).map(str::to_owned);
        Self { email: read(EMAIL), display_name: read(DISPLAY_NAME), tenant: read(TENANT_ID) }
    }
}

impl Store {
    /// What there is of a user, and of their membership of that tenant.
    pub(crate) async fn existing_user(
        &self,
        user: &DocumentId,
        tenant: Option<&TenantId>,
        deadline: Deadline,
    ) -> Result<ExistingUser, StoreError> {
        let name = user_name(self.database(), user);
        let member = tenant.map(|tenant| membership_name(self.database(), tenant, user.as_str()));
        let names = std::iter::once(name.clone()).chain(member.clone()).collect();
        let found = self.documents(names, &[EMAIL, DISPLAY_NAME, TENANT_ID], deadline).await?;
        Ok(ExistingUser {
            profile: found.get(&name).map(|document| Profile::read(&document.fields)),
            is_member: member.is_some_and(|name| found.contains_key(&name)),
        })
    }
}
