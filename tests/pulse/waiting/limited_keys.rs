//! Users whose keys Alpaca limits: they wait for as long as it says, and nobody waits with them.

use super::{
    FAILED, ONE_AT_A_TIME, SHARED, SYNCED, accounts_asked_for, line_of, names, place_of, share_keys,
    users_with,
};
use crate::crowd::turn_of_a_crowd;
use crate::world::{World, keys_of, sandbox};
use serde_json::json;

/// Always: the wait is as long again when it is over.
const ALWAYS_LIMITED: &str =
    "alpaca:error=429,header=Retry-After: 14,header=X-RateLimit-Limit: 200,user=pasted";

/// Everybody of the same keys failed for them, and the log has no word of what they are.
#[track_caller]
fn assert_limited(world: &World, run: &crate::world::Run, users: &[String]) {
    let mut failed = users_with(run, FAILED);
    failed.sort();
    assert_eq!(failed, users);
    for entry in run.entries().iter().filter(|entry| entry["error"].is_string()) {
        assert_eq!(entry["error"], json!("broker_rate_limited"), "{entry}");
    }
    for secret in [keys_of(SHARED).0, keys_of(SHARED).1] {
        assert!(!run.stdout.contains(&secret) && !run.stderr.contains(&secret));
    }
    assert_eq!(world.sandbox.faults().rules().len(), 1);
}

/// As many as were seen: they come first, and would take every slot for a quarter of a minute, five times over.
#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_users_of_one_limited_key_pair_keep_none_of_a_thousand_waiting() {
    let _turn = turn_of_a_crowd().await;
    let world = sandbox().await;
    let (limited, healthy) = (names("limited", 300), names("user", 1000));
    world.users(&limited).await;
    world.users(&healthy).await;
    share_keys(&world, &limited);
    world.fault(ALWAYS_LIMITED);
    let run = world.pulse().await;
    run.assert_completed("1000 successful, 300 errors", 0);
    assert_limited(&world, &run, &limited);
    assert!(world.faults_applied()[0] <= 30, "calls with these keys: {:?}", world.faults_applied());
    let last_synced = run.stdout.lines().filter(|line| line.contains(SYNCED)).count();
    assert_eq!(last_synced, healthy.len());
    let entries = run.entries();
    let is_synced =
        |entry: &serde_json::Value| entry["message"].as_str().is_some_and(|text| text.starts_with(SYNCED));
    let last = entries.iter().rposition(is_synced);
    assert!(
        last < Some(line_of(&run, FAILED)),
        "all healthy users are synced before the first limited one is over"
    );
    assert_eq!(world.document("ops/last_pulse").await["success_count"], json!({"integer": 1000}));
    for user in [&healthy[0], &healthy[999]] {
        assert!(world.snapshot(user).await.is_object(), "{user}");
    }
}

/// They are more than slots, and each of them would hold one for most of the pass.
#[tokio::test(flavor = "multi_thread")]
async fn before_a_deadline_those_who_need_not_wait_are_reached() {
    let world = sandbox().await;
    let (limited, healthy) = (names("limited", 8), names("user", 20));
    world.users(&limited).await;
    world.users(&healthy).await;
    share_keys(&world, &limited);
    world.fault(ALWAYS_LIMITED);
    let run = world.pulse_with(&["--concurrency", "2", "--deadline", "22s"]).await;
    run.assert_completed("20 successful, 8 errors", 0);
    let mut synced = users_with(&run, SYNCED);
    synced.sort();
    assert_eq!(synced, healthy, "{}", run.stdout);
    for user in &healthy {
        assert!(world.snapshot(user).await.is_object(), "{user}");
    }
    assert!(run.entries().iter().all(|entry| entry["not_reached"].is_null()), "{}", run.stdout);
}

