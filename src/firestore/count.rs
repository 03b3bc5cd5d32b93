//! Documents that are counted without being read.

use crate::firestore::connection::{Store, attempt};
use crate::firestore::error::StoreError;
use crate::firestore::query::Pages;
use crate::firestore::values::whole_number;
use crate::limits::retry::{Deadline, with_retries};
use futures::FutureExt;
use gcloud_sdk::GoogleAuthMiddleware;
use gcloud_sdk::google::firestore::v1::firestore_client::FirestoreClient;
use gcloud_sdk::google::firestore::v1::run_aggregation_query_request::QueryType;
use gcloud_sdk::google::firestore::v1::structured_aggregation_query::aggregation::{Count, Operator};
use gcloud_sdk::google::firestore::v1::structured_aggregation_query::{Aggregation, QueryType as Counted};
use gcloud_sdk::google::firestore::v1::{RunAggregationQueryRequest, StructuredAggregationQuery};
use gcloud_sdk::tonic::Status;

/// Documents that are counted at the price of one read.
const COUNTED_PER_READ: u64 = 1000;

/// What the count is called in the answer.
const COUNT: &str = "count";

impl<T> Pages<T> {
    /// How many documents are left to read. Billed as one read for each [`COUNTED_PER_READ`] of them.
    pub(crate) async fn count(&self, store: &Store, deadline: Deadline) -> Result<u64, StoreError> {
        let request = self.counting();
        let clients = store.clients();
        let ask = || ask_for_count(clients(), request.clone(), deadline).map(|count| store.heed(count));
        let counted = with_retries(deadline, || attempt(&ask)).await?;
        store.usage.firestore_reads.add(counted.div_ceil(COUNTED_PER_READ).max(1));
        Ok(counted)
    }

    fn counting(&self) -> RunAggregationQueryRequest {
        let (parent, query) = self.rest();
        let count = Aggregation { alias: COUNT.into(), operator: Some(Operator::Count(Count::default())) };
        let counting = StructuredAggregationQuery {
            aggregations: vec![count],
            query_type: Some(Counted::StructuredQuery(query)),
        };
        RunAggregationQueryRequest {
            parent: parent.to_owned(),
            query_type: Some(QueryType::StructuredAggregationQuery(counting)),
            ..RunAggregationQueryRequest::default()
        }
    }
}

async fn ask_for_count(
    mut client: FirestoreClient<GoogleAuthMiddleware>,
    request: RunAggregationQueryRequest,
    deadline: Deadline,
) -> Result<u64, StoreError> {
    let asking = async {
        // One answer, which takes as long as the counting does.
        let mut answers = client.run_aggregation_query(request).await?.into_inner();
        let result = answers.message().await?.and_then(|answer| answer.result).unwrap_or_default();
        let count = result.aggregate_fields.get(COUNT).and_then(whole_number);
        let count = count.and_then(|count| u64::try_from(count).ok());
        count.ok_or_else(|| Status::unknown("the answer has no count").into())
    };
    tokio::time::timeout(deadline.left(), asking).await.unwrap_or(Err(StoreError::OutOfTime))
}
