//! `pulse status`: when it is fine, when not, and what it costs.

use super::{TEN_MINUTES, findings};
use crate::world::{World, off, sandbox, secret_of};
use alpaca_pulse::firestore::values::text;
use jiff::SignedDuration;
use pulse_sandbox::alpaca::Profile;
use pulse_sandbox::call::Service;
use serde_json::json;

async fn reasons(world: &World, args: &[&str]) -> (Vec<String>, Option<i32>) {
    let (object, exit) = world.look(args).await;
    (findings(&object).into_iter().map(|(reason, _)| reason).collect(), exit)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_follows_the_last_pulse_and_the_users_whose_trouble_is_ours() {
    let world = sandbox().await;
    assert_eq!(reasons(&world, &["status"]).await, (vec!["UsersStale".into(), "PulseNever".into()], Some(3)));
    world.crowd(20);
    world.user("ana").await;
    world.pulse().await;
    let fine = ["PulseOnTime", "PulseWorked", "NobodyStale"].map(str::to_owned);
    assert_eq!(reasons(&world, &["status"]).await, (fine.to_vec(), Some(0)));
    // A cause of the user's own is shown, and pages nobody.
    world.sandbox.secrets().delete(&secret_of("user-0001"));
    world.pulse().await;
    world.age_snapshot("user-0001", TEN_MINUTES).await;
    let (object, exit) = world.look(&["status"]).await;
    assert_eq!((exit, &object["trouble"][0]["error"]), (Some(0), &json!("keys_missing")));
    assert_eq!(object["trouble"][0]["stale"], 1);
    // One of ours that is not stale yet is a warning, and stale a failure.
    world.fault("alpaca:error=503,user=ana");
    world.pulse().await;
    let (object, exit) = world.look(&["status"]).await;
    assert_eq!((exit, &object["state"]), (Some(0), &json!("warning")));
    world.age_snapshot("ana", TEN_MINUTES).await;
    let (object, exit) = world.look(&["status"]).await;
    assert_eq!(
        (exit, &object["stale_users"], &object["longest_failing"][0]["user_id"]),
        (Some(3), &json!(1), &json!("ana"))
    );
    let mend = object["findings"].as_array().and_then(|all| all.last()).expect("a finding")["mend"].clone();
    assert_eq!(mend, format!("pulse explain ana --project={}", world.project));
    // And a paused one is nobody's failure.
    world.patch("users/ana", [("sync_enabled", off())]).await;
    assert_eq!(world.look(&["status"]).await.1, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_or_failed_pulse_is_found() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await;
    world.age_pulse(SignedDuration::from_secs(200)).await;
    assert_eq!(world.look(&["status"]).await.1, Some(0));
    assert_eq!(
        reasons(&world, &["status", "--stale=100s"]).await.0.last().map(String::as_str),
        Some("PulseLate")
    );
    world.fault("alpaca:error=503");
    world.pulse().await;
    let (reasons, exit) = reasons(&world, &["status"]).await;
    assert!(reasons.contains(&"PulseFailed".to_owned()) && exit == Some(3), "{reasons:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn few_documents_are_read_unless_all_are_asked_for() {
    let world = sandbox().await;
    world.crowd(60);
    world.pulse().await;
    world.fault("alpaca:error=503,user=user-0003");
    world.fault("alpaca:error=503,user=user-0004");
    world.pulse().await;
    let (object, _) = world.look(&["status"]).await;
    // The pulse that ended and the one that may be at work, two records of trouble, and for each of the two their document and their snapshot.
    assert_eq!(object["used"]["firestore_reads"], 8);
    assert_eq!(world.calls(Service::Firestore, "Commit"), world.calls(Service::Firestore, "Commit"));
    let told = world.told(&["status", "--all"]).await;
    assert!(told.stderr.contains("reading about 122 documents for 60 users"), "{}", told.stderr);
    assert!(told.stdout.contains("reads 126 documents"), "{}", told.stdout);
    let (object, _) = world.look(&["status", "--all"]).await;
    let ages = &object["ages"];
    assert_eq!((&ages["users"], &ages["missing"], &ages["malformed"]), (&json!(60), &json!(0), &json!(0)));
    assert!(ages["oldest_s"].as_i64() >= ages["p50_s"].as_i64());
}

#[tokio::test(flavor = "multi_thread")]
async fn users_whom_no_pulse_reaches_any_more_are_found_by_reading_all() {
    let world = sandbox().await;
    world.user("ana").await;
    world.user("zoe").await;
    world.pulse().await;
    world.age_snapshot("ana", TEN_MINUTES).await;
    assert_eq!(world.look(&["status"]).await.1, Some(0), "nothing is recorded of her");
    let (object, exit) = world.look(&["status", "--all"]).await;
    assert_eq!((exit, &object["ages"]["stale"], &object["stale_users"]), (Some(3), &json!(1), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_that_cannot_be_listed_are_unknown_while_the_pulse_is_told() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await;
    world.fault("firestore/RunQuery:error=FAILED_PRECONDITION,message=The query requires an index.");
    let (object, exit) = world.look(&["status"]).await;
    let expected =
        [("PulseOnTime", "ok"), ("PulseWorked", "ok"), ("UsersStale", "skipped"), ("UsersUnread", "unknown")];
    assert_eq!(findings(&object), expected.map(|(reason, state)| (reason.to_owned(), state.to_owned())));
    assert_eq!(exit, Some(1));
    assert!(object["findings"][3]["sentence"].to_string().contains("deploy firestore.indexes.json"));
}

/// The root comes last, and what depends on it is not called fine.
#[tokio::test(flavor = "multi_thread")]
async fn where_no_pulse_comes_nobody_is_called_fresh() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await;
    world.age_pulse(TEN_MINUTES).await;
    world.age_snapshot("ana", TEN_MINUTES).await;
    let (object, exit) = world.look(&["status"]).await;
    let expected = [("PulseWorked", "ok"), ("UsersStale", "skipped"), ("PulseLate", "failed")];
    assert_eq!(findings(&object), expected.map(|(reason, state)| (reason.to_owned(), state.to_owned())));
    assert_eq!(exit, Some(3));
    let (reasons, _) = reasons(&world, &["status", "--all"]).await;
    assert_eq!(reasons, ["PulseWorked", "UsersStale", "PulseLate"]);
    let (object, exit) = world.look(&["users"]).await;
    assert_eq!(findings(&object), [("PulseLate".to_owned(), "warning".to_owned())]);
    assert_eq!(exit, Some(0));
    world.delete("ops/last_pulse").await;
    let (object, _) = world.look(&["users"]).await;
    assert_eq!(findings(&object), [("PulseNever".to_owned(), "warning".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pulse_that_is_at_work_is_told() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await;
    let (object, _) = world.look(&["status"]).await;
    assert_eq!(object["current_pulse"], serde_json::Value::Null, "it has ended");
    world.put("ops/current_pulse", [("execution", text("pulse-y"))]).await;
    let (object, exit) = world.look(&["status"]).await;
    assert_eq!((&object["current_pulse"]["execution"], exit), (&json!("pulse-y"), Some(0)));
    let told = world.told(&["status"]).await;
    assert!(told.stdout.contains("at work       execution pulse-y began "), "{}", told.stdout);
}

/// As a job it is no reason for a retry, and the log has it.
#[tokio::test(flavor = "multi_thread")]
async fn as_a_job_a_finding_is_a_warning_in_the_log() {
    let world = sandbox().await;
    world.account("ana", Profile::active());
    for (args, exit) in [(&["status"][..], 0), (&["status", "--exit-code"], 3)] {
        let mut command = world.bare_command(args);
        let run = crate::world::Run::of(command.env("CLOUD_RUN_EXECUTION", "pulse-x")).await;
        assert_eq!(run.exit, Some(exit));
        let lines = run.stdout.lines().filter(|line| line.starts_with('{'));
        let lines: Vec<serde_json::Value> =
            lines.map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let found = lines.iter().find(|line| line["reason"] == "PulseNever").expect("a line");
        assert_eq!((&found["severity"], &found["command"]), (&json!("WARNING"), &json!("status")));
    }
}