/// Two at once at first, and one after the wait. Each user for themselves would ask twice.
#[tokio::test(flavor = "multi_thread")]
async fn one_429_counts_for_all_users_of_the_keys_and_for_no_others() {
    let world = sandbox().await;
    let (limited, healthy) = (names("limited", 12), names("user", 3));
    world.users(&limited).await;
    world.users(&healthy).await;
    share_keys(&world, &limited);
    world.fault(ALWAYS_LIMITED);
    let run = world.pulse_with(&["--concurrency", "2"]).await;
    run.assert_completed("3 successful, 12 errors", 0);
    assert_limited(&world, &run, &limited);
    assert!((2..=3).contains(&world.faults_applied()[0]), "{:?}", world.faults_applied());
    let asked = accounts_asked_for(&world);
    let second_round = asked.iter().rposition(|user| user == SHARED);
    for user in &healthy {
        assert!(Some(place_of(&asked, user, 1)) < second_round, "{asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_wait_is_over_everybody_of_the_keys_is_served() {
    let world = sandbox().await;
    let (limited, healthy) = (names("limited", 6), names("user", 3));
    world.users(&limited).await;
    world.users(&healthy).await;
    share_keys(&world, &limited);
    world.fault("alpaca:error=429,header=Retry-After: 6,user=pasted,times=1");
    let run = world.pulse_with(&ONE_AT_A_TIME).await;
    run.assert_completed("9 successful, 0 errors", 0);
    let asked = accounts_asked_for(&world);
    assert_eq!(asked.len(), limited.len() + healthy.len() + 1, "{asked:?}");
    let expected = [&[SHARED.to_owned()], &healthy[..], &vec![SHARED.to_owned(); limited.len()]].concat();
    assert_eq!(asked, expected);
    for user in limited.iter().chain(&healthy) {
        assert!(world.snapshot(user).await.is_object(), "{user}");
        assert_eq!(world.trouble(user).await, json!(null), "{user}");
    }
}

/// A server's wait, one's own backing off, and a budget that is used up.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_lets_the_next_one_work() {
    let cases: [(&str, &[&str]); 4] = [
        ("alpaca:error=429,header=Retry-After: 4,times=1,user=user-0001", &[]),
        ("alpaca:error=503,header=Retry-After: 4,times=1,user=user-0001", &[]),
        ("secret-manager:error=503,header=Retry-After: 4,times=1,user=user-0001", &[]),
        ("alpaca:error=503,times=2,user=user-0001", &["--alpaca-calls-per-second", "1"]),
    ];
    futures::future::join_all(cases.map(|(fault, args)| async move {
        let world = sandbox().await;
        let ids = world.crowd(3);
        world.fault(fault);
        let run = world.pulse_with(&[&ONE_AT_A_TIME, args].concat()).await;
        run.assert_completed("3 successful, 0 errors", 0);
        let asked = accounts_asked_for(&world);
        let waited_for = asked.iter().rposition(|user| *user == ids[0]);
        assert!(Some(place_of(&asked, &ids[1], 1)) < waited_for, "{fault}: {asked:?}");
        let synced = users_with(&run, SYNCED);
        assert_ne!(synced[0], ids[0], "{fault}");
        assert_eq!(world.trouble(&ids[0]).await, json!(null), "{fault}");
    }))
    .await;
}

/// It is not known yet whose the tenant is, and little of the user's time is left to ask.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_waited_for_long_gets_all_documents() {
    let world = sandbox().await;
    let ids = world.crowd(1);
    world.fault("alpaca:error=429,header=Retry-After: 13,times=1");
    let run = world.pulse().await;
    run.assert_completed("1 successful, 0 errors", 0);
    let warned = |entry: &serde_json::Value| entry["severity"] == "WARNING";
    assert!(!run.entries().iter().any(warned), "{}", run.stdout);
    assert!(world.snapshot(&ids[0]).await.is_object());
    assert!(world.primary(&ids[0]).await.is_object());
}

/// Alpaca says nothing of how long, or of no time at all: one second, then, for all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_429_without_a_wait_counts_for_all_users_of_the_keys_as_well() {
    for hint in ["", ",header=Retry-After: 0", ",header=X-RateLimit-Reset: 1000000000"] {
        let world = sandbox().await;
        let limited = names("limited", 12);
        world.users(&limited).await;
        share_keys(&world, &limited);
        world.fault(&format!("alpaca:error=429{hint},user=pasted"));
        let run = world.pulse_with(&["--concurrency", "2"]).await;
        run.assert_completed("0 successful, 12 errors", 1);
        assert_limited(&world, &run, &limited);
        assert!(world.faults_applied()[0] < 2 * limited.len() as u64, "{hint}: {:?}", world.faults_applied());
    }
}

/// They take turns, as nobody knows yet whether the keys are limited. That is no limit of Alpaca's.
#[tokio::test(flavor = "multi_thread")]
async fn users_of_the_same_keys_are_told_of_no_limit_that_there_is_not() {
    let world = sandbox().await;
    let users = names("user", 60);
    world.users(&users).await;
    share_keys(&world, &users);
    world.fault("alpaca:latency=2s,user=pasted");
    let run = world.pulse().await;
    run.assert_completed("60 successful, 0 errors", 0);
    assert!(!run.stdout.contains("limits the rate"), "{}", run.stdout);
    assert_eq!(accounts_asked_for(&world).len(), 60);
}

/// After such a wait there would be no time left for the call.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_does_not_fit_into_the_users_time_is_not_begun_by_anybody_of_the_keys() {
    let world = sandbox().await;
    let limited = names("limited", 5);
    world.users(&limited).await;
    share_keys(&world, &limited);
    world.fault("alpaca:error=429,header=Retry-After: 16,user=pasted");
    let run = world.pulse_with(&ONE_AT_A_TIME).await;
    run.assert_completed("0 successful, 5 errors", 1);
    assert_limited(&world, &run, &limited);
    assert_eq!(world.faults_applied(), [1], "the others know it from the first");
    let told = run.entry(&format!("{FAILED}{}: ", limited[4]))["message"].to_string();
    assert!(
        told.contains("Alpaca was not asked") && told.contains("limits the rate of these keys"),
        "{told}"
    );
}
