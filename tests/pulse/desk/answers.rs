//! Answers that are whole for a program, whatever was typed and wherever they go.

use super::findings;
use crate::terminal::plain;
use crate::typed::Typed;
use crate::world::{Run, World, sandbox};
use serde_json::{Value as Json, json};
use std::fs::OpenOptions;
use std::io::pipe;
use std::process::Stdio;

/// A command line that is refused, and how.
async fn refused(world: &World, line: &str) -> (Run, Json) {
    let args: Vec<&str> = line.split(' ').chain(["--json"]).collect();
    let run = Typed::in_to(world, &args, "").await;
    let object =
        serde_json::from_str(&run.stdout).unwrap_or_else(|err| panic!("{line}: {err}: {}", run.stdout));
    (run, object)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_wrong_is_answered_with_the_one_object_too() {
    let world = sandbox().await;
    for (line, command, reason) in [
        ("explain a/b", "explain", "Usage"),
        ("read __x__", "read", "Usage"),
        ("keys check a/b", "keys check", "Usage"),
        ("keys set a/b --yes", "keys set", "KeysUnusable"),
        ("keys set __x__ --yes", "keys set", "KeysUnusable"),
        ("user add a/b --yes", "user add", "Usage"),
        ("user pause __x__ --yes", "user pause", "Usage"),
        ("user resume a.b --yes", "user resume", "Usage"),
        ("user remove a/b --yes", "user remove", "Usage"),
        ("status --stale=banana", "status", "Usage"),
        ("migrate rollback", "migrate rollback", "Usage"),
        ("cost --project=a/b", "cost", "Configuration"),
    ] {
        let (run, object) = refused(&world, line).await;
        assert_eq!((run.exit, &object["version"], &object["command"]), (Some(2), &json!(1), &json!(command)));
        assert_eq!(findings(&object), [(reason.to_owned(), "failed".to_owned())], "{line}");
        assert_eq!(object["state"], "failed", "{line}");
        assert!(!object.to_string().contains("\\u001b"), "{object}");
    }
    let (run, object) = refused(&world, "explain a/b").await;
    let sentence = object["findings"][0]["sentence"].as_str().expect("a sentence");
    assert!(sentence.contains("a slash") && run.stderr.contains("a slash"), "{sentence} {}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_written_is_no_success() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await;
    for line in [
        "status",
        "users --all",
        "explain ana",
        "read ana",
        "cost --users=10",
        "keys check ana",
        "keys list",
        "user resume ana --yes",
        "migrate status",
    ] {
        for form in [&[][..], &["--json"]] {
            let args: Vec<&str> = line.split(' ').chain(form.iter().copied()).collect();
            let full = OpenOptions::new().write(true).open("/dev/full").expect("it is always full");
            let run = Run::of(world.bare_command(&args).stdout(full)).await;
            assert_eq!(run.exit, Some(1), "{args:?} {}", run.stderr);
            assert!(run.stderr.contains("the answer could not be written"), "{args:?} {}", run.stderr);
            // Whoever has read enough, as `head` has, changes nothing.
            let gone = Stdio::from(pipe().expect("a pipe").1);
            let run = Run::of(world.bare_command(&args).stdout(gone)).await;
            assert_eq!(
                (run.exit, run.stderr.contains("written")),
                (Some(0), false),
                "{args:?} {}",
                run.stderr
            );
        }
    }
}

/// What was not done for want of a yes is no success, in whatever form it is told.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_no_is_told_so_by_state_and_exit_code() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await;
    let commands =
        ["user pause ana", "user pause ana --json", "user add zoe --json", "user remove ana --json"];
    let script: String = commands.map(|command| format!("pulse {command}\necho \"exit $?\"\n")).concat();
    let no = ("[y/N] ", "n");
    let Some(shown) = Typed::in_bash(&world, &script, &[no; 4]).await else { return };
    assert_eq!(shown.lines().filter(|line| line.trim_end() == "exit 1").count(), 4, "{shown}");
    let text = plain(&shown).join(
        "
",
    );
    assert!(text.contains("failed        NotConfirmed: Nothing was changed."), "{shown}");
    assert_eq!(shown.matches("\"state\":\"failed\"").count(), 2 * 3, "of the finding and of all: {shown}");
    assert_eq!(world.document("users/zoe").await, Json::Null);
    for args in [&["user", "pause", "ana", "--json"][..], &["keys", "set", "ana", "--json"]] {
        let run = Typed::in_to(&world, args, "y\n").await;
        let object: Json = serde_json::from_str(&run.stdout).expect("an object");
        assert_eq!((run.exit, &object["state"]), (Some(2), &json!("failed")), "nobody can be asked");
        assert_eq!(object["findings"][0]["reason"], "NotConfirmed");
    }
}
