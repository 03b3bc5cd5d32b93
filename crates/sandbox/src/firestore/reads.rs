//! The methods that read documents by name or by query.

use super::clock::timestamp;
use super::database::{Consistency, State};
use super::errors::{document_not_found, invalid};
use super::fields::parse_mask;
use super::names::{Path, full_name, parse_document, parse_document_in, parse_parent};
use super::query::Query;
use gcloud_sdk::google::firestore::v1::batch_get_documents_response::Result as BatchGetResult;
use gcloud_sdk::google::firestore::v1::run_query_response::ContinuationSelector;
use gcloud_sdk::google::firestore::v1::{
    BatchGetDocumentsRequest, BatchGetDocumentsResponse, Document, GetDocumentRequest, RunQueryRequest,
    RunQueryResponse, batch_get_documents_request, get_document_request, run_query_request,
};
use std::collections::HashSet;
use std::sync::Arc;
use tonic::Status;

impl State {
    pub(super) fn get_document(&mut self, request: GetDocumentRequest) -> Result<Document, Status> {
        use get_document_request::ConsistencySelector as Selector;
        let (database, path) = parse_document(&request.name)?;
        let mask = parse_mask(request.mask.as_ref())?;
        let consistency = match request.consistency_selector {
            None => Consistency::Latest,
            Some(Selector::Transaction(id)) => Consistency::InTransaction(id),
            Some(Selector::ReadTime(time)) => Consistency::At(time),
        };
        match self.view(database, consistency)?.document(&path)? {
            Some(stored) => Ok(stored.to_document(request.name, mask.as_deref())),
            None => Err(document_not_found(&request.name)),
        }
    }

    /// Answers in the order of the request; a name given twice is answered once.
    pub(super) fn batch_get_documents(
        &mut self,
        request: BatchGetDocumentsRequest,
    ) -> Result<impl Iterator<Item = BatchGetDocumentsResponse> + Send + use<>, Status> {
        use batch_get_documents_request::ConsistencySelector as Selector;
        let mask = parse_mask(request.mask.as_ref())?;
        let mut seen = HashSet::new();
        let mut paths = Vec::with_capacity(request.documents.len());
        for name in request.documents {
            let path = parse_document_in(&request.database, &name)?;
            if seen.insert(path.clone()) {
                paths.push((name, path));
            }
        }
        let consistency = match request.consistency_selector {
            None => Consistency::Latest,
            Some(Selector::Transaction(id)) => Consistency::InTransaction(id),
            Some(Selector::NewTransaction(options)) => Consistency::InNewTransaction(options),
            Some(Selector::ReadTime(time)) => Consistency::At(time),
        };
        let mut view = self.view(&request.database, consistency)?;
        let read = |(name, path): (_, Path)| Ok((name, view.document(&path)?));
        let found = paths.into_iter().map(read).collect::<Result<Vec<_>, Status>>()?;
        let read_time = Some(timestamp(view.read_time));
        let begun = view.new_transaction();
        let begun = begun.map(|transaction| BatchGetDocumentsResponse { transaction, ..Default::default() });
        Ok(begun.into_iter().chain(found.into_iter().map(move |(name, stored)| {
            let result = match stored {
                Some(stored) => BatchGetResult::Found(stored.to_document(name, mask.as_deref())),
                None => BatchGetResult::Missing(name),
            };
            BatchGetDocumentsResponse { read_time, result: Some(result), ..Default::default() }
        })))
    }

    /// The last response says that it is; without results it is the only one.
    pub(super) fn run_query(
        &mut self,
        request: RunQueryRequest,
    ) -> Result<impl Iterator<Item = RunQueryResponse> + Send + use<>, Status> {
        use run_query_request::ConsistencySelector as Selector;
        let (database, parent) = parse_parent(&request.parent)?;
        let Some(run_query_request::QueryType::StructuredQuery(query)) = request.query_type else {
            return Err(invalid("A RunQuery request has no query."));
        };
        let query = Arc::new(Query::parse(database, parent, query)?);
        let consistency = match request.consistency_selector {
            None => Consistency::Latest,
            Some(Selector::Transaction(id)) => Consistency::InTransaction(id),
            Some(Selector::NewTransaction(options)) => Consistency::InNewTransaction(options),
            Some(Selector::ReadTime(time)) => Consistency::At(time),
        };
        let mut view = self.view(database, consistency)?;
        let results = view.query(&query)?;
        let read_time = Some(timestamp(view.read_time));
        let begun =
            view.new_transaction().map(|transaction| RunQueryResponse { transaction, ..Default::default() });
        let done = Some(ContinuationSelector::Done(true));
        let nothing = RunQueryResponse { read_time, continuation_selector: done, ..Default::default() };
        let nothing = results.is_empty().then_some(nothing);
        let (database, last) = (database.to_owned(), results.len().saturating_sub(1));
        let documents = results.into_iter().enumerate().map(move |(index, found)| {
            let name = full_name(&database, &found.path);
            RunQueryResponse {
                document: Some(found.stored.to_document(name, query.projection.as_deref())),
                read_time,
                continuation_selector: done.filter(|_| index == last),
                ..Default::default()
            }
        });
        Ok(begun.into_iter().chain(documents).chain(nothing))
    }
}
