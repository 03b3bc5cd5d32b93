//! Section 2: a pass over nobody is never quietly fine.

use crate::on_both;
use crate::world::{Run, World, off, sandbox, secret_of, timestamp};
use alpaca_pulse::firestore::values::{integer, text, timestamp as time};
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::Profile;
use serde_json::{Value as Json, json};

const NOBODY: &str = "Nobody was synced, and the last success is less than a day ago";
const NO_USERS: &str = "There are no users to sync in project ";

const HOUR: SignedDuration = SignedDuration::from_hours(1);

async fn last_pulse(world: &World) -> Json {
    world.document("ops/last_pulse").await
}

async fn last_synced_at(world: &World) -> Json {
    last_pulse(world).await["last_synced_at"].clone()
}

/// The last success was that long ago.
async fn synced_ago(world: &World, ago: SignedDuration) -> Timestamp {
    let then = Timestamp::from_second((Timestamp::now() - ago).as_second()).expect("in range");
    world.put("ops/last_pulse", [("last_synced_at", time(then))]).await;
    then
}

/// Demands that the pass failed, and said so.
#[track_caller]
fn assert_told(run: &Run, counts: &str) -> Json {
    run.assert_completed(counts, 1);
    let told = run.entry(NOBODY);
    assert_eq!(told["severity"], "CRITICAL");
    assert_eq!(run.entry("Completed multi-tenant sync: ")["status"], "failed");
    told
}

/// Demands that the pass was fine, and said nothing but perhaps that there are no users.
#[track_caller]
fn assert_quiet(run: &Run, counts: &str) {
    run.assert_completed(counts, 0);
    assert!(!run.stdout.contains("CRITICAL"), "{}", run.stdout);
    assert_eq!(run.entry("Completed multi-tenant sync: ")["status"], "ok");
}

