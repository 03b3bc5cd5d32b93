//! One scenario's calls to a Firestore, and their outcomes in a form that two Firestores can be compared in.

use std::collections::{BTreeMap, BTreeSet};

use gcloud_sdk::google::firestore::v1::batch_get_documents_response::Result as BatchGetResult;
use gcloud_sdk::google::firestore::v1::firestore_client::FirestoreClient;
use gcloud_sdk::google::firestore::v1::structured_aggregation_query::{self, Aggregation};
use gcloud_sdk::google::firestore::v1::value::ValueType;
use gcloud_sdk::google::firestore::v1::*;
use prost_types::Timestamp;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

type Client = FirestoreClient<InterceptedService<Channel, fn(Request<()>) -> Result<Request<()>, Status>>>;

/// The emulator lets this one past its security rules.
fn as_owner(mut request: Request<()>) -> Result<Request<()>, Status> {
    request
        .metadata_mut()
        .insert("authorization", MetadataValue::from_static("Bearer owner"));
    Ok(request)
}

/// A client of one database that notes the outcome of every call.
pub struct Session {
    client: Client,
    pub database: String,
    outcomes: Vec<String>,
}

impl Session {
    pub async fn open(host: &str, project: &str) -> Self {
        let endpoint = Endpoint::try_from(format!("http://{host}")).expect("a host makes a URL");
        let channel = endpoint.connect().await.expect("the server accepts");
        let client = FirestoreClient::with_interceptor(channel, as_owner as fn(_) -> _);
        Self {
            client,
            database: format!("projects/{project}/databases/(default)"),
            outcomes: Vec::new(),
        }
    }

    /// The outcomes so far. Server times are replaced by their rank among all server times: which of them are
    /// equal, and which is earlier, is compared; when the scenario ran is not.
    pub fn outcomes(self) -> Vec<String> {
        let text = self.outcomes.join("\n");
        let times: BTreeSet<&str> = text.split('@').skip(1).step_by(2).collect();
        let ranks: BTreeMap<_, _> = times
            .into_iter()
            .enumerate()
            .map(|(rank, time)| (time, rank))
            .collect();
        let ranked = text
            .split('@')
            .enumerate()
            .map(|(index, part)| match ranks.get(part) {
                Some(rank) if index % 2 == 1 => format!("t{rank}"),
                _ => part.to_owned(),
            });
        ranked.collect::<String>().lines().map(str::to_owned).collect()
    }

    /// The full name of the document or parent at a path; the root's for "".
    pub fn name(&self, path: &str) -> String {
        let root = format!("{}/documents", self.database);
        if path.is_empty() {
            root
        } else {
            format!("{root}/{path}")
        }
    }

    pub fn reference(&self, path: &str) -> Value {
        value(ValueType::ReferenceValue(self.name(path)))
    }

    pub fn update(&self, path: &str, fields: &[(&str, Value)]) -> Write {
        let document = Document {
            name: self.name(path),
            fields: to_fields(fields),
            ..Default::default()
        };
        Write {
            operation: Some(write::Operation::Update(document)),
            ..Default::default()
        }
    }

    pub fn merge(&self, path: &str, mask: &[&str], fields: &[(&str, Value)]) -> Write {
        Write {
            update_mask: Some(to_mask(mask)),
            ..self.update(path, fields)
        }
    }

    pub fn delete(&self, path: &str) -> Write {
        Write {
            operation: Some(write::Operation::Delete(self.name(path))),
            ..Default::default()
        }
    }

    pub async fn commit(&mut self, writes: impl Into<Vec<Write>>) -> Result<CommitResponse, Code> {
        self.commit_in(Vec::new(), writes).await
    }

    pub async fn commit_in(
        &mut self,
        transaction: Vec<u8>,
        writes: impl Into<Vec<Write>>,
    ) -> Result<CommitResponse, Code> {
        let request = CommitRequest {
            database: self.database.clone(),
            writes: writes.into(),
            transaction,
            ..Default::default()
        };
        let answer = self.client.commit(request).await.map(tonic::Response::into_inner);
        self.note("commit", answer, |committed| {
            let results = committed
                .write_results
                .iter()
                .map(show_write_result)
                .collect::<Vec<_>>()
                .join(", ");
            format!("{} [{results}]", show_time(committed.commit_time))
        })
    }

