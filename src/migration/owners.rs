//! Whose a document is that names no user by its path. That is never guessed.

use crate::firestore::values::{Fields, is_null, string};
use crate::migration::reason::Reason;
use crate::model::ids::DocumentId;
use std::collections::{BTreeMap, BTreeSet};

/// Where older writers said whose a document is.
const OWN: [&str; 3] = ["uid", "user_id", "userId"];
const TENANT: [&str; 2] = ["tenant_id", "tenantId"];

/// The tenant that older writers named where nobody had told them one.
const DEFAULT_TENANT: &str = "local";

/// What the operator said of owners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owners {
    /// The single tenant's. `--owner`.
    pub(crate) single: Option<DocumentId>,
    /// By their tenants. `--owners`.
    pub(crate) of_tenants: BTreeMap<String, DocumentId>,
}

impl Owners {
    /// All whom the operator named.
    pub(crate) fn named(&self) -> BTreeSet<&str> {
        self.single.iter().chain(self.of_tenants.values()).map(DocumentId::as_str).collect()
    }

    /// Whose a document at the root is: whose it says it is, else its tenant's, else the single tenant's.
    pub(crate) fn of(&self, fields: &Fields) -> Result<DocumentId, Reason> {
        if let Some((name, owner)) = own(fields)? {
            return DocumentId::parse(owner).map_err(|_| Reason::Malformed(name));
        }
        let owner = match unanimous(fields, TENANT, Reason::TenantsContradict)? {
            Some((_, tenant)) => self.of_tenant(tenant),
            None => self.single.clone(),
        };
        owner.ok_or(Reason::NoOwner)
    }

    /// Whose a tenant's documents are, where neither they nor the tenant itself say it. The single tenant's owner is
    /// nobody else's.
    pub(crate) fn of_tenant(&self, tenant: &str) -> Option<DocumentId> {
        let single = self.single.as_ref().filter(|_| tenant == DEFAULT_TENANT);
        self.of_tenants.get(tenant).or(single).cloned()
    }
}

/// Whose a document says that it is, with the field's name.
pub(super) fn own(fields: &Fields) -> Result<Option<(&'static str, &str)>, Reason> {
    unanimous(fields, OWN, Reason::OwnersContradict)
}

/// The text that all those fields have which have any, with the name of the first.
fn unanimous<'a, const N: usize>(
    fields: &'a Fields,
    names: [&'static str; N],
    contradiction: Reason,
) -> Result<Option<(&'static str, &'a str)>, Reason> {
    let mut found = None;
    for name in names {
        match (said(fields, name)?, found) {
            (None, _) => {}
            (Some(text), None) => found = Some((name, text)),
            (Some(text), Some((_, other))) if text == other => {}
            (Some(_), Some(_)) => return Err(contradiction),
        }
    }
    Ok(found)
}

/// The text of a field; nothing for null and an empty one.
pub(super) fn said<'a>(fields: &'a Fields, name: &'static str) -> Result<Option<&'a str>, Reason> {
    match fields.get(name).filter(|value| !is_null(value)) {
        None => Ok(None),
        Some(value) => match string(value) {
            Some(text) => Ok(Some(text).filter(|text| !text.is_empty())),
            None => Err(Reason::Malformed(name)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::{integer, null, text};
    use gcloud_sdk::google::firestore::v1::Value;

    fn id(text: &str) -> DocumentId {
        DocumentId::of_existing(text)
    }

    #[test]
    fn an_owner_is_said_by_the_document_or_by_the_operator_and_never_guessed() {
        let nobody = Owners::default();
        let single = Owners { single: Some(id("ana")), ..Owners::default() };
        let by_tenant = Owners { of_tenants: [("acme".to_owned(), id("ben"))].into(), ..single.clone() };
        type Case<'a> = (&'a Owners, &'a [(&'a str, Value)], Result<&'a str, Reason>);
        let cases: [Case<'_>; 22] = [
            (&nobody, &[], Err(Reason::NoOwner)),
            (&nobody, &[("uid", text("cy"))], Ok("cy")),
            (&nobody, &[("user_id", text("cy"))], Ok("cy")),
            (&single, &[("uid", text("cy"))], Ok("cy")),
            (&nobody, &[("uid", text("cy")), ("user_id", text("cy"))], Ok("cy")),
            (&single, &[("uid", text("cy")), ("user_id", text("di"))], Err(Reason::OwnersContradict)),
            (&single, &[("uid", null()), ("user_id", text(""))], Ok("ana")),
            (&single, &[("uid", integer(7))], Err(Reason::Malformed("uid"))),
            (&single, &[("uid", text("a/b"))], Err(Reason::Malformed("uid"))),
            (&single, &[], Ok("ana")),
            (&single, &[("userId", text("cy"))], Ok("cy")),
            (&single, &[("uid", text("cy")), ("userId", text("di"))], Err(Reason::OwnersContradict)),
            (&single, &[("user_id", text("a/b"))], Err(Reason::Malformed("user_id"))),
            (&single, &[("tenant_id", text("acme"))], Err(Reason::NoOwner)),
            (&single, &[("tenantId", text("acme"))], Err(Reason::NoOwner)),
            (&single, &[("tenant_id", text("local"))], Ok("ana")),
            (
                &by_tenant,
                &[("tenant_id", text("acme")), ("tenantId", text("other"))],
                Err(Reason::TenantsContradict),
            ),
            (&by_tenant, &[("tenant_id", text("acme"))], Ok("ben")),
            (&by_tenant, &[("tenant_id", text("other"))], Err(Reason::NoOwner)),
            (&by_tenant, &[], Ok("ana")),
            (&by_tenant, &[("tenant_id", integer(7))], Err(Reason::Malformed("tenant_id"))),
            (&nobody, &[("tenant_id", text("acme"))], Err(Reason::NoOwner)),
        ];
        for (owners, fields, expected) in cases {
            let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            let found = owners.of(&fields);
            assert_eq!(found.as_ref().map(DocumentId::as_str), expected.as_ref().copied(), "{fields:?}");
        }
    }

    #[test]
    fn only_the_default_tenant_is_the_single_ones_without_being_named() {
        let of_tenants = [("acme".to_owned(), id("ben"))].into();
        let owners = Owners { single: Some(id("ana")), of_tenants };
        for (tenant, owner) in [("acme", Some("ben")), ("local", Some("ana")), ("other", None)] {
            assert_eq!(owners.of_tenant(tenant), owner.map(id), "{tenant}");
        }
    }
}
