//! A TCP proxy in front of a service, whose connections break on demand: all at once, after so many bytes, or
//! around what is sent. It knows nothing of what it carries.

use crate::live::in_time;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// Bytes carried at a time.
const CHUNK: usize = 16 * 1024;

pub(crate) struct TcpProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Ends the proxy, and all its connections, with the test.
    _server: AbortOnDropHandle<()>,
}

struct Shared {
    upstream: String,
    weather: watch::Sender<Weather>,
    plans: Mutex<Plans>,
    tally: watch::Sender<Tally>,
}

/// What all connections are in for.
#[derive(Clone, Copy, Default)]
struct Weather {
    /// How often all connections were reset.
    resets: u64,
    stalled: bool,
    refusing: bool,
}

/// What the next connections to qualify are in for.
#[derive(Default)]
struct Plans {
    answers: Vec<(usize, Spoilt)>,
    marked: Option<(Vec<u8>, Marked)>,
}

/// What happens to a connection that has carried so many bytes of answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spoilt {
    Reset,
    /// What comes next is not what the service sent.
    Garbled,
}

/// What happens to a connection over which something marked is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marked {
    /// It is reset, and only a part of what is marked goes on.
    Cut,
    /// What is marked goes on, but no answer comes back any more.
    Unanswered,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub accepted: u64,
    pub reset: u64,
    pub unanswered: u64,
    pub garbled: u64,
}

impl TcpProxy {
    /// A proxy that lets everything through so far.
    pub(crate) async fn start(upstream: impl Into<String>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("loopback has a free port");
        let shared = Arc::new(Shared {
            upstream: upstream.into(),
            weather: watch::Sender::default(),
            plans: Mutex::default(),
            tally: watch::Sender::default(),
        });
        Self {
            address: listener.local_addr().expect("a bound socket has an address"),
            shared: Arc::clone(&shared),
            _server: AbortOnDropHandle::new(tokio::spawn(serve(listener, shared))),
        }
    }

    /// `host:port`, to be used instead of the service's own.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn tally(&self) -> Tally {
        *self.shared.tally.borrow()
    }

    /// Resets all connections.
    pub(crate) fn reset_all(&self) {
        self.shared.weather.send_modify(|weather| weather.resets += 1);
    }

    /// Resets all connections whenever so much time has passed, until what is returned is dropped.
    pub(crate) fn reset_every(&self, interval: Duration) -> AbortOnDropHandle<()> {
        let weather = self.shared.weather.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                weather.send_modify(|weather| weather.resets += 1);
            }
        }))
    }

    /// Carries nothing for so long; the connections stay open, and nothing is lost.
    pub(crate) async fn stall(&self, time: Duration) {
        self.shared.weather.send_modify(|weather| weather.stalled = true);
        tokio::time::sleep(time).await;
        self.shared.weather.send_modify(|weather| weather.stalled = false);
    }

    /// From now on, connects nobody, or everybody again.
    pub(crate) fn refuse(&self, refusing: bool) {
        self.shared.weather.send_modify(|weather| weather.refusing = refusing);
    }

    /// Resets the next connections, one for each of these numbers, once they have carried so many bytes of answers.
    pub(crate) fn cut_answers_after(&self, bytes: impl IntoIterator<Item = usize>) {
        self.shared.plans().answers.extend(bytes.into_iter().map(|bytes| (bytes, Spoilt::Reset)));
    }

    /// Lets the next connections, one for each of these numbers, carry something else after so many bytes of answers.
    pub(crate) fn garble_answers_after(&self, bytes: impl IntoIterator<Item = usize>) {
        self.shared.plans().answers.extend(bytes.into_iter().map(|bytes| (bytes, Spoilt::Garbled)));
    }

    /// Lets this happen to the next connection over which these bytes are sent.
    pub(crate) fn mark(&self, bytes: &str, marked: Marked) {
        self.shared.plans().marked = Some((bytes.as_bytes().to_vec(), marked));
    }

    /// Waits until what has happened so far is enough.
    pub(crate) async fn until(&self, enough: impl FnMut(&Tally) -> bool) {
        in_time(self.shared.tally.subscribe().wait_for(enough)).await.expect("the proxy runs");
    }
}

impl Shared {
    fn plans(&self) -> MutexGuard<'_, Plans> {
        self.plans.lock().expect("nobody panics with it")
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        while connections.try_join_next().is_some() {} // forgets the connections that ended
        connections.spawn(connection(client, Arc::clone(&shared)));
    }
}

