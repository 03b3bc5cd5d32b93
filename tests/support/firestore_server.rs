//! The sandbox's Firestore behind a real socket.

use std::convert::Infallible;
use std::net::Ipv4Addr;

use alpaca_pulse::sandbox::firestore::Firestore;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

/// Serves on a free port of loopback until the test's runtime ends, and answers `host:port`.
pub async fn serve(firestore: Firestore) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("loopback has a free port");
    let host = listener
        .local_addr()
        .expect("a bound socket has an address")
        .to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Without it, the last small frame of a long answer waits for the client's delayed acknowledgement.
            stream.set_nodelay(true).expect("an open socket takes the option");
            let firestore = firestore.clone();
            let service = service_fn(move |request: http::Request<Incoming>| {
                let firestore = firestore.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    let answer = firestore
                        .serve(http::Request::from_parts(parts, Full::new(body)))
                        .await;
                    Ok::<_, hyper::Error>(answer)
                }
            });
            tokio::spawn(async move {
                // A client that hangs up is no failure of the server.
                let _: Result<(), Infallible> = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                    .or(Ok(()));
            });
        }
    });
    host
}
