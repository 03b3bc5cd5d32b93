//! Told to stop at any moment at all, and started again, as Cloud Run does it.

use super::{names, users_with, whole_snapshots};
use crate::live::Live;
use crate::world::{Run, World, sandbox};
use futures::future::join_all;
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Worlds at the same time, and what happens in each.
const WORLDS: u64 = 5;
const EXECUTIONS: usize = 5;
const STOPS_OF_EACH: usize = 2;

const USERS: usize = 60;
const CONCURRENCY: &str = "--concurrency=8";

/// All in all fifty stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_at_any_moment_leaves_nothing_half_written_and_the_next_attempt_syncs_everybody() {
    let seed = fastrand::u64(..);
    println!("the seed is {seed}");
    join_all(
        (0..WORLDS).map(|world| stopped_and_started(fastrand::Rng::with_seed(seed.wrapping_add(world)))),
    )
    .await;
}

async fn stopped_and_started(mut random: fastrand::Rng) {
    let world = sandbox().await;
    let ids = names(USERS);
    world.users(&ids).await;
    for fault in ["firestore:latency=5ms", "secret-manager:latency=10ms", "alpaca:latency=20ms"] {
        world.fault(fault);
    }
    let start = Instant::now();
    attempt(&world, "the-first", 0, None).await;
    let whole_pass = start.elapsed();
    let mut before = whole_snapshots(&world).await;
    assert_eq!(before.len(), USERS);
    for execution in 0..EXECUTIONS {
        let id = format!("execution-{execution}");
        let begun = before.clone();
        for number in 0..STOPS_OF_EACH {
            let moment = whole_pass.mul_f64(random.f64());
            let run = attempt(&world, &id, number, Some(moment)).await;
            before = nothing_is_half_written(&world, &run, &before).await;
        }
        let run = attempt(&world, &id, STOPS_OF_EACH, None).await;
        assert_eq!(run.exit, Some(0), "{}", run.stdout);
        before = nothing_is_half_written(&world, &run, &before).await;
        let stale: Vec<_> = ids.iter().filter(|id| before.get(*id) <= begun.get(*id)).collect();
        assert!(stale.is_empty(), "not synced in {id}: {stale:?}");
    }
}

/// One attempt of an execution, told to stop so long after its start.
async fn attempt(world: &World, execution: &str, number: usize, stop: Option<Duration>) -> Run {
    let mut command = world.command(&[CONCURRENCY]);
    command.env("CLOUD_RUN_EXECUTION", execution).env("CLOUD_RUN_TASK_ATTEMPT", number.to_string());
    let running = Live::start(command);
    if let Some(moment) = stop {
        tokio::time::sleep(moment).await;
        running.signal("TERM");
    }
    running.end().await
}

/// Demands that whoever is said to be synced is, and that the exit code tells what happened.
async fn nothing_is_half_written(
    world: &World,
    run: &Run,
    before: &BTreeMap<String, Timestamp>,
) -> BTreeMap<String, Timestamp> {
    let entries = run.entries();
    let said = |start: &str| {
        entries
            .iter()
            .any(|entry| entry["message"].as_str().is_some_and(|message| message.starts_with(start)))
    };
    match run.exit {
        Some(0) => assert!(said("Completed multi-tenant sync: "), "{}", run.stdout),
        Some(143) => assert!(said("Told to stop"), "{}", run.stdout),
        // So early that nobody listened yet.
        None => assert_eq!(run.stdout, ""),
        Some(other) => panic!("exit code {other}: {}\n{}", run.stdout, run.stderr),
    }
    assert!(entries.iter().all(|entry| entry["severity"] != json!("ERROR")), "{}", run.stdout);
    let after = whole_snapshots(world).await;
    let synced = users_with(&entries, "Successfully synced Alpaca account for user ");
    for user in &synced {
        assert!(after.get(*user) > before.get(*user), "{user} is not synced: {}", run.stdout);
    }
    let written = after.iter().filter(|(user, at)| before.get(*user) != Some(at)).count();
    assert_eq!(written, synced.len(), "what is written is told: {}", run.stdout);
    assert!(entries.iter().all(Json::is_object));
    after
}
