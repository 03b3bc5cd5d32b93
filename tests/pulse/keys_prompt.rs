//! The prompts of `pulse keys set`: on a terminal that does not show what is typed, and whatever ends them.

use crate::live::in_time;
use crate::terminal::plain;
use crate::typed::Typed;
use crate::world::{Run, World, keys_of, sandbox};
use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, tcgetattr};
use serde_json::{Value as Json, json};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use tokio::process::Child;

/// A command that waits for the key id on a terminal of its own.
struct Asked {
    child: Child,
    screen: File,
    terminal: OwnedFd,
}

impl Asked {
    async fn by(world: &World) -> Self {
        let pty = openpty(None, None).expect("a terminal");
        // A copy that no other test's process inherits, which would keep it open.
        let terminal = pty.slave.try_clone().expect("the same terminal");
        drop(pty.slave);
        let screen = File::from(pty.master);
        let same = || Stdio::from(terminal.try_clone().expect("the same terminal once more"));
        let mut command = world.bare_command(&["keys", "set", "ana"]);
        let child = command.stdin(same()).stdout(same()).stderr(same()).spawn().expect("pulse starts");
        drop(command);
        let reading = tokio::task::spawn_blocking(move || read_until(screen, "Key id: "));
        let (screen, shown) = in_time(reading).await.expect("no panic");
        assert!(shown.contains("Key id: "), "{shown}");
        Self { child, screen, terminal }
    }

    fn has(&self, flags: LocalFlags) -> bool {
        tcgetattr(&self.terminal).expect("a terminal").local_flags.contains(flags)
    }

    fn send(&self, signal: &str) {
        let pid = self.child.id().expect("still running").to_string();
        let sent = std::process::Command::new("kill").args(["-s", signal, &pid]).status().expect("kill runs");
        assert!(sent.success(), "{signal} is sent to {pid}");
    }

    /// What is on the screen by the end, as far as it takes to see that.
    async fn rest(self, awaited: String) -> String {
        let Self { screen, terminal, .. } = self;
        drop(terminal);
        in_time(tokio::task::spawn_blocking(move || read_until(screen, &awaited).1)).await.expect("no panic")
    }
}

