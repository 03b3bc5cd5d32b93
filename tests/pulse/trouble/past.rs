//! Section 2: since when a user fails, and when they last did not; and whose figures count as stale.

use super::{HOUR, MINUTE, bad, fleet, needs_reauth, nobody_looks_at, past, record, says, status, stored};
use crate::on_both;
use crate::traffic::watched;
use crate::world::{World, off, sandbox, secret_of, timestamp};
use alpaca_pulse::firestore::values::{boolean, double, integer, null, text, timestamp as time};
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::Profile;
use serde_json::json;

/// A snapshot that says when Alpaca gave its figures.
async fn snapshot_of(world: &World, user: &str, answered: Timestamp) {
    let fields = [
        ("updated_at_iso", text(format!("{answered:.3}"))),
        ("updated_at", time(answered)),
        ("key_version", text("1")),
        ("equity", double(100.0)),
        ("buying_power", double(0.0)),
        ("cash", double(-1.5)),
    ];
    world.put(&format!("users/{user}/alpacaAccounts/snapshot"), fields).await;
}

/// A record as an older version wrote it.
async fn old_record(world: &World, user: &str, state: &str, error: &str, since: Timestamp) {
    let next = if state == "needs_reauth" { time(Timestamp::now() + HOUR) } else { null() };
    let fields = [
        ("state", text(state)),
        ("error", text(error)),
        ("since", time(since)),
        ("rejections", integer(if state == "needs_reauth" { 2 } else { 0 })),
        ("key_version", text("1")),
        ("next_attempt_at", next),
    ];
    world.put(&format!("users/{user}/alpacaAccounts/sync"), fields).await;
}

/// The snapshots that the job reads in a pass, question by question.
async fn snapshots_read(world: &World, counts: &str, exit: i32) -> Vec<Vec<String>> {
    let (run, traffic) = watched(world, &[]).await;
    run.assert_completed(counts, exit);
    let mut lookups = traffic.lookups();
    lookups.iter_mut().for_each(|paths| paths.retain(|path| path.ends_with("/snapshot")));
    lookups.retain(|paths| !paths.is_empty());
    lookups
}

