//! A user's Alpaca keys, as their secret's payload holds them.

use crate::model::account::is_object;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::error::Category;
use serde_json::value::RawValue;
use std::fmt;

/// Which of Alpaca's two worlds an account lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Environment {
    /// Simulated money, `paper-api.alpaca.markets`.
    Paper,
    /// Real money, `api.alpaca.markets`.
    Live,
}

impl Environment {
    /// The name used in payloads and documents.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Live => "live",
        }
    }

    /// Alpaca's host for it.
    #[must_use]
    pub(crate) fn base_url(self) -> &'static str {
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

/// Why a payload is not a key pair. Says which field and what to do, never what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MalformedKeys {
    /// Nothing, or blanks.
    #[error("the payload is empty: store {SHAPE}")]
    Nothing,
    /// What some editors and shells write.
    #[error("the payload is UTF-16 text: store it as UTF-8")]
    Utf16,
    /// Bytes of something else.
    #[error("the payload is not UTF-8 text: store {SHAPE} as UTF-8")]
    NotUtf8,
    /// `"{"key_id": ...}"`, or the same in single quotes.
    #[error("the payload has quotes around the whole JSON: store it without them")]
    Quoted,
    /// `"{\"key_id\": ...}"`.
    #[error(
        "the payload is a JSON text that holds JSON: store the object itself, without the outer quotes and the backslashes"
    )]
    JsonInText,
    /// `{'key_id': ...}`.
    #[error("the payload has single quotes where JSON has double ones: store {SHAPE}")]
    SingleQuotes,
    /// `{“key_id”: ...}`, as word processors write it.
    #[error("the payload has typographic quotes where JSON has straight ones: store {SHAPE}")]
    TypographicQuotes,
    /// `[...]`.
    #[error("the payload is a JSON array: store one object, {SHAPE}")]
    Array,
    /// A comma before the closing brace.
    #[error("the payload has a comma behind its last field, which JSON does not allow: remove it")]
    TrailingComma,
    /// Some other JSON than an object.
    #[error("the payload is JSON, but no object: store {SHAPE}")]
    NoObject,
    /// Anything else.
    #[error("the payload is no JSON from line {line} column {column} on: store {SHAPE}")]
    NotJson {
        /// Where it ends being JSON.
        line: usize,
        /// Where in that line.
        column: usize,
    },
    /// Two values, of which one would be taken at will.
    #[error("the payload has one of its fields twice: keep one")]
    Twice,
    /// A field is of another type.
    #[error("the payload's {0} is no text: put it in double quotes")]
    NotText(&'static str),
    /// A field is not there.
    #[error("the payload has no {0}")]
    Missing(&'static str),
    /// A field is there, but empty.
    #[error("the payload's {0} is empty")]
    Empty(&'static str),
    /// What is easily pasted along.
    #[error("the payload's {0} begins or ends with a blank or a line break: store it without")]
    Blank(&'static str),
    /// A line break or the like in the middle.
    #[error("the payload's {0} has a character that no request header can carry")]
    NotAHeader(&'static str),
    /// Anything but `paper` and `live`.
    #[error("the payload's environment is neither \"paper\" nor \"live\"")]
    UnknownEnvironment,
    /// Any other host, spelling or scheme: a secret never chooses where keys go.
    #[error(
        "the payload's base_url is neither {} nor {}, with or without /v2: correct it, or remove it",
        Environment::Paper.base_url(),
        Environment::Live.base_url()
    )]
    UnknownHost,
    /// One of them is wrong, and nobody can tell which.
    #[error("the payload's base_url and environment contradict each other: correct one of them")]
    Contradiction,
    /// Two kinds of credentials.
    #[error("the payload has both an oauth_token and a key pair: store one of them")]
    TokenAndKeys,
    /// The other kind of credentials.
    #[error(
        "the payload has an oauth_token, and tokens are not supported yet by this version: store a key pair"
    )]
    Token,
}

const SHAPE: &str = "{\"key_id\": \"...\", \"secret_key\": \"...\"}";

/// A key pair that can be sent. It can move money, so it cannot be printed, and is wiped on drop.
pub(crate) struct AlpacaKeys {
    key_id: SecretString,
    secret_key: SecretString,
    environment: Environment,
}