/// What the terminal shows until that is seen, or until nobody holds its other side any more.
fn read_until(mut screen: File, awaited: &str) -> (File, String) {
    let (mut shown, mut part) = (String::new(), [0; 256]);
    while !shown.contains(awaited) {
        // Linux ends it with an error.
        match screen.read(&mut part) {
            Ok(read) if read > 0 => shown.push_str(&String::from_utf8_lossy(&part[..read])),
            _ => break,
        }
    }
    (screen, shown)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_at_the_prompt_leaves_the_terminal_as_it_was() {
    let world = sandbox().await;
    world.put("users/ana", []).await;
    let usual = LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG;
    for (signal, exit) in [("INT", 130), ("TERM", 143), ("HUP", 143)] {
        let mut asked = Asked::by(&world).await;
        assert!(!asked.has(LocalFlags::ECHO), "what is typed is not shown");
        asked.send(signal);
        let ended = in_time(asked.child.wait()).await.expect("it can be waited for");
        assert_eq!(ended.code(), Some(exit), "{signal}");
        assert!(asked.has(usual), "{signal}");
        let again = format!("$ pulse keys set ana --project={}", world.project);
        let shown = asked.rest(again.clone()).await;
        let lines = plain(&shown);
        assert!(
            lines[0].is_empty() && lines[1].starts_with("warning       Stopped: "),
            "{signal}: {lines:?}"
        );
        assert!(shown.contains(&again), "{signal}: {shown}");
    }
}

/// The terminal itself makes the signal, for the shell too.
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_is_heard_at_the_prompt() {
    let world = sandbox().await;
    world.put("users/ana", []).await;
    let script = "trap : INT\npulse keys set ana\necho \"exit $?\"\n";
    let Some(shown) = Typed::in_bash(&world, script, &[("Key id: ", "half a key\u{3}")]).await else {
        return;
    };
    assert!(shown.contains("exit 130") && !shown.contains("half a key"), "{shown}");
}

/// Nobody types a key for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_nobody_are_not_asked_for() {
    let world = sandbox().await;
    let mut command = world.bare_command(&["keys", "set", "nobody", "--yes", "--json"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("pulse starts");
    // As long as it is held, whoever reads it waits.
    let stdin = child.stdin.take();
    let run = Run::end_of(child).await;
    drop(stdin);
    let object: Json = serde_json::from_str(&run.stdout).expect("an object");
    assert_eq!((run.exit, &object["findings"][0]["reason"]), (Some(3), &json!("UserUnknown")), "{object}");
    assert_eq!(object["used"]["firestore_reads"], 1, "their document alone: {object}");
    let Some(shown) = Typed::on_a_terminal(&world, &["keys", "set", "nobody"], &[]).await else { return };
    assert!(shown.contains("UserUnknown") && !shown.contains("Key id"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_which_nobody_says_where_its_account_is_is_not_asked_for() {
    let world = sandbox().await;
    world.put("users/ana", []).await;
    let Some(shown) = Typed::on_a_terminal(&world, &["keys", "set", "ana", "--token"], &[]).await else {
        return;
    };
    assert!(
        shown.contains("KeysUnusable: A token does not say") && !shown.contains("OAuth token: "),
        "{shown}"
    );
}

/// A command that was told to stop at its first commit.
async fn stopped_at_a_commit(world: &World, args: &[&str], input: &str) -> Json {
    let rule = world.sandbox.faults().inject("firestore/Commit:stall,times=1").expect("a fault");
    let child = Typed::start(world, &[args, &["--yes", "--json"]].concat(), input).await;
    crate::live::wait_until(|| rule.applied() > 0).await;
    let pid = child.id().expect("still running").to_string();
    std::process::Command::new("kill").args(["-s", "TERM", &pid]).status().expect("kill runs");
    let run = Run::end_of(child).await;
    world.sandbox.faults().clear();
    assert_eq!(run.exit, Some(143), "{}", run.stdout);
    serde_json::from_str(&run.stdout).expect("an object")
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_stopped_half_way_is_told_how_the_user_stands() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await;
    let (key_id, secret_key) = keys_of("ana");
    let told =
        stopped_at_a_commit(&world, &["keys", "set", "ana"], &format!("{key_id}\n{secret_key}\n")).await;
    let finding = &told["findings"][1];
    assert_eq!(finding["reason"], "OldKeysInUse", "{told}");
    assert!(finding["sentence"].to_string().contains("leave them alone at Alpaca"), "{told}");
    assert_eq!(told["findings"][2]["reason"], "Stopped", "what goes on comes last: {told}");
    let told = stopped_at_a_commit(&world, &["user", "remove", "ana"], "").await;
    let finding = &told["findings"][0];
    assert_eq!(finding["reason"], "LeftPaused", "{told}");
    assert_eq!(finding["mend"], format!("pulse user resume ana --project={}", world.project));
    assert!(finding["sentence"].to_string().contains("nothing is deleted yet"), "{told}");
}

/// Whoever is told to stop says how it goes on, and so does whoever meets a service that does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn what_broke_off_is_mended_by_the_same_command_once_more() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await;
    let project = &world.project;
    for (args, again) in [
        (
            &["keys", "set", "ana", "--yes", "--paper"][..],
            format!("pulse keys set ana --paper --yes --project={project}"),
        ),
        (&["user", "remove", "ana", "--yes"], format!("pulse user remove ana --yes --project={project}")),
    ] {
        let args = [args, &["--json"]].concat();
        let rule = world.sandbox.faults().inject("firestore:stall,times=1").expect("a fault");
        let child = Typed::start(&world, &args, "PKNEW\nhush\n").await;
        crate::live::wait_until(|| rule.applied() > 0).await;
        let pid = child.id().expect("still running").to_string();
        std::process::Command::new("kill").args(["-s", "TERM", &pid]).status().expect("kill runs");
        let run = Run::end_of(child).await;
        world.sandbox.faults().clear();
        assert_eq!((run.exit, mend_of(&run, "Stopped")), (Some(143), Some(again.clone())), "{}", run.stdout);
        world.fault("secret-manager:error=503");
        let run = Typed::in_to(&world, &args, "PKNEW\nhush\n").await;
        world.sandbox.faults().clear();
        if args[0] == "user" {
            assert_eq!((run.exit, mend_of(&run, "SecretManagerUnavailable")), (Some(1), Some(again)));
        }
        world.fault("firestore:error=PERMISSION_DENIED");
        let run = Typed::in_to(&world, &args, "PKNEW\nhush\n").await;
        world.sandbox.faults().clear();
        let doctor = Some(format!("pulse doctor --project={project}"));
        assert_eq!((run.exit, mend_of(&run, "FirestoreUnavailable")), (Some(1), doctor), "{}", run.stdout);
    }
}

fn mend_of(run: &Run, reason: &str) -> Option<String> {
    let object: Json = serde_json::from_str(&run.stdout).expect("an object");
    let findings = object["findings"].as_array().expect("findings").clone();
    let found = findings.iter().find(|finding| finding["reason"] == reason)?;
    Some(found["mend"].as_str()?.to_owned())
}
