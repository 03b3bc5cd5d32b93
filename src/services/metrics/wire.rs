//! How the exporter's calls go out: over the job's own kind of HTTP client, with the job's token where Google is called,
//! and with a note of what went wrong, which OpenTelemetry does not tell.

use crate::google::credentials::Identity;
use crate::google::error::shown;
use futures::FutureExt;
use futures::future::BoxFuture;
use gcloud_sdk::prost::Message;
use google_cloud_auth::credentials::CacheableResource;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;

/// Largest answer that is read. One that says that all is well is empty.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Why metrics did not arrive, or not all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Undelivered {
    #[error("no answer came in time")]
    Late,
    #[error("it could not be reached")]
    Unreachable,
    #[error("the connection ended without an answer")]
    Broken,
    #[error("it answered {0}{advice}", advice = advice(*.0))]
    Answered(StatusCode),
    #[error("Google's credentials gave no token")]
    NoToken,
    #[error("it did not take {points} points: {reason}")]
    Rejected { points: i64, reason: String },
    /// Made of our own words, and of OpenTelemetry's about its variables.
    #[error("{0}")]
    Unusable(String),
}

/// What went wrong last, if anything did.
#[derive(Clone, Debug, Default)]
pub(super) struct Note(Arc<Mutex<Option<Undelivered>>>);

impl Note {
    pub(super) fn take(&self) -> Option<Undelivered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, failure: Option<Undelivered>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

/// The client that OpenTelemetry's exporter is given, which calls from a thread of its own.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    pub(super) http: reqwest::Client,
    /// Only for Google.
    pub(super) identity: Option<Identity>,
    pub(super) runtime: Handle,
    pub(super) note: Note,
}

impl HttpClient for Wire {
    // By hand what a macro makes of it in the trait.
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> BoxFuture<'b, Result<Response<Bytes>, HttpError>>
    where
        'a: 'b,
        Self: 'b,
    {
        let wire = self.clone();
        async move {
            let call = wire.runtime.clone().spawn(async move { wire.call(request).await });
            Ok(call.await??)
        }
        .boxed()
    }
}

impl Wire {
    async fn call(self, request: Request<Bytes>) -> Result<Response<Bytes>, Undelivered> {
        let answer = self.ask(request).await;
        self.note.set(match &answer {
            Ok(answer) if answer.status().is_success() => rejected(answer.body()),
            Ok(answer) => Some(Undelivered::Answered(answer.status())),
            Err(failure) => Some(failure.clone()),
        });
        answer
    }

    async fn ask(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, Undelivered> {
        request.headers_mut().extend(self.token().await?);
        let request = request.try_into().map_err(|err: reqwest::Error| failure_of(&err))?;
        let mut answer = self.http.execute(request).await.map_err(|err| failure_of(&err))?;
        if let (StatusCode::UNAUTHORIZED, Some(identity)) = (answer.status(), &self.identity) {
            identity.distrust();
        }
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|err| failure_of(&err))? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        *response.body_mut() = body.into();
        Ok(response)
    }

    /// A fresh one for each call, if it is Google's.
    async fn token(&self) -> Result<HeaderMap, Undelivered> {
        let Some(identity) = &self.identity else { return Ok(HeaderMap::new()) };
        match identity.credentials().headers(http::Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => Ok(data),
            Ok(CacheableResource::NotModified) | Err(_) => Err(Undelivered::NoToken),
        }
    }
}

/// A collector with a right of its own to refuse is Google's, or says so in its own log.
fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::FORBIDDEN => {
            ": grant roles/monitoring.metricWriter and enable telemetry.googleapis.com, if it is Google's"
        }
        _ => "",
    }
}

fn failure_of(err: &reqwest::Error) -> Undelivered {
    match err {
        err if err.is_timeout() => Undelivered::Late,
        err if err.is_connect() => Undelivered::Unreachable,
        err if err.is_builder() => Undelivered::Unusable("its address cannot be called".into()),
        _ => Undelivered::Broken,
    }
}

/// What an answer that looks well says of points that were not taken.
fn rejected(body: &[u8]) -> Option<Undelivered> {
    let said = ExportMetricsServiceResponse::decode(body).ok()?.partial_success?;
    let is_warning = said.rejected_data_points > 0 || !said.error_message.is_empty();
    is_warning.then(|| Undelivered::Rejected {
        points: said.rejected_data_points,
        reason: shown(&said.error_message),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsPartialSuccess;

    #[test]
    fn an_answer_that_takes_all_says_nothing() {
        let said = |points, reason: &str| {
            let partial_success = Some(ExportMetricsPartialSuccess {
                rejected_data_points: points,
                error_message: reason.into(),
            });
            rejected(&ExportMetricsServiceResponse { partial_success }.encode_to_vec())
        };
        assert_eq!((rejected(b""), rejected(b"<html>"), said(0, "")), (None, None, None));
        let told = said(3, "too\nsoon").expect("some").to_string();
        assert_eq!(told, "it did not take 3 points: too soon");
    }
}
