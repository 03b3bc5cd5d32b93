//! Tokens of Google Cloud's metadata server: on Cloud Run, those of the job's service account.
//!
//! Asked without the library's client, which has no time limit and never asks again after some answers.

use super::failure::{Flaw, Location, NoToken, TokenFailure, TokenServer};
use super::keeper::{Source, Token};
use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::time::Duration;
use zeroize::Zeroizing;

/// Where the metadata server is, unless `GCE_METADATA_HOST` says otherwise.
pub(super) const HOST: &str = "metadata.google.internal";

const PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

/// Largest answer that is read. A token has about 1 KiB.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How long a token is used that comes without its lifetime.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(300);

/// Which project is billed for calls.
pub(super) const QUOTA_PROJECT: HeaderName = HeaderName::from_static("x-goog-user-project");

#[derive(Debug)]
pub(super) struct Metadata {
    http: Client,
    url: Url,
    quota_project: Option<HeaderValue>,
}

impl Metadata {
    pub(super) fn new(host: Option<&str>, quota_project: Option<HeaderValue>) -> Result<Self, NoToken> {
        let url = url_of(host.unwrap_or(HOST));
        let url = url.ok_or(NoToken::Unusable { place: Location::MetadataHost, flaw: Flaw::NoHost })?;
        // It is on this machine and speaks plain HTTP: no proxy and nobody else may see the token.
        let http = Client::builder().no_proxy().redirect(Policy::none()).tls_certs_only([]).build();
        let http = http.map_err(|_| refused(TokenFailure::Other))?;
        Ok(Self { http, url, quota_project })
    }

    async fn token(&self) -> Result<Token, TokenFailure> {
        let request = self.http.get(self.url.clone()).header("metadata-flavor", "Google");
        let answer = request.send().await.map_err(|err| failure_of(&err))?;
        if !answer.status().is_success() {
            return Err(TokenFailure::Answered(answer.status().as_u16()));
        }
        let body = read_body(answer).await?;
        let Given { access_token, expires_in } = read(&body).ok_or(TokenFailure::NoToken)?;
        let mut bearer = bearer(&access_token).ok_or(TokenFailure::NoToken)?;
        bearer.set_sensitive(true);
        let quota_project = self.quota_project.clone().map(|project| (QUOTA_PROJECT, project));
        let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer)].into_iter().chain(quota_project));
        Ok(Token::lasting(headers, expires_in.map_or(UNKNOWN_LIFETIME, Duration::from_secs)))
    }
}

impl Source for Metadata {
    fn ask(&self) -> BoxFuture<'_, Result<Token, NoToken>> {
        self.token().map(|token| token.map_err(refused)).boxed()
    }

    fn server(&self) -> TokenServer {
        TokenServer::Metadata
    }
}

fn refused(failure: TokenFailure) -> NoToken {
    NoToken::Refused { server: TokenServer::Metadata, failure }
}

/// Only a host, with or without a port, leaves the path where it is.
fn url_of(host: &str) -> Option<Url> {
    let url = Url::parse(&format!("http://{host}{PATH}")).ok()?;
    let is_host = url.path() == PATH && url.query().is_none() && url.fragment().is_none();
    (is_host && url.username().is_empty() && url.password().is_none()).then_some(url)
}

pub(super) fn failure_of(err: &reqwest::Error) -> TokenFailure {
    match err.status() {
        Some(status) => TokenFailure::Answered(status.as_u16()),
        None if err.is_timeout() => TokenFailure::Silent,
        None if err.is_connect() => TokenFailure::Unreachable,
        None => TokenFailure::Broken,
    }
}

async fn read_body(mut answer: Response) -> Result<Zeroizing<Vec<u8>>, TokenFailure> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = answer.chunk().await.map_err(|err| failure_of(&err))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(TokenFailure::NoToken);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What is given.
#[derive(Deserialize)]
struct Given {
    access_token: SecretString,
    expires_in: Option<u64>,
}

/// Nothing, if it is no token. A list of its values would do for `serde`.
fn read(body: &[u8]) -> Option<Given> {
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let given: Given = is_object.then(|| serde_json::from_slice(body).ok())??;
    (!given.access_token.expose_secret().is_empty()).then_some(given)
}

fn bearer(token: &SecretString) -> Option<HeaderValue> {
    let text = Zeroizing::new(format!("Bearer {}", token.expose_secret()));
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_host_is_taken_with_or_without_a_port_and_nothing_else() {
        for host in ["metadata.google.internal", "169.254.169.254", "127.0.0.1:8080", "[::1]:80", "localhost"]
        {
            assert!(url_of(host).is_some(), "{host}");
        }
        for other in
            ["", "http://hush", "hush/", "hush/x?", "a:b@hush", "hush#", "hush?", "hu sh", "hush:port"]
        {
            assert!(url_of(other).is_none(), "{other}");
        }
    }

    #[test]
    fn only_an_object_with_a_token_is_one() {
        assert_eq!(
            read(br#" {"access_token":"t","expires_in":9,"x":1}"#).and_then(|given| given.expires_in),
            Some(9)
        );
        assert!(read(br#"{"access_token":"t"}"#).is_some());
        for other in [
            r#"["t",9]"#,
            r#"{"access_token":""}"#,
            r#"{"access_token":7}"#,
            r#"{"access_token":"t","expires_in":"soon"}"#,
            r#"{"access_token":"t","expires_in":-1}"#,
            "{}",
            "",
            "<html>",
        ] {
            assert!(read(other.as_bytes()).is_none(), "{other}");
        }
        assert!(bearer(&"a\nb".into()).is_none());
    }

    proptest! {
        #[test]
        fn no_answer_panics(body in prop::collection::vec(any::<u8>(), 0..60), host in "\\PC{0,30}") {
            let _ = (read(&body), url_of(&host));
        }
    }
}
