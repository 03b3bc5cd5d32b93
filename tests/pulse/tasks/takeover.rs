//! An execution that stands still while another one takes over, and then goes on.

use super::{Task, execute, last_pulse, ledger, ledger_of, single, users};
use crate::held_alpaca::HeldAlpaca;
use crate::live::{LOOK_INTERVAL, Live, in_time};
use crate::on_both;
use crate::world::{Run, World};
use alpaca_pulse::firestore::values::timestamp as time;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

/// Nothing was heard of that execution for so long that it counts as dead.
async fn silent(world: &World, execution: &str) {
    let long_ago = Timestamp::now() - SignedDuration::from_mins(2);
    world.patch(&ledger_of(execution), [("touched_at", time(long_ago))]).await;
}

/// Whoever stands still may have sent a sign of life just before, which arrives after all: then the second is skipped,
/// and starts again.
async fn two_tasks_take_over(world: &World) -> Vec<Run> {
    loop {
        silent(world, "pulse-first").await;
        let second = execute(world, "pulse-second", 2, &[]).await;
        if !second.iter().any(|run| run.says("Skipped pulse")) {
            return second;
        }
        world.delete(&ledger_of("pulse-second")).await;
    }
}

/// More calls than are made, so that none is held any more: whoever stood still for longer than a call may take asks
/// again.
const MANY: usize = 1_000;

/// An execution that stands still while it waits for the accounts of two users.
async fn frozen(world: &World) -> (HeldAlpaca, Live) {
    let alpaca = HeldAlpaca::start().await;
    world.many(&users(2)).await;
    let running = Live::start(single("pulse-first").of(alpaca.command(world, &[])));
    alpaca.arrived(2).await;
    running.signal("STOP");
    silent(world, "pulse-first").await;
    (alpaca, running)
}

const TAKEN_OVER: &str = "Left ops/last_pulse alone: pulse-second has taken over from pulse-first";

#[track_caller]
fn assert_says_so(run: &Run) {
    assert_eq!(run.entry(TAKEN_OVER)["severity"], "WARNING");
    assert!(run.entries().iter().all(|entry| entry["severity"] != "ERROR"), "{}", run.stdout);
}

on_both! {
    async fn whoever_was_taken_over_leaves_the_dashboards_alone(world) {
        let (alpaca, first) = frozen(&world).await;
        alpaca.let_go(MANY);
        let second = Run::of(&mut single("pulse-second").of(alpaca.command(&world, &[]))).await;
        second.assert_completed("2 successful, 0 errors", 0);
        let published = world.stored("ops/last_pulse").await;
        first.signal("CONT");
        let first = first.end().await;
        assert_says_so(&first);
        // It did its work: that another did it too is no reason for Cloud Run to try it again.
        first.assert_completed("2 successful, 0 errors", 0);
        assert_eq!(world.stored("ops/last_pulse").await, published);
        assert_eq!(last_pulse(&world).await["execution"], "pulse-second");
        let own = ledger(&world, "pulse-first").await;
        assert_eq!((&own["status"], own["ended_at"].is_object()), (&json!("ok"), true), "its own ledger ends");
    }

    async fn so_it_is_while_the_other_is_still_at_work(world) {
        let (alpaca, first) = frozen(&world).await;
        let others = HeldAlpaca::start().await;
        let second = Live::start(single("pulse-second").of(others.command(&world, &[])));
        others.arrived(2).await;
        let published = world.stored("ops/last_pulse").await;
        assert_eq!(last_pulse(&world).await["execution"], "pulse-first", "what was known of it when it was taken over");
        alpaca.let_go(MANY);
        first.signal("CONT");
        let first = first.end().await;
        assert_says_so(&first);
        assert_eq!(world.stored("ops/last_pulse").await, published);
        others.let_go(MANY);
        second.end().await.assert_completed("2 successful, 0 errors", 0);
        let published = last_pulse(&world).await;
        assert_eq!((&published["execution"], &published["status"]), (&json!("pulse-second"), &json!("ok")));
    }

    /// The last of several tasks speaks for all.
    async fn of_several_tasks_too(world) {
        world.many(&users(4)).await;
        let alpaca = HeldAlpaca::start().await;
        let task = |index| Task { index, count: 2, ..single("pulse-first") };
        let mut frozen = Vec::new();
        for index in 0..2 {
            frozen.push(Live::start(task(index).of(alpaca.command(&world, &[]))));
        }
        alpaca.arrived(4).await;
        // The one without users may begin last: whoever has not joined yet when all stand still is none of them.
        in_time(async {
            while ledger(&world, "pulse-first").await["tasks"]["task_0"].is_null() {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        })
        .await;
        frozen.iter().for_each(|task| task.signal("STOP"));
        let second = two_tasks_take_over(&world).await;
        assert!(second.iter().all(|run| run.exit == Some(0)));
        let published = world.stored("ops/last_pulse").await;
        alpaca.let_go(MANY);
        let mut told = 0;
        for task in frozen {
            task.signal("CONT");
            let run = task.end().await;
            assert_eq!(run.exit, Some(0), "{}", run.stdout);
            told += usize::from(run.stdout.contains(TAKEN_OVER));
        }
        assert_eq!(told, 1, "one of them is the last: {second:?}");
        assert_eq!(world.stored("ops/last_pulse").await, published);
    }

    async fn a_claim_that_somebody_removed_takes_over_from_nobody(world) {
        let alpaca = HeldAlpaca::start().await;
        world.many(&users(2)).await;
        let running = Live::start(single("pulse-first").of(alpaca.command(&world, &[])));
        alpaca.arrived(2).await;
        world.delete("ops/current_pulse").await;
        alpaca.let_go(2);
        running.end().await.assert_completed("2 successful, 0 errors", 0);
        assert_eq!(last_pulse(&world).await["execution"], "pulse-first");
        assert_eq!(world.document("ops/current_pulse").await["execution"], "pulse-first");
    }
}
