//! One scenario's calls to a Firestore.

use crate::outcome::{join, rank_times, show_document, show_fields, show_name, show_time, show_write_result};
use crate::wire::{to_fields, to_mask, value};
use gcloud_sdk::google::firestore::v1::batch_get_documents_response::Result as BatchGetResult;
use gcloud_sdk::google::firestore::v1::firestore_client::FirestoreClient;
use gcloud_sdk::google::firestore::v1::structured_aggregation_query::{self, Aggregation};
use gcloud_sdk::google::firestore::v1::transaction_options::Mode;
use gcloud_sdk::google::firestore::v1::value::ValueType;
use gcloud_sdk::google::firestore::v1::*;
use gcloud_sdk::prost_types::Timestamp;
use std::collections::BTreeMap;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

type Client = FirestoreClient<InterceptedService<Channel, fn(Request<()>) -> Result<Request<()>, Status>>>;

/// The emulator lets this one past its security rules.
fn as_owner(mut request: Request<()>) -> Result<Request<()>, Status> {
    request.metadata_mut().insert("authorization", MetadataValue::from_static("Bearer owner"));
    Ok(request)
}

/// A client of one database that notes the outcome of every call.
pub(crate) struct Session {
    client: Client,
    pub(crate) database: String,
    outcomes: Vec<String>,
}

impl Session {
    pub(crate) async fn open(host: &str, project: &str) -> Self {
        let endpoint = Endpoint::try_from(format!("http://{host}")).expect("a host makes a URL");
        let channel = endpoint.connect().await.expect("the server accepts");
        let client = FirestoreClient::with_interceptor(channel, as_owner as fn(_) -> _);
        Self { client, database: format!("projects/{project}/databases/(default)"), outcomes: Vec::new() }
    }

    /// The outcomes of all calls, to be compared with another session's.
    pub(crate) fn outcomes(self) -> Vec<String> {
        rank_times(&self.outcomes.join("\n")).lines().map(str::to_owned).collect()
    }

    /// The full name of the document or parent at a path; the root's for "".
    pub(crate) fn name(&self, path: &str) -> String {
        let root = format!("{}/documents", self.database);
        if path.is_empty() { root } else { format!("{root}/{path}") }
    }

    pub(crate) fn reference(&self, path: &str) -> Value {
        value(ValueType::ReferenceValue(self.name(path)))
    }

    pub(crate) fn update(&self, path: &str, fields: &[(&str, Value)]) -> Write {
        let document = Document { name: self.name(path), fields: to_fields(fields), ..Default::default() };
        Write { operation: Some(write::Operation::Update(document)), ..Default::default() }
    }

    pub(crate) fn merge(&self, path: &str, mask: &[&str], fields: &[(&str, Value)]) -> Write {
        Write { update_mask: Some(to_mask(mask)), ..self.update(path, fields) }
    }

    pub(crate) fn delete(&self, path: &str) -> Write {
        Write { operation: Some(write::Operation::Delete(self.name(path))), ..Default::default() }
    }

    pub(crate) async fn commit(&mut self, writes: impl Into<Vec<Write>>) -> Result<CommitResponse, Code> {
        self.commit_in(&[], writes).await
    }

    /// Every one of the writes is refused as invalid.
    pub(crate) async fn expect_invalid_writes(&mut self, writes: impl IntoIterator<Item = Write>) {
        for write in writes {
            let refused = self.commit([write.clone()]).await;
            assert_eq!(refused, Err(Code::InvalidArgument), "{write:?}");
        }
    }

    pub(crate) async fn commit_in(
        &mut self,
        transaction: &[u8],
        writes: impl Into<Vec<Write>>,
    ) -> Result<CommitResponse, Code> {
        let request = CommitRequest {
            database: self.database.clone(),
            writes: writes.into(),
            transaction: transaction.to_vec(),
            ..Default::default()
        };
        let answer = self.client.commit(request).await;
        self.note("commit", answer, |committed| {
            let results = join(&committed.write_results, ", ", show_write_result);
            format!("{} [{results}]", show_time(committed.commit_time))
        })
    }

