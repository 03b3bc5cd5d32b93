//! Pulses repeated in one process: what each of them does, and what it spares.

use crate::answers::money;
use crate::command_line::assert_refused;
use crate::held_alpaca::HeldAlpaca;
use crate::live::Live;
use crate::on_both;
use crate::world::{Env, Run, World, fields_of, keys_of, sandbox};
use alpaca_pulse::firestore::values::{array, integer, map, text, timestamp};
use gcloud_sdk::google::firestore::v1::Document;
use jiff::Timestamp;
use pulse_sandbox::alpaca::{Keys, Profile};
use pulse_sandbox::call::Service;
use serde_json::{Value as Json, json};
use tokio::process::Command;

const FIRST: &str = "pulse-x7k2p";
const SECOND: &str = "pulse-x7k2p-2";

const COMPLETED: &str = "Completed multi-tenant sync: ";
const TOLD: &str = "Told to stop: starting no new user, finishing what is in flight";

/// So often that a test does not wait for long; the tests say when it is enough.
const ENDLESS: [&str; 4] = ["--every", "1s", "--for", "1h"];

fn named(mut command: Command) -> Live {
    Live::start({
        command.env("CLOUD_RUN_EXECUTION", FIRST);
        command
    })
}

/// A loop with these arguments besides.
fn looping(world: &World, args: &[&str]) -> Live {
    named(world.command(&[&ENDLESS, args].concat()))
}

/// The same, with an Alpaca that holds its calls.
fn held(world: &World, alpaca: &HeldAlpaca, args: &[&str]) -> Live {
    named(alpaca.command(world, &[&ENDLESS, args].concat()))
}

/// Tells it to stop, and waits for its end.
async fn stopped(running: Live) -> Run {
    running.signal("TERM");
    let run = running.end().await;
    assert_eq!(run.exit, Some(143), "{}", run.stdout);
    run
}

fn ledger(execution: &str) -> String {
    format!("ops/last_pulse/executions/{execution}")
}

/// A ledger as an execution leaves it that is at work.
async fn at_work(world: &World, execution: &str) {
    let plan = map(fields_of([("tasks", integer(1)), ("splits", array(Vec::new()))]));
    let now = timestamp(Timestamp::now());
    let fields =
        [("plan", plan), ("started_at", now.clone()), ("touched_at", now), ("tasks", map(fields_of([])))];
    world.put(&ledger(execution), fields).await;
    world.put("ops/current_pulse", [("execution", text(execution))]).await;
}

/// The entries that start so, in their order.
fn entries(run: &Run, message: &str) -> Vec<Json> {
    let mut entries = run.entries();
    entries.retain(|entry| entry["message"].as_str().is_some_and(|text| text.starts_with(message)));
    entries
}

/// What the pulses said of a user who was synced: whether they found nothing changed.
fn unchanged(run: &Run, user: &str) -> Vec<bool> {
    let message = format!("Successfully synced Alpaca account for user {user}");
    entries(run, &message).iter().map(|entry| entry["unchanged"] == true).collect()
}

/// A user's two documents, with their times.
async fn written(world: &World, user: &str) -> [Option<Document>; 2] {
    [
        world.stored(&format!("users/{user}/alpacaAccounts/snapshot")).await,
        world.stored(&format!("tenants/{user}/accounts/primary")).await,
    ]
}

// One execution after the other.

