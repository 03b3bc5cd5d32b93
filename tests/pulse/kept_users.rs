//! The users that a loop keeps between two readings of all: what it costs, who comes when, and what goes wrong.

use crate::answers::{answer, money};
use crate::live::{Live, in_time, wait_until};
use crate::on_both;
use crate::typed::Typed;
use crate::world::{
    OWN_CALL, Run, World, fields_of, keys_of, off, sandbox, secret_of, timestamp as point_in_time,
};
use crate::wrong_clock::faketime;
use alpaca_pulse::firestore::values::{boolean, text, timestamp};
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::call::Service;
use serde_json::{Value as Json, json};

const EXECUTION: &str = "pulse-x7k2p";
const COMPLETED: &str = "Completed multi-tenant sync: ";

/// A loop that goes on until the test has seen enough; with these arguments, and with all snapshots written anew.
fn looping(world: &World, args: &[&str]) -> Live {
    let endless = ["--every", "1s", "--for", "1h", "--refresh-unchanged", "0s"];
    let mut command = world.command(&[&endless, args].concat());
    command.env("CLOUD_RUN_EXECUTION", EXECUTION);
    Live::start(command)
}

/// The same that leaves accounts alone that rest, and nothing but snapshots to write.
fn resting(world: &World, args: &[&str]) -> Live {
    let endless = ["--every", "1s", "--for", "1h", "--legacy-tenant-path", "members"];
    let mut command = world.command(&[&endless, args].concat());
    command.env("CLOUD_RUN_EXECUTION", EXECUTION);
    Live::start(command)
}

/// Never again, as far as a test goes.
const FOR_LONG: [&str; 2] = ["--users-ttl", "1h"];

async fn stopped(running: Live) -> Run {
    running.signal("TERM");
    let run = running.end().await;
    assert_eq!(run.exit, Some(143), "{}", run.stdout);
    run
}

/// Two pulses more: the one that is under way may have begun before.
async fn two_more(running: &mut Live, counts: &str) {
    running.until(COMPLETED, 1).await;
    running.until(&format!("{COMPLETED}{counts}"), 1).await;
}

/// Some pulses more, until one ends with just these counts; a loop in which none does is not waited for.
async fn within_some_pulses(running: &mut Live, counts: &str) {
    let last = format!("{COMPLETED}{counts}\"");
    for _ in 0..20 {
        running.until(COMPLETED, 1).await;
        if running.log().lines().last().is_some_and(|line| line.contains(&last)) {
            return;
        }
    }
    panic!("no {last} in:\n{}", running.log());
}

fn synced(user: &str) -> String {
    format!("Successfully synced Alpaca account for user {user}")
}

/// What the task of that pulse of the loop has used.
async fn used(world: &World, number: u32, what: &str) -> i64 {
    let execution = if number == 1 { EXECUTION.to_owned() } else { format!("{EXECUTION}-{number}") };
    let ledger = world.document(&format!("ops/last_pulse/executions/{execution}")).await;
    ledger["tasks"]["task_0"]["used"][what]["integer"].as_i64().expect("a number")
}

/// Queries of the job.
fn queries(world: &World) -> usize {
    let received = world.sandbox.requests().received();
    let of_job = |call: &&pulse_sandbox::requests::Received| {
        call.method.service() == Service::Firestore
            && call.method.name() == "RunQuery"
            && !call.headers.contains_key(OWN_CALL)
    };
    received.iter().filter(of_job).count()
}

async fn changed_now(world: &World, user: &str) {
    world.patch(&format!("users/{user}"), [("keys_updated_at", timestamp(Timestamp::now()))]).await;
}

async fn a_tenant_of(world: &World, tenant: &str, users: &[&str]) {
    for user in users {
        world.user_of_tenant(user, text(tenant)).await;
        world.membership(tenant, user).await;
    }
}

// What it costs.

