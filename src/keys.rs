//! A user's Alpaca keys, as their secret's payload holds them.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::fmt;

/// Which of Alpaca's two worlds an account lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// Simulated money, `paper-api.alpaca.markets`.
    Paper,
    /// Real money, `api.alpaca.markets`.
    Live,
}

impl Environment {
    /// The name used in payloads and documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Live => "live",
        }
    }

    /// Alpaca's host for it.
    #[must_use]
    pub fn base_url(self) -> &'static str {
        match self {
            Self::Paper => "https://paper-api.alpaca.markets",
            Self::Live => "https://api.alpaca.markets",
        }
    }

    /// Paper key ids start with `PK`; Alpaca documents it nowhere, but every sample agrees.
    fn of_key_id(key_id: &str) -> Self {
        if key_id.starts_with("PK") { Self::Paper } else { Self::Live }
    }
}

/// Why a payload is not a key pair. Says which field, never what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedKeys {
    /// Not a JSON object with string fields.
    #[error(
        "the payload is not a JSON object of texts such as {{\"key_id\": \"...\", \"secret_key\": \"...\"}}"
    )]
    NotJson,
    /// A field is not there.
    #[error("the payload has no {0}")]
    Missing(&'static str),
    /// A field is there, but empty.
    #[error("the payload's {0} is empty")]
    Empty(&'static str),
    /// A line break or the like, usually pasted along with the key.
    #[error("the payload's {0} has a character that no request header can carry")]
    NotAHeader(&'static str),
    /// Anything but `paper` and `live`.
    #[error("the payload's environment is neither \"paper\" nor \"live\"")]
    UnknownEnvironment,
}

/// A key pair that can be sent. It can move money, so it cannot be printed, and is wiped on drop.
pub struct AlpacaKeys {
    key_id: SecretString,
    secret_key: SecretString,
    environment: Environment,
}

#[derive(Deserialize)]
struct Payload {
    key_id: Option<SecretString>,
    secret_key: Option<SecretString>,
    environment: Option<SecretString>,
}

impl AlpacaKeys {
    /// Reads `{"key_id": "...", "secret_key": "...", "environment": "paper"|"live" (optional)}`.
    pub fn from_payload(payload: &[u8]) -> Result<Self, MalformedKeys> {
        // serde's message would quote the payload, so it is dropped here.
        let payload: Payload = serde_json::from_slice(payload).map_err(|_| MalformedKeys::NotJson)?;
        let environment = payload.environment.as_ref().map(|text| match text.expose_secret() {
            "paper" => Ok(Environment::Paper),
            "live" => Ok(Environment::Live),
            _ => Err(MalformedKeys::UnknownEnvironment),
        });
        Self::new(
            payload.key_id.ok_or(MalformedKeys::Missing("key_id"))?,
            payload.secret_key.ok_or(MalformedKeys::Missing("secret_key"))?,
            environment.transpose()?,
        )
    }

    /// Checks a pair; without an environment, the key id tells.
    pub fn new(
        key_id: SecretString,
        secret_key: SecretString,
        environment: Option<Environment>,
    ) -> Result<Self, MalformedKeys> {
        for (field, secret) in [("key_id", &key_id), ("secret_key", &secret_key)] {
            let text = secret.expose_secret();
            if text.is_empty() {
                return Err(MalformedKeys::Empty(field));
            }
            // Blanks at the ends would be lost on the way.
            if text.trim() != text || !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
                return Err(MalformedKeys::NotAHeader(field));
            }
        }
        let environment = environment.unwrap_or_else(|| Environment::of_key_id(key_id.expose_secret()));
        Ok(Self { key_id, secret_key, environment })
    }

    /// The world the keys belong to.
    #[must_use]
    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// Value of the `APCA-API-KEY-ID` header.
    #[must_use]
    pub fn key_id(&self) -> &SecretString {
        &self.key_id
    }

    /// Value of the `APCA-API-SECRET-KEY` header.
    #[must_use]
    pub fn secret_key(&self) -> &SecretString {
        &self.secret_key
    }
}

impl fmt::Debug for AlpacaKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlpacaKeys").field("environment", &self.environment).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(payload: &str) -> Result<AlpacaKeys, MalformedKeys> {
        AlpacaKeys::from_payload(payload.as_bytes())
    }

    fn refusal(payload: &str) -> MalformedKeys {
        parse(payload).expect_err(payload)
    }

    #[test]
    fn the_environment_is_the_payloads_word_or_the_key_ids_prefix() {
        let environment = |payload| parse(payload).expect(payload).environment();
        assert_eq!(environment(r#"{"key_id":"PK1","secret_key":"s"}"#), Environment::Paper);
        assert_eq!(environment(r#"{"key_id":"AK1","secret_key":"s"}"#), Environment::Live);
        assert_eq!(
            environment(r#"{"key_id":"PK1","secret_key":"s","environment":"live"}"#),
            Environment::Live
        );
        assert_eq!(
            environment(r#"{"key_id":"AK1","secret_key":"s","environment":"paper"}"#),
            Environment::Paper
        );
        assert_eq!(
            environment(r#"{"key_id":"AK1","secret_key":"s","environment":null,"x":1}"#),
            Environment::Live
        );
    }

    #[test]
    fn each_malformed_payload_is_told_apart() {
        for payload in
            ["", "not json", "[]", "\"PK1\"", r#"{"key_id":1,"secret_key":"s"}"#, r#"{"key_id":"PK1""#]
        {
            assert_eq!(refusal(payload), MalformedKeys::NotJson, "{payload}");
        }
        assert_eq!(refusal(r#"{"secret_key":"s"}"#), MalformedKeys::Missing("key_id"));
        assert_eq!(refusal(r#"{"key_id":"PK1","secret_key":null}"#), MalformedKeys::Missing("secret_key"));
        assert_eq!(refusal(r#"{"key_id":"","secret_key":"s"}"#), MalformedKeys::Empty("key_id"));
        assert_eq!(
            refusal(r#"{"key_id":"PK1","secret_key":"s\n"}"#),
            MalformedKeys::NotAHeader("secret_key")
        );
        assert_eq!(refusal(r#"{"key_id":"PKé","secret_key":"s"}"#), MalformedKeys::NotAHeader("key_id"));
        assert_eq!(
            refusal(r#"{"key_id":"PK1","secret_key":"s","environment":"prod"}"#),
            MalformedKeys::UnknownEnvironment
        );
    }

    #[test]
    fn neither_key_can_be_printed() {
        let keys = parse(r#"{"key_id":"PKTEST","secret_key":"hush"}"#).expect("well-formed");
        let shown = format!("{keys:?} {:?} {:?}", keys.key_id(), keys.secret_key());
        assert!(!shown.contains("PKTEST") && !shown.contains("hush"), "{shown}");
    }

    #[test]
    fn a_refusal_does_not_quote_the_payload() {
        for payload in [r#"{"key_id":{"hush":1}}"#, r#"{"key_id":"hush","secret_key":"hush\u0000"}"#, "hush"]
        {
            assert!(!refusal(payload).to_string().contains("hush"), "{payload}");
        }
    }

    /// The JSON of something that may stand where a text should.
    fn any_field() -> impl Strategy<Value = String> {
        prop_oneof![
            "\\PC{0,12}".prop_map(|text| serde_json::json!(format!("hush{text}")).to_string()),
            "[ -~]{0,12}".prop_map(|text| serde_json::json!(text).to_string()),
            prop::sample::select(vec![
                "\"paper\"",
                "\"live\"",
                "\"\"",
                "null",
                "7",
                "{\"hush\":1}",
                "[\"hush\"]",
                "true",
                "hush"
            ])
            .prop_map(str::to_owned),
            "\\\\u[0-9a-f]{4}".prop_map(|escape| format!("\"{escape}\"")),
        ]
    }

    proptest! {
        #[test]
        fn any_payload_is_refused_or_can_be_sent(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(keys) = AlpacaKeys::from_payload(&payload) {
                for secret in [keys.key_id(), keys.secret_key()] {
                    prop_assert!(reqwest::header::HeaderValue::from_str(secret.expose_secret()).is_ok());
                }
            }
        }

        #[test]
        fn anything_like_a_payload_is_refused_or_can_be_sent_and_is_never_quoted(
            key_id in any_field(), secret_key in any_field(), environment in any_field(), cut in 0_usize..400,
        ) {
            let payload = format!(r#"{{"key_id":{key_id},"secret_key":{secret_key},"environment":{environment}}}"#);
            let cut = payload.floor_char_boundary(cut.min(payload.len()));
            for payload in [&payload[..], &payload[..cut]] {
                match AlpacaKeys::from_payload(payload.as_bytes()) {
                    Ok(keys) => for secret in [keys.key_id(), keys.secret_key()] {
                        let text = secret.expose_secret();
                        let sent = reqwest::header::HeaderValue::from_str(text).expect("a header");
                        prop_assert!(!text.is_empty() && sent.as_bytes() == text.as_bytes());
                    },
                    Err(refusal) => {
                        let shown = format!("{refusal} {refusal:?}");
                        prop_assert!(!shown.contains("hush"));
                    }
                }
            }
        }

        #[test]
        fn any_printable_pair_is_read_back(key_id in "[!-~]{1,40}", secret_key in "[!-~]([ -~]{0,58}[!-~])?") {
            let payload = serde_json::json!({"key_id": key_id, "secret_key": secret_key}).to_string();
            let keys = parse(&payload).expect("printable");
            prop_assert_eq!(keys.key_id().expose_secret(), key_id);
            prop_assert_eq!(keys.secret_key().expose_secret(), secret_key);
        }
    }
}
