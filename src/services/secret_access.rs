//! The one call of Secret Manager that the job makes, over a client of the job's own: Google's leaves neither the lookup
//! of names nor idle connections to anybody else.

use crate::network::http::{client, heed};
use crate::network::names::Names;
use google_cloud_auth::credentials::{CacheableResource, Credentials};
use google_cloud_gax::error::Error;
use google_cloud_gax::error::rpc::Status;
use google_cloud_gax::options::RequestOptions;
use google_cloud_gax::response::{Parts, Response};
use google_cloud_secretmanager_v1::model::{AccessSecretVersionRequest, AccessSecretVersionResponse};
use google_cloud_secretmanager_v1::stub::SecretManagerService;
use http::HeaderMap;
use reqwest::Url;

type Answered = Response<AccessSecretVersionResponse>;

/// Calls over HTTP/1.1 and TLS.
#[derive(Debug)]
pub(super) struct SecretAccess {
    http: reqwest::Client,
    names: Names,
    /// Ends in a slash.
    base: Url,
    credentials: Credentials,
}

impl SecretAccess {
    /// Reads the system's certificates, which takes milliseconds.
    pub(super) fn new(mut base: Url, credentials: Credentials, names: Names) -> Result<Self, reqwest::Error> {
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let http = client(&names, base.scheme() == "http").build()?;
        Ok(Self { http, names, base, credentials })
    }

    async fn authorization(&self) -> Result<HeaderMap, Error> {
        match self.credentials.headers(http::Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => Ok(data),
            // Only for whoever says what they have.
            Ok(CacheableResource::NotModified) => Ok(HeaderMap::new()),
            Err(err) => Err(Error::authentication(err)),
        }
    }

    async fn get(&self, resource: &str) -> Result<Answered, Error> {
        // A resource's name begins with no slash, and its ids hold none.
        let url = self.base.join(&format!("v1/{resource}:access")).map_err(Error::ser)?;
        let request = self.http.get(url).headers(self.authorization().await?);
        let answer = request.send().await.inspect_err(|err| heed(&self.names, err)).map_err(unsent)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.map_err(Error::io)?;
        if !status.is_success() {
            return Err(match Status::try_from(&body) {
                Ok(told) => Error::service_with_http_metadata(told, Some(status.as_u16()), Some(headers)),
                Err(_) => Error::http(status.as_u16(), headers, body),
            });
        }
        let secret = serde_json::from_slice(&body).map_err(Error::deser)?;
        Ok(Response::from_parts(Parts::new().set_headers(headers), secret))
    }
}

fn unsent(err: reqwest::Error) -> Error {
    match err {
        err if err.is_connect() => Error::connect(err),
        err if err.is_timeout() => Error::timeout(err),
        err => Error::io(err),
    }
}

impl SecretManagerService for SecretAccess {
    async fn access_secret_version(
        &self,
        request: AccessSecretVersionRequest,
        _: RequestOptions,
    ) -> Result<Answered, Error> {
        self.get(&request.name).await
    }
}
