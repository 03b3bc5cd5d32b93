//! What the job sent, call by call and decoded.

use crate::world::{Backend, OWN_CALL, Run, World};
use gcloud_sdk::google::firestore::v1::run_query_request::QueryType;
use gcloud_sdk::google::firestore::v1::value::ValueType;
use gcloud_sdk::google::firestore::v1::write::Operation;
use gcloud_sdk::google::firestore::v1::{
    BatchGetDocumentsRequest, CommitRequest, RunQueryRequest, StructuredQuery, Write,
};
use gcloud_sdk::prost::Message;
use pulse_sandbox::call::Service;
use pulse_sandbox::requests::Received;

/// A flag for compression and the message's length go before every gRPC message.
const GRPC_PREFIX: usize = 5;

/// Calls of the job, in the order they arrived.
pub(crate) struct Traffic {
    calls: Vec<Received>,
    /// Only the sandbox's Firestore keeps a log.
    backend: Backend,
    /// How the name of every document begins.
    documents: String,
}

/// One pass, and what it sent.
pub(crate) async fn watched(world: &World, args: &[&str]) -> (Run, Traffic) {
    let before = world.sandbox.requests().received().len();
    let run = world.pulse_with(args).await;
    (run, Traffic::since(world, before))
}

impl Traffic {
    /// Everything that the job has sent in this world.
    pub(crate) fn of(world: &World) -> Self {
        Self::since(world, 0)
    }

    fn since(world: &World, before: usize) -> Self {
        let mut calls = world.sandbox.requests().received().split_off(before);
        calls.retain(|call| !call.headers.contains_key(OWN_CALL));
        Self { calls, backend: world.backend, documents: world.name("") }
    }

    /// How often a method was called.
    pub(crate) fn count(&self, service: Service, method: &str) -> usize {
        self.of_method(service, method).count()
    }

    /// How often a method was called for a user.
    fn count_for(&self, user: &str, service: Service, method: &str) -> usize {
        self.of_method(service, method).filter(|call| call.user.as_deref() == Some(user)).count()
    }

    /// Whether this text is anywhere in what was sent.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        self.assert_has(Service::Firestore);
        let in_body = |call: &Received| call.body.windows(text.len()).any(|part| part == text.as_bytes());
        self.calls.iter().any(|call| call.path.contains(text) || in_body(call))
    }

    pub(crate) fn commits(&self) -> Vec<CommitRequest> {
        self.messages("Commit")
    }

    /// The commits with a write to a document whose path ends so.
    pub(crate) fn commits_to(&self, path: &str) -> Vec<CommitRequest> {
        let mut commits = self.commits();
        commits.retain(|commit| {
            let mut written = commit.writes.iter().map(|write| self.path(write));
            written.any(|written| written.ends_with(path))
        });
        commits
    }

    /// The paths that each of the `BatchGetDocuments` asks for.
    pub(crate) fn lookups(&self) -> Vec<Vec<String>> {
        let requests: Vec<BatchGetDocumentsRequest> = self.messages("BatchGetDocuments");
        let paths = |request: BatchGetDocumentsRequest| {
            let names = request.documents.into_iter();
            names.map(|name| self.below_root(&name)).collect()
        };
        requests.into_iter().map(paths).collect()
    }

    pub(crate) fn queries(&self) -> Vec<StructuredQuery> {
        let requests: Vec<RunQueryRequest> = self.messages("RunQuery");
        let query = |request: RunQueryRequest| match request.query_type {
            Some(QueryType::StructuredQuery(query)) => query,
            None => panic!("a query is structured"),
        };
        requests.into_iter().map(query).collect()
    }

    /// The path of the document that a write is about.
    pub(crate) fn path(&self, write: &Write) -> String {
        match &write.operation {
            Some(Operation::Update(document)) => self.below_root(&document.name),
            other => panic!("the job only updates, no {other:?}"),
        }
    }

    fn below_root(&self, name: &str) -> String {
        let path = name.strip_prefix(&self.documents);
        path.expect("a document of this world's database").to_owned()
    }

    fn of_method(&self, service: Service, method: &str) -> impl Iterator<Item = &Received> {
        self.assert_has(service);
        self.calls.iter().filter(move |call| call.method.service() == service && call.method.name() == method)
    }

    fn assert_has(&self, service: Service) {
        let logged = service != Service::Firestore || self.backend == Backend::Sandbox;
        assert!(logged, "Google's emulator keeps no log");
    }

    fn messages<M: Message + Default>(&self, method: &str) -> Vec<M> {
        let decode = |call: &Received| M::decode(&call.body[GRPC_PREFIX..]).expect("a whole message");
        self.of_method(Service::Firestore, method).map(decode).collect()
    }
}

impl World {
    pub(crate) fn secret_accesses(&self, user: &str) -> usize {
        Traffic::of(self).count_for(user, Service::SecretManager, "AccessSecretVersion")
    }

    pub(crate) fn account_calls(&self, user: &str) -> usize {
        Traffic::of(self).count_for(user, Service::Alpaca, "GetAccount")
    }

    /// Commits of a user's snapshot, whatever became of them.
    pub(crate) fn snapshot_commits(&self, user: &str) -> usize {
        Traffic::of(self).commits_to(&format!("users/{user}/alpacaAccounts/snapshot")).len()
    }

    /// The queries for users that were sent, in their order.
    pub(crate) fn user_queries(&self) -> Vec<StructuredQuery> {
        let mut queries = Traffic::of(self).queries();
        queries.retain(|query| query.from[0].collection_id == "users");
        queries
    }

    /// How often each fault applied, oldest first.
    pub(crate) fn faults_applied(&self) -> Vec<u64> {
        self.sandbox.faults().rules().iter().map(|rule| rule.applied()).collect()
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
