//! Section 6: bytes that arrive on a kept connection without a request end it, and are nobody's answer.

use crate::answers::{account, money};
use crate::world::{Run, World, keys_of, sandbox};
use serde_json::json;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// What is written for one answer, piece by piece, each after its pause.
type Pieces = Vec<(Duration, Vec<u8>)>;

/// An Alpaca that writes to the letter what it is told, and remembers over which connection each user came.
struct RawAlpaca {
    address: SocketAddr,
    connections: Arc<Mutex<HashMap<String, usize>>>,
    _server: AbortOnDropHandle<()>,
}

impl RawAlpaca {
    async fn start(answers: HashMap<String, Pieces>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let connections = Arc::<Mutex<HashMap<String, usize>>>::default();
        let server = serve(listener, Arc::new(answers), Arc::clone(&connections));
        Self { address, connections, _server: AbortOnDropHandle::new(tokio::spawn(server)) }
    }

    fn connection_of(&self, user: &str) -> usize {
        let connections = self.connections.lock().expect("nobody panics with it");
        *connections.get(user).unwrap_or_else(|| panic!("{user} was asked for"))
    }
}

async fn serve(
    listener: TcpListener,
    answers: Arc<HashMap<String, Pieces>>,
    connections: Arc<Mutex<HashMap<String, usize>>>,
) {
    let mut open = JoinSet::new();
    for number in 0.. {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("an open socket");
        let (answers, connections) = (Arc::clone(&answers), Arc::clone(&connections));
        open.spawn(async move {
            while let Some(user) = asked(&mut stream, answers.keys()).await {
                connections.lock().expect("nobody panics with it").insert(user.clone(), number);
                for (pause, piece) in &answers[&user] {
                    tokio::time::sleep(*pause).await;
                    // A client that has gone is what the tests are about.
                    let _gone = stream.write_all(piece).await;
                }
            }
        });
    }
}

/// The user whose account is asked for next.
async fn asked(stream: &mut TcpStream, users: impl Iterator<Item = &String>) -> Option<String> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.ok()?);
    }
    let request = String::from_utf8(request).expect("ASCII");
    let mut users = users.filter(|user| request.contains(&format!("{}\r\n", keys_of(user).0)));
    Some(users.next().expect("a known user").clone())
}

fn response(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

const NOW: Duration = Duration::ZERO;
const LATE: Duration = Duration::from_millis(5);

/// Ben's call comes long after all that follows ana's answer, over the connection that was hers if it was kept.
async fn ana_and_then_ben(anas: Pieces) -> (World, Run, [usize; 2]) {
    let world = sandbox().await;
    world.user("ana").await;
    world.user("ben").await;
    world.fault("secret-manager:latency=200ms,user=ben");
    let bens = vec![(NOW, response(&account("2")))];
    let alpaca = RawAlpaca::start([("ana".into(), anas), ("ben".into(), bens)].into()).await;
    let url = format!("http://{}", alpaca.address);
    let run = world.pulse_with_in(&["--concurrency", "1"], &[("APCA_API_BASE_URL", &url)]).await;
    let connections = ["ana", "ben"].map(|user| alpaca.connection_of(user));
    (world, run, connections)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_strays_is_kept() {
    let (_world, run, connections) = ana_and_then_ben(vec![(NOW, response(&account("1")))]).await;
    run.assert_completed("2 successful, 0 errors", 0);
    assert_eq!(connections, [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_follows_an_answer_ends_its_connection_and_is_nobodys() {
    let answer = response(&account("1"));
    let (head, tail) = answer.split_at(answer.len() / 2);
    let twice = [&answer[..], &answer].concat();
    let one_and_a_half = [&answer[..], head].concat();
    for (what, pieces) in [
        ("together", vec![(NOW, twice)]),
        ("right after", vec![(NOW, answer.clone()), (NOW, answer.clone())]),
        ("late", vec![(NOW, answer.clone()), (LATE, answer.clone())]),
        ("split", vec![(NOW, answer.clone()), (LATE, head.to_vec()), (LATE, tail.to_vec())]),
        ("half of it together", vec![(NOW, one_and_a_half), (LATE, tail.to_vec())]),
        ("two of them", vec![(NOW, answer.clone()), (LATE, answer.clone()), (LATE, answer.clone())]),
        ("a line break", vec![(NOW, answer.clone()), (LATE, b"\r\n".to_vec())]),
        ("an interim answer", vec![(NOW, answer.clone()), (LATE, b"HTTP/1.1 100 Continue\r\n\r\n".to_vec())]),
        ("one byte", vec![(NOW, answer.clone()), (LATE, b"H".to_vec())]),
        ("a longer body", vec![(NOW, [&answer[..], b"  "].concat())]),
    ] {
        let (world, run, connections) = ana_and_then_ben(pieces).await;
        run.assert_completed("2 successful, 0 errors", 0);
        for (user, equity) in [("ana", 1.0), ("ben", 2.0)] {
            assert_eq!(world.snapshot(user).await["equity"], json!(equity), "{what}: {user}");
        }
        assert_ne!(connections[0], connections[1], "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_sends_strays_too() {
    for stray in ["0s", "1ms", "5ms"] {
        let world = sandbox().await;
        for (user, equity) in [("ana", "1"), ("ben", "2")] {
            world.user(user).await;
            world.account(user, money(equity));
        }
        world.fault(&format!("alpaca:stray={stray},user=ana"));
        world.fault("secret-manager:latency=200ms,user=ben");
        world.pulse_with(&["--concurrency", "1"]).await.assert_completed("2 successful, 0 errors", 0);
        assert_eq!(world.faults_applied()[0], 1);
        for (user, equity) in [("ana", 1.0), ("ben", 2.0)] {
            assert_eq!(world.snapshot(user).await["equity"], json!(equity), "{stray}: {user}");
        }
    }
}