/// Field by field what is read, as it stands in the payload.
#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    key_id: Option<&'a RawValue>,
    #[serde(borrow)]
    secret_key: Option<&'a RawValue>,
    #[serde(borrow)]
    environment: Option<&'a RawValue>,
    #[serde(borrow)]
    base_url: Option<&'a RawValue>,
    #[serde(borrow)]
    oauth_token: Option<&'a RawValue>,
}

impl<'a> Payload<'a> {
    fn read(payload: &'a [u8]) -> Result<Self, MalformedKeys> {
        let payload = readable(payload)?;
        if !is_object(payload.as_bytes()) {
            return Err(no_object(payload));
        }
        // serde's message may quote the payload, so it is dropped here.
        serde_json::from_str(payload).map_err(|err| match err.classify() {
            Category::Data => MalformedKeys::Twice,
            _ => no_json(payload, &err),
        })
    }
}

/// The payload as text, without what may stand around it.
fn readable(payload: &[u8]) -> Result<&str, MalformedKeys> {
    // No text has a NUL, and of UTF-16 every other byte of what is ASCII is one.
    if payload.starts_with(b"\xff\xfe") || payload.starts_with(b"\xfe\xff") || payload.contains(&0) {
        return Err(MalformedKeys::Utf16);
    }
    let text = std::str::from_utf8(payload).map_err(|_| MalformedKeys::NotUtf8)?;
    let text = text.trim_matches(|c: char| c == BYTE_ORDER_MARK || c.is_whitespace());
    if text.is_empty() { Err(MalformedKeys::Nothing) } else { Ok(text) }
}

const BYTE_ORDER_MARK: char = '\u{feff}';

/// What is wrong with a payload that does not begin as an object does.
fn no_object(payload: &str) -> MalformedKeys {
    let inner = |quote| payload.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let holds_object = |text: &str| is_object(text.as_bytes());
    match serde_json::from_str::<IgnoredAny>(payload) {
        Ok(_) if payload.starts_with('[') => MalformedKeys::Array,
        Ok(_) if inner('"').is_some_and(holds_object) => MalformedKeys::JsonInText,
        Ok(_) => MalformedKeys::NoObject,
        Err(_) if ['"', '\'', '`'].into_iter().filter_map(inner).any(holds_object) => MalformedKeys::Quoted,
        Err(err) => no_json(payload, &err),
    }
}

/// What is wrong with a payload that is no JSON.
fn no_json(payload: &str, err: &serde_json::Error) -> MalformedKeys {
    let before = || payload.lines().take(err.line()).last().and_then(|line| line.get(..err.column()));
    let at = before().and_then(|line| line.chars().next_back());
    // Messages about syntax, unlike those about data, quote nothing; this one is never shown anyway.
    match at {
        _ if err.to_string().starts_with("trailing comma") => MalformedKeys::TrailingComma,
        Some('\'') => MalformedKeys::SingleQuotes,
        _ if payload.contains(['\u{201c}', '\u{201d}', '\u{201e}']) => MalformedKeys::TypographicQuotes,
        _ => MalformedKeys::NotJson { line: err.line(), column: err.column() },
    }
}

/// The text of a field, if it is there. One that JSON allows and no text can hold has a character that no header can
/// carry either.
fn field(value: Option<&RawValue>, name: &'static str) -> Result<Option<SecretString>, MalformedKeys> {
    let Some(json) = value.map(RawValue::get) else { return Ok(None) };
    if !json.starts_with('"') {
        return Err(MalformedKeys::NotText(name));
    }
    serde_json::from_str(json).map(Some).map_err(|_| MalformedKeys::NotAHeader(name))
}

/// The world that a `base_url` stands for. Exactly Alpaca's own spellings: anything else may lead elsewhere.
fn world_at(base_url: &str) -> Option<Environment> {
    let base_url = base_url.strip_suffix('/').unwrap_or(base_url);
    let base_url = base_url.strip_suffix("/v2").unwrap_or(base_url);
    [Environment::Paper, Environment::Live].into_iter().find(|world| world.base_url() == base_url)
}

/// The world that the payload names, if it does.
fn named_world(payload: &Payload<'_>) -> Result<Option<Environment>, MalformedKeys> {
    let environment = field(payload.environment, "environment")?;
    let environment = environment.map(|text| match text.expose_secret() {
        "paper" => Ok(Environment::Paper),
        "live" => Ok(Environment::Live),
        _ => Err(MalformedKeys::UnknownEnvironment),
    });
    let base_url = field(payload.base_url, "base_url")?;
    let host = base_url.map(|url| world_at(url.expose_secret()).ok_or(MalformedKeys::UnknownHost));
    match (environment.transpose()?, host.transpose()?) {
        (Some(environment), Some(host)) if environment != host => Err(MalformedKeys::Contradiction),
        (environment, host) => Ok(environment.or(host)),
    }
}

