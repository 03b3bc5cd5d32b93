//! Attempts that end before their users do, and those that take over.

use super::{Task, account_calls, execute, last_pulse, ledger, ledger_of, published, single, synced, users};
use crate::crowd::turn_of_a_crowd;
use crate::held_alpaca::HeldAlpaca;
use crate::live::{LOOK_INTERVAL, Live, in_time};
use crate::on_both;
use crate::world::{World, sandbox};
use alpaca_pulse::firestore::values::timestamp as time;
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::Profile;
use pulse_sandbox::call::Service;
use serde_json::json;

/// Waits until a task has saved a cursor.
async fn saved_cursor(world: &World, execution: &str, task: &str) -> String {
    in_time(async {
        loop {
            if let Some(cursor) = ledger(world, execution).await["tasks"][task]["cursor"].as_str() {
                return cursor.to_owned();
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    })
    .await
}

/// What a ledger looks like that nobody has touched for that long.
async fn age(world: &World, execution: &str, seconds: i64) {
    let then = Timestamp::now() - SignedDuration::from_secs(seconds);
    world.patch(&ledger_of(execution), [("touched_at", time(then))]).await;
}

on_both! {
    async fn a_killed_task_goes_on_at_its_cursor_when_it_is_retried(world) {
        let _turn = turn_of_a_crowd().await;
        let ids = users(2_300);
        world.many(&ids).await;
        // Even shares for the two tasks that matter.
        let flags = ["--legacy-tenant-path", "off", "--concurrency", "32"];
        execute(&world, "pulse-before", 2, &flags).await;
        let (before, task) = (account_calls(&world), Task { index: 1, count: 2, ..single("pulse-a") });
        world.fault("alpaca:latency=20ms");
        let mut running = Live::start(task.of(world.command(&flags)));
        let cursor = tokio::select! {
            cursor = saved_cursor(&world, "pulse-a", "task_1") => cursor,
            () = running.until("Completed", 1) => panic!("it is over before a cursor is saved"),
        };
        running.signal("KILL");
        let killed = running.end().await;
        assert_eq!(killed.exit, None, "it had no chance to say anything");
        let other = Task { index: 0, ..task }.run(&world, &flags).await;
        assert_eq!(other.exit, Some(0), "{}", other.stdout);
        assert_eq!(last_pulse(&world).await["execution"], "pulse-before", "it is not the last one");
        assert!(ledger(&world, "pulse-a").await["ended_at"].is_null());

        let calls = account_calls(&world);
        let run = Task { attempt: 1, ..task }.run(&world, &flags).await;
        assert_eq!(run.exit, Some(0), "{}", run.stdout);
        let after_cursor = ids.iter().filter(|id| **id > cursor).count();
        let repeated = account_calls(&world) - calls;
        assert!(repeated <= after_cursor, "nobody up to the saved cursor is synced again: {repeated} of {after_cursor}");
        assert!(account_calls(&world) - before >= 2_300, "nobody is left out");
        assert_eq!(synced(&other) + synced(&run), 2_300, "counts go on from those saved");
        assert_eq!(last_pulse(&world).await["execution"], "pulse-a");
        assert_eq!((published(&world, "success_count").await, published(&world, "users_count").await), (2_300, 2_300));
        for id in ids.iter().step_by(13) {
            assert_eq!(world.snapshot(id).await["user_id"], json!(id));
        }
    }

    async fn a_stopped_task_saves_its_cursor_and_the_retry_does_the_rest(world) {
        let ids = users(40);
        world.many(&ids).await;
        let alpaca = HeldAlpaca::start().await;
        let mut running = Live::start(single("pulse-a").of(alpaca.command(&world, &["--concurrency", "4"])));
        alpaca.let_go(10);
        running.until("Successfully synced", 10).await;
        running.signal("TERM");
        running.until("Told to stop", 1).await;
        alpaca.let_go(1_000);
        let stopped = running.end().await;
        assert_eq!(stopped.exit, Some(143), "{}", stopped.stdout);
        let (first, asked) = (published(&world, "success_count").await, alpaca.count());
        assert_eq!((last_pulse(&world).await["status"].clone(), first), (json!("failed"), asked));
        let ledger = ledger(&world, "pulse-a").await;
        assert_eq!(ledger["tasks"]["task_0"]["state"], "stopped");
        assert_eq!(ledger["tasks"]["task_0"]["cursor"], json!(ids[first - 1]));

        let run = Task { attempt: 1, ..single("pulse-a") }.run(&world, &[]).await;
        run.assert_completed("40 successful, 0 errors", 0);
        assert_eq!(account_calls(&world), 40 - first, "only the rest");
        assert_eq!((last_pulse(&world).await["status"].clone(), published(&world, "success_count").await), (json!("ok"), 40));
    }

    async fn a_retry_of_what_is_completed_does_and_publishes_nothing(world) {
        world.many(&users(3)).await;
        single("pulse-a").run(&world, &[]).await.assert_completed("3 successful, 0 errors", 0);
        let (published, ledger) = (world.stored("ops/last_pulse").await, world.stored(&ledger_of("pulse-a")).await);
        let run = Task { attempt: 1, ..single("pulse-a") }.run(&world, &[]).await;
        run.assert_completed("3 successful, 0 errors", 0);
        assert_eq!(account_calls(&world), 3);
        assert_eq!(world.stored("ops/last_pulse").await, published, "old figures are not made to look new");
        assert_eq!(world.stored(&ledger_of("pulse-a")).await, ledger);
    }

    async fn a_task_that_never_comes_back_is_taken_over_by_the_next_execution(world) {
        let ids = users(20);
        world.many(&ids).await;
        // Without an execution to learn from, one of the two has everybody.
        for (index, dead_before) in [(1, json!(null)), (0, json!("pulse-1"))] {
            let execution = format!("pulse-{index}");
            let run = Task { index, count: 2, ..single(&execution) }.run(&world, &[]).await;
            assert_eq!(run.exit, Some(0), "the others finish: {}", run.stdout);
            let told = last_pulse(&world).await;
            assert_eq!(told["execution"], dead_before, "nobody says that all is well");
            assert!(dead_before.is_null() || told["status"] == "failed", "whoever takes over says what became of it");
            let next = single("pulse-next").run(&world, &[]).await;
            assert!(next.says(&format!("Skipped pulse: execution {execution} is still running")), "{}", next.stdout);
            age(&world, &execution, 61).await;
        }
        let next = single("pulse-next").run(&world, &[]).await;
        next.assert_completed("20 successful, 0 errors", 0);
        assert_eq!(last_pulse(&world).await["execution"], "pulse-next");
        assert_eq!(published(&world, "users_count").await, 20);
    }

    async fn an_attempt_whose_execution_was_taken_over_leaves_the_other_alone(world) {
        world.many(&users(4)).await;
        Task { count: 2, ..single("pulse-dead") }.run(&world, &[]).await;
        age(&world, "pulse-dead", 61).await;
        let alpaca = HeldAlpaca::start().await;
        let running = Live::start(single("pulse-new").of(alpaca.command(&world, &[])));
        alpaca.arrived(4).await;
        let late = Task { index: 1, count: 2, attempt: 1, ..single("pulse-dead") }.run(&world, &[]).await;
        assert!(late.says("Skipped pulse: execution pulse-new is still running"), "{}", late.stdout);
        alpaca.let_go(4);
        running.end().await.assert_completed("4 successful, 0 errors", 0);
    }
}

/// A retry counts for the whole execution even when the attempt before had finished nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_could_not_begin_to_read_is_heard_of_when_it_is_retried() {
    let world = sandbox().await;
    world.many(&["A", "a"].map(str::to_owned)).await;
    let task = |index| Task { index, count: 2, ..single("pulse-a") };
    assert_eq!(task(0).run(&world, &[]).await.exit, Some(0));
    world.fault("firestore/RunQuery:error=PERMISSION_DENIED,times=2");
    assert_eq!(task(1).run(&world, &[]).await.exit, Some(1));
    assert_eq!(last_pulse(&world).await["status"], "failed");

    let alpaca = HeldAlpaca::start().await;
    let running = Live::start(Task { attempt: 1, ..task(1) }.of(alpaca.command(&world, &[])));
    alpaca.arrived(1).await;
    crate::live::wait_until(|| {
        world
            .sandbox
            .firestore()
            .document(&world.name(&ledger_of("pulse-a")))
            .is_some_and(|ledger| !ledger.fields.contains_key("ended_at"))
    })
    .await;
    let other = single("pulse-b").run(&world, &[]).await;
    assert!(other.says("Skipped pulse: execution pulse-a is still running"), "{}", other.stdout);
    alpaca.let_go(1);
    assert_eq!(running.end().await.exit, Some(0));
    assert_eq!(
        (last_pulse(&world).await["status"].clone(), published(&world, "success_count").await),
        (json!("ok"), 2)
    );
}

/// Two rejections within moments are one: the retry asks again about those after the cursor.
#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_that_a_retry_will_see_again_is_not_counted_twice() {
    let world = sandbox().await;
    for user in ["ana", "ben"] {
        world.user(user).await;
    }
    world.account("ben", Profile::Revoked);
    world.fault("alpaca:stall,user=ana,times=1");
    let mut running = Live::start(single("pulse-a").of(world.command(&[])));
    running.until("Failed to sync Alpaca account for user ben", 1).await;
    running.signal("TERM");
    assert_eq!(running.end().await.exit, Some(143));
    assert_eq!(world.trouble("ben").await, json!(null));
    let retry = Task { attempt: 1, ..single("pulse-a") }.run(&world, &[]).await;
    retry.assert_completed("1 successful, 1 errors", 0);
    assert_eq!(world.trouble("ben").await["rejections"], json!({"integer": 1}));
}

