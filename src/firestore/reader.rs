//! A client that can only read: whole documents, chunk by chunk, as they are or as they were at a time.

use crate::firestore::connection::{Store, attempt, in_time};
use crate::firestore::error::StoreError;
use crate::firestore::filter::field;
use crate::firestore::lookup::{Found, mask};
use crate::firestore::values::{reference, wire_time};
use crate::limits::retry::{Deadline, with_retries};
use crate::model::ids::Database;
use gcloud_sdk::GoogleAuthMiddleware;
use gcloud_sdk::google::firestore::v1::firestore_client::FirestoreClient;
use gcloud_sdk::google::firestore::v1::run_query_request::{ConsistencySelector, QueryType};
use gcloud_sdk::google::firestore::v1::structured_query::{CollectionSelector, Direction, Order, Projection};
use gcloud_sdk::google::firestore::v1::{Cursor, Document, RunQueryRequest, StructuredQuery};
use gcloud_sdk::prost::Message;
use jiff::Timestamp;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Documents of one chunk, at most.
const CHUNK_DOCUMENTS: usize = 300;

/// Bytes after which a chunk is full: documents may have 1 MiB each.
const CHUNK_BYTES: usize = 2 << 20;

/// For one chunk, all tries together.
const CHUNK_BUDGET: Duration = Duration::from_secs(60);

/// For documents that are looked up by name, all tries together.
const LOOKUP_BUDGET: Duration = Duration::from_secs(30);

/// Documents of one lookup: a page of whole ones must not take more memory than a chunk.
const LOOKUP_DOCUMENTS: usize = 300;

/// What is read of a document of which only is asked whether there is one. It need not have it.
const ANY_FIELD: &str = "uid";

/// Documents of a collection, in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Collection<'a> {
    /// The path of the document that it is below; empty for the database's root.
    pub(crate) parent: &'a str,
    /// Its id.
    pub(crate) id: &'a str,
    /// Whether it is looked for at any depth below the parent.
    pub(crate) is_group: bool,
    /// The fields of them that are read; all without a list.
    pub(crate) fields: Option<&'a [&'a str]>,
}

/// The next documents of a collection.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// In the order of their names.
    pub(crate) documents: Vec<Document>,
    /// Whether there are no more.
    pub(crate) is_last: bool,
}

/// Reads a database. There is no way from it to a commit.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    store: Arc<Store>,
    /// The time that is read, if not the present.
    at: Option<Timestamp>,
}