#[tokio::test(flavor = "multi_thread")]
async fn between_two_readings_of_all_users_a_pulse_reads_none_of_them() {
    let world = sandbox().await;
    world.crowd(16);
    for user in ["ana", "ben", "cy", "dee"] {
        a_tenant_of(&world, if user < "c" { "acme" } else { "zeta" }, &[user]).await;
    }
    let mut running = looping(&world, &FOR_LONG);
    running.until(&format!("{COMPLETED}20 successful, 0 errors"), 3).await;
    let run = stopped(running).await;
    let reads = [used(&world, 1, "firestore_reads").await, used(&world, 2, "firestore_reads").await];
    // A tenant's second member found nothing when all were read at once, and looks whose it is by now.
    let third = used(&world, 3, "firestore_reads").await;
    assert!(reads[0] > 60 && reads[1] < 40 && third < 12, "{reads:?} {third} {}", run.stdout);
    assert_eq!(used(&world, 3, "firestore_writes").await, used(&world, 2, "firestore_writes").await);
    for tenant in ["acme", "zeta", "user-0001"] {
        let (primary, owner) = (world.primary(tenant).await, world.primary(tenant).await["user_id"].clone());
        let snapshot = world.snapshot(owner.as_str().expect("a text")).await;
        assert_eq!(primary["updated_at_iso"], snapshot["updated_at_iso"], "{tenant}");
    }
}