    pub(crate) async fn batch_write(
        &mut self,
        writes: impl Into<Vec<Write>>,
    ) -> Result<BatchWriteResponse, Code> {
        let request = BatchWriteRequest {
            database: self.database.clone(),
            writes: writes.into(),
            ..Default::default()
        };
        let answer = self.client.batch_write(request).await;
        self.note("batch_write", answer, |written| {
            let results = join(&written.write_results, ", ", show_write_result);
            let codes: Vec<_> = written.status.iter().map(|status| status.code).collect();
            format!("[{results}] {codes:?}")
        })
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Document, Code> {
        self.get_document(path, |_| ()).await
    }

    pub(crate) async fn get_in(&mut self, transaction: &[u8], path: &str) -> Result<Document, Code> {
        use get_document_request::ConsistencySelector::Transaction;
        self.get_document(path, |request| {
            request.consistency_selector = Some(Transaction(transaction.to_vec()));
        })
        .await
    }

    pub(crate) async fn get_at(&mut self, time: Timestamp, path: &str) -> Result<Document, Code> {
        use get_document_request::ConsistencySelector::ReadTime;
        self.get_document(path, |request| {
            request.consistency_selector = Some(ReadTime(time));
        })
        .await
    }

    pub(crate) async fn get_document(
        &mut self,
        path: &str,
        change: impl FnOnce(&mut GetDocumentRequest),
    ) -> Result<Document, Code> {
        let mut request = GetDocumentRequest { name: self.name(path), ..Default::default() };
        change(&mut request);
        let answer = self.client.get_document(request).await;
        self.note("get", answer, show_document)
    }

    pub(crate) async fn create(
        &mut self,
        collection: &str,
        id: &str,
        fields: &[(&str, Value)],
    ) -> Result<Document, Code> {
        let document = Document { fields: to_fields(fields), ..Default::default() };
        let request = CreateDocumentRequest {
            parent: self.name(""),
            collection_id: collection.to_owned(),
            document_id: id.to_owned(),
            document: Some(document),
            ..Default::default()
        };
        let answer = self.client.create_document(request).await;
        self.note("create", answer, show_document)
    }

    pub(crate) async fn update_document(&mut self, request: UpdateDocumentRequest) -> Result<Document, Code> {
        let answer = self.client.update_document(request).await;
        self.note("update", answer, show_document)
    }

    pub(crate) async fn delete_document(&mut self, request: DeleteDocumentRequest) -> Result<(), Code> {
        let answer = self.client.delete_document(request).await;
        self.note("delete", answer, |()| String::new())
    }

    /// The paths found, sorted: the emulator answers in an order of its own.
    pub(crate) async fn batch_get(
        &mut self,
        paths: &[&str],
        mask: Option<&[&str]>,
    ) -> Result<Vec<String>, Code> {
        self.batch_get_documents(paths, |request| request.mask = mask.map(to_mask))
            .await
            .map(|(found, _)| found)
    }

    /// The paths found, sorted, and the transaction that was begun.
    pub(crate) async fn batch_get_documents(
        &mut self,
        paths: &[&str],
        change: impl FnOnce(&mut BatchGetDocumentsRequest),
    ) -> Result<(Vec<String>, Vec<u8>), Code> {
        let mut request = BatchGetDocumentsRequest {
            database: self.database.clone(),
            documents: paths.iter().map(|path| self.name(path)).collect(),
            ..Default::default()
        };
        change(&mut request);
        let mut answer = drain(self.client.batch_get_documents(request).await).await;
        if let Ok(answer) = &mut answer {
            answer.get_mut().sort_by_key(|response| match &response.result {
                None => String::new(),
                Some(BatchGetResult::Found(document)) => document.name.clone(),
                Some(BatchGetResult::Missing(name)) => name.clone(),
            });
        }
        let responses = self.note("batch_get", answer, |responses| {
            join(responses, "\n  ", |response| match &response.result {
                None => "transaction".to_owned(),
                Some(BatchGetResult::Found(document)) => {
                    format!("{} {}", show_time(response.read_time), show_document(document))
                }
                Some(BatchGetResult::Missing(name)) => {
                    format!("{} no {}", show_time(response.read_time), show_name(name))
                }
            })
        })?;
        let transaction =
            responses.iter().map(|response| response.transaction.clone()).find(|id| !id.is_empty());
        let found = responses.iter().filter_map(|response| match &response.result {
            Some(BatchGetResult::Found(document)) => Some(show_name(&document.name).to_owned()),
            _ => None,
        });
        Ok((found.collect(), transaction.unwrap_or_default()))
    }

    /// The paths of a query's results.
    pub(crate) async fn query(&mut self, query: StructuredQuery) -> Result<Vec<String>, Code> {
        self.run_query(query, |_| ()).await.map(|(paths, _)| paths)
    }

    /// Every one of the queries is refused as invalid.
    pub(crate) async fn expect_invalid_queries(
        &mut self,
        queries: impl IntoIterator<Item = StructuredQuery>,
    ) {
        for query in queries {
            let refused = self.query(query.clone()).await;
            assert_eq!(refused, Err(Code::InvalidArgument), "{query:?}");
        }
    }

    /// As [`Session::query`], for what lies below a document.
    pub(crate) async fn query_below(
        &mut self,
        parent: &str,
        query: StructuredQuery,
    ) -> Result<Vec<String>, Code> {
        let parent = self.name(parent);
        self.run_query(query, |request| request.parent = parent).await.map(|(paths, _)| paths)
    }

    /// As [`Session::query`], as a transaction sees it.
    pub(crate) async fn query_in(
        &mut self,
        transaction: &[u8],
        query: StructuredQuery,
    ) -> Result<Vec<String>, Code> {
        use run_query_request::ConsistencySelector::Transaction;
        self.run_query(query, |request| {
            request.consistency_selector = Some(Transaction(transaction.to_vec()));
        })
        .await
        .map(|(paths, _)| paths)
    }

    /// As [`Session::query`], as of a time.
    pub(crate) async fn query_at(
        &mut self,
        time: Timestamp,
        query: StructuredQuery,
    ) -> Result<Vec<String>, Code> {
        use run_query_request::ConsistencySelector::ReadTime;
        self.run_query(query, |request| {
            request.consistency_selector = Some(ReadTime(time));
        })
        .await
        .map(|(paths, _)| paths)
    }

    /// Begins a transaction with a query, and answers its id.
    pub(crate) async fn begin_with_query(
        &mut self,
        mode: Mode,
        query: StructuredQuery,
    ) -> Result<Vec<u8>, Code> {
        use run_query_request::ConsistencySelector::NewTransaction;
        self.run_query(query, |request| {
            let options = TransactionOptions { mode: Some(mode) };
            request.consistency_selector = Some(NewTransaction(options));
        })
        .await
        .map(|(_, transaction)| transaction)
    }

    /// The paths of a query's results, and the transaction that was begun.
    async fn run_query(
        &mut self,
        query: StructuredQuery,
        change: impl FnOnce(&mut RunQueryRequest),
    ) -> Result<(Vec<String>, Vec<u8>), Code> {
        let mut request = RunQueryRequest {
            parent: self.name(""),
            query_type: Some(run_query_request::QueryType::StructuredQuery(query)),
            ..Default::default()
        };
        change(&mut request);
        let answer = drain(self.client.run_query(request).await).await;
        let responses = self.note("query", answer, |responses| {
            join(responses, "\n  ", |response| {
                let document = response.document.as_ref().map(show_document).unwrap_or_default();
                let transaction = if response.transaction.is_empty() { "" } else { " transaction" };
                format!(
                    "{} {document}{transaction} {:?}",
                    show_time(response.read_time),
                    response.continuation_selector
                )
            })
        })?;
        let transaction =
            responses.iter().map(|response| response.transaction.clone()).find(|id| !id.is_empty());
        let found = responses.iter().filter_map(|response| response.document.as_ref());
        let paths = found.map(|document| show_name(&document.name).to_owned());
        Ok((paths.collect(), transaction.unwrap_or_default()))
    }

    pub(crate) async fn aggregate(
        &mut self,
        query: StructuredQuery,
        aggregations: impl Into<Vec<Aggregation>>,
    ) -> Result<BTreeMap<String, Value>, Code> {
        let query_type = Some(structured_aggregation_query::QueryType::StructuredQuery(query));
        let query = StructuredAggregationQuery { aggregations: aggregations.into(), query_type };
        let request = RunAggregationQueryRequest {
            parent: self.name(""),
            query_type: Some(run_aggregation_query_request::QueryType::StructuredAggregationQuery(query)),
            ..Default::default()
        };
        let answer = drain(self.client.run_aggregation_query(request).await).await;
        let responses = self.note("aggregate", answer, |responses| {
            join(responses, "\n  ", |response| {
                let result = response.result.as_ref().map(|result| show_fields(&result.aggregate_fields));
                format!("{} {}", show_time(response.read_time), result.unwrap_or_default())
            })
        })?;
        let results = responses.into_iter().filter_map(|response| response.result);
        Ok(results.flat_map(|result| result.aggregate_fields).collect())
    }

    /// The paths listed, and the token of the next page.
    pub(crate) async fn list(
        &mut self,
        collection: &str,
        change: impl FnOnce(&mut ListDocumentsRequest),
    ) -> Result<(Vec<String>, String), Code> {
        let mut request = ListDocumentsRequest {
            parent: self.name(""),
            collection_id: collection.to_owned(),
            ..Default::default()
        };
        change(&mut request);
        let answer = self.client.list_documents(request).await;
        let listed = self.note("list", answer, |listed| {
            let shown = join(&listed.documents, "\n  ", show_document);
            format!("{shown} more: {}", !listed.next_page_token.is_empty())
        })?;
        let paths = listed.documents.iter().map(|document| show_name(&document.name).to_owned()).collect();
        Ok((paths, listed.next_page_token))
    }

    /// The collections of a document, or of the root for "", and the token of the next page.
    pub(crate) async fn list_collections(
        &mut self,
        parent: &str,
        page_size: i32,
        page_token: &str,
    ) -> Result<(Vec<String>, String), Code> {
        let request = ListCollectionIdsRequest {
            parent: self.name(parent),
            page_size,
            page_token: page_token.to_owned(),
            ..Default::default()
        };
        let answer = self.client.list_collection_ids(request).await;
        let listed = self.note("list_collections", answer, |listed| {
            format!("{:?} more: {}", listed.collection_ids, !listed.next_page_token.is_empty())
        })?;
        Ok((listed.collection_ids, listed.next_page_token))
    }

    pub(crate) async fn begin(&mut self, mode: Option<Mode>) -> Result<Vec<u8>, Code> {
        let options = mode.map(|mode| TransactionOptions { mode: Some(mode) });
        let request =
            BeginTransactionRequest { database: self.database.clone(), options, ..Default::default() };
        let answer = self.client.begin_transaction(request).await;
        self.note("begin", answer, |_| String::new()).map(|begun| begun.transaction)
    }

    pub(crate) async fn rollback(&mut self, transaction: &[u8]) -> Result<(), Code> {
        let request = RollbackRequest {
            database: self.database.clone(),
            transaction: transaction.to_vec(),
            ..Default::default()
        };
        let answer = self.client.rollback(request).await;
        self.note("rollback", answer, |()| String::new())
    }

    fn note<T>(
        &mut self,
        call: &str,
        answer: Result<Response<T>, Status>,
        show: impl FnOnce(&T) -> String,
    ) -> Result<T, Code> {
        let answer = answer.map(Response::into_inner);
        let outcome = match &answer {
            Ok(answer) => show(answer),
            Err(refusal) => format!("{:?}", refusal.code()),
        };
        self.outcomes.push(format!("{call}: {outcome}"));
        answer.map_err(|refusal| refusal.code())
    }
}

/// All messages of an answer that is a stream of them.
async fn drain<T>(answer: Result<Response<Streaming<T>>, Status>) -> Result<Response<Vec<T>>, Status> {
    let mut stream = answer?.into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await? {
        messages.push(message);
    }
    Ok(Response::new(messages))
}
