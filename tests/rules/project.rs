//! A project of the emulator with our rules, and the emulator's REST interface.

use crate::caller::Caller;
use crate::emulator::emulator;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Map, Value, json};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// The file under test.
pub(crate) const RULES: &str = include_str!("../../firestore.rules");

/// Fields in the REST interface's form of them: `{"name": {"stringValue": "Ana"}}`.
pub(crate) type Fields = Map<String, Value>;

/// An answer: its status and body.
pub(crate) type Answer = (StatusCode, Value);

/// A project of its own, because rules belong to a project.
pub(crate) struct Project {
    client: Client,
    host: &'static str,
    id: String,
}

impl Project {
    /// A project with our rules, or `None` where there is no emulator.
    pub(crate) async fn new() -> Option<Self> {
        Self::with_rules(RULES).await
    }

    pub(crate) async fn with_rules(rules: &str) -> Option<Self> {
        static PROJECTS: AtomicU32 = AtomicU32::new(0);
        let host = emulator()?;
        let id = format!("rules-{}-{}", process::id(), PROJECTS.fetch_add(1, Ordering::Relaxed));
        let client = Client::builder().no_proxy().build().expect("a client without options");
        let project = Self { client, host, id };
        let rules = json!({"rules": {"files": [{"name": "firestore.rules", "content": rules}]}});
        let (status, body) = project.administer(Method::PUT, "securityRules", &rules).await;
        assert_eq!(status, StatusCode::OK, "the rules do not compile: {body}");
        Some(project)
    }

    /// What each expression of the rules evaluated to, since the project began.
    pub(crate) async fn coverage(&self) -> Value {
        let (status, body) = self.administer(Method::GET, "ruleCoverage", &Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    async fn administer(&self, method: Method, what: &str, body: &Value) -> Answer {
        let path = format!("emulator/v1/projects/{}:{what}", self.id);
        self.send(Caller::Backend, method, &path, body).await
    }

    /// Replaces all documents.
    pub(crate) async fn fill(&self, documents: Vec<(&str, Fields)>) {
        let everything = format!("emulator/v1/{}", self.name(""));
        let (status, body) = self.send(Caller::Backend, Method::DELETE, &everything, &Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let writes: Vec<_> = documents
            .into_iter()
            .map(|(path, fields)| json!({"update": {"name": self.name(path), "fields": fields}}))
            .collect();
        let (status, body) = self.commit(Caller::Backend, &json!(writes)).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }

    /// The document as it is, past the rules; `None` if it does not exist.
    pub(crate) async fn document(&self, path: &str) -> Option<Value> {
        let (status, body) = self.get(Caller::Backend, path).await;
        match status {
            StatusCode::OK => Some(body),
            StatusCode::NOT_FOUND => None,
            _ => panic!("{status} for {path}: {body}"),
        }
    }

    /// A document, or the documents of a collection.
    pub(crate) async fn get(&self, caller: Caller, path: &str) -> Answer {
        self.send(caller, Method::GET, &format!("v1/{}", self.name(path)), &Value::Null).await
    }

    /// Calls a method of the documents, or of those below a path.
    pub(crate) async fn call(&self, caller: Caller, path: &str, method: &str, body: &Value) -> Answer {
        self.send(caller, Method::POST, &format!("v1/{}:{method}", self.name(path)), body).await
    }

    pub(crate) async fn commit(&self, caller: Caller, writes: &Value) -> Answer {
        self.call(caller, "", "commit", &json!({"writes": writes})).await
    }

    /// The full name of the document or parent at a path; the root's for "".
    pub(crate) fn name(&self, path: &str) -> String {
        let root = format!("projects/{}/databases/(default)/documents", self.id);
        if path.is_empty() { root } else { format!("{root}/{path}") }
    }

    async fn send(&self, caller: Caller, method: Method, path: &str, body: &Value) -> Answer {
        let mut request = self.client.request(method, format!("http://{}/{path}", self.host));
        if let Some(token) = caller.token() {
            request = request.bearer_auth(token);
        }
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.expect("the emulator answers");
        let (status, body) = (answer.status(), answer.bytes().await.expect("a whole answer"));
        (status, serde_json::from_slice(&body).expect("JSON"))
    }
}

/// Plain JSON as fields.
pub(crate) fn fields(json: &Value) -> Fields {
    let fields = json.as_object().expect("an object");
    fields.iter().map(|(name, value)| (name.clone(), field(value))).collect()
}

fn field(json: &Value) -> Value {
    match json {
        Value::String(text) => json!({"stringValue": text}),
        Value::Bool(switch) => json!({"booleanValue": switch}),
        Value::Number(number) => json!({"doubleValue": number}),
        Value::Object(_) => json!({"mapValue": {"fields": fields(json)}}),
        Value::Null => json!({"nullValue": null}),
        Value::Array(_) => panic!("no document here holds {json}"),
    }
}
