//! Errors as the services themselves, or something in front of them, send them.

use crate::alpaca::Alpaca;
use crate::answer::{self, Answer, ERROR_INFO};
use crate::call::Service;
use gcloud_sdk::google::rpc;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use prost::Message;
use serde_json::{Value, json};
use tonic::body::Body;
use tonic::{Code, Status};

/// A gRPC call that failed at once.
pub(crate) fn grpc_error(code: Code, message: Option<&str>, reason: Option<&str>) -> Response<Body> {
    let message = message.unwrap_or("sent by a fault rule");
    let Some(reason) = reason else { return Status::new(code, message).into_http() };
    let info = rpc::ErrorInfo { reason: reason.to_owned(), ..rpc::ErrorInfo::default() };
    let info = prost_types::Any { type_url: ERROR_INFO.to_owned(), value: info.encode_to_vec() };
    let details = rpc::Status { code: code.into(), message: message.to_owned(), details: vec![info] };
    Status::with_details(code, message, details.encode_to_vec().into()).into_http()
}

/// A REST call that failed: as `service` would say it, unless the fault has a body of its own.
pub(crate) fn rest_error(
    service: Service,
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<String>,
    reason: Option<&str>,
) -> Answer {
    let mut answer = match (service, body, reason) {
        (_, Some(body), _) => answer::json_text(status, body),
        (_, None, Some(reason)) => answer::json(status, &googles(status, reason)),
        (Service::Alpaca, None, None) => Alpaca::refusal(status),
        (_, None, None) => answer::json_text(status, ""),
    };
    add(answer.headers_mut(), headers);
    answer
}

/// Adds headers; a content type of the rule's own replaces the usual one.
fn add(to: &mut HeaderMap, headers: Vec<(HeaderName, HeaderValue)>) {
    if headers.iter().any(|(name, _)| name == CONTENT_TYPE) {
        to.remove(CONTENT_TYPE);
    }
    to.extend(headers);
}

/// Google's envelope around an error and its reason.
fn googles(status: StatusCode, reason: &str) -> Value {
    let details = json!([{"@type": ERROR_INFO, "reason": reason, "domain": "googleapis.com"}]);
    json!({"error": {
        "code": status.as_u16(),
        "message": "sent by a fault rule",
        "status": code_of(status),
        "details": details,
    }})
}

/// The code that Google's services send with a status.
fn code_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        400..=498 => "FAILED_PRECONDITION",
        501 => "UNIMPLEMENTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(
        service: Service,
        status: u16,
        headers: &[(&'static str, &'static str)],
        body: Option<&str>,
    ) -> Answer {
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let status = StatusCode::from_u16(status).unwrap();
        let headers = headers.iter().map(header).collect();
        rest_error(service, status, headers, body.map(str::to_owned), None)
    }

    #[test]
    fn an_edges_refusal_has_its_own_content_type_and_body() {
        let headers = [("content-type", "text/html"), ("server", "edge")];
        let answer = error(Service::Alpaca, 403, &headers, Some("<html>no</html>"));
        let types: Vec<HeaderValue> = answer.headers().get_all(CONTENT_TYPE).iter().cloned().collect();
        assert_eq!(
            (types, &answer.body()[..]),
            (vec![HeaderValue::from_static("text/html")], &b"<html>no</html>"[..])
        );
        assert_eq!(answer.headers()["server"], "edge");
    }

    #[test]
    fn without_a_body_alpaca_refuses_in_its_own_words_and_others_in_none() {
        let body = |service, status, body| {
            String::from_utf8(error(service, status, &[], body).into_body().to_vec()).unwrap()
        };
        assert!(body(Service::Alpaca, 401, None).contains("request is not authorized"));
        assert!(body(Service::Alpaca, 403, None).contains("forbidden."));
        assert_eq!(body(Service::Alpaca, 403, Some("")), "");
        assert_eq!(body(Service::Alpaca, 503, None), "");
        assert_eq!(body(Service::SecretManager, 403, None), "");
    }

    #[test]
    fn a_reason_is_sent_as_google_sends_it() {
        let answer =
            rest_error(Service::SecretManager, StatusCode::FORBIDDEN, vec![], None, Some("SERVICE_DISABLED"));
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(body["error"]["status"], "PERMISSION_DENIED");
        assert_eq!(body["error"]["details"][0]["reason"], "SERVICE_DISABLED");
        let refused = grpc_error(Code::PermissionDenied, Some("no"), Some("SERVICE_DISABLED"));
        let status = Status::from_header_map(refused.headers()).unwrap();
        let details = rpc::Status::decode(status.details()).unwrap().details;
        assert_eq!(rpc::ErrorInfo::decode(&details[0].value[..]).unwrap().reason, "SERVICE_DISABLED");
    }
}
