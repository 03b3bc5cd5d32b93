//! Google's APIs about a project itself, over REST, as far as they are read.

use crate::config::{AdminApi, Endpoints};
use crate::google::credentials::Identity;
use crate::google::error::{Denied, Reason, shown};
use crate::network::http::{client, heed};
use crate::network::names::Names;
use crate::services::alpaca::is_alpacas_error;
use crate::telemetry::Chain;
use google_cloud_auth::credentials::CacheableResource;
use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode, Url};
use serde_json::Value as Json;
use std::time::Duration;

/// Longest one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why an API did not say.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    /// The API is not switched on in the project.
    #[error("the API {0}.googleapis.com is not enabled")]
    Disabled(&'static str),
    /// Whoever asked has no right to know.
    #[error("it is denied: {0}")]
    Denied(String),
    /// It is refused, and nobody says why.
    #[error("it is refused, and why is not known: {0}")]
    Refused(String),
    /// There is no such thing.
    #[error("it does not exist")]
    Missing,
    /// A stand-in for the service has none.
    #[error("a stand-in has no such thing")]
    Replaced,
    /// Another answer, or none.
    #[error("{host} did not say: {why}")]
    Unanswered {
        /// Who was asked.
        host: String,
        /// What came instead.
        why: String,
    },
}

/// The way to them.
#[derive(Debug)]
pub(crate) struct Admin {
    http: reqwest::Client,
    names: Names,
    endpoints: Endpoints,
    identity: Option<Identity>,
}

impl Admin {
    pub(super) fn new(
        endpoints: &Endpoints,
        names: &Names,
        identity: Option<&Identity>,
    ) -> Result<Self, reqwest::Error> {
        let http = client(names, true).timeout(CALL_TIMEOUT).build()?;
        Ok(Self { http, names: names.clone(), endpoints: endpoints.clone(), identity: identity.cloned() })
    }

    /// What there is at a path.
    pub(crate) async fn get(&self, api: AdminApi, path: &str) -> Result<Json, AdminError> {
        let url = self.url(api, path)?;
        self.send(api, &url, self.http.get(url.clone())).await
    }

    /// What is asked for by a call that changes nothing.
    pub(crate) async fn ask(&self, api: AdminApi, path: &str, body: &Json) -> Result<Json, AdminError> {
        let url = self.url(api, path)?;
        let request = self.http.post(url.clone()).header(http::header::CONTENT_TYPE, "application/json");
        self.send(api, &url, request.body(body.to_string())).await
    }

    fn url(&self, api: AdminApi, path: &str) -> Result<Url, AdminError> {
        let base = match self.endpoints.admin(api) {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("https://{}.googleapis.com", api.name()),
        };
        let url = format!("{base}/{path}");
        url.parse().map_err(|_| AdminError::Unanswered { host: base, why: "it is no URL".into() })
    }

    async fn send(&self, api: AdminApi, url: &Url, request: RequestBuilder) -> Result<Json, AdminError> {
        let unanswered =
            |why: String| AdminError::Unanswered { host: url.host_str().unwrap_or_default().to_owned(), why };
        let request = request.headers(self.authorization(url).await.map_err(unanswered)?);
        let answer = request.send().await.inspect_err(|err| heed(&self.names, err));
        let answer = answer.map_err(|err| unanswered(Chain(&err.without_url()).to_string()))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|err| unanswered(Chain(&err.without_url()).to_string()))?;
        let body: Option<Json> = serde_json::from_slice(&body).ok();
        match (status, body) {
            (status, Some(body)) if status.is_success() => Ok(body),
            (status, _) if status.is_success() => Err(unanswered("no JSON came".into())),
            (status, body) => Err(refusal(api, status, body.as_ref()).unwrap_or_else(unanswered)),
        }
    }

    /// No token leaves without TLS.
    async fn authorization(&self, url: &Url) -> Result<HeaderMap, String> {
        let Some(identity) = self.identity.as_ref().filter(|_| url.scheme() == "https") else {
            return Ok(HeaderMap::new());
        };
        match identity.credentials().headers(http::Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => Ok(data),
            Ok(CacheableResource::NotModified) => Ok(HeaderMap::new()),
            Err(err) => Err(Chain(&err).to_string()),
        }
    }
}

