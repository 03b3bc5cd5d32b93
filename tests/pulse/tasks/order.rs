//! Whom an execution did not reach, the next one serves first.

use super::{Task, ledger, published, single, users};
use crate::held_alpaca::HeldAlpaca;
use crate::live::Live;
use crate::on_both;
use crate::world::{World, sandbox};
use serde_json::json;

/// A task that is told to stop when so many of its users are synced; who they are.
async fn stopped_after(world: &World, task: Task<'_>, reached: usize) -> Vec<String> {
    let alpaca = HeldAlpaca::start().await;
    // Whoever waits for an answer for long leaves the turn to the next one: the budget keeps it from coming.
    let budget = ((reached + 1) * task.count).to_string();
    let flags = ["--concurrency", "1", "--secret-accesses-per-minute", &budget];
    let mut running = Live::start(task.of(alpaca.command(world, &flags)));
    alpaca.let_go(reached);
    alpaca.arrived(reached + 1).await;
    running.signal("TERM");
    running.until("Told to stop", 1).await;
    alpaca.let_go(1);
    let run = running.end().await;
    assert_eq!((run.exit, alpaca.count()), (Some(143), reached + 1), "{}", run.stdout);
    in_order(&run.stdout)
}

/// The users whom a task syncs, one after the other, when nothing stops it.
async fn served(world: &World, task: Task<'_>) -> Vec<String> {
    let alpaca = HeldAlpaca::start().await;
    let running = Live::start(task.of(alpaca.command(world, &["--concurrency", "1"])));
    alpaca.let_go(100);
    let run = running.end().await;
    let served = in_order(&run.stdout);
    assert_eq!((run.exit, alpaca.count()), (Some(0), served.len()), "{}", run.stdout);
    served
}

/// Who was synced, in the order in which they were begun.
fn in_order(stdout: &str) -> Vec<String> {
    let told_of = |words: &str| {
        let user = |line: &str| line.split_once(words)?.1.split(['"', ' ']).next().map(str::to_owned);
        stdout.lines().filter_map(user).collect::<Vec<_>>()
    };
    let begun = told_of("\"Syncing Alpaca account for user ");
    let mut synced = told_of("\"Successfully synced Alpaca account for user ");
    synced.sort_by_key(|user| begun.iter().position(|begun| begun == user));
    synced
}

fn rotated(users: &[String], first: usize) -> Vec<String> {
    [&users[first..], &users[..first]].concat()
}

on_both! {
    async fn executions_that_are_stopped_go_round(world) {
        let ids = users(10);
        world.many(&ids).await;
        assert_eq!(stopped_after(&world, single("pulse-a"), 3).await, ids[..4]);
        assert_eq!(stopped_after(&world, single("pulse-b"), 3).await, ids[4..8]);
        // Over the end, and round.
        assert_eq!(stopped_after(&world, single("pulse-c"), 3).await, rotated(&ids, 8)[..4]);
        let plan = &ledger(&world, "pulse-c").await["plan"];
        assert_eq!(plan["begins_behind"], json!({"task_0": ids[7]}));
        assert_eq!(served(&world, single("pulse-d")).await, rotated(&ids, 2));
        assert_eq!(published(&world, "users_count").await, 10);
        assert_eq!(served(&world, single("pulse-e")).await, ids, "nobody was left");
        assert!(ledger(&world, "pulse-e").await["plan"]["begins_behind"].is_null());
    }

    async fn a_retry_goes_on_in_the_same_round(world) {
        let ids = users(10);
        world.many(&ids).await;
        stopped_after(&world, single("pulse-a"), 5).await;
        assert_eq!(stopped_after(&world, single("pulse-b"), 1).await, ids[6..8]);
        let retry = |attempt| Task { attempt, ..single("pulse-b") };
        assert_eq!(stopped_after(&world, retry(1), 2).await, rotated(&ids, 8)[..3]);
        assert_eq!(ledger(&world, "pulse-b").await["tasks"]["task_0"]["cursor"], json!(ids[0]));
        assert_eq!(served(&world, retry(2)).await, ids[1..6], "up to where it began");
        assert_eq!(published(&world, "success_count").await, 10);
    }

    async fn each_of_several_tasks_begins_with_those_of_its_own(world) {
        let ids = users(12);
        world.many(&ids).await;
        assert_eq!(served(&world, single("pulse-before")).await, ids);
        let task = |execution, index| Task { index, count: 2, ..single(execution) };
        assert_eq!(stopped_after(&world, task("pulse-a", 0), 1).await, ids[..2]);
        assert_eq!(stopped_after(&world, task("pulse-a", 1), 3).await, ids[6..10]);
        // The task that comes first plans for both.
        let second = [&ids[10..], &ids[6..10]].concat();
        assert_eq!(served(&world, task("pulse-b", 1)).await, second);
        assert_eq!(served(&world, task("pulse-b", 0)).await, rotated(&ids[..6], 2));
        assert_eq!(published(&world, "success_count").await, 12);
        let plan = async |execution| ledger(&world, execution).await["plan"]["splits"].clone();
        assert_eq!(plan("pulse-b").await, plan("pulse-a").await);
        // Its shares are as good to learn from as any.
        let task = |index| Task { index, count: 3, ..single("pulse-c") };
        for index in 0..3 {
            assert_eq!(served(&world, task(index)).await, ids[index * 4..][..4]);
        }
    }
}

/// Nobody is read twice, and to know where to begin costs nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_reads_no_more_than_any_other_pass() {
    let world = sandbox().await;
    let ids = users(10);
    world.many(&ids).await;
    served(&world, single("pulse-a")).await;
    served(&world, single("pulse-b")).await;
    let usual = published(&world, "firestore_reads").await;
    stopped_after(&world, single("pulse-c"), 5).await;
    assert_eq!(served(&world, single("pulse-d")).await, rotated(&ids, 6));
    // That nobody is in trouble is asked of both parts.
    assert_eq!(published(&world, "firestore_reads").await, usual + 1);
}

/// Who was not reached is counted behind the last one in the order of the round.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_in_the_middle_of_a_round_tells_how_many_are_left_of_it() {
    let world = sandbox().await;
    let ids = users(10);
    world.many(&ids).await;
    stopped_after(&world, single("pulse-a"), 5).await;
    let alpaca = HeldAlpaca::start().await;
    let flags = ["--concurrency", "1", "--secret-accesses-per-minute", "2", "--deadline", "10s"];
    let mut running = Live::start(single("pulse-b").of(alpaca.command(&world, &flags)));
    alpaca.let_go(1);
    alpaca.arrived(2).await;
    running.until("The deadline is near", 1).await;
    alpaca.let_go(1);
    let run = running.end().await;
    assert_eq!(in_order(&run.stdout), ids[6..8], "{}", run.stdout);
    assert_eq!(run.entry("Stopped multi-tenant sync")["not_reached"], 8);
    assert_eq!(served(&world, single("pulse-c")).await, rotated(&ids, 8));
}
