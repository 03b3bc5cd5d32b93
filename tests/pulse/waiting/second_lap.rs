//! Passing failures have one attempt more, when all others had their turn.

use super::{FAILED, ONE_AT_A_TIME, SYNCED, accounts_asked_for, place_of, users_with};
use crate::crowd::turn_of_a_crowd;
use crate::live::{Live, wait_until};
use crate::world::{Run, World, sandbox};
use pulse_sandbox::call::Service;
use serde_json::json;
use tokio::process::Command;

const SYNCING: &str = "Syncing Alpaca account for user ";

/// All attempts of the first lap fit into a moment.
#[tokio::test(flavor = "multi_thread")]
async fn who_fails_for_a_moment_is_synced_after_all_others() {
    for fault in [
        "alpaca:error=502,times=3",
        "alpaca:drop-before,times=3",
        "alpaca:error=403,body=<html>Access denied</html>,times=3",
        "secret-manager:error=503,times=3",
        "secret-manager:drop-before,times=3",
        "firestore/Commit:error=UNAVAILABLE,times=3",
    ] {
        let world = sandbox().await;
        let ids = world.crowd(10);
        world.fault(&format!("{fault},user={}", ids[0]));
        let run = world.pulse_with(&["--concurrency", "2"]).await;
        run.assert_completed("10 successful, 0 errors", 0);
        assert_eq!(world.faults_applied(), [3], "{fault}");
        assert_eq!(users_with(&run, SYNCED).last(), Some(&ids[0]), "{fault}");
        assert_eq!(users_with(&run, SYNCING).len(), 10, "one line for both turns: {fault}");
        assert!(run.entries().iter().all(|entry| entry["severity"] != "ERROR"), "{fault}: {}", run.stdout);
        assert!(world.snapshot(&ids[0]).await.is_object(), "{fault}");
        assert!(world.primary(&ids[0]).await.is_object(), "{fault}");
        assert_eq!(
            world.trouble(&ids[0]).await,
            json!(null),
            "nothing is recorded of the first lap: {fault}"
        );
        let last_pulse = world.document("ops/last_pulse").await;
        for (count, number) in [("users_count", 10), ("success_count", 10), ("error_count", 0)] {
            assert_eq!(last_pulse[count], json!({"integer": number}), "{fault}: {count}");
        }
        assert_eq!(last_pulse["status"], "ok", "{fault}");
    }
}

/// It begins while users are in flight, and ends before they would be asked for the fourth time.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_a_moment_in_the_middle_of_a_pass_costs_nobody_their_minute() {
    let _turn = turn_of_a_crowd().await;
    let world = sandbox().await;
    let ids = world.crowd(250);
    world.fault("alpaca:latency=10ms");
    let mut running = Live::start(world.command(&["--concurrency", "8"]));
    running.until(SYNCED, 50).await;
    world.fault("alpaca:error=502");
    wait_until(|| world.faults_applied()[1] >= 120).await;
    world.sandbox.faults().clear();
    let run = running.end().await;
    run.assert_completed("250 successful, 0 errors", 0);
    assert!(users_with(&run, FAILED).is_empty());
    for user in &ids {
        assert!(world.has(&format!("users/{user}/alpacaAccounts/snapshot")), "{user}");
        assert!(!world.has(&format!("users/{user}/alpacaAccounts/sync")), "{user}");
    }
}

/// Nothing but the calls for one user was made for so long that Secret Manager counts as one that answers nobody, when
/// the other turns begin: more users than may wait come before the answer to the first of them.
#[tokio::test(flavor = "multi_thread")]
async fn one_whose_secret_never_answers_costs_those_who_come_back_from_an_outage_nothing() {
    let world = sandbox().await;
    let ids = world.crowd(50);
    world.user("zoe").await;
    world.fault("secret-manager:stall,user=zoe");
    world.fault("secret-manager:error=503,for=3s");
    let running = Live::start(world.command(&["--concurrency", "2"]));
    wait_until(|| world.secret_accesses("zoe") == 3).await;
    world.fault("secret-manager:latency=300ms");
    let run = running.end().await;
    run.assert_completed("50 successful, 1 errors", 0);
    assert_eq!(run.error_of("zoe").as_deref(), Some("keys_unavailable"));
    for user in &ids {
        assert_eq!(world.trouble(user).await, json!(null), "{user}");
    }
}

/// Nobody has a third turn, and one attempt is one.
#[tokio::test(flavor = "multi_thread")]
async fn the_other_turn_is_one_attempt_and_the_last_of_all() {
    let world = sandbox().await;
    let ids = world.crowd(10);
    world.fault(&format!("alpaca:error=502,user={}", ids[0]));
    let run = world.pulse_with(&["--concurrency", "1"]).await;
    run.assert_completed("9 successful, 1 errors", 0);
    let asked = accounts_asked_for(&world);
    assert_eq!(asked.len(), 9 + 4);
    assert_eq!(place_of(&asked, &ids[0], 4), 12, "{asked:?}");
    let entry = run.entry(&format!("{FAILED}{}: ", ids[0]));
    assert_eq!((&entry["error"], &entry["severity"]), (&json!("broker_unavailable"), &json!("ERROR")));
    let trouble = world.trouble(&ids[0]).await;
    assert_eq!((&trouble["state"], &trouble["error"]), (&json!("retrying"), &json!("broker_unavailable")));
    let last_pulse = world.document("ops/last_pulse").await;
    assert_eq!(
        (&last_pulse["error_count"], &last_pulse["users_count"]),
        (&json!({"integer": 1}), &json!({"integer": 10}))
    );
}

