//! From the start of the process to its first request.

use crate::Result;
use crate::run::Bench;
use serde::Serialize;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

const RUNS: usize = 21;
/// Longest wait for a first request.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a client of HTTP/2 says first.
const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
/// A server's settings, all of them the usual.
const OUR_SETTINGS: [u8; FRAME_HEADER] = [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];
/// That a server has read the client's.
const READ_SETTINGS: [u8; FRAME_HEADER] = [0, 0, 0, SETTINGS, 1, 0, 0, 0, 0];

/// From start to first request, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Start {
    pub(crate) middle_ms: f64,
    pub(crate) slowest_ms: f64,
}

/// A Firestore that never answers, and tells when the first request arrives.
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    first: Receiver<Instant>,
}

impl Listener {
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (arrived, first) = channel();
        // Both threads end with the process, or with their connection.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let arrived = arrived.clone();
                thread::spawn(move || first_request(stream, &arrived));
            }
        });
        Ok(Self { address, first })
    }
}

/// Reads frames up to the first that opens a request. A connection that ends before is of no interest.
fn first_request(mut stream: TcpStream, arrived: &Sender<Instant>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(&OUR_SETTINGS)?;
    stream.read_exact(&mut [0; PREFACE])?;
    loop {
        let mut header = [0; FRAME_HEADER];
        stream.read_exact(&mut header)?;
        if header[3] == HEADERS {
            let _ = arrived.send(Instant::now());
            // Left open, so that the client has no reason to try again.
            return std::io::copy(&mut stream, &mut std::io::sink()).map(drop);
        }
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        std::io::copy(&mut (&mut stream).take(length.into()), &mut std::io::sink())?;
        if header[3] == SETTINGS && header[4] == OUR_SETTINGS[4] {
            stream.write_all(&READ_SETTINGS)?;
        }
    }
}

/// Over plain HTTP.
pub(crate) fn measure(bench: &Bench) -> Result<Start> {
    let listener = Listener::start()?;
    let host = listener.address.to_string();
    let variables = [
        ("GCP_PROJECT", "pulse-sandbox".to_owned()),
        ("FIRESTORE_EMULATOR_HOST", host.clone()),
        ("SECRET_MANAGER_EMULATOR_HOST", host.clone()),
        ("APCA_API_BASE_URL", format!("http://{host}")),
    ];
    of(bench, &listener, &variables)
}

/// Starts a pulse again and again, and ends it at its first request.
pub(crate) fn of(bench: &Bench, listener: &Listener, variables: &[(&str, String)]) -> Result<Start> {
    let mut took = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        let mut pulse = Command::new(&bench.args.pulse)
            .arg("sync")
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let first = listener.first.recv_timeout(PATIENCE);
        pulse.kill()?;
        pulse.wait()?;
        took.push(first?.duration_since(start).as_secs_f64() * 1e3);
        // Those of the same process that were under way with the first.
        thread::sleep(Duration::from_millis(20));
        while listener.first.try_recv().is_ok() {}
    }
    took.sort_by(f64::total_cmp);
    Ok(Start { middle_ms: took[RUNS / 2], slowest_ms: took[RUNS - 1] })
}
