//! The control surface below `/sandbox/`: faults on demand, and what was asked so far.

use super::answer::{self, Answer};
use super::faults::{Faults, Injected, Rule};
use super::firestore::Billed;
use super::requests::Requests;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

/// Where the paths of the control surface begin.
pub(super) const PREFIX: &str = "/sandbox/";

/// Answers one request to the control surface. It takes no part in faults, latency or the log.
pub(super) fn answer(
    request: &Request<Bytes>,
    faults: &Faults,
    requests: &Requests,
    billed: Billed,
) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/sandbox/faults") => {
            let rules: Vec<Value> = faults.rules().iter().map(|injected| describe(injected)).collect();
            answer::json(StatusCode::OK, &json!({ "faults": rules }))
        }
        (&Method::POST, "/sandbox/faults") => match read_rule(request.body()) {
            Ok(rule) => answer::json(StatusCode::CREATED, &describe(&faults.add(rule))),
            Err(reason) => answer::json(StatusCode::BAD_REQUEST, &json!({ "error": reason })),
        },
        (&Method::DELETE, "/sandbox/faults") => {
            faults.clear();
            answer::json(StatusCode::OK, &json!({ "faults": [] }))
        }
        (&Method::GET, "/sandbox/requests") => {
            let (counts, recent) = (requests.counts(), requests.recent());
            answer::json(StatusCode::OK, &json!({"counts": counts, "documents": billed, "recent": recent}))
        }
        (method, path) => {
            let reason = format!(
                "no {method} {path}: there are GET, POST and DELETE /sandbox/faults, and GET /sandbox/requests"
            );
            answer::json(StatusCode::NOT_FOUND, &json!({ "error": reason }))
        }
    }
}

fn read_rule(body: &[u8]) -> Result<Rule, String> {
    let json: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    Rule::from_json(&json).map_err(|error| error.to_string())
}

/// The rule as JSON, with its spec and counts beside it.
fn describe(injected: &Injected) -> Value {
    let rule = injected.rule();
    json!({
        "rule": rule.to_json(),
        "spec": rule.to_string(),
        "matched": injected.matched(),
        "applied": injected.applied(),
    })
}
