//! Secret Manager's JSON, as Google writes it.

use super::secret::Version;
use crate::answer::{self, Answer, ERROR_INFO};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Largest payload that Secret Manager takes.
pub(super) const MAX_PAYLOAD: usize = 64 * 1024;

/// Google's APIs read both alphabets of base64, padded or not; gcloud sends the URL-safe one.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An error in Google's envelope.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    name: &'static str,
    message: String,
    /// The reason that Google gives beside the message.
    reason: Option<&'static str>,
}

impl Refusal {
    pub(super) fn invalid_argument(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            name: "INVALID_ARGUMENT",
            message: message.into(),
            reason: None,
        }
    }

    pub(super) fn failed_precondition(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            name: "FAILED_PRECONDITION",
            message: message.into(),
            reason: None,
        }
    }

    pub(super) fn permission_denied(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            name: "PERMISSION_DENIED",
            message: message.into(),
            reason: Some("IAM_PERMISSION_DENIED"),
        }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, name: "NOT_FOUND", message: message.into(), reason: None }
    }

    pub(super) fn already_exists(message: impl Into<String>) -> Self {
        Self { status: StatusCode::CONFLICT, name: "ALREADY_EXISTS", message: message.into(), reason: None }
    }

    pub(super) fn answer(&self) -> Answer {
        let Self { status, name, message, reason } = self;
        let mut body = json!({"error": {"code": status.as_u16(), "message": message, "status": name}});
        if let Some(reason) = reason {
            let info = json!({"@type": ERROR_INFO, "reason": reason, "domain": "iam.googleapis.com"});
            body["error"]["details"] = json!([info]);
        }
        answer::json(*status, &body)
    }
}

/// The payload of an `addVersion` request, and whether the caller sent a checksum for it.
pub(super) struct NewPayload {
    pub(super) data: Bytes,
    pub(super) has_checksum: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AddVersionRequest {
    payload: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PayloadMessage {
    #[serde(default)]
    data: String,
    data_crc32c: Option<Int64>,
}

/// JSON of an int64: a string by the book, a number by many clients.
#[derive(Deserialize)]
#[serde(untagged)]
enum Int64 {
    Number(i64),
    Text(String),
}

impl Int64 {
    fn value(&self) -> Option<i64> {
        match self {
            Self::Number(value) => Some(*value),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

/// Reads and checks the body of an `addVersion` request.
pub(super) fn read_payload(body: &[u8]) -> Result<NewPayload, Refusal> {
    let malformed = || Refusal::invalid_argument("Invalid JSON payload received.");
    let request = is_object(body).then(|| serde_json::from_slice(body).ok()).flatten();
    let AddVersionRequest { payload } = request.ok_or_else(malformed)?;
    let payload = payload.ok_or_else(|| Refusal::invalid_argument("Secret Payload cannot be empty."))?;
    // What is derived would take an array of the fields too.
    let payload: PayloadMessage = serde_json::from_value(Value::Object(payload)).map_err(|_| malformed())?;
    let standard = payload.data.replace('-', "+").replace('_', "/");
    let data = LENIENT.decode(standard).map_err(|_| malformed())?;
    if data.len() > MAX_PAYLOAD {
        return Err(Refusal::invalid_argument("The Secret Payload is too large, the limit is 65536 bytes."));
    }
    let has_checksum = match payload.data_crc32c {
        None => false,
        Some(sent) if sent.value() == Some(i64::from(crc32c::crc32c(&data))) => true,
        Some(_) => {
            return Err(Refusal::invalid_argument(
                "An incorrect data_crc32c was received: the payload was corrupted.",
            ));
        }
    };
    Ok(NewPayload { data: data.into(), has_checksum })
}

pub(super) fn secret(name: &str, created: Timestamp) -> Value {
    json!({
        "name": name,
        "replication": {"automatic": {}},
        "createTime": time(created),
        "etag": etag(name),
    })
}

pub(super) fn version(name: &str, version: &Version) -> Value {
    let mut message = json!({
        "name": name,
        "createTime": time(version.created),
        "state": version.state.name(),
        "replicationStatus": {"automatic": {}},
        "etag": etag(&format!("{name} {}", version.state.name())),
    });
    if let Some(destroyed) = version.destroyed {
        message["destroyTime"] = time(destroyed).into();
    }
    message
}

/// An `AccessSecretVersionResponse` message.
pub(super) fn accessed(name: &str, payload: &[u8]) -> Value {
    json!({
        "name": name,
        "payload": {
            "data": STANDARD.encode(payload),
            "dataCrc32c": crc32c::crc32c(payload).to_string(),
        },
    })
}

/// Google's clocks show microseconds.
fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn etag(of: &str) -> String {
    format!("\"{:08x}\"", crc32c::crc32c(of.as_bytes()))
}

/// What serde derives takes an array of the right length too.
fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().first() == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(payload: &Value) -> Result<NewPayload, Refusal> {
        read_payload(json!({ "payload": payload }).to_string().as_bytes())
    }

    #[test]
    fn both_alphabets_of_base64_are_read() {
        for data in ["+/8=", "-_8=", "-_8"] {
            assert_eq!(add(&json!({ "data": data })).ok().unwrap().data, &[0xfb, 0xff][..], "{data}");
        }
    }

    #[test]
    fn a_right_checksum_is_noticed_as_text_or_number() {
        let sum = crc32c::crc32c(b"abc");
        for checksum in [json!(sum.to_string()), json!(sum)] {
            assert!(add(&json!({"data": "YWJj", "dataCrc32c": checksum})).ok().unwrap().has_checksum);
        }
        assert!(!add(&json!({"data": "YWJj"})).ok().unwrap().has_checksum);
    }

    #[test]
    fn bad_payloads_are_refused() {
        let too_large = STANDARD.encode(vec![0; MAX_PAYLOAD + 1]);
        for payload in [
            json!({"data": "YWJj", "dataCrc32c": "1"}),
            json!({"data": "YWJj", "dataCrc32c": "many"}),
            json!({"data": "%"}),
            json!({ "data": too_large }),
            Value::Null,
        ] {
            let refusal = add(&payload).err().unwrap();
            assert_eq!((refusal.status.as_u16(), refusal.name), (400, "INVALID_ARGUMENT"), "{payload}");
        }
        for body in [&b"not json"[..], b"[]", br#"[{"data":"YWJj"}]"#, br#"{"payload":["YWJj",null]}"#] {
            assert!(read_payload(body).is_err(), "{}", String::from_utf8_lossy(body));
        }
    }
}