on_both! {
    async fn each_pulse_is_an_execution_of_its_own(world) {
        world.user("ana").await;
        let mut running = looping(&world, &[]);
        running.until(COMPLETED, 3).await;
        let run = stopped(running).await;
        let completed = entries(&run, COMPLETED);
        for (number, execution) in [FIRST, SECOND, "pulse-x7k2p-3"].into_iter().enumerate() {
            assert_eq!(completed[number]["execution"], execution);
            assert_eq!(completed[number]["logging.googleapis.com/labels"]["execution"], execution);
        }
        for execution in [FIRST, SECOND] {
            let ledger = world.document(&ledger(execution)).await;
            let task = &ledger["tasks"]["task_0"];
            assert_eq!((&task["state"], &task["counts"]["success"]), (&json!("completed"), &json!({"integer": 1})));
            assert!(ledger["ended_at"].is_object(), "{ledger}");
            assert_eq!(task["used"]["alpaca_calls"], json!({"integer": 1}), "its own, not those of all");
        }
        let last_pulse = world.document("ops/last_pulse").await;
        assert!(last_pulse["execution"].as_str().is_some_and(|last| last.starts_with("pulse-x7k2p-")));
        assert_eq!(last_pulse["users_count"], json!({"integer": 1}));
    }

    async fn a_retried_attempt_goes_on_after_the_pulses_that_are_done(world) {
        let alpaca = HeldAlpaca::start().await;
        for user in ["ana", "ben"] {
            world.user(user).await;
        }
        let mut killed = held(&world, &alpaca, &[]);
        alpaca.let_go(2);
        killed.until(COMPLETED, 1).await;
        alpaca.arrived(4).await;
        killed.signal("KILL");
        killed.end().await;
        let first = world.stored(&ledger(FIRST)).await;

        let mut command = world.command(&ENDLESS);
        command.env("CLOUD_RUN_TASK_ATTEMPT", "1");
        let mut retried = named(command);
        retried.until(COMPLETED, 2).await;
        let run = stopped(retried).await;
        let completed = entries(&run, COMPLETED);
        assert_eq!([&completed[0]["execution"], &completed[1]["execution"]], [SECOND, "pulse-x7k2p-3"]);
        assert_eq!(world.stored(&ledger(FIRST)).await, first, "nothing of it is touched");
    }

    async fn a_pulse_of_the_same_loop_whose_end_was_not_recorded_is_in_nobodys_way(world) {
        world.user("ana").await;
        at_work(&world, "pulse-x7k2p-5").await;
        let args = ["--every", "1s", "--for", "1s"];
        let run = world.pulse_with_in(&args, &[("CLOUD_RUN_EXECUTION", FIRST)]).await;
        run.assert_completed("1 successful, 0 errors", 0);
        assert!(entries(&run, "Skipped pulse").is_empty(), "{}", run.stdout);
    }

    async fn another_execution_is_waited_for(world) {
        world.user("ana").await;
        at_work(&world, "other").await;
        let mut running = looping(&world, &[]);
        running.until("Skipped pulse: execution other is still running", 1).await;
        assert_eq!(world.snapshot("ana").await, Json::Null);
        world.patch(&ledger("other"), [("ended_at", timestamp(Timestamp::now()))]).await;
        running.until(COMPLETED, 1).await;
        let run = stopped(running).await;
        assert_eq!(entries(&run, COMPLETED)[0]["execution"], FIRST);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pulse_that_comes_due_while_the_last_one_runs_is_skipped() {
    let (world, alpaca) = (sandbox().await, HeldAlpaca::start().await);
    world.user("ana").await;
    let mut running = held(&world, &alpaca, &[]);
    alpaca.arrived(1).await;
    running.until("Skipped pulse: execution pulse-x7k2p is still running", 2).await;
    assert_eq!(alpaca.count(), 1);
    alpaca.let_go(1_000);
    running.until(COMPLETED, 2).await;
    let run = stopped(running).await;
    assert_eq!(entries(&run, COMPLETED)[1]["execution"], SECOND, "no number is used up by a skipped one");
    let skipped = "Skipped pulse: execution pulse-x7k2p is still running";
    assert_eq!(run.severity_of(skipped).as_deref(), Some("WARNING"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_by_itself_with_the_exit_code_of_the_last_pulse() {
    let world = sandbox().await;
    world.user("ana").await;
    let run = world.pulse_with(&["--every", "1s", "--for", "2s"]).await;
    run.assert_completed("1 successful, 0 errors", 0);
    // Another one, as the second that the first loop has claimed may not be over.
    let world = sandbox().await;
    world.user("ana").await;
    world.account("ana", Profile::Revoked);
    let run = world.pulse_in(&[("PULSE_EVERY", "1s"), ("PULSE_FOR", "1s")]).await;
    run.assert_completed("0 successful, 1 errors", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legacy_account_takes_part_in_every_pulse() {
    let world = sandbox().await;
    let (key_id, secret_key) = keys_of("legacy");
    world.account("legacy", Profile::active());
    let mut command = world.command(&ENDLESS);
    command.env("APCA_API_KEY_ID", key_id).env("APCA_API_SECRET_KEY", secret_key);
    let mut running = named(command);
    running.until("Completed multi-tenant sync: 1 successful, 0 errors", 2).await;
    stopped(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn named_users_are_synced_again_and_again_without_a_ledger() {
    let world = sandbox().await;
    for user in ["ana", "ben"] {
        world.user(user).await;
    }
    let mut running = looping(&world, &["--user", "ana"]);
    running.until("Completed multi-tenant sync: 1 successful, 0 errors", 2).await;
    stopped(running).await;
    assert!(world.secret_accesses("ana") >= 2, "a person wants to know of the newest keys");
    assert_eq!(world.secret_accesses("ben"), 0);
    assert_eq!(world.document(&ledger(FIRST)).await, Json::Null);
    assert_eq!(world.document("ops/last_pulse").await, Json::Null);
}

// Being told to stop.

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_between_two_pulses_ends_it_at_once() {
    let world = sandbox().await;
    world.user("ana").await;
    let mut running = named(world.command(&["--every", "1m", "--for", "1h"]));
    running.until(COMPLETED, 1).await;
    world.wait_for("ops/last_pulse").await;
    let run = stopped(running).await;
    assert_eq!(entries(&run, COMPLETED).len(), 1);
    assert!(entries(&run, "Stopped multi-tenant sync").is_empty(), "{}", run.stdout);
}

on_both! {
    async fn a_signal_during_a_pulse_lets_it_finish_what_is_in_flight(world) {
        let alpaca = HeldAlpaca::start().await;
        for user in ["ana", "ben", "cy"] {
            world.user(user).await;
        }
        let mut running = held(&world, &alpaca, &["--concurrency", "2"]);
        alpaca.let_go(3);
        running.until(COMPLETED, 1).await;
        alpaca.arrived(5).await;
        running.signal("TERM");
        running.until(TOLD, 1).await;
        alpaca.let_go(1_000);
        let run = running.end().await;
        assert_eq!((run.exit, alpaca.count()), (Some(143), 5), "{}", run.stdout);
        let stopped = run.entry("Stopped multi-tenant sync: 2 successful, 0 errors");
        assert_eq!(stopped["execution"], SECOND);
        let ledger = world.document(&ledger(SECOND)).await;
        assert_eq!(ledger["tasks"]["task_0"]["state"], "stopped");
    }
}

// Keys.

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_once_and_alpaca_is_asked_every_time() {
    let world = sandbox().await;
    world.user("ana").await;
    let mut running = looping(&world, &[]);
    running.until(COMPLETED, 3).await;
    stopped(running).await;
    assert_eq!(world.secret_accesses("ana"), 1);
    assert!(world.account_calls("ana") >= 3);
    let last_pulse = world.document("ops/last_pulse").await;
    assert_eq!(last_pulse["secret_accesses"], json!({"integer": 0}), "only real ones count");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_again_when_their_time_is_over_or_none_are_kept() {
    let world = sandbox().await;
    world.user("ana").await;
    let mut pulses = 0;
    for ttl in ["0s", "300ms"] {
        let mut running = looping(&world, &["--key-ttl", ttl]);
        running.until(COMPLETED, 2).await;
        let run = stopped(running).await;
        pulses += entries(&run, "Successfully synced").len();
        assert_eq!(world.secret_accesses("ana"), pulses, "{ttl}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_keys_are_dropped_and_newer_ones_used_in_the_same_pulse() {
    let world = sandbox().await;
    world.user("ana").await;
    let mut command = world.command(&ENDLESS);
    command.env("RUST_LOG", "trace");
    let mut running = named(command);
    running.until(COMPLETED, 1).await;
    // First the new keys are made and stored, then the old ones end.
    let keys = Keys { key_id: "PKTESTrotated".into(), secret_key: "hush-rotated".into() };
    let payload = json!({"key_id": keys.key_id, "secret_key": keys.secret_key}).to_string();
    world.sandbox.alpaca().register("ana", keys, money("7.00"));
    assert_eq!(world.store_payload("ana", &payload), 2);
    world.account("ana", Profile::Revoked);
    running.until("Completed multi-tenant sync: 1 successful, 0 errors", 3).await;
    let run = stopped(running).await;
    assert_eq!(run.error_of("ana"), None);
    assert!(!run.stdout.contains("hush"), "no key is printed");
    assert_eq!(world.secret_accesses("ana"), 2);
    let snapshot = world.snapshot("ana").await;
    assert_eq!((&snapshot["key_version"], &snapshot["equity"]), (&json!("2"), &json!(7.0)));
    assert_eq!(world.trouble("ana").await, Json::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_stay_rejected_are_tried_once_a_pulse_and_reported() {
    let world = sandbox().await;
    for user in ["ana", "ben"] {
        world.user(user).await;
    }
    let mut running = looping(&world, &[]);
    running.until(COMPLETED, 1).await;
    world.account("ana", Profile::Revoked);
    running.until("Failed to sync Alpaca account for user ana", 2).await;
    running.until(COMPLETED, 1).await;
    let run = stopped(running).await;
    let failed = entries(&run, "Failed to sync Alpaca account for user ana");
    for entry in &failed {
        assert_eq!(entry["error"], "broker_rejected");
        let ledger = world.document(&ledger(entry["execution"].as_str().expect("a text"))).await;
        let used = &ledger["tasks"]["task_0"]["used"];
        assert_eq!(
            (&used["alpaca_calls"], &used["secret_accesses"]),
            (&json!({"integer": 2}), &json!({"integer": 1}))
        );
    }
    let trouble = world.trouble("ana").await;
    assert_eq!((&trouble["state"], &trouble["rejections"]), (&json!("needs_reauth"), &json!({"integer": 2})));
}

/// So many rejections at once are nobody's trouble, and change nobody's state.
#[tokio::test(flavor = "multi_thread")]
async fn rejected_keys_are_not_tried_again_before_their_secret_is_looked_at() {
    let world = sandbox().await;
    let users = world.crowd(5);
    let mut running = looping(&world, &[]);
    running.until(COMPLETED, 1).await;
    for user in &users {
        world.account(user, Profile::Revoked);
    }
    running.until("Failed to sync Alpaca account for user user-0001", 3).await;
    stopped(running).await;
    let calls = world.sandbox.requests().received();
    let of_user = calls.iter().filter(|call| call.user.as_deref() == Some("user-0001"));
    let services = of_user.map(|call| call.method.service());
    let services: Vec<_> = services.filter(|service| *service != Service::Firestore).collect();
    let twice = services.windows(2).filter(|two| *two == [Service::SecretManager; 2]).count();
    assert_eq!(twice, 1, "once after the rejection, and then before the next try: {services:?}");
}

// Unchanged accounts.

on_both! {
    async fn an_unchanged_account_is_not_rewritten_and_a_changed_one_is_at_once(world) {
        for (user, equity) in [("ana", "1.00"), ("ben", "2.00")] {
            world.user(user).await;
            world.account(user, money(equity));
        }
        let mut running = looping(&world, &[]);
        running.until(COMPLETED, 1).await;
        let (ana, ben) = (written(&world, "ana").await, written(&world, "ben").await);
        assert!(ana.iter().chain(&ben).all(Option::is_some));
        running.until(COMPLETED, 2).await;
        assert_eq!((written(&world, "ana").await, written(&world, "ben").await), (ana.clone(), ben));

        world.account("ben", money("3.00"));
        // One that is under way may have asked already.
        running.until(COMPLETED, 2).await;
        assert_eq!(world.snapshot("ben").await["equity"], 3.0);
        assert_eq!(world.primary("ben").await["equity"], 3.0);
        assert_eq!(written(&world, "ana").await, ana);
        let run = stopped(running).await;
        assert_eq!(unchanged(&run, "ana").iter().filter(|unchanged| !**unchanged).count(), 1);
        assert_eq!(unchanged(&run, "ben").iter().filter(|unchanged| !**unchanged).count(), 2);
        assert!(run.entries().iter().all(|entry| entry["unchanged"] != false), "only where it is so");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_writes_costs_no_write() {
    let world = sandbox().await;
    for user in world.crowd(20) {
        world.account(&user, money("1.00"));
    }
    let mut running = looping(&world, &[]);
    running.until("Completed multi-tenant sync: 20 successful, 0 errors", 3).await;
    stopped(running).await;
    let writes = async |execution| {
        let ledger = world.document(&ledger(execution)).await;
        ledger["tasks"]["task_0"]["used"]["firestore_writes"]["integer"].as_i64().expect("a number")
    };
    let (first, second) = (writes(FIRST).await, writes(SECOND).await);
    assert_eq!(first - second, 2 * 20, "{first} and {second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_account_is_rewritten_when_its_snapshot_is_old_enough() {
    let world = sandbox().await;
    world.user("ana").await;
    world.account("ana", money("1.00"));
    let mut running = looping(&world, &["--refresh-unchanged", "3s"]);
    running.until(COMPLETED, 6).await;
    let run = stopped(running).await;
    let pulses = unchanged(&run, "ana");
    let rewritten = pulses.iter().filter(|unchanged| !**unchanged).count();
    assert!((2..pulses.len()).contains(&rewritten), "{pulses:?}");
    assert_eq!(world.snapshot_commits("ana"), rewritten);

    let mut running = looping(&world, &["--refresh-unchanged", "0s"]);
    running.until(COMPLETED, 1).await;
    let run = stopped(running).await;
    assert!(!unchanged(&run, "ana").contains(&true), "{}", run.stdout);
}

on_both! {
    async fn a_tenants_document_that_is_gone_is_written_again(world) {
        world.user("ana").await;
        world.account("ana", money("1.00"));
        let mut running = looping(&world, &["--users-ttl", "2s"]);
        running.until(COMPLETED, 1).await;
        world.delete("tenants/ana/accounts/primary").await;
        world.wait_for("tenants/ana/accounts/primary").await;
        stopped(running).await;
    }
}

on_both! {
    async fn the_end_of_trouble_is_written_though_the_account_is_unchanged(world) {
        world.user("ana").await;
        world.account("ana", money("1.00"));
        let mut running = looping(&world, &[]);
        running.until(COMPLETED, 1).await;
        world.account("ana", Profile::Revoked);
        running.until("Failed to sync Alpaca account for user ana", 1).await;
        world.account("ana", money("1.00"));
        running.until("Successfully synced Alpaca account for user ana", 1).await;
        assert_eq!(world.trouble("ana").await["state"], "ok");
        running.until("Successfully synced Alpaca account for user ana", 1).await;
        let run = stopped(running).await;
        assert_eq!(unchanged(&run, "ana").last(), Some(&true), "and then it is left alone again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_knows_what_a_failed_write_has_left_behind() {
    let world = sandbox().await;
    world.user("ana").await;
    world.account("ana", money("1.00"));
    let mut running = looping(&world, &[]);
    running.until(COMPLETED, 2).await;
    world.fault("firestore/Commit:error=PERMISSION_DENIED");
    world.account("ana", money("2.00"));
    running.until("Could not record the trouble of 1 users", 1).await;
    world.account("ana", money("1.00"));
    world.sandbox.faults().clear();
    running.until("Successfully synced Alpaca account for user ana", 2).await;
    let run = stopped(running).await;
    assert_eq!(unchanged(&run, "ana").iter().filter(|unchanged| !**unchanged).count(), 2, "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_writes_nothing_however_often() {
    let world = sandbox().await;
    world.user("ana").await;
    world.account("ana", money("1.00"));
    let mut running = looping(&world, &["--dry-run"]);
    running.until("Would have synced Alpaca account for user ana (dry run)", 3).await;
    let run = stopped(running).await;
    assert!(!run.stdout.contains("Successfully synced"), "{}", run.stdout);
    assert_eq!((world.snapshot("ana").await, world.secret_accesses("ana")), (Json::Null, 1));
}

// Refusals.

#[tokio::test(flavor = "multi_thread")]
async fn times_and_tasks_that_cannot_be_are_refused() {
    let world = sandbox().await;
    let cases: [(&[&str], Env<'_>, &str); 8] = [
        (&["--every", "60s"], &[], "--every and --for must be set together"),
        (&[], &[("PULSE_FOR", "14m")], "--every and --for must be set together"),
        (&["--every", "10ms", "--for", "14m"], &[], "--every must be"),
        (&["--every", "60", "--for", "14m"], &[], "time unit needed"),
        (&["--every", "60s", "--for", "8days"], &[], "--for must be"),
        (&["--every", "60s", "--for", "14m", "--key-ttl", "25h"], &[], "--key-ttl must be"),
        (
            &["--every", "60s", "--for", "14m"],
            &[("PULSE_REFRESH_UNCHANGED", "200s")],
            "--refresh-unchanged and --every must be 240s at most together",
        ),
        (
            &["--every", "60s", "--for", "14m"],
            &[("CLOUD_RUN_TASK_COUNT", "2"), ("CLOUD_RUN_TASK_INDEX", "1")],
            "deploy the job with --tasks 1",
        ),
    ];
    for (args, env, reason) in cases {
        let run = world.pulse_with_in(args, env).await;
        assert_refused(&world, &run);
        assert!((run.stdout.clone() + &run.stderr).contains(reason), "{args:?} {env:?}: {run:?}");
    }
}
