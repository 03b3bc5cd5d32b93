//! An Alpaca that holds every call until the test lets it go: to see who is in flight together, and to change
//! things after what decides about the users' tenants was read.

use crate::answers::account;
use crate::live::wait_until;
use crate::world::{World, keys_of};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// The equity of those who are let go without a word about it.
const USUAL_EQUITY: &str = "123346.11";

pub(crate) struct HeldAlpaca {
    address: SocketAddr,
    calls: Arc<Mutex<Calls>>,
    /// Ends the server with the test.
    _server: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Calls {
    /// The oldest first.
    held: VecDeque<HeldCall>,
    /// Calls still to come that are not held.
    released: usize,
    arrived: usize,
    most_held: usize,
}

struct HeldCall {
    key_id: String,
    answer: oneshot::Sender<String>,
}

impl HeldAlpaca {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("loopback has a free port");
        let calls = Arc::<Mutex<Calls>>::default();
        Self {
            address: listener.local_addr().expect("a bound socket has an address"),
            calls: Arc::clone(&calls),
            _server: AbortOnDropHandle::new(tokio::spawn(serve(listener, calls))),
        }
    }

    /// `pulse` with these arguments, led to the world but to this Alpaca.
    pub(crate) fn command(&self, world: &World, args: &[&str]) -> Command {
        let mut command = world.command(args);
        command.env("APCA_API_BASE_URL", format!("http://{}", self.address));
        command
    }

    /// Waits until so many calls have come since the start.
    pub(crate) async fn arrived(&self, calls: usize) {
        wait_until(|| self.count() >= calls).await;
    }

    /// Calls since the start.
    pub(crate) fn count(&self) -> usize {
        lock(&self.calls).arrived
    }

    /// The most calls that were ever held at the same time.
    pub(crate) fn most_in_flight(&self) -> usize {
        lock(&self.calls).most_held
    }

    /// Lets so many calls go, the oldest first, of those held or still to come.
    pub(crate) fn let_go(&self, calls: usize) {
        let mut state = lock(&self.calls);
        for _ in 0..calls {
            // Whoever gave a call up asks again, and is held again.
            while state.held.pop_front_if(|call| call.is_given_up()).is_some() {}
            match state.held.pop_front() {
                Some(call) => call.answer(USUAL_EQUITY),
                None => state.released += 1,
            }
        }
    }

    /// Lets the call for a user go: an open account with that much equity.
    pub(crate) fn answer(&self, user: &str, equity: &str) {
        let (key_id, _) = keys_of(user);
        let mut state = lock(&self.calls);
        let held = state.held.iter().position(|call| call.key_id == key_id && !call.is_given_up());
        let call = held.and_then(|position| state.held.remove(position));
        call.expect("that user's account was asked for").answer(equity);
    }
}

impl HeldCall {
    fn answer(self, equity: &str) {
        // Whoever gives it up at this moment asks again.
        let _given_up = self.answer.send(account(equity));
    }

    fn is_given_up(&self) -> bool {
        self.answer.is_closed()
    }
}

fn lock(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    calls.lock().expect("nobody panics with it")
}

async fn serve(listener: TcpListener, calls: Arc<Mutex<Calls>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        connections.spawn(connection(stream, Arc::clone(&calls)));
    }
}

async fn connection(stream: TcpStream, calls: Arc<Mutex<Calls>>) {
    let service = service_fn(|request| {
        let body = lock(&calls).arrive(&request);
        async {
            let body = body.await.expect("the test lets it go or ends");
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(body)))
        }
    });
    // A client that goes away is its own business.
    let _ended =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Calls {
    /// Takes a call in; its answer comes when it is let go.
    fn arrive(&mut self, request: &Request<Incoming>) -> oneshot::Receiver<String> {
        let key_id = request.headers().get("apca-api-key-id").and_then(|id| id.to_str().ok());
        let key_id = key_id.expect("a key id").to_owned();
        let (answer, body) = oneshot::channel();
        let call = HeldCall { key_id, answer };
        self.arrived += 1;
        self.most_held = self.most_held.max(self.held.len() + 1);
        match self.released.checked_sub(1) {
            Some(left) => {
                self.released = left;
                call.answer(USUAL_EQUITY);
            }
            None => self.held.push_back(call),
        }
        body
    }
}
