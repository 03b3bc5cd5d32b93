//! Section 5: a named run (`--user`, `PULSE_USERS`) is a person's question.

use crate::live::Live;
use crate::on_both;
use crate::world::{Env, Run, World, off, sandbox, secret_of};
use alpaca_pulse::firestore::values::{integer, text, timestamp as time};
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::Profile;
use pulse_sandbox::call::Service;
use serde_json::{Value as Json, json};

const STRICT: [&str; 3] = ["--user", "ana", "--fail-on-error"];

const ONE_FAILED: &str = "0 successful, 1 errors";

/// `ana`, whose keys Alpaca has rejected, and rejects; nothing is due for another hour.
async fn has_to_reconnect(world: &World) {
    world.user("ana").await;
    world.account("ana", Profile::Revoked);
    let (now, hour) = (Timestamp::now(), SignedDuration::from_hours(1));
    let record = [
        ("state", text("needs_reauth")),
        ("error", text("broker_rejected")),
        ("since", time(now - hour)),
        ("rejections", integer(2)),
        ("key_version", text("1")),
        ("next_attempt_at", time(now + hour)),
        ("updated_at", time(now - hour)),
    ];
    world.put("users/ana/alpacaAccounts/sync", record).await;
}

fn asked(world: &World) -> (u64, u64) {
    (world.calls(Service::SecretManager, "AccessSecretVersion"), world.calls(Service::Alpaca, "GetAccount"))
}

/// Demands an ERROR about a user, with this code.
#[track_caller]
fn assert_failed(run: &Run, message: &str, code: &str) {
    let failed = run.entry(message);
    assert_eq!((&failed["severity"], &failed["error"]), (&json!("ERROR"), &json!(code)), "{}", run.stdout);
}

