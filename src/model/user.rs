//! A user as the `users` collection has it. The user may write that document, so nothing in it is
//! trusted for authorisation.

use crate::firestore::values::{Fields, string, time};
use crate::model::ids::{DocumentId, TenantId};
use gcloud_sdk::google::firestore::v1::Value;
use gcloud_sdk::google::firestore::v1::value::ValueType;
use jiff::Timestamp;

/// One document of `users`, reduced to the fields the job reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// The document's id.
    pub(crate) id: DocumentId,
    /// The tenant the user says to belong to.
    pub(crate) tenant: TenantClaim,
    /// Whether the user is synced.
    pub(crate) sync: Switch,
    /// When the keys, or what else the sync depends on, were last changed. Who writes it may be wrong: it
    /// may lie in the future.
    pub(crate) keys_updated_at: Option<Timestamp>,
}

/// What `sync_enabled` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Switch {
    /// That the user is synced, or nothing at all.
    On,
    /// That the user is paused.
    Off,
    /// Neither. Somebody meant something by it, and money is not synced on a guess.
    Unreadable,
}

/// What is said about a user's tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TenantClaim {
    /// No `tenant_id`, or null: the user is their own tenant.
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
    pub(crate) const FIELDS: [&str; 3] = ["tenant_id", "sync_enabled", "keys_updated_at"];

    /// Reads those fields.
    #[must_use]
    pub(crate) fn from_fields(id: DocumentId, fields: &Fields) -> Self {
        let tenant = match said(fields, "tenant_id") {
            None => TenantClaim::Own,
            Some(value) => string(value)
                .and_then(|text| TenantId::parse(text).ok())
                .map_or(TenantClaim::Unusable, TenantClaim::Of),
        };
        let sync = match said(fields, "sync_enabled").and_then(|value| value.value_type.as_ref()) {
            None | Some(ValueType::BooleanValue(true)) => Switch::On,
            Some(ValueType::BooleanValue(false)) => Switch::Off,
            Some(_) => Switch::Unreadable,
        };
        Self { id, tenant, sync, keys_updated_at: fields.get("keys_updated_at").and_then(time) }
    }

    /// Whether the user is synced.
    #[must_use]
    pub(crate) fn is_synced(&self) -> bool {
        self.sync == Switch::On
    }
}

/// The value of a field, unless it is absent or null.
fn said<'a>(fields: &'a Fields, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !matches!(value.value_type, None | Some(ValueType::NullValue(_))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::arbitrary::any_fields;
    use crate::firestore::values::{array, boolean, integer, null, text, timestamp};
    use proptest::prelude::*;

    fn user(fields: Vec<(&str, gcloud_sdk::google::firestore::v1::Value)>) -> User {
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        User::from_fields(DocumentId::parse("ana").expect("legal"), &fields)
    }

    #[test]
    fn a_user_without_tenant_is_their_own() {
        assert_eq!(user(vec![]).tenant, TenantClaim::Own);
        assert_eq!(user(vec![("tenant_id", null())]).tenant, TenantClaim::Own, "null is no tenant");
        let acme = TenantId::parse("acme").expect("legal");
        assert_eq!(user(vec![("tenant_id", text("acme"))]).tenant, TenantClaim::Of(acme));
    }

    #[test]
    fn a_tenant_that_can_be_no_document_id_is_unusable() {
        for value in [text(""), text("a/b"), text("."), text(".."), text("__x__"), integer(7), boolean(true)]
        {
            assert_eq!(user(vec![("tenant_id", value.clone())]).tenant, TenantClaim::Unusable, "{value:?}");
        }
    }

    #[test]
    fn only_true_null_and_nothing_leave_the_sync_on() {
        let sync = |value| user(vec![("sync_enabled", value)]).sync;
        assert_eq!(user(vec![]).sync, Switch::On);
        assert_eq!((sync(null()), sync(boolean(true))), (Switch::On, Switch::On));
        assert_eq!(sync(boolean(false)), Switch::Off);
        for value in
            [text("false"), text("true"), text(""), integer(0), integer(1), array(vec![boolean(true)])]
        {
            assert_eq!(sync(value.clone()), Switch::Unreadable, "{value:?}");
        }
    }

    #[test]
    fn only_a_point_in_time_says_when_keys_were_updated() {
        let updated = |value| user(vec![("keys_updated_at", value)]).keys_updated_at;
        let time = Timestamp::from_second(1_767_623_400).expect("in range");
        assert_eq!(updated(timestamp(time)), Some(time));
        for value in [text("2026-01-05T14:30:00Z"), integer(1_767_623_400), null(), boolean(true)] {
            assert_eq!(updated(value.clone()), None, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_user_writes_names_a_tenant_by_its_own_text_or_none(fields in any_fields(&User::FIELDS)) {
            let id = DocumentId::parse("ana").expect("legal");
            let user = User::from_fields(id.clone(), &fields);
            prop_assert_eq!(user.id, id);
            let value = said(&fields, "tenant_id");
            match user.tenant {
                TenantClaim::Own => prop_assert!(value.is_none()),
                TenantClaim::Of(tenant) => {
                    prop_assert_eq!(value.and_then(string), Some(tenant.as_str()));
                    prop_assert!(!tenant.as_str().contains('/'));
                }
                TenantClaim::Unusable => prop_assert!(value.is_some()),
                TenantClaim::Assigned(_) => prop_assert!(false, "no user document can assign a tenant"),
            }
            let switch = said(&fields, "sync_enabled");
            prop_assert_eq!(user.sync == Switch::On, switch.is_none() || switch == Some(&boolean(true)));
            prop_assert_eq!(user.sync == Switch::Off, switch == Some(&boolean(false)));
        }
    }
}
