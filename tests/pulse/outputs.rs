//! Outputs that are closed, full, or read by nobody: the log is no control flow.

use crate::crowd::turn_of_a_crowd;
use crate::held_alpaca::HeldAlpaca;
use crate::live::{in_time, wait_until};
use crate::world::{Run, World, sandbox, secret_of};
use futures::future::join_all;
use pulse_sandbox::call::Service;
use serde_json::{Value as Json, json};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, ErrorKind, PipeReader, Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use tokio::process::{Child, Command};

const COMPLETED: &str = "Completed multi-tenant sync: ";

/// Where a process writes to.
#[derive(Clone, Copy, Debug)]
enum Output {
    /// To somebody who is gone.
    Closed,
    /// To a disk without space.
    Full,
    /// To somebody who takes nothing.
    Blocked,
}

/// The process's end of it, and what keeps it as it is.
fn output(kind: Output) -> (Stdio, Option<UnixStream>) {
    match kind {
        Output::Closed => (pipe().expect("a pipe").1.into(), None),
        Output::Full => {
            (OpenOptions::new().write(true).open("/dev/full").expect("it is always full").into(), None)
        }
        Output::Blocked => {
            let (reader, writer) = blocked();
            (writer, Some(reader))
        }
    }
}

/// A reader whose end has no room left, and that end.
fn blocked() -> (UnixStream, Stdio) {
    let (reader, mut writer) = UnixStream::pair().expect("a pair");
    writer.set_nonblocking(true).expect("it can be");
    let mut filled = Ok(0);
    while filled.is_ok() {
        filled = writer.write(&[b'\n'; 1024]);
    }
    assert_eq!(filled.expect_err("full").kind(), ErrorKind::WouldBlock);
    writer.set_nonblocking(false).expect("it can be");
    (reader, OwnedFd::from(writer).into())
}

/// The exit code of a command with such outputs.
async fn exit_of(mut command: Command, stdout: Output, stderr: Output) -> Option<i32> {
    let ((stdout, _reader), (stderr, _other)) = (output(stdout), output(stderr));
    end_of(command.stdout(stdout).stderr(stderr).spawn().expect("pulse starts")).await
}

async fn end_of(mut child: Child) -> Option<i32> {
    in_time(child.wait()).await.expect("pulse can be waited for").code()
}

fn send(signal: &str, child: &Child) {
    let pid = child.id().expect("still running").to_string();
    let sent = std::process::Command::new("kill").args(["-s", signal, &pid]).status().expect("kill runs");
    assert!(sent.success(), "{signal} is sent to {pid}");
}

/// How many users have a snapshot.
fn synced(world: &World, users: &[String]) -> usize {
    users.iter().filter(|user| world.has(&format!("users/{user}/alpacaAccounts/snapshot"))).count()
}

fn entry(line: &str) -> Json {
    serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line}"))
}