/// Users who are paused, whom nothing is asked or written of.
fn paused(world: &World, size: usize, changed: Option<Timestamp>) {
    let fields = || {
        let mut fields = fields_of([("sync_enabled", off())]);
        fields.extend(changed.map(|at| ("keys_updated_at".to_owned(), timestamp(at))));
        fields
    };
    world.put_all("(default)", (0..size).map(|number| (format!("users/paused-{number:04}"), fields())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_said_to_be_in_the_future_costs_nothing_until_then() {
    let world = sandbox().await;
    world.user("ana").await;
    paused(&world, 40, Some(Timestamp::now() + SignedDuration::from_hours(1)));
    let mut running = looping(&world, &FOR_LONG);
    running.until(&format!("{COMPLETED}1 successful, 0 errors, 40 skipped"), 3).await;
    let run = stopped(running).await;
    let (first, third) = (used(&world, 1, "firestore_reads").await, used(&world, 3, "firestore_reads").await);
    assert!(first > 40 && third < 20, "{first} {third} {}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_users_are_read_where_more_have_changed_than_one_query_finds() {
    let world = sandbox().await;
    for user in ["ana", "ben"] {
        world.user(user).await;
    }
    paused(&world, 1_000, None);
    let mut running = looping(&world, &[&FOR_LONG[..], &["--user-lines", "failed"]].concat());
    running.until(&format!("{COMPLETED}2 successful, 0 errors, 1000 skipped"), 2).await;
    // Nothing tells of that but that all are read.
    world.patch("users/ben", [("sync_enabled", off())]).await;
    paused(&world, 999, Some(Timestamp::now()));
    running.until(COMPLETED, 1).await;
    running.until(&format!("{COMPLETED}2 successful, 0 errors, 1000 skipped"), 1).await;
    paused(&world, 1_000, Some(Timestamp::now()));
    within_some_pulses(&mut running, "1 successful, 0 errors, 1001 skipped").await;
    stopped(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_users_are_read_in_every_pulse_where_they_are_not_kept() {
    for args in [["--users-ttl", "0s"], ["--kept-users", "2"], ["--where", "display_name=Somebody"]] {
        let world = sandbox().await;
        for user in ["ana", "ben", "cy"] {
            world.user(user).await;
        }
        let mut running = looping(&world, &args);
        running.until(COMPLETED, 1).await;
        world.patch("users/ana", [("sync_enabled", off())]).await;
        two_more(&mut running, "2 successful, 0 errors, 1 skipped").await;
        let run = stopped(running).await;
        let told = run
            .entries()
            .iter()
            .filter(|entry| entry["message"].as_str().is_some_and(|text| text.contains("--kept-users 2")))
            .count();
        assert_eq!(told, usize::from(args[0] == "--kept-users"), "{args:?}: {}", run.stdout);
    }
}

// Who comes when.

on_both! {
    async fn a_new_user_and_one_who_changed_come_with_the_next_pulse(world) {
        world.user("ana").await;
        let mut running = looping(&world, &FOR_LONG);
        running.until(COMPLETED, 1).await;
        world.user("ben").await;
        changed_now(&world, "ben").await;
        two_more(&mut running, "2 successful, 0 errors").await;
        assert_eq!(world.primary("ben").await["user_id"], "ben");
        // Theirs is another tenant now, of whose document nobody knew.
        world.membership("acme", "ben").await;
        world.patch("users/ben", [("tenant_id", text("acme"))]).await;
        changed_now(&world, "ben").await;
        two_more(&mut running, "2 successful, 0 errors").await;
        assert_eq!(world.primary("acme").await["user_id"], "ben");
        world.patch("users/ben", [("sync_enabled", off())]).await;
        // By a clock that is slow.
        let slow = timestamp(Timestamp::now() - SignedDuration::from_secs(30));
        world.patch("users/ben", [("keys_updated_at", slow)]).await;
        two_more(&mut running, "1 successful, 0 errors, 1 skipped").await;
        let before = queries(&world);
        stopped(running).await;
        assert!(world.backend == crate::world::Backend::Emulator || before > 0);
    }

    async fn what_pulse_user_does_takes_effect_with_the_next_pulse(world) {
        for user in ["ana", "ben"] {
            world.user(user).await;
        }
        let mut running = looping(&world, &FOR_LONG);
        running.until(COMPLETED, 1).await;
        for (command, counts) in [("pause", "1 successful, 0 errors, 1 skipped"), ("resume", "2 successful, 0 errors")] {
            let run = Typed::in_to(&world, &["user", command, "ben", "--yes", "--json"], "").await;
            assert_eq!(run.exit, Some(0), "{}", run.stdout);
            two_more(&mut running, counts).await;
        }
        stopped(running).await;
    }

    async fn who_is_removed_is_not_written_again(world) {
        for user in ["ana", "ben"] {
            world.user(user).await;
        }
        a_tenant_of(&world, "acme", &["cy"]).await;
        let mut running = looping(&world, &FOR_LONG);
        running.until(&synced("ben"), 2).await;
        running.until(COMPLETED, 1).await;
        for user in ["ben", "cy"] {
            let run = Typed::in_to(&world, &["user", "remove", user, "--yes", "--json"], "").await;
            assert_eq!(run.exit, Some(0), "{}", run.stdout);
        }
        // One that was under way may have put something back, which another pulse finds gone or does not.
        two_more(&mut running, "1 successful, 0 errors").await;
        for user in ["ben", "cy"] {
            let run = Typed::in_to(&world, &["user", "remove", user, "--yes", "--json"], "").await;
            assert_eq!(run.exit, Some(0), "{}", run.stdout);
        }
        two_more(&mut running, "1 successful, 0 errors").await;
        let left: Vec<String> = world.everything().await.into_keys().collect();
        let of_removed = |path: &&String| path.contains("ben") || path.contains("cy") || path.contains("acme");
        assert_eq!(left.iter().filter(of_removed).count(), 0, "{left:?}");
        stopped(running).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_paused_or_deleted_by_anybody_else_is_so_within_the_time_that_users_are_kept() {
    let world = sandbox().await;
    for user in ["ana", "ben", "cy"] {
        world.user(user).await;
    }
    let mut running = looping(&world, &["--users-ttl", "3s"]);
    running.until(COMPLETED, 1).await;
    world.patch("users/ben", [("sync_enabled", off())]).await;
    running.until(&format!("{COMPLETED}2 successful, 0 errors, 1 skipped"), 1).await;
    world.delete("users/cy").await;
    running.until(&format!("{COMPLETED}1 successful, 0 errors, 1 skipped"), 1).await;
    stopped(running).await;
}

on_both! {
    async fn a_user_who_is_deleted_and_created_again_is_who_they_are_now(world) {
        for user in ["ana", "ben"] {
            world.user(user).await;
        }
        let mut running = looping(&world, &FOR_LONG);
        running.until(&synced("ben"), 2).await;
        for gone in ["users/ben/alpacaAccounts/snapshot", "tenants/ben/accounts/primary", "users/ben"] {
            world.delete(gone).await;
        }
        running.until(COMPLETED, 1).await;
        running.until(&format!("{COMPLETED}1 successful, 0 errors"), 1).await;
        world.membership("acme", "ben").await;
        world.put("users/ben", [("tenant_id", text("acme")), ("keys_updated_at", timestamp(Timestamp::now()))]).await;
        two_more(&mut running, "2 successful, 0 errors").await;
        stopped(running).await;
        assert_eq!(world.primary("acme").await["user_id"], "ben");
        assert_eq!(world.snapshot("ben").await["user_id"], "ben");
        assert_eq!(world.primary("ben").await, Json::Null);
    }

    async fn a_snapshot_that_is_gone_is_written_again_while_its_user_is_there(world) {
        world.user("ana").await;
        let mut running = looping(&world, &FOR_LONG);
        running.until(&synced("ana"), 2).await;
        world.delete("users/ana/alpacaAccounts/snapshot").await;
        running.until(&synced("ana"), 2).await;
        let run = stopped(running).await;
        assert_eq!(world.snapshot("ana").await["user_id"], "ana");
        let is_left_alone = run.stdout.contains("Skipped Alpaca account");
        assert_eq!((run.error_of("ana"), is_left_alone), (None, false), "{}", run.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_a_user_who_is_gone_are_not_used_again() {
    let world = sandbox().await;
    for user in ["ana", "ben"] {
        world.user(user).await;
    }
    let mut running = looping(&world, &FOR_LONG);
    running.until(&synced("ben"), 2).await;
    for gone in ["users/ben", "tenants/ben/accounts/primary", "users/ben/alpacaAccounts/snapshot"] {
        world.delete(gone).await;
    }
    running.until(&format!("{COMPLETED}1 successful, 0 errors"), 2).await;
    let accesses = || world.calls(Service::SecretManager, "AccessSecretVersion");
    let before = accesses();
    // Who is back without a word is found when all are read.
    world.user("ben").await;
    world.fault("firestore/RunQuery:error=INVALID_ARGUMENT,times=1");
    running.until(&synced("ben"), 2).await;
    stopped(running).await;
    assert_eq!(accesses(), before + 1, "their secret is read, and kept again");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_gets_the_id_of_another_without_a_word_gets_their_own_account_once_all_are_read() {
    let world = sandbox().await;
    world.user("ana").await;
    world.user("ben").await;
    world.account("ben", money("1000"));
    let mut running = resting(&world, &["--users-ttl", "2s"]);
    running.until(&synced("ben"), 3).await;
    assert_eq!(world.snapshot("ben").await["equity"], json!(1000.0));
    for gone in ["users/ben/alpacaAccounts/snapshot", "users/ben"] {
        world.delete(gone).await;
    }
    let (key_id, secret_key) = keys_of("zoe");
    let payload = json!({"key_id": key_id, "secret_key": secret_key, "environment": "paper"});
    world.account("zoe", money("7"));
    world.store_payload("ben", &payload.to_string());
    world.put("users/ben", [("display_name", text("Zoe"))]).await;
    world.wait_for("users/ben/alpacaAccounts/snapshot").await;
    let run = stopped(running).await;
    let snapshot = world.snapshot("ben").await;
    assert_eq!((&snapshot["equity"], &snapshot["key_version"]), (&json!(7.0), &json!("2")), "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_who_is_not_synced_any_more_are_not_kept() {
    let world = sandbox().await;
    world.user("ana").await;
    world.user("ben").await;
    let mut running = looping(&world, &FOR_LONG);
    running.until(&synced("ben"), 2).await;
    let accesses = || world.calls(Service::SecretManager, "AccessSecretVersion");
    assert_eq!(accesses(), 2);
    for (switch, counts) in
        [(off(), "1 successful, 0 errors, 1 skipped"), (boolean(true), "2 successful, 0 errors")]
    {
        world.patch("users/ben", [("sync_enabled", switch)]).await;
        world.fault("firestore/RunQuery:error=INVALID_ARGUMENT,times=1");
        two_more(&mut running, counts).await;
    }
    stopped(running).await;
    assert_eq!(accesses(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_trouble_cannot_be_recorded_no_snapshot_promises_more_than_readers_take_for_fresh() {
    let world = sandbox().await;
    world.user("ana").await;
    let promise = async || {
        let snapshot = world.snapshot("ana").await;
        let answered: Timestamp =
            snapshot["updated_at_iso"].as_str().expect("a text").parse().expect("a time");
        point_in_time(&snapshot["fresh_until"]).duration_since(answered).as_mins()
    };
    // Each pulse asks for the users, and then for what is recorded of them.
    (0..20).for_each(|n| {
        world.fault(&format!("firestore/RunQuery:error=FAILED_PRECONDITION,skip={},times=1", 2 * n + 1))
    });
    let mut running =
        resting(&world, &["--users-ttl", "0s", "--readers", "fresh-until", "--refresh-unchanged", "10m"]);
    running.until(COMPLETED, 2).await;
    assert_eq!(promise().await, 5);
    world.sandbox.faults().clear();
    running.until(COMPLETED, 2).await;
    assert!(promise().await > 5, "and what rests is written once more");
    stopped(running).await;
}

/// Found by the name of whose trouble has just ended: nobody has tried to write anything of theirs.
#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_who_is_found_to_be_gone_by_name_are_not_used_again() {
    let world = sandbox().await;
    for user in ["ana", "ben"] {
        world.user(user).await;
    }
    let since = timestamp(Timestamp::now() - SignedDuration::from_mins(5));
    let trouble = [("state", text("retrying")), ("error", text("broker_unavailable")), ("since", since)];
    world.put("users/ben/alpacaAccounts/sync", trouble).await;
    let mut running = looping(&world, &FOR_LONG);
    running.until(&synced("ben"), 1).await;
    for gone in ["", "/alpacaAccounts/snapshot", "/alpacaAccounts/sync"] {
        world.delete(&format!("users/ben{gone}")).await;
    }
    world.delete("tenants/ben/accounts/primary").await;
    running.until(&format!("{COMPLETED}1 successful, 0 errors"), 1).await;
    let accesses = || world.calls(Service::SecretManager, "AccessSecretVersion");
    let before = accesses();
    world.user("ben").await;
    world.fault("firestore/RunQuery:error=INVALID_ARGUMENT,times=1");
    running.until(&synced("ben"), 1).await;
    stopped(running).await;
    assert_eq!(accesses(), before + 1, "their secret is read");
}

/// One in trouble, and two whose kept keys run out: two of them are deleted, and one is paused without a word, as those
/// are first who are being removed. Their keys go last here, so that it is theirs to be found missing.
async fn removed_while_kept(lines: &str) -> (World, Run) {
    let world = sandbox().await;
    for user in ["ana", "ben", "cy", "dee"] {
        world.user(user).await;
    }
    world.account("ben", answer(200, "{}"));
    let args = ["--every", "1s", "--for", "1h", "--key-ttl", "2s", "--user-lines", lines];
    let mut running = Live::start(world.command(&[&args, &FOR_LONG[..]].concat()));
    running.until(&format!("{COMPLETED}3 successful, 1 errors"), 3).await;
    for user in ["ben", "cy"] {
        for gone in ["", "/alpacaAccounts/sync", "/alpacaAccounts/snapshot"] {
            world.delete(&format!("users/{user}{gone}")).await;
        }
        world.delete(&format!("tenants/{user}/accounts/primary")).await;
        world.sandbox.secrets().delete(&secret_of(user));
    }
    world.patch("users/dee", [("sync_enabled", off())]).await;
    world.sandbox.secrets().delete(&secret_of("dee"));
    // Each time one of them is met, no error is counted; in the end only the paused one is left.
    within_some_pulses(&mut running, "1 successful, 0 errors, 1 skipped").await;
    (world, stopped(running).await)
}

async fn are_left_alone(lines: &str, tells: &[&str]) {
    let (world, run) = removed_while_kept(lines).await;
    assert!(!run.stdout.contains("Could not retrieve"), "{}", run.stdout);
    let is_end =
        |entry: &&Json| entry["message"].as_str().is_some_and(|text| text.contains("deleted meanwhile"));
    let entries = run.entries();
    let mut told: Vec<_> = entries.iter().filter(is_end).map(|entry| entry["user_id"].as_str()).collect();
    told.sort_unstable();
    assert_eq!(told, tells.iter().copied().map(Some).collect::<Vec<_>>(), "{}", run.stdout);
    let left: Vec<String> = world.everything().await.into_keys().collect();
    let is_theirs =
        |path: &&String| ["ben", "cy", "dee/alpacaAccounts/sync"].iter().any(|part| path.contains(part));
    assert_eq!(left.iter().filter(is_theirs).count(), 0, "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_keys_are_gone_with_them_is_told_gone_and_has_no_new_record() {
    are_left_alone("changed", &["ben", "cy"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_user_is_gone_is_no_line_where_only_failures_are_wanted() {
    are_left_alone("failed", &[]).await;
}

// Tenants' documents.

on_both! {
    async fn a_tenants_document_that_another_has_changed_is_read_and_decided_anew(world) {
        world.user("ana").await;
        a_tenant_of(&world, "acme", &["ben", "zoe"]).await;
        world.patch("tenants/acme", [("owner_uid", text("ben"))]).await;
        let mut running = looping(&world, &FOR_LONG);
        running.until(COMPLETED, 2).await;
        assert_eq!(world.primary("acme").await["user_id"], "ben");
        // A field of another program's is no reason to stop.
        world.patch("tenants/ana/accounts/primary", [("color", text("red"))]).await;
        // But another owner is.
        world.patch("tenants/acme", [("owner_uid", text("zoe"))]).await;
        world.patch("tenants/acme/accounts/primary", [("user_id", text("zoe"))]).await;
        two_more(&mut running, "3 successful, 0 errors").await;
        let (ana, acme) = (world.primary("ana").await, world.primary("acme").await);
        assert_eq!((&ana["color"], &acme["user_id"]), (&json!("red"), &json!("zoe")));
        two_more(&mut running, "3 successful, 0 errors").await;
        assert_ne!(world.primary("ana").await["updated_at_iso"], ana["updated_at_iso"]);
        let run = stopped(running).await;
        let snapshot = world.snapshot("zoe").await;
        assert_eq!(world.primary("acme").await["external_account_id"], snapshot["external_account_id"], "{}", run.stdout);
    }

    async fn a_tenants_document_that_is_gone_is_created_again(world) {
        world.user("ana").await;
        let mut running = looping(&world, &FOR_LONG);
        running.until(COMPLETED, 2).await;
        world.delete("tenants/ana/accounts/primary").await;
        running.until(&synced("ana"), 2).await;
        assert_eq!(world.primary("ana").await["user_id"], "ana");
        stopped(running).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_tenants_owner_is_silent_asks_about_it_once_each_time_that_all_are_read() {
    let world = sandbox().await;
    a_tenant_of(&world, "acme", &["ana", "ben"]).await;
    world.patch("users/ben", [("sync_enabled", off())]).await;
    let long_ago = timestamp(Timestamp::now() - SignedDuration::from_hours(2));
    let of_ben = [("user_id", text("ben")), ("updated_at", long_ago)];
    world.put("tenants/acme/accounts/primary", of_ben).await;
    let mut running = looping(&world, &["--users-ttl", "4s"]);
    running.until(COMPLETED, 6).await;
    assert_eq!(world.primary("acme").await["user_id"], "ben", "who may come back");
    let mut reads = Vec::new();
    for number in 1..=6 {
        reads.push(used(&world, number, "firestore_reads").await);
    }
    // The change log of secrets is asked now and then.
    let (all, none) = (reads.iter().max(), reads.iter().min());
    assert!(none < Some(&6) && all > Some(&8), "{reads:?}");
    // What becomes of the owner is seen when all are read again.
    world.delete("tenants/acme/users/ben").await;
    running.until(COMPLETED, 6).await;
    let run = stopped(running).await;
    assert_eq!(world.primary("acme").await["user_id"], "ana", "{reads:?} {}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_costs_no_more_than_another_look() {
    let world = sandbox().await;
    world.user("ana").await;
    a_tenant_of(&world, "acme", &["ben"]).await;
    let mut running = looping(&world, &FOR_LONG);
    running.until(COMPLETED, 2).await;
    for user in ["ana", "ben"] {
        world.fault(&format!("firestore/Commit:drop-after,user={user},times=1"));
    }
    two_more(&mut running, "2 successful, 0 errors").await;
    two_more(&mut running, "2 successful, 0 errors").await;
    let run = stopped(running).await;
    for (user, tenant) in [("ana", "ana"), ("ben", "acme")] {
        let (primary, snapshot) = (world.primary(tenant).await, world.snapshot(user).await);
        assert_eq!(primary["updated_at_iso"], snapshot["updated_at_iso"], "{user}: {}", run.stdout);
    }
}

// Trouble.

on_both! {
    async fn who_is_in_trouble_is_known_from_one_pulse_to_the_next(world) {
        use pulse_sandbox::alpaca::Profile;
        for user in ["ana", "ben"] {
            world.user(user).await;
        }
        world.account("ben", money("1.00"));
        let mut running = looping(&world, &FOR_LONG);
        running.until(COMPLETED, 1).await;
        world.account("ben", Profile::Revoked);
        running.until(&format!("{COMPLETED}1 successful, 1 errors"), 2).await;
        running.until(&format!("{COMPLETED}1 successful, 0 errors, 1 skipped"), 1).await;
        let trouble = world.trouble("ben").await;
        assert_eq!((&trouble["state"], &trouble["rejections"]), (&json!("needs_reauth"), &json!({"integer": 2})));
        world.connect("ben", money("2.00"));
        changed_now(&world, "ben").await;
        world.patch("users/ben/alpacaAccounts/sync", [("next_attempt_at", timestamp(Timestamp::now()))]).await;
        two_more(&mut running, "2 successful, 0 errors").await;
        assert_eq!(world.trouble("ben").await["state"], "ok");
        let ended = world.stored("users/ben/alpacaAccounts/sync").await;
        two_more(&mut running, "2 successful, 0 errors").await;
        assert_eq!(world.stored("users/ben/alpacaAccounts/sync").await, ended, "it ends once");
        stopped(running).await;
    }
}

/// Of ben's commits the first is refused, and the second records it. The third ends the trouble, of which nobody hears,
/// and is refused when it is tried again: the same failure as before, so nothing is recorded.
#[tokio::test(flavor = "multi_thread")]
async fn trouble_that_may_have_ended_unheard_is_looked_at_and_not_ended_again() {
    let world = sandbox().await;
    for user in ["ana", "ben"] {
        world.user(user).await;
    }
    for fault in ["error=PERMISSION_DENIED", "drop-after,skip=2", "error=PERMISSION_DENIED,skip=3"] {
        world.fault(&format!("firestore/Commit:{fault},user=ben,times=1"));
    }
    let mut running = looping(&world, &[&FOR_LONG[..], &["--legacy-tenant-path", "off"]].concat());
    running.until(&format!("{COMPLETED}1 successful, 1 errors"), 2).await;
    running.until(&format!("{COMPLETED}2 successful, 0 errors"), 2).await;
    let run = stopped(running).await;
    assert_eq!(
        (world.faults_applied(), world.trouble("ben").await["state"].clone()),
        (vec![1, 1, 1], json!("ok"))
    );
    // The next one has nothing to write but the snapshots, and what it tells of itself.
    let third = used(&world, 3, "firestore_writes").await;
    assert_eq!(third, used(&world, 4, "firestore_writes").await, "{}", run.stdout);
}

// Faults.

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_fail_for_five_pulses_lose_nobody() {
    let world = sandbox().await;
    for user in ["ana", "ben", "cy"] {
        world.user(user).await;
    }
    let mut running = looping(&world, &["--users-ttl", "2s"]);
    running.until(&format!("{COMPLETED}3 successful, 0 errors"), 2).await;
    world.fault("firestore/RunQuery:error=PERMISSION_DENIED");
    running.until("Failed multi-tenant sync: 0 successful, 0 errors", 5).await;
    world.user("dee").await;
    world.delete("users/cy").await;
    world.sandbox.faults().clear();
    two_more(&mut running, "3 successful, 0 errors").await;
    running.until(&synced("dee"), 1).await;
    stopped(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_fails_is_made_up_for_by_reading_all() {
    let world = sandbox().await;
    for user in ["ana", "ben"] {
        world.user(user).await;
    }
    let mut running = looping(&world, &FOR_LONG);
    running.until(COMPLETED, 1).await;
    world.fault("firestore/RunQuery:error=INVALID_ARGUMENT,times=1");
    world.patch("users/ben", [("sync_enabled", off())]).await;
    running.until(&format!("{COMPLETED}1 successful, 0 errors, 1 skipped"), 1).await;
    let run = stopped(running).await;
    let told = "Could not read which users have changed, so all are read: ";
    assert_eq!(run.entry(told)["severity"], "WARNING");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_lost_or_stale_once_firestore_is_back() {
    let world = sandbox().await;
    for user in ["ana", "ben"] {
        world.user(user).await;
    }
    let mut running = looping(&world, &FOR_LONG);
    running.until(COMPLETED, 2).await;
    world.fault("firestore:error=UNAVAILABLE,for=5s");
    in_time(async {
        let before = Timestamp::now();
        wait_until(|| Timestamp::now().duration_since(before) > SignedDuration::from_secs(5)).await;
    })
    .await;
    two_more(&mut running, "2 successful, 0 errors").await;
    for user in ["ana", "ben"] {
        let written = world.snapshot(user).await["updated_at_iso"].as_str().map(str::to_owned);
        two_more(&mut running, "2 successful, 0 errors").await;
        assert_ne!(world.snapshot(user).await["updated_at_iso"].as_str(), written.as_deref());
    }
    stopped(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_clock_is_wrong_asks_by_firestores() {
    let Some(library) = faketime() else { return };
    for clock in ["-5h", "+5h"] {
        let world = sandbox().await;
        world.user("ana").await;
        let mut command = world.command(&[&["--every", "1s", "--for", "1h"], &FOR_LONG[..]].concat());
        command.env("LD_PRELOAD", &library).env("FAKETIME", clock).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let mut running = Live::start(command);
        running.until(COMPLETED, 1).await;
        world.user("ben").await;
        changed_now(&world, "ben").await;
        two_more(&mut running, "2 successful, 0 errors").await;
        stopped(running).await;
    }
}
