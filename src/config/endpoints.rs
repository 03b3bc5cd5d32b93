//! Addresses that replace the services' own, and who may overhear calls to them.

use crate::config::error::keep;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

/// Addresses that replace the services' own. None of them is plain HTTP beyond this machine, unless
/// `PULSE_ALLOW_INSECURE_ENDPOINTS` says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Endpoints {
    /// `FIRESTORE_EMULATOR_HOST`.
    pub(crate) firestore: Option<Url>,
    /// `SECRET_MANAGER_EMULATOR_HOST`.
    pub(crate) secret_manager: Option<Url>,
    /// `APCA_API_BASE_URL`.
    pub(crate) alpaca: Option<Url>,
    /// Of [`AdminApi::ALL`], as gcloud names them.
    admin: [Option<Url>; AdminApi::ALL.len()],
}

/// One of Google's APIs about a project itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdminApi {
    /// The database, its indexes.
    Firestore,
    /// Security rules.
    Rules,
    /// Who may do what, and what is logged of it.
    Projects,
    /// Cloud Run.
    Run,
    /// Cloud Scheduler.
    Scheduler,
}

impl AdminApi {
    const ALL: [Self; 5] = [Self::Firestore, Self::Rules, Self::Projects, Self::Run, Self::Scheduler];

    /// Its host's first word, by which `gcloud services enable` knows it too.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Firestore => "firestore",
            Self::Rules => "firebaserules",
            Self::Projects => "cloudresourcemanager",
            Self::Run => "run",
            Self::Scheduler => "cloudscheduler",
        }
    }
}

impl Endpoints {
    /// What replaces an admin API.
    #[must_use]
    pub(crate) fn admin(&self, api: AdminApi) -> Option<&Url> {
        self.admin[api as usize].as_ref()
    }

