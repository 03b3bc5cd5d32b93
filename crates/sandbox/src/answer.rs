//! Whole REST answers, before they are put on the wire.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use tonic::body::Body;

/// The type of an error's details that carry a reason.
pub(super) const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// A REST answer with its whole body.
pub(super) type Answer = Response<Bytes>;

/// An answer with a body of JSON text.
pub(super) fn json_text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    answer
}

/// An answer with `value` as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    // Serializing our own structs of strings and numbers cannot fail; an empty body would show it if it did.
    json_text(status, serde_json::to_vec(value).unwrap_or_default())
}

/// The answer as a body that the server can send.
pub(super) fn whole(answer: Answer) -> Response<Body> {
    answer.map(|body| Body::new(Full::new(body)))
}
