//! What is to be done for a legacy document: decided from the documents alone, without asking anybody.

use crate::documents::legacy::{
    Legacy, OLD_TENANT_ID, SignalCollection, entry_of_today, equity_path, has_keys_inside, shadow_trade_path,
    signal_of_today, signal_path,
};
use crate::documents::user::TENANT_ID;
use crate::firestore::values::{Fields, are_same};
use crate::migration::owners::{Owners, own, said};
use crate::migration::reason::{Class, Reason};
use crate::migration::stored::Stored;
use crate::model::ids::DocumentId;
use account_reader::documents::snapshot::{UPDATED_AT_ISO, USER_ID};
use std::collections::HashMap;

/// Of `tenants/{tenant}`.
const OWNER_UID: &str = "owner_uid";

/// What is to be written, and where.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    /// The path below the database's root.
    pub(crate) target: String,
    pub(crate) action: Action,
}

/// What becomes of a target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// It begins to exist.
    Create(Fields),
    /// A field of it, which had no value, gets that text. It is the legacy document itself.
    Set(&'static str, String),
    /// It ends. It is the legacy document itself.
    Remove,
}

/// What comes of one legacy document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Diff {
    pub(crate) reason: Reason,
    /// The path of what it becomes, where that is known.
    pub(crate) target: Option<String>,
    /// Where it is [`Class::Copy`].
    pub(crate) change: Option<Change>,
}

impl Diff {
    pub(crate) fn class(&self) -> Class {
        self.reason.class()
    }

    pub(crate) fn without_change(reason: Reason, target: Option<String>) -> Self {
        Self { reason, target, change: None }
    }

    fn change(reason: Reason, target: String, action: Action) -> Self {
        Self { reason, target: Some(target.clone()), change: Some(Change { target, action }) }
    }
}

/// The documents that the decision hangs on beside the legacy one.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// By their paths.
    pub(crate) documents: HashMap<String, Stored>,
    /// Two members of a tenant, if it has as many.
    pub(crate) members: HashMap<String, Vec<DocumentId>>,
}

/// Which facts those are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The documents' paths.
    pub(crate) documents: Vec<String>,
    /// Whose members.
    pub(crate) members_of: Option<DocumentId>,
}

/// What a document would become, if nothing else spoke against it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Intent {
    /// One of its own, unless one of the rivals is taken for it.
    Create { target: String, fields: Fields, rivals: Vec<String> },
    /// Its tenant's owner is set.
    Own(DocumentId),
    /// Its user's tenant is set.
    Join { user: DocumentId, tenant: String },
    /// It is removed.
    Remove,
    /// Nothing.
    Leave(Reason),
}

/// Nothing where it is no legacy document, or nothing of it is to be moved.
pub(crate) fn intent(document: &Stored, owners: &Owners) -> Option<Intent> {
    let fields = &document.fields;
    let create = |target, fields, rivals| Intent::Create { target, fields, rivals };
    let intent = match Legacy::at(&document.path)? {
        Legacy::Snapshot(_) if fields.contains_key(UPDATED_AT_ISO) => return None,
        legacy if legacy.is_kept_whole() && has_keys_inside(fields) => Err(Reason::KeysInside),
        Legacy::Equity(minute) => owners
            .of(fields)
            .and_then(|owner| Ok(create(equity_path(&owner, &minute)?, entry_of_today(fields)?, Vec::new()))),
        Legacy::ShadowTrade(id) => owners
            .of(fields)
            .and_then(|owner| Ok(create(shadow_trade_path(&owner, &id)?, fields.clone(), Vec::new()))),
        Legacy::Signal { collection, user, id } => {
            user.map_or_else(|| owners.of(fields), Ok).and_then(|user| signal(fields, collection, &user, &id))
        }
        Legacy::Primary(tenant) => match said(fields, USER_ID) {
            Ok(Some(_)) => return None,
            said => said.map(|_| Intent::Own(tenant)),
        },
        Legacy::User(user) => match said(fields, OLD_TENANT_ID) {
            Ok(None) => return None,
            said => said.map(|tenant| Intent::Join { user, tenant: tenant.unwrap_or_default().to_owned() }),
        },
        Legacy::Snapshot(_) => Ok(Intent::Remove),
        Legacy::Figures => Err(Reason::OldFigures),
        Legacy::Keys(_) => Err(Reason::Keys),
    };
    Some(intent.unwrap_or_else(Intent::Leave))
}

fn signal(
    fields: &Fields,
    collection: SignalCollection,
    user: &DocumentId,
    id: &DocumentId,
) -> Result<Intent, Reason> {
    let (target, fields) = (signal_path(user, id)?, signal_of_today(fields)?);
    Ok(Intent::Create { target, fields, rivals: collection.rivals(user, id) })
}

