//! What a pass takes from its machine: as much for many users as for few, and as much after many bad pulses as at the
//! first.

use super::names;
use crate::crowd::turn_of_a_crowd;
use crate::vitals::{Peak, watched_run};
use crate::world::{World, sandbox, secret_of, timestamp};
use alpaca_pulse::firestore::values::{integer, text, timestamp as time, whole_number};
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::Profile;
use pulse_sandbox::{Options, Sandbox};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// What a pass over that many users takes at most.
async fn peak_of_a_pass_over(users: u32) -> Peak {
    let sandbox =
        Sandbox::start(Options { users, ..Options::default() }).await.expect("loopback has a free port");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pulse"));
    command.arg("sync");
    command.env_clear().envs(sandbox.exports()).env("RUST_LOG", "warn").kill_on_drop(true);
    // Memory is of interest here, not Google's quota.
    command.env("PULSE_SECRET_ACCESSES_PER_MINUTE", "10000000");
    let (run, peak) = watched_run(&mut command).await;
    assert_eq!(run.exit, Some(0), "{}", run.stderr);
    assert_eq!(counts(&sandbox), [users.into(), users.into(), 0, 0]);
    println!("{users} users: {peak:?}");
    peak
}

/// What memory may differ by without being a matter of the number of users.
const TOLERANCE_KIB: u64 = 5 * 1024;

