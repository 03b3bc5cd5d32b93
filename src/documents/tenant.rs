//! `tenants/{tenantId}` and what is below it: whose it is, who its members are, and the account that it shows.

use crate::documents::user::user_name;
use crate::firestore::values::{string, time};
use crate::firestore::write::Precondition;
use crate::firestore::{Store, StoreError};
use crate::limits::retry::Deadline;
use crate::model::ids::{Database, DocumentId, TenantId};
use crate::model::tenancy::{
    Findings, Inquiry, Primary, Revision, TenantLookup, TenantWrite, tenant_in_question,
};
use crate::model::user::TenantClaim;
use account_reader::documents::snapshot::{AROUND_TENANT, EXTERNAL_ACCOUNT_ID, UPDATED_AT, USER_ID};
use gcloud_sdk::google::firestore::v1::Document;
use gcloud_sdk::prost_types;
use std::collections::{BTreeSet, HashMap};

/// The fields of a tenant's account document that decide, or raise a suspicion.
const FIELDS: [&str; 3] = [USER_ID, EXTERNAL_ACCOUNT_ID, UPDATED_AT];

/// Members that are read: enough to know whether there is another than a given one.
const SOME_MEMBERS: i32 = 2;

/// The field of `tenants/{tenantId}` that says who owns its account document.
pub(super) const OWNER_UID: &str = "owner_uid";

/// Full name of a tenant's account document.
#[must_use]
pub(super) fn primary_name(database: &Database, tenant: &TenantId) -> String {
    database.document_around(AROUND_TENANT, tenant.as_str())
}

pub(super) fn membership_name(database: &Database, tenant: &TenantId, user: &str) -> String {
    database.document(format_args!("tenants/{}/users/{user}", tenant.as_str()))
}

pub(super) fn tenant_name(database: &Database, tenant: &TenantId) -> String {
    database.document(format_args!("tenants/{}", tenant.as_str()))
}

impl TenantWrite {
    /// What makes the write safe.
    #[must_use]
    pub(super) fn precondition(&self) -> Precondition {
        match self {
            Self::Create(_) => Precondition::Absent,
            Self::Replace(_, revision) => Precondition::Unchanged(
                revision.map(|Revision { seconds, nanos }| prost_types::Timestamp { seconds, nanos }),
            ),
        }
    }
}

impl Store {
    /// The lookup for each of the given users, in the same order, from one `BatchGetDocuments`.
    pub(crate) async fn tenant_lookups(
        &self,
        users: &[(&str, &TenantClaim)],
        deadline: Deadline,
    ) -> Result<Vec<TenantLookup>, StoreError> {
        let questions: Vec<Option<Question>> =
            users.iter().map(|(user, claim)| Question::of(self.database(), user, claim)).collect();
        // Members of one tenant share its account document: it is asked for once.
        let names: BTreeSet<&str> = questions.iter().flatten().flat_map(Question::names).collect();
        let names = names.into_iter().map(str::to_owned).collect();
        let found = self.documents(names, &FIELDS, deadline).await?;
        Ok(questions
            .into_iter()
            .map(|question| question.map_or_else(TenantLookup::default, |q| q.answer(&found)))
            .collect())
    }

    /// What only some decisions hang on.
    pub(crate) async fn findings(
        &self,
        user: &str,
        inquiry: &Inquiry,
        deadline: Deadline,
    ) -> Result<Findings, StoreError> {
        match inquiry {
            Inquiry::OwnTenant(tenant) => {
                let name = tenant_name(self.database(), tenant);
                let (registered, members) = tokio::try_join!(
                    self.documents(vec![name.clone()], &[OWNER_UID], deadline),
                    self.some_ids(name, "users", SOME_MEMBERS, deadline),
                )?;
                let is_free = registered.is_empty() && members.iter().all(|member| member.as_str() == user);
                Ok(Findings { is_free, ..Findings::default() })
            }
            Inquiry::Owner(tenant, owner) => self.who_owns(tenant, owner.as_deref(), deadline).await,
        }
    }

    async fn who_owns(
        &self,
        tenant: &TenantId,
        owner: Option<&str>,
        deadline: Deadline,
    ) -> Result<Findings, StoreError> {
        let name = tenant_name(self.database(), tenant);
        let owner = owner.and_then(|owner| Presence::of(self.database(), tenant, owner));
        let names = owner.iter().flat_map(|owner| owner.0.clone()).chain([name.clone()]).collect();
        let mut found = self.documents(names, &[OWNER_UID], deadline).await?;
        let uid = found.get(&name).and_then(|document| document.fields.get(OWNER_UID)).and_then(string);
        let uid = uid.map(str::to_owned);
        let rightful = uid.as_deref().and_then(|uid| Presence::of(self.database(), tenant, uid));
        if let Some(Presence(names)) = rightful.as_ref().filter(|_| rightful != owner) {
            found.extend(self.documents(names.to_vec(), &[OWNER_UID], deadline).await?);
        }
        let remains = |user: &Presence| user.0.iter().all(|name| found.contains_key(name));
        Ok(Findings {
            is_free: false,
            owner_remains: owner.as_ref().is_some_and(remains),
            rightful_owner: uid.filter(|_| rightful.as_ref().is_some_and(remains)),
        })
    }
}

