//! A user as the `users` collection has it. The user may write that document, so nothing in it is
//! trusted for authorisation.

use crate::ids::{DocumentId, TenantId};
use crate::store::values::{Fields, string};
use gcloud_sdk::google::firestore::v1::value::ValueType;

/// One document of `users`, reduced to the fields the job reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The document's id.
    pub id: DocumentId,
    /// The tenant the user says to belong to.
    pub tenant: TenantClaim,
    /// `false` only where the document says so.
    pub sync_enabled: bool,
}

/// What is said about a user's tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantClaim {
    /// No `tenant_id`: the user is their own tenant.
    Own,
    /// The user document names it. Counts only with a membership document.
    Of(TenantId),
    /// The user document's `tenant_id` can be no document id.
    Unusable,
    /// The operator names it, in the job's configuration: it needs no membership.
    Assigned(TenantId),
}

impl User {
    /// The fields that the query for users selects.
    pub const FIELDS: [&str; 2] = ["tenant_id", "sync_enabled"];

    /// Reads those fields.
    #[must_use]
    pub fn from_fields(id: DocumentId, fields: &Fields) -> Self {
        let tenant = match fields.get("tenant_id") {
            None => TenantClaim::Own,
            Some(value) => string(value)
                .and_then(|text| TenantId::parse(text).ok())
                .map_or(TenantClaim::Unusable, TenantClaim::Of),
        };
        let switch = fields.get("sync_enabled").and_then(|value| value.value_type.as_ref());
        Self { id, tenant, sync_enabled: switch != Some(&ValueType::BooleanValue(false)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::values::arbitrary::any_fields;
    use crate::store::values::{boolean, integer, null, text};
    use proptest::prelude::*;

    fn user(fields: Vec<(&str, gcloud_sdk::google::firestore::v1::Value)>) -> User {
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        User::from_fields(DocumentId::parse("ana").expect("legal"), &fields)
    }

    #[test]
    fn a_user_without_tenant_is_their_own() {
        assert_eq!(user(vec![]).tenant, TenantClaim::Own);
        let acme = TenantId::parse("acme").expect("legal");
        assert_eq!(user(vec![("tenant_id", text("acme"))]).tenant, TenantClaim::Of(acme));
    }

    #[test]
    fn a_tenant_that_can_be_no_document_id_is_unusable() {
        for value in
            [text(""), text("a/b"), text("."), text(".."), text("__x__"), integer(7), null(), boolean(true)]
        {
            assert_eq!(user(vec![("tenant_id", value.clone())]).tenant, TenantClaim::Unusable, "{value:?}");
        }
    }

    #[test]
    fn only_false_switches_the_sync_off() {
        assert!(user(vec![]).sync_enabled);
        assert!(user(vec![("sync_enabled", boolean(true))]).sync_enabled);
        assert!(user(vec![("sync_enabled", text("false"))]).sync_enabled);
        assert!(!user(vec![("sync_enabled", boolean(false))]).sync_enabled);
    }

    proptest! {
        #[test]
        fn whatever_a_user_writes_names_a_tenant_by_its_own_text_or_none(fields in any_fields(&User::FIELDS)) {
            let id = DocumentId::parse("ana").expect("legal");
            let user = User::from_fields(id.clone(), &fields);
            prop_assert_eq!(user.id, id);
            let said = fields.get("tenant_id");
            match user.tenant {
                TenantClaim::Own => prop_assert!(said.is_none()),
                TenantClaim::Of(tenant) => {
                    prop_assert_eq!(said.and_then(string), Some(tenant.as_str()));
                    prop_assert!(!tenant.as_str().contains('/'));
                }
                TenantClaim::Unusable => prop_assert!(said.is_some()),
                TenantClaim::Assigned(_) => prop_assert!(false, "no user document can assign a tenant"),
            }
            prop_assert_eq!(user.sync_enabled, fields.get("sync_enabled") != Some(&boolean(false)));
        }
    }
}
