//! Executions that run at the same time.

use super::{Task, account_calls, execute, last_pulse, ledger, ledger_of, published, single, synced, users};
use crate::held_alpaca::HeldAlpaca;
use crate::live::Live;
use crate::on_both;
use crate::world::{Run, World, sandbox};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::json;

/// An execution that has asked about its two users and waits.
async fn held(world: &World) -> (HeldAlpaca, Live) {
    let alpaca = HeldAlpaca::start().await;
    world.many(&users(2)).await;
    let running = Live::start(single("pulse-first").of(alpaca.command(world, &[])));
    alpaca.arrived(2).await;
    (alpaca, running)
}

on_both! {
    async fn a_second_execution_leaves_at_once_and_touches_nothing(world) {
        let (alpaca, running) = held(&world).await;
        let before = world.stored(&ledger_of("pulse-first")).await;
        let second = single("pulse-second").run(&world, &[]).await;
        let message = "Skipped pulse: execution pulse-first is still running";
        assert_eq!((second.exit, second.severity_of(message).as_deref()), (Some(0), Some("WARNING")), "{}", second.stdout);
        assert_eq!(second.entries().len(), 1, "{}", second.stdout);
        assert_eq!(ledger(&world, "pulse-second").await, json!(null));
        assert_eq!(world.stored(&ledger_of("pulse-first")).await, before);
        assert_eq!(account_calls(&world), 0);
        alpaca.let_go(2);
        running.end().await.assert_completed("2 successful, 0 errors", 0);
        alpaca.let_go(2);
        let third = Run::of(&mut single("pulse-third").of(alpaca.command(&world, &[]))).await;
        third.assert_completed("2 successful, 0 errors", 0);
    }

    /// Or some of its shares would be synced and others not.
    async fn what_one_task_decides_counts_for_its_execution(world) {
        let (alpaca, running) = held(&world).await;
        let task = |index| Task { index, count: 2, ..single("pulse-second") };
        let message = "Skipped pulse: execution pulse-first is still running";
        assert!(task(0).run(&world, &[]).await.says(message));
        alpaca.let_go(2);
        running.end().await.assert_completed("2 successful, 0 errors", 0);
        let late = task(1).run(&world, &[]).await;
        assert_eq!((late.exit, late.says(message), account_calls(&world)), (Some(0), true, 0), "{}", late.stdout);
        alpaca.let_go(2);
        let third = Run::of(&mut single("pulse-third").of(alpaca.command(&world, &[]))).await;
        third.assert_completed("2 successful, 0 errors", 0);
    }

    async fn of_executions_that_start_together_one_runs_and_the_others_leave(world) {
        let alpaca = HeldAlpaca::start().await;
        world.many(&users(2)).await;
        let names = ["pulse-a", "pulse-b", "pulse-c", "pulse-d"];
        let start = |name| {
            let mut command = single(name).of(alpaca.command(&world, &[]));
            async move { Run::of(&mut command).await }
        };
        // The one that runs holds its users until the others are gone.
        let mut runs: FuturesUnordered<_> = names.map(start).into_iter().collect();
        for _ in 1..names.len() {
            let run = runs.next().await.expect("a run");
            assert_eq!(run.exit, Some(0), "{}", run.stdout);
            run.entry("Skipped pulse: execution pulse-");
        }
        alpaca.arrived(2).await;
        assert_eq!(alpaca.count(), 2, "nobody else has asked");
        alpaca.let_go(2);
        runs.next().await.expect("the last run").assert_completed("2 successful, 0 errors", 0);
    }

    async fn a_run_for_named_users_and_a_dry_run_do_not_care(world) {
        let (alpaca, running) = held(&world).await;
        let before = world.stored(&ledger_of("pulse-first")).await;
        let id = users(1).remove(0);
        let named = single("pulse-named").run(&world, &["--user", &id]).await;
        named.assert_completed("1 successful, 0 errors", 0);
        let dry = single("pulse-dry").run(&world, &["--dry-run"]).await;
        dry.assert_completed("2 successful, 0 errors", 0);
        for execution in ["pulse-named", "pulse-dry"] {
            assert_eq!(ledger(&world, execution).await, json!(null));
        }
        assert_eq!(world.stored(&ledger_of("pulse-first")).await, before);
        assert_eq!(last_pulse(&world).await, json!(null));
        alpaca.let_go(2);
        running.end().await.assert_completed("2 successful, 0 errors", 0);
    }

    async fn the_tasks_of_a_dry_run_share_the_users_like_any_others(world) {
        world.many(&users(30)).await;
        execute(&world, "pulse-before", 3, &[]).await;
        let before = world.stored("ops/last_pulse").await;
        let runs = execute(&world, "pulse-dry", 3, &["--dry-run"]).await;
        assert_eq!(runs.iter().map(synced).sum::<usize>(), 30);
        assert_eq!(world.stored("ops/last_pulse").await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_tasks_does_nothing_without_a_ledger() {
    let world = sandbox().await;
    world.many(&users(2)).await;
    world.fault("firestore/Commit:error=PERMISSION_DENIED,times=1");
    let run = Task { count: 2, ..single("pulse-a") }.run(&world, &[]).await;
    assert_eq!((run.exit, account_calls(&world)), (Some(1), 0), "{}", run.stdout);
    assert_eq!(run.entry("The pass could not begin: ")["severity"], "CRITICAL");
    // Cloud Run tries again.
    for index in 0..2 {
        let run = Task { index, count: 2, attempt: 1, ..single("pulse-a") }.run(&world, &[]).await;
        assert_eq!(run.exit, Some(0), "{}", run.stdout);
    }
    assert_eq!(published(&world, "success_count").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_task_goes_on_without_a_ledger() {
    let world = sandbox().await;
    world.many(&users(2)).await;
    world.fault("firestore/Commit:error=PERMISSION_DENIED,times=1");
    let run = single("pulse-a").run(&world, &[]).await;
    run.assert_completed("2 successful, 0 errors", 0);
    assert_eq!(run.entry("Could not keep the ledger ops/last_pulse/executions/pulse-a")["severity"], "ERROR");
    assert_eq!(published(&world, "success_count").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_for_another_number_of_tasks_is_refused() {
    let world = sandbox().await;
    world.many(&users(2)).await;
    Task { count: 2, ..single("pulse-a") }.run(&world, &[]).await;
    let run = Task { index: 2, count: 3, ..single("pulse-a") }.run(&world, &[]).await;
    assert_eq!(run.exit, Some(1), "{}", run.stdout);
    let message = run.entry("The pass could not begin: ")["message"].to_string();
    assert!(message.contains("is for 2 tasks, not 3"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_answer_is_lost_is_the_executions_own() {
    let world = sandbox().await;
    world.many(&users(2)).await;
    world.fault("firestore/Commit:drop-after,times=1");
    let run = single("pulse-a").run(&world, &[]).await;
    run.assert_completed("2 successful, 0 errors", 0);
    assert!(!run.stdout.contains("Could not keep the ledger"), "{}", run.stdout);
    assert_eq!(ledger(&world, "pulse-a").await["tasks"]["task_0"]["state"], "completed");
}