impl Intent {
    /// The facts that [`Intent::settle`] needs.
    pub(crate) fn wanted(&self) -> Wanted {
        match self {
            Self::Create { target, rivals, .. } => {
                let documents = rivals.iter().chain([target]).cloned().collect();
                Wanted { documents, members_of: None }
            }
            Self::Own(tenant) => Wanted {
                documents: vec![format!("tenants/{}", tenant.as_str())],
                members_of: Some(tenant.clone()),
            },
            Self::Join { user, tenant } => {
                let is_id = DocumentId::parse(tenant).is_ok();
                let membership = is_id.then(|| membership(tenant, user));
                Wanted { documents: membership.into_iter().collect(), members_of: None }
            }
            Self::Remove | Self::Leave(_) => Wanted::default(),
        }
    }

    /// What comes of it, given the facts.
    pub(crate) fn settle(self, document: &Stored, facts: &Facts, owners: &Owners) -> Diff {
        let own = || document.path.clone();
        match self {
            Self::Create { target, fields, rivals } => {
                created(document, (target, fields), &rivals, (facts, owners))
            }
            Self::Own(tenant) => {
                match owner(&tenant, facts, owners).and_then(|found| unless_another(document, found)) {
                    Ok(owner) => {
                        let set = Action::Set(USER_ID, owner.as_str().to_owned());
                        Diff::change(Reason::WithoutOwner, own(), set)
                    }
                    Err(reason) => Diff::without_change(reason, Some(own())),
                }
            }
            Self::Join { user, tenant } => match joined(document, &user, &tenant, facts) {
                Ok(()) => Diff::change(Reason::OlderTenantId, own(), Action::Set(TENANT_ID, tenant)),
                Err(reason) => Diff::without_change(reason, Some(own())),
            },
            Self::Remove => Diff::change(Reason::Placeholder, own(), Action::Remove),
            Self::Leave(reason) => Diff::without_change(reason, None),
        }
    }
}

/// Of a document that becomes another one.
fn created(
    document: &Stored,
    (target, fields): (String, Fields),
    rivals: &[String],
    (facts, owners): (&Facts, &Owners),
) -> Diff {
    let there = facts.documents.get(&target);
    if there.is_some_and(|there| are_same(&there.fields, &fields)) {
        return Diff::without_change(Reason::AlreadyThere, Some(target));
    }
    let rivals = rivals.iter().filter_map(|rival| facts.documents.get(rival));
    let mut rivals = rivals.filter_map(|rival| match intent(rival, owners) {
        Some(Intent::Create { target: others, fields, .. }) if others == target => Some(fields),
        _ => None,
    });
    let reason = match (rivals.next(), there) {
        (Some(others), _) if are_same(&others, &fields) => Reason::Duplicate,
        (Some(_), _) => Reason::IdTaken,
        (None, Some(there)) if there.updated_at > document.updated_at => Reason::TargetIsNewer,
        (None, Some(_)) => Reason::TargetDiffers,
        (None, None) => return Diff::change(Reason::NotThere, target, Action::Create(fields)),
    };
    Diff::without_change(reason, Some(target))
}

/// Whose a tenant's document is that names nobody: whom the tenant names, else its only member's, else the operator's
/// word.
fn owner(tenant: &DocumentId, facts: &Facts, owners: &Owners) -> Result<DocumentId, Reason> {
    let document = facts.documents.get(&format!("tenants/{}", tenant.as_str()));
    if let Some(owner) = document.map(|tenant| said(&tenant.fields, OWNER_UID)).transpose()?.flatten() {
        return DocumentId::parse(owner).map_err(|_| Reason::Malformed(OWNER_UID));
    }
    match facts.members.get(tenant.as_str()).map(Vec::as_slice) {
        Some([only]) => Ok(only.clone()),
        _ => owners.of_tenant(tenant.as_str()).ok_or(Reason::SeveralMembers),
    }
}

/// That owner, unless the document itself names somebody else.
fn unless_another(document: &Stored, owner: DocumentId) -> Result<DocumentId, Reason> {
    match own(&document.fields)? {
        Some((_, other)) if other != owner.as_str() => Err(Reason::OwnersContradict),
        _ => Ok(owner),
    }
}

/// Whether a user gets the tenant that their document has under its older name: they could write it there themselves.
fn joined(document: &Stored, user: &DocumentId, tenant: &str, facts: &Facts) -> Result<(), Reason> {
    match said(&document.fields, TENANT_ID)? {
        Some(of_today) if of_today == tenant => Err(Reason::AlreadyThere),
        Some(_) => Err(Reason::TenantsContradict),
        None if DocumentId::parse(tenant).is_err() => Err(Reason::Malformed(OLD_TENANT_ID)),
        None if facts.documents.contains_key(&membership(tenant, user)) => Ok(()),
        None => Err(Reason::NoMembership),
    }
}

fn membership(tenant: &str, user: &DocumentId) -> String {
    format!("tenants/{tenant}/users/{}", user.as_str())
}

#[cfg(test)]
mod tests;
