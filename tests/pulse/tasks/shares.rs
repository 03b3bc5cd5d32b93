//! How an execution's users are divided among its tasks.

use super::{Task, account_calls, execute, last_pulse, ledger, ledger_of, published, single, synced, users};
use crate::crowd::turn_of_a_crowd;
use crate::on_both;
use crate::world::{World, timestamp};
use alpaca_pulse::firestore::values::{entries, integer, map};
use jiff::SignedDuration;
use pulse_sandbox::alpaca::Profile;
use serde_json::json;

const USERS: usize = 1_200;

/// An execution that syncs every user once.
async fn assert_syncs_everybody(world: &World, execution: &str, tasks: usize) -> Vec<usize> {
    let before = account_calls(world);
    let runs = execute(world, execution, tasks, &["--legacy-tenant-path", "off"]).await;
    for run in &runs {
        assert_eq!(run.exit, Some(0), "{}", run.stdout);
    }
    let shares: Vec<_> = runs.iter().map(synced).collect();
    assert_eq!(shares.iter().sum::<usize>(), USERS, "{shares:?}");
    assert_eq!(account_calls(world) - before, USERS, "each user is asked about once");
    assert_eq!(last_pulse(world).await["execution"], execution);
    assert_eq!(
        (published(world, "users_count").await, published(world, "success_count").await),
        (USERS, USERS)
    );
    assert_eq!(published(world, "alpaca_calls").await, USERS);
    // On arrival a task reads three documents, perhaps again, and the ledgers of others; then its users, and
    // that nobody is in trouble; and the ledger at its end.
    let reads = published(world, "firestore_reads").await;
    assert!((USERS..=USERS + 12 * tasks).contains(&reads), "no user is read twice: {reads} reads");
    shares
}

fn assert_even(shares: &[usize]) {
    let even = USERS as f64 / shares.len() as f64;
    assert!(shares.iter().all(|share| (*share as f64 - even).abs() <= even * 0.2), "{shares:?}");
}

