//! Credentials in a file. What is wrong with them is found out here, because the library that uses them quotes what it
//! cannot read.

use super::failure::{Field, Flaw, Location, NoToken, TokenFailure, TokenServer};
use super::keeper::{Source, Token};
use super::metadata::failure_of;
use futures::FutureExt;
use futures::future::BoxFuture;
use google_cloud_auth::build_errors;
use google_cloud_auth::credentials::{
    Credentials, external_account, impersonated, service_account, user_account,
};
use google_cloud_auth::errors::CredentialsError;
use google_cloud_gax::error::Error as GaxError;
use http::Extensions;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Largest file that is read. A key has 2 to 3 KiB.
const MAX_BYTES: u64 = 256 * 1024;

/// Credentials that were read and looked at.
#[derive(Debug)]
pub(super) struct KeyFile {
    place: Location,
    kind: Kind,
    json: SecretString,
    quota_project: Option<String>,
}

/// The kinds that the job can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    ServiceAccount,
    AuthorizedUser,
    ExternalAccount,
    Impersonated,
}

impl KeyFile {
    /// Nothing, if there is no such file.
    pub(super) fn read(
        path: &Path,
        place: Location,
        quota_project: Option<String>,
    ) -> Result<Option<Self>, NoToken> {
        let unusable = |flaw| NoToken::Unusable { place, flaw };
        let bytes = match bytes_of(path) {
            Ok(bytes) => bytes,
            Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(_) => return Err(unusable(Flaw::Unreadable)),
        };
        let (kind, json) = parse(bytes).map_err(unusable)?;
        Ok(Some(Self { place, kind, json, quota_project }))
    }

    /// The library's credentials, which begin to ask for a token at once.
    fn credentials(&self) -> Result<Credentials, build_errors::Error> {
        // It was read before.
        let json = serde_json::from_str(self.json.expose_secret()).unwrap_or_default();
        macro_rules! built {
            ($builder:expr) => {{
                let project = self.quota_project.clone().into_iter();
                let builder =
                    project.fold($builder, |builder, project| builder.with_quota_project_id(project));
                builder.build_access_token_credentials().map(Credentials::from)
            }};
        }
        match self.kind {
            Kind::ServiceAccount => built!(service_account::Builder::new(json)),
            Kind::AuthorizedUser => built!(user_account::Builder::new(json)),
            Kind::ExternalAccount => built!(external_account::Builder::new(json)),
            Kind::Impersonated => built!(impersonated::Builder::new(json)),
        }
    }

    async fn token(&self) -> Result<Token, NoToken> {
        let unusable = |flaw| NoToken::Unusable { place: self.place, flaw };
        let credentials = self.credentials().map_err(|_| unusable(Flaw::Other))?;
        match (credentials.headers(Extensions::new()).await, self.kind) {
            (Ok(_), _) => Ok(Token::Renewing(credentials)),
            // Nobody is asked: the key signs its own tokens, or cannot.
            (Err(_), Kind::ServiceAccount) => Err(unusable(Flaw::NoKey(own("private_key")))),
            (Err(err), _) => Err(NoToken::Refused { server: TokenServer::Named, failure: failure(&err) }),
        }
    }
}

impl Source for KeyFile {
    fn ask(&self) -> BoxFuture<'_, Result<Token, NoToken>> {
        self.token().boxed()
    }

    fn server(&self) -> TokenServer {
        TokenServer::Named
    }
}

/// What a library's error is about; its text is none of ours.
fn failure(err: &CredentialsError) -> TokenFailure {
    let mut cause: Option<&(dyn Error + 'static)> = Some(err);
    while let Some(err) = cause {
        if let Some(status) = err.downcast_ref::<GaxError>().and_then(GaxError::http_status_code) {
            return TokenFailure::Answered(status);
        }
        match err.downcast_ref::<reqwest::Error>() {
            Some(err) if err.is_decode() => return TokenFailure::NoToken,
            Some(err) => return failure_of(err),
            None => cause = err.source(),
        }
    }
    TokenFailure::Other
}

fn bytes_of(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe or a terminal could be waited for for ever, and with it signals and the deadline.
    if !fs::metadata(path)?.is_file() {
        return Err(ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What kind of credentials a file has, if they are of the form that such credentials have.
fn parse(bytes: Vec<u8>) -> Result<(Kind, SecretString), Flaw> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Flaw::TooLarge);
    }
    let text = SecretString::from(String::from_utf8(bytes).map_err(|_| Flaw::NoJson)?);
    let fields: Value = serde_json::from_str(text.expose_secret()).map_err(|_| Flaw::NoJson)?;
    let kind = Fields { of: fields.as_object().ok_or(Flaw::NoJson)?, parent: None }.kind()?;
    Ok((kind, text))
}

const fn own(name: &'static str) -> Field {
    Field { parent: None, name }
}

/// The fields of credentials, or those of one of their fields.
struct Fields<'a> {
    of: &'a Map<String, Value>,
    parent: Option<&'static str>,
}

