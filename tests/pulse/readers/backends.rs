//! Backends that show a user's money, and refuse to trade on what is old, foreign or blocked.

use super::tools::{python, root, rust_backend, skip};
use crate::world::{Backend, Run, World};
use crate::wrong_clock::faketime;
use alpaca_pulse::firestore::values::{boolean, double, text, timestamp};
use jiff::{SignedDuration, Timestamp};
use std::fs;
use std::process::Stdio;
use tokio::process::Command;

const SNAPSHOT: &str = "users/ana/alpacaAccounts/snapshot";
const SYNC: &str = "users/ana/alpacaAccounts/sync";

/// Runs a backend for the user `ana` and an order of 400 dollars, and returns its lines.
async fn asked(world: &World, mut command: Command) -> Vec<String> {
    command.env("FIRESTORE_EMULATOR_HOST", &world.firestore_host).stdin(Stdio::null());
    let run = Run::of(command.stdout(Stdio::piped()).stderr(Stdio::piped())).await;
    assert_eq!(run.exit, Some(0), "{}", run.stderr);
    run.stdout.lines().map(str::to_owned).collect()
}

fn in_rust(world: &World, key: &str) -> Option<Command> {
    let mut command = Command::new(rust_backend()?);
    command.args([&world.project, "ana", key, "400"]);
    Some(command)
}

fn in_python(world: &World) -> Command {
    let mut command = Command::new("python3");
    command.args(["-B", "examples/python/backend.py", &world.project, "ana", "400"]).current_dir(root());
    command
}

/// What makes a snapshot one that nobody may trade on, and what a backend says then.
async fn spoil(world: &World, how: &str) -> (&'static str, &'static str) {
    let hour_ago = Timestamp::now() - SignedDuration::from_hours(1);
    match how {
        "old" => {
            let fields =
                [("updated_at_iso", text(format!("{hour_ago:.3}"))), ("fresh_until", timestamp(hour_ago))];
            world.patch(SNAPSHOT, fields).await;
            ("stale", "snapshot_stale")
        }
        "foreign" => {
            world.patch(SNAPSHOT, [("user_id", text("bob"))]).await;
            ("malformed", "snapshot_malformed")
        }
        "blocked" => {
            world.patch(SNAPSHOT, [("trading_blocked", boolean(true))]).await;
            ("fresh", "blocked")
        }
        "live" => {
            world.patch(SNAPSHOT, [("environment", text("live"))]).await;
            ("fresh", "environment")
        }
        "spent" => {
            let signal = [
                ("proposed_by", text("backend")),
                ("status", text("executed")),
                ("action", text("buy")),
                ("notional_usd", double(1e9)),
                ("expires_at", timestamp(hour_ago)),
            ];
            world.put("users/ana/tradingSignals/before", signal).await;
            ("fresh", "insufficient_funds")
        }
        "absent" => {
            world.delete(SNAPSHOT).await;
            ("missing", "snapshot_missing")
        }
        _ => {
            world.patch(SYNC, [("state", text("needs_reauth"))]).await;
            ("fresh", "needs_reauth")
        }
    }
}

async fn check(world: &World, command: impl Fn(&str) -> Command) {
    for how in ["good", "old", "foreign", "blocked", "live", "absent", "spent", "rejected"] {
        world.user("ana").await;
        world.delete(SNAPSHOT).await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        if how == "good" {
            let lines = asked(world, command(how)).await;
            assert_eq!(lines[0], "ana: fresh, sync ok");
            assert!(lines[1].contains(" USD, ") && lines[1].ends_with(" s old"), "{lines:?}");
            assert!(lines[2].starts_with("allowed, up to "), "{lines:?}");
            continue;
        }
        let (verdict, code) = spoil(world, how).await;
        let lines = asked(world, command(how)).await;
        assert!(lines[0].starts_with(&format!("ana: {verdict}, sync ")), "{how}: {lines:?}");
        let last = lines.last().expect("a line");
        assert!(last.starts_with("denied") && last.contains(code), "{how}: {lines:?}");
    }
}

#[tokio::test]
async fn a_backend_in_rust_shows_money_and_refuses_to_trade_on_what_is_not_its_users_of_now() {
    let Some(world) = World::new(Backend::Emulator).await else { return };
    if rust_backend().is_none() {
        return skip("no examples/backend: build the reader with the feature firestore");
    }
    check(&world, |key| in_rust(&world, key).expect("it is built")).await;
}

/// Figures five and a half minutes old, read by a machine whose clock is a minute behind.
#[tokio::test]
async fn a_backend_whose_clock_is_behind_proposes_nothing_on_old_money() {
    let Some(world) = World::new(Backend::Emulator).await else { return };
    if rust_backend().is_none() {
        return skip("no examples/backend: build the reader with the feature firestore");
    }
    let Some(library) = faketime() else { return skip("no libfaketime (Debian's package faketime)") };
    world.user("ana").await;
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    let old = Timestamp::now() - SignedDuration::from_secs(330);
    world
        .patch(SNAPSHOT, [("updated_at_iso", text(format!("{old:.3}"))), ("fresh_until", timestamp(old))])
        .await;
    let mut command = in_rust(&world, "k1").expect("it is built");
    command.env("LD_PRELOAD", library).env("FAKETIME", "-60s").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let lines = asked(&world, command).await;
    assert!(lines.last().is_some_and(|last| last.starts_with("denied, snapshot_stale: ")), "{lines:?}");
    let signal = world.document("users/ana/tradingSignals/k1").await;
    assert_eq!(signal["denied_code"], "snapshot_stale");
}

#[tokio::test]
async fn a_backend_in_python_shows_money_and_refuses_to_trade_on_what_is_not_its_users_of_now() {
    let Some(world) = World::new(Backend::Emulator).await else { return };
    if !python().await {
        return skip("no Python with google-cloud-firestore (examples/python/requirements.txt)");
    }
    check(&world, |_| in_python(&world)).await;
}

/// What somebody has to write who uses the readers.
#[test]
fn the_programs_are_short() {
    for (file, comment) in [
        ("crates/account-reader/examples/backend.rs", ["//", "#!["]),
        ("examples/python/backend.py", ["#", "\"\"\""]),
        ("examples/web/page.mjs", ["//", "//"]),
    ] {
        let text = fs::read_to_string(root().join(file)).expect(file);
        let is_code = |line: &&str| !line.is_empty() && !comment.iter().any(|start| line.starts_with(start));
        let lines = text.lines().map(str::trim).filter(is_code).count();
        assert!(lines < 30, "{file}: {lines} lines");
    }
}
