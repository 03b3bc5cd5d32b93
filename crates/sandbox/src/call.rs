//! What a call is: its service, its method, and the user it is about.

use super::admin::Admin;
use super::firestore_users::mentioned_users;
use super::secret_manager::Operation;
use super::{firestore, metadata, seed, telemetry};
use bytes::Bytes;
use http::Request;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// One of the services that the sandbox stands in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// Cloud Firestore, over gRPC.
    Firestore,
    /// Secret Manager, over REST.
    SecretManager,
    /// Alpaca's Trading API, over REST.
    Alpaca,
    /// Google Cloud's metadata server, over REST.
    Metadata,
    /// Google's admin APIs, over REST.
    Admin,
    /// A collector of metrics, over OTLP.
    Telemetry,
}

const FIRESTORE_METHODS: &[&str] = &[
    "BatchGetDocuments",
    "BatchWrite",
    "BeginTransaction",
    "Commit",
    "CreateDocument",
    "DeleteDocument",
    "ExecutePipeline",
    "GetDocument",
    "ListCollectionIds",
    "ListDocuments",
    "Listen",
    "PartitionQuery",
    "Rollback",
    "RunAggregationQuery",
    "RunQuery",
    "UpdateDocument",
    "Write",
    UNKNOWN,
];

const SECRET_MANAGER_METHODS: &[&str] = &[
    "AccessSecretVersion",
    "AddSecretVersion",
    "CreateSecret",
    "DeleteSecret",
    "DestroySecretVersion",
    "DisableSecretVersion",
    "EnableSecretVersion",
    "GetSecret",
    "GetSecretVersion",
    "ListSecretVersions",
    "ListSecrets",
    UNKNOWN,
];

impl Service {
    /// Every service, in the order of their declaration.
    pub(crate) const ALL: [Self; 6] =
        [Self::Firestore, Self::SecretManager, Self::Alpaca, Self::Metadata, Self::Admin, Self::Telemetry];

    /// The service as fault specs and the control surface spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Firestore => "firestore",
            Self::SecretManager => "secret-manager",
            Self::Alpaca => "alpaca",
            Self::Metadata => "metadata",
            Self::Admin => "admin",
            Self::Telemetry => "telemetry",
        }
    }

    /// The methods told apart; the last one stands for all others.
    pub(crate) fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Firestore => FIRESTORE_METHODS,
            Self::SecretManager => SECRET_MANAGER_METHODS,
            Self::Alpaca => &["GetAccount", UNKNOWN],
            Self::Metadata => &["GetProjectId", "GetRegion", "GetToken", UNKNOWN],
            Self::Admin => &[
                "GetDatabase",
                "GetIamPolicy",
                "GetRelease",
                "GetRuleset",
                "GetRunJob",
                "GetSchedulerJob",
                "ListExecutions",
                "ListFields",
                "ListIndexes",
                "TestIamPermissions",
                UNKNOWN,
            ],
            Self::Telemetry => &["ExportMetrics", UNKNOWN],
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Service {
    type Err = UnknownService;

    fn from_str(text: &str) -> Result<Self, UnknownService> {
        Self::ALL
            .into_iter()
            .find(|service| service.name() == text)
            .ok_or_else(|| UnknownService(text.into()))
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no service `{0}`: there are firestore, secret-manager, alpaca, metadata, admin and telemetry")]
pub struct UnknownService(String);

const UNKNOWN: &str = "Unknown";

/// One method of one service, small enough to copy with every call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method {
    service: Service,
    index: usize,
}

impl Method {
    /// The method called `name`, if the sandbox tells it apart.
    pub(crate) fn named(service: Service, name: &str) -> Option<Self> {
        let index = service.methods().iter().position(|known| *known == name)?;
        Some(Self { service, index })
    }

    fn named_or_unknown(service: Service, name: &str) -> Self {
        let last = service.methods().len() - 1;
        Self::named(service, name).unwrap_or(Self { service, index: last })
    }

    pub fn service(self) -> Service {
        self.service
    }

    /// Its name, such as `Commit`.
    pub fn name(self) -> &'static str {
        self.service.methods()[self.index]
    }

    /// Its place in [`Service::methods`].
    pub(super) fn index(self) -> usize {
        self.index
    }
}

/// A call on its way through the sandbox, its body already read to the end.
pub(super) struct Call {
    pub(super) method: Method,
    /// The path with percent-encoding undone.
    pub(super) path: String,
    pub(super) request: Request<Bytes>,
    /// The parsed path of a Secret Manager call.
    pub(super) operation: Option<Operation>,
    /// The owner of the keys of an Alpaca call.
    pub(super) key_owner: Option<String>,
}

