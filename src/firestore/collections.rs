//! Which collections there are below a document.

use crate::firestore::connection::{Store, attempt, in_time};
use crate::firestore::error::StoreError;
use crate::limits::retry::{Deadline, with_retries};
use futures::FutureExt;
use gcloud_sdk::GoogleAuthMiddleware;
use gcloud_sdk::google::firestore::v1::ListCollectionIdsRequest;
use gcloud_sdk::google::firestore::v1::firestore_client::FirestoreClient;

/// More are not listed: whoever has so many knows of them.
const MOST: i32 = 100;

impl Store {
    /// The ids of the collections below the document of that full name, whether it exists or not.
    pub(crate) async fn collections_below(
        &self,
        parent: String,
        deadline: Deadline,
    ) -> Result<Vec<String>, StoreError> {
        let request = ListCollectionIdsRequest { parent, page_size: MOST, ..Default::default() };
        let clients = self.clients();
        let ask = || self.list(clients(), request.clone(), deadline).map(|listed| self.heed(listed));
        with_retries(deadline, || attempt(&ask)).await
    }

    async fn list(
        &self,
        mut client: FirestoreClient<GoogleAuthMiddleware>,
        request: ListCollectionIdsRequest,
        deadline: Deadline,
    ) -> Result<Vec<String>, StoreError> {
        let asking = in_time(client.list_collection_ids(request));
        let answer =
            tokio::time::timeout(deadline.left(), asking).await.unwrap_or(Err(StoreError::OutOfTime))?;
        // Billed like a query: one read at least.
        let ids = answer.into_inner().collection_ids;
        self.usage.firestore_reads.add(ids.len().max(1) as u64);
        Ok(ids)
    }
}
