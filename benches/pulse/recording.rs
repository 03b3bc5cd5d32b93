//! What a pulse sends for one user, recorded at a sandbox in this process, for the floor to send again.
//!
//! Recorded rather than written down, so that the floor always sends what the pulse that is measured sends.

use crate::Result;
use alpaca_pulse::firestore::values::string;
use gcloud_sdk::google::firestore::v1::write::Operation;
use gcloud_sdk::google::firestore::v1::{CommitRequest, Document, Write};
use gcloud_sdk::prost::Message;
use pulse_sandbox::alpaca::{Keys, Profile};
use pulse_sandbox::call::Service;
use pulse_sandbox::requests::Received;
use pulse_sandbox::seed::{SECRET_PREFIX, key_id, secret_key, user_id};
use pulse_sandbox::{Options, Sandbox};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::Path;
use tokio::process::Command;

/// The calls of one user's sync, in their order.
const CALLS_OF_A_USER: [(Service, &str); 3] = [
    (Service::SecretManager, "AccessSecretVersion"),
    (Service::Alpaca, "GetAccount"),
    (Service::Firestore, "Commit"),
];

/// A flag for compression, and the message's length in four bytes.
const GRPC_PREFIX: usize = 5;

/// The requests for one user, and what has to be replaced in them for another one whose id is as long.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Script {
    pub(crate) user: String,
    pub(crate) key_id: String,
    pub(crate) secret_key: String,
    pub(crate) account_id: String,
    pub(crate) requests: Vec<Recorded>,
}

/// One request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Recorded {
    /// Over HTTP/2, all in one connection.
    pub(crate) grpc: bool,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Script {
    /// The same with one of its requests alone.
    pub(crate) fn only(&self, request: usize) -> Self {
        Self { requests: self.requests.get(request).cloned().into_iter().collect(), ..self.clone() }
    }
}

/// One script for each length that the ids of so many users have.
pub(crate) fn record(pulse: &Path, users: u32) -> Result<Vec<Script>> {
    record_with(pulse, users, &[])
}

/// The same of a pulse with these flags.
pub(crate) fn record_with(pulse: &Path, users: u32, flags: &[&str]) -> Result<Vec<Script>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let sandbox = Sandbox::start(Options::default()).await?;
        sandbox.requests().keep_received();
        let lengths = user_id(1).len()..=user_id(users).len();
        let mut numbers = vec![1];
        numbers
            .extend((4..8).map(|zeros| 10_u32.pow(zeros)).filter(|&n| lengths.contains(&user_id(n).len())));
        let mut scripts = Vec::new();
        for number in numbers {
            scripts.push(script(&sandbox, (pulse, flags), number).await?);
        }
        Ok(scripts)
    })
}

/// Adds one user and has them synced.
async fn script(sandbox: &Sandbox, (pulse, flags): (&Path, &[&str]), number: u32) -> Result<Script> {
    let (user, key_id, secret_key) = (user_id(number), key_id(number), secret_key(number));
    let database = format!("projects/{}/databases/(default)", sandbox.project());
    let document = Document { name: format!("{database}/documents/users/{user}"), ..Document::default() };
    let write = Write { operation: Some(Operation::Update(document)), ..Write::default() };
    sandbox.firestore().commit(&database, vec![write])?;
    let payload = json!({"key_id": key_id, "secret_key": secret_key, "environment": "paper"}).to_string();
    sandbox.secrets().add_version(&format!("{SECRET_PREFIX}{user}"), payload);
    let keys = Keys { key_id: key_id.clone(), secret_key: secret_key.clone() };
    sandbox.alpaca().register(&user, keys, Profile::active());

    let already = sandbox.requests().received().len();
    let run = Command::new(pulse)
        .args(["sync", "--user", &user])
        .args(flags)
        .env_clear()
        .envs(sandbox.exports())
        .output()
        .await?;
    if !run.status.success() {
        return Err(format!("the pulse to record failed: {}", String::from_utf8_lossy(&run.stdout)).into());
    }
    let received = sandbox.requests().received().split_off(already);
    let requests = CALLS_OF_A_USER.into_iter().map(|(service, method)| {
        let request = received.iter().find(|r| r.method.service() == service && r.method.name() == method);
        recorded(request.ok_or_else(|| format!("the pulse made no call of {method}"))?)
    });
    let requests = requests.collect::<Result<_>>()?;
    let account_id = account_id(sandbox, &database, &user).ok_or("the pulse to record wrote no account")?;
    Ok(Script { requests, user, key_id, secret_key, account_id })
}

/// The account that a user's snapshot names.
fn account_id(sandbox: &Sandbox, database: &str, user: &str) -> Option<String> {
    let name = format!("{database}/documents/users/{user}/alpacaAccounts/snapshot");
    let snapshot =
        sandbox.firestore().documents(database).into_iter().find(|document| document.name == name)?;
    string(snapshot.fields.get("external_account_id")?).map(str::to_owned)
}

fn recorded(request: &Received) -> Result<Recorded> {
    let text = |value: &http::HeaderValue| value.to_str().map(str::to_owned);
    let headers = request
        .headers
        .iter()
        // Set anew for each connection and request.
        .filter(|(name, _)| !["host", "content-length"].contains(&name.as_str()))
        .map(|(name, value)| Ok((name.as_str().to_owned(), text(value)?)))
        .collect::<Result<Vec<_>>>()?;
    let grpc = headers.iter().any(|(name, value)| name == "content-type" && value == "application/grpc");
    let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    Ok(Recorded {
        grpc,
        path: format!("{}{query}", request.path),
        headers,
        body: if grpc { without_preconditions(&request.body)? } else { request.body.to_vec() },
    })
}

/// The first commit for a user demands that the tenant's document does not exist, which holds only once. Without
/// that demand it is 4 bytes shorter.
fn without_preconditions(frame: &[u8]) -> Result<Vec<u8>> {
    let message = frame.get(GRPC_PREFIX..).ok_or("a commit without a message")?;
    let mut commit = CommitRequest::decode(message)?;
    for write in &mut commit.writes {
        write.current_document = None;
    }
    let message = commit.encode_to_vec();
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len())?.to_be_bytes());
    frame.extend(message);
    Ok(frame)
}
