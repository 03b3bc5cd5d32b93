//! What was sent, call by call, and worlds with more users than one would write one by one.

use crate::world::{Backend, World};
use alpaca_pulse::sandbox::alpaca::Profile;
use alpaca_pulse::sandbox::call::Service;
use alpaca_pulse::sandbox::requests::Received;
use alpaca_pulse::store::values::Fields;
use gcloud_sdk::google::firestore::v1::run_query_request::QueryType;
use gcloud_sdk::google::firestore::v1::value::ValueType;
use gcloud_sdk::google::firestore::v1::write::Operation;
use gcloud_sdk::google::firestore::v1::{
    CommitRequest, Document, RunQueryRequest, StructuredQuery, Value, Write,
};
use prost::Message;

/// A gRPC message comes after a flag and its length in four bytes.
const MESSAGE_HEAD: usize = 5;

/// An empty sandbox, for tests that need its request log or its faults.
pub(crate) async fn sandbox() -> World {
    World::new(Backend::Sandbox).await.expect("a sandbox")
}

/// The message of a Firestore call.
pub(crate) fn message<M: Message + Default>(call: &Received) -> M {
    M::decode(&call.body[MESSAGE_HEAD..]).expect("one whole message")
}

impl World {
    pub(crate) fn received(&self, service: Service, method: &str) -> Vec<Received> {
        let mut received = self.sandbox.requests().received();
        received.retain(|call| call.method.service() == service && call.method.name() == method);
        received
    }

    pub(crate) fn secret_accesses(&self, user: &str) -> usize {
        self.calls_about(Service::SecretManager, "AccessSecretVersion", user)
    }

    pub(crate) fn account_calls(&self, user: &str) -> usize {
        self.calls_about(Service::Alpaca, "GetAccount", user)
    }

    fn calls_about(&self, service: Service, method: &str, user: &str) -> usize {
        let calls = self.received(service, method);
        calls
            .iter()
            .filter(|call| call.user.as_deref() == Some(user))
            .count()
    }

    /// Commits of a user's snapshot, whatever became of them.
    pub(crate) fn snapshot_commits(&self, user: &str) -> usize {
        let snapshot = format!("/documents/users/{user}/alpacaAccounts/snapshot");
        let writes_it = |write: &Write| match &write.operation {
            Some(Operation::Update(document)) => document.name.ends_with(&snapshot),
            _ => false,
        };
        let commits = self.received(Service::Firestore, "Commit");
        commits
            .iter()
            .filter(|call| message::<CommitRequest>(call).writes.iter().any(writes_it))
            .count()
    }

    /// The queries for users that were sent, in their order.
    pub(crate) fn user_queries(&self) -> Vec<StructuredQuery> {
        let sent = self.received(Service::Firestore, "RunQuery");
        let query = |call| match message::<RunQueryRequest>(call).query_type {
            Some(QueryType::StructuredQuery(query)) => query,
            None => panic!("a query is structured"),
        };
        let mut queries: Vec<_> = sent.iter().map(query).collect();
        queries.retain(|query| query.from[0].collection_id == "users");
        queries
    }

    /// Documents of the sandbox's Firestore, all at once and past its request log.
    pub(crate) fn put_all(&self, database: &str, documents: impl IntoIterator<Item = (String, Fields)>) {
        let database = format!("projects/{}/databases/{database}", self.project);
        let write = |(path, fields)| Write {
            operation: Some(Operation::Update(Document {
                name: format!("{database}/documents/{path}"),
                fields,
                ..Document::default()
            })),
            ..Write::default()
        };
        let writes: Vec<_> = documents.into_iter().map(write).collect();
        self.sandbox
            .firestore()
            .commit(&database, writes)
            .expect("the test's own writes");
    }

    /// `user-0001`, `user-0002`, … with keys and accounts in good order; returns their ids.
    pub(crate) fn crowd(&self, size: usize) -> Vec<String> {
        let ids: Vec<_> = (1..=size).map(|number| format!("user-{number:04}")).collect();
        self.put_all(
            "(default)",
            ids.iter().map(|id| (format!("users/{id}"), Fields::new())),
        );
        for id in &ids {
            self.connect(id, Profile::active());
        }
        ids
    }

    /// How often each fault applied, oldest first.
    pub(crate) fn faults_applied(&self) -> Vec<u64> {
        self.sandbox
            .faults()
            .rules()
            .iter()
            .map(|rule| rule.applied())
            .collect()
    }

    /// Whether a document of the sandbox's Firestore exists.
    pub(crate) fn has(&self, path: &str) -> bool {
        let name = format!("projects/{}/databases/(default)/documents/{path}", self.project);
        self.sandbox.firestore().document(&name).is_some()
    }
}

/// The user whom a query starts after; nobody is an empty text.
pub(crate) fn start_after(query: &StructuredQuery) -> String {
    let Some(cursor) = &query.start_at else {
        return String::new();
    };
    assert!(!cursor.before, "after that user, not at them");
    let values: Vec<_> = cursor.values.iter().map(|value| &value.value_type).collect();
    let [Some(ValueType::ReferenceValue(name))] = &values[..] else {
        panic!("{values:?} is not one document");
    };
    let user = name.split_once("/documents/users/").expect("a user's name").1;
    user.to_owned()
}

/// The fields of a document.
pub(crate) fn fields<const N: usize>(fields: [(&str, Value); N]) -> Fields {
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