/// How a connection ended.
#[derive(PartialEq, Eq)]
enum End {
    /// One side closed it.
    Closed,
    Reset,
}

async fn connection(mut client: TcpStream, shared: Arc<Shared>) {
    let mut weather = shared.weather.subscribe();
    let Weather { resets, refusing, .. } = *weather.borrow();
    shared.tally.send_modify(|tally| tally.accepted += 1);
    let server = if refusing { None } else { TcpStream::connect(&shared.upstream).await.ok() };
    let Some(mut server) = server else {
        return reset(client);
    };
    for side in [&client, &server] {
        side.set_nodelay(true).expect("an open socket");
    }
    let end = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let unanswered = watch::Sender::new(false);
        tokio::select! {
            end = carry_requests(from_client, to_server, &shared, &unanswered) => end,
            end = carry_answers(from_server, to_client, &shared, &unanswered) => end,
            _ = weather.wait_for(|weather| weather.resets != resets) => End::Reset,
        }
    };
    if end == End::Reset {
        shared.tally.send_modify(|tally| tally.reset += 1);
        reset(client);
        reset(server);
    }
}

/// Closes a connection the hard way: what is on its way is lost.
fn reset(connection: TcpStream) {
    // One that has ended by itself has nothing to lose.
    let _ended = connection.set_zero_linger();
}

async fn carry_requests(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    shared: &Shared,
    unanswered: &watch::Sender<bool>,
) -> End {
    let mut seen = Vec::new();
    loop {
        let before = seen.len();
        if from.read_buf(&mut seen).await.is_err() || seen.len() == before {
            return End::Closed;
        }
        calm(shared).await;
        let mut chunk = &seen[before..];
        match found(shared, &seen) {
            // The end of the mark is in this chunk, or it would have been found before.
            Some((Marked::Cut, end)) => chunk = &chunk[..end.saturating_sub(before + 1)],
            Some((Marked::Unanswered, _)) => {
                unanswered.send_replace(true);
                shared.tally.send_modify(|tally| tally.unanswered += 1);
            }
            None => {}
        }
        let cut = chunk.len() < seen.len() - before;
        if to.write_all(chunk).await.is_err() {
            return End::Closed;
        }
        if cut {
            return End::Reset;
        }
        // A mark may lie across two chunks, but not across more than that.
        let old = seen.len().saturating_sub(CHUNK);
        seen.drain(..old);
    }
}

/// Where the mark ends in what was sent, if it is there; the plan for it is done with then.
fn found(shared: &Shared, sent: &[u8]) -> Option<(Marked, usize)> {
    let mut plans = shared.plans();
    let (mark, marked) = plans.marked.as_ref()?;
    let start = sent.windows(mark.len()).position(|part| part == mark)?;
    let found = (*marked, start + mark.len());
    plans.marked = None;
    Some(found)
}

async fn carry_answers(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    shared: &Shared,
    unanswered: &watch::Sender<bool>,
) -> End {
    let (mut carried, mut chunk) = (0, vec![0; CHUNK]);
    loop {
        let Some(length) = from.read(&mut chunk).await.ok().filter(|length| *length > 0) else {
            return End::Closed;
        };
        calm(shared).await;
        if *unanswered.borrow() {
            continue;
        }
        let due = take_due(shared, carried + length);
        let intact = due.map_or(length, |(bytes, _)| bytes.saturating_sub(carried).min(length));
        if let Some((_, Spoilt::Garbled)) = due {
            chunk[intact..length].fill(0xff);
            shared.tally.send_modify(|tally| tally.garbled += 1);
        }
        let allowed = if let Some((_, Spoilt::Reset)) = due { intact } else { length };
        if to.write_all(&chunk[..allowed]).await.is_err() {
            return End::Closed;
        }
        if let Some((_, Spoilt::Reset)) = due {
            return End::Reset;
        }
        carried += length;
    }
}

/// What is to become of a connection that has carried so many bytes of answers, and where.
fn take_due(shared: &Shared, bytes: usize) -> Option<(usize, Spoilt)> {
    let mut plans = shared.plans();
    let due = plans.answers.iter().position(|(limit, _)| *limit < bytes)?;
    Some(plans.answers.remove(due))
}

/// Waits while everything is stalled.
async fn calm(shared: &Shared) {
    // An error means that the proxy has ended, and this connection with it.
    let mut weather = shared.weather.subscribe();
    let _calm = weather.wait_for(|weather| !weather.stalled).await;
}
