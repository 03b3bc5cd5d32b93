//! `--deadline`: nobody is started when it nears, and the pass says whom it did not reach.

use crate::held_alpaca::HeldAlpaca;
use crate::live::Live;
use crate::on_both;
use crate::world::{Run, World, sandbox};
use pulse_sandbox::call::Service;
use serde_json::{Value as Json, json};

const NEAR: &str = "The deadline is near: starting no new user, finishing what is in flight";
const USERS: [&str; 6] = ["ana", "ben", "cy", "dan", "eve", "fay"];

/// Long enough for the first users to be in flight when half of it is over.
const DEADLINE: &str = "10s";

/// A pass over six users that reaches two of them before its deadline nears.
async fn cut_short(world: &World, args: &[&str]) -> (Run, usize) {
    let alpaca = HeldAlpaca::start().await;
    for user in USERS {
        world.user(user).await;
    }
    let args = [&["--secret-accesses-per-minute", "2", "--deadline", DEADLINE], args].concat();
    let mut running = Live::start(alpaca.command(world, &args));
    alpaca.arrived(2).await;
    running.until(NEAR, 1).await;
    alpaca.let_go(USERS.len());
    (running.end().await, alpaca.count())
}

on_both! {
    async fn when_it_nears_nobody_is_started_and_the_rest_is_reported(world) {
        let (run, asked) = cut_short(&world, &[]).await;
        let last = run.entry("Stopped multi-tenant sync");
        assert_eq!(
            last["message"],
            "Stopped multi-tenant sync: 2 successful, 0 errors; 4 users were not reached before the deadline"
        );
        assert_eq!((&last["severity"], &last["not_reached"]), (&json!("WARNING"), &json!(4)));
        assert_eq!((run.exit, asked), (Some(1), 2), "{}", run.stdout);
        let last_pulse = world.document("ops/last_pulse").await;
        assert_eq!((&last_pulse["status"], &last_pulse["users_count"]), (&json!("failed"), &json!({"integer": 2})));
        assert_eq!(last_pulse["unreached_count"], json!({"integer": 4}));
        for user in &USERS[2..] {
            assert_eq!(world.snapshot(user).await, Json::Null);
        }
    }

    async fn named_users_who_are_not_reached_are_counted_as_well(world) {
        let (run, asked) = cut_short(&world, &["--user", "ana,ben,cy,dan,eve"]).await;
        assert_eq!(run.entry("Stopped multi-tenant sync")["not_reached"], 3, "{}", run.stdout);
        assert_eq!((run.exit, asked), (Some(1), 2));
    }

    async fn a_pass_that_ends_before_its_deadline_is_as_any_other(world) {
        world.user("ana").await;
        for env in [&[][..], &[("PULSE_DEADLINE", "1h")]] {
            let run = world.pulse_with_in(&["--deadline", "30m"], env).await;
            run.assert_completed("1 successful, 0 errors", 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_variable_does_the_same() {
    let world = sandbox().await;
    world.user("ana").await;
    world.fault("firestore/RunQuery:stall");
    let run = world.pulse_in(&[("PULSE_DEADLINE", "2s")]).await;
    assert_eq!(run.exit, Some(1), "{}", run.stdout);
    run.entry("Stopped multi-tenant sync: 0 successful, 0 errors; 1 users were not reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_who_cannot_be_counted_are_the_others() {
    let world = sandbox().await;
    world.fault("firestore/RunAggregationQuery:error=PERMISSION_DENIED");
    let (run, _) = cut_short(&world, &[]).await;
    let last = run.entry("Stopped multi-tenant sync");
    assert_eq!(
        last["message"],
        "Stopped multi-tenant sync: 2 successful, 0 errors; the other users were not reached before the deadline"
    );
    assert_eq!((run.exit, last.get("not_reached")), (Some(1), None));
    run.entry("Could not count the users who were not reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_stalls_does_not_hold_the_end_up() {
    let world = sandbox().await;
    world.fault("firestore/RunAggregationQuery:stall");
    let (run, _) = cut_short(&world, &[]).await;
    assert_eq!(run.exit, Some(1), "{}", run.stdout);
    run.entry("Stopped multi-tenant sync: 2 successful, 0 errors; the other users were not reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_while_the_pass_is_being_set_up_is_heeded() {
    let world = sandbox().await;
    world.user("ana").await;
    world.fault("firestore/BatchGetDocuments:stall");
    let run = world.pulse_with(&["--deadline", "2s"]).await;
    assert_eq!(run.exit, Some(1), "{}", run.stdout);
    run.entry("Stopped multi-tenant sync: 0 successful, 0 errors; the other users were not reached");
    assert_eq!(world.calls(Service::SecretManager, "AccessSecretVersion"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_flight_for_too_long_is_given_up_and_counts_as_not_reached() {
    let world = sandbox().await;
    world.user("ana").await;
    world.user("ben").await;
    world.fault("firestore/Commit:stall,user=ana");
    let run = world.pulse_with(&["--deadline", DEADLINE, "--secret-accesses-per-minute", "1"]).await;
    assert_eq!(run.exit, Some(1), "{}", run.stdout);
    let last = run.entry("Stopped multi-tenant sync");
    assert_eq!(
        last["message"],
        "Stopped multi-tenant sync: 0 successful, 0 errors; 2 users were not reached before the deadline, 1 of \
         them given up in flight"
    );
    let last_pulse = world.document("ops/last_pulse").await;
    let counts = ["success_count", "error_count", "skipped_count", "unreached_count"];
    let counts = counts.map(|count| last_pulse[count]["integer"].as_i64().expect("a number"));
    assert_eq!((counts, &last["unreached_count"]), ([0, 0, 0, 2], &json!(2)), "all users that there are");
    let status = Run::of(&mut world.bare_command(&["status"])).await.stdout;
    assert!(status.contains("2: 0 synced, 2 not reached"), "{status}");
}

/// The last users are in flight: nothing is left undone.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_after_the_last_start_leaves_nobody_out() {
    let world = sandbox().await;
    let alpaca = HeldAlpaca::start().await;
    world.crowd(2);
    let args = ["--concurrency", "2", "--deadline", DEADLINE];
    let mut running = Live::start(alpaca.command(&world, &args));
    alpaca.arrived(2).await;
    running.until(NEAR, 1).await;
    alpaca.let_go(2);
    running.end().await.assert_completed("2 successful, 0 errors", 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_after_the_deadline_has_the_exit_code() {
    let world = sandbox().await;
    let alpaca = HeldAlpaca::start().await;
    world.crowd(3);
    let mut running =
        Live::start(alpaca.command(&world, &["--secret-accesses-per-minute", "1", "--deadline", DEADLINE]));
    alpaca.arrived(1).await;
    running.until(NEAR, 1).await;
    running.signal("TERM");
    running.until("Told to stop", 1).await;
    alpaca.let_go(1);
    let run = running.end().await;
    assert_eq!(run.exit, Some(143), "{}", run.stdout);
    assert_eq!(run.entry("Stopped multi-tenant sync")["not_reached"], 2);
}
