//! A machine whose clock is hours off: what is written, and what waits, goes by the servers'. By Debian's `faketime`;
//! skipped where there is none, but with `CI=true` a failure.

use crate::on_both;
use crate::world::{Run, World, secret_of, timestamp};
use alpaca_pulse::firestore::values::{integer, text, timestamp as time};
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::Profile;
use serde_json::json;
use std::path::PathBuf;

/// Far more than any of these passes takes.
const A_WHILE: SignedDuration = SignedDuration::from_mins(2);

pub(crate) fn faketime() -> Option<PathBuf> {
    let libraries = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let found =
        libraries.map(|of| of.path().join("faketime/libfaketime.so.1")).find(|library| library.exists());
    let is_needed = std::env::var("CI").as_deref() == Ok("true");
    assert!(found.is_some() || !is_needed, "no libfaketime on a CI machine");
    found
}

/// A pass on a machine whose clock is off by that.
async fn pulse_at(world: &World, off: &str, args: &[&str]) -> Option<Run> {
    let Some(library) = faketime() else {
        println!("skipped: no libfaketime (Debian's package faketime)");
        return None;
    };
    let mut command = world.command(args);
    // Only what a clock shows: no time goes by faster.
    command.env("LD_PRELOAD", library).env("FAKETIME", off).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Some(Run::of(&mut command).await)
}

#[track_caller]
fn assert_about(time: Timestamp, expected: Timestamp) {
    assert!(time.duration_since(expected).abs() < A_WHILE, "{time} is not about {expected}");
}

/// Of ana all is well, keyless has no keys, and the keys of revoked are rejected for the second time.
async fn users(world: &World) {
    for user in ["ana", "keyless", "revoked"] {
        world.user(user).await;
    }
    world.sandbox.secrets().delete(&secret_of("keyless"));
    world.account("revoked", Profile::Revoked);
    let before = Timestamp::now() - SignedDuration::from_mins(1);
    let rejected = [
        ("state", text("retrying")),
        ("error", text("broker_rejected")),
        ("since", time(before)),
        ("failing_since", time(before)),
        ("rejections", integer(1)),
        ("key_version", text("1")),
    ];
    world.put("users/revoked/alpacaAccounts/sync", rejected).await;
}

async fn times_are_the_servers(world: &World, off: &str, ahead: i64) {
    let Some(run) = pulse_at(world, off, &[]).await else { return };
    run.assert_completed("1 successful, 2 errors", 0);
    let now = Timestamp::now();
    let answered = world.snapshot("ana").await["updated_at_iso"].as_str().expect("a text").parse();
    assert_about(answered.expect("a time"), now);
    let keyless = world.trouble("keyless").await;
    assert_about(timestamp(&keyless["failing_since"]), now);
    let revoked = world.trouble("revoked").await;
    assert_eq!(revoked["state"], "needs_reauth");
    assert_about(timestamp(&revoked["next_attempt_at"]), now + SignedDuration::from_mins(15));
    let pulse = world.document("ops/last_pulse").await;
    assert!(pulse["duration_ms"]["integer"].as_i64().expect("a number") < 120_000, "{pulse}");
    let execution = pulse["execution"].as_str().expect("a text");
    let ledger = world.document(&format!("ops/last_pulse/executions/{execution}")).await;
    assert_about(timestamp(&ledger["ended_at"]), now);
    let told = run.entry("The clock of this machine is ");
    assert_eq!(told["severity"], "WARNING");
    let by = told["clock_ahead_s"].as_i64().expect("a number");
    assert!((by - ahead).abs() < 60, "{told}");
}

on_both! {
    async fn five_hours_ahead(world) {
        users(&world).await;
        times_are_the_servers(&world, "+5h", 5 * 3600).await;
    }

    async fn five_hours_behind(world) {
        users(&world).await;
        times_are_the_servers(&world, "-5h", -5 * 3600).await;
    }

    async fn a_persons_own_run_too(world) {
        users(&world).await;
        for (off, ahead) in [("+5h", true), ("-5h", false)] {
            let Some(run) = pulse_at(&world, off, &["--user", "ana,keyless"]).await else { return };
            let way = if ahead { "ahead of" } else { "behind" };
            let told = run.entry("The clock of this machine is ");
            assert!(told["message"].as_str().is_some_and(|message| message.contains(way)), "{told}");
            let answered = world.snapshot("ana").await["updated_at_iso"].as_str().expect("a text").parse();
            assert_about(answered.expect("a time"), Timestamp::now());
            assert_about(timestamp(&world.trouble("keyless").await["failing_since"]), Timestamp::now());
        }
    }

    async fn a_minute_is_no_word_worth(world) {
        world.user("ana").await;
        let Some(run) = pulse_at(&world, "+40s", &[]).await else { return };
        run.assert_completed("1 successful, 0 errors", 0);
        assert!(!run.stdout.contains("The clock of this machine"), "{}", run.stdout);
        assert_eq!(world.document("ops/last_pulse").await["status"], json!("ok"));
    }
}