async fn assert_as_much_memory_for(many: u32, few: u32) {
    let _turn = turn_of_a_crowd().await;
    let few = peak_of_a_pass_over(few).await;
    let many = peak_of_a_pass_over(many).await;
    assert!(many.memory_kib <= few.memory_kib + TOLERANCE_KIB, "{many:?} for many, {few:?} for few");
    assert!(
        many.threads <= few.threads && many.sockets <= few.sockets + 8,
        "{many:?} for many, {few:?} for few"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_the_number_of_users() {
    assert_as_much_memory_for(5_000, 1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes in a debug build; see CONTRIBUTING.md, \"The commands\""]
async fn memory_does_not_grow_up_to_two_hundred_thousand_users() {
    assert_as_much_memory_for(200_000, 2_000).await;
}

/// Faults of every kind, the rarer first: all rules of a service draw from the same numbers.
const FAULTS_ON_EVERYTHING: [&str; 20] = [
    "secret-manager:drop-before,share=0.002",
    "secret-manager:drop-after,share=0.004",
    "secret-manager:wrong-checksum,share=0.01",
    "secret-manager:truncate,share=0.015",
    "secret-manager:error=503,share=0.05",
    "secret-manager:latency=20ms,share=0.1",
    "alpaca:stall,share=0.0002",
    "alpaca:drop-before,share=0.004",
    "alpaca:truncate,share=0.01",
    "alpaca:error=429,share=0.015,header=Retry-After: 1",
    "alpaca:error=500,share=0.05",
    "alpaca:latency=20ms,share=0.1",
    "firestore/Commit:goaway,share=0.0004",
    "firestore/Commit:drop-before,share=0.0008",
    "firestore/Commit:drop-after,share=0.0012",
    "firestore/Commit:garbage,share=0.002",
    "firestore/Commit:error=UNAVAILABLE,share=0.01",
    "firestore/Commit:error=ABORTED,share=0.04",
    "firestore/BatchGetDocuments:error=UNAVAILABLE,share=0.1",
    "firestore/RunQuery:break-after=200,share=0.3",
];

const PULSES: usize = 20;
const HEALTHY: usize = 5_000;

/// Keys that are missing, revoked or not JSON, and an account that is not open yet.
async fn four_users_in_trouble(world: &World) {
    for user in ["keyless", "revoked", "malformed", "unopened"] {
        world.user(user).await;
    }
    world.sandbox.secrets().delete(&secret_of("keyless"));
    world.account("revoked", Profile::Revoked);
    world.store_payload("malformed", "no JSON");
    world.account("unopened", Profile::onboarding());
}

/// Users, and how many of them were successful, failed, and skipped. Past the faults.
fn counts(sandbox: &Sandbox) -> [u64; 4] {
    let last_pulse = format!("projects/{}/databases/(default)/documents/ops/last_pulse", sandbox.project());
    let last_pulse = sandbox.firestore().document(&last_pulse).expect("it is written");
    let count = |name: &str| whole_number(&last_pulse.fields[name]).and_then(|number| number.try_into().ok());
    ["users_count", "success_count", "error_count", "skipped_count"].map(|name| count(name).expect("a count"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; see CONTRIBUTING.md, \"The commands\""]
async fn twenty_pulses_with_faults_on_everything_lose_nobody_and_take_no_more_each_time() {
    let world = sandbox().await;
    let ids = world.crowd(HEALTHY);
    four_users_in_trouble(&world).await;
    let pulse = async || {
        let mut command = world.command(&["--concurrency=128"]);
        let start = Instant::now();
        let (run, peak) = watched_run(command.env("RUST_LOG", "warn")).await;
        let [users, success, error, skipped] = counts(&world.sandbox);
        assert_eq!((run.exit, users), (Some(0), success + error + skipped), "{}", run.stderr);
        assert_eq!(users, HEALTHY as u64 + 4, "nobody is lost");
        println!(
            "{success} successful, {error} errors, {skipped} skipped, {:.1?}: {peak:?}",
            start.elapsed()
        );
        (success, peak)
    };
    for fault in FAULTS_ON_EVERYTHING {
        world.fault(fault);
    }
    let mut peaks = Vec::new();
    for _ in 0..PULSES {
        let (success, peak) = pulse().await;
        assert!(success > HEALTHY as u64 * 9 / 10, "{success} with faults that mostly pass");
        peaks.push(peak);
    }
    println!("faults: {:?}", world.faults_applied());
    assert!(world.faults_applied().iter().all(|applied| *applied > 0), "{:?}", world.faults_applied());
    let most = |peaks: &[Peak], of: fn(&Peak) -> u64| peaks.iter().map(of).max().expect("some");
    let (early, late) = peaks.split_at(PULSES / 2);
    assert!(
        most(late, |peak| peak.memory_kib) <= most(early, |peak| peak.memory_kib) + TOLERANCE_KIB,
        "{peaks:?}"
    );
    assert!(most(late, |peak| peak.threads) <= most(early, |peak| peak.threads), "{peaks:?}");
    assert!(most(late, |peak| peak.sockets) <= most(early, |peak| peak.sockets) + 32, "{peaks:?}");

    world.sandbox.faults().clear();
    let before = Timestamp::now() - SignedDuration::from_secs(1);
    let (success, _) = pulse().await;
    assert_eq!(success, HEALTHY as u64);
    let written = super::whole_snapshots(&world).await;
    for id in &ids {
        assert!(written[id] > before, "{id} is fresh");
    }
    let trouble = world.group("alpacaAccounts").await;
    for id in &ids {
        let state = trouble.get(&format!("users/{id}/alpacaAccounts/sync")).map(|record| &record["state"]);
        assert!(state.is_none_or(|state| *state == json!("ok")), "{id}: {state:?}");
    }
    assert_eq!(written.len(), ids.len(), "and nobody else has a snapshot");
}

/// Users who have to reconnect, none of whom is due.
fn rejected(world: &World, ids: &[String]) {
    let now = Timestamp::now();
    let since = now - SignedDuration::from_hours(1);
    let record = || {
        crate::world::fields_of([
            ("state", text("needs_reauth")),
            ("error", text("broker_rejected")),
            ("since", time(since)),
            ("rejections", integer(3)),
            ("key_version", text("1")),
            ("next_attempt_at", time(now + SignedDuration::from_hours(6))),
            ("updated_at", time(since)),
        ])
    };
    for ids in ids.chunks(1000) {
        world.put_all("(default)", ids.iter().map(|id| (format!("users/{id}"), Default::default())));
        world
            .put_all("(default)", ids.iter().map(|id| (format!("users/{id}/alpacaAccounts/sync"), record())));
    }
    for id in ids {
        world.connect(id, Profile::Revoked);
    }
}

/// How long the shortest of some passes takes that start a minute after the one before, as it says itself.
async fn shortest_pass(world: &World) -> Duration {
    let mut shortest = Duration::MAX;
    for _ in 0..5 {
        let minute_ago = time(Timestamp::now() - SignedDuration::from_mins(1));
        world.patch("ops/last_pulse", [("started_at", minute_ago)]).await;
        let (run, _) = watched_run(world.command(&["--concurrency=128"]).env("RUST_LOG", "warn")).await;
        assert_eq!(run.exit, Some(0), "{}", run.stderr);
        let last_pulse = world.document("ops/last_pulse").await;
        assert!(timestamp(&last_pulse["started_at"]) > Timestamp::now() - SignedDuration::from_mins(1));
        let took = last_pulse["duration_ms"]["integer"].as_u64().expect("a number");
        shortest = shortest.min(Duration::from_millis(took));
    }
    shortest
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures time, so it needs a machine of its own and a release build; see CONTRIBUTING.md, \"The commands\""]
async fn ten_thousand_users_who_have_to_reconnect_slow_ten_thousand_others_by_less_than_a_tenth() {
    let world = sandbox().await;
    world.users(&names(10_000)).await;
    let alone = shortest_pass(&world).await;
    let waiting: Vec<_> = (1..=10_000).map(|number| format!("waiting-{number:05}")).collect();
    rejected(&world, &waiting);
    let together = shortest_pass(&world).await;
    let ratio = together.as_secs_f64() / alone.as_secs_f64();
    println!("{alone:?} alone, {together:?} together: {ratio:.3}");
    assert!(ratio < 1.1, "{ratio:.3} times as long");
}
