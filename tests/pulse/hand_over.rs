//! Loops that follow each other: real processes, with pulses of a second.

use crate::live::Live;
use crate::world::{Run, World, fields_of, sandbox, timestamp};
use crate::wrong_clock::faketime;
use alpaca_pulse::firestore::values::{array, integer, map, text, timestamp as point};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};

const COMPLETED: &str = "Completed multi-tenant sync: ";
const WAITING: &str = "Waiting for the loop of execution pulse-first to end at ";
const LEFT: &str = "Skipped pulse: execution pulse-first is still running, in a loop until ";

/// A loop with a pulse a second for that time.
fn looping(world: &World, execution: &str, length: &str) -> Live {
    let mut command = world.command(&["--every", "1s", "--for", length]);
    command.env("CLOUD_RUN_EXECUTION", execution);
    Live::start(command)
}

/// A second loop, to its end.
async fn second(world: &World, length: &str) -> Run {
    looping(world, "pulse-second", length).end().await
}

async fn stopped(running: Live) -> Run {
    running.signal("TERM");
    let run = running.end().await;
    assert_eq!(run.exit, Some(143), "{}", run.stdout);
    run
}

/// For which points in time that loop's pulses were, by their ledgers, in their order.
async fn points(world: &World, execution: &str) -> Vec<Timestamp> {
    let ledgers = world.group("executions").await;
    let of_loop = ledgers.iter().filter(|(path, _)| path.contains(&format!("/{execution}")));
    let mut points: Vec<_> = of_loop.map(|(_, ledger)| timestamp(&ledger["due_at"])).collect();
    points.sort();
    points
}

async fn claim(world: &World) -> Json {
    world.document("ops/current_pulse").await
}

