//! `users/{userId}`: who takes part in a pass.

use crate::config::filter::{Constant, UserFilter};
use crate::documents::sync_state::sync_state_name;
use crate::firestore::filter;
use crate::firestore::newer::Newer;
use crate::firestore::query::{Pages, Query};
use crate::firestore::values::{Fields, boolean, double, integer, string, text, time};
use crate::firestore::write::{Write, delete};
use crate::firestore::{Store, StoreError};
use crate::limits::retry::Deadline;
use crate::model::ids::{Database, DocumentId, TenantId};
use crate::model::selection::IdRange;
use crate::model::sync_state::SyncState;
use crate::model::user::{Switch, TenantClaim, User};
use gcloud_sdk::google::firestore::v1::structured_query::Filter;
use gcloud_sdk::google::firestore::v1::value::ValueType;
use gcloud_sdk::google::firestore::v1::{Document, Value};
use jiff::Timestamp;
use std::time::Duration;

/// Without the users there is no pass, so a page of them may take long.
const PAGE_BUDGET: Duration = Duration::from_secs(60);

const USERS: &str = "users";

pub(crate) const TENANT_ID: &str = "tenant_id";
pub(super) const SYNC_ENABLED: &str = "sync_enabled";
pub(super) const KEYS_UPDATED_AT: &str = "keys_updated_at";

/// Full name of a user's document.
#[must_use]
pub(super) fn user_name(database: &Database, user: &DocumentId) -> String {
    database.document(format_args!("users/{}", user.as_str()))
}

impl User {
    /// The fields that the query for users selects.
    pub(super) const FIELDS: [&str; 3] = [TENANT_ID, SYNC_ENABLED, KEYS_UPDATED_AT];

    /// Reads those fields, and when the document was created.
    #[must_use]
    pub(super) fn read(id: DocumentId, document: &Document) -> Self {
        let fields = &document.fields;
        let tenant = match said(fields, TENANT_ID) {
            None => TenantClaim::Own,
            Some(value) => string(value)
                .and_then(|text| TenantId::parse(text).ok())
                .map_or(TenantClaim::Unusable, TenantClaim::Of),
        };
        let sync = match said(fields, SYNC_ENABLED).and_then(|value| value.value_type.as_ref()) {
            None | Some(ValueType::BooleanValue(true)) => Switch::On,
            Some(ValueType::BooleanValue(false)) => Switch::Off,
            Some(_) => Switch::Unreadable,
        };
        let created =
            document.create_time.map(|time| Timestamp::new(time.seconds, time.nanos / 1_000 * 1_000));
        Self {
            id,
            tenant,
            sync,
            keys_updated_at: fields.get(KEYS_UPDATED_AT).and_then(time),
            created_at: created.and_then(Result::ok),
        }
    }
}

/// The value of a field, unless it is absent or null.
fn said<'a>(fields: &'a Fields, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !matches!(value.value_type, None | Some(ValueType::NullValue(_))))
}

impl Store {
    /// The documents of these users, where they exist, and what is recorded of them, in the same order.
    pub(crate) async fn named_users(
        &self,
        ids: &[DocumentId],
        deadline: Deadline,
    ) -> Result<Vec<(Option<User>, Option<SyncState>)>, StoreError> {
        let database = self.database();
        let names = ids.iter().map(|id| [user_name(database, id), sync_state_name(database, id)]);
        let names: Vec<_> = names.collect();
        let fields: Vec<&str> = User::FIELDS.into_iter().chain(SyncState::FIELDS).collect();
        let found = self.documents(names.concat(), &fields, deadline).await?;
        let now = self.clock().now();
        let read = |(id, [user, state]): (&DocumentId, &[String; 2])| {
            let user = found.get(user).map(|document| User::read(id.clone(), document));
            (user, found.get(state).and_then(|document| SyncState::from_fields(&document.fields, now)))
        };
        Ok(ids.iter().zip(&names).map(read).collect())
    }
}