/// The documents that exist while a user is there and a member of a tenant.
#[derive(PartialEq, Eq)]
struct Presence([String; 2]);

impl Presence {
    /// Nobody's, where that is no user's id at all.
    fn of(database: &Database, tenant: &TenantId, user: &str) -> Option<Self> {
        let id = DocumentId::parse(user).ok()?;
        Some(Self([membership_name(database, tenant, user), user_name(database, &id)]))
    }
}

/// The documents that decide about one user's tenant.
struct Question {
    primary: String,
    /// Only for a user who claims another tenant than their own.
    membership: Option<String>,
}

impl Question {
    fn of(database: &Database, user: &str, claim: &TenantClaim) -> Option<Self> {
        let tenant = tenant_in_question(user, claim)?;
        let membership =
            matches!(claim, TenantClaim::Of(_)).then(|| membership_name(database, &tenant, user));
        Some(Self { primary: primary_name(database, &tenant), membership })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.primary.as_str()).chain(self.membership.as_deref())
    }

    fn answer(&self, found: &HashMap<String, Document>) -> TenantLookup {
        let primary = found.get(&self.primary).map(primary);
        let is_member = self.membership.as_ref().is_some_and(|name| found.contains_key(name));
        TenantLookup { is_member, primary }
    }
}

fn primary(document: &Document) -> Primary {
    let text = |field: &str| {
        let text = document.fields.get(field).and_then(string).filter(|text| !text.is_empty());
        text.map(str::to_owned)
    };
    Primary {
        owner: text(USER_ID),
        account: text(EXTERNAL_ACCOUNT_ID),
        updated_at: document.fields.get(UPDATED_AT).and_then(time),
        revision: document.update_time.map(|time| Revision { seconds: time.seconds, nanos: time.nanos }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::{Fields, integer, null, text, timestamp};
    use gcloud_sdk::google::firestore::v1::Value;
    use jiff::Timestamp;

    fn acme() -> TenantId {
        TenantId::parse("acme").expect("legal")
    }

    fn read(fields: &[(&str, Value)], update_time: Option<prost_types::Timestamp>) -> Primary {
        let fields: Fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        primary(&Document { fields, update_time, ..Document::default() })
    }

    #[test]
    fn an_account_document_says_whose_it_is_what_it_shows_and_since_when() {
        let now = Timestamp::from_second(1_767_623_400).expect("in range");
        let whole = [
            (USER_ID, text("ana")),
            (EXTERNAL_ACCOUNT_ID, text("a1")),
            (UPDATED_AT, timestamp(now)),
            ("equity", integer(1)),
        ];
        let [ana, a1] = ["ana", "a1"].map(|text| Some(text.to_owned()));
        let expected = Primary { owner: ana, account: a1, updated_at: Some(now), revision: None };
        assert_eq!(read(&whole, None), expected);
        for nothing in [text(""), integer(1), null()] {
            let fields = [USER_ID, EXTERNAL_ACCOUNT_ID, UPDATED_AT].map(|name| (name, nothing.clone()));
            assert_eq!(read(&fields, None), Primary::default(), "{nothing:?}");
        }
        assert_eq!(read(&[], None), Primary::default());
    }

    #[test]
    fn a_write_demands_the_very_revision_that_was_read() {
        for time in [(7, 0), (7, 123_456_789), (-1, -1), (i64::MAX, i32::MAX)] {
            let time = prost_types::Timestamp { seconds: time.0, nanos: time.1 };
            let write = TenantWrite::Replace(acme(), read(&[], Some(time)).revision);
            assert_eq!(write.precondition(), Precondition::Unchanged(Some(time)));
        }
        assert_eq!(TenantWrite::Replace(acme(), None).precondition(), Precondition::Unchanged(None));
        assert_eq!(TenantWrite::Create(acme()).precondition(), Precondition::Absent);
    }

    #[test]
    fn only_a_claim_asks_for_a_membership() {
        let database = Database::parse("p", "d").expect("legal");
        let names = |claim: &TenantClaim| {
            let question = Question::of(&database, "ana", claim);
            let names = question.iter().flat_map(Question::names);
            names
                .map(|name| name.rsplit_once("/documents/").expect("a path").1.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&TenantClaim::Own), ["tenants/ana/accounts/primary"]);
        let claimed = ["tenants/acme/accounts/primary", "tenants/acme/users/ana"];
        assert_eq!(names(&TenantClaim::Of(acme())), claimed);
        assert_eq!(names(&TenantClaim::Assigned(acme())), claimed[..1]);
        assert!(names(&TenantClaim::Unusable).is_empty());
    }
}
