//! An in-memory Firestore that speaks `google.firestore.v1` over gRPC.
//!
//! It answers as Firestore does, statuses included; the conformance test holds it against Google's emulator. Where
//! the emulator locks what a transaction reads, this one is optimistic, as Firestore's server clients know it: a
//! commit is `ABORTED` if what its transaction has read was changed. Streams (`Listen`, `Write`) and
//! `PartitionQuery` are not implemented.

mod aggregation;
mod billing;
mod clock;
mod commits;
mod database;
mod errors;
mod fields;
mod filter;
mod grpc;
mod listing;
mod names;
mod query;
mod reads;
mod store;
#[cfg(test)]
mod testing;
mod transactions;
mod transforms;
mod values;
mod writes;

use self::billing::Bill;
pub(super) use self::billing::Billed;
use self::database::State;
use self::names::{Path, full_name, parse_document};
use self::query::Query;
use bytes::Bytes;
use gcloud_sdk::google::firestore::v1::{CommitRequest, CommitResponse, Document, Write};
use http::Response;
use prost::Message;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tonic::Status;
use tonic::body::Body;

/// Where all methods live.
pub(super) const SERVICE: &str = "/google.firestore.v1.Firestore/";

/// The databases, shared by all clones.
#[derive(Clone, Debug, Default)]
pub struct Firestore {
    state: Arc<Mutex<State>>,
    bill: Arc<Bill>,
}

impl Firestore {
    /// Answers one gRPC call to `/google.firestore.v1.Firestore/<Method>`. Credentials are neither needed nor
    /// looked at.
    pub(super) fn answer(&self, path: &str, body: Bytes) -> Response<Body> {
        let bill = Arc::clone(&self.bill);
        match path.strip_prefix(SERVICE).unwrap_or_default() {
            "GetDocument" => self.unary(body, |state, request| {
                bill.get();
                state.get_document(request)
            }),
            "BatchGetDocuments" => self.streaming(body, |state, request| {
                Ok(state.batch_get_documents(request)?.inspect(move |answer| bill.batch_get(answer)))
            }),
            "ListDocuments" => self.unary(body, State::list_documents),
            "ListCollectionIds" => self.unary(body, State::list_collection_ids),
            "RunQuery" => self.streaming(body, |state, request| {
                Ok(state.run_query(request)?.inspect(move |answer| bill.query(answer)))
            }),
            "RunAggregationQuery" => self.streaming(body, State::run_aggregation_query),
            "Commit" => {
                self.unary(body, |state, request| state.commit(request).inspect(|answer| bill.commit(answer)))
            }
            "BatchWrite" => self.unary(body, |state, request| {
                state.batch_write(request).inspect(|answer| bill.batch_write(answer))
            }),
            "CreateDocument" => self.unary(body, State::create_document),
            "UpdateDocument" => self.unary(body, State::update_document),
            "DeleteDocument" => self.unary(body, State::delete_document),
            "BeginTransaction" => self.unary(body, State::begin_transaction),
            "Rollback" => self.unary(body, |state, request| state.rollback(&request)),
            _ => errors::unknown_method(path).into_http(),
        }
    }

    /// Applies writes atomically, as the `Commit` method does. `database` is `projects/{project}/databases/{id}`.
    ///
    /// # Errors
    ///
    /// As `Commit`: `INVALID_ARGUMENT`, or what a precondition that does not hold comes to.
    pub fn commit(&self, database: &str, writes: Vec<Write>) -> Result<CommitResponse, Status> {
        self.lock().commit(CommitRequest {
            database: database.to_owned(),
            writes,
            ..CommitRequest::default()
        })
    }

    /// What the calls so far would be billed as.
    pub(crate) fn billed(&self) -> Billed {
        self.bill.so_far()
    }

    /// The document of that full name, if there is one.
    pub fn document(&self, name: &str) -> Option<Document> {
        let (database, path) = parse_document(name).ok()?;
        let state = self.lock();
        let stored = state.existing(database)?.store.get(&path)?;
        Some(stored.to_document(name.to_owned(), None))
    }

    /// Every document of a database, in name order.
    pub fn documents(&self, database: &str) -> Vec<Document> {
        let everything = Query::everything(Path::root());
        let found = self
            .lock()
            .existing(database)
            .map(|database| everything.run(&database.store, None))
            .unwrap_or_default();
        found.iter().map(|found| found.stored.to_document(full_name(database, &found.path), None)).collect()
    }

    fn unary<Q, A>(
        &self,
        body: Bytes,
        method: impl FnOnce(&mut State, Q) -> Result<A, Status>,
    ) -> Response<Body>
    where
        Q: Message + Default,
        A: Message + 'static,
    {
        grpc::unary(grpc::decode(body).and_then(|request| method(&mut self.lock(), request)))
    }

    fn streaming<Q, I>(
        &self,
        body: Bytes,
        method: impl FnOnce(&mut State, Q) -> Result<I, Status>,
    ) -> Response<Body>
    where
        Q: Message + Default,
        I: Iterator<Item: Message> + Send + 'static,
    {
        grpc::streaming(grpc::decode(body).and_then(|request| method(&mut self.lock(), request)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a read leaves nothing half done, and commits check everything before they change anything.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
