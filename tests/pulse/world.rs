//! One test's world: a Firestore, a Secret Manager and an Alpaca of its own, the users in them, and the
//! real `pulse` binary run against them.

use crate::emulator::emulator;
use crate::live::{LOOK_INTERVAL, in_time};
use alpaca_pulse::firestore::values::{Fields, boolean, text};
use gcloud_sdk::google::firestore::v1::batch_get_documents_response::Result as Lookup;
use gcloud_sdk::google::firestore::v1::firestore_client::FirestoreClient;
use gcloud_sdk::google::firestore::v1::run_query_request::QueryType;
use gcloud_sdk::google::firestore::v1::structured_query::CollectionSelector;
use gcloud_sdk::google::firestore::v1::value::ValueType;
use gcloud_sdk::google::firestore::v1::write::Operation;
use gcloud_sdk::google::firestore::v1::{
    BatchGetDocumentsRequest, CommitRequest, Document, DocumentMask, RunQueryRequest, StructuredQuery, Value,
    Write,
};
use gcloud_sdk::tonic::metadata::MetadataValue;
use gcloud_sdk::tonic::transport::{Channel, Endpoint};
use gcloud_sdk::tonic::{Request, Status, service::interceptor::InterceptedService};
use pulse_sandbox::alpaca::{Keys, Profile};
use pulse_sandbox::call::Service;
use pulse_sandbox::{Options, Sandbox};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::process::{Child, Command};

/// Longest a run of the binary may take before the test gives up on it.
const RUN_LIMIT: Duration = Duration::from_secs(120);

/// As many as Firestore's emulator takes at once.
const WRITES_PER_COMMIT: usize = 500;

/// Variables for a run.
pub(crate) type Env<'a> = &'a [(&'a str, &'a str)];

/// Which Firestore a test runs against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Sandbox,
    Emulator,
}

type Client = FirestoreClient<InterceptedService<Channel, fn(Request<()>) -> Result<Request<()>, Status>>>;

pub(crate) struct World {
    pub sandbox: Sandbox,
    pub backend: Backend,
    pub project: String,
    pub firestore_host: String,
    client: Client,
}

/// An empty sandbox, for tests that need its request log or its faults.
pub(crate) async fn sandbox() -> World {
    World::new(Backend::Sandbox).await.expect("a sandbox")
}

impl World {
    /// An empty world, or `None` where there is no emulator to run against.
    pub(crate) async fn new(backend: Backend) -> Option<Self> {
        Self::with(backend, Options::default()).await
    }

    /// One with a database of the single-tenant layout, of so many users.
    pub(crate) async fn legacy(backend: Backend, users: u32) -> Option<Self> {
        let world = Self::with(backend, Options { users, legacy: true, ..Options::default() }).await?;
        if backend == Backend::Emulator {
            let database = format!("projects/{}/databases/(default)", world.project);
            for document in world.sandbox.firestore().documents(&database) {
                world
                    .write(
                        Operation::Update(Document { update_time: None, create_time: None, ..document }),
                        None,
                    )
                    .await;
            }
        }
        Some(world)
    }

    async fn with(backend: Backend, options: Options) -> Option<Self> {
        static WORLDS: AtomicU32 = AtomicU32::new(0);
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let project = format!("pulse-test-{}-{number}", std::process::id());
        let sandbox = Sandbox::start(Options { project: project.clone(), ..options }).await;
        let sandbox = sandbox.expect("loopback has a free port");
        sandbox.requests().keep_received();
        let firestore_host = match backend {
            Backend::Sandbox => sandbox.address().to_string(),
            // The first one waits for the JVM, which must not hold up this runtime.
            Backend::Emulator => tokio::task::spawn_blocking(emulator).await.expect("no panic")?.to_owned(),
        };
        let endpoint = Endpoint::try_from(format!("http://{firestore_host}")).expect("a host makes a URL");
        let channel = endpoint.connect().await.expect("Firestore accepts connections");
        let client = FirestoreClient::with_interceptor(channel, as_owner as fn(_) -> _);
        Some(Self { sandbox, backend, project, firestore_host, client })
    }

    /// Sets the fields of a document, and removes all others.
    pub(crate) async fn put<const N: usize>(&self, path: &str, fields: [(&str, Value); N]) {
        let document = self.document_of(path, fields);
        self.write(Operation::Update(document), None).await;
    }

    /// Sets some fields of a document, and leaves the others alone.
    pub(crate) async fn patch<const N: usize>(&self, path: &str, fields: [(&str, Value); N]) {
        let field_paths = fields.iter().map(|(name, _)| (*name).to_owned()).collect();
        let document = self.document_of(path, fields);
        self.write(Operation::Update(document), Some(DocumentMask { field_paths })).await;
    }