on_both! {
    async fn rejected_keys_are_asked_about_and_an_error_every_time(world) {
        world.user("ana").await;
        world.account("ana", Profile::Revoked);
        for asked_before in 0..4 {
            assert_eq!(asked(&world), (asked_before, asked_before));
            let run = world.pulse_with(&STRICT).await;
            run.assert_completed(ONE_FAILED, 1);
            assert_failed(&run, "Failed to sync Alpaca account for user ana: ", "broker_rejected");
            let record = world.trouble("ana").await;
            assert_eq!((&record["state"], &record["rejections"]), (&json!("retrying"), &json!({"integer": 0})));
        }
        // The pulses have to see for themselves, twice.
        for (state, rejections) in [("retrying", 1), ("needs_reauth", 2)] {
            world.pulse().await.assert_completed(ONE_FAILED, 1);
            let record = world.trouble("ana").await;
            assert_eq!((&record["state"], &record["rejections"]), (&json!(state), &json!({"integer": rejections})));
        }
    }

    async fn a_record_of_having_to_reconnect_is_not_believed_and_not_touched(world) {
        has_to_reconnect(&world).await;
        let record = world.stored("users/ana/alpacaAccounts/sync").await;
        let cases: [(&[&str], Env<'_>); 4] = [
            (&STRICT, &[]), (&["--user", "ana"], &[]), (&[], &[("PULSE_USERS", "ana")]),
            (&["--user", "ana"], &[("CLOUD_RUN_EXECUTION", "pulse-x"), ("CLOUD_RUN_TASK_ATTEMPT", "1")]),
        ];
        for (number, (args, env)) in (1..).zip(cases) {
            let run = world.pulse_with_in(args, env).await;
            run.assert_completed(ONE_FAILED, 1);
            assert_failed(&run, "Failed to sync Alpaca account for user ana: ", "broker_rejected");
            assert_eq!(asked(&world), (number, number), "{args:?} {env:?}");
            assert_eq!(world.stored("users/ana/alpacaAccounts/sync").await, record, "{args:?} {env:?}");
        }
        // Nor by newer keys that are rejected too, by keys that are gone, or by a failure that will pass.
        world.connect("ana", Profile::Revoked);
        world.pulse_with(&STRICT).await.assert_completed(ONE_FAILED, 1);
        world.fault("alpaca:error=503,user=ana,times=4");
        let run = world.pulse_with(&STRICT).await;
        assert_failed(&run, "Failed to sync Alpaca account for user ana: ", "broker_unavailable");
        world.sandbox.secrets().delete(&secret_of("ana"));
        let run = world.pulse_with(&STRICT).await;
        run.assert_completed(ONE_FAILED, 1);
        assert_failed(&run, "Could not retrieve Alpaca keys for user ana: ", "keys_missing");
        assert_eq!(world.stored("users/ana/alpacaAccounts/sync").await, record);
    }

    async fn a_success_ends_the_trouble_with_the_same_keys_too(world) {
        has_to_reconnect(&world).await;
        world.account("ana", Profile::active());
        world.pulse_with(&STRICT).await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(world.trouble("ana").await["state"], "ok");
        assert_eq!(world.snapshot("ana").await["key_version"], "1");
    }

    async fn an_account_that_is_not_open_yet_is_no_error(world) {
        has_to_reconnect(&world).await;
        world.account("ana", Profile::onboarding());
        world.pulse_with(&STRICT).await.assert_completed("0 successful, 0 errors, 1 skipped", 0);
        assert_eq!(world.trouble("ana").await["state"], "incomplete", "Alpaca takes the keys");
    }

    async fn a_user_who_does_not_exist_is_an_error(world) {
        world.user("ana").await;
        let message = "Failed to sync Alpaca account for user nobody: there is no such document in users";
        let cases: [(&[&str], Env<'_>, &str, i32); 5] = [
            (&["--user", "nobody"], &[], ONE_FAILED, 1),
            (&["--user", "nobody", "--fail-on-error"], &[], ONE_FAILED, 1),
            (&[], &[("PULSE_USERS", "nobody")], ONE_FAILED, 1),
            (&["--user", "nobody,ana"], &[], "1 successful, 1 errors", 0),
            (&["--user", "nobody,ana", "--fail-on-error"], &[], "1 successful, 1 errors", 1),
        ];
        for (args, env, counts, exit) in cases {
            let run = world.pulse_with_in(args, env).await;
            run.assert_completed(counts, exit);
            assert_failed(&run, message, "user_unknown");
        }
        let run = world.pulse_with(&["--user", "nobody", "--dry-run"]).await;
        run.assert_completed(ONE_FAILED, 1);
        assert_eq!((world.snapshot("nobody").await, world.trouble("nobody").await), (Json::Null, Json::Null));
    }

    async fn a_user_who_is_paused_stays_so(world) {
        world.user("ana").await;
        world.put("users/ana", [("sync_enabled", off())]).await;
        world.pulse_with(&STRICT).await.assert_completed("0 successful, 0 errors, 1 skipped", 0);
        assert_eq!(asked(&world), (0, 0));
    }

    async fn each_task_of_a_job_answers_for_the_named_users(world) {
        world.user("ana").await;
        world.account("ana", Profile::Revoked);
        for index in ["0", "2"] {
            let env = [("CLOUD_RUN_EXECUTION", "pulse-x"), ("CLOUD_RUN_TASK_COUNT", "3"), ("CLOUD_RUN_TASK_INDEX", index)];
            world.pulse_with_in(&["--user", "ana"], &env).await.assert_completed(ONE_FAILED, 1);
        }
    }

    async fn nobody_synced_is_only_told_of_passes_over_everybody(world) {
        world.user("ana").await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        world.put("users/ana", [("sync_enabled", off())]).await;
        let run = world.pulse_with(&["--user", "ana"]).await;
        run.assert_completed("0 successful, 0 errors, 1 skipped", 0);
        assert!(!run.stdout.contains("Nobody was synced"), "{}", run.stdout);
    }
}

/// The keys of the pulse before still work, and yet they are not what was asked about.
#[tokio::test(flavor = "multi_thread")]
async fn every_pulse_of_a_named_loop_fetches_the_newest_keys() {
    let world = sandbox().await;
    world.user("ana").await;
    let synced = "Successfully synced Alpaca account for user ana";
    let args = ["--every", "1s", "--for", "1h", "--user", "ana", "--refresh-unchanged", "0s"];
    let mut running = Live::start(world.command(&args));
    running.until(synced, 1).await;
    world.connect("ana", Profile::active());
    // The one that is under way when the keys are stored may have read the old ones.
    running.until(synced, 2).await;
    assert_eq!(world.snapshot("ana").await["key_version"], "2");
    running.signal("TERM");
    assert_eq!(running.end().await.exit, Some(143));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_loop_asks_about_rejected_keys_at_every_pulse() {
    let world = sandbox().await;
    has_to_reconnect(&world).await;
    let record = world.stored("users/ana/alpacaAccounts/sync").await;
    let run = world.pulse_with(&["--every", "1s", "--for", "2s", "--user", "ana"]).await;
    let failed = |entry: &Json| entry["error"] == "broker_rejected" && entry["severity"] == "ERROR";
    let failures = run.entries().iter().filter(|entry| failed(entry)).count();
    assert_eq!((run.exit, asked(&world)), (Some(1), (failures as u64, failures as u64)), "{}", run.stdout);
    assert!(failures > 0, "{}", run.stdout);
    assert_eq!(world.stored("users/ana/alpacaAccounts/sync").await, record);
}