/// What another failure says in the other turn is what counts, of whichever kind.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_other_turn_ends_with_counts() {
    let world = sandbox().await;
    for (user, fault) in [
        ("missing", "secret-manager:error=503,times=3"),
        ("rejected", "alpaca:error=502,times=3"),
        ("limited", "alpaca:error=502,times=3"),
    ] {
        world.user(user).await;
        world.fault(&format!("{fault},user={user}"));
    }
    world.sandbox.secrets().delete(&crate::world::secret_of("missing"));
    world.fault(r#"alpaca:error=401,body={"code": 40110000},user=rejected,skip=3"#);
    world.fault("alpaca:error=429,user=limited,skip=3");
    let run = world.pulse().await;
    run.assert_completed("0 successful, 3 errors", 1);
    for (user, code, calls) in [
        ("missing", "keys_missing", 0),
        ("rejected", "broker_rejected", 4),
        ("limited", "broker_rate_limited", 4),
    ] {
        assert_eq!(run.error_of(user).as_deref(), Some(code), "{user}");
        assert_eq!(world.trouble(user).await["error"], code, "{user}");
        assert_eq!(world.account_calls(user), calls, "{user}");
    }
    assert_eq!(world.trouble("rejected").await["rejections"], json!({"integer": 1}));
}

/// Nor of those who wait in the first one: whoever is given up with them comes first the next time.
#[tokio::test(flavor = "multi_thread")]
async fn who_still_waits_when_an_execution_is_stopped_comes_first_in_the_next() {
    let world = sandbox().await;
    let ids = world.crowd(6);
    world.fault(&format!("alpaca:error=503,header=Retry-After: 14,times=1,user={}", ids[3]));
    let mut running = Live::start(task(&world, "pulse-a", "0"));
    running.until(SYNCED, 5).await;
    running.signal("TERM");
    let run = running.end().await;
    assert_eq!(run.exit, Some(143), "{}", run.stdout);
    run.entry("Stopped multi-tenant sync: 5 successful, 0 errors; what was in flight is given up");
    let asked = accounts_asked_for(&world).len();
    let next = Run::of(&mut task(&world, "pulse-b", "0")).await;
    next.assert_completed("6 successful, 0 errors", 0);
    assert_eq!(accounts_asked_for(&world)[asked..], [&ids[3..], &ids[..3]].concat());
}

/// The first and only task of an execution, which has one user at work at a time.
fn task(world: &World, execution: &str, attempt: &str) -> Command {
    let mut command = world.command(&ONE_AT_A_TIME);
    command.envs([
        ("CLOUD_RUN_EXECUTION", execution),
        ("CLOUD_RUN_TASK_INDEX", "0"),
        ("CLOUD_RUN_TASK_COUNT", "1"),
        ("CLOUD_RUN_TASK_ATTEMPT", attempt),
    ]);
    command
}

/// A pass whose last user is in the other turn, and is told to stop then.
async fn stopped_in_the_other_turn(world: &World, ids: &[String]) -> Run {
    world.fault(&format!("alpaca:error=502,times=3,user={}", ids[0]));
    world.fault(&format!("alpaca:stall,skip=3,user={}", ids[0]));
    let running = Live::start(task(world, "pulse-a", "0"));
    wait_until(|| world.faults_applied()[1] == 1).await;
    running.signal("TERM");
    running.end().await
}

/// A retry would only ask again about whoever the pass knows to fail.
#[tokio::test(flavor = "multi_thread")]
async fn the_cursor_does_not_wait_for_the_other_turns() {
    let world = sandbox().await;
    let ids = world.crowd(4);
    let run = stopped_in_the_other_turn(&world, &ids).await;
    assert_eq!(run.exit, Some(143), "{}", run.stdout);
    assert_eq!(
        run.error_of(&ids[0]).as_deref(),
        Some("broker_unavailable"),
        "what the first turn ended with"
    );
    assert_eq!(users_with(&run, SYNCED).len(), 3);
    let saved = world.document("ops/last_pulse/executions/pulse-a").await["tasks"]["task_0"].clone();
    assert_eq!(saved["cursor"], json!(ids[3]), "{saved}");
    world.sandbox.faults().clear();
    let asked = world.calls(Service::Alpaca, "GetAccount");
    let retry = Run::of(&mut task(&world, "pulse-a", "1")).await;
    assert_eq!(world.calls(Service::Alpaca, "GetAccount"), asked, "{}", retry.stdout);
    assert_eq!(world.document("ops/last_pulse").await["users_count"], json!({"integer": 4}));
}