    fn document_of<const N: usize>(&self, path: &str, fields: [(&str, Value); N]) -> Document {
        Document { name: self.name(path), fields: fields_of(fields), ..Document::default() }
    }

    pub(crate) async fn delete(&self, path: &str) {
        self.write(Operation::Delete(self.name(path)), None).await;
    }

    async fn write(&self, operation: Operation, update_mask: Option<DocumentMask>) {
        self.commit(vec![Write { operation: Some(operation), update_mask, ..Write::default() }]).await;
    }

    /// The test's own writes.
    pub(crate) async fn commit(&self, writes: Vec<Write>) {
        let request = CommitRequest {
            database: format!("projects/{}/databases/(default)", self.project),
            writes,
            ..CommitRequest::default()
        };
        self.client.clone().commit(request).await.expect("the test's own write");
    }

    /// A document's fields as JSON, or null. Whole numbers are `{"integer": n}` and points in time
    /// `{"timestamp": "…"}`, to tell them from doubles and strings.
    pub(crate) async fn document(&self, path: &str) -> Json {
        let document = self.stored(path).await;
        document.map_or(Json::Null, |document| fields_to_json(document.fields))
    }

    /// A document with its times, to see whether anything at all was written to it.
    pub(crate) async fn stored(&self, path: &str) -> Option<Document> {
        let request = BatchGetDocumentsRequest {
            database: format!("projects/{}/databases/(default)", self.project),
            documents: vec![self.name(path)],
            ..BatchGetDocumentsRequest::default()
        };
        let mut answers =
            self.client.clone().batch_get_documents(request).await.expect("the test's own read").into_inner();
        match answers.message().await.expect("an answer").and_then(|answer| answer.result) {
            Some(Lookup::Found(document)) => Some(document),
            _ => None,
        }
    }

    pub(crate) async fn snapshot(&self, user: &str) -> Json {
        self.document(&format!("users/{user}/alpacaAccounts/snapshot")).await
    }

    pub(crate) async fn trouble(&self, user: &str) -> Json {
        self.document(&format!("users/{user}/alpacaAccounts/sync")).await
    }

    pub(crate) async fn primary(&self, tenant: &str) -> Json {
        self.document(&format!("tenants/{tenant}/accounts/primary")).await
    }

