//! The calls of Secret Manager, over a client of the job's own: Google's leaves neither the lookup of names nor idle
//! connections to anybody else. The job makes only one of them; the others are for operators' commands.

use crate::network::http::{client, heed};
use crate::network::names::Names;
use bytes::Bytes;
use google_cloud_auth::credentials::{CacheableResource, Credentials};
use google_cloud_gax::error::Error;
use google_cloud_gax::error::rpc::Status;
use google_cloud_gax::options::RequestOptions;
use google_cloud_gax::response::{Parts, Response};
use google_cloud_secretmanager_v1::model::{
    AccessSecretVersionRequest, AccessSecretVersionResponse, AddSecretVersionRequest, CreateSecretRequest,
    DeleteSecretRequest, DestroySecretVersionRequest, DisableSecretVersionRequest, ListSecretVersionsRequest,
    ListSecretVersionsResponse, ListSecretsRequest, ListSecretsResponse, Secret, SecretPayload,
    SecretVersion,
};
use google_cloud_secretmanager_v1::stub::SecretManagerService;
use http::HeaderMap;
use reqwest::{RequestBuilder, Url};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use zeroize::Zeroizing;

/// More than the JSON of any keys, and of everything else that is sent.
const LARGEST_BODY: usize = 8 << 10;

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

    /// A resource's name begins with no slash, and its ids hold none.
    fn url(&self, path: &str) -> Result<Url, Error> {
        self.base.join(&format!("v1/{path}")).map_err(Error::ser)
    }

    async fn post<T: DeserializeOwned>(&self, url: Url, body: &impl Serialize) -> Result<Response<T>, Error> {
        let request = self.http.post(url).header(http::header::CONTENT_TYPE, "application/json");
        self.send(request.body(wiped(body).map_err(Error::ser)?)).await
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<Response<T>, Error> {
        let request = request.headers(self.authorization().await?);
        let answer = request.send().await.inspect_err(|err| heed(&self.names, err)).map_err(unsent)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.map_err(Error::io)?;
        if !status.is_success() {
            return Err(match Status::try_from(&body) {
                Ok(told) => Error::service_with_http_metadata(told, Some(status.as_u16()), Some(headers)),
                Err(_) => Error::http(status.as_u16(), headers, body),
            });
        }
        let read = serde_json::from_slice(&body).map_err(Error::deser)?;
        Ok(Response::from_parts(Parts::new().set_headers(headers), read))
    }
}

/// A body that is wiped once it is sent: it may hold keys. It has room from the start, as one that grows leaves its
/// beginnings behind.
fn wiped(body: &impl Serialize) -> serde_json::Result<Bytes> {
    let mut json = Zeroizing::new(Vec::with_capacity(LARGEST_BODY));
    serde_json::to_writer(&mut *json, body)?;
    Ok(Bytes::from_owner(json))
}

fn unsent(err: reqwest::Error) -> Error {
    match err {
        err if err.is_connect() => Error::connect(err),
        err if err.is_timeout() => Error::timeout(err),
        err => Error::io(err),
    }
}

type Answer<T> = Result<Response<T>, Error>;

impl SecretManagerService for SecretAccess {
    async fn access_secret_version(
        &self,
        request: AccessSecretVersionRequest,
        _: RequestOptions,
    ) -> Answer<AccessSecretVersionResponse> {
        self.send(self.http.get(self.url(&format!("{}:access", request.name))?)).await
    }

    async fn list_secrets(
        &self,
        request: ListSecretsRequest,
        _: RequestOptions,
    ) -> Answer<ListSecretsResponse> {
        let ListSecretsRequest { parent, page_size, page_token, filter, .. } = request;
        let mut url = self.url(&format!("{parent}/secrets"))?;
        url.query_pairs_mut()
            .append_pair("pageSize", &page_size.to_string())
            .append_pair("pageToken", &page_token)
            .append_pair("filter", &filter);
        self.send(self.http.get(url)).await
    }

    async fn list_secret_versions(
        &self,
        request: ListSecretVersionsRequest,
        _: RequestOptions,
    ) -> Answer<ListSecretVersionsResponse> {
        let mut url = self.url(&format!("{}/versions", request.parent))?;
        url.query_pairs_mut()
            .append_pair("pageSize", &request.page_size.to_string())
            .append_pair("pageToken", &request.page_token);
        self.send(self.http.get(url)).await
    }

    async fn create_secret(&self, request: CreateSecretRequest, _: RequestOptions) -> Answer<Secret> {
        let mut url = self.url(&format!("{}/secrets", request.parent))?;
        url.query_pairs_mut().append_pair("secretId", &request.secret_id);
        self.post(url, &request.secret).await
    }

    async fn add_secret_version(
        &self,
        request: AddSecretVersionRequest,
        _: RequestOptions,
    ) -> Answer<SecretVersion> {
        let url = self.url(&format!("{}:addVersion", request.parent))?;
        self.post(url, &AddVersion { payload: request.payload }).await
    }

    async fn destroy_secret_version(
        &self,
        request: DestroySecretVersionRequest,
        _: RequestOptions,
    ) -> Answer<SecretVersion> {
        self.post(self.url(&format!("{}:destroy", request.name))?, &serde_json::Map::new()).await
    }

    async fn disable_secret_version(
        &self,
        request: DisableSecretVersionRequest,
        _: RequestOptions,
    ) -> Answer<SecretVersion> {
        self.post(self.url(&format!("{}:disable", request.name))?, &serde_json::Map::new()).await
    }

    async fn delete_secret(&self, request: DeleteSecretRequest, _: RequestOptions) -> Answer<()> {
        let deleted: Response<IgnoredAny> = self.send(self.http.delete(self.url(&request.name)?)).await?;
        let (parts, _) = deleted.into_parts();
        Ok(Response::from_parts(parts, ()))
    }
}

/// Its parent is in the path.
#[derive(Serialize)]
struct AddVersion {
    payload: Option<SecretPayload>,
}
