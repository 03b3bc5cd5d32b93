//! The real Firestore emulator of the Google Cloud SDK, started once per test binary.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "this is test code, though no test")]

use std::env;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// Where the emulator lies in the SDK.
const JAR: &str = "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar";
/// A JVM on a busy machine takes a few seconds to start.
const START_LIMIT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How the answer of an emulator that is ready begins.
const READY: &[u8; 12] = b"HTTP/1.1 200";

/// Runs the emulator until standard input ends, which it does when this process does, however it ends. It lives for
/// too short a time to earn what the second compiler costs.
const RUN_UNTIL_STDIN_ENDS: &str = r#"
    java -Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$1" com.google.cloud.datastore.emulator.firestore.CloudFirestore \
        start --host=127.0.0.1 --port="$2" &
    cat > /dev/null
    kill $!
"#;

/// `host:port` of the emulator: the one that `FIRESTORE_EMULATOR_HOST` names, or one of our own. `None` where there
/// is none, so that its tests can be skipped; with `CI=true` that is a failure instead.
pub(crate) fn emulator() -> Option<&'static str> {
    static EMULATOR: OnceLock<Option<Emulator>> = OnceLock::new();
    let emulator = EMULATOR.get_or_init(|| {
        if let Ok(host) = env::var("FIRESTORE_EMULATOR_HOST") {
            return Some(Emulator { host, _process: None });
        }
        let started = find_jar().map(|jar| Emulator::start(&jar));
        assert!(
            started.is_some() || env::var("CI").as_deref() != Ok("true"),
            "no Firestore emulator on a CI machine"
        );
        started
    });
    if emulator.is_none() {
        println!("skipped: no Firestore emulator (gcloud components install cloud-firestore-emulator)");
    }
    emulator.as_ref().map(|emulator| emulator.host.as_str())
}

struct Emulator {
    host: String,
    /// Holds the pipe to the process's standard input open.
    _process: Option<Child>,
}

impl Emulator {
    fn start(jar: &Path) -> Self {
        let port = free_port();
        let process = Command::new("sh")
            .args(["-c", RUN_UNTIL_STDIN_ENDS, "sh"])
            .arg(jar)
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        let deadline = Instant::now() + START_LIMIT;
        while !is_ready(port) {
            assert!(Instant::now() < deadline, "the Firestore emulator did not start within {START_LIMIT:?}");
            thread::sleep(POLL_INTERVAL);
        }
        Self { host: format!("127.0.0.1:{port}"), _process: Some(process) }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Whether the emulator answers requests, not only accepts connections.
fn is_ready(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
        return false;
    };
    // The emulator keeps the connection open, so only the beginning of the answer is waited for.
    let mut answer = [0; READY.len()];
    let asked = stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .and_then(|()| stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
        .and_then(|()| stream.read_exact(&mut answer));
    asked.is_ok() && answer == *READY
}

fn find_jar() -> Option<PathBuf> {
    let from_environment = env::var_os("CLOUDSDK_ROOT_DIR").map(PathBuf::from);
    let roots = [from_environment, sdk_around_gcloud(), sdk_by_gcloud_info()];
    roots.into_iter().flatten().map(|root| root.join(JAR)).find(|jar| jar.is_file())
}

/// The SDK that `gcloud` on the path is (a link into) a part of: `{sdk}/bin/gcloud`.
fn sdk_around_gcloud() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let gcloud =
        env::split_paths(&path).map(|directory| directory.join("gcloud")).find(|file| file.is_file())?;
    Some(gcloud.canonicalize().ok()?.parent()?.parent()?.to_owned())
}

/// What `gcloud` itself says, for installations that wrap it.
fn sdk_by_gcloud_info() -> Option<PathBuf> {
    let output =
        Command::new("gcloud").args(["info", "--format=value(installation.sdk_root)"]).output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}