impl Store {
    /// The users of whom something changed after that and by then, as `keys_updated_at` says: so many at most. Costs one
    /// read where nothing did.
    pub(crate) async fn changed_users(
        &self,
        (after, until): (Timestamp, Timestamp),
        most: i32,
        deadline: Deadline,
    ) -> Result<Vec<User>, StoreError> {
        let (changed_at, fields) = (KEYS_UPDATED_AT, &User::FIELDS);
        let newer = Newer { collection: USERS, changed_at, fields, after, until, most };
        self.newer(&newer, user_of, deadline).await
    }

    /// The deletions of the records of trouble of those of these users who have no document, each as it was read.
    pub(crate) async fn deletions_of_orphans(
        &self,
        users: &[DocumentId],
        deadline: Deadline,
    ) -> Result<Vec<Write>, StoreError> {
        let names = |user| [user_name(self.database(), user), sync_state_name(self.database(), user)];
        let names: Vec<_> = users.iter().map(names).collect();
        let found = self.documents(names.concat(), &[TENANT_ID], deadline).await?;
        let deletion = |[user, record]: &[String; 2]| match found.contains_key(user) {
            true => None,
            false => Some(delete(record, found.get(record)?.update_time?)),
        };
        Ok(names.iter().filter_map(deletion).collect())
    }
}

impl Pages<User> {
    /// The users of a range that a filter lets through.
    #[must_use]
    pub(crate) fn of_users(database: &Database, range: &IdRange, filter: &UserFilter) -> Self {
        let name = |id: &DocumentId| user_name(database, id);
        let query = Query {
            collection: USERS,
            is_group: false,
            filter: filter.to_query(),
            fields: &User::FIELDS,
            after: range.after.as_ref().map(name),
            until: range.until.as_ref().map(name),
            is_empty: range.is_empty(),
        };
        Self::new(database, query, PAGE_BUDGET, Box::new(|document| Some(user_of(document))))
    }
}

fn user_of(document: Document) -> User {
    User::read(DocumentId::of_existing(&document.name), &document)
}

impl UserFilter {
    /// The filter as part of a query; nothing for everybody.
    #[must_use]
    fn to_query(&self) -> Option<Filter> {
        filter::all(self.conditions().map(|(path, constant)| condition(path, constant)).collect())
    }
}

fn condition(path: &str, constant: &Constant) -> Filter {
    match constant {
        Constant::Null => filter::is_null(path),
        Constant::Boolean(switch) => filter::equal(path, boolean(*switch)),
        Constant::Integer(number) => filter::equal(path, integer(*number)),
        Constant::Double(number) => filter::equal(path, double(*number)),
        Constant::Text(content) => filter::equal(path, text(content)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::arbitrary::any_fields;
    use crate::firestore::values::{array, null, timestamp};
    use gcloud_sdk::google::firestore::v1::structured_query::composite_filter;
    use gcloud_sdk::google::firestore::v1::structured_query::filter::FilterType;
    use proptest::prelude::*;

    fn user(fields: Vec<(&str, Value)>) -> User {
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        User::read(DocumentId::parse("ana").expect("legal"), &Document { fields, ..Document::default() })
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

    #[test]
    fn several_conditions_must_all_hold() {
        let filter = |text| UserFilter::parse(text).expect("usable").to_query().and_then(|of| of.filter_type);
        assert_eq!(UserFilter::default().to_query(), None);
        assert!(matches!(filter("a=1"), Some(FilterType::FieldFilter(_))));
        assert!(matches!(filter("a=null"), Some(FilterType::UnaryFilter(_))));
        let Some(FilterType::CompositeFilter(both)) = filter("a=1,b=null") else { panic!("a composite") };
        assert_eq!((both.op(), both.filters.len()), (composite_filter::Operator::And, 2));
    }

    proptest! {
        #[test]
        fn whatever_a_user_writes_names_a_tenant_by_its_own_text_or_none(fields in any_fields(&User::FIELDS)) {
            let id = DocumentId::parse("ana").expect("legal");
            let user = User::read(id.clone(), &Document { fields: fields.clone(), ..Document::default() });
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
