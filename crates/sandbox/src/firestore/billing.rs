//! What Firestore would bill: documents read and written, by the methods that a pulse or its peers use.

use gcloud_sdk::google::firestore::v1::{
    BatchGetDocumentsResponse, BatchWriteResponse, CommitResponse, RunQueryResponse,
};
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// The documents counted so far.
#[derive(Debug, Default)]
pub(super) struct Bill {
    read: AtomicU64,
    written: AtomicU64,
}

/// Documents that were read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Billed {
    /// Documents read; a missing document and a query without results cost one each.
    pub(crate) read: u64,
    /// Writes that were applied.
    pub(crate) written: u64,
}

impl Bill {
    pub(super) fn so_far(&self) -> Billed {
        Billed { read: self.read.load(Ordering::Relaxed), written: self.written.load(Ordering::Relaxed) }
    }

    pub(super) fn get(&self) {
        self.read.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn batch_get(&self, answer: &BatchGetDocumentsResponse) {
        self.read.fetch_add(answer.result.is_some().into(), Ordering::Relaxed);
    }

    /// Only the answer that tells of a new transaction is about no document.
    pub(super) fn query(&self, answer: &RunQueryResponse) {
        let is_read = answer.document.is_some() || answer.transaction.is_empty();
        self.read.fetch_add(is_read.into(), Ordering::Relaxed);
    }

    pub(super) fn commit(&self, answer: &CommitResponse) {
        self.written.fetch_add(answer.write_results.len() as u64, Ordering::Relaxed);
    }

    pub(super) fn batch_write(&self, answer: &BatchWriteResponse) {
        let applied = answer.status.iter().filter(|status| status.code == 0).count();
        self.written.fetch_add(applied as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gcloud_sdk::google::firestore::v1::batch_get_documents_response::Result as BatchGetResult;
    use gcloud_sdk::google::firestore::v1::{Document, WriteResult};
    use gcloud_sdk::google::rpc;

    #[test]
    fn a_missing_document_and_an_empty_query_cost_one_read_each() {
        let bill = Bill::default();
        let missing = BatchGetResult::Missing("n".into());
        bill.batch_get(&BatchGetDocumentsResponse { result: Some(missing), ..Default::default() });
        bill.query(&RunQueryResponse::default());
        bill.query(&RunQueryResponse { document: Some(Document::default()), ..Default::default() });
        assert_eq!(bill.so_far(), Billed { read: 3, written: 0 });
    }

    #[test]
    fn a_new_transaction_costs_nothing() {
        let bill = Bill::default();
        bill.batch_get(&BatchGetDocumentsResponse { transaction: vec![1], ..Default::default() });
        bill.query(&RunQueryResponse { transaction: vec![1], ..Default::default() });
        assert_eq!(bill.so_far(), Billed::default());
    }

    #[test]
    fn only_applied_writes_cost() {
        let bill = Bill::default();
        bill.commit(&CommitResponse { write_results: vec![WriteResult::default(); 2], ..Default::default() });
        let refused = rpc::Status { code: 5, ..rpc::Status::default() };
        let status = vec![rpc::Status::default(), refused];
        bill.batch_write(&BatchWriteResponse { status, ..Default::default() });
        assert_eq!(bill.so_far(), Billed { read: 0, written: 3 });
    }
}
