//! A machine whose first name server is silent, or all are: a mount namespace with an `/etc/resolv.conf` of its own.

use super::{skipped, through, users};
use crate::world::{Env, Run, World, sandbox};
use serde_json::Value as Json;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command as StdCommand;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::UdpSocket;
use tokio::process::Command;
use tokio_util::task::AbortOnDropHandle;

/// The port of name servers: `/etc/resolv.conf` knows no other.
const PORT: u16 = 53;

/// Where a question's own bytes begin.
const QUESTION: usize = 12;

/// Name servers of one test, each at an address of loopback that no other has.
struct NameServers {
    addresses: Vec<IpAddr>,
    asked: Arc<AtomicUsize>,
    /// Silent ones are only held.
    _silent: Vec<UdpSocket>,
    _answering: Option<AbortOnDropHandle<()>>,
}

impl NameServers {
    /// So many that never answer, and after them one that does, if there is to be one.
    async fn start(silent: usize, answering: bool) -> io::Result<Self> {
        let mut held = Vec::new();
        for _ in 0..silent {
            held.push(bind().await?);
        }
        let asked = Arc::new(AtomicUsize::new(0));
        let mut addresses = held.iter().map(address).collect::<Vec<_>>();
        let mut server = None;
        if answering {
            let socket = bind().await?;
            addresses.push(address(&socket));
            server = Some(AbortOnDropHandle::new(tokio::spawn(answer(socket, Arc::clone(&asked)))));
        }
        Ok(Self { addresses, asked, _silent: held, _answering: server })
    }
}

async fn bind() -> io::Result<UdpSocket> {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let last = u8::try_from(NEXT.fetch_add(1, Ordering::Relaxed) % 250 + 1).expect("small");
    // Processes and tests beside each other: any address of 127.0.0.0/8 is this machine's.
    UdpSocket::bind(SocketAddr::from((Ipv4Addr::new(127, high | 128, low, last), PORT))).await
}

fn address(socket: &UdpSocket) -> IpAddr {
    socket.local_addr().expect("it is bound").ip()
}

/// Every name is this machine's, and has no address but that of IPv4. Counts the questions for it.
async fn answer(socket: UdpSocket, asked: Arc<AtomicUsize>) {
    let mut packet = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut packet).await {
        let name = packet[QUESTION..length].iter().position(|byte| *byte == 0).expect("a name ends");
        let end = QUESTION + name + 5;
        let is_v4 = packet[end - 4..end - 2] == [0, 1];
        // An answer, recursion and all; one question, and one address or none.
        let header = [packet[0], packet[1], 0x81, 0x80, 0, 1, 0, u8::from(is_v4), 0, 0, 0, 0];
        let mut reply = [&header[..], &packet[QUESTION..end]].concat();
        if is_v4 {
            asked.fetch_add(1, Ordering::Relaxed);
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
        }
        socket.send_to(&reply, from).await.expect("loopback takes it");
    }
}

/// Whether this process may have a mount namespace of its own.
fn may_unshare() -> bool {
    StdCommand::new("unshare").args(["--mount", "true"]).output().is_ok_and(|run| run.status.success())
}

async fn name_servers(silent: usize, answering: bool) -> Option<NameServers> {
    if !may_unshare() {
        skipped("an /etc/resolv.conf of one's own needs unshare(1) and root");
        return None;
    }
    match NameServers::start(silent, answering).await {
        Ok(servers) => Some(servers),
        Err(err) => {
            skipped(&format!("no name server on port {PORT} of loopback: {err}"));
            None
        }
    }
}

/// A pass on a machine with these name servers, where all services have names, but those that `env` has elsewhere.
async fn pulse(world: &World, servers: &NameServers, env: Env<'_>) -> Run {
    let directory = std::env::temp_dir().join(format!("{}-resolver", world.project));
    std::fs::create_dir_all(&directory).expect("a directory");
    let file = directory.join("resolv.conf");
    let lines = servers.addresses.iter().map(|address| format!("nameserver {address}\n"));
    std::fs::write(&file, lines.collect::<String>()).expect("a file");

    let sandbox = world.sandbox.address().port();
    let firestore = world.firestore_host.rsplit(':').next().expect("a port");
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#]).arg(&file);
    let mut command = through(unshare, &world.command(&[]));
    command
        .env("PULSE_ALLOW_INSECURE_ENDPOINTS", "1")
        .env("FIRESTORE_EMULATOR_HOST", format!("firestore.pulse.test.:{firestore}"))
        .env("SECRET_MANAGER_EMULATOR_HOST", format!("secrets.pulse.test.:{sandbox}"))
        .env("APCA_API_BASE_URL", format!("http://alpaca.pulse.test.:{sandbox}"))
        .envs(env.iter().copied());
    let run = Run::of(&mut command).await;
    std::fs::remove_dir_all(&directory).expect("it is ours");
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_first_name_server_fails_nobody() {
    let Some(servers) = name_servers(1, true).await else { return };
    let world = sandbox().await;
    world.users(&users(400)).await;
    let run = pulse(&world, &servers, &[]).await;
    run.assert_completed("400 successful, 0 errors", 0);
    assert_eq!(servers.asked.load(Ordering::Relaxed), 3, "one lookup for each of the three names");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nobody_knows_the_address_of_is_named() {
    let Some(servers) = name_servers(1, false).await else { return };
    let world = sandbox().await;
    world.users(&users(4)).await;
    let run = pulse(&world, &servers, &[]).await;
    assert_eq!(run.exit, Some(1), "{}", run.stdout);
    let named = "Firestore could not be reached: the name firestore.pulse.test. could not be looked up within 10 s: \
                 no name server answered";
    assert!(run.stdout.contains(named), "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_whose_broker_has_no_address_fail_for_that_and_the_pass_goes_on() {
    let Some(servers) = name_servers(1, false).await else { return };
    let world = sandbox().await;
    world.users(&users(4)).await;
    let secrets = world.sandbox.address().to_string();
    let elsewhere =
        [("FIRESTORE_EMULATOR_HOST", &*world.firestore_host), ("SECRET_MANAGER_EMULATOR_HOST", &secrets)];
    let run = pulse(&world, &servers, &elsewhere).await;
    run.assert_completed("0 successful, 4 errors", 1);
    let warned = "the name alpaca.pulse.test. could not be looked up within 10 s: no name server answered";
    let entries = run.entries();
    let count = entries.iter().filter(|entry| entry["message"] == warned).count();
    assert_eq!(count, 1, "though it serves paper and live accounts: {}", run.stdout);
    // "Within 2.5 s", or what came of it later.
    let named = "the name alpaca.pulse.test. could not be looked up";
    for user in users(4) {
        assert_eq!(run.error_of(&user).as_deref(), Some("broker_unavailable"), "{user}");
        let told = |entry: &&Json| {
            entry["user_id"] == *user && entry["message"].as_str().unwrap_or_default().contains(named)
        };
        assert!(entries.iter().any(|entry| told(&entry)), "{user}: {}", run.stdout);
    }
}