impl<'a> Fields<'a> {
    fn kind(&self) -> Result<Kind, Flaw> {
        let kind = match self.text("type")? {
            "service_account" => Kind::ServiceAccount,
            "authorized_user" => Kind::AuthorizedUser,
            "external_account" => Kind::ExternalAccount,
            "impersonated_service_account" if self.parent.is_none() => Kind::Impersonated,
            "impersonated_service_account" => {
                return Err(Flaw::Unsupported("impersonated_service_account within such"));
            }
            "gdch_service_account" => return Err(Flaw::Unsupported("gdch_service_account")),
            "external_account_authorized_user" => {
                return Err(Flaw::Unsupported("external_account_authorized_user"));
            }
            _ => return Err(Flaw::UnknownType),
        };
        self.optional("universe_domain")?;
        self.optional("quota_project_id")?;
        match kind {
            Kind::ServiceAccount => self.service_account(),
            Kind::AuthorizedUser => self.authorized_user(),
            Kind::ExternalAccount => self.external_account(),
            Kind::Impersonated => self.impersonated(),
        }?;
        Ok(kind)
    }

    fn service_account(&self) -> Result<(), Flaw> {
        for name in ["client_email", "private_key_id", "project_id"] {
            self.text(name)?;
        }
        match is_pem(self.text("private_key")?) {
            true => Ok(()),
            false => Err(Flaw::NoPem(self.field("private_key"))),
        }
    }

    fn authorized_user(&self) -> Result<(), Flaw> {
        for name in ["client_id", "client_secret", "refresh_token"] {
            self.text(name)?;
        }
        self.optional_url("token_uri")
    }

    fn external_account(&self) -> Result<(), Flaw> {
        for name in ["audience", "subject_token_type", "token_url"] {
            self.text(name)?;
        }
        self.optional_url("token_url")?;
        self.optional_url("service_account_impersonation_url")?;
        for name in ["client_id", "client_secret", "workforce_pool_user_project"] {
            self.optional(name)?;
        }
        self.optional_texts("scopes")?;
        self.object("credential_source").map(drop)
    }

    fn impersonated(&self) -> Result<(), Flaw> {
        self.text("service_account_impersonation_url")?;
        self.optional_url("service_account_impersonation_url")?;
        self.optional_texts("delegates")?;
        self.optional_texts("scopes")?;
        self.object("source_credentials")?.kind().map(drop)
    }

    fn field(&self, name: &'static str) -> Field {
        Field { parent: self.parent, name }
    }