    pub async fn batch_write(&mut self, writes: impl Into<Vec<Write>>) -> Result<BatchWriteResponse, Code> {
        let request = BatchWriteRequest {
            database: self.database.clone(),
            writes: writes.into(),
            ..Default::default()
        };
        let answer = self
            .client
            .batch_write(request)
            .await
            .map(tonic::Response::into_inner);
        self.note("batch_write", answer, |written| {
            let results = written
                .write_results
                .iter()
                .map(show_write_result)
                .collect::<Vec<_>>()
                .join(", ");
            let codes: Vec<_> = written.status.iter().map(|status| status.code).collect();
            format!("[{results}] {codes:?}")
        })
    }

    pub async fn get(&mut self, path: &str) -> Result<Document, Code> {
        let name = self.name(path);
        self.get_document(GetDocumentRequest {
            name,
            ..Default::default()
        })
        .await
    }

    pub async fn get_document(&mut self, request: GetDocumentRequest) -> Result<Document, Code> {
        let answer = self
            .client
            .get_document(request)
            .await
            .map(tonic::Response::into_inner);
        self.note("get", answer, show_document)
    }

    pub async fn create(
        &mut self,
        collection: &str,
        id: &str,
        fields: &[(&str, Value)],
    ) -> Result<Document, Code> {
        let document = Document {
            fields: to_fields(fields),
            ..Default::default()
        };
        let request = CreateDocumentRequest {
            parent: self.name(""),
            collection_id: collection.to_owned(),
            document_id: id.to_owned(),
            document: Some(document),
            ..Default::default()
        };
        let answer = self
            .client
            .create_document(request)
            .await
            .map(tonic::Response::into_inner);
        self.note("create", answer, show_document)
    }

    pub async fn update_document(&mut self, request: UpdateDocumentRequest) -> Result<Document, Code> {
        let answer = self
            .client
            .update_document(request)
            .await
            .map(tonic::Response::into_inner);
        self.note("update", answer, show_document)
    }

    pub async fn delete_document(&mut self, request: DeleteDocumentRequest) -> Result<(), Code> {
        let answer = self
            .client
            .delete_document(request)
            .await
            .map(tonic::Response::into_inner);
        self.note("delete", answer, |()| String::new())
    }

    /// The ids found, in the order of the paths.
    pub async fn batch_get(&mut self, paths: &[&str], mask: Option<&[&str]>) -> Result<Vec<String>, Code> {
        let request = BatchGetDocumentsRequest {
            database: self.database.clone(),
            documents: paths.iter().map(|path| self.name(path)).collect(),
            mask: mask.map(to_mask),
            ..Default::default()
        };
        self.batch_get_documents(request).await.map(|(found, _)| found)
    }

    /// The names found, and the transaction that was begun.
    pub async fn batch_get_documents(
        &mut self,
        request: BatchGetDocumentsRequest,
    ) -> Result<(Vec<String>, Vec<u8>), Code> {
        let answer = match self.client.batch_get_documents(request).await {
            Ok(stream) => drain(stream.into_inner()).await,
            Err(refusal) => Err(refusal),
        };
        // The emulator answers in an order of its own.
        let answer = answer.map(|mut responses| {
            responses.sort_by_key(|response| match &response.result {
                None => String::new(),
                Some(BatchGetResult::Found(document)) => document.name.clone(),
                Some(BatchGetResult::Missing(name)) => name.clone(),
            });
            responses
        });
        let responses = self.note("batch_get", answer, |responses| {
            let shown = responses.iter().map(|response| match &response.result {
                None => "transaction".to_owned(),
                Some(BatchGetResult::Found(document)) => {
                    format!("{} {}", show_time(response.read_time), show_document(document))
                }
                Some(BatchGetResult::Missing(name)) => {
                    format!("{} no {}", show_time(response.read_time), show_name(name))
                }
            });
            shown.collect::<Vec<_>>().join("\n  ")
        })?;
        let transaction = responses
            .iter()
            .map(|response| response.transaction.clone())
            .find(|id| !id.is_empty());
        let found = responses.iter().filter_map(|response| match &response.result {
            Some(BatchGetResult::Found(document)) => Some(show_name(&document.name).to_owned()),
            _ => None,
        });
        Ok((found.collect(), transaction.unwrap_or_default()))
    }

