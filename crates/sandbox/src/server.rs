//! One listener for everything: HTTP/1.1, and HTTP/2 with prior knowledge as gRPC speaks it.

use super::gateway::{Cloud, HangUp};
use super::stray::Straying;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Calls that one HTTP/2 connection may carry at a time; a client with more in flight would only queue.
const MAX_STREAMS: u32 = 2048;
/// How long calls in flight may take once the sandbox stops.
const GRACE: Duration = Duration::from_secs(1);
/// Pause after a connection could not be accepted, for want of file descriptors perhaps: the next try would fail too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `cloud` until `stop` says so or its sender is gone. All connections end with this future.
pub(super) async fn serve(listener: TcpListener, cloud: Arc<Cloud>, stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let mut stopping = pin!(stopped(stop.clone()));
    loop {
        tokio::select! {
            () = &mut stopping => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&cloud), stop.clone()));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {} // forgets the connections that ended
        }
    }
    drop(listener);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    // What is still stalled after the grace period is cut off as the set is dropped.
    let _in_time = timeout(GRACE, all_ended).await;
}

async fn connection(stream: TcpStream, cloud: Arc<Cloud>, stop: watch::Receiver<bool>) {
    // Without it a small answer may wait for the peer's delayed acknowledgement. If it fails, the connection is dead.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let hang_up = Arc::new(HangUp::default());
    let service = service_fn(|request| {
        let (cloud, hang_up) = (Arc::clone(&cloud), Arc::clone(&hang_up));
        async move { Ok::<_, Infallible>(cloud.answer(request, &hang_up).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(MAX_STREAMS);
    let stream = Straying::new(stream, hang_up.stray().clone());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ended = connection.as_mut() => return, // a peer that went away is its own business
        () = hang_up.requested() => return,
        () = hang_up.announced() => connection.as_mut().graceful_shutdown(),
        () = stopped(stop) => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ended = connection.as_mut() => {}
        () = hang_up.requested() => {}
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone, which stops everything just as well.
    let _stop = stop.wait_for(|stop| *stop).await;
}