on_both! {
    async fn the_tasks_of_an_execution_sync_each_user_once_and_from_the_second_on_evenly(world) {
        let _turn = turn_of_a_crowd().await;
        let users = users(USERS);
        world.many(&users).await;
        assert_syncs_everybody(&world, "pulse-first", 4).await;
        for user in users.iter().step_by(7) {
            assert_eq!(world.snapshot(user).await["user_id"], json!(user));
        }
        assert_even(&assert_syncs_everybody(&world, "pulse-second", 4).await);
        assert_even(&assert_syncs_everybody(&world, "pulse-fewer", 3).await);
        assert_even(&assert_syncs_everybody(&world, "pulse-single", 1).await);
        assert_even(&assert_syncs_everybody(&world, "pulse-more", 5).await);
    }

    async fn the_ledger_says_who_does_what_and_expires_after_a_week(world) {
        world.many(&users(10)).await;
        execute(&world, "pulse-a", 2, &[]).await;
        let ledger = ledger(&world, "pulse-a").await;
        assert_eq!(ledger["plan"]["tasks"], json!({"integer": 2}));
        assert_eq!(ledger["plan"]["splits"].as_array().expect("a list").len(), 1);
        let (started, expires) = (timestamp(&ledger["started_at"]), timestamp(&ledger["expires_at"]));
        assert_eq!(expires.duration_since(started), SignedDuration::from_hours(7 * 24));
        assert!(timestamp(&ledger["ended_at"]) >= started);
        let tasks = ["task_0", "task_1"].map(|task| &ledger["tasks"][task]);
        for task in tasks {
            assert_eq!(task["state"], "completed", "{ledger}");
        }
        let counted = tasks.map(|task| task["counts"]["success"]["integer"].as_u64().expect("a count"));
        assert_eq!(counted.iter().sum::<u64>(), 10);
        // All ids have the prefix, so one task has them all.
        let cursors: Vec<_> = tasks.iter().filter_map(|task| task["cursor"].as_str()).collect();
        assert_eq!(cursors, ["customer-of-the-broker-00009"]);
    }

    async fn rejections_are_judged_by_those_of_all_tasks(world) {
        // Two in each task: by themselves they would be the users' own fault.
        let ids: Vec<_> = ["A", "M", "a", "k"].iter().flat_map(|sign| (0..4).map(move |n| format!("{sign}{n}"))).collect();
        world.many(&ids).await;
        execute(&world, "pulse-before", 4, &[]).await;
        let rejected: Vec<_> = ids.iter().filter(|id| id.ends_with(['0', '1'])).collect();
        for id in &rejected {
            world.account(id, Profile::Revoked);
        }
        for execution in ["pulse-a", "pulse-b", "pulse-c"] {
            let runs = execute(&world, execution, 4, &[]).await;
            let told = "Alpaca rejected 8 of 16 users: not marking anyone for re-authentication";
            assert!(runs.iter().any(|run| run.says(told)), "{runs:?}");
            assert_eq!(published(&world, "error_count").await, 8);
        }
        for id in &rejected {
            assert_eq!(world.trouble(id).await["state"], "retrying", "{id} is not to blame");
        }
    }

    async fn newcomers_with_made_up_keys_are_told_apart_whichever_task_sees_them(world) {
        let ids: Vec<_> = ["A", "M", "a", "k"].iter().flat_map(|sign| (0..4).map(move |n| format!("{sign}{n}"))).collect();
        world.many(&ids).await;
        let newcomers: Vec<_> = ids.iter().filter(|id| id.ends_with(['0', '1'])).collect();
        for id in &newcomers {
            world.account(id, Profile::Revoked);
        }
        for (execution, state) in [("pulse-a", "retrying"), ("pulse-b", "needs_reauth")] {
            let runs = execute(&world, execution, 4, &[]).await;
            assert!(!runs.iter().any(|run| run.stdout.contains("not marking anyone")), "{runs:?}");
            for id in &newcomers {
                assert_eq!(world.trouble(id).await["state"], state, "{id}");
            }
        }
    }

    async fn what_an_older_version_left_in_the_ledger_does_not_count_and_breaks_nothing(world) {
        world.many(&users(4)).await;
        execute(&world, "pulse-a", 2, &[]).await;
        let mut record = world.stored(&ledger_of("pulse-a")).await.expect("a ledger").fields;
        let tasks = record.remove("tasks").expect("tasks");
        let as_before = map(entries(&tasks).expect("a map").iter().map(|(name, task)| {
            let mut task = entries(task).expect("a map").clone();
            task.insert("rejections".into(), map([("asked".into(), integer(9)), ("rejected".into(), integer(9))].into()));
            let mut counts = entries(&task["counts"]).expect("a map").clone();
            counts.retain(|name, _| !["ours", "stale"].contains(&name.as_str()));
            task.insert("counts".into(), map(counts));
            (name.clone(), map(task))
        }).collect());
        world.patch(&ledger_of("pulse-a"), [("tasks", as_before)]).await;
        let run = Task { index: 1, count: 2, attempt: 1, ..single("pulse-a") }.run(&world, &[]).await;
        assert_eq!(run.exit, Some(0), "{}", run.stdout);
        assert_eq!(account_calls(&world), 4, "the record of the first attempt is understood");
        assert!(!run.stdout.contains("not marking anyone"), "{}", run.stdout);
    }

    async fn a_users_own_rejections_are_recorded_whichever_task_sees_them(world) {
        let ids: Vec<_> = ["A", "M", "a", "k"].iter().flat_map(|sign| (0..4).map(move |n| format!("{sign}{n}"))).collect();
        world.many(&ids).await;
        world.account("M1", Profile::Revoked);
        for (execution, state) in [("pulse-a", "retrying"), ("pulse-b", "needs_reauth")] {
            execute(&world, execution, 4, &[]).await;
            assert_eq!(world.trouble("M1").await["state"], state);
        }
        execute(&world, "pulse-c", 4, &[]).await;
        assert_eq!(published(&world, "needs_reauth_count").await, 1);
    }

    async fn a_task_whose_few_users_all_failed_does_not_fail_the_job(world) {
        world.many(&["A", "M", "a", "k"].map(str::to_owned)).await;
        for keyless in ["A", "k"] {
            world.sandbox.secrets().delete(&crate::world::secret_of(keyless));
        }
        let runs = execute(&world, "pulse-a", 4, &[]).await;
        assert!(runs.iter().all(|run| run.exit == Some(0)), "{runs:?}");
        assert_eq!(last_pulse(&world).await["status"], "degraded");
        for keyless in ["M", "a"] {
            world.sandbox.secrets().delete(&crate::world::secret_of(keyless));
        }
        let runs = execute(&world, "pulse-b", 4, &[]).await;
        // Those that end at the same moment may all be the last one.
        assert!(runs.iter().any(|run| run.exit == Some(1)), "the last one knows: {runs:?}");
        assert_eq!(last_pulse(&world).await["status"], "failed");
    }

    async fn the_legacy_account_is_synced_by_one_task(world) {
        world.many(&users(8)).await;
        let keys = [("APCA_API_KEY_ID", "PKlegacy"), ("APCA_API_SECRET_KEY", "hush")];
        let legacy = pulse_sandbox::alpaca::Keys { key_id: "PKlegacy".into(), secret_key: "hush".into() };
        world.sandbox.alpaca().register("legacy", legacy, Profile::active());
        let task = |index| {
            let mut command = Task { index, count: 3, ..single("pulse-a") }.of(world.command(&[]));
            command.envs(keys);
            async move { crate::world::Run::of(&mut command).await }
        };
        let runs = futures::future::join_all((0..3).map(task)).await;
        assert_eq!(runs.iter().map(synced).sum::<usize>(), 9);
        assert_eq!(published(&world, "users_count").await, 9);
    }
}
