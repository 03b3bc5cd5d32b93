//! Keys that older writers kept in documents.

use crate::documents::legacy::inside::{has_keys_inside, may_be_keys};
use crate::firestore::values::{Fields, string};
use crate::model::typed_keys::{TypedError, TypedKeys};
use secrecy::SecretString;
use serde::Serialize;

/// What the fields were called.
const KEY_ID: [&str; 2] = ["key_id", "api_key_id"];
const SECRET_KEY: [&str; 2] = ["secret_key", "api_secret_key"];
const OAUTH_TOKEN: &str = "oauth_token";
const ENVIRONMENT: &str = "environment";
const BASE_URL: &str = "base_url";

/// What says something about keys, and is none.
const ABOUT: [&str; 3] = ["configured", ENVIRONMENT, BASE_URL];

/// The values of [`ENVIRONMENT`]. Others say nothing.
const ENVIRONMENTS: [&str; 2] = ["paper", "live"];

/// Why there are no keys. It quotes nothing of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoKeys {
    /// Nobody stored any.
    Absent,
    /// As no keys are.
    Malformed(TypedError),
    /// There are more than those of one account.
    TooMany,
}

#[derive(Serialize)]
struct Payload<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oauth_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_url: Option<&'a str>,
}

/// The keys in a document, without the blanks around them that were pasted along. Whatever else may be a key is never
/// taken for none.
pub(crate) fn keys_of(fields: &Fields) -> Result<TypedKeys, NoKeys> {
    if !has_keys(fields) {
        return Err(NoKeys::Absent);
    }
    if has_others(fields) {
        return Err(NoKeys::TooMany);
    }
    let either = |names: [&str; 2]| names.into_iter().find_map(|name| said(fields, name));
    let payload = Payload {
        key_id: either(KEY_ID),
        secret_key: either(SECRET_KEY),
        oauth_token: said(fields, OAUTH_TOKEN),
        environment: said(fields, ENVIRONMENT)
            .and_then(|word| ENVIRONMENTS.into_iter().find(|known| word.eq_ignore_ascii_case(known))),
        base_url: said(fields, BASE_URL),
    };
    // Texts make JSON without fail; an empty one would be refused.
    let payload = SecretString::from(serde_json::to_string(&payload).unwrap_or_default());
    TypedKeys::read(&payload, false, None).map_err(NoKeys::Malformed)
}

fn said<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(string).map(str::trim).filter(|text| !text.is_empty())
}

/// Whether there is more than one value by a name, or keys by names that nobody listed.
fn has_others(fields: &Fields) -> bool {
    let differ = |[one, other]: [&str; 2]| {
        said(fields, one).zip(said(fields, other)).is_some_and(|(one, other)| one != other)
    };
    let is_known = |name: &str| [KEY_ID, SECRET_KEY].concat().contains(&name) || name == OAUTH_TOKEN;
    let others = fields.iter().filter(|(name, _)| !is_known(name));
    let others = others.map(|(name, value)| (name.clone(), value.clone())).collect();
    differ(KEY_ID) || differ(SECRET_KEY) || has_keys_inside(&others)
}

/// Whether a document that is there for keys may have some: it has a value that is not only about them.
#[must_use]
pub(crate) fn has_keys(fields: &Fields) -> bool {
    fields.iter().any(|(name, value)| !ABOUT.contains(&name.as_str()) && may_be_keys(value))
}

/// Whether a document in a collection that nobody listed has keys: by the names of its fields, or it is there for keys.
#[must_use]
pub(crate) fn has_keys_below(path: &str, fields: &Fields) -> bool {
    let is_for_keys = path.rsplit('/').nth(1) == Some("secrets");
    has_keys_inside(fields) || (is_for_keys && has_keys(fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::{boolean, integer, map, null, text};
    use crate::model::keys::Environment;
    use crate::model::keys::MalformedKeys;
    use gcloud_sdk::google::firestore::v1::Value;
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
            (
                vec![
                    ("key_id", text("AK1")),
                    ("secret_key", text("hush")),
                    ("environment", text(" Paper")),
                    ("user_id", text("ana")),
                ],
                "AK1",
                Environment::Paper,
            ),
            (
                vec![
                    ("key_id", text("PK1")),
                    ("secret_key", text("hush")),
                    ("environment", text("production")),
                ],
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
    fn a_token_is_taken_where_its_environment_is_said() {
        let token = fields(&[("oauth_token", text(" hush\n")), ("environment", text("live"))]);
        let keys = keys_of(&token).expect("a token");
        assert_eq!(keys.payload.expose_secret(), r#"{"oauth_token":"hush","environment":"live"}"#);
    }

    #[test]
    fn what_are_no_keys_is_refused_and_only_what_has_no_value_is_none() {
        let pair = [("key_id", text("PK1")), ("secret_key", text("hush"))];
        let pair_and = |name, value| [&pair[..], &[(name, value)]].concat();
        let malformed = |malformed| NoKeys::Malformed(TypedError::Malformed(malformed));
        let missing = |name| malformed(MalformedKeys::Missing(name));
        for (document, expected) in [
            (vec![], NoKeys::Absent),
            (vec![("key_id", null()), ("secret_key", null())], NoKeys::Absent),
            (vec![("key_id", text("")), ("configured", text("yes"))], NoKeys::Absent),
            (vec![("connected", boolean(false)), ("environment", text("paper"))], NoKeys::Absent),
            (vec![("key_id", text("PK1"))], missing("secret_key")),
            (vec![("key_id", integer(7)), ("secret_key", text("x"))], missing("key_id")),
            (vec![("APCA_API_KEY_ID", text("PK1")), ("APCA_API_SECRET_KEY", text("x"))], NoKeys::TooMany),
            (vec![("keyId", text("PK1")), ("secretKey", text("x"))], NoKeys::TooMany),
            (vec![("id", text("PK1")), ("value", text("x"))], missing("key_id")),
            (vec![("paper", map(fields(&[("id", text("PK1"))])))], missing("key_id")),
            (vec![("oauth_token", text("x"))], NoKeys::Malformed(TypedError::NoEnvironment)),
            (pair_and("oauth_token", text("x")), malformed(MalformedKeys::TokenAndKeys)),
            (pair_and("api_key_id", text("PK2")), NoKeys::TooMany),
            (pair_and("live", map(fields(&[("secret_key", text("x"))]))), NoKeys::TooMany),
            (pair_and("base_url", text("https://example.com")), malformed(MalformedKeys::UnknownHost)),
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
        assert!(has("whatever", text("PK")));
        assert!(!has("key_id", null()) && !has("key_id", text("")) && !has("configured", text("yes")));
    }
}