on_both! {
    async fn a_database_without_users_is_fine_as_long_as_nobody_was_ever_synced_and_is_named(world) {
        for _ in 0..2 {
            let run = world.pulse().await;
            assert_quiet(&run, "0 successful, 0 errors");
            let told = run.entry(NO_USERS);
            assert_eq!((&told["severity"], &told["project"]), (&json!("WARNING"), &json!(world.project)));
            assert_eq!((&told["database"], told.get("filter")), (&json!("(default)"), None));
            assert_eq!((&last_pulse(&world).await["status"], last_synced_at(&world).await), (&json!("ok"), Json::Null));
        }
        world.user("ana").await;
        let run = world.pulse_with(&["--where", "has_active_strategi=true,plan=pro"]).await;
        assert_quiet(&run, "0 successful, 0 errors");
        let told = run.entry(NO_USERS);
        assert_eq!(told["filter"], r#"has_active_strategi=true,plan="pro""#);
        let message = told["message"].as_str().expect("a text");
        assert!(message.contains(&world.project) && message.contains("(default)"), "{message}");
        assert!(message.contains(r#"has_active_strategi=true,plan="pro""#), "{message}");
    }

    async fn another_database_without_users_is_named(world) {
        world.user("ana").await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        let run = world.pulse_with(&["--database", "other"]).await;
        assert_quiet(&run, "0 successful, 0 errors");
        assert_eq!(run.entry(NO_USERS)["database"], "other");
    }

    async fn a_filter_that_lets_nobody_through_soon_after_a_success_fails(world) {
        world.user("ana").await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        let synced = last_synced_at(&world).await;
        assert_eq!(synced, last_pulse(&world).await["timestamp"], "by the server's clock");
        for _ in 0..2 {
            let told = assert_told(&world.pulse_with(&["--where", "has_active_strategi=true"]).await, "0 successful, 0 errors");
            assert_eq!((&told["filter"], &told["users_count"]), (&json!("has_active_strategi=true"), &json!(0)));
            assert_eq!((&told["project"], &told["database"]), (&json!(world.project), &json!("(default)")));
            let at: Timestamp = told["last_synced_at"].as_str().expect("a time").parse().expect("RFC 3339");
            assert_eq!(at.as_millisecond(), timestamp(&synced).as_millisecond());
            assert_eq!(last_pulse(&world).await["status"], "failed");
            assert_eq!(last_synced_at(&world).await, synced, "carried on");
        }
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        let document = last_pulse(&world).await;
        assert_eq!((&document["status"], &document["last_synced_at"]), (&json!("ok"), &document["timestamp"]));
    }

    async fn everybody_paused_soon_after_a_success_fails(world) {
        for user in ["ana", "ben"] {
            world.user(user).await;
        }
        world.pulse().await.assert_completed("2 successful, 0 errors", 0);
        for user in ["ana", "ben"] {
            world.patch(&format!("users/{user}"), [("sync_enabled", off())]).await;
        }
        let told = assert_told(&world.pulse().await, "0 successful, 0 errors, 2 skipped");
        assert_eq!((&told["users_count"], &told["skipped_count"]), (&json!(2), &json!(2)));
        assert_eq!(last_pulse(&world).await["status"], "failed");
        let message = told["message"].as_str().expect("a text");
        for part in ["2 users", "2 skipped", "0 failed", "project", "database", "filter", "sync_enabled"] {
            assert!(message.contains(part), "{part} is not in {message}");
        }
    }

    async fn everybody_failing_waiting_to_reconnect_or_not_open_soon_after_a_success_fails(world) {
        for user in ["ana", "ben", "cy"] {
            world.user(user).await;
        }
        world.pulse().await.assert_completed("3 successful, 0 errors", 0);
        world.sandbox.secrets().delete(&secret_of("ana"));
        world.account("ben", Profile::onboarding());
        let in_an_hour = time(Timestamp::now() + HOUR);
        let rejected = [("state", text("needs_reauth")), ("key_version", text("1")), ("next_attempt_at", in_an_hour)];
        world.put("users/cy/alpacaAccounts/sync", rejected).await;
        world.account("cy", Profile::Revoked);
        let told = assert_told(&world.pulse().await, "0 successful, 1 errors, 2 skipped");
        let counts = ["users", "error", "skipped", "needs_reauth"].map(|name| told[format!("{name}_count")].clone());
        assert_eq!(counts, [json!(3), json!(1), json!(2), json!(1)]);
        world.delete("users/ana").await;
        assert_told(&world.pulse().await, "0 successful, 0 errors, 2 skipped");
        world.delete("users/ben").await;
        world.delete("users/cy").await;
        assert_told(&world.pulse().await, "0 successful, 0 errors");
    }

    async fn a_day_after_the_last_success_nobody_is_missed(world) {
        world.put("users/ana", [("sync_enabled", off())]).await;
        for (ago, is_missed) in [(HOUR * 23, true), (HOUR * 24, false), (HOUR * 25, false), (HOUR * -1, true)] {
            let then = synced_ago(&world, ago).await;
            let run = world.pulse().await;
            let counts = "0 successful, 0 errors, 1 skipped";
            match is_missed {
                true => drop(assert_told(&run, counts)),
                false => assert_quiet(&run, counts),
            }
            assert_eq!(timestamp(&last_synced_at(&world).await), then, "{ago}");
        }
        world.delete("users/ana").await;
        let run = world.pulse().await;
        assert_told(&run, "0 successful, 0 errors");
        assert!(!run.stdout.contains(NO_USERS), "said once is enough: {}", run.stdout);
        synced_ago(&world, HOUR * 30).await;
        let run = world.pulse().await;
        assert_quiet(&run, "0 successful, 0 errors");
        assert_eq!(run.entry(NO_USERS)["severity"], "WARNING");
    }

    async fn a_pulse_of_a_version_that_did_not_write_the_time_stands_in_for_it(world) {
        world.put("users/ana", [("sync_enabled", off())]).await;
        let hours_ago = |hours| Timestamp::from_second((Timestamp::now() - HOUR * hours).as_second()).expect("in range");
        let (written, long_ago) = (hours_ago(1), time(hours_ago(48)));
        let cases = [(3, None, true), (0, None, false), (3, Some(&long_ago), true), (0, Some(&long_ago), false)];
        for (count, known, is_missed) in cases {
            let old = [("timestamp", time(written)), ("started_at", time(hours_ago(2))), ("success_count", integer(count))];
            world.put("ops/last_pulse", old).await;
            if let Some(known) = known {
                world.patch("ops/last_pulse", [("last_synced_at", known.clone())]).await;
            }
            for _ in 0..2 {
                let run = world.pulse().await;
                assert_eq!(run.exit, Some(i32::from(is_missed)), "{count} {known:?}: {}", run.stdout);
            }
            let carried = last_synced_at(&world).await;
            assert!(!is_missed || timestamp(&carried) == written, "{count} {known:?}: {carried}");
        }
    }

    async fn a_dry_run_says_it_too_and_writes_nothing(world) {
        world.user("ana").await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        let before = world.stored("ops/last_pulse").await;
        let told = assert_told(&world.pulse_with(&["--dry-run", "--where", "plan=none"]).await, "0 successful, 0 errors");
        assert_eq!(told["filter"], r#"plan="none""#);
        assert_eq!(world.stored("ops/last_pulse").await, before);
        world.pulse_with(&["--dry-run"]).await.assert_completed("1 successful, 0 errors", 0);
    }

    async fn every_pulse_of_a_loop_decides_for_itself_and_the_last_one_about_the_exit_code(world) {
        world.user("ana").await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        let env = [("CLOUD_RUN_EXECUTION", "pulse-x"), ("PULSE_WHERE", "plan=none")];
        let args = ["--every", "1s", "--for", "2s"];
        let run = world.pulse_with_in(&args, &env).await;
        let entries = run.entries();
        let told = entries.iter().filter(|entry| entry["severity"] == "CRITICAL").count();
        let ended = entries.iter().filter(|entry| entry["scope"] == "all users" && entry["success_count"] == 0);
        // One that comes due in the middle of another is left out.
        assert_eq!((run.exit, told, told > 0), (Some(1), ended.count(), true), "{}", run.stdout);
        // Whoever tries it again finds it all done.
        let again = world.pulse_with_in(&args, &[env[0], env[1], ("CLOUD_RUN_TASK_ATTEMPT", "1")]).await;
        assert_eq!(again.exit, Some(1), "{}", again.stdout);
        let ended = "An earlier attempt has ended this execution as failed: its log lines say why";
        assert_eq!(again.severity_of(ended).as_deref(), Some("ERROR"), "{}", again.stdout);
        let run = world.pulse_with_in(&args, &[("CLOUD_RUN_EXECUTION", "pulse-y")]).await;
        run.assert_completed("1 successful, 0 errors", 0);
    }
}

/// One commit that is refused costs the ledger, not the look at what was before.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_without_a_ledger_too() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    let synced = last_synced_at(&world).await;
    world.fault("firestore/Commit:error=PERMISSION_DENIED,times=1");
    assert_told(&world.pulse_with(&["--where", "plan=none"]).await, "0 successful, 0 errors");
    assert_eq!(
        (&last_pulse(&world).await["status"], last_synced_at(&world).await),
        (&json!("failed"), synced)
    );
}

/// A pass that could not look at what was before must not wipe it out.
/// Nobody is not to be taken for never.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_when_the_last_success_cannot_be_read() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    world.fault("firestore/BatchGetDocuments:error=PERMISSION_DENIED,times=1");
    let run = world.pulse_with(&["--where", "has_active_strategi=true"]).await;
    run.assert_completed("0 successful, 0 errors", 1);
    assert_eq!(
        run.entry("Nobody was synced, and when somebody last was could not be read")["severity"],
        "CRITICAL"
    );
    assert_eq!(last_pulse(&world).await["status"], "failed");
    world.fault("firestore/BatchGetDocuments:error=PERMISSION_DENIED,times=1");
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_read_is_carried_on_all_the_same() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    let synced = last_synced_at(&world).await;
    world.patch("users/ana", [("sync_enabled", off())]).await;
    world.fault("firestore/BatchGetDocuments:error=PERMISSION_DENIED,times=1");
    let run = world.pulse().await;
    run.entry("Could not keep the ledger ops/last_pulse/executions/");
    assert_eq!(last_synced_at(&world).await, synced);
    assert_told(&world.pulse().await, "0 successful, 0 errors, 1 skipped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_whose_users_could_not_be_read_says_that_alone() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    let synced = last_synced_at(&world).await;
    world.fault("firestore/RunQuery:error=PERMISSION_DENIED,times=2");
    let run = world.pulse().await;
    assert_eq!((run.exit, run.stdout.contains(NOBODY)), (Some(1), false), "{}", run.stdout);
    assert_eq!(run.entry("Failed multi-tenant sync: ")["status"], "failed");
    assert_eq!(last_synced_at(&world).await, synced);
}
