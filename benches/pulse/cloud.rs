//! `pulse sandbox` in a process of its own, and what it counted.

use crate::Result;
use gcloud_sdk::google::firestore::v1::batch_get_documents_response::Result as Lookup;
use gcloud_sdk::google::firestore::v1::firestore_client::FirestoreClient;
use gcloud_sdk::google::firestore::v1::value::ValueType;
use gcloud_sdk::google::firestore::v1::{BatchGetDocumentsRequest, Document};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::Endpoint;

/// A running sandbox with healthy users. Dropping it ends it.
pub(crate) struct Cloud {
    process: Child,
    pub(crate) exports: Vec<(String, String)>,
    pub(crate) users: u32,
    pub(crate) latency_ms: u32,
    runtime: Runtime,
}

/// What a sandbox counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counted {
    /// Calls by service and method.
    pub(crate) counts: BTreeMap<String, BTreeMap<String, u64>>,
    pub(crate) documents: Documents,
}

/// Documents of its Firestore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Documents {
    pub(crate) read: u64,
    pub(crate) written: u64,
}

impl Counted {
    /// What was counted after `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.counts.clone();
        for (service, methods) in &mut counts {
            for (method, count) in methods.iter_mut() {
                *count -= earlier.calls(service, method);
            }
            methods.retain(|_, count| *count > 0);
        }
        let documents = Documents {
            read: self.documents.read - earlier.documents.read,
            written: self.documents.written - earlier.documents.written,
        };
        Self { counts, documents }
    }

    /// Calls of one method.
    pub(crate) fn calls(&self, service: &str, method: &str) -> u64 {
        self.counts.get(service).and_then(|methods| methods.get(method)).copied().unwrap_or_default()
    }

    /// Calls to a service.
    pub(crate) fn all(&self, service: &str) -> u64 {
        self.counts.get(service).map(|methods| methods.values().sum()).unwrap_or_default()
    }
}

/// What `ops/last_pulse` says that a pass used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Claimed {
    pub(crate) firestore_reads: i64,
    pub(crate) firestore_writes: i64,
    pub(crate) secret_accesses: i64,
    pub(crate) alpaca_calls: i64,
}

impl Cloud {
    pub(crate) fn start(pulse: &Path, users: u32, latency_ms: u32) -> Result<Self> {
        let mut process = Command::new(pulse)
            .args(["sandbox", "--healthy", "--users", &users.to_string()])
            .args(["--latency", &format!("{latency_ms}ms")])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let lines = BufReader::new(process.stdout.take().ok_or("no stdout")?).lines();
        let mut exports = Vec::new();
        // It says where it is once it serves.
        for line in lines.take(4) {
            let line = line?;
            let (name, value) =
                line.strip_prefix("export ").and_then(|line| line.split_once('=')).ok_or("no export")?;
            exports.push((name.to_owned(), value.to_owned()));
        }
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { process, exports, users, latency_ms, runtime })
    }

    /// One of the variables that lead to it.
    pub(crate) fn export(&self, name: &str) -> &str {
        self.exports.iter().find(|(exported, _)| exported == name).map_or("", |(_, value)| value)
    }

    /// Where all services are, as `host:port`.
    pub(crate) fn address(&self) -> &str {
        self.export("FIRESTORE_EMULATOR_HOST")
    }

    /// What it has counted so far.
    pub(crate) fn counted(&self) -> Result<Counted> {
        self.runtime.block_on(counted_at(self.address()))
    }

    /// What the last pass says that it used.
    pub(crate) fn claimed(&self) -> Result<Claimed> {
        let document = self.runtime.block_on(self.document("ops/last_pulse"))?.ok_or("no ops/last_pulse")?;
        let number =
            |field: &str| match document.fields.get(field).and_then(|value| value.value_type.as_ref()) {
                Some(ValueType::IntegerValue(number)) => Ok(*number),
                _ => Err(format!("ops/last_pulse has no {field}")),
            };
        Ok(Claimed {
            firestore_reads: number("firestore_reads")?,
            firestore_writes: number("firestore_writes")?,
            secret_accesses: number("secret_accesses")?,
            alpaca_calls: number("alpaca_calls")?,
        })
    }

    async fn document(&self, path: &str) -> Result<Option<Document>> {
        let channel = Endpoint::try_from(format!("http://{}", self.address()))?.connect().await?;
        let database = format!("projects/{}/databases/(default)", self.export("GCP_PROJECT"));
        let request = BatchGetDocumentsRequest {
            documents: vec![format!("{database}/documents/{path}")],
            database,
            ..BatchGetDocumentsRequest::default()
        };
        let mut answers = FirestoreClient::new(channel).batch_get_documents(request).await?.into_inner();
        Ok(match answers.message().await?.and_then(|answer| answer.result) {
            Some(Lookup::Found(document)) => Some(document),
            _ => None,
        })
    }
}

/// What the sandbox at `host:port` has counted so far.
pub(crate) async fn counted_at(address: &str) -> Result<Counted> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let text = http.get(format!("http://{address}/sandbox/requests")).send().await?.text().await?;
    Ok(serde_json::from_str(&text)?)
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // It has no other life than this.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