impl AlpacaKeys {
    /// Reads `{"key_id": "...", "secret_key": "...", "environment": "paper"|"live", "base_url": "..."}`, of which the
    /// last two are optional.
    pub(crate) fn from_payload(payload: &[u8]) -> Result<Self, MalformedKeys> {
        let payload = Payload::read(payload)?;
        match (payload.oauth_token, payload.key_id, payload.secret_key) {
            (None, ..) => {}
            (Some(_), None, None) => return Err(MalformedKeys::Token),
            (Some(_), ..) => return Err(MalformedKeys::TokenAndKeys),
        }
        let present = |value, name| field(value, name)?.ok_or(MalformedKeys::Missing(name));
        Self::new(
            present(payload.key_id, "key_id")?,
            present(payload.secret_key, "secret_key")?,
            named_world(&payload)?,
        )
    }

    /// Checks a pair; without an environment, the key id tells.
    pub(crate) fn new(
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
            if text.trim() != text {
                return Err(MalformedKeys::Blank(field));
            }
            if !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
                return Err(MalformedKeys::NotAHeader(field));
            }
        }
        let environment = environment.unwrap_or_else(|| Environment::of_key_id(key_id.expose_secret()));
        Ok(Self { key_id, secret_key, environment })
    }

    /// The world the keys belong to.
    #[must_use]
    pub(crate) fn environment(&self) -> Environment {
        self.environment
    }

    /// Value of the `APCA-API-KEY-ID` header.
    #[must_use]
    pub(crate) fn key_id(&self) -> &SecretString {
        &self.key_id
    }

    /// Value of the `APCA-API-SECRET-KEY` header.
    #[must_use]
    pub(crate) fn secret_key(&self) -> &SecretString {
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
        use MalformedKeys as M;
        for (payload, expected) in [
            ("", M::Nothing),
            (" \r\n\u{feff}", M::Nothing),
            ("not json", M::NotJson { line: 1, column: 2 }),
            ("key_id=PK1\nsecret_key=s", M::NotJson { line: 1, column: 1 }),
            (r#"{"key_id":"PK1""#, M::NotJson { line: 1, column: 15 }),
            ("{\"key_id\":\"PK1\"\n\"secret_key\":\"s\"}", M::NotJson { line: 2, column: 1 }),
            (r#"{"key_id":"PK1","secret_key":"s"} {}"#, M::NotJson { line: 1, column: 35 }),
            ("[]", M::Array),
            (r#"["PK1","s","paper",null,null]"#, M::Array),
            (r#"[{"key_id":"PK1","secret_key":"s"}]"#, M::Array),
            ("\"PK1\"", M::NoObject),
            ("null", M::NoObject),
            ("17", M::NoObject),
            (r#""{\"key_id\":\"PK1\",\"secret_key\":\"s\"}""#, M::JsonInText),
            (r#""{"key_id":"PK1","secret_key":"s"}""#, M::Quoted),
            (r#"'{"key_id":"PK1","secret_key":"s"}'"#, M::Quoted),
            (r#"'{"key_id":"PK1","secret_key":"s"}"#, M::SingleQuotes),
            ("{'key_id':'PK1','secret_key':'s'}", M::SingleQuotes),
            (r#"{"key_id":'PK1',"secret_key":'s'}"#, M::SingleQuotes),
            ("{“key_id”:“PK1”,“secret_key”:“s”}", M::TypographicQuotes),
            (r#"{"key_id":"PK1","secret_key":"s",}"#, M::TrailingComma),
            ("{\"key_id\":\"PK1\",\n\"secret_key\":\"s\",\n}", M::TrailingComma),
            (r#"{"key_id":"PK1","key_id":"PK2","secret_key":"s"}"#, M::Twice),
            (r#"{"key_id":"PK1","secret_key":"s","\u006bey_id":"PK2"}"#, M::Twice),
            (r#"{"key_id":1,"secret_key":"s"}"#, M::NotText("key_id")),
            (r#"{"key_id":"PK1","secret_key":["s"]}"#, M::NotText("secret_key")),
            (r#"{"key_id":"PK1","secret_key":"s","environment":true}"#, M::NotText("environment")),
            (r#"{"key_id":"PK1","secret_key":"s","base_url":{}}"#, M::NotText("base_url")),
            (r#"{"secret_key":"s"}"#, M::Missing("key_id")),
            (r#"{"key_id":"PK1","secret_key":null}"#, M::Missing("secret_key")),
            (r#"{"key_id":"","secret_key":"s"}"#, M::Empty("key_id")),
            (r#"{"key_id":"PK1","secret_key":"s\n"}"#, M::Blank("secret_key")),
            (r#"{"key_id":" PK1","secret_key":"s"}"#, M::Blank("key_id")),
            (r#"{"key_id":"PK1","secret_key":"s\u00a0"}"#, M::Blank("secret_key")),
            (r#"{"key_id":"PK1","secret_key":"s\nt"}"#, M::NotAHeader("secret_key")),
            (r#"{"key_id":"PKé","secret_key":"s"}"#, M::NotAHeader("key_id")),
            (r#"{"key_id":"PK1","secret_key":"\ud800"}"#, M::NotAHeader("secret_key")),
            (r#"{"key_id":"PK1","secret_key":"s","environment":"prod"}"#, M::UnknownEnvironment),
            (r#"{"oauth_token":"t","environment":"paper"}"#, M::Token),
            (r#"{"oauth_token":"t","key_id":"PK1","secret_key":"s"}"#, M::TokenAndKeys),
            (r#"{"oauth_token":1,"secret_key":"s"}"#, M::TokenAndKeys),
        ] {
            assert_eq!(refusal(payload), expected, "{payload}");
        }
        let utf16 = |mark: &[u8], to_bytes: fn(u16) -> [u8; 2]| {
            let text = r#"{"key_id":"PK1","secret_key":"s"}"#.encode_utf16().flat_map(to_bytes);
            let payload: Vec<u8> = mark.iter().copied().chain(text).collect();
            AlpacaKeys::from_payload(&payload).expect_err("UTF-16")
        };
        for mark in [&b"\xff\xfe"[..], b""] {
            assert_eq!(utf16(mark, u16::to_le_bytes), M::Utf16);
        }
        assert_eq!(utf16(b"\xfe\xff", u16::to_be_bytes), M::Utf16);
        let latin1 = AlpacaKeys::from_payload(b"{\"key_id\":\"PK\xe9\"}").expect_err("Latin-1");
        assert_eq!(latin1, M::NotUtf8);
    }

    #[test]
    fn what_stands_around_the_json_is_ignored() {
        let json = r#"{"key_id":"PK1","secret_key":"s","oauth_token":null,"base_url":null}"#;
        for (before, after) in [
            ("\u{feff}", ""),
            ("", "\n"),
            ("\u{feff}\r\n \t", "\r\n\r\n"),
            ("\n\u{feff}", "\u{feff}"),
            ("\u{a0}", "\u{2028}\u{b}"),
        ] {
            let keys = parse(&format!("{before}{json}{after}")).expect("a key pair");
            assert_eq!((keys.key_id().expose_secret(), keys.environment()), ("PK1", Environment::Paper));
        }
    }

    #[test]
    fn the_base_url_decides_before_the_key_ids_prefix() {
        let hosts = [
            (Environment::Paper, "AK1", "https://paper-api.alpaca.markets"),
            (Environment::Live, "PK1", "https://api.alpaca.markets"),
        ];
        for (world, key_id, host) in hosts {
            for end in ["", "/", "/v2", "/v2/"] {
                let payload = |environment: &str| {
                    format!(
                        r#"{{"key_id":"{key_id}","secret_key":"s","base_url":"{host}{end}"{environment}}}"#
                    )
                };
                for environment in
                    ["", r#","environment":null"#, &format!(r#","environment":"{}""#, world.as_str())]
                {
                    assert_eq!(parse(&payload(environment)).expect("one of the two").environment(), world);
                }
                let other = if world == Environment::Paper { "live" } else { "paper" };
                let contradicted = payload(&format!(r#","environment":"{other}""#));
                assert_eq!(refusal(&contradicted), MalformedKeys::Contradiction, "{contradicted}");
            }
        }
    }

    #[test]
    fn a_secret_never_chooses_a_host_of_its_own() {
        for url in [
            "",
            "/",
            "/v2",
            "paper",
            "paper-api.alpaca.markets",
            "http://paper-api.alpaca.markets",
            "HTTPS://paper-api.alpaca.markets",
            "https://Paper-API.alpaca.markets",
            "https://paper-api.alpaca.markets.",
            "https://paper-api.alpaca.markets.evil.com",
            "https://evil.com/paper-api.alpaca.markets",
            "https://paper-api.alpaca.markets@evil.com",
            "https://user:pass@paper-api.alpaca.markets",
            "https://paper-api.alpaca.markets:443",
            "https://paper-api.alpaca.markets:8443/v2",
            "https://paper-api.alpaca.markets/v2?x=1",
            "https://paper-api.alpaca.markets/#",
            "https://paper-api.alpaca.markets//",
            "https://paper-api.alpaca.markets/v2//",
            "https://paper-api.alpaca.markets/v2/v2",
            "https://paper-api.alpaca.markets/v1",
            "https://paper-api.alpaca.markets/V2",
            "https://paper-api.alpaca.markets/v2/account",
            "https://paper-api\u{3002}alpaca\u{ff0e}markets",
            "https://p\u{430}per-api.alpaca.markets",
            "https:\\\\paper-api.alpaca.markets",
            "https:/paper-api.alpaca.markets",
            " https://paper-api.alpaca.markets",
            "https://paper-api.alpaca.markets\n",
            "https://broker-api.alpaca.markets",
            "https://data.alpaca.markets",
            "http://169.254.169.254/v2",
        ] {
            for environment in [None, Some("paper"), Some("live")] {
                let payload = serde_json::json!({
                    "key_id": "PK1", "secret_key": "s", "base_url": url, "environment": environment,
                });
                assert_eq!(refusal(&payload.to_string()), MalformedKeys::UnknownHost, "{url:?}");
            }
        }
    }

    #[test]
    fn neither_key_can_be_printed() {
        let keys = parse(r#"{"key_id":"PKTEST","secret_key":"hush"}"#).expect("well-formed");
        let shown = format!("{keys:?} {:?} {:?}", keys.key_id(), keys.secret_key());
        assert!(!shown.contains("PKTEST") && !shown.contains("hush"), "{shown}");
    }

    #[test]
    fn a_refusal_does_not_quote_the_payload() {
        for payload in [
            r#"{"key_id":{"hush":1}}"#,
            r#"{"key_id":"hush","secret_key":"hush\u0000"}"#,
            "hush",
            "'hush'",
            "[\"hush\"]",
            r#"{"hush":1,"hush":2,}"#,
            r#"{"key_id":"hush","key_id":"hush"}"#,
            r#"{"key_id":"a","secret_key":"b","base_url":"https://hush"}"#,
            r#"{"oauth_token":"hush"}"#,
        ] {
            let refusal = refusal(payload);
            assert!(!format!("{refusal} {refusal:?}").contains("hush"), "{payload}");
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
                "\"https://paper-api.alpaca.markets/v2\"",
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
            key_id in any_field(), secret_key in any_field(), environment in any_field(), base_url in any_field(),
            around in "(\u{feff}|[ \r\n'\"\\[]){0,2}", cut in 0_usize..400,
        ) {
            let payload = format!(
                r#"{around}{{"key_id":{key_id},"secret_key":{secret_key},"environment":{environment},"base_url":{base_url}}}"#,
            );
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
        fn keys_come_only_from_objects(
            before in "(\u{feff}|[ \t\r\n\"'\\[{a]){0,3}", after in "(\u{feff}|[ \t\r\n\"'\\]},]){0,3}",
        ) {
            let payload = format!(r#"{before}{{"key_id":"PK1","secret_key":"s"}}{after}"#);
            let ignored = |text: &str| text.chars().all(|c| "\u{feff} \t\r\n".contains(c));
            prop_assert_eq!(parse(&payload).is_ok(), ignored(&before) && ignored(&after));
        }

        #[test]
        fn no_other_host_is_ever_taken(url in "https://(paper-)?api[.]alpaca[.]markets[/.:@?#a-z0-9\\\\]{0,6}") {
            let payload = serde_json::json!({"key_id": "AK1", "secret_key": "s", "base_url": url}).to_string();
            let right = ["", "/", "/v2", "/v2/"].map(|end| format!(".alpaca.markets{end}"));
            let is_right = right.iter().any(|end| url.ends_with(end.as_str()));
            prop_assert_eq!(parse(&payload).is_ok(), is_right);
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
