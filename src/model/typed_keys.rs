//! Keys as a person types or pipes them in, and the payload that is stored of them.

use crate::model::keys::{AlpacaKeys, Environment, MalformedKeys};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// Why what was typed is no key. It quotes nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TypedError {
    /// Nothing was typed.
    #[error("there are no keys: type the key id and the secret key, each on a line, or the secret's JSON")]
    Nothing,
    /// One line, where two are needed.
    #[error("there is only one line: the key id and the secret key stand on a line each")]
    OneLine,
    /// More lines than make sense.
    #[error("there are too many lines: the key id and the secret key stand on a line each")]
    TooMany,
    /// As no secret may be.
    #[error(transparent)]
    Malformed(#[from] MalformedKeys),
    /// What was typed says one thing, and the flag another.
    #[error("the keys say {}, and the command line says {}", .typed.as_str(), .flag.as_str())]
    Contradiction {
        /// By the JSON.
        typed: Environment,
        /// By the command line.
        flag: Environment,
    },
    /// Nobody says where a token's account is.
    #[error("a token does not say where its account is: add --paper or --live")]
    NoEnvironment,
}

/// Keys that can be tried, and what is stored of them.
#[derive(Debug)]
pub(crate) struct TypedKeys {
    /// To be tried at Alpaca.
    pub(crate) keys: AlpacaKeys,
    /// The secret's payload, which names the environment.
    pub(crate) payload: SecretString,
}

/// The fields that a payload may have.
#[derive(Deserialize)]
struct Fields {
    key_id: Option<SecretString>,
    secret_key: Option<SecretString>,
    oauth_token: Option<SecretString>,
    environment: Option<SecretString>,
    base_url: Option<SecretString>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Payload<'a> {
    Pair { key_id: &'a str, secret_key: &'a str, environment: &'a str },
    Token { oauth_token: &'a str, environment: &'a str },
}

impl TypedKeys {
    /// Reads what was piped in: the secret's JSON, or the key id and the secret key on a line each; with `is_token` the
    /// token alone.
    pub(crate) fn read(
        text: &SecretString,
        is_token: bool,
        flag: Option<Environment>,
    ) -> Result<Self, TypedError> {
        let text = text.expose_secret().trim_matches(|c: char| c == '\u{feff}' || c.is_whitespace());
        if text.starts_with('{') {
            return Self::of_json(text, flag);
        }
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        match (&lines[..], is_token) {
            ([], _) => Err(TypedError::Nothing),
            ([token], true) => Self::of_token(token, flag),
            ([_], false) => Err(TypedError::OneLine),
            ([key_id, secret_key], false) => Self::of_pair(key_id, secret_key, flag),
            _ => Err(TypedError::TooMany),
        }
    }

    /// A key pair. Without a flag its id says where its account is.
    pub(crate) fn of_pair(
        key_id: &str,
        secret_key: &str,
        flag: Option<Environment>,
    ) -> Result<Self, TypedError> {
        let environment = AlpacaKeys::new(key_id.into(), secret_key.into(), flag)?.environment().as_str();
        Self::of_payload(&Payload::Pair { key_id, secret_key, environment })
    }

    /// A token.
    pub(crate) fn of_token(token: &str, flag: Option<Environment>) -> Result<Self, TypedError> {
        let environment = flag.ok_or(TypedError::NoEnvironment)?.as_str();
        Self::of_payload(&Payload::Token { oauth_token: token, environment })
    }