    /// A field that is there. One that is null is not.
    fn found(&self, name: &'static str) -> Option<&'a Value> {
        self.of.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &'static str) -> Result<&'a str, Flaw> {
        let value = self.found(name).ok_or(Flaw::Missing(self.field(name)))?;
        value.as_str().ok_or(Flaw::NoText(self.field(name)))
    }

    fn optional(&self, name: &'static str) -> Result<Option<&'a str>, Flaw> {
        self.found(name).map(|_| self.text(name)).transpose()
    }

    fn optional_url(&self, name: &'static str) -> Result<(), Flaw> {
        match self.optional(name)? {
            Some(url) if !is_safe_url(url) => Err(Flaw::NoUrl(self.field(name))),
            _ => Ok(()),
        }
    }

    fn optional_texts(&self, name: &'static str) -> Result<(), Flaw> {
        let is_texts = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
        match self.found(name) {
            Some(value) if !is_texts(value) => Err(Flaw::NoTexts(self.field(name))),
            _ => Ok(()),
        }
    }

    fn object(&self, name: &'static str) -> Result<Fields<'a>, Flaw> {
        let value = self.found(name).ok_or(Flaw::Missing(self.field(name)))?;
        let of = value.as_object().ok_or(Flaw::NoObject(self.field(name)))?;
        Ok(Fields { of, parent: Some(name) })
    }
}

/// Whether secrets may be sent there: encrypted, or not beyond this machine.
fn is_safe_url(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| match (url.scheme(), url.host_str()) {
        ("https", Some(_)) => true,
        ("http", Some(host)) => matches!(host, "localhost" | "127.0.0.1" | "[::1]"),
        _ => false,
    })
}

/// Whether a text has the lines of a PEM file, with base64 between the first and the last.
fn is_pem(text: &str) -> bool {
    let mut lines = text.trim().lines();
    let begins = lines.next().is_some_and(|line| line.starts_with("-----BEGIN ") && line.ends_with("-----"));
    let ends = lines.next_back().is_some_and(|line| line.starts_with("-----END ") && line.ends_with("-----"));
    let is_base64 = |line: &str| {
        line.trim().bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
    };
    begins && ends && lines.all(is_base64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const PLANTED: &str = "hush0planted0secret0";

    fn said(bytes: &[u8]) -> Option<String> {
        let flaw = parse(bytes.to_vec()).err()?;
        let failure = NoToken::Unusable { place: Location::Variable, flaw };
        Some(format!("{failure} {failure:?}"))
    }

    /// Whatever JSON can be, with the planted secret in it.
    fn any_json() -> impl Strategy<Value = Value> {
        let texts = [
            "service_account",
            "authorized_user",
            "external_account",
            "impersonated_service_account",
            PLANTED,
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(|text| format!("{text}{PLANTED}").into()),
            prop::sample::select(texts.to_vec()).prop_map(Value::from),
        ];
        let names = [
            "type",
            "private_key",
            "client_email",
            "private_key_id",
            "project_id",
            "client_id",
            "client_secret",
            "refresh_token",
            "token_uri",
            "audience",
            "subject_token_type",
            "token_url",
            "credential_source",
            "file",
            "source_credentials",
            "service_account_impersonation_url",
            "scopes",
            "delegates",
            PLANTED,
        ];
        leaf.prop_recursive(3, 40, 12, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(prop::sample::select(names.to_vec()), inner, 0..12).prop_map(
                    |fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
                ),
            ]
        })
    }

    proptest! {
        #[test]
        fn nothing_of_a_file_is_in_what_is_said_of_it(json in any_json(), cut in 0_usize..400) {
            let text = json.to_string();
            for bytes in [text.as_bytes(), &text.as_bytes()[..cut.min(text.len())]] {
                if let Some(said) = said(bytes) {
                    prop_assert!(!said.contains("hush"), "{said}");
                }
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(said(&bytes).is_some(), "they are no credentials");
        }

        #[test]
        fn no_text_panics_as_a_key_or_a_url(text in "\\PC{0,60}|-----BEGIN[\\PC\n]{0,40}END-----") {
            let _ = (is_pem(&text), is_safe_url(&text));
        }
    }

    #[test]
    fn whole_credentials_of_every_kind_are_taken() {
        let key = "-----BEGIN PRIVATE KEY-----\r\nabc+/=\r\n-----END PRIVATE KEY-----\n";
        let account = json!({"type": "service_account", "client_email": "a", "private_key_id": "b",
            "private_key": key, "project_id": "c", "universe_domain": null, "more": [1]});
        let user =
            json!({"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"});
        let external = json!({"type": "external_account", "audience": "a", "subject_token_type": "b",
            "token_url": "https://sts.googleapis.com/v1/token", "credential_source": {"file": "f"}});
        let url = "https://iamcredentials.googleapis.com/v1/x:generateAccessToken";
        let impersonated = json!({"type": "impersonated_service_account",
            "service_account_impersonation_url": url, "source_credentials": user, "delegates": []});
        for (json, kind) in [
            (account, Kind::ServiceAccount),
            (user.clone(), Kind::AuthorizedUser),
            (external, Kind::ExternalAccount),
            (impersonated, Kind::Impersonated),
        ] {
            let parsed = parse(json.to_string().into_bytes()).map(|(kind, _)| kind);
            assert_eq!(parsed, Ok(kind));
        }
    }

    #[test]
    fn secrets_are_sent_only_where_nobody_listens() {
        for safe in
            ["https://oauth2.googleapis.com/token", "http://127.0.0.1:8080/token", "http://localhost/"]
        {
            assert!(is_safe_url(safe), "{safe}");
        }
        for other in ["http://oauth2.googleapis.com/token", "ftp://x/", "hush", "", "https:", "file:///etc"] {
            assert!(!is_safe_url(other), "{other}");
        }
    }
}
