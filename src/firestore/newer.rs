//! Documents that have changed since a time, by a field of theirs that says when.

use crate::firestore::connection::{Store, attempt, in_time};
use crate::firestore::error::StoreError;
use crate::firestore::filter::{self, field};
use crate::firestore::values::timestamp;
use crate::limits::retry::{Deadline, with_retries};
use futures::FutureExt;
use gcloud_sdk::GoogleAuthMiddleware;
use gcloud_sdk::google::firestore::v1::firestore_client::FirestoreClient;
use gcloud_sdk::google::firestore::v1::run_query_request::QueryType;
use gcloud_sdk::google::firestore::v1::structured_query::{CollectionSelector, Direction, Order, Projection};
use gcloud_sdk::google::firestore::v1::{Document, RunQueryRequest, StructuredQuery};
use jiff::Timestamp;
use tokio::time::Instant;

/// Documents of a collection directly below the database's root, by a field that has an automatic index.
pub(crate) struct Newer {
    /// The collection's id.
    pub(crate) collection: &'static str,
    /// The field that says when.
    pub(crate) changed_at: &'static str,
    /// The fields of them that are needed.
    pub(crate) fields: &'static [&'static str],
    /// Only those that changed after that.
    pub(crate) after: Timestamp,
    /// Only those that had changed by then.
    pub(crate) until: Timestamp,
    /// So many, those that changed first.
    pub(crate) most: i32,
}

impl Newer {
    fn to_structured(&self) -> StructuredQuery {
        let after = filter::greater(self.changed_at, timestamp(self.after));
        let until = filter::at_most(self.changed_at, timestamp(self.until));
        let order = Order { field: Some(field(self.changed_at)), direction: Direction::Ascending.into() };
        let collection_id = self.collection.into();
        StructuredQuery {
            select: Some(Projection { fields: self.fields.iter().copied().map(field).collect() }),
            from: vec![CollectionSelector { collection_id, all_descendants: false }],
            r#where: filter::all(vec![after, until]),
            order_by: vec![order],
            limit: Some(self.most),
            ..StructuredQuery::default()
        }
    }
}

impl Store {
    /// What is made of each of those documents.
    pub(crate) async fn newer<T>(
        &self,
        newer: &Newer,
        reduce: impl Fn(Document) -> T,
        deadline: Deadline,
    ) -> Result<Vec<T>, StoreError> {
        let query_type = Some(QueryType::StructuredQuery(newer.to_structured()));
        let parent = format!("{}/documents", self.database.name());
        let request = RunQueryRequest { parent, query_type, ..RunQueryRequest::default() };
        let clients = self.clients();
        let call =
            || self.ask_newer(clients(), request.clone(), &reduce, deadline).map(|asked| self.heed(asked));
        with_retries(deadline, || attempt(&call)).await
    }

    async fn ask_newer<T>(
        &self,
        mut client: FirestoreClient<GoogleAuthMiddleware>,
        request: RunQueryRequest,
        reduce: impl Fn(Document) -> T,
        deadline: Deadline,
    ) -> Result<Vec<T>, StoreError> {
        let sent = Instant::now();
        let reading = async {
            let mut answers = in_time(client.run_query(request)).await?.into_inner();
            let mut found = Vec::new();
            while let Some(answer) = in_time(answers.message()).await? {
                self.learn(sent, answer.read_time);
                self.usage.firestore_reads.add(u64::from(answer.document.is_some()));
                found.extend(answer.document.map(&reduce));
            }
            // An empty answer is billed as one read.
            self.usage.firestore_reads.add(u64::from(found.is_empty()));
            Ok(found)
        };
        tokio::time::timeout(deadline.left(), reading).await.unwrap_or(Err(StoreError::OutOfTime))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gcloud_sdk::google::firestore::v1::structured_query::composite_filter::Operator;
    use gcloud_sdk::google::firestore::v1::structured_query::filter::FilterType;

    #[test]
    fn one_field_decides_and_orders_so_that_its_own_index_does() {
        let (after, until) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
        let newer = Newer { collection: "users", changed_at: "at", fields: &["a"], after, until, most: 7 };
        let query = newer.to_structured();
        let Some(FilterType::CompositeFilter(both)) = query.r#where.and_then(|all| all.filter_type) else {
            panic!("two conditions")
        };
        let expected = [filter::greater("at", timestamp(after)), filter::at_most("at", timestamp(until))];
        assert_eq!((both.op(), both.filters), (Operator::And, expected.to_vec()));
        assert_eq!(query.order_by.len(), 1);
        assert_eq!(query.order_by[0].field, Some(field("at")));
        assert_eq!(query.limit, Some(7));
    }
}