    fn of_json(text: &str, flag: Option<Environment>) -> Result<Self, TypedError> {
        // What it cannot read is told without a word of it.
        let fields: Result<Fields, _> = serde_json::from_str(text);
        let has_world = |fields: &Fields| fields.environment.is_some() || fields.base_url.is_some();
        let named = fields.as_ref().is_ok_and(has_world);
        let typed = match (AlpacaKeys::from_payload(text.as_bytes()), &fields) {
            (Ok(keys), _) => Some(keys.environment()),
            (Err(_), Ok(Fields { oauth_token: Some(_), key_id: None, secret_key: None, .. })) if !named => {
                flag
            }
            (Err(malformed), _) => return Err(malformed.into()),
        };
        let fields = fields.map_err(|_| MalformedKeys::Twice)?;
        let typed = typed.filter(|_| named);
        if let Some((typed, flag)) = typed.zip(flag).filter(|(typed, flag)| typed != flag) {
            return Err(TypedError::Contradiction { typed, flag });
        }
        match (&fields.oauth_token, &fields.key_id, &fields.secret_key) {
            (Some(token), ..) => Self::of_token(token.expose_secret(), typed.or(flag)),
            (None, Some(id), Some(key)) => {
                Self::of_pair(id.expose_secret(), key.expose_secret(), typed.or(flag))
            }
            _ => Err(TypedError::Nothing),
        }
    }

    fn of_payload(payload: &Payload<'_>) -> Result<Self, TypedError> {
        // Texts make JSON without fail; an empty payload would be refused below.
        let payload = SecretString::from(serde_json::to_string(payload).unwrap_or_default());
        let keys = AlpacaKeys::from_payload(payload.expose_secret().as_bytes())?;
        Ok(Self { keys, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::Environment::{Live, Paper};
    use super::*;

    fn read(text: &str, flag: Option<Environment>) -> Result<String, TypedError> {
        let typed = TypedKeys::read(&SecretString::from(text.to_owned()), false, flag)?;
        Ok(typed.payload.expose_secret().to_owned())
    }

    fn stored(key_id: &str, environment: &str) -> Result<String, TypedError> {
        Ok(format!(r#"{{"key_id":"{key_id}","secret_key":"s/+","environment":"{environment}"}}"#))
    }

    #[test]
    fn what_is_stored_always_says_where_the_account_is() {
        for (text, flag, expected) in [
            ("PK1\ns/+", None, stored("PK1", "paper")),
            ("\u{feff} PK1 \r\n\r\n s/+ \r\n", None, stored("PK1", "paper")),
            ("AK1\ns/+", None, stored("AK1", "live")),
            ("AK1\ns/+", Some(Paper), stored("AK1", "paper")),
            (r#"{"key_id": "PK1", "secret_key": "s/+"}"#, Some(Live), stored("PK1", "live")),
            (
                r#"{"key_id": "AK1", "secret_key": "s/+", "environment": "paper"}"#,
                None,
                stored("AK1", "paper"),
            ),
            (
                r#"{"key_id":"PK1","secret_key":"s/+","base_url":"https://api.alpaca.markets"}"#,
                Some(Live),
                stored("PK1", "live"),
            ),
        ] {
            assert_eq!(read(text, flag), expected, "{text} {flag:?}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_a_word_of_it() {
        let paper = r#"{"key_id": "PK1", "secret_key": "s", "environment": "paper"}"#;
        for (text, flag, expected) in [
            ("", None, TypedError::Nothing),
            (" \n", None, TypedError::Nothing),
            ("PK1", None, TypedError::OneLine),
            ("PK1\ns\npaper", None, TypedError::TooMany),
            (paper, Some(Live), TypedError::Contradiction { typed: Paper, flag: Live }),
            (r#"{"key_id": "PK1"}"#, None, TypedError::Malformed(MalformedKeys::Missing("secret_key"))),
            ("PK\u{e9}\ns", None, TypedError::Malformed(MalformedKeys::NotAHeader("key_id"))),
        ] {
            assert_eq!(read(text, flag), Err(expected), "{text}");
            assert!(!expected.to_string().contains("PK1"), "{expected}");
        }
    }

    #[test]
    fn nothing_typed_can_be_printed() {
        let typed = TypedKeys::of_pair("PK1", "hush", None).expect("a pair");
        assert!(!format!("{typed:?}").contains("hush") && !format!("{typed:?}").contains("PK1"));
    }
}
