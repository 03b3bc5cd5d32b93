//! Whose a document is that names no user by its path. That is never guessed.

use crate::firestore::values::{Fields, is_null, string};
use crate::migration::reason::Reason;
use crate::model::ids::DocumentId;
use std::collections::BTreeMap;

/// Where older writers said whose a document is.
const OWN: [&str; 2] = ["uid", "user_id"];
const TENANT: &str = "tenant_id";

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
    /// Whose a document at the root is: whose it says it is, else its tenant's, else the single tenant's.
    pub(crate) fn of(&self, fields: &Fields) -> Result<DocumentId, Reason> {
        let mut own = OWN.iter().filter_map(|name| said(fields, name).transpose());
        match (own.next().transpose()?, own.next().transpose()?) {
            (Some(one), Some(other)) if one != other => Err(Reason::OwnersContradict),
            (Some(owner), _) => DocumentId::parse(owner).map_err(|_| Reason::Malformed(OWN[0])),
            (None, _) => self.of_tenant_or_single(said(fields, TENANT)?),
        }
    }

    fn of_tenant_or_single(&self, tenant: Option<&str>) -> Result<DocumentId, Reason> {
        let owner = match tenant {
            Some(tenant) if !self.of_tenants.is_empty() => self.of_tenants.get(tenant),
            _ => self.single.as_ref(),
        };
        owner.cloned().ok_or(Reason::NoOwner)
    }

    /// Whose a tenant's own document is, where the tenant itself does not say.
    pub(crate) fn of_tenant(&self, tenant: &DocumentId) -> Option<DocumentId> {
        let is_default = tenant.as_str() == DEFAULT_TENANT;
        let single = self.single.as_ref().filter(|_| is_default);
        self.of_tenants.get(tenant.as_str()).or(single).cloned()
    }
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
        let cases: [Case<'_>; 16] = [
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
            (&single, &[("tenant_id", text("acme"))], Ok("ana")),
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
            assert_eq!(owners.of_tenant(&id(tenant)), owner.map(id), "{tenant}");
        }
    }
}
