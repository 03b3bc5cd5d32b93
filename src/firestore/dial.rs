//! How a connection to Firestore is made.

use crate::network::http::CONNECT_TIMEOUT;
use crate::network::names::Names;
use futures::FutureExt;
use futures::future::BoxFuture;
use gcloud_sdk::tonic::codegen::Service;
use gcloud_sdk::tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use std::error::Error;
use std::task::{Context, Poll};
use std::time::Duration;

/// Longest a connection may take that replaces one that broke: lookup, TCP and TLS together.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How often a connection is asked whether it is still there. More often than routers between forget it, and not so
/// often that Google takes offence.
const PING_INTERVAL: Duration = Duration::from_secs(60);

/// A connection that does not answer within that is given up.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens a connection, which is replaced by itself when it breaks.
pub(super) async fn dial(url: &str, names: &Names) -> Result<Channel, gcloud_sdk::tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(url.to_owned())?
        .connect_timeout(RECONNECT_TIMEOUT)
        .keep_alive_timeout(PING_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_while_idle(true);
    let host = endpoint.uri().host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let endpoint = if endpoint.uri().scheme_str() == Some("https") {
        endpoint.tls_config(ClientTlsConfig::new().with_webpki_roots().domain_name(host))?
    } else {
        endpoint
    };
    endpoint.connect_with_connector(Dial::new(names.clone())).await
}

/// Connects over TCP, to the addresses that are known of a name.
struct Dial {
    names: Names,
    tcp: HttpConnector<Names>,
}

impl Dial {
    fn new(names: Names) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(names.clone());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(PING_INTERVAL));
        // Shared by the addresses of a name.
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Self { names, tcp }
    }
}

type Connecting = <HttpConnector<Names> as Service<Uri>>::Future;
type Connected = <HttpConnector<Names> as Service<Uri>>::Response;
type NotConnected = <HttpConnector<Names> as Service<Uri>>::Error;

impl Service<Uri> for Dial {
    type Response = Connected;
    type Error = NotConnected;
    type Future = BoxFuture<'static, Result<Connected, NotConnected>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NotConnected>> {
        self.tcp.poll_ready(cx)
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let (names, host) = (self.names.clone(), url.host().unwrap_or_default().to_owned());
        let connecting: Connecting = self.tcp.call(url);
        async move { connecting.await.inspect_err(|_| names.doubt(&host)) }.boxed()
    }
}

/// What an error comes of: the client wraps it several times.
pub(super) fn root<'a>(err: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    std::iter::successors(Some(err), |&err| err.source()).last().unwrap_or(err)
}