/// What a refusal means, or its words.
fn refusal(api: AdminApi, status: StatusCode, body: Option<&Json>) -> Result<AdminError, String> {
    let error = body.map(|body| &body["error"]);
    let message = error.and_then(|error| error["message"].as_str()).map(shown);
    let told = message.unwrap_or_else(|| status.to_string());
    let details = error.and_then(|error| error["details"].as_array()).into_iter().flatten();
    let mut reasons = details.filter_map(|detail| detail["reason"].as_str());
    let reason = reasons.find_map(Reason::parse);
    match (status, Denied::by(reason.as_ref()), reason) {
        (StatusCode::FORBIDDEN, Denied::Disabled, _) => Ok(AdminError::Disabled(api.name())),
        (StatusCode::FORBIDDEN, Denied::Role, _) => Ok(AdminError::Denied(told)),
        // No right of whoever asked would help.
        (_, Denied::Disabled | Denied::Otherwise, Some(reason)) => Err(format!("{told} ({reason})")),
        (StatusCode::FORBIDDEN, ..) => Ok(AdminError::Refused(told)),
        (StatusCode::NOT_FOUND, ..) => Ok(AdminError::Missing),
        _ => Err(told),
    }
}

/// Of an answer without keys so much is read.
const MOST_HEARD: usize = 64 * 1024;

/// Whether a host answers as Alpaca does to whoever sends no keys.
pub(super) async fn knock(names: &Names, url: &str) -> Result<(), String> {
    let told = |err: reqwest::Error| Chain(&err.without_url()).to_string();
    let http = client(names, url.starts_with("http:")).timeout(CALL_TIMEOUT).build().map_err(told)?;
    let url = format!("{}/v2/account", url.trim_end_matches('/'));
    let mut answer = http.get(url).send().await.inspect_err(|err| heed(names, err)).map_err(told)?;
    let mut body = Vec::new();
    while body.len() < MOST_HEARD
        && let Some(chunk) = answer.chunk().await.map_err(told)?
    {
        body.extend_from_slice(&chunk);
    }
    heard(answer.status(), &body)
}

/// Alpaca refuses whoever has no keys, in words of its own. A proxy or an edge before it does so too, in others.
fn heard(status: StatusCode, body: &[u8]) -> Result<(), String> {
    match status.as_u16() {
        401 | 403 | 429 if is_alpacas_error(body) => Ok(()),
        408 | 429 | 500.. => Err(format!("it answers {status}")),
        status => Err(format!("what answers is not Alpaca ({status}, {})", kind(body))),
    }
}

fn kind(body: &[u8]) -> &'static str {
    match body.trim_ascii_start().first() {
        None => "empty",
        Some(b'<') => "HTML",
        Some(b'{' | b'[') => "JSON",
        Some(_) => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_alpacas_own_refusal_is_alpaca() {
        let stranger = |told: &str| Err(format!("what answers is not Alpaca ({told})"));
        for (status, body, expected) in [
            (403, "{\"message\": \"forbidden.\"}\n", Ok(())),
            (401, r#"{"code":40110000,"message":"request is not authorized"}"#, Ok(())),
            (429, r#"{"message":"too many requests."}"#, Ok(())),
            (429, "", Err("it answers 429 Too Many Requests".to_owned())),
            (403, "<html>Access denied</html>", stranger("403, HTML")),
            (401, " \n<!DOCTYPE html>", stranger("401, HTML")),
            (403, "Access denied", stranger("403, text")),
            (403, r#"{"error":"blocked"}"#, stranger("403, JSON")),
            (403, "", stranger("403, empty")),
            (200, "<html>Welcome to this network</html>", stranger("200, HTML")),
            (302, "", stranger("302, empty")),
            (404, "<html>", stranger("404, HTML")),
            (503, "<html>", Err("it answers 503 Service Unavailable".to_owned())),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(heard(status, body.as_bytes()), expected, "{status} {body}");
        }
    }
}
