//! Google Cloud's metadata server, as far as it gives tokens and names the project and the region.

use super::answer::{self, Answer};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where its paths begin.
pub(super) const PREFIX: &str = "/computeMetadata/";

const TOKEN: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
const PROJECT: &str = "/computeMetadata/v1/project/project-id";
const REGION: &str = "/computeMetadata/v1/instance/region";

const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");
const GOOGLE: HeaderValue = HeaderValue::from_static("Google");

/// Gives tokens that the sandbox's other services take, as they take any.
#[derive(Debug)]
pub struct Metadata {
    project: String,
    given: AtomicU64,
    /// In seconds.
    lifetime: AtomicU64,
}

impl Metadata {
    pub(super) fn new(project: &str) -> Self {
        Self { project: project.to_owned(), given: AtomicU64::new(0), lifetime: AtomicU64::new(3599) }
    }

    /// The name of the method that a path calls.
    pub(super) fn method_name(path: &str) -> Option<&'static str> {
        match path {
            TOKEN => Some("GetToken"),
            PROJECT => Some("GetProjectId"),
            REGION => Some("GetRegion"),
            _ => None,
        }
    }

    /// How long the tokens last that are given from now on, in whole seconds.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.lifetime.store(lifetime.as_secs(), Ordering::Relaxed);
    }

    /// The token that is given as the `number`th, from 1.
    pub fn token(number: u64) -> String {
        format!("sandbox-token-{number}")
    }

    /// Answers one request, and only to who shows that the question is meant for a metadata server.
    pub(super) fn answer(&self, path: &str, headers: &HeaderMap) -> Answer {
        let mut answer = match path {
            _ if headers.get(&FLAVOR) != Some(&GOOGLE) => {
                answer::json_text(StatusCode::FORBIDDEN, "Missing Metadata-Flavor:Google header.")
            }
            TOKEN => answer::json(StatusCode::OK, &self.next()),
            PROJECT => answer::json_text(StatusCode::OK, Bytes::from(self.project.clone())),
            REGION => answer::json_text(StatusCode::OK, "projects/1234567890/regions/us-central1"),
            _ => answer::json_text(StatusCode::NOT_FOUND, ""),
        };
        answer.headers_mut().insert(FLAVOR, GOOGLE);
        answer
    }

    fn next(&self) -> serde_json::Value {
        let number = self.given.fetch_add(1, Ordering::Relaxed) + 1;
        json!({
            "access_token": Self::token(number),
            "expires_in": self.lifetime.load(Ordering::Relaxed),
            "token_type": "Bearer",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_asks_as_a_client_of_it_gets_a_token_and_each_time_another() {
        let metadata = Metadata::new("p");
        assert_eq!(metadata.answer(TOKEN, &HeaderMap::new()).status(), StatusCode::FORBIDDEN);
        let client = HeaderMap::from_iter([(FLAVOR, GOOGLE)]);
        metadata.set_lifetime(Duration::from_secs(7));
        for number in 1..=2 {
            let given: serde_json::Value =
                serde_json::from_slice(metadata.answer(TOKEN, &client).body()).unwrap();
            assert_eq!(given["access_token"], Metadata::token(number));
            assert_eq!(given["expires_in"], 7);
        }
        assert_eq!(metadata.answer(PROJECT, &client).body(), "p");
        assert_eq!(metadata.answer("/computeMetadata/v1/", &client).status(), StatusCode::NOT_FOUND);
    }
}
