//! An Alpaca that holds every call until the test lets it go, to see who is in flight together.

use crate::live::wait_until;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

const ACCOUNT: &str = r#"{"id":"1d9eed04-be39-4e01-9b84-a48ac5bbafcf","status":"ACTIVE","currency":"USD",
    "equity":"123346.11","buying_power":"245432.61","cash":"-122086.5"}"#;

pub(crate) struct HeldAlpaca {
    address: SocketAddr,
    calls: Arc<Calls>,
    /// Ends the server with the test.
    _server: AbortOnDropHandle<()>,
}

struct Calls {
    /// Calls that may be answered.
    released: Semaphore,
    arrived: AtomicUsize,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
}

impl HeldAlpaca {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("loopback has a free port");
        let calls = Arc::new(Calls {
            released: Semaphore::new(0),
            arrived: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
        });
        Self {
            address: listener.local_addr().expect("bound"),
            calls: Arc::clone(&calls),
            _server: AbortOnDropHandle::new(tokio::spawn(serve(listener, calls))),
        }
    }

    /// For `APCA_API_BASE_URL`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until so many calls have come since the start.
    pub(crate) async fn arrived(&self, calls: usize) {
        wait_until(|| self.count() >= calls).await;
    }

    /// Calls since the start.
    pub(crate) fn count(&self) -> usize {
        self.calls.arrived.load(Ordering::SeqCst)
    }

    /// The most calls that were ever held at the same time.
    pub(crate) fn most_in_flight(&self) -> usize {
        self.calls.most_in_flight.load(Ordering::SeqCst)
    }

    /// Lets so many calls go, of those held or still to come.
    pub(crate) fn let_go(&self, calls: usize) {
        self.calls.released.add_permits(calls);
    }
}

async fn serve(listener: TcpListener, calls: Arc<Calls>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        connections.spawn(connection(stream, Arc::clone(&calls)));
    }
}

async fn connection(stream: TcpStream, calls: Arc<Calls>) {
    let service = service_fn(|_: Request<Incoming>| {
        let calls = Arc::clone(&calls);
        async move { Ok::<_, Infallible>(calls.answer().await) }
    });
    // A client that goes away is its own business.
    let _ended = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl Calls {
    async fn answer(&self) -> Response<Full<Bytes>> {
        let together = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_in_flight.fetch_max(together, Ordering::SeqCst);
        self.arrived.fetch_add(1, Ordering::SeqCst);
        self.released.acquire().await.expect("never closed").forget();
        // Counted as over before the answer is sent, since the next call follows at once.
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        Response::new(Full::from(ACCOUNT))
    }
}