on_both! {
    async fn the_last_success_is_told_from_the_first_failure_to_the_next_success(world) {
        world.user("ana").await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        let answered: Timestamp = world.snapshot("ana").await["updated_at_iso"].as_str().expect("a text").parse().expect("a time");
        world.sandbox.secrets().delete(&secret_of("ana"));
        let before = Timestamp::now();
        world.pulse().await.assert_completed("0 successful, 1 errors", 1);
        let (failing_since, last, version) = past(&world, "ana").await;
        let since = failing_since.expect("a beginning");
        assert!(before <= since && since <= Timestamp::now(), "{since}");
        assert_eq!((last, version.as_deref()), (Some(answered), Some("1")));

        // Another code, another state, another version, and rejections.
        for (profile, state) in [
            (status(200), "retrying"), (Profile::onboarding(), "incomplete"),
            (Profile::Revoked, "retrying"), (Profile::Revoked, "needs_reauth"),
        ] {
            match world.trouble("ana").await["error"].as_str() {
                Some("keys_missing") => drop(world.connect("ana", profile)),
                _ => world.account("ana", profile),
            }
            world.pulse().await;
            assert_eq!(world.trouble("ana").await["state"], state);
            assert_eq!(past(&world, "ana").await, (Some(since), Some(answered), Some("1".to_owned())));
        }

        world.connect("ana", Profile::active());
        world.pulse_with(&["--user", "ana"]).await.assert_completed("1 successful, 0 errors", 0);
        let (over, began, _) = record(&world, "ana").await;
        assert_eq!(over["state"], "ok");
        let version = world.snapshot("ana").await["key_version"].as_str().expect("a text").to_owned();
        assert_eq!(past(&world, "ana").await, (None, Some(began), Some(version)), "this success is the last one");

        world.account("ana", status(200));
        world.pulse().await.assert_completed("0 successful, 1 errors", 1);
        let (again, last, _) = past(&world, "ana").await;
        assert!(again > Some(since) && last > Some(answered), "trouble that comes back is new trouble");
    }

    async fn a_user_who_never_synced_has_no_last_success(world) {
        let placeholder = [("configured", boolean(false)), ("note", text("connect")), ("syncedAt", time(Timestamp::now())),
            ("equity", text("0")), ("buying_power", text("0")), ("cash", text("0"))];
        world.put("users/placeholder/alpacaAccounts/snapshot", placeholder).await;
        let half = [("updated_at_iso", text(format!("{:.3}", Timestamp::now()))), ("equity", double(1.0)), ("key_version", text("1"))];
        world.put("users/half/alpacaAccounts/snapshot", half).await;
        let undated = [("equity", double(1.0)), ("buying_power", double(1.0)), ("cash", double(1.0)),
            ("updated_at", time(Timestamp::now())), ("key_version", text("1"))];
        world.put("users/undated/alpacaAccounts/snapshot", undated).await;
        for user in ["new", "placeholder", "half", "undated"] {
            world.user(user).await;
            world.account(user, status(200));
        }
        world.pulse().await.assert_completed("0 successful, 4 errors", 1);
        for user in ["new", "placeholder", "half", "undated"] {
            let (failing_since, last, version) = past(&world, user).await;
            assert_eq!((failing_since.is_some(), last, version), (true, None, None), "{user}");
        }
    }

    async fn what_does_not_apply_is_absent(world) {
        fleet(&world, 1, 0).await;
        world.user("keyless").await;
        world.sandbox.secrets().delete(&secret_of("keyless"));
        let fields = async |user: &str| {
            let record = world.trouble(user).await;
            let mut names: Vec<_> = record.as_object().expect("a record").keys().cloned().collect();
            names.sort_unstable();
            names.join(" ")
        };
        world.pulse().await;
        assert_eq!(fields("keyless").await, "error failing_since rejections since state updated_at");
        assert_eq!(fields("bad-0").await, "error failing_since key_version rejections since state updated_at");
        world.connect("keyless", Profile::active());
        world.account("bad-0", Profile::active());
        world.pulse().await.assert_completed("2 successful, 0 errors", 0);
        for user in ["keyless", "bad-0"] {
            let over = "key_version last_success_at last_success_key_version rejections since state updated_at";
            assert_eq!(fields(user).await, over);
        }
    }

    async fn a_record_of_an_older_version_is_completed_once_and_keeps_its_beginning(world) {
        let (waiting, began, answered) = (nobody_looks_at(), Timestamp::now() - HOUR * 3, Timestamp::now() - HOUR * 4);
        let began = Timestamp::from_second(began.as_second()).expect("in range");
        let answered = Timestamp::from_second(answered.as_second()).expect("in range");
        let users = [
            ("same", "retrying", "broker_bad_answer"), ("other", "retrying", "keys_missing"),
            ("opening", "incomplete", "account_incomplete"), (waiting.as_str(), "needs_reauth", "broker_rejected"),
        ];
        for (user, state, error) in users {
            world.user(user).await;
            world.account(user, if user == "opening" { Profile::onboarding() } else { status(200) });
            snapshot_of(&world, user, answered).await;
            old_record(&world, user, state, error, began).await;
        }
        world.put("ops/last_pulse", [("started_at", time(Timestamp::now()))]).await;
        let counts = "0 successful, 2 errors, 2 skipped";
        world.pulse().await.assert_completed(counts, 1);
        let mut left = Vec::new();
        for (user, state, _) in users {
            let (now, since, _) = record(&world, user).await;
            assert_eq!((&now["state"], since), (&json!(state), began), "{user}");
            assert_eq!(past(&world, user).await, (Some(began), Some(answered), Some("1".to_owned())), "{user}");
            left.push(stored(&world, user).await);
        }
        world.pulse().await.assert_completed(counts, 1);
        for ((user, ..), left) in users.into_iter().zip(left) {
            assert_eq!(stored(&world, user).await, left, "{user}");
        }
    }

    async fn only_known_old_figures_and_causes_of_ours_count_as_stale(world) {
        let old = Timestamp::now() - SignedDuration::from_secs(301);
        for user in ["stale", "fresh", "rejected", "forbidden", "keyless", "paused", "waits"] {
            if user != "waits" {
                world.user(user).await;
            }
            world.account(user, status(503));
            snapshot_of(&world, user, if user == "fresh" { Timestamp::now() } else { old }).await;
        }
        let secrets = world.sandbox.secrets();
        secrets.forbid(&secret_of("forbidden"), true);
        secrets.delete(&secret_of("keyless"));
        world.account("rejected", Profile::Revoked);
        world.put("users/paused", [("sync_enabled", off())]).await;
        needs_reauth(&world, "waits", HOUR).await;
        for user in ["never", "never-allowed"] {
            world.user(user).await;
            world.account(user, status(503));
        }
        secrets.forbid(&secret_of("never-allowed"), true);
        // The first time from their snapshots, and then from their records.
        for _ in 0..2 {
            world.put("ops/last_pulse", [("started_at", time(Timestamp::now()))]).await;
            world.pulse().await;
            let counted = world.document("ops/last_pulse").await;
            assert_eq!((&counted["error_count"], &counted["stale_count"]), (&json!({"integer": 7}), &json!({"integer": 3})));
            let execution = counted["execution"].as_str().expect("a text").to_owned();
            let ledger = world.document(&format!("ops/last_pulse/executions/{execution}")).await;
            let counts = &ledger["tasks"]["task_0"]["counts"];
            assert_eq!((&counts["ours"], &counts["stale"]), (&json!({"integer": 5}), &json!({"integer": 3})));
        }
    }

    async fn who_waits_for_new_keys_is_told_since_when_and_until_when(world) {
        let user = nobody_looks_at();
        needs_reauth(&world, &user, HOUR).await;
        world.put("ops/last_pulse", [("started_at", time(Timestamp::now()))]).await;
        let message = format!("Skipped Alpaca account for user {user}: ");
        let record = world.trouble(&user).await;
        let told = |entry: serde_json::Value| {
            for field in ["since", "next_attempt_at"] {
                let told: Timestamp = entry[field].as_str().expect("a text").parse().expect("a time");
                assert_eq!(told, timestamp(&record[field]), "{field}");
            }
        };
        told(world.pulse().await.entry(&message));
        // Also when the secret was looked at, and holds the same keys; and when it could not be.
        world.put("ops/last_pulse", [("started_at", time(Timestamp::now() - MINUTE * 10))]).await;
        told(world.pulse().await.entry(&message));
        world.put("ops/last_pulse", [("started_at", time(Timestamp::now() - MINUTE * 10))]).await;
        world.sandbox.secrets().forbid(&secret_of(&user), true);
        told(world.pulse().await.entry(&message));
        world.put("users/off", [("sync_enabled", off())]).await;
        let paused = world.pulse().await.entry("Skipped Alpaca account for user off: ");
        assert!(paused.get("since").is_none() && paused.get("next_attempt_at").is_none(), "{paused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_read_when_trouble_begins_and_neither_before_nor_after() {
    let world = sandbox().await;
    fleet(&world, 0, 3).await;
    let none: [Vec<String>; 0] = [];
    for _ in 0..2 {
        assert_eq!(snapshots_read(&world, "3 successful, 0 errors", 0).await, none);
    }
    world.account("good-0", status(200));
    let read = [vec!["users/good-0/alpacaAccounts/snapshot".to_owned()]];
    assert_eq!(snapshots_read(&world, "2 successful, 1 errors", 0).await, read);
    let left = stored(&world, "good-0").await;
    for _ in 0..2 {
        assert_eq!(snapshots_read(&world, "2 successful, 1 errors", 0).await, none);
        assert_eq!(stored(&world, "good-0").await, left);
    }
    world.account("good-0", status(503));
    assert_eq!(snapshots_read(&world, "2 successful, 1 errors", 0).await, none);
    world.account("good-0", Profile::active());
    assert_eq!(snapshots_read(&world, "3 successful, 0 errors", 0).await, none);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_snapshots_of_all_who_are_rejected_are_read_at_once() {
    let world = sandbox().await;
    fleet(&world, 30, 1).await;
    let mut read = snapshots_read(&world, "1 successful, 30 errors", 0).await;
    assert_eq!(read.len(), 1);
    read[0].sort_unstable();
    let mut expected: Vec<_> = bad(30).map(|user| format!("users/{user}/alpacaAccounts/snapshot")).collect();
    expected.sort_unstable();
    assert_eq!(read[0], expected);
    assert_eq!(snapshots_read(&world, "1 successful, 30 errors", 0).await, Vec::<Vec<String>>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_whose_beginning_cannot_be_read_is_recorded_and_completed_later() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    world.account("ana", status(200));
    let flags = ["--legacy-tenant-path", "off"];
    let unreadable = || world.fault("firestore/BatchGetDocuments:error=PERMISSION_DENIED,user=ana");
    unreadable();
    let run = world.pulse_with(&flags).await;
    run.assert_completed("0 successful, 1 errors", 1);
    run.entry("Could not read when 1 users in trouble last succeeded: ");
    world.sandbox.faults().clear();
    let (first, began, _) = record(&world, "ana").await;
    assert_eq!(first, says("retrying", Some("broker_bad_answer"), 0, Some("1")));
    assert_eq!(past(&world, "ana").await, (None, None, None));

    // Another state would hide when it began.
    world.account("ana", Profile::onboarding());
    let left = stored(&world, "ana").await;
    unreadable();
    world.pulse_with(&flags).await.assert_completed("0 successful, 0 errors, 1 skipped", 1);
    world.sandbox.faults().clear();
    assert_eq!(stored(&world, "ana").await, left);

    world.pulse_with(&flags).await.assert_completed("0 successful, 0 errors, 1 skipped", 1);
    assert_eq!(world.trouble("ana").await["state"], "incomplete");
    let (failing_since, last, version) = past(&world, "ana").await;
    assert_eq!((failing_since, last.is_some(), version.as_deref()), (Some(began), true, Some("1")));
}
