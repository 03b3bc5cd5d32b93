//! `pulse demo` and `pulse sandbox`, as a person at a terminal runs them.

#![cfg(feature = "sandbox")]
#![allow(clippy::expect_used, reason = "all of this is test code, though not all of it is a test")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

/// What the sandbox prints before it serves.
const VARIABLES: [&str; 4] =
    ["GCP_PROJECT", "FIRESTORE_EMULATOR_HOST", "SECRET_MANAGER_EMULATOR_HOST", "APCA_API_BASE_URL"];

fn pulse(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pulse"));
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn run(command: &mut Command) -> Output {
    command.output().expect("pulse runs")
}

/// A `pulse sandbox`, ended with the test.
struct Sandbox {
    process: Child,
    exports: Vec<(String, String)>,
}

impl Sandbox {
    fn start(args: &[&str]) -> Self {
        let mut command = pulse(&["sandbox"]);
        let mut process =
            command.args(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let exports = lines.take(VARIABLES.len()).map(|line| {
            let line = line.expect("a line");
            let (name, value) =
                line.strip_prefix("export ").and_then(|line| line.split_once('=')).expect(&line);
            (name.to_owned(), value.to_owned())
        });
        let exports = exports.collect();
        Self { process, exports }
    }

    fn sync(&self) -> Output {
        run(pulse(&["sync"]).envs(self.exports.iter().cloned()))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // It has ended already where the test has ended it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_demo_shows_the_log_and_then_what_was_written_troubled_users_included() {
    let output = run(&mut pulse(&["demo"]));
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    let (log, table) = shown.split_once("\n\n").expect("a log, and a table");
    assert!(log.contains("Completed multi-tenant sync: 19 successful, 4 errors, 2 skipped"), "{log}");
    let row =
        |user: &str| table.lines().find(|line| line.contains(user)).unwrap_or_else(|| panic!("no {user}"));
    assert!(row("user-0001").contains("ACTIVE") && row("user-0001").contains("tenants/user-0001"), "{table}");
    for (user, trouble) in [
        ("user-0002", "retrying: keys_missing"),
        ("user-0003", "retrying: broker_rejected"),
        ("user-0004", "retrying: keys_malformed"),
        ("user-0005", "retrying: keys_disabled"),
        ("user-0006", "incomplete: account_incomplete"),
        ("user-0008", "sync_enabled is false"),
    ] {
        assert!(row(user).contains(trouble) && !row(user).contains("ACTIVE"), "{user}: {table}");
    }
    assert!(row("user-0007").contains("ACTIVE") && !row("user-0007").contains("tenants/"), "{table}");
}

#[test]
fn the_demo_takes_nothing_from_the_environment() {
    let nowhere = [
        ("GCP_PROJECT", "somebodys-project"),
        ("FIRESTORE_EMULATOR_HOST", "127.0.0.1:1"),
        ("SECRET_MANAGER_EMULATOR_HOST", "127.0.0.1:1"),
        ("APCA_API_BASE_URL", "http://127.0.0.1:1"),
        ("APCA_API_KEY_ID", "PKSOMEBODYS"),
        ("APCA_API_SECRET_KEY", "somebodys"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent.json"),
        ("PULSE_DRY_RUN", "1"),
        ("PULSE_USERS", "somebody"),
    ];
    let output = run(pulse(&["demo"]).envs(nowhere));
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(shown.contains("Completed multi-tenant sync: 19 successful, 4 errors, 2 skipped"), "{shown}");
    assert!(!shown.contains("somebody"), "{shown}");
}

#[test]
fn a_pulse_in_another_process_works_with_what_the_sandbox_prints() {
    let sandbox = Sandbox::start(&["--users", "30"]);
    assert_eq!(sandbox.exports.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), VARIABLES);
    let output = sandbox.sync();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("Completed multi-tenant sync: 24 successful, 4 errors, 2 skipped"));
}

#[test]
fn healthy_users_have_no_trouble_and_faults_can_be_given_at_the_start() {
    let healthy = Sandbox::start(&["--users", "10", "--healthy", "--latency", "1ms"]);
    assert!(text(&healthy.sync().stdout).contains("Completed multi-tenant sync: 10 successful, 0 errors"));
    let faulty =
        Sandbox::start(&["--users", "10", "--healthy", "--fault", "alpaca:error=404,user=user-0003"]);
    let output = faulty.sync();
    assert!(text(&output.stdout).contains("Failed to sync Alpaca account for user user-0003: "));
    assert!(text(&output.stdout).contains("Completed multi-tenant sync: 9 successful, 1 errors"));
}

#[test]
fn the_sandbox_ends_with_success_when_it_is_told_to() {
    for signal in ["INT", "TERM"] {
        let mut sandbox = Sandbox::start(&[]);
        let pid = sandbox.process.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status().expect("kill runs");
        assert!(sent.success());
        assert_eq!(sandbox.process.wait().expect("it ends").code(), Some(0), "SIG{signal}");
    }
}
