//! Users whose secret is known to have had no keys have their turn when all others had theirs.

use super::{ONE_AT_A_TIME, calls_for, names};
use crate::held_alpaca::HeldAlpaca;
use crate::live::Live;
use crate::world::{World, sandbox};
use alpaca_pulse::firestore::values::{integer, text, timestamp as time};
use gcloud_sdk::google::firestore::v1::Value;
use jiff::{Timestamp, ToSpan};
use pulse_sandbox::alpaca::Profile;
use pulse_sandbox::call::Service;
use serde_json::json;

/// Users who signed up some minutes ago, and had no keys in the last pulse. Their ids come before all others.
async fn keyless(world: &World, count: usize) -> Vec<String> {
    let (users, since) = (names("a-newcomer", count), Timestamp::now() - 10.minutes());
    for user in &users {
        let fields: [(&str, Value); 6] = [
            ("state", text("retrying")),
            ("error", text("keys_missing")),
            ("since", time(since)),
            ("failing_since", time(since)),
            ("rejections", integer(0)),
            ("updated_at", time(since)),
        ];
        world.put(&format!("users/{user}"), []).await;
        world.put(&format!("users/{user}/alpacaAccounts/sync"), fields).await;
    }
    world.put("ops/last_pulse", [("started_at", time(Timestamp::now() - 1.minute()))]).await;
    users
}

fn secrets_read(world: &World) -> Vec<String> {
    calls_for(world, Service::SecretManager, "AccessSecretVersion")
}

/// One of them has stored keys by now, and is synced.
#[tokio::test(flavor = "multi_thread")]
async fn who_had_no_keys_is_looked_at_when_all_others_had_their_turn() {
    let world = sandbox().await;
    let newcomers = keyless(&world, 4).await;
    world.connect(&newcomers[1], Profile::active());
    let healthy = names("user", 4);
    world.users(&healthy).await;
    let run = world.pulse_with(&ONE_AT_A_TIME).await;
    run.assert_completed("5 successful, 3 errors", 0);
    assert_eq!(secrets_read(&world), [&healthy[..], &newcomers].concat(), "each once");
    assert!(world.snapshot(&newcomers[1]).await.is_object());
    assert_eq!(world.trouble(&newcomers[1]).await["state"], "ok");
    assert_eq!(run.error_of(&newcomers[0]).as_deref(), Some("keys_missing"));
}

/// A person's question is answered in the order in which it was asked.
#[tokio::test(flavor = "multi_thread")]
async fn named_users_have_their_turn_as_named() {
    let world = sandbox().await;
    let newcomers = keyless(&world, 1).await;
    world.user("zoe").await;
    world.pulse_with(&["--concurrency", "1", "--user", &format!("{},zoe", newcomers[0])]).await;
    assert_eq!(secrets_read(&world), [&newcomers[0], "zoe"]);
}

/// They are passed, and say so; their secrets are not looked at, and nothing is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_before_their_turn_leaves_them_as_they_are() {
    let world = sandbox().await;
    let newcomers = keyless(&world, 2).await;
    world.user("zoe").await;
    let before = [world.trouble(&newcomers[0]).await, world.trouble(&newcomers[1]).await];
    let alpaca = HeldAlpaca::start().await;
    let mut running = Live::start(alpaca.command(&world, &[]));
    alpaca.arrived(1).await;
    running.signal("TERM");
    running.until("Told to stop", 1).await;
    alpaca.let_go(1);
    let run = running.end().await;
    assert_eq!(run.exit, Some(143), "{}", run.stdout);
    for user in &newcomers {
        let entry = run.entry(&format!("Skipped Alpaca account for user {user}: "));
        assert_eq!(entry["severity"], "INFO");
    }
    assert_eq!(secrets_read(&world), ["zoe"]);
    assert_eq!([world.trouble(&newcomers[0]).await, world.trouble(&newcomers[1]).await], before);
    let last_pulse = world.document("ops/last_pulse").await;
    assert_eq!(
        (&last_pulse["skipped_count"], &last_pulse["error_count"]),
        (&json!({"integer": 2}), &json!({"integer": 0}))
    );
}
