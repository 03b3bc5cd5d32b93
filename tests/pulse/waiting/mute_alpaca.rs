//! An Alpaca that answers nobody, and sees who asks, and who gives up.

use crate::answers::account;
use crate::live::wait_until;
use crate::world::{World, keys_of};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// Whom it answers after all.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    /// Nobody.
    Nobody,
    /// Everybody but this user.
    AllBut(&'static str),
    /// All but the first calls: with a 500, and then as usual.
    Later,
    /// The same, without the 500, but never this user.
    LaterAllBut(&'static str),
}

pub(super) struct MuteAlpaca {
    address: SocketAddr,
    calls: Arc<Mutex<Calls>>,
    /// Ends the server with the test.
    _server: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Calls {
    /// How many calls are the first ones.
    first_calls: usize,
    first: Asked,
    later: Asked,
    given_up: usize,
    /// All calls up to the first one that was given up.
    asked_by_then: usize,
    answered: usize,
}

#[derive(Default)]
struct Asked {
    key_ids: Vec<String>,
    open: usize,
    most_open: usize,
}

/// A call that is not over.
struct Open {
    calls: Arc<Mutex<Calls>>,
    key_id: String,
    is_first: bool,
    is_answered: bool,
}

impl MuteAlpaca {
    /// With so many calls that count as the first ones.
    pub(super) async fn start(first_calls: usize, answers: Answers) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let calls = Arc::new(Mutex::new(Calls { first_calls, ..Calls::default() }));
        Self {
            address: listener.local_addr().expect("a bound socket has an address"),
            calls: Arc::clone(&calls),
            _server: AbortOnDropHandle::new(tokio::spawn(serve(listener, answers, calls))),
        }
    }

    /// `pulse` with these arguments, led to the world but to this Alpaca.
    pub(super) fn command(&self, world: &World, args: &[&str]) -> Command {
        let mut command = world.command(args);
        command.env("APCA_API_BASE_URL", format!("http://{}", self.address));
        command
    }

    /// How many calls are neither answered nor given up.
    pub(super) fn open(&self) -> usize {
        let calls = lock(&self.calls);
        calls.first.open + calls.later.open
    }

    /// Waits until somebody has given up; how many calls there were up to then.
    pub(super) async fn first_has_given_up(&self) -> usize {
        wait_until(|| lock(&self.calls).given_up > 0).await;
        lock(&self.calls).asked_by_then
    }

    /// The keys of the first calls.
    pub(super) fn asked_first(&self) -> Vec<String> {
        lock(&self.calls).first.key_ids.clone()
    }

    /// The keys of the later ones.
    pub(super) fn asked_later(&self) -> Vec<String> {
        lock(&self.calls).later.key_ids.clone()
    }

    /// The most of the later calls at the same time.
    pub(super) fn most_open_later(&self) -> usize {
        lock(&self.calls).later.most_open
    }

    /// How often each user's keys were used.
    pub(super) fn calls_by_key(&self) -> BTreeMap<String, usize> {
        let mut calls = BTreeMap::new();
        for key_id in [self.asked_first(), self.asked_later()].concat() {
            *calls.entry(key_id).or_default() += 1;
        }
        calls
    }
}

fn lock(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    calls.lock().expect("nobody panics with it")
}

async fn serve(listener: TcpListener, answers: Answers, calls: Arc<Mutex<Calls>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        connections.spawn(connection(stream, answers, Arc::clone(&calls)));
    }
}

async fn connection(stream: TcpStream, answers: Answers, calls: Arc<Mutex<Calls>>) {
    let service = service_fn(|request| {
        let mut open = Open::arrive(&calls, &request);
        async move {
            match open.answer(answers) {
                Some(answer) => {
                    open.first_has_given_up(answers).await;
                    Ok::<_, Infallible>(answer)
                }
                // Until the client hangs up.
                None => std::future::pending().await,
            }
        }
    });
    // A client that goes away is what this is for.
    let _ended =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Calls {
    fn of(&mut self, is_first: bool) -> &mut Asked {
        if is_first { &mut self.first } else { &mut self.later }
    }
}

impl Open {
    fn arrive(calls: &Arc<Mutex<Calls>>, request: &Request<Incoming>) -> Self {
        let key_id = request.headers().get("apca-api-key-id").and_then(|id| id.to_str().ok());
        let key_id = key_id.expect("a key id").to_owned();
        let mut state = lock(calls);
        let is_first = state.first.key_ids.len() < state.first_calls;
        let asked = state.of(is_first);
        asked.key_ids.push(key_id.clone());
        asked.open += 1;
        asked.most_open = asked.most_open.max(asked.open);
        Self { calls: Arc::clone(calls), key_id, is_first, is_answered: false }
    }

    /// The answer, if there ever is one.
    fn answer(&mut self, answers: Answers) -> Option<Response<Full<Bytes>>> {
        self.is_answered = match answers {
            Answers::Nobody => false,
            Answers::Later => !self.is_first,
            Answers::AllBut(user) => self.key_id != keys_of(user).0,
            Answers::LaterAllBut(user) => !self.is_first && self.key_id != keys_of(user).0,
        };
        let mut state = lock(&self.calls);
        state.answered += usize::from(self.is_answered);
        let mut answer = Response::new(Full::from(account("123346.11")));
        if answers == Answers::Later && state.answered == 1 {
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        self.is_answered.then_some(answer)
    }

    /// The call after one that was given up may be quicker than the end of that one's connection.
    async fn first_has_given_up(&self, answers: Answers) {
        if answers == Answers::Later {
            wait_until(|| lock(&self.calls).given_up > 0).await;
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = lock(&self.calls);
        state.of(self.is_first).open -= 1;
        if state.given_up == 0 {
            state.asked_by_then = state.first.key_ids.len() + state.later.key_ids.len();
        }
        state.given_up += usize::from(!self.is_answered);
    }
}
