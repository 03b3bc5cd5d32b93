//! One request to a world that is always the same, and what becomes of it.

use crate::caller::Caller;
use crate::project::{Answer, Fields, Project, fields};
use reqwest::StatusCode;
use serde_json::{Value, json};

/// A request and whether the rules allow it.
pub(crate) struct Scenario {
    caller: Caller,
    request: Request,
    is_allowed: bool,
}

/// What is asked for.
pub(crate) enum Request {
    Get(&'static str),
    List(&'static str),
    /// All collections of that id below a parent, which is the root for "".
    Group {
        parent: &'static str,
        collection: &'static str,
    },
    /// Those documents of a path's collection that have that path: a list of at most one.
    Named(&'static str),
    Count(&'static str),
    /// A collection's documents of that status, newest first.
    Newest(&'static str, &'static str),
    Write(&'static str, Change),
}

/// What a write does to its document.
pub(crate) enum Change {
    /// Refused if the document exists.
    Create(Value),
    /// Replaces the whole document, or makes it.
    Overwrite(Value),
    /// Sets those fields, or removes those that have no value.
    Merge(&'static [&'static str], Value),
    /// Has the server compute a field.
    Increment(&'static str),
    Delete,
}

pub(crate) fn get(path: &'static str) -> Request {
    Request::Get(path)
}

pub(crate) fn list(collection: &'static str) -> Request {
    Request::List(collection)
}

pub(crate) fn group(parent: &'static str, collection: &'static str) -> Request {
    Request::Group { parent, collection }
}

pub(crate) fn named(path: &'static str) -> Request {
    Request::Named(path)
}

pub(crate) fn count(collection: &'static str) -> Request {
    Request::Count(collection)
}

pub(crate) fn newest(collection: &'static str, status: &'static str) -> Request {
    Request::Newest(collection, status)
}

pub(crate) fn create(path: &'static str, fields: Value) -> Request {
    Request::Write(path, Change::Create(fields))
}

pub(crate) fn overwrite(path: &'static str, fields: Value) -> Request {
    Request::Write(path, Change::Overwrite(fields))
}

pub(crate) fn merge(path: &'static str, mask: &'static [&'static str], fields: Value) -> Request {
    Request::Write(path, Change::Merge(mask, fields))
}

pub(crate) fn increment(path: &'static str, field: &'static str) -> Request {
    Request::Write(path, Change::Increment(field))
}

pub(crate) fn delete(path: &'static str) -> Request {
    Request::Write(path, Change::Delete)
}

impl Caller {
    pub(crate) fn may(self, request: Request) -> Scenario {
        Scenario { caller: self, request, is_allowed: true }
    }

    pub(crate) fn may_not(self, request: Request) -> Scenario {
        Scenario { caller: self, request, is_allowed: false }
    }
}

/// The documents that every scenario begins with.
fn world() -> Vec<(&'static str, Fields)> {
    let snapshot = json!({"broker": "alpaca", "equity": 100.5});
    let any = json!({"text": "x"});
    let documents = [
        ("users/ana", json!({"name": "Ana", "tenant_id": "acme", "sync_enabled": true})),
        ("users/bob", json!({"name": "Bob"})),
        ("users/dan", json!({"name": "Dan", "sync_enabled": false})),
        ("users/fay", json!({"name": "Fay", "tenant_id": null, "sync_enabled": null})),
        ("users/eve", json!({"name": "Eve", "tenant_id": "rival"})),
        ("users/ana/alpacaAccounts/snapshot", snapshot.clone()),
        ("users/ana/alpacaAccounts/snapshot/history/monday", snapshot.clone()),
        ("users/ana/alpacaAccounts/sync", json!({"state": "retrying"})),
        ("users/ana/tradingSignals/buy", any.clone()),
        ("users/ana/tradingSignals/buy/notes/one", any.clone()),
        (
            "users/ana/tradingSignals/proposed",
            json!({"symbol": "SPY", "status": "proposed", "created_at": 1.0, "proposed_by": "backend"}),
        ),
        ("users/ana/tradingSignals/executing", json!({"status": "executing", "proposed_by": "backend"})),
        ("users/ana/tradingSignals/bare", json!({"proposed_by": "backend"})),
        ("users/ana/notes/one", any.clone()),
        ("users/ana/secrets/alpaca", json!({"key_id": "PK1"})),
        ("users/ana/data/settings", any.clone()),
        ("users/ana/shadowTradeHistory/one", any.clone()),
        ("users/ana/signals/one", any.clone()),
        ("tenants/acme", json!({"name": "Acme"})),
        ("tenants/acme/accounts/primary", snapshot.clone()),
        ("tenants/acme/accounts/primary/history/monday", snapshot.clone()),
        ("tenants/acme/invoices/one", any.clone()),
        ("tenants/acme/users/ana", json!({"role": "admin"})),
        ("tenants/acme/users/ana/notes/one", any.clone()),
        ("tenants/acme/users/ana/secrets/alpaca", json!({"key_id": "PK1"})),
        ("tenants/acme/strategies/one", any.clone()),
        ("tenants/acme/orders/one", any.clone()),
        ("tenants/rival", json!({"name": "Rival"})),
        ("tenants/rival/accounts/primary", snapshot.clone()),
        ("tenants/rival/users/eve", json!({"role": "admin"})),
        ("ops/last_pulse", json!({"status": "ok"})),
        ("ops/last_pulse/executions/one", json!({"cursors": {"0": "ana"}})),
        ("ops/other", any.clone()),
        ("alpacaAccounts/snapshot", snapshot.clone()),
        ("alpacaAccounts/ana", snapshot.clone()),
        ("alpacaAccounts/ana/history/monday", snapshot),
        ("tradingSignals/buy", any.clone()),
        ("tradingSignals/buy/notes/one", any.clone()),
        ("announcements/one", any.clone()),
        ("unknown/one", any),
    ];
    documents.into_iter().map(|(path, json)| (path, fields(&json))).collect()
}

impl Scenario {
    /// Sends the request to a fresh world, and looks at the answer and at what is there afterwards.
    pub(crate) async fn check(&self, project: &Project, name: &str) {
        project.fill(world()).await;
        match &self.request {
            Request::Write(path, change) => self.check_write(project, name, path, change).await,
            read => self.check_read(project, name, read).await,
        }
    }

    /// Whether the rules allow what they are expected to deny.
    pub(crate) async fn is_let_through(&self, project: &Project) -> bool {
        assert!(!self.is_allowed, "no attack");
        project.fill(world()).await;
        let (status, body) = match &self.request {
            Request::Write(path, change) => {
                project.commit(self.caller, &change.write(&project.name(path))).await
            }
            read => read.read(project, self.caller).await,
        };
        assert!([StatusCode::OK, StatusCode::FORBIDDEN].contains(&status), "{status}: {body}");
        status == StatusCode::OK
    }

    async fn check_write(&self, project: &Project, name: &str, path: &str, change: &Change) {
        let before = project.document(path).await;
        let (status, body) = project.commit(self.caller, &change.write(&project.name(path))).await;
        let after = project.document(path).await;
        if self.is_allowed {
            assert_eq!(status, StatusCode::OK, "{name}: {body}");
            assert_eq!(
                after.as_ref().map(fields_of),
                change.applied(before.as_ref().map(fields_of)),
                "{name}"
            );
        } else {
            assert_eq!(status, StatusCode::FORBIDDEN, "{name}: {body}");
            assert_eq!(after, before, "{name}");
        }
    }

    async fn check_read(&self, project: &Project, name: &str, request: &Request) {
        let (status, body) = request.read(project, self.caller).await;
        if self.is_allowed {
            let (exists, everything) = request.read(project, Caller::Backend).await;
            assert_eq!(status, exists, "{name}: {body}");
            assert_eq!(names(&body), names(&everything), "{name}");
            assert!(
                !names(&body).is_empty() || status == StatusCode::NOT_FOUND,
                "{name} finds nothing: {body}"
            );
        } else {
            assert_eq!(status, StatusCode::FORBIDDEN, "{name}: {body}");
            assert_eq!(names(&body), [""; 0], "{name}");
        }
    }
}

impl Request {
    async fn read(&self, project: &Project, caller: Caller) -> Answer {
        let from = |collection: &str, everywhere: bool| {
            let selector = json!({"collectionId": collection, "allDescendants": everywhere});
            json!({"from": [selector]})
        };
        match self {
            Self::Get(path) | Self::List(path) => project.get(caller, path).await,
            Self::Group { parent, collection } => {
                let query = json!({"structuredQuery": from(collection, true)});
                project.call(caller, parent, "runQuery", &query).await
            }
            Self::Named(path) => {
                let (collection, _) = path.rsplit_once('/').expect("a document's path");
                let (parent, collection) = collection.rsplit_once('/').unwrap_or(("", collection));
                let mut query = from(collection, false);
                let name = json!({"referenceValue": project.name(path)});
                let field = json!({"fieldPath": "__name__"});
                query["where"] = json!({"fieldFilter": {"field": field, "op": "EQUAL", "value": name}});
                project.call(caller, parent, "runQuery", &json!({"structuredQuery": query})).await
            }
            Self::Newest(path, status) => {
                let (parent, collection) = path.rsplit_once('/').expect("a collection below a document");
                let mut query = from(collection, false);
                let [field, order] = ["status", "created_at"].map(|name| json!({"fieldPath": name}));
                let status = json!({"stringValue": status});
                query["where"] = json!({"fieldFilter": {"field": field, "op": "EQUAL", "value": status}});
                query["orderBy"] = json!([{"field": order, "direction": "DESCENDING"}]);
                project.call(caller, parent, "runQuery", &json!({"structuredQuery": query})).await
            }
            Self::Count(collection) => {
                let count = json!([{"alias": "count", "count": {}}]);
                let query = json!({"structuredQuery": from(collection, false), "aggregations": count});
                let query = json!({"structuredAggregationQuery": query});
                project.call(caller, "", "runAggregationQuery", &query).await
            }
            Self::Write(..) => unreachable!("writes are checked by what they leave"),
        }
    }
}

impl Change {
    fn write(&self, name: &str) -> Value {
        let update = |json| json!({"name": name, "fields": fields(json)});
        json!([match self {
            Self::Create(json) => json!({"update": update(json), "currentDocument": {"exists": false}}),
            Self::Overwrite(json) => json!({"update": update(json)}),
            Self::Merge(mask, json) => json!({"update": update(json), "updateMask": {"fieldPaths": mask}}),
            Self::Increment(field) => {
                let transform = json!({"fieldPath": field, "increment": {"integerValue": "1"}});
                json!({"transform": {"document": name, "fieldTransforms": [transform]}})
            }
            Self::Delete => json!({"delete": name}),
        }])
    }

    /// What the write makes of a document.
    fn applied(&self, before: Option<Fields>) -> Option<Fields> {
        let mut after = before.unwrap_or_default();
        match self {
            Self::Create(json) | Self::Overwrite(json) => after = fields(json),
            Self::Merge(mask, json) => {
                after.retain(|field, _| !mask.contains(&field.as_str()));
                after.extend(fields(json));
            }
            Self::Increment(field) => {
                after.insert((*field).to_owned(), json!({"integerValue": "1"}));
            }
            Self::Delete => return None,
        }
        Some(after)
    }
}

fn fields_of(document: &Value) -> Fields {
    document["fields"].as_object().cloned().unwrap_or_default()
}

/// The names of the documents in an answer.
fn names(body: &Value) -> Vec<&str> {
    match body {
        Value::Array(parts) => parts.iter().flat_map(names).collect(),
        Value::Object(document) if document.contains_key("createTime") => {
            document.get("name").and_then(Value::as_str).into_iter().collect()
        }
        Value::Object(parts) => parts.values().flat_map(names).collect(),
        _ => Vec::new(),
    }
}