impl Reader {
    /// Reads the present.
    #[must_use]
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, at: None }
    }

    /// Reads what was at a time, up to an hour ago.
    #[must_use]
    pub(crate) fn at(&self, time: Timestamp) -> Self {
        Self { at: Some(time), ..self.clone() }
    }

    /// The database that is read.
    #[must_use]
    pub(crate) fn database(&self) -> &Database {
        self.store.database()
    }

    /// How late it is to Firestore, by reading a document of that path.
    pub(crate) async fn time(&self, path: &str) -> Result<Option<Timestamp>, StoreError> {
        let names = vec![self.database().document(format_args!("{path}"))];
        let found = self.store.found(names, None, Deadline::after(LOOKUP_BUDGET)).await?;
        Ok(found.read_at.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok()))
    }

    /// The documents of those full names that exist.
    pub(crate) async fn found(&self, names: &[String]) -> Result<Found, StoreError> {
        let mut all = Found::default();
        for names in names.chunks(LOOKUP_DOCUMENTS) {
            let deadline = Deadline::after(LOOKUP_BUDGET);
            let found = self.store.found_at(names.to_vec(), None, self.at.map(wire_time), deadline).await?;
            all.documents.extend(found.documents);
            all.read_at = found.read_at.or(all.read_at);
        }
        Ok(all)
    }

    /// The full names of those of them that exist.
    pub(crate) async fn existing(&self, names: &[String]) -> Result<HashSet<String>, StoreError> {
        let mut all = HashSet::new();
        for names in names.chunks(LOOKUP_DOCUMENTS) {
            let (mask, at) = (Some(mask([ANY_FIELD])), self.at.map(wire_time));
            let found = self.store.found_at(names.to_vec(), mask, at, Deadline::after(LOOKUP_BUDGET)).await?;
            all.extend(found.documents.into_keys());
        }
        Ok(all)
    }

    /// The next documents of a collection, behind the one of that full name; `most` of them at most.
    ///
    /// What has arrived when the connection breaks is a chunk too.
    pub(crate) async fn chunk(
        &self,
        collection: &Collection<'_>,
        after: Option<&str>,
        most: Option<usize>,
    ) -> Result<Chunk, StoreError> {
        let deadline = Deadline::after(CHUNK_BUDGET);
        let limit = most.unwrap_or(CHUNK_DOCUMENTS).min(CHUNK_DOCUMENTS);
        let request = self.request(collection, after, limit);
        let (clients, arrived) = (self.store.clients(), Mutex::new(Arrived::default()));
        let read = || async {
            let chunk = self.read(clients(), request.clone(), &arrived, deadline).await;
            self.store.heed(chunk)
        };
        let ended = with_retries(deadline, || async {
            match attempt(&read).await {
                // The rest is asked for by name.
                Err(_) if lock(&arrived).is_begun() => Ok(()),
                other => other,
            }
        });
        ended.await?;
        let arrived = arrived.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.store.usage.firestore_reads.add(arrived.documents.len().max(1) as u64);
        Ok(Chunk {
            is_last: arrived.is_whole && arrived.documents.len() < limit,
            documents: arrived.documents,
        })
    }

    fn request(&self, collection: &Collection<'_>, after: Option<&str>, limit: usize) -> RunQueryRequest {
        let Collection { parent, id, is_group, fields } = *collection;
        let cursor = |name: &str| Cursor { values: vec![reference(name.to_owned())], before: false };
        let select = fields
            .map(|names| Projection { fields: names.iter().map(|name| field(name)).collect::<Vec<_>>() });
        let query = StructuredQuery {
            select,
            from: vec![CollectionSelector { collection_id: id.into(), all_descendants: is_group }],
            order_by: vec![Order { field: Some(field("__name__")), direction: Direction::Ascending.into() }],
            start_at: after.map(cursor),
            limit: i32::try_from(limit).ok(),
            ..StructuredQuery::default()
        };
        let root = format!("{}/documents", self.database().name());
        RunQueryRequest {
            parent: if parent.is_empty() { root } else { format!("{root}/{parent}") },
            query_type: Some(QueryType::StructuredQuery(query)),
            consistency_selector: self.at.map(|at| ConsistencySelector::ReadTime(wire_time(at))),
            ..RunQueryRequest::default()
        }
    }

    async fn read(
        &self,
        mut client: FirestoreClient<GoogleAuthMiddleware>,
        request: RunQueryRequest,
        arrived: &Mutex<Arrived>,
        deadline: Deadline,
    ) -> Result<(), StoreError> {
        let reading = async {
            let mut answers = in_time(client.run_query(request)).await?.into_inner();
            while let Some(answer) = in_time(answers.message()).await? {
                if lock(arrived).take(answer.document) {
                    return Ok(());
                }
            }
            lock(arrived).is_whole = true;
            Ok(())
        };
        tokio::time::timeout(deadline.left(), reading).await.unwrap_or(Err(StoreError::OutOfTime))
    }
}

/// What has arrived of a chunk.
#[derive(Debug, Default)]
struct Arrived {
    documents: Vec<Document>,
    bytes: usize,
    is_whole: bool,
}

impl Arrived {
    fn is_begun(&self) -> bool {
        !self.documents.is_empty()
    }

    /// Whether that is enough.
    fn take(&mut self, document: Option<Document>) -> bool {
        self.bytes += document.as_ref().map_or(0, Message::encoded_len);
        self.documents.extend(document);
        self.bytes >= CHUNK_BYTES
    }
}

fn lock(arrived: &Mutex<Arrived>) -> MutexGuard<'_, Arrived> {
    // Whatever panics while it is locked leaves documents that are whole.
    arrived.lock().unwrap_or_else(PoisonError::into_inner)
}
