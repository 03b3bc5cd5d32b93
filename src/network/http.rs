//! How calls over HTTP/1.1 are made, and where they go.

use crate::network::names::{Names, NoAddress};
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, Url};
use std::net::IpAddr;
use std::time::Duration;

/// Longest a connection may take to stand, once its name has an address.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Longest a connection without a call is kept. One that a router between has forgotten by then stalls the next call.
const IDLE_LIMIT: Duration = Duration::from_secs(20);

/// A client that looks names up together with all others, follows no redirect, and obeys the proxy variables.
pub(crate) fn client(names: &Names, plain_http: bool) -> ClientBuilder {
    reqwest::Client::builder()
        // Custom headers, the keys among them, would follow a redirect to any host.
        .redirect(Policy::none())
        .referer(false)
        .dns_resolver(names.clone())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_LIMIT)
        .tls_version_min(reqwest::tls::Version::TLS_1_2)
        .https_only(!plain_http)
        // One call at a time on a connection: one that stalls delays nobody else's.
        .http1_only()
        .no_gzip()
        .user_agent(concat!("alpaca-pulse/", env!("CARGO_PKG_VERSION")))
}

/// Looks up the name to which calls of that URL connect, unless it is known already.
pub(crate) async fn look_up(names: &Names, url: &Url) -> Result<(), NoAddress> {
    look_up_host(names, dialled(url, &Matcher::from_system())).await
}

/// The same for a URL that no proxy serves.
pub(crate) async fn look_up_directly(names: &Names, url: &str) -> Result<(), NoAddress> {
    look_up_host(names, Url::parse(url).ok().and_then(|url| named(url.host_str()?))).await
}

/// Has the name of a call that found no connection looked up again.
pub(crate) fn heed(names: &Names, err: &reqwest::Error) {
    if let Some(host) = err.url().filter(|_| err.is_connect()).and_then(Url::host_str) {
        names.doubt(host);
    }
}

async fn look_up_host(names: &Names, host: Option<String>) -> Result<(), NoAddress> {
    match host {
        Some(name) => names.addresses(&name).await.map(|_| ()),
        None => Ok(()),
    }
}

/// The name that a connection for that URL needs: a proxy's, if there is one for it. An address needs none.
fn dialled(url: &Url, proxies: &Matcher) -> Option<String> {
    let proxy = || Some(proxies.intercept(&url.as_str().parse().ok()?)?.uri().host()?.to_owned());
    // None gets a call without TLS.
    let host = if url.scheme() == "https" { proxy() } else { None };
    named(&host.or_else(|| url.host_str().map(str::to_owned))?)
}

/// A host's name, unless it is an address.
fn named(host: &str) -> Option<String> {
    let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    (!is_address).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn the_name_is_the_one_that_is_connected_to() {
        let proxies = Matcher::builder().all("http://proxy.test:3128").no("direct.test").build();
        for (url, name) in [
            ("https://api.test/v2", Some("proxy.test")),
            ("https://direct.test/v2", Some("direct.test")),
            ("http://plain.test:8080", Some("plain.test")),
            ("http://127.0.0.1:8080", None),
            ("http://[::1]:8080", None),
        ] {
            assert_eq!(dialled(&url.parse().expect("a URL"), &proxies).as_deref(), name, "{url}");
        }
    }

    /// Nothing but the limit closes it: neither side has a reason to.
    #[tokio::test]
    async fn a_connection_without_a_call_is_closed_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let http = client(&Names::of_the_machine(), true).no_proxy().build().expect("a client");
        let call = async { http.get(url).send().await.expect("an answer").bytes().await };
        let serve = async {
            let (mut connection, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 1024];
            assert_ne!(connection.read(&mut request).await.expect("a request"), 0);
            connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("it is read");
            connection
        };
        let (mut connection, _) = tokio::join!(serve, call);
        let closed = tokio::time::timeout(3 * IDLE_LIMIT, connection.read(&mut [0])).await;
        assert_eq!(closed.expect("in time").expect("closed in order"), 0);
    }
}