    /// The paths of a query's results.
    pub async fn query(&mut self, query: StructuredQuery) -> Result<Vec<String>, Code> {
        self.query_below("", query).await
    }

    pub async fn query_below(&mut self, parent: &str, query: StructuredQuery) -> Result<Vec<String>, Code> {
        let parent = self.name(parent);
        self.run_query(query, |request| request.parent = parent)
            .await
            .map(|(paths, _)| paths)
    }

    /// The paths of a query's results, and the transaction that was begun.
    pub async fn run_query(
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
        let answer = match self.client.run_query(request).await {
            Ok(stream) => drain(stream.into_inner()).await,
            Err(refusal) => Err(refusal),
        };
        let responses = self.note("query", answer, |responses| {
            let shown = responses.iter().map(|response| {
                let document = response.document.as_ref().map(show_document).unwrap_or_default();
                let transaction = if response.transaction.is_empty() {
                    ""
                } else {
                    " transaction"
                };
                format!(
                    "{} {document}{transaction} {:?}",
                    show_time(response.read_time),
                    response.continuation_selector
                )
            });
            shown.collect::<Vec<_>>().join("\n  ")
        })?;
        let transaction = responses
            .iter()
            .map(|response| response.transaction.clone())
            .find(|id| !id.is_empty());
        let found = responses.iter().filter_map(|response| response.document.as_ref());
        Ok((
            found
                .map(|document| show_name(&document.name).to_owned())
                .collect(),
            transaction.unwrap_or_default(),
        ))
    }

    pub async fn aggregate(
        &mut self,
        query: StructuredQuery,
        aggregations: impl Into<Vec<Aggregation>>,
    ) -> Result<BTreeMap<String, Value>, Code> {
        let query_type = Some(structured_aggregation_query::QueryType::StructuredQuery(query));
        let query = StructuredAggregationQuery {
            aggregations: aggregations.into(),
            query_type,
        };
        let request = RunAggregationQueryRequest {
            parent: self.name(""),
            query_type: Some(run_aggregation_query_request::QueryType::StructuredAggregationQuery(query)),
            ..Default::default()
        };
        let answer = match self.client.run_aggregation_query(request).await {
            Ok(stream) => drain(stream.into_inner()).await,
            Err(refusal) => Err(refusal),
        };
        let responses = self.note("aggregate", answer, |responses| {
            let shown = responses.iter().map(|response| {
                let result = response
                    .result
                    .as_ref()
                    .map(|result| show_fields(&result.aggregate_fields));
                format!("{} {}", show_time(response.read_time), result.unwrap_or_default())
            });
            shown.collect::<Vec<_>>().join("\n  ")
        })?;
        Ok(responses
            .into_iter()
            .filter_map(|response| response.result)
            .flat_map(|result| result.aggregate_fields)
            .collect())
    }

    /// The paths listed, and the token of the next page.
    pub async fn list(
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
        let answer = self
            .client
            .list_documents(request)
            .await
            .map(tonic::Response::into_inner);
        let listed = self.note("list", answer, |listed| {
            let shown = listed
                .documents
                .iter()
                .map(show_document)
                .collect::<Vec<_>>()
                .join("\n  ");
            format!("{shown} more: {}", !listed.next_page_token.is_empty())
        })?;
        let paths = listed
            .documents
            .iter()
            .map(|document| show_name(&document.name).to_owned())
            .collect();
        Ok((paths, listed.next_page_token))
    }

    /// The collections of a document, or of the root for "", and the token of the next page.
    pub async fn list_collections(
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
        let answer = self
            .client
            .list_collection_ids(request)
            .await
            .map(tonic::Response::into_inner);
        let listed = self.note("list_collections", answer, |listed| {
            format!(
                "{:?} more: {}",
                listed.collection_ids,
                !listed.next_page_token.is_empty()
            )
        })?;
        Ok((listed.collection_ids, listed.next_page_token))
    }

