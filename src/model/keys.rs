//! A user's Alpaca keys, as their secret's payload holds them: a pair of keys, or a token.

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
            Self::Paper => account_reader::Environment::Paper.as_str(),
            Self::Live => account_reader::Environment::Live.as_str(),
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

/// Why a payload is neither a key pair nor a token. Says which field and what to do, never what is in it.
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
}

const SHAPE: &str = "{\"key_id\": \"...\", \"secret_key\": \"...\"}";

/// Keys that can be sent. They may move money, so they cannot be printed, and are wiped on drop.
pub(crate) struct AlpacaKeys {
    credentials: Credentials,
    environment: Environment,
}

/// What shows Alpaca whose account it is about.
pub(crate) enum Credentials {
    /// A key pair, which can always trade.
    Pair {
        /// Value of the `APCA-API-KEY-ID` header.
        key_id: SecretString,
        /// Value of the `APCA-API-SECRET-KEY` header.
        secret_key: SecretString,
    },
    /// An OAuth token, which may be limited to reading: what follows `Bearer` in the `Authorization` header.
    Token(SecretString),
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
    /// last two are optional, or `{"oauth_token": "...", "environment": "paper"|"live"}`.
    pub(crate) fn from_payload(payload: &[u8]) -> Result<Self, MalformedKeys> {
        let payload = Payload::read(payload)?;
        match (payload.oauth_token, payload.key_id, payload.secret_key) {
            (None, ..) => {}
            (Some(_), None, None) => return Self::of_token(&payload),
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
        check("key_id", &key_id)?;
        check("secret_key", &secret_key)?;
        let environment = environment.unwrap_or_else(|| Environment::of_key_id(key_id.expose_secret()));
        Ok(Self { credentials: Credentials::Pair { key_id, secret_key }, environment })
    }

    /// One token may open an account in either world: only the payload tells which is meant.
    fn of_token(payload: &Payload<'_>) -> Result<Self, MalformedKeys> {
        let token =
            field(payload.oauth_token, "oauth_token")?.ok_or(MalformedKeys::Missing("oauth_token"))?;
        check("oauth_token", &token)?;
        let environment = named_world(payload)?.filter(|_| payload.environment.is_some());
        let environment = environment.ok_or(MalformedKeys::Missing("environment"))?;
        Ok(Self { credentials: Credentials::Token(token), environment })
    }

    /// The world the keys belong to.
    #[must_use]
    pub(crate) fn environment(&self) -> Environment {
        self.environment
    }

    /// What is sent.
    #[must_use]
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// What tells them from other keys: the key id, or the token.
    #[must_use]
    pub(crate) fn id(&self) -> &SecretString {
        match &self.credentials {
            Credentials::Pair { key_id, .. } => key_id,
            Credentials::Token(token) => token,
        }
    }
}

/// Whether a request can carry it.
fn check(field: &'static str, secret: &SecretString) -> Result<(), MalformedKeys> {
    let text = secret.expose_secret();
    match () {
        () if text.is_empty() => Err(MalformedKeys::Empty(field)),
        // Blanks at the ends would be lost on the way.
        () if text.trim() != text => Err(MalformedKeys::Blank(field)),
        () if !text.bytes().all(|b| (b' '..=b'~').contains(&b)) => Err(MalformedKeys::NotAHeader(field)),
        () => Ok(()),
    }
}

impl fmt::Debug for AlpacaKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlpacaKeys").field("environment", &self.environment).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
