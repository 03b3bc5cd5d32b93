//! Who the job is to Google's services, and to their stand-ins.

use google_cloud_auth::credentials::anonymous;
use google_cloud_auth::credentials::{
    Builder, CacheableResource, Credentials, CredentialsProvider, EntityTag,
};
use google_cloud_auth::errors::CredentialsError;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

/// The Application Default Credentials: on Cloud Run, the job's service account.
///
/// # Errors
/// When a credentials file is there but cannot be used.
pub fn application_default() -> Result<Credentials, google_cloud_auth::build_errors::Error> {
    // Without a word on it, building a client asks the metadata server, which may never answer.
    Builder::default().with_universe_domain("googleapis.com").build()
}

/// For a Secret Manager that asks for none.
#[must_use]
pub fn none() -> Credentials {
    anonymous::Builder::new().build()
}

/// For a Firestore emulator: `Bearer owner` bypasses security rules, as a service account does.
#[must_use]
pub fn emulator_owner() -> Credentials {
    Credentials::from(EmulatorOwner(EntityTag::new()))
}

#[derive(Debug)]
struct EmulatorOwner(EntityTag);

impl CredentialsProvider for EmulatorOwner {
    async fn headers(
        &self,
        known: http::Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        if known.get::<EntityTag>() == Some(&self.0) {
            return Ok(CacheableResource::NotModified);
        }
        let owner = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer owner"))]);
        Ok(CacheableResource::New { entity_tag: self.0.clone(), data: owner })
    }

    async fn universe_domain(&self) -> Option<String> {
        None
    }
}