    pub async fn begin(&mut self, mode: Option<transaction_options::Mode>) -> Result<Vec<u8>, Code> {
        let options = mode.map(|mode| TransactionOptions { mode: Some(mode) });
        let request = BeginTransactionRequest {
            database: self.database.clone(),
            options,
            ..Default::default()
        };
        let answer = self
            .client
            .begin_transaction(request)
            .await
            .map(tonic::Response::into_inner);
        self.note("begin", answer, |_| String::new())
            .map(|begun| begun.transaction)
    }

    pub async fn rollback(&mut self, transaction: Vec<u8>) -> Result<(), Code> {
        let request = RollbackRequest {
            database: self.database.clone(),
            transaction,
            ..Default::default()
        };
        let answer = self
            .client
            .rollback(request)
            .await
            .map(tonic::Response::into_inner);
        self.note("rollback", answer, |()| String::new())
    }

    fn note<T>(
        &mut self,
        call: &str,
        answer: Result<T, Status>,
        show: impl FnOnce(&T) -> String,
    ) -> Result<T, Code> {
        let outcome = match &answer {
            Ok(answer) => show(answer),
            Err(refusal) => format!("{:?}", refusal.code()),
        };
        self.outcomes.push(format!("{call}: {outcome}"));
        answer.map_err(|refusal| refusal.code())
    }
}

async fn drain<T>(mut stream: tonic::Streaming<T>) -> Result<Vec<T>, Status> {
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await? {
        messages.push(message);
    }
    Ok(messages)
}

pub fn to_fields(fields: &[(&str, Value)]) -> std::collections::HashMap<String, Value> {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

pub fn to_mask(paths: &[&str]) -> DocumentMask {
    DocumentMask {
        field_paths: paths.iter().map(|path| (*path).to_owned()).collect(),
    }
}

pub fn value(value_type: ValueType) -> Value {
    Value {
        value_type: Some(value_type),
    }
}

fn show_name(name: &str) -> &str {
    name.split_once("/documents/").map_or(name, |(_, path)| path)
}

/// A server time, between marks for `Session::outcomes`; padded, so that texts sort as times do.
fn show_time(time: Option<Timestamp>) -> String {
    time.map_or("never".to_owned(), |time| {
        format!("@{:012}{:09}@", time.seconds, time.nanos)
    })
}

fn show_write_result(result: &WriteResult) -> String {
    let transformed: Vec<_> = result.transform_results.iter().map(show_value).collect();
    format!("{} {transformed:?}", show_time(result.update_time))
}

fn show_document(document: &Document) -> String {
    format!(
        "{} created {} updated {} {}",
        show_name(&document.name),
        show_time(document.create_time),
        show_time(document.update_time),
        show_fields(&document.fields)
    )
}

fn show_fields(fields: &std::collections::HashMap<String, Value>) -> String {
    let sorted: BTreeMap<_, _> = fields.iter().collect();
    let shown = sorted
        .into_iter()
        .map(|(name, value)| format!("{name:?}: {}", show_value(value)));
    format!("{{{}}}", shown.collect::<Vec<_>>().join(", "))
}

fn show_value(value: &Value) -> String {
    match &value.value_type {
        Some(ValueType::ArrayValue(array)) => format!(
            "[{}]",
            array.values.iter().map(show_value).collect::<Vec<_>>().join(", ")
        ),
        Some(ValueType::MapValue(map)) => show_fields(&map.fields),
        Some(ValueType::ReferenceValue(name)) => format!("reference {}", show_name(name)),
        // `REQUEST_TIME`: the scenarios' own timestamps are far in the past.
        Some(ValueType::TimestampValue(time)) if time.seconds > 1_600_000_000 => {
            assert_eq!(time.nanos % 1_000_000, 0, "REQUEST_TIME is in whole milliseconds");
            "request time".to_owned()
        }
        other => format!("{other:?}"),
    }
}