impl Call {
    /// Recognises the service from the path; `None` is a path that belongs to none of them.
    ///
    /// `owner_of` finds the user behind an Alpaca key id.
    pub(super) fn recognise(
        request: Request<Bytes>,
        owner_of: impl FnOnce(&str) -> Option<String>,
    ) -> Option<Self> {
        let path =
            percent_encoding::percent_decode_str(request.uri().path()).decode_utf8_lossy().into_owned();
        let mut operation = None;
        let mut key_owner = None;
        let method = if let Some(rpc) = path.strip_prefix(firestore::SERVICE) {
            Method::named_or_unknown(Service::Firestore, rpc)
        } else if let Some(name) = Admin::method_name(request.method(), &path) {
            Method::named_or_unknown(Service::Admin, name)
        } else if path.starts_with("/v1/projects/") {
            operation = Operation::parse(request.method(), &path, request.uri().query());
            let name = operation.as_ref().map_or(UNKNOWN, Operation::method_name);
            Method::named_or_unknown(Service::SecretManager, name)
        } else if path.starts_with("/v2/") {
            key_owner = super::alpaca::account_of(request.headers()).and_then(owner_of);
            let is_account = path == "/v2/account" && request.method() == http::Method::GET;
            Method::named_or_unknown(Service::Alpaca, if is_account { "GetAccount" } else { UNKNOWN })
        } else if path.starts_with(metadata::PREFIX) {
            let name = metadata::Metadata::method_name(&path).unwrap_or(UNKNOWN);
            Method::named_or_unknown(Service::Metadata, name)
        } else if path == telemetry::PATH {
            let is_export = request.method() == http::Method::POST;
            Method::named_or_unknown(Service::Telemetry, if is_export { "ExportMetrics" } else { UNKNOWN })
        } else {
            return None;
        };
        Some(Self { method, path, request, operation, key_owner })
    }

    /// The user this call is about; the first one when a Firestore call names several.
    pub(super) fn user(&self) -> Option<&str> {
        match self.method.service() {
            Service::Firestore => mentioned_users(self.request.body()).next(),
            Service::SecretManager => {
                self.operation.as_ref().and_then(|operation| seed::user_of_secret(operation.secret()))
            }
            Service::Alpaca => self.key_owner.as_deref(),
            Service::Metadata | Service::Admin | Service::Telemetry => None,
        }
    }

    /// Whether this call is about such a user, among others.
    pub(super) fn concerns(&self, is_meant: impl Fn(&str) -> bool) -> bool {
        match self.method.service() {
            Service::Firestore => mentioned_users(self.request.body()).any(is_meant),
            Service::SecretManager
            | Service::Alpaca
            | Service::Metadata
            | Service::Admin
            | Service::Telemetry => self.user().is_some_and(is_meant),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, path: &str, body: &'static [u8]) -> Option<Call> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("APCA-API-KEY-ID", "PKSANDBOXANA")
            .body(Bytes::from_static(body))
            .unwrap();
        Call::recognise(request, |key_id| (key_id == "PKSANDBOXANA").then(|| "ana".to_owned()))
    }

    #[test]
    fn the_path_decides_the_service_and_the_method() {
        for (verb, path, service, method) in [
            ("POST", "/google.firestore.v1.Firestore/Commit", Service::Firestore, "Commit"),
            ("POST", "/google.firestore.v1.Firestore/Dance", Service::Firestore, "Unknown"),
            (
                "GET",
                "/v1/projects/p/secrets/s/versions/latest:access",
                Service::SecretManager,
                "AccessSecretVersion",
            ),
            ("PUT", "/v1/projects/p/secrets/s", Service::SecretManager, "Unknown"),
            ("GET", "/v2/account", Service::Alpaca, "GetAccount"),
            ("POST", "/v2/account", Service::Alpaca, "Unknown"),
            ("GET", "/v2/positions", Service::Alpaca, "Unknown"),
            (
                "GET",
                "/computeMetadata/v1/instance/service-accounts/default/token",
                Service::Metadata,
                "GetToken",
            ),
            ("GET", "/computeMetadata/v1/", Service::Metadata, "Unknown"),
            ("POST", "/v1/metrics", Service::Telemetry, "ExportMetrics"),
            ("GET", "/v1/metrics", Service::Telemetry, "Unknown"),
        ] {
            let method_of_call = call(verb, path, b"").unwrap().method;
            assert_eq!((method_of_call.service(), method_of_call.name()), (service, method), "{verb} {path}");
        }
        assert!(call("GET", "/favicon.ico", b"").is_none());
    }

    #[test]
    fn the_user_is_found_in_every_service() {
        let secret = call("GET", "/v1/projects/p/secrets/alpaca-keys-ana/versions/1:access", b"").unwrap();
        assert_eq!(secret.user(), Some("ana"));
        let account = call("GET", "/v2/account", b"").unwrap();
        assert_eq!(account.user(), Some("ana"));
        let document = b"\x0a\x22projects/p/databases/d/documents/x";
        assert_eq!(call("POST", "/google.firestore.v1.Firestore/Commit", document).unwrap().user(), None);
    }

    #[test]
    fn every_service_reads_back_from_its_name() {
        for service in Service::ALL {
            assert_eq!(service.to_string().parse(), Ok(service));
        }
        assert!("s3".parse::<Service>().is_err());
    }
}