/// A loop as it is left by one that was killed so long ago.
async fn killed(world: &World, ago: i64) {
    let last = Timestamp::now() - SignedDuration::from_secs(ago);
    let ends_at = last + SignedDuration::from_hours(12);
    let plan = map(fields_of([("tasks", integer(1)), ("splits", array(Vec::new()))]));
    let fields = [
        ("plan", plan),
        ("started_at", point(last)),
        ("touched_at", point(last)),
        ("tasks", map(fields_of([]))),
    ];
    world.put("ops/last_pulse/executions/pulse-first-7", fields).await;
    let claim = [
        ("execution", text("pulse-first-7")),
        ("loop", text("pulse-first")),
        ("next_at", point(last + SignedDuration::from_secs(1))),
        ("ends_at", point(ends_at)),
    ];
    world.put("ops/current_pulse", claim).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_takes_over_when_the_one_before_ends_and_not_before() {
    let world = sandbox().await;
    world.user("ana").await;
    let mut first = looping(&world, "pulse-first", "8s");
    first.until(COMPLETED, 1).await;
    let mut second = looping(&world, "pulse-second", "1h");
    second.until(COMPLETED, 2).await;
    let first = first.end().await;
    assert_eq!(first.exit, Some(0), "{}", first.stdout);
    assert_eq!(
        world.document("ops/last_pulse").await["execution"].as_str().map(|id| &id[..12]),
        Some("pulse-second")
    );
    stopped(second).await;
    let (before, after) = (points(&world, "pulse-first").await, points(&world, "pulse-second").await);
    let end = before[0] + SignedDuration::from_secs(8);
    assert!(
        before.iter().all(|point| *point < end) && after.iter().all(|point| *point >= end),
        "{before:?} {after:?}"
    );
    for points in [&before, &after] {
        assert!(points.windows(2).all(|two| two[0] < two[1]), "{points:?}");
        assert!(points.iter().all(|point| point.subsec_nanosecond() == 0), "whole seconds: {points:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_asks_in_vain_how_late_it_is_claims_by_firestores_clock_all_the_same() {
    let Some(library) = faketime() else { return };
    let world = sandbox().await;
    world.user("ana").await;
    // What it asks before its first pulse.
    world.fault("firestore/BatchGetDocuments:error=PERMISSION_DENIED,times=1");
    let mut command = world.command(&["--every", "1s", "--for", "1h"]);
    command.env("LD_PRELOAD", &library).env("FAKETIME", "+5h").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let mut running = Live::start(command);
    running.until(COMPLETED, 2).await;
    let claim = claim(&world).await;
    stopped(running).await;
    let behind = Timestamp::now().duration_since(timestamp(&claim["due_at"]));
    assert!(behind.abs() < SignedDuration::from_mins(2), "{claim}");
    assert_eq!(world.faults_applied(), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_ends_soon_is_waited_for() {
    let world = sandbox().await;
    world.user("ana").await;
    let in_minutes = |minutes| point(Timestamp::now() + SignedDuration::from_mins(minutes));
    let claim = [
        ("execution", text("pulse-first-7")),
        ("loop", text("pulse-first")),
        ("due_at", in_minutes(-2)),
        ("next_at", in_minutes(10)),
        ("ends_at", in_minutes(10)),
    ];
    world.put("ops/current_pulse", claim).await;
    let mut waiting = looping(&world, "pulse-second", "1h");
    waiting.until(WAITING, 1).await;
    assert_eq!(points(&world, "pulse-second").await, []);
    world.patch("ops/current_pulse", [("next_at", in_minutes(-1)), ("ends_at", in_minutes(-1))]).await;
    waiting.until(COMPLETED, 1).await;
    let run = stopped(waiting).await;
    assert_eq!(run.entry(WAITING)["severity"], "INFO", "it is said once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_finds_a_loop_which_goes_on_leaves_it_at_once() {
    let world = sandbox().await;
    world.user("ana").await;
    let mut first = looping(&world, "pulse-first", "2h");
    first.until(COMPLETED, 1).await;
    for length in ["24h", "10s"] {
        let run = second(&world, length).await;
        assert_eq!(run.exit, Some(0), "{}", run.stdout);
        assert_eq!(run.entry(LEFT)["severity"], "INFO");
        assert!(!run.stdout.contains(COMPLETED), "{}", run.stdout);
    }
    let claim = claim(&world).await;
    assert_eq!(claim["loop"], "pulse-first");
    stopped(first).await;
    assert_eq!(points(&world, "pulse-second").await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_is_told_to_stop_gives_the_pulse_up() {
    let world = sandbox().await;
    world.user("ana").await;
    let mut first = looping(&world, "pulse-first", "2h");
    first.until(COMPLETED, 2).await;
    stopped(first).await;
    let given_up = claim(&world).await;
    assert_eq!(given_up["ends_at"], given_up["due_at"]);
    let last = points(&world, "pulse-first").await.pop().expect("some");
    let mut second = looping(&world, "pulse-second", "1h");
    second.until(COMPLETED, 1).await;
    stopped(second).await;
    assert!(points(&world, "pulse-second").await[0] > last, "no point in time has two pulses");
    assert_eq!(claim(&world).await["loop"], "pulse-second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_is_told_to_stop_hands_over_at_once_however_long_its_period_was() {
    let world = sandbox().await;
    world.user("ana").await;
    let mut command = world.command(&["--every", "1h", "--for", "3h"]);
    command.env("CLOUD_RUN_EXECUTION", "pulse-first");
    let mut first = Live::start(command);
    first.until(COMPLETED, 1).await;
    stopped(first).await;
    let mut second = looping(&world, "pulse-second", "1h");
    second.until(COMPLETED, 1).await;
    stopped(second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_was_killed_is_replaced_by_the_next_start() {
    let world = sandbox().await;
    world.user("ana").await;
    killed(&world, 75).await;
    second(&world, "1s").await.assert_completed("1 successful, 0 errors", 0);
    assert_eq!(claim(&world).await["loop"], "pulse-second");
    // What was seen of it lately may be a loop between two pulses.
    killed(&world, 5).await;
    let run = second(&world, "1s").await;
    assert_eq!((run.exit, run.stdout.contains(COMPLETED)), (Some(0), false), "{}", run.stdout);
}

/// The claim of a loop which goes on for hours, whose last pulse was so many seconds ago.
async fn claimed(world: &World, ago: i64) {
    let at = |seconds| point(Timestamp::now() + SignedDuration::from_secs(seconds));
    let claim = [
        ("execution", text("pulse-first-7")),
        ("loop", text("pulse-first")),
        ("due_at", at(-ago)),
        ("next_at", at(60 - ago)),
        ("ends_at", at(12 * 3_600)),
    ];
    world.put("ops/current_pulse", claim).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_no_loop_can_have_made_is_taken_over() {
    let world = sandbox().await;
    world.user("ana").await;
    claimed(&world, -5 * 3_600).await;
    let run = second(&world, "1s").await;
    run.assert_completed("1 successful, 0 errors", 0);
    assert_eq!(run.entry("Took over from the loop of execution pulse-first: ")["severity"], "WARNING");
    assert_eq!(claim(&world).await["loop"], "pulse-second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_asks_in_vain_how_late_it_is_finds_the_loop_which_goes_on_all_the_same() {
    let world = sandbox().await;
    world.user("ana").await;
    claimed(&world, 0).await;
    world.fault("firestore/BatchGetDocuments:error=PERMISSION_DENIED,times=1");
    let run = second(&world, "1h").await;
    assert_eq!(run.exit, Some(0), "{}", run.stdout);
    assert_eq!(run.entry(LEFT)["severity"], "INFO");
    assert_eq!((run.stdout.contains(COMPLETED), world.faults_applied()), (false, vec![1]), "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_whose_pulse_took_longer_than_its_period_is_left_alone_while_it_waits_for_the_next() {
    let world = sandbox().await;
    world.user("ana").await;
    killed(&world, 75).await;
    let ago = |seconds| point(Timestamp::now() - SignedDuration::from_secs(seconds));
    world.patch("ops/current_pulse", [("due_at", ago(700))]).await;
    world.patch("ops/last_pulse/executions/pulse-first-7", [("ended_at", ago(70))]).await;
    let run = second(&world, "1s").await;
    assert_eq!(run.exit, Some(0), "{}", run.stdout);
    assert_eq!(run.entry(LEFT)["severity"], "INFO");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_was_replaced_ends_by_itself() {
    let world = sandbox().await;
    world.user("ana").await;
    let mut first = looping(&world, "pulse-old", "1h");
    first.until(COMPLETED, 1).await;
    // As if it had been frozen meanwhile, and another one had taken over.
    killed(&world, 0).await;
    world.patch("ops/last_pulse/executions/pulse-first-7", [("ended_at", point(Timestamp::now()))]).await;
    let run = first.end().await;
    assert_eq!(run.exit, Some(0), "{}", run.stdout);
    assert_eq!(run.entry(LEFT)["severity"], "INFO");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_by_hand_does_not_end_a_loop_and_nobody_takes_it_for_one() {
    let world = sandbox().await;
    world.user("ana").await;
    let mut first = looping(&world, "pulse-first", "2h");
    first.until(COMPLETED, 1).await;
    let by_hand = world.pulse_with_in(&[], &[("CLOUD_RUN_EXECUTION", "by-hand")]).await;
    assert_eq!(by_hand.exit, Some(0), "{}", by_hand.stdout);
    assert_eq!(claim(&world).await["loop"], json!("pulse-first"));
    first.until(COMPLETED, 1).await;
    stopped(first).await;
}
