//! Documents that are read by their names.

use crate::firestore::connection::{Store, attempt, in_time};
use crate::firestore::error::StoreError;
use crate::limits::retry::{Deadline, with_retries};
use crate::limits::slots::answer_within;
use gcloud_sdk::GoogleAuthMiddleware;
use gcloud_sdk::google::firestore::v1::batch_get_documents_request::ConsistencySelector;
use gcloud_sdk::google::firestore::v1::batch_get_documents_response::Result as Lookup;
use gcloud_sdk::google::firestore::v1::firestore_client::FirestoreClient;
use gcloud_sdk::google::firestore::v1::{BatchGetDocumentsRequest, Document, DocumentMask};
use std::collections::HashMap;
use std::pin::pin;
use tokio::time::Instant;

/// What a lookup found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// By their full names.
    pub(crate) documents: HashMap<String, Document>,
    /// The server's time.
    pub(crate) read_at: Option<gcloud_sdk::prost_types::Timestamp>,
}

impl Store {
    /// The documents of those full names that exist, with only `fields` of them.
    pub(crate) async fn documents(
        &self,
        names: Vec<String>,
        fields: &[&str],
        deadline: Deadline,
    ) -> Result<HashMap<String, Document>, StoreError> {
        Ok(self.found(names, Some(mask(fields.iter().copied())), deadline).await?.documents)
    }

    /// The same with all that Firestore says, and with whole documents unless there is a mask.
    pub(crate) async fn found(
        &self,
        names: Vec<String>,
        mask: Option<DocumentMask>,
        deadline: Deadline,
    ) -> Result<Found, StoreError> {
        self.found_at(names, mask, None, deadline).await
    }

    /// The same as it was at a time, if one is given.
    pub(super) async fn found_at(
        &self,
        names: Vec<String>,
        mask: Option<DocumentMask>,
        at: Option<gcloud_sdk::prost_types::Timestamp>,
        deadline: Deadline,
    ) -> Result<Found, StoreError> {
        if names.is_empty() {
            return Ok(Found::default());
        }
        let request = BatchGetDocumentsRequest {
            database: self.database.name(),
            documents: names,
            mask,
            consistency_selector: at.map(ConsistencySelector::ReadTime),
            ..BatchGetDocumentsRequest::default()
        };
        let clients = self.clients();
        let call = || self.look_up(clients(), request.clone(), deadline);
        with_retries(deadline, || attempt(&call)).await
    }

    async fn look_up(
        &self,
        mut client: FirestoreClient<GoogleAuthMiddleware>,
        request: BatchGetDocumentsRequest,
        deadline: Deadline,
    ) -> Result<Found, StoreError> {
        let sent = Instant::now();
        let reading = pin!(async {
            let mut found = Found::default();
            let mut answers = in_time(client.batch_get_documents(request)).await?.into_inner();
            while let Some(answer) = in_time(answers.message()).await? {
                // A document that does not exist is billed like one that does.
                self.usage.firestore_reads.add(u64::from(answer.result.is_some()));
                self.learn(sent, answer.read_time);
                found.read_at = answer.read_time.or(found.read_at);
                if let Some(Lookup::Found(document)) = answer.result {
                    found.documents.insert(document.name.clone(), document);
                }
            }
            Ok(found)
        });
        let found = answer_within(deadline.left(), &self.patience, reading).await;
        self.heed(found.unwrap_or(Err(StoreError::OutOfTime)))
    }
}

pub(super) fn mask<'a>(fields: impl IntoIterator<Item = &'a str>) -> DocumentMask {
    DocumentMask { field_paths: fields.into_iter().map(str::to_owned).collect() }
}
