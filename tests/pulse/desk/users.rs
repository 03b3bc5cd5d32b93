//! `pulse users`: who is listed, and what is said of them.

use super::TEN_MINUTES;
use crate::world::{World, off, sandbox, secret_of};
use alpaca_pulse::firestore::values::text;
use pulse_sandbox::alpaca::Profile;
use serde_json::{Value as Json, json};

async fn listed(world: &World, args: &[&str]) -> Vec<String> {
    let (object, exit) = world.look(&[&["users"], args].concat()).await;
    assert_eq!(exit, Some(0));
    let users = object["users"].as_array().expect("a list");
    assert_eq!(object["users_count"], users.len());
    users.iter().map(|user| user["user_id"].as_str().expect("an id").to_owned()).collect()
}

/// ana is well, ben has no keys, cy is rejected, dan is paused, eve's account is not open; all but ben synced once.
async fn some(world: &World) {
    for user in ["ana", "cy", "dan"] {
        world.user(user).await;
    }
    world.user_of_tenant("eve", text("acme")).await;
    world.pulse().await;
    world.user("ben").await;
    world.sandbox.secrets().delete(&secret_of("ben"));
    world.account("cy", Profile::Revoked);
    world.patch("users/dan", [("sync_enabled", off())]).await;
    world.account("eve", Profile::onboarding());
    for _ in 0..2 {
        world.pulse().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_found_by_state_by_error_and_by_how_long_they_fail() {
    let world = sandbox().await;
    some(&world).await;
    for (args, expected) in [
        (&[][..], &["ben", "cy", "eve"][..]),
        (&["--all"], &["ana", "ben", "cy", "dan", "eve"]),
        (&["--state=needs_reauth"], &["cy"]),
        (&["--state=incomplete"], &["eve"]),
        (&["--state=retrying"], &["ben"]),
        (&["--state=ok"], &["ana"]),
        (&["--state=paused"], &["dan"]),
        (&["--error=keys_missing"], &["ben"]),
        (&["--error=internal"], &[]),
        (&["--failing-for=5m"], &[]),
        (&["--failing-for=0s"], &["ben", "cy", "eve"]),
        (&["--state=incomplete", "--error=keys_missing"], &[]),
    ] {
        assert_eq!(listed(&world, args).await, expected, "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_says_all_that_is_known() {
    let world = sandbox().await;
    some(&world).await;
    world.age_snapshot("eve", TEN_MINUTES).await;
    let (object, _) = world.look(&["users", "--state=incomplete"]).await;
    let mut eve = object["users"][0].clone();
    assert!(eve["age_s"].take().as_i64().is_some_and(|age| (600..700).contains(&age)));
    assert!(eve["failing_since"].take().is_string());
    let expected = json!({
        "user_id": "eve", "state": "incomplete", "error": "account_incomplete", "cause": "user", "failing_since": null,
        "next_attempt_at": null, "snapshot": "stale", "age_s": null, "environment": "paper", "tenant_id": "acme",
    });
    assert_eq!(eve, expected);
    let (object, _) = world.look(&["users", "--state=needs_reauth"]).await;
    assert!(object["users"][0]["next_attempt_at"].is_string());
    let told = world.told(&["users"]).await;
    let line = told.stdout.lines().find(|line| line.starts_with("eve")).expect("a line");
    let cells: Vec<_> = line.split_whitespace().collect();
    assert_eq!(
        cells,
        ["eve", "incomplete", "account_incomplete", "theirs", cells[4], "10m", "paper", "acme"]
    );
}

/// The record of somebody who was deleted is nobody's trouble.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_deleted_is_not_listed() {
    let world = sandbox().await;
    some(&world).await;
    world.delete("users/ben").await;
    assert_eq!(listed(&world, &[]).await, ["cy", "eve"]);
    assert_eq!(listed(&world, &["--all"]).await, ["ana", "cy", "dan", "eve"]);
}

/// More than one page of both, and a list that comes in parts is one object all the same.
#[tokio::test(flavor = "multi_thread")]
async fn many_users_are_one_list() {
    let world = sandbox().await;
    world.crowd(1203);
    world.fault("alpaca:error=503,share=0.5");
    world.pulse().await;
    let (object, _) = world.look(&["users", "--all"]).await;
    let users = object["users"].as_array().expect("a list");
    assert_eq!(users.len(), 1203);
    let failing = users.iter().filter(|user| user["state"] == "retrying").count();
    let alone = listed(&world, &[]).await;
    assert_eq!(alone.len(), failing);
    let of_all = users.iter().filter(|user| user["state"] == "retrying");
    let of_all: Vec<_> = of_all.map(|user: &Json| user["user_id"].as_str().expect("an id")).collect();
    assert_eq!(of_all, alone);
}
