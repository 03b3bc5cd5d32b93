//! What Firestore knows about users and their tenants.

use super::{Store, StoreError};
use crate::ids::{Database, TenantId};
use crate::retry::Deadline;
use crate::store::values::string;
use crate::tenancy::{Primary, TenantFacts, tenant_in_question};
use crate::user::TenantClaim;
use gcloud_sdk::google::firestore::v1::Document;
use std::collections::{BTreeSet, HashMap};

/// Full name of a tenant's account document.
#[must_use]
pub fn primary_name(database: &Database, tenant: &TenantId) -> String {
    database.document(format_args!("tenants/{}/accounts/primary", tenant.as_str()))
}

fn membership_name(database: &Database, tenant: &TenantId, user: &str) -> String {
    database.document(format_args!("tenants/{}/users/{user}", tenant.as_str()))
}

impl Store {
    /// The facts for each of the given users, in the same order, from one `BatchGetDocuments`.
    pub async fn tenant_facts(
        &self,
        users: &[(&str, &TenantClaim)],
        deadline: Deadline,
    ) -> Result<Vec<TenantFacts>, StoreError> {
        let questions: Vec<Option<Question>> =
            users.iter().map(|(user, claim)| Question::of(&self.database, user, claim)).collect();
        // Members of one tenant share its account document: it is asked for once.
        let names: BTreeSet<&str> = questions.iter().flatten().flat_map(Question::names).collect();
        let names = names.into_iter().map(str::to_owned).collect();
        let found = self.documents(names, &["user_id"], deadline).await?;
        Ok(questions
            .into_iter()
            .map(|question| question.map_or_else(TenantFacts::default, |q| q.answer(&found)))
            .collect())
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

    fn answer(&self, found: &HashMap<String, Document>) -> TenantFacts {
        let primary = found.get(&self.primary).map(|document| Primary {
            owner: document
                .fields
                .get("user_id")
                .and_then(string)
                .filter(|owner| !owner.is_empty())
                .map(str::to_owned),
            update_time: document.update_time,
        });
        let is_member = self.membership.as_ref().is_some_and(|name| found.contains_key(name));
        TenantFacts { is_member, primary }
    }
}