    /// Those that the environment has; adds what is wrong with them.
    pub(super) fn from_lookup(
        environment: &impl Fn(&str) -> Option<String>,
        wrong: &mut Vec<String>,
    ) -> Self {
        let lookup = |name: &str| environment(name).filter(|value| !value.is_empty());
        let insecure = lookup("PULSE_ALLOW_INSECURE_ENDPOINTS").is_some_and(|value| value == "1");
        let mut endpoint = |name: &str| {
            let value = lookup(name)?;
            keep(wrong, parse_endpoint(&value, insecure).map_err(|reason| format!("{name} {reason}")))
        };
        let endpoints = Self {
            firestore: endpoint("FIRESTORE_EMULATOR_HOST"),
            secret_manager: endpoint("SECRET_MANAGER_EMULATOR_HOST"),
            alpaca: endpoint("APCA_API_BASE_URL"),
            admin: AdminApi::ALL.map(|api| {
                endpoint(&format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{}", api.name().to_uppercase()))
            }),
        };
        let secrets = endpoints.secret_manager.iter().find(|url| url.scheme() == "http");
        keep(wrong, secrets.map_or(Ok(()), |url| bypasses_proxies(environment, url)));
        endpoints
    }
}

/// The client for Secret Manager obeys the proxy variables, and a proxy would see the keys of a call without TLS.
/// Whether it would is decided by the code that decides it there, so that none of the variables' many forms is taken
/// for what it is not.
fn bypasses_proxies(environment: &impl Fn(&str) -> Option<String>, url: &Url) -> Result<(), String> {
    // The first that is set counts, even when it is empty.
    let either = |names: [&str; 2]| names.into_iter().find_map(environment).unwrap_or_default();
    let (http, all) = (["HTTP_PROXY", "http_proxy"], ["ALL_PROXY", "all_proxy"]);
    let rules =
        Matcher::builder().http(either(http)).all(either(all)).no(either(["NO_PROXY", "no_proxy"])).build();
    let target = url.as_str().parse().map_err(|_| "SECRET_MANAGER_EMULATOR_HOST is no URL")?;
    if rules.intercept(&target).is_none() {
        return Ok(());
    }
    let set = |name: &&str| environment(name).is_some_and(|proxy| !proxy.is_empty());
    let name = [http, all].into_iter().flatten().find(set).unwrap_or("HTTP_PROXY");
    // Brackets belong to URLs: with them it would be the name of a host.
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let list = if environment("NO_PROXY").is_some() || environment("no_proxy").is_none() {
        "NO_PROXY"
    } else {
        "no_proxy"
    };
    Err(format!(
        "{name} would get the keys of plain HTTP calls to SECRET_MANAGER_EMULATOR_HOST: unset it, or add {host} to {list}"
    ))
}

/// Reads `host:port` (plain HTTP) or a URL.
pub(super) fn parse_endpoint(text: &str, allow_insecure: bool) -> Result<Url, String> {
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url: Url = url.parse().map_err(|_| "is neither host:port nor a URL".to_owned())?;
    let host = url.host_str().ok_or("has no host")?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if allow_insecure || is_loopback(host) => Ok(url),
        "http" => Err(format!(
            "is plain HTTP to {host}, where keys would travel in the clear: use https, or set \
             PULSE_ALLOW_INSECURE_ENDPOINTS=1 if you trust the network"
        )),
        _ => Err("is neither http nor https".into()),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of these variables.
    fn read(variables: &[(&str, &str)]) -> Result<Endpoints, String> {
        let environment =
            |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        let mut wrong = Vec::new();
        let endpoints = Endpoints::from_lookup(&environment, &mut wrong);
        if wrong.is_empty() { Ok(endpoints) } else { Err(wrong.join("; ")) }
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        for (host, usable) in [
            ("127.0.0.1:8080", true),
            ("localhost:8080", true),
            ("[::1]:8080", true),
            ("127.9.9.9:1", true),
            ("firestore:8080", false),
            ("10.0.0.1:8080", false),
            ("localhost.example.com:80", false),
            ("http://0.0.0.0:1", false),
            ("https://example.com", true),
            ("ftp://localhost", false),
            ("http://", false),
        ] {
            for name in ["FIRESTORE_EMULATOR_HOST", "SECRET_MANAGER_EMULATOR_HOST", "APCA_API_BASE_URL"] {
                assert_eq!(read(&[(name, host)]).is_ok(), usable, "{name}={host}");
            }
        }
        let trusted =
            [("FIRESTORE_EMULATOR_HOST", "firestore:8080"), ("PULSE_ALLOW_INSECURE_ENDPOINTS", "1")];
        assert!(read(&trusted).is_ok());
    }

    #[test]
    fn no_proxy_gets_the_keys_of_a_call_without_tls() {
        let with = |more: &[(&'static str, &'static str)]| {
            let local = [("SECRET_MANAGER_EMULATOR_HOST", "127.0.0.1:1")];
            read(&[&local, more].concat()).is_ok()
        };
        assert!(with(&[]));
        for proxy in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            assert!(!with(&[(proxy, "http://proxy:3128")]), "{proxy}");
            assert!(!with(&[(proxy, "http://proxy:3128"), ("NO_PROXY", "example.com")]), "{proxy}");
            assert!(with(&[(proxy, "http://proxy:3128"), ("NO_PROXY", "example.com, 127.0.0.1")]), "{proxy}");
            assert!(with(&[(proxy, "http://proxy:3128"), ("no_proxy", "127.0.0.1")]), "{proxy}");
            let hidden = [(proxy, "http://proxy:3128"), ("NO_PROXY", ""), ("no_proxy", "127.0.0.1")];
            assert!(!with(&hidden), "{proxy}: the empty one counts");
        }
        assert!(with(&[("HTTPS_PROXY", "http://proxy:3128")]), "of no concern to plain HTTP");
    }

    #[test]
    fn the_hosts_without_a_proxy_are_those_of_googles_client() {
        for (host, list, exempt) in [
            ("127.0.0.1:1", "127.0.0.1", true),
            ("127.0.0.1:1", "127.0.0.0/8", true),
            ("127.0.0.1:1", "*", false),
            ("127.0.0.1:1", "127.0.0.1:1", false),
            ("127.0.0.1:1", "::ffff:127.0.0.1", false),
            ("[::1]:1", "::1", true),
            ("[::1]:1", "0:0::1", true),
            ("[::1]:1", "[::1]", false),
            ("[::1]:1", "::1/128", true),
            ("localhost:1", "LOCALHOST", true),
            ("localhost:1", ".localhost", true),
            ("localhost:1", "*", true),
            ("localhost:1", "*.localhost", false),
            ("localhost:1", "host", false),
            ("localhost:1", "127.0.0.1 localhost", false),
        ] {
            let set = [
                ("SECRET_MANAGER_EMULATOR_HOST", host),
                ("HTTP_PROXY", "http://proxy:3128"),
                ("NO_PROXY", list),
            ];
            assert_eq!(read(&set).is_ok(), exempt, "{host} {list}");
        }
        let v6 = [
            ("SECRET_MANAGER_EMULATOR_HOST", "[::1]:1"),
            ("all_proxy", "socks5://proxy:1080"),
            ("no_proxy", "[::1]"),
        ];
        let told = read(&v6).expect_err("refused");
        assert!(told.starts_with("all_proxy would get") && told.ends_with("add ::1 to no_proxy"), "{told}");
    }
}
