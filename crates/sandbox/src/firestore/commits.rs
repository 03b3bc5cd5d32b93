//! The methods that write, and those that open and close transactions.

use super::database::State;
use super::errors::{document_not_found, invalid};
use super::fields::parse_mask;
use super::names::{check_collection_id, check_document_id, parse_document, parse_parent};
use super::writes::{self, Mutation};
use gcloud_sdk::google::firestore::v1::precondition::ConditionType;
use gcloud_sdk::google::firestore::v1::write::Operation;
use gcloud_sdk::google::firestore::v1::{
    BatchWriteRequest, BatchWriteResponse, BeginTransactionRequest, BeginTransactionResponse, CommitRequest,
    CommitResponse, CreateDocumentRequest, DeleteDocumentRequest, Document, DocumentMask, Precondition,
    RollbackRequest, UpdateDocumentRequest, Write,
};
use gcloud_sdk::google::rpc;
use std::collections::HashSet;
use tonic::Status;

impl State {
    /// Applies all writes or none, if what the transaction (if any) has read still holds.
    pub(super) fn commit(&mut self, request: CommitRequest) -> Result<CommitResponse, Status> {
        let mutations = parse_writes(&request.database, request.writes)?;
        let (clock, database) = self.open(&request.database)?;
        if !request.transaction.is_empty() {
            // Whatever comes of it, the transaction is over.
            let transaction = database.transactions.take(&request.transaction)?;
            transaction.check(&database.store, !mutations.is_empty())?;
        }
        writes::commit(&mut database.store, mutations, clock.tick())
    }

    /// Applies each write on its own. A write that no document could take refuses the whole request; one whose
    /// precondition does not hold has its own status in the answer.
    pub(super) fn batch_write(&mut self, request: BatchWriteRequest) -> Result<BatchWriteResponse, Status> {
        let mutations = parse_writes(&request.database, request.writes)?;
        let mut written = HashSet::with_capacity(mutations.len());
        if !mutations.iter().all(|mutation| written.insert(mutation.path())) {
            return Err(invalid("The same document cannot be written more than once in a single request."));
        }
        let (clock, database) = self.open(&request.database)?;
        let mut response = BatchWriteResponse::default();
        for mutation in mutations {
            let outcome = writes::commit(&mut database.store, vec![mutation], clock.tick());
            let (result, status) = match outcome {
                Ok(committed) => (committed.write_results.into_iter().next(), rpc::Status::default()),
                Err(refusal) => (None, status_of(&refusal)),
            };
            response.write_results.push(result.unwrap_or_default());
            response.status.push(status);
        }
        Ok(response)
    }

    pub(super) fn begin_transaction(
        &mut self,
        request: BeginTransactionRequest,
    ) -> Result<BeginTransactionResponse, Status> {
        let (clock, database) = self.open(&request.database)?;
        let transaction = database.begin(request.options, clock.now())?;
        Ok(BeginTransactionResponse { transaction })
    }

    pub(super) fn rollback(&mut self, request: &RollbackRequest) -> Result<(), Status> {
        let (_, database) = self.open(&request.database)?;
        database.transactions.rollback(&request.transaction)
    }

    pub(super) fn create_document(&mut self, request: CreateDocumentRequest) -> Result<Document, Status> {
        parse_parent(&request.parent)?;
        check_collection_id(&request.collection_id)?;
        if request.document_id.is_empty() {
            return Err(Status::unimplemented("the sandbox's Firestore does not choose document ids"));
        }
        check_document_id(&request.document_id)?;
        let mut document = request.document.unwrap_or_default();
        if !document.name.is_empty() {
            return Err(invalid("The name of a document to create must not be set."));
        }
        document.name = format!("{}/{}/{}", request.parent, request.collection_id, request.document_id);
        let absent = Precondition { condition_type: Some(ConditionType::Exists(false)) };
        self.write_document(document, None, Some(absent), request.mask.as_ref())
    }

    pub(super) fn update_document(&mut self, request: UpdateDocumentRequest) -> Result<Document, Status> {
        let document = request.document.unwrap_or_default();
        self.write_document(document, request.update_mask, request.current_document, request.mask.as_ref())
    }

    pub(super) fn delete_document(&mut self, request: DeleteDocumentRequest) -> Result<(), Status> {
        let database = parse_document(&request.name)?.0.to_owned();
        let write = Write {
            operation: Some(Operation::Delete(request.name)),
            current_document: request.current_document,
            ..Write::default()
        };
        self.commit(CommitRequest { database, writes: vec![write], ..CommitRequest::default() })?;
        Ok(())
    }

    /// Writes one document, and answers it as it is then, cut to `mask`.
    fn write_document(
        &mut self,
        document: Document,
        update_mask: Option<DocumentMask>,
        current_document: Option<Precondition>,
        mask: Option<&DocumentMask>,
    ) -> Result<Document, Status> {
        let name = document.name.clone();
        let (database, path) = parse_document(&name)?;
        let mask = parse_mask(mask)?;
        let write = Write {
            operation: Some(Operation::Update(document)),
            update_mask,
            current_document,
            ..Write::default()
        };
        let commit =
            CommitRequest { database: database.to_owned(), writes: vec![write], ..CommitRequest::default() };
        self.commit(commit)?;
        let stored = self.existing(database).and_then(|database| database.store.get(&path));
        let stored = stored.ok_or_else(|| document_not_found(&name))?;
        Ok(stored.to_document(name.clone(), mask.as_deref()))
    }
}

fn parse_writes(database: &str, writes: Vec<Write>) -> Result<Vec<Mutation>, Status> {
    let parse = |write| Mutation::parse(database, write);
    writes.into_iter().map(parse).collect()
}

fn status_of(refusal: &Status) -> rpc::Status {
    rpc::Status { code: refusal.code() as i32, message: refusal.message().to_owned(), details: Vec::new() }
}
