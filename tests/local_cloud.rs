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

/// What the table of a demo says of a user, in one line.
fn row(shown: &str, user: &str) -> String {
    let rows = shown.lines().filter(|line| line.starts_with('│'));
    let cells = |line: &str| line.split(['│', '┆']).map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    // What does not fit beside a user's figures goes on in lines below.
    let mut lines = rows.map(cells).skip_while(|cells| cells[1] != user);
    let first = lines.next().unwrap_or_else(|| panic!("no {user} in {shown}"));
    let rest = lines.take_while(|cells| cells[1].is_empty());
    let rest: Vec<String> = rest.map(|cells| cells[6].clone()).collect();
    [&first[1..7], &rest].concat().join(" ")
}

#[test]
fn the_demo_shows_what_was_written_and_what_to_try_next() {
    let output = run(&mut pulse(&["demo"]));
    let shown = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{shown}");
    assert!(shown.starts_with('┌'), "the table is first: {shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    for (user, said) in [
        ("user-0001", "ACTIVE 185040.66 353606.31 168565.65 tenants/user-0001"),
        ("user-0007", "ACTIVE 266692.49 449491.94 182799.45 refused: no member of tenant-0001"),
        ("user-0012", "ACTIVE 122691.44 239704.55 117013.11 tenants/tenant-0001"),
    ] {
        assert_eq!(row(shown, user), format!("{user} {said}"), "{shown}");
    }
    for (user, trouble) in [
        ("user-0002", "retrying: keys_missing"),
        ("user-0003", "retrying: broker_rejected"),
        ("user-0004", "retrying: keys_malformed"),
        ("user-0005", "retrying: keys_disabled"),
        ("user-0006", "incomplete: account_incomplete"),
        ("user-0008", "sync_enabled is false"),
    ] {
        assert_eq!(
            row(shown, user).split_whitespace().collect::<Vec<_>>().join(" "),
            format!("{user} {trouble}")
        );
    }
    let [one, other] = ["user-0016", "user-0020"].map(|user| row(shown, user));
    let shares = |row: &str, owner: &str| row.ends_with(&format!("tenant-0002 belongs to {owner}"));
    assert!(shares(&one, "user-0020") ^ shares(&other, "user-0016"), "one of two members has it: {shown}");
    let (_, next) = shown.split_once("┘\n\n").expect("the end of the table");
    assert!(next.starts_with("Next: `pulse sandbox`"), "{next}");
}

#[test]
fn the_demo_shows_the_log_before_the_table_to_those_who_ask_for_it() {
    let plain = run(&mut pulse(&["demo"]));
    for flag in ["-v", "--verbose"] {
        let output = run(pulse(&["demo", flag]).env("NO_COLOR", "1"));
        assert_eq!(output.status.code(), Some(0));
        let (log, table) = text(&output.stdout).split_once("\n\n").expect("a log, and a table");
        assert!(log.contains("Completed multi-tenant sync: 19 successful, 4 errors, 2 skipped"), "{log}");
        assert!(!log.contains('\u{1b}'), "{log}");
        assert_eq!(table.lines().count(), text(&plain.stdout).lines().count(), "{table}");
    }
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
    let output = run(pulse(&["demo", "-v"]).envs(nowhere));
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
