//! Passes over nobody, of several tasks and of several attempts.

use super::{Task, execute, last_pulse, ledger_of, published, single, users};
use crate::on_both;
use crate::world::{Run, World, off, timestamp};
use alpaca_pulse::firestore::values::timestamp as time;
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::Profile;
use serde_json::json;

const NOBODY: &str = "Nobody was synced, and the last success is less than a day ago";
const ENDED: &str = "An earlier attempt has ended this execution as failed: its log lines say why";

fn told(run: &Run) -> bool {
    run.entries().iter().any(|entry| entry["message"].as_str().is_some_and(|text| text.starts_with(NOBODY)))
}

/// One task after the other: their exit codes, and who told that nobody was synced.
async fn in_turn(world: &World, execution: &str, attempt: usize) -> Vec<(Option<i32>, bool)> {
    let mut ends = Vec::new();
    for index in 0..3 {
        let run = Task { execution, index, count: 3, attempt }.run(world, &[]).await;
        ends.push((run.exit, told(&run)));
    }
    ends
}

async fn pause(world: &World, users: &[String]) {
    for user in users {
        world.put(&format!("users/{user}"), [("sync_enabled", off())]).await;
    }
}

on_both! {
    async fn of_several_tasks_the_last_one_tells_and_fails_whatever_its_share_was(world) {
        let ids = users(9);
        world.many(&ids).await;
        execute(&world, "pulse-before", 3, &[]).await;
        let synced = last_pulse(&world).await["last_synced_at"].clone();
        pause(&world, &ids).await;
        let quiet = (Some(0), false);
        assert_eq!(in_turn(&world, "pulse-a", 0).await, [quiet, quiet, (Some(1), true)]);
        let document = last_pulse(&world).await;
        assert_eq!((&document["status"], &document["last_synced_at"]), (&json!("failed"), &synced));
        assert_eq!(published(&world, "skipped_count").await, 9);

        // Cloud Run tries the one that failed again.
        let before = world.stored("ops/last_pulse").await;
        let retry = Task { index: 2, count: 3, attempt: 1, ..single("pulse-a") }.run(&world, &[]).await;
        assert_eq!((retry.exit, told(&retry)), (Some(1), false), "{}", retry.stdout);
        assert_eq!(retry.severity_of(ENDED).as_deref(), Some("ERROR"));
        assert_eq!(world.stored("ops/last_pulse").await, before);

        // One user of one share is enough.
        world.many(&ids[..1]).await;
        assert_eq!(in_turn(&world, "pulse-b", 0).await, [quiet; 3]);
        assert_eq!(last_pulse(&world).await["status"], "ok");
    }

    async fn of_several_tasks_without_any_users_the_last_one_tells(world) {
        let ids = users(3);
        world.many(&ids).await;
        execute(&world, "pulse-before", 3, &[]).await;
        let nobody = ["--where", "plan=none"];
        for (index, exit) in [(0, 0), (1, 0), (2, 1)] {
            let run = Task { index, count: 3, ..single("pulse-a") }.run(&world, &nobody).await;
            assert_eq!((run.exit, told(&run)), (Some(exit), exit == 1), "{}", run.stdout);
        }
    }

    async fn a_retry_of_a_pass_over_nobody_fails_again_and_says_why(world) {
        let ids = users(2);
        world.many(&ids).await;
        single("pulse-before").run(&world, &[]).await.assert_completed("2 successful, 0 errors", 0);
        pause(&world, &ids).await;
        let run = single("pulse-a").run(&world, &[]).await;
        run.assert_completed("0 successful, 0 errors, 2 skipped", 1);
        assert!(told(&run), "{}", run.stdout);
        let before = world.stored("ops/last_pulse").await;
        for attempt in 1..3 {
            let retry = Task { attempt, ..single("pulse-a") }.run(&world, &[]).await;
            retry.assert_completed("0 successful, 0 errors, 2 skipped", 1);
            assert_eq!(retry.severity_of(ENDED).as_deref(), Some("ERROR"), "{}", retry.stdout);
            assert_eq!(retry.entry("Completed multi-tenant sync: ")["status"], "failed");
        }
        assert_eq!(world.stored("ops/last_pulse").await, before);
    }

    async fn a_retry_that_finds_users_after_all_succeeds(world) {
        single("pulse-before").run(&world, &[]).await;
        world.put("ops/last_pulse", [("last_synced_at", time(Timestamp::now()))]).await;
        single("pulse-a").run(&world, &[]).await.assert_completed("0 successful, 0 errors", 1);
        world.many(&users(2)).await;
        let retry = Task { attempt: 1, ..single("pulse-a") }.run(&world, &[]).await;
        retry.assert_completed("2 successful, 0 errors", 0);
    }

    async fn a_retry_of_a_pass_in_which_everybody_failed_fails_again(world) {
        let ids = users(2);
        world.many(&ids).await;
        for id in &ids {
            world.account(id, Profile::Revoked);
        }
        for (index, exit) in [(0, 0), (1, 1)] {
            let run = Task { index, count: 2, ..single("pulse-a") }.run(&world, &[]).await;
            assert_eq!((run.exit, told(&run)), (Some(exit), false), "{}", run.stdout);
        }
        let retry = Task { index: 1, count: 2, attempt: 1, ..single("pulse-a") }.run(&world, &[]).await;
        assert_eq!(retry.exit, Some(1), "{}", retry.stdout);
    }

    async fn what_an_execution_synced_before_it_died_counts_as_the_last_success(world) {
        let ids = users(4);
        world.many(&ids).await;
        // One of two tasks has everybody, and the other never comes.
        for index in 0..2 {
            let dead = format!("pulse-dead-{index}");
            Task { index, count: 2, ..single(&dead) }.run(&world, &[]).await;
            let then = Timestamp::from_second((Timestamp::now() - SignedDuration::from_mins(30)).as_second());
            let then = then.expect("in range");
            world.patch(&ledger_of(&dead), [("touched_at", time(then))]).await;
            if world.document(&ledger_of(&dead)).await["tasks"][format!("task_{index}")]["counts"]["success"] == json!({"integer": 0}) {
                continue;
            }
            let run = single("pulse-next").run(&world, &["--where", "plan=none"]).await;
            run.assert_completed("0 successful, 0 errors", 1);
            assert!(told(&run), "{}", run.stdout);
            assert_eq!(timestamp(&last_pulse(&world).await["last_synced_at"]), then);
            return;
        }
        panic!("one of the two has everybody");
    }
}