    /// Waits until a document exists.
    pub(crate) async fn wait_for(&self, path: &str) {
        in_time(async {
            while self.stored(path).await.is_none() {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        })
        .await;
    }

    /// The tenants that have an account document, in the order of their names.
    pub(crate) async fn tenants_with_account(&self) -> Vec<String> {
        let tenant = |path: String| {
            let tenant =
                path.strip_prefix("tenants/").and_then(|path| path.strip_suffix("/accounts/primary"));
            tenant.map_or(path.clone(), str::to_owned)
        };
        self.group("accounts").await.into_keys().map(tenant).collect()
    }

    /// All documents of all collections with this id, by their paths.
    pub(crate) async fn group(&self, collection_id: &str) -> BTreeMap<String, Json> {
        let query = StructuredQuery {
            from: vec![CollectionSelector { collection_id: collection_id.into(), all_descendants: true }],
            ..StructuredQuery::default()
        };
        let request = RunQueryRequest {
            parent: format!("projects/{}/databases/(default)/documents", self.project),
            query_type: Some(QueryType::StructuredQuery(query)),
            ..RunQueryRequest::default()
        };
        let answers = self.client.clone().run_query(request).await;
        let mut answers = answers.expect("the test's own query").into_inner();
        let mut documents = BTreeMap::new();
        while let Some(answer) = answers.message().await.expect("an answer") {
            let root = self.name("");
            documents.extend(answer.document.map(|Document { name, fields, .. }| {
                let path = name.strip_prefix(&root).expect("a document of this world");
                (path.to_owned(), fields_to_json(fields))
            }));
        }
        documents
    }

    /// Every document of the database, by its path.
    pub(crate) async fn everything(&self) -> BTreeMap<String, Fields> {
        let query = StructuredQuery {
            from: vec![CollectionSelector { collection_id: String::new(), all_descendants: true }],
            ..StructuredQuery::default()
        };
        let request = RunQueryRequest {
            parent: format!("projects/{}/databases/(default)/documents", self.project),
            query_type: Some(QueryType::StructuredQuery(query)),
            ..RunQueryRequest::default()
        };
        let answers = self.client.clone().max_decoding_message_size(usize::MAX).run_query(request).await;
        let mut answers = answers.expect("the test's own query").into_inner();
        let mut documents = BTreeMap::new();
        while let Some(answer) = answers.message().await.expect("an answer") {
            let root = self.name("");
            documents.extend(answer.document.map(|Document { name, fields, .. }| {
                (name.strip_prefix(&root).expect("a document of this world").to_owned(), fields)
            }));
        }
        documents
    }

    /// Users with keys and accounts in good order, in as few commits as it takes.
    pub(crate) async fn users(&self, ids: &[String]) {
        for ids in ids.chunks(WRITES_PER_COMMIT) {
            let write = |id: &String| Write {
                operation: Some(Operation::Update(self.document_of(&format!("users/{id}"), []))),
                ..Write::default()
            };
            self.commit(ids.iter().map(write).collect()).await;
        }
        for id in ids {
            self.connect(id, Profile::active());
        }
    }

    /// The full name of a document.
    pub(crate) fn name(&self, path: &str) -> String {
        format!("projects/{}/databases/(default)/documents/{path}", self.project)
    }

    /// A user with keys and an account in good order.
    pub(crate) async fn user(&self, id: &str) {
        self.put(&format!("users/{id}"), [("display_name", text("Somebody"))]).await;
        self.connect(id, Profile::active());
    }

    /// The same, with a `tenant_id`.
    pub(crate) async fn user_of_tenant(&self, id: &str, tenant: Value) {
        self.put(&format!("users/{id}"), [("tenant_id", tenant)]).await;
        self.connect(id, Profile::active());
    }

    pub(crate) async fn membership(&self, tenant: &str, user: &str) {
        self.put(&format!("tenants/{tenant}/users/{user}"), [("role", text("member"))]).await;
    }

    /// Stores keys for a user, and gives them an account; returns the number of the key version.
    pub(crate) fn connect(&self, user: &str, profile: Profile) -> usize {
        let (key_id, secret_key) = keys_of(user);
        let payload = json!({"key_id": key_id, "secret_key": secret_key, "environment": "paper"}).to_string();
        self.account(user, profile);
        self.store_payload(user, &payload)
    }

    /// Stores a token for a user, and gives them an account that it opens; returns the number of its version.
    pub(crate) fn connect_token(&self, user: &str, profile: Profile) -> usize {
        let token = token_of(user);
        self.sandbox.alpaca().register_token(user, &token, profile);
        self.store_payload(user, &json!({"oauth_token": token, "environment": "paper"}).to_string())
    }

    /// Changes how Alpaca answers for a user, whose keys stay as they are.
    pub(crate) fn account(&self, user: &str, profile: Profile) {
        let (key_id, secret_key) = keys_of(user);
        let keys = Keys { key_id, secret_key };
        self.sandbox.alpaca().register(user, keys, profile);
    }

    /// Stores a payload as the newest version of a user's secret; returns its number.
    pub(crate) fn store_payload(&self, user: &str, payload: &str) -> usize {
        self.sandbox.secrets().add_version(&secret_of(user), payload.to_owned())
    }

    /// Makes calls fail, in the words of `pulse sandbox --fault`.
    pub(crate) fn fault(&self, spec: &str) {
        self.sandbox.faults().inject(spec).expect("a fault");
    }

    pub(crate) fn calls(&self, service: Service, method: &str) -> u64 {
        self.sandbox.requests().count(service, method)
    }

    /// `pulse` with these arguments, led to this world; those that name no command are `sync`'s.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let is_of_sync = args.first().is_none_or(|first| first.starts_with('-'));
        let sync: &[&str] = if is_of_sync { &["sync"] } else { &[] };
        self.bare_command(&[sync, args].concat())
    }

    /// `pulse` with exactly these arguments.
    pub(crate) fn bare_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pulse"));
        command
            .args(args)
            .env_clear()
            .envs(self.sandbox.exports())
            .env("FIRESTORE_EMULATOR_HOST", &self.firestore_host)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// One pass over all users.
    pub(crate) async fn pulse(&self) -> Run {
        self.pulse_with(&[]).await
    }

    pub(crate) async fn pulse_with(&self, args: &[&str]) -> Run {
        self.pulse_with_in(args, &[]).await
    }

    /// One pass with these variables in the environment.
    pub(crate) async fn pulse_in(&self, env: Env<'_>) -> Run {
        self.pulse_with_in(&[], env).await
    }

    pub(crate) async fn pulse_with_in(&self, args: &[&str], env: Env<'_>) -> Run {
        Run::of(self.command(args).envs(env.iter().copied())).await
    }
}