/// Cloud Run gives 10 s, and the others may never come.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_waits_for_the_others_heeds_a_signal() {
    let world = sandbox().await;
    let ids: Vec<_> = (0..4).map(|n| format!("A{n}")).collect();
    world.many(&ids).await;
    // Their keys have worked, so that it matters what the others see.
    let named: Vec<_> = ids.iter().flat_map(|id| ["--user", id]).collect();
    world.pulse_with(&named).await.assert_completed("4 successful, 0 errors", 0);
    for id in &ids {
        world.account(id, Profile::Revoked);
    }
    let mut running = Live::start(Task { count: 4, ..single("pulse-a") }.of(world.command(&[])));
    running.until("Failed to sync", 4).await;
    in_time(async {
        while ledger(&world, "pulse-a").await["tasks"]["task_0"]["state"] != "settling" {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    })
    .await;
    running.signal("TERM");
    let run = running.end().await;
    assert_eq!(run.exit, Some(143), "{}", run.stdout);
    run.entry("Completed multi-tenant sync: 0 successful, 4 errors");
    assert_eq!(ledger(&world, "pulse-a").await["tasks"]["task_0"]["state"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_that_could_not_read_its_users_is_resumed_where_that_began() {
    let _turn = turn_of_a_crowd().await;
    let world = sandbox().await;
    world.crowd(700);
    world.fault("firestore/RunQuery:error=PERMISSION_DENIED,user=user-0500,times=1");
    let run = single("pulse-a").run(&world, &[]).await;
    assert_eq!(run.exit, Some(1), "{}", run.stdout);
    assert_eq!(ledger(&world, "pulse-a").await["tasks"]["task_0"]["state"], "failed");
    // The next minute's pulse is not held up by it.
    let calls = account_calls(&world);
    let retry = Task { attempt: 1, ..single("pulse-a") }.run(&world, &[]).await;
    retry.assert_completed("700 successful, 0 errors", 0);
    assert_eq!((calls, account_calls(&world)), (500, 700));
    assert_eq!(published(&world, "users_count").await, 700);
    assert_eq!(world.calls(Service::SecretManager, "AccessSecretVersion"), 700);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_vanishes_stops_nobody() {
    let _turn = turn_of_a_crowd().await;
    let world = sandbox().await;
    world.crowd(1_100);
    let alpaca = HeldAlpaca::start().await;
    let mut running = Live::start(single("pulse-a").of(alpaca.command(&world, &["--concurrency", "8"])));
    running.until("Syncing", 8).await;
    world.delete(&ledger_of("pulse-a")).await;
    alpaca.let_go(1_100);
    let run = running.end().await;
    run.assert_completed("1100 successful, 0 errors", 0);
    let mut unsaved = run.entries();
    let said = "Could not keep the ledger ops/last_pulse/executions/pulse-a: ";
    unsaved.retain(|entry| entry["message"].as_str().is_some_and(|text| text.starts_with(said)));
    assert!(unsaved.iter().all(|entry| entry["severity"] == "WARNING"), "{unsaved:?}");
    // After a thousand users, and every ten seconds.
    let seconds = run.entry("Completed")["duration_ms"].as_u64().expect("a number") / 1000;
    assert!((1..=1 + seconds / 10).contains(&(unsaved.len() as u64)), "in {seconds} s: {unsaved:?}");
    assert_eq!(published(&world, "users_count").await, 1_100);
    assert_eq!(ledger(&world, "pulse-a").await, json!(null), "half a ledger would be none");
}
