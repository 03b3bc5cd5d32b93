//! Being told to stop: what is in flight is finished, nothing new is begun, and the exit code says so.

use crate::held_alpaca::HeldAlpaca;
use crate::live::{Live, wait_until};
use crate::on_both;
use crate::world::{Run, World, sandbox};
use pulse_sandbox::call::Service;
use serde_json::{Value as Json, json};
use std::time::Duration;

const USERS: [&str; 6] = ["ana", "ben", "cy", "dan", "eve", "fay"];
const TOLD: &str = "Told to stop: starting no new user, finishing what is in flight";

/// Sends the signal while two of six users are in flight, and then lets everybody go.
async fn stopped_in_the_middle(world: &World, signal: &str) -> (Run, usize) {
    let alpaca = HeldAlpaca::start().await;
    for user in USERS {
        world.user(user).await;
    }
    let mut running = Live::start(alpaca.command(world, &["--concurrency", "2"]));
    alpaca.arrived(2).await;
    running.signal(signal);
    running.until(TOLD, 1).await;
    alpaca.let_go(USERS.len());
    (running.end().await, alpaca.count())
}

on_both! {
    async fn what_is_in_flight_is_finished_and_nobody_else_is_started(world) {
        let (run, asked) = stopped_in_the_middle(&world, "TERM").await;
        assert_eq!(run.exit, Some(143), "{}", run.stdout);
        assert!(run.says("Stopped multi-tenant sync: 2 successful, 0 errors"), "{}", run.stdout);
        assert_eq!(asked, 2);
        let mut synced = 0;
        for user in USERS {
            let (snapshot, tenant) = (world.snapshot(user).await, world.primary(user).await);
            for field in ["equity", "exact", "updated_at", "updated_at_iso"] {
                assert_eq!(snapshot[field], tenant[field], "{user}: both documents or none");
            }
            synced += usize::from(snapshot != Json::Null);
        }
        assert_eq!(synced, 2);
        let last_pulse = world.document("ops/last_pulse").await;
        assert_eq!((&last_pulse["status"], &last_pulse["success_count"]), (&json!("failed"), &json!({"integer": 2})));
    }

    async fn an_interrupt_stops_it_as_well(world) {
        let (run, asked) = stopped_in_the_middle(&world, "INT").await;
        assert_eq!((run.exit, asked), (Some(130), 2), "{}", run.stdout);
        assert!(run.says("Stopped multi-tenant sync: 2 successful, 0 errors"), "{}", run.stdout);
    }
}

/// Of a closed terminal the kernel tells, and then the shell: twice is no second wish.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_closes_stops_it_as_well() {
    let world = sandbox().await;
    let alpaca = HeldAlpaca::start().await;
    for user in USERS {
        world.user(user).await;
    }
    let mut running = Live::start(alpaca.command(&world, &["--concurrency", "2"]));
    alpaca.arrived(2).await;
    running.signal("HUP");
    running.until(TOLD, 1).await;
    running.signal("HUP");
    alpaca.let_go(USERS.len());
    let run = running.end().await;
    assert_eq!((run.exit, alpaca.count()), (Some(143), 2), "{}", run.stdout);
    run.entry("Stopped multi-tenant sync: 2 successful, 0 errors");
}

/// As `nohup` starts it.
#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn who_is_to_outlive_the_terminal_does() {
    let world = sandbox().await;
    let alpaca = HeldAlpaca::start().await;
    for user in USERS {
        world.user(user).await;
    }
    let pulse = alpaca.command(&world, &[]);
    let mut shell = tokio::process::Command::new("/bin/sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" sync"]).arg(pulse.as_std().get_program()).env_clear();
    shell.envs(pulse.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).kill_on_drop(true);
    let running = Live::start(shell);
    alpaca.arrived(USERS.len()).await;
    running.signal("HUP");
    alpaca.let_go(USERS.len());
    running.end().await.assert_completed("6 successful, 0 errors", 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_before_the_users_are_read_starts_nobody() {
    let world = sandbox().await;
    world.user("ana").await;
    world.fault("firestore/RunQuery:stall");
    let running = Live::start(world.command(&[]));
    wait_until(|| world.calls(Service::Firestore, "RunQuery") > 0).await;
    running.signal("TERM");
    let run = running.end().await;
    assert_eq!(run.exit, Some(143), "{}", run.stdout);
    assert!(run.says("Stopped multi-tenant sync: 0 successful, 0 errors"), "{}", run.stdout);
    assert_eq!(world.calls(Service::SecretManager, "AccessSecretVersion"), 0);
    assert_eq!(world.snapshot("ana").await, json!(null));
}

/// Cloud Run kills the process two seconds after the eight that this takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_stalls_for_too_long_is_given_up() {
    let world = sandbox().await;
    world.user("ana").await;
    world.user("ben").await;
    world.fault("alpaca:stall,user=ben");
    let mut running = Live::start(world.command(&[]));
    running.until("Successfully synced Alpaca account for user ana", 1).await;
    wait_until(|| world.account_calls("ben") > 0).await;
    running.signal("TERM");
    let run = running.end().await;
    assert_eq!(run.exit, Some(143), "{}", run.stdout);
    run.entry("Stopped multi-tenant sync: 1 successful, 0 errors");
    assert_eq!(world.snapshot("ben").await, json!(null));
    assert_eq!(world.account_calls("ben"), 1, "given up before the second attempt");
}

/// Well above the 10 s that Cloud Run gives, so that a busy machine fails nobody, and well below the 20 s that a
/// stalled call may take otherwise.
const GRACE_PERIOD: Duration = Duration::from_secs(15);

/// What a process that is told to stop leaves behind within the grace period.
async fn end_of(running: Live) -> Run {
    running.signal("TERM");
    let ended = tokio::time::timeout(GRACE_PERIOD, running.end()).await;
    ended.expect("it ends before Cloud Run would kill it")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firestore_that_stalls_does_not_hold_the_process_up() {
    let world = sandbox().await;
    world.user("ana").await;
    world.fault("firestore/Commit:stall");
    let running = Live::start(world.command(&[]));
    wait_until(|| world.snapshot_commits("ana") > 0).await;
    let run = end_of(running).await;
    assert_eq!(run.exit, Some(143), "{}", run.stdout);
    run.entry("Stopped multi-tenant sync: 0 successful, 0 errors");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_while_the_pass_is_being_set_up_is_heeded() {
    let world = sandbox().await;
    world.user("ana").await;
    // The first of them reads when the last pulse was.
    world.fault("firestore/BatchGetDocuments:stall");
    let running = Live::start(world.command(&[]));
    wait_until(|| world.calls(Service::Firestore, "BatchGetDocuments") > 0).await;
    let run = end_of(running).await;
    assert_eq!(run.exit, Some(143), "{}", run.stdout);
    run.entry("Stopped multi-tenant sync: 0 successful, 0 errors");
    assert_eq!(world.calls(Service::SecretManager, "AccessSecretVersion"), 0);
}
