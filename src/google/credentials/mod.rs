//! Who the job is to Google's services, and to their stand-ins.

pub(crate) mod failure;
mod keeper;
mod key_file;
mod metadata;

use crate::limits::retry::Deadline;
use failure::{Flaw, Location, NoToken};
use google_cloud_auth::credentials::anonymous;
use google_cloud_auth::credentials::{CacheableResource, Credentials, CredentialsProvider, EntityTag};
use google_cloud_auth::errors::CredentialsError;
pub(crate) use keeper::TokenKeeper;
use key_file::KeyFile;
use metadata::Metadata;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use std::error::Error;
use std::ffi::OsString;
use std::path::Path;

/// Where gcloud keeps its own, below the home directory.
const WELL_KNOWN: &str = ".config/gcloud/application_default_credentials.json";

/// Who the job is. Clones are the same, with the same token.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// Somebody whom Google knows.
    Google(TokenKeeper),
    /// Whoever a stand-in takes it for.
    StandIn(Credentials),
}

impl Identity {
    /// The Application Default Credentials: on Cloud Run, the job's service account. `lookup` is the environment.
    ///
    /// # Errors
    /// When there are some that cannot be used.
    pub(crate) fn application_default(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, NoToken> {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let quota_project = set("GOOGLE_CLOUD_QUOTA_PROJECT").map(project_of).transpose()?;
        let id = quota_project.as_ref().map(|(id, _)| id.clone());
        let read = |path: &Path, place| KeyFile::read(path, place, id.clone());
        let file = match (set("GOOGLE_APPLICATION_CREDENTIALS"), set("HOME")) {
            (Some(path), _) => {
                let place = Location::Variable;
                let file = read(Path::new(&path), place)?;
                Some(file.ok_or(NoToken::Unusable { place, flaw: Flaw::Unreadable })?)
            }
            (None, Some(home)) => read(&Path::new(&home).join(WELL_KNOWN), Location::Gcloud)?,
            (None, None) => None,
        };
        let source: Box<dyn keeper::Source> = match file {
            Some(file) => Box::new(file),
            None => {
                let host = set("GCE_METADATA_HOST").map(host_of).transpose()?;
                Box::new(Metadata::new(host.as_deref(), quota_project.map(|(_, header)| header))?)
            }
        };
        Ok(Self::Google(TokenKeeper::new(source)))
    }

    /// For a Secret Manager that asks for none.
    #[must_use]
    pub(crate) fn nobody() -> Self {
        Self::StandIn(anonymous::Builder::new().build())
    }

    /// The same to a service of Google's that has no stand-in here, whatever others have.
    ///
    /// # Errors
    /// When there are credentials that cannot be used.
    pub(crate) fn without_stand_in(&self) -> Result<Self, NoToken> {
        match self {
            Self::Google(_) => Ok(self.clone()),
            Self::StandIn(_) => Self::application_default(|name| std::env::var_os(name)),
        }
    }

    /// For a Firestore emulator: `Bearer owner` bypasses security rules, as a service account does.
    #[must_use]
    pub(crate) fn emulator_owner() -> Self {
        Self::StandIn(Credentials::from(EmulatorOwner(EntityTag::new())))
    }

    /// What a client takes.
    #[must_use]
    pub(crate) fn credentials(&self) -> Credentials {
        match self {
            Self::Google(keeper) => Credentials::from(keeper.clone()),
            Self::StandIn(credentials) => credentials.clone(),
        }
    }

    /// Returns once there is a token, as long as there is time to ask for one.
    ///
    /// # Errors
    /// What came of asking last.
    pub(crate) async fn ready(&self, deadline: Deadline) -> Result<(), NoToken> {
        match self {
            Self::Google(keeper) => keeper.ready(deadline).await,
            Self::StandIn(_) => Ok(()),
        }
    }

    /// A service did not take the token.
    pub(crate) fn distrust(&self) {
        if let Self::Google(keeper) = self {
            keeper.distrust();
        }
    }
}

/// Where the metadata server is, unless a variable says otherwise.
pub(crate) fn metadata_host() -> &'static str {
    metadata::HOST
}

/// The project that is named, as it is and as a header has it.
fn project_of(value: OsString) -> Result<(String, HeaderValue), NoToken> {
    let project = value.into_string().ok();
    let header = project.and_then(|id| Some((HeaderValue::from_str(&id).ok()?, id)));
    let unusable = NoToken::Unusable { place: Location::QuotaProject, flaw: Flaw::NoProject };
    header.map(|(header, id)| (id, header)).ok_or(unusable)
}

fn host_of(value: OsString) -> Result<String, NoToken> {
    value.into_string().map_err(|_| NoToken::Unusable { place: Location::MetadataHost, flaw: Flaw::NoHost })
}

/// Whether a client's error comes of there being no token.
#[must_use]
pub(crate) fn no_token<'a>(err: &'a (dyn Error + 'static)) -> Option<&'a NoToken> {
    let mut cause = Some(err);
    while let Some(err) = cause {
        if let Some(failure) = err.downcast_ref::<NoToken>() {
            return Some(failure);
        }
        cause = err.source();
    }
    None
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