/// What a run of the binary left behind.
#[derive(Debug)]
pub(crate) struct Run {
    pub exit: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Runs a command to its end.
    pub(crate) async fn of(command: &mut Command) -> Self {
        Self::end_of(command.spawn().expect("pulse starts")).await
    }

    /// What a process has left behind when it has ended.
    pub(crate) async fn end_of(child: Child) -> Self {
        let ended = tokio::time::timeout(RUN_LIMIT, child.wait_with_output()).await;
        let output = ended.expect("pulse ends in time").expect("pulse can be waited for");
        Self {
            exit: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// The log, an object a line.
    pub(crate) fn entries(&self) -> Vec<Json> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
    }

    /// The one entry whose message starts so.
    #[track_caller]
    pub(crate) fn entry(&self, message: &str) -> Json {
        let mut found = self.entries();
        found.retain(|entry| entry["message"].as_str().is_some_and(|text| text.starts_with(message)));
        assert_eq!(found.len(), 1, "{message:?} is logged once in:\n{}", self.stdout);
        found.remove(0)
    }

    /// The severity of a message, to the letter, if it is logged.
    pub(crate) fn severity_of(&self, message: &str) -> Option<String> {
        let entries = self.entries();
        let entry = entries.iter().find(|entry| entry["message"] == message)?;
        Some(entry["severity"].as_str()?.to_owned())
    }

    /// Whether a message is logged, to the letter.
    pub(crate) fn says(&self, message: &str) -> bool {
        self.severity_of(message).is_some()
    }

    /// Demands the last line and the exit code of a pass.
    #[track_caller]
    pub(crate) fn assert_completed(&self, counts: &str, exit: i32) {
        let message = format!("Completed multi-tenant sync: {counts}");
        assert!(self.says(&message), "{message:?} is not in:\n{}\n{}", self.stdout, self.stderr);
        assert_eq!(self.exit, Some(exit), "{}", self.stdout);
    }

    /// The error code that was logged for a user.
    pub(crate) fn error_of(&self, user: &str) -> Option<String> {
        let of_user = |entry: &&Json| entry["user_id"] == user && entry["error"].is_string();
        self.entries().iter().find(of_user).and_then(|entry| Some(entry["error"].as_str()?.to_owned()))
    }
}

/// The keys that [`World::connect`] gives to a user: (key id, secret key).
pub(crate) fn keys_of(user: &str) -> (String, String) {
    (format!("PKTEST{user}"), format!("hush-{user}-0123456789"))
}

/// The token that [`World::connect_token`] gives to a user.
pub(crate) fn token_of(user: &str) -> String {
    format!("hush-token-{user}-0123456789")
}

pub(crate) fn secret_of(user: &str) -> String {
    format!("alpaca-keys-{user}")
}

/// The fields of a document.
pub(crate) fn fields_of<const N: usize>(fields: [(&str, Value); N]) -> Fields {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The `sync_enabled` of a user who switched the sync off.
pub(crate) fn off() -> Value {
    boolean(false)
}

/// The header of the test's own calls, which tells them from the job's.
pub(crate) const OWN_CALL: &str = "x-call-of-the-test";

fn as_owner(mut request: Request<()>) -> Result<Request<()>, Status> {
    let headers = request.metadata_mut();
    headers.insert("authorization", MetadataValue::from_static("Bearer owner"));
    headers.insert(OWN_CALL, MetadataValue::from_static("yes"));
    Ok(request)
}

fn fields_to_json(fields: Fields) -> Json {
    Json::Object(fields.into_iter().map(|(name, value)| (name, to_json(value))).collect())
}

fn to_json(value: Value) -> Json {
    match value.value_type {
        None | Some(ValueType::NullValue(_)) => Json::Null,
        Some(ValueType::BooleanValue(switch)) => json!(switch),
        Some(ValueType::IntegerValue(number)) => json!({"integer": number}),
        Some(ValueType::DoubleValue(number)) => json!(number),
        Some(ValueType::StringValue(text)) => json!(text),
        Some(ValueType::TimestampValue(time)) => {
            let time = jiff::Timestamp::new(time.seconds, time.nanos).expect("in range");
            json!({"timestamp": time.to_string()})
        }
        Some(ValueType::MapValue(map)) => fields_to_json(map.fields),
        Some(ValueType::ArrayValue(array)) => array.values.into_iter().map(to_json).collect(),
        Some(other) => panic!("no document of the job has a {other:?}"),
    }
}

/// The point in time in a field of [`World::document`].
pub(crate) fn timestamp(field: &Json) -> jiff::Timestamp {
    let text = field["timestamp"].as_str().unwrap_or_else(|| panic!("{field} is no point in time"));
    text.parse().expect("a point in time")
}
