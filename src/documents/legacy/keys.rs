//! Keys that older writers kept in documents.

use crate::firestore::values::{Fields, is_null, string};
use crate::model::typed_keys::{TypedError, TypedKeys};
use gcloud_sdk::google::firestore::v1::Value;
use secrecy::SecretString;
use serde::Serialize;

/// What the fields were called.
const KEY_ID: [&str; 2] = ["key_id", "api_key_id"];
const SECRET_KEY: [&str; 2] = ["secret_key", "api_secret_key"];
const BASE_URL: &str = "base_url";

/// Why there are no keys. It quotes nothing of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoKeys {
    /// Nobody stored any.
    Absent,
    /// As no keys are.
    Malformed(TypedError),
}

#[derive(Serialize)]
struct Payload<'a> {
    key_id: &'a str,
    secret_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_url: Option<&'a str>,
}

/// The keys in a document, without the blanks around them that were pasted along.
pub(crate) fn keys_of(fields: &Fields) -> Result<TypedKeys, NoKeys> {
    let text = |name: &str| fields.get(name).and_then(string).map(str::trim).filter(|text| !text.is_empty());
    let either = |names: [&str; 2]| names.into_iter().find_map(text);
    let (Some(key_id), Some(secret_key)) = (either(KEY_ID), either(SECRET_KEY)) else {
        return Err(if has_keys(fields) { NoKeys::Malformed(TypedError::OneLine) } else { NoKeys::Absent });
    };
    let payload = Payload { key_id, secret_key, base_url: text(BASE_URL) };
    // Texts make JSON without fail; an empty one would be refused.
    let payload = SecretString::from(serde_json::to_string(&payload).unwrap_or_default());
    TypedKeys::read(&payload, false, None).map_err(NoKeys::Malformed)
}

/// Whether a document that may have keys has some.
#[must_use]
pub(crate) fn has_keys(fields: &Fields) -> bool {
    let is_said = |value: &Value| !is_null(value) && string(value) != Some("");
    KEY_ID.iter().chain(&SECRET_KEY).filter_map(|name| fields.get(*name)).any(is_said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::{integer, null, text};
    use crate::model::keys::Environment;
    use crate::model::keys::MalformedKeys;
    use secrecy::ExposeSecret;

    fn fields(fields: &[(&str, Value)]) -> Fields {
        fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn keys_are_read_as_any_writer_wrote_them() {
        let url = |url: &str| ("base_url", text(url));
        for (document, key_id, environment) in [
            (vec![("key_id", text("PK1")), ("secret_key", text("hush"))], "PK1", Environment::Paper),
            (
                vec![("api_key_id", text(" PK1\n")), ("api_secret_key", text("hush "))],
                "PK1",
                Environment::Paper,
            ),
            (vec![("key_id", text("AK1")), ("secret_key", text("hush"))], "AK1", Environment::Live),
            (
                vec![
                    ("key_id", text("AK1")),
                    ("secret_key", text("hush")),
                    url("https://paper-api.alpaca.markets/v2/ "),
                ],
                "AK1",
                Environment::Paper,
            ),
            (
                vec![("key_id", null()), ("api_key_id", text("PK1")), ("secret_key", text("hush"))],
                "PK1",
                Environment::Paper,
            ),
        ] {
            let keys = keys_of(&fields(&document)).expect("keys");
            assert_eq!(keys.keys.environment(), environment);
            let stored: serde_json::Value = serde_json::from_str(keys.payload.expose_secret()).expect("JSON");
            assert_eq!((&stored["key_id"], &stored["secret_key"]), (&key_id.into(), &"hush".into()));
            assert_eq!(stored["environment"], environment.as_str());
        }
    }

    #[test]
    fn what_are_no_keys_is_refused() {
        let pair = [("key_id", text("PK1")), ("secret_key", text("hush"))];
        let with_url = [&pair[..], &[("base_url", text("https://example.com"))]].concat();
        for (document, expected) in [
            (vec![], NoKeys::Absent),
            (vec![("key_id", null()), ("secret_key", null())], NoKeys::Absent),
            (vec![("key_id", text("")), ("configured", text("yes"))], NoKeys::Absent),
            (vec![("key_id", text("PK1"))], NoKeys::Malformed(TypedError::OneLine)),
            (vec![("key_id", integer(7)), ("secret_key", text("x"))], NoKeys::Malformed(TypedError::OneLine)),
            (with_url, NoKeys::Malformed(TypedError::Malformed(MalformedKeys::UnknownHost))),
        ] {
            assert_eq!(keys_of(&fields(&document)).map(drop), Err(expected), "{document:?}");
        }
    }

    #[test]
    fn a_document_of_nulls_has_no_keys() {
        let has = |name: &str, value: Value| has_keys(&fields(&[(name, value)]));
        assert!(
            has("key_id", text("PK")) && has("api_secret_key", text(" ")) && has("secret_key", integer(7))
        );
        assert!(!has("key_id", null()) && !has("key_id", text("")) && !has("configured", text("yes")));
    }
}