fn message(entry: &Json) -> &str {
    entry["message"].as_str().expect("a text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_takes_no_notice_of_who_reads_its_log() {
    use Output::{Blocked, Closed, Full};
    let outputs = [
        (Closed, Closed),
        (Closed, Full),
        (Full, Full),
        (Full, Closed),
        (Blocked, Blocked),
        (Blocked, Closed),
        (Closed, Blocked),
    ];
    join_all(outputs.into_iter().flat_map(|outputs| ["json", "text"].map(|format| unread(outputs, format))))
        .await;
}

async fn unread((stdout, stderr): (Output, Output), format: &str) {
    let world = sandbox().await;
    let users = world.crowd(40);
    world.sandbox.secrets().delete(&secret_of("user-0007"));
    let command = world.command(&["--log-format", format]);
    assert_eq!(exit_of(command, stdout, stderr).await, Some(0), "{stdout:?} {stderr:?} {format}");
    assert_eq!(synced(&world, &users), 39, "{stdout:?} {stderr:?} {format}");
    assert_eq!(world.document("ops/last_pulse").await["status"], "degraded");
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_are_the_same_without_a_reader() {
    use Output::{Blocked, Closed, Full};
    let cases = [Closed, Full, Blocked].map(|kind| async move {
        let world = sandbox().await;
        let users = world.crowd(1);
        world.sandbox.secrets().delete(&secret_of(&users[0]));
        let exit = async |args: &[&str]| exit_of(world.bare_command(args), kind, kind).await;
        let (nobody_synced, bad_configuration, bad_usage, no_command) = tokio::join!(
            exit(&["sync"]),
            exit(&["sync", "--user", "a/b"]),
            exit(&["sync", "--frobnicate"]),
            exit(&[]),
        );
        assert_eq!(nobody_synced, Some(1), "{kind:?}");
        assert_eq!((bad_configuration, bad_usage, no_command), (Some(2), Some(2), Some(2)), "{kind:?}");
    });
    join_all(cases).await;
    let world = sandbox().await;
    for kind in [Closed, Full] {
        for args in [&["--help"][..], &["--version"]] {
            assert_eq!(exit_of(world.bare_command(args), kind, kind).await, Some(0), "{args:?} {kind:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_takes_no_notice_of_who_reads_it() {
    use Output::{Blocked, Closed, Full};
    let world = sandbox().await;
    let demos = [Closed, Full, Blocked].map(|kind| exit_of(world.bare_command(&["demo"]), kind, kind));
    assert_eq!(join_all(demos).await, [Some(0); 3]);
    let run = Run::of(&mut world.bare_command(&["demo", "-v"])).await;
    let (log, table) = run
        .stdout
        .split_once(
            "

",
        )
        .expect("a table behind the log");
    assert!(log.lines().last().is_some_and(|line| line.contains(COMPLETED)), "{}", run.stdout);
    assert!(table.contains("user-0025"), "{}", run.stdout);
}

/// As `| head -3` does, with stderr in the same pipe and without.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_may_leave_after_any_line() {
    let cases = [(1, true), (1, false), (3, true), (100, true)].map(|(lines, with_stderr)| async move {
        let world = sandbox().await;
        let users = world.crowd(300);
        let (reader, writer) = pipe().expect("a pipe");
        let mut command = world.command(&[]);
        if with_stderr {
            command.stderr(writer.try_clone().expect("the same pipe"));
        }
        let child = command.stdout(writer).spawn().expect("pulse starts");
        drop(command);
        let read = move || BufReader::new(reader).lines().take(lines).filter(Result::is_ok).count();
        assert_eq!(tokio::task::spawn_blocking(read).await.expect("no panic"), lines);
        assert_eq!(end_of(child).await, Some(0), "after {lines} lines");
        assert_eq!(synced(&world, &users), 300, "after {lines} lines");
    });
    join_all(cases).await;
}

/// The sandbox's whole output is such that a reader who leaves ends nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_serves_and_stops_whoever_reads_it() {
    use Output::{Blocked, Closed, Full};
    for kind in [Closed, Full, Blocked] {
        let world = sandbox().await;
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let port = port.expect("a free port").port();
        let ((stdout, _reader), (stderr, _other)) = (output(kind), output(kind));
        let mut command = world.bare_command(&["sandbox", "--users", "3", "--port", &port.to_string()]);
        let child = command.stdout(stdout).stderr(stderr).spawn().expect("pulse starts");
        wait_until(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        send("TERM", &child);
        assert_eq!(end_of(child).await, Some(0), "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_users_are_synced_while_nobody_reads() {
    let _turn = turn_of_a_crowd().await;
    let world = sandbox().await;
    let users = world.crowd(3000);
    let (reader, writer) = pipe().expect("a pipe");
    let child = world.command(&[]).stdout(writer).spawn().expect("pulse starts");
    assert_eq!(end_of(child).await, Some(0));
    drop(reader);
    assert_eq!(synced(&world, &users), 3000);
    let last_pulse = world.document("ops/last_pulse").await;
    assert_eq!(last_pulse["status"], "ok");
    assert_eq!(last_pulse["success_count"], json!({"integer": 3000}), "nobody fails for our own waiting");
}

/// Has a process with blocked outputs hold two users, tells it to stop, and lets them go. Its exit code, and how
/// many were asked about.
async fn stopped_while_blocked(signals: &[&str]) -> (Option<i32>, usize, usize) {
    let (world, alpaca) = (sandbox().await, HeldAlpaca::start().await);
    let users = world.crowd(6);
    let ((stdout, _reader), (stderr, _other)) = (output(Output::Blocked), output(Output::Blocked));
    let mut command = alpaca.command(&world, &["--concurrency", "2"]);
    let child = command.stdout(stdout).stderr(stderr).spawn().expect("pulse starts");
    alpaca.arrived(2).await;
    for signal in signals {
        send(signal, &child);
    }
    if signals.len() == 1 {
        // Whoever is started before the signal is seen is one more; most are not.
        alpaca.let_go(2);
    }
    (end_of(child).await, alpaca.count(), synced(&world, &users))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_heeded_while_nobody_reads() {
    let cases = [("TERM", 143), ("INT", 130), ("HUP", 143)].map(|(signal, exit)| async move {
        let (code, asked, synced) = stopped_while_blocked(&[signal]).await;
        assert_eq!(code, Some(exit), "{signal}");
        assert!(synced >= 2 && asked < 6, "{signal}: {asked} asked, {synced} synced");
    });
    join_all(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once_while_nobody_reads() {
    let (code, asked, synced) = stopped_while_blocked(&["TERM", "INT"]).await;
    assert!(matches!(code, Some(130 | 143)), "{code:?}");
    assert_eq!((asked, synced), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_kept_while_nobody_reads() {
    let world = sandbox().await;
    let users = world.crowd(2000);
    // At one user after the other, more than the deadline leaves time for.
    world.fault("alpaca:latency=50ms");
    let command = world.command(&["--concurrency", "1", "--deadline", "2s"]);
    assert_eq!(exit_of(command, Output::Blocked, Output::Blocked).await, Some(1));
    let synced = synced(&world, &users);
    assert!(synced < 2000, "it ended for the deadline");
    assert!(world.calls(Service::Alpaca, "GetAccount") >= synced as u64);
}

/// A pass over many users whose reader takes nothing until nearly all of them are done.
struct Paused {
    world: World,
    lines: Vec<String>,
}

impl Paused {
    /// Some of the users have no keys.
    async fn pass(users: usize, failing: usize) -> Self {
        let (world, alpaca) = (sandbox().await, HeldAlpaca::start().await);
        let ids = world.crowd(users);
        for id in &ids[..failing] {
            world.sandbox.secrets().delete(&secret_of(id));
        }
        let asked = users - failing;
        let (reader, writer) = pipe().expect("a pipe");
        let mut command = alpaca.command(&world, &[]);
        let child = command.stdout(writer).spawn().expect("pulse starts");
        drop(command);
        alpaca.let_go(asked - 1);
        alpaca.arrived(asked).await;
        in_time(async {
            while synced(&world, &ids) < asked - 1 {
                tokio::time::sleep(crate::live::LOOK_INTERVAL).await;
            }
        })
        .await;
        let reading = tokio::task::spawn_blocking(move || lines_of(reader));
        alpaca.let_go(1);
        assert_eq!(end_of(child).await, Some(0));
        Self { world, lines: reading.await.expect("no panic") }
    }

    fn entries(&self) -> Vec<Json> {
        self.lines.iter().map(|line| entry(line)).collect()
    }
}

fn lines_of(reader: PipeReader) -> Vec<String> {
    BufReader::new(reader).lines().map(|line| line.expect("UTF-8")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_again_gets_every_error_and_the_sum_of_what_is_missing() {
    let _turn = turn_of_a_crowd().await;
    let (users, failing) = (4000, 300);
    let pass = Paused::pass(users, failing).await;
    let entries = pass.entries();
    let errors = entries.iter().filter(|entry| entry["severity"] == "ERROR").count();
    assert_eq!(errors, failing);
    let summary = entries.iter().position(|entry| message(entry).starts_with(COMPLETED)).expect("a summary");
    assert_eq!(
        message(&entries[summary]),
        format!("{COMPLETED}{} successful, {failing} errors", users - failing)
    );
    assert_eq!(summary, entries.len() - 1, "it is the last line: {}", entries[entries.len() - 1]);
    let dropped = entries[summary]["dropped_lines"].as_u64().expect("a number");
    assert!(dropped > 0);
    assert_eq!(
        dropped + entries.len() as u64,
        2 * users as u64 + 1,
        "of each user two lines, and one of all"
    );
    assert_eq!(pass.world.document("ops/last_pulse").await["status"], "degraded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_pauses_for_some_hundred_users_misses_nothing() {
    let entries = Paused::pass(600, 20).await.entries();
    assert_eq!(entries.len(), 2 * 600 + 1);
    let summary = &entries[1200];
    assert!(message(summary).starts_with(COMPLETED) && summary.get("dropped_lines").is_none(), "{summary}");
    let times: Vec<_> = entries.iter().map(|entry| entry["time"].as_str().expect("a time")).collect();
    assert!(times.is_sorted(), "in the order of what they tell");
}

/// Who takes a little at a time, and is not done when the pass is.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_waited_for() {
    let _turn = turn_of_a_crowd().await;
    let world = sandbox().await;
    world.crowd(1000);
    let (mut reader, writer) = pipe().expect("a pipe");
    let child = world.command(&[]).stdout(writer).spawn().expect("pulse starts");
    let reading = tokio::task::spawn_blocking(move || {
        let (mut all, mut part) = (Vec::new(), [0; 2048]);
        loop {
            match reader.read(&mut part).expect("it can be read") {
                0 => return String::from_utf8(all).expect("UTF-8"),
                read => all.extend(&part[..read]),
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    });
    assert_eq!(end_of(child).await, Some(0));
    let log = reading.await.expect("no panic");
    assert_eq!(log.lines().count(), 2001);
    assert!(message(&entry(log.lines().last().expect("a line"))).starts_with(COMPLETED));
}

/// As a shell or another process may leave it that has the same one.
#[tokio::test(flavor = "multi_thread")]
async fn a_stdout_that_does_not_block_gets_every_line() {
    let _turn = turn_of_a_crowd().await;
    let world = sandbox().await;
    world.crowd(1000);
    let (reader, writer) = UnixStream::pair().expect("a pair");
    writer.set_nonblocking(true).expect("it can be");
    let mut command = world.command(&[]);
    let child = command.stdout(OwnedFd::from(writer)).spawn().expect("pulse starts");
    drop(command);
    let read = move || BufReader::new(reader).lines().map(|line| line.expect("UTF-8")).collect::<Vec<_>>();
    let lines = tokio::task::spawn_blocking(read).await.expect("no panic");
    assert_eq!(end_of(child).await, Some(0));
    assert_eq!(lines.len(), 2001);
    assert!(lines.iter().all(|line| entry(line).is_object()));
}

/// `ulimit -f` sends a signal that ends whoever does not expect it.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_file_that_may_not_grow_ends_nothing() {
    let world = sandbox().await;
    let users = world.crowd(100);
    let pulse = world.bare_command(&["sync"]);
    let mut shell = world.bare_command(&[]);
    let file = std::env::temp_dir().join(format!("{}.log", world.project));
    let script = "ulimit -f 8; exec \"$0\" sync > \"$1\"";
    let mut limited = Command::new("/bin/sh");
    limited.args(["-c", script]).arg(pulse.as_std().get_program()).arg(&file).env_clear();
    let variables = shell.env("PATH", "/usr/bin:/bin").as_std().get_envs();
    limited.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    let exit = end_of(limited.kill_on_drop(true).spawn().expect("a shell")).await;
    let log = std::fs::read_to_string(&file).expect("the log");
    std::fs::remove_file(&file).expect("the test's own file");
    assert_eq!(exit, Some(0));
    assert_eq!(synced(&world, &users), 100);
    assert!(log.len() <= 8 * 1024 && log.contains("Syncing Alpaca account"), "{} bytes", log.len());
}
