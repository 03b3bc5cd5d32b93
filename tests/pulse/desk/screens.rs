//! What an operator sees on a terminal, and what other programs get.

use super::TEN_MINUTES;
use crate::terminal::{plain, run_on_terminal};
use crate::world::{World, off, sandbox};
use alpaca_pulse::firestore::values::text;

/// As long as those of Firebase, and one that fits into no table.
const IDS: [&str; 3] = [
    "Xk3vQ9LmTtPz0aBcDeFgHiJkLmN2",
    "short",
    "an-id-that-is-longer-than-any-other-and-still-one-0123456789-0123456789",
];

async fn world() -> World {
    let world = sandbox().await;
    world.user("zoe").await;
    for id in IDS {
        world.user_of_tenant(id, text("tenant-of-acme")).await;
    }
    world.pulse().await;
    for id in IDS {
        world.fault(&format!("alpaca:error=503,user={id}"));
        world.age_snapshot(id, TEN_MINUTES).await;
    }
    world.pulse().await;
    world
}

/// Commands are whole, to be copied, and so are ids.
fn fits(line: &str, columns: usize) -> bool {
    line.chars().count() <= columns || line.trim_start().starts_with("$ ") || IDS.contains(&line.trim())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_fits_a_terminal_of_80_and_of_160_columns() {
    let world = world().await;
    for columns in [80, 160] {
        for args in
            [&["status"][..], &["status", "--all"], &["users"], &["users", "--all"], &["explain", IDS[0]]]
        {
            let (_, shown) = world.on_terminal(args, columns).await;
            assert!(shown.contains("\x1b["), "colours: {shown:?}");
            for line in plain(&shown) {
                assert!(fits(&line, columns.into()), "{args:?} at {columns}: {line:?}");
            }
            for id in IDS.iter().filter(|id| args[0] == "users" || **id == args[args.len() - 1]) {
                assert!(shown.contains(id), "{id} is whole in {shown}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_terminal_says_what_it_leaves_out_and_a_pipe_gets_all() {
    let world = world().await;
    let narrow = world.on_terminal(&["users"], 80).await.1;
    assert!(narrow.contains("CAUSE, ENV and TENANT: too wide for this screen"), "{narrow}");
    assert!(!narrow.contains("tenant-of-acme"));
    let wide = world.on_terminal(&["users"], 160).await.1;
    assert!(
        wide.contains("tenant-of-acme") && wide.contains("  ours  ") && !wide.contains("too wide"),
        "{wide}"
    );
    let piped = world.told(&["users"]).await.stdout;
    let lines: Vec<_> = piped.lines().filter(|line| line.ends_with("tenant-of-acme")).collect();
    assert_eq!(lines.len(), IDS.len(), "a line a user: {piped}");
}

/// Whoever types a user's id is told why nothing happened, and what would help.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_for_one_user_says_what_is_with_that_user() {
    let world = sandbox().await;
    for user in ["ana", "ben"] {
        world.user(user).await;
    }
    world.patch("users/ana", [("sync_enabled", off())]).await;
    let (_, shown) = world.on_terminal(&["sync", "--user=ana"], 160).await;
    let resume = format!("$ pulse user resume ana --project={}", world.project);
    assert!(shown.contains("paused: 1 user") && shown.contains(&resume), "{shown}");
    let (_, shown) = world.on_terminal(&["sync"], 160).await;
    assert!(!shown.contains("user resume"), "of all, that is as it should be: {shown}");
    world.fault("firestore/Commit:error=INVALID_ARGUMENT,user=ben");
    let (_, shown) = world.on_terminal(&["sync", "--user=ben"], 160).await;
    assert!(shown.contains("InvalidArgument") && !shown.contains("pulse doctor"), "{shown}");
    assert!(shown.contains("  users/ben/alpacaAccounts/snapshot\n"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_are_for_terminals_that_want_them() {
    let world = world().await;
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let mut command = world.bare_command(&["status"]);
        let (exit, shown) = run_on_terminal(command.env(name, value), 80).await;
        assert_eq!((exit, shown.contains('\x1b')), (Some(3), false), "{name}: {shown:?}");
    }
    let piped = world.told(&["status"]).await;
    assert!(!piped.stdout.contains('\x1b'));
    // Its sentences are as wide as a letter is; its tables have whole lines, for other programs.
    let findings = piped.stdout.split_once("\nok ").expect("findings").1;
    assert!(findings.lines().all(|line| fits(line, 80)), "{}", piped.stdout);
}

/// Whatever stands in a document is told as text.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_a_document_acts_on_the_terminal() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await;
    world.patch("users/ana/alpacaAccounts/snapshot", [("status", text("\x1b[2JACTIVE\u{202e}"))]).await;
    world.patch("ops/last_pulse", [("version", text("1\x1b]0;x\x07"))]).await;
    for args in [&["explain", "ana"][..], &["status"]] {
        let mut command = world.bare_command(args);
        let (_, shown) = run_on_terminal(command.env("NO_COLOR", "1"), 80).await;
        assert!(!shown.contains(['\x1b', '\u{202e}', '\x07']), "{shown:?}");
    }
}
