//! What the settings of a loop spare, and what they promise all the same: kept keys, readers of `fresh_until`.

use crate::answers::money;
use crate::command_line::assert_refused;
use crate::live::Live;
use crate::world::{Run, World, sandbox, timestamp};
use alpaca_pulse::firestore::values::timestamp as point;
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::Keys;
use serde_json::{Value as Json, json};

const COMPLETED: &str = "Completed multi-tenant sync: ";

/// So often that a test does not wait for long; the tests say when it is enough.
fn looping(world: &World, args: &[&str]) -> Live {
    Live::start(world.command(&[&["--every", "1s", "--for", "1h"], args].concat()))
}

async fn stopped(running: Live) -> Run {
    running.signal("TERM");
    let run = running.end().await;
    assert_eq!(run.exit, Some(143), "{}", run.stdout);
    run
}

/// Stores other keys of a user, while those of before go on working. They open another sum.
fn rotate(world: &World, user: &str, equity: &str) {
    let keys = Keys { key_id: format!("PKNEW{user}"), secret_key: "hush-new".into() };
    let payload = json!({"key_id": keys.key_id, "secret_key": keys.secret_key}).to_string();
    world.sandbox.alpaca().register(user, keys, money(equity));
    world.store_payload(user, &payload);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_are_used_at_the_next_pulse_when_the_users_document_tells_of_them() {
    let world = sandbox().await;
    world.user("ana").await;
    let long_ago = Timestamp::now() - SignedDuration::from_hours(1);
    world.patch("users/ana", [("keys_updated_at", point(long_ago))]).await;
    let mut running = looping(&world, &[]);
    running.until(COMPLETED, 3).await;
    assert_eq!(world.secret_accesses("ana"), 1, "they are kept");
    rotate(&world, "ana", "7.00");
    world.patch("users/ana", [("keys_updated_at", point(Timestamp::now()))]).await;
    // One that is under way may have read the document already.
    running.until(COMPLETED, 2).await;
    let snapshot = world.snapshot("ana").await;
    assert_eq!((&snapshot["key_version"], &snapshot["equity"]), (&json!("2"), &json!(7.0)));
    let run = stopped(running).await;
    assert_eq!(run.error_of("ana"), None);
}

/// When the snapshot is no longer promised to stand, and how long that is after Alpaca's answer.
fn promise(document: &Json) -> (Timestamp, SignedDuration) {
    let answered = document["updated_at_iso"].as_str().expect("a text").parse().expect("a point in time");
    let until = timestamp(&document["fresh_until"]);
    (until, until.duration_since(answered))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_snapshot_is_promised_to_stand_until_it_is_rewritten_and_a_mover_is_written_at_once() {
    let world = sandbox().await;
    world.user("ana").await;
    world.account("ana", money("1.00"));
    let mut running = looping(&world, &["--readers", "fresh-until", "--refresh-unchanged", "15m"]);
    running.until(COMPLETED, 3).await;
    assert_eq!(world.snapshot_commits("ana"), 1);
    let promised = SignedDuration::from_secs(900 + 1 + 60);
    let (until, stands_for) = promise(&world.snapshot("ana").await);
    assert_eq!((stands_for, promise(&world.primary("ana").await).1), (promised, promised));
    world.account("ana", money("2.00"));
    running.until(COMPLETED, 2).await;
    let moved = world.snapshot("ana").await;
    let (later, stands_for) = promise(&moved);
    assert!(moved["equity"] == 2.0 && later > until && stands_for == promised, "{moved}");
    stopped(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pass_by_hand_promises_is_promised_anew_by_the_next_pulses() {
    let world = sandbox().await;
    world.user("ana").await;
    world.account("ana", money("1.00"));
    let mut running = looping(&world, &["--readers", "fresh-until", "--refresh-unchanged", "15m"]);
    running.until(COMPLETED, 1).await;
    // One that meets a pulse leaves.
    while !world.pulse().await.stdout.contains(COMPLETED) {}
    // Those that are in the log by now may have been before it.
    while promise(&world.snapshot("ana").await).1 == SignedDuration::from_secs(300) {
        running.until(COMPLETED, 1).await;
        assert!(running.log().matches(COMPLETED).count() < 100, "nobody is written anew");
    }
    let commits = world.snapshot_commits("ana");
    running.until(COMPLETED, 2).await;
    stopped(running).await;
    assert_eq!(world.snapshot_commits("ana"), commits, "and then they rest again");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_readers_of_fresh_until_nothing_stands_for_longer_than_300_s() {
    let world = sandbox().await;
    world.user("ana").await;
    let five_minutes = SignedDuration::from_mins(5);
    for args in [
        &["--every", "1s", "--for", "1s"][..],
        // Alone, a pass knows of none that follows it.
        &["--readers", "fresh-until", "--refresh-unchanged", "15m"],
    ] {
        world.pulse_with(args).await.assert_completed("1 successful, 0 errors", 0);
        for document in [world.snapshot("ana").await, world.primary("ana").await] {
            assert_eq!(promise(&document).1, five_minutes, "{args:?}");
        }
    }
    let run = world.pulse_with(&["--every", "60s", "--for", "1h", "--refresh-unchanged", "15m"]).await;
    assert_eq!(run.exit, Some(2));
    assert!(run.stdout.contains("set --readers fresh-until"), "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_readers_of_fresh_until_take_is_refused() {
    let world = sandbox().await;
    let run = world.pulse_in(&[
        ("PULSE_EVERY", "60s"),
        ("PULSE_FOR", "1h"),
        ("PULSE_READERS", "fresh-until"),
        ("PULSE_REFRESH_UNCHANGED", "16m"),
    ]);
    let run = run.await;
    assert_refused(&world, &run);
    assert!(run.stdout.contains("--refresh-unchanged must be 15m at most"), "{}", run.stdout);
}
