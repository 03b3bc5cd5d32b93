//! Keys inside documents that are not there for keys.

use crate::firestore::values::{Fields, entries, is_null, items, string};
use gcloud_sdk::google::firestore::v1::Value;
use gcloud_sdk::google::firestore::v1::value::ValueType;

/// Parts of the names of what is a key, in small letters, and without what separates words.
const PARTS: [&str; 7] =
    ["secret", "apikey", "alpacakey", "keyid", "oauthtoken", "accesstoken", "refreshtoken"];

/// Ends of the names of what only leads to a key.
const LEADS: [&str; 3] = ["path", "name", "version"];

/// Longer names are texts that happen to have a colon behind them.
const NAME_CHARS: usize = 40;

/// Whether any field at any depth has a key by its name, in a text of JSON too.
#[must_use]
pub(crate) fn has_keys_inside(fields: &Fields) -> bool {
    fields.iter().any(|(name, value)| (names_keys(name) && may_be_keys(value)) || is_around_keys(value))
}

/// Whether a value can be a key at all, or have one in it.
#[must_use]
pub(super) fn may_be_keys(value: &Value) -> bool {
    match &value.value_type {
        Some(ValueType::BooleanValue(_) | ValueType::TimestampValue(_)) => false,
        Some(ValueType::MapValue(map)) => !map.fields.is_empty(),
        Some(ValueType::ArrayValue(array)) => !array.values.is_empty(),
        _ => !is_null(value) && string(value) != Some(""),
    }
}

fn is_around_keys(value: &Value) -> bool {
    entries(value).is_some_and(has_keys_inside)
        || items(value).is_some_and(|items| items.iter().any(is_around_keys))
        || string(value).is_some_and(is_json_around_keys)
}

/// As JSON, or as Python shows it.
fn is_json_around_keys(text: &str) -> bool {
    let mut pieces = text.split(['"', '\'']).peekable();
    if !text.trim_start().starts_with(['{', '[']) {
        return false;
    }
    while let Some(piece) = pieces.next() {
        let is_name = pieces.peek().is_some_and(|next| next.trim_start().starts_with(':'));
        if is_name && piece.len() <= NAME_CHARS && names_keys(piece) {
            return true;
        }
    }
    false
}

fn names_keys(name: &str) -> bool {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    PARTS.iter().any(|part| plain.contains(part)) && !LEADS.iter().any(|end| plain.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::{array, boolean, bytes, map, null, text};

    #[test]
    fn keys_are_found_by_their_names_at_any_depth() {
        let one = |name: &str, value: Value| Fields::from([(name.to_owned(), value)]);
        let deep = |value| array(vec![null(), map(one("keys", map(one("secret_key", value))))]);
        for (name, value, expected) in [
            ("key_id", text("PK1"), true),
            ("api_secret_key", text("hush"), true),
            ("APCA_API_SECRET_KEY", text("hush"), true),
            ("apiSecret", bytes(vec![1]), true),
            ("oauth-token", text("hush"), true),
            ("deep", deep(text("hush")), true),
            ("deep", deep(null()), false),
            ("raw", text(r#" {"user": "ana", "secret_key" : "hush"}"#), true),
            ("raw", text("[{'keyId': 'PK1'}]"), true),
            ("raw", text(r#"{"reason": "a secret"}"#), false),
            ("reason", text("secret_key: hush"), false),
            ("secret_key", null(), false),
            ("secret_key", text(""), false),
            ("has_api_key", boolean(true), false),
            ("encrypted_key_path", text("projects/p/secrets/alpaca-keys-ana"), false),
            ("secret_name", text("alpaca-keys-ana"), false),
            ("key_version", text("1"), false),
            ("symbol", text("KEY"), false),
            ("signal_payload", map(one("vix", text("14"))), false),
        ] {
            assert_eq!(has_keys_inside(&one(name, value.clone())), expected, "{name} {value:?}");
        }
    }
}
