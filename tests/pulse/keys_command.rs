//! `pulse keys`: the safe way to store keys, from the first ones to those that replace others.

use crate::typed::{Killing, Typed};
use crate::world::{Run, World, off, sandbox, secret_of};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pulse_sandbox::alpaca::{Keys, Profile};
use pulse_sandbox::call::Service;
use pulse_sandbox::secret_manager::VersionState;
use serde_json::{Value as Json, json};

const SET: [&str; 5] = ["keys", "set", "ana", "--yes", "--json"];

/// Makes a new key pair of an owner's account, and gives what is typed of it.
fn new_keys(world: &World, owner: &str, key_id: &str) -> String {
    let secret_key = format!("new-hush-{key_id}");
    let keys = Keys { key_id: key_id.to_owned(), secret_key: secret_key.clone() };
    world.sandbox.alpaca().register(owner, keys, Profile::active());
    format!("{key_id}\n{secret_key}\n")
}

fn payload(key_id: &str) -> String {
    format!(r#"{{"key_id":"{key_id}","secret_key":"new-hush-{key_id}","environment":"paper"}}"#)
}

fn report(run: &Run) -> Json {
    serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{} {}", run.stdout, run.stderr))
}

fn reasons(report: &Json) -> Vec<&str> {
    let findings = report["findings"].as_array().expect("findings");
    findings.iter().map(|finding| finding["reason"].as_str().expect("a reason")).collect()
}

/// What Secret Manager answers to a GET below the user's secret.
async fn asked(world: &World, user: &str, path: &str) -> Json {
    let (address, project, secret) = (world.sandbox.address(), &world.project, secret_of(user));
    let url = format!("http://{address}/v1/projects/{project}/secrets/{secret}/{path}");
    let answer = reqwest::get(url).await.expect("an answer").text().await.expect("all of it");
    serde_json::from_str(&answer).expect("JSON")
}

/// The states of all versions, the first one first.
async fn states(world: &World, user: &str) -> Vec<String> {
    let listed = asked(world, user, "versions").await;
    let versions = listed["versions"].as_array().cloned().unwrap_or_default();
    versions.iter().rev().filter_map(|version| Some(version["state"].as_str()?.to_owned())).collect()
}

pub(crate) async fn stored(world: &World, user: &str, version: &str) -> Option<String> {
    let answer = asked(world, user, &format!("versions/{version}:access")).await;
    let payload = STANDARD.decode(answer["payload"]["data"].as_str()?).expect("base64");
    Some(String::from_utf8(payload).expect("a text"))
}

/// A user with keys who was synced by them.
async fn synced(world: &World) {
    world.user("ana").await;
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_keys_are_tried_stored_and_synced_by() {
    let world = sandbox().await;
    world.put("users/ana", []).await;
    let run = Typed::in_to(&world, &SET, &new_keys(&world, "ana", "PKNEW")).await;
    let report = report(&run);
    assert_eq!(run.exit, Some(0), "{report}");
    assert_eq!(reasons(&report), ["KeysStored", "Synced"]);
    assert_eq!((&report["environment"], &report["key_version"]), (&json!("paper"), &json!("1")));
    assert_eq!(report["account"], world.snapshot("ana").await["external_account_id"]);
    assert_eq!(stored(&world, "ana", "1").await, Some(payload("PKNEW")));
    assert_eq!(world.snapshot("ana").await["key_version"], "1");
    assert!(world.document("users/ana").await["keys_updated_at"]["timestamp"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_alpaca_does_not_take_are_not_stored() {
    let world = sandbox().await;
    synced(&world).await;
    let run = Typed::in_to(&world, &SET, "AKNEW\nwrong\n").await;
    assert_eq!((run.exit, reasons(&report(&run))), (Some(3), vec!["KeysRejected"]));
    let mend = format!("pulse keys set ana --paper --yes --project={}", world.project);
    assert_eq!(report(&run)["findings"][0]["mend"], mend);
    let flags = ["--token", "--paper", "--destroy-old"];
    let run = Typed::in_to(&world, &[&SET[..], &flags].concat(), "wrong-token-0123456789\n").await;
    let mend = format!("pulse keys set ana --live --token --destroy-old --yes --project={}", world.project);
    assert_eq!(report(&run)["findings"][0]["mend"], mend, "{}", run.stdout);
    assert_eq!(states(&world, "ana").await, ["ENABLED"]);
    world.fault("alpaca:error=503");
    let run = Typed::in_to(&world, &SET, &new_keys(&world, "ana", "PKNEW")).await;
    assert_eq!((run.exit, reasons(&report(&run))), (Some(1), vec!["AlpacaUnavailable"]), "nobody knows");
    assert_eq!(states(&world, "ana").await, ["ENABLED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_another_account_are_stored_only_when_that_is_meant() {
    let world = sandbox().await;
    synced(&world).await;
    let keys = new_keys(&world, "ben", "PKNEW");
    let run = Typed::in_to(&world, &SET, &keys).await;
    assert_eq!((run.exit, reasons(&report(&run))), (Some(3), vec!["OtherAccount"]));
    let mend = format!("pulse keys set ana --new-account --yes --project={}", world.project);
    assert_eq!(report(&run)["findings"][0]["mend"], mend);
    assert_eq!(states(&world, "ana").await, ["ENABLED"]);
    let run = Typed::in_to(&world, &[&SET[..], &["--new-account"]].concat(), &keys).await;
    assert_eq!(run.exit, Some(0), "{}", run.stdout);
    assert_eq!(world.snapshot("ana").await["external_account_id"], report(&run)["account"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_paused_or_has_no_open_account_yet_is_told_when_the_keys_count() {
    let world = sandbox().await;
    world.put("users/ana", [("sync_enabled", off())]).await;
    let run = Typed::in_to(&world, &SET, &new_keys(&world, "ana", "PKNEW")).await;
    assert_eq!((run.exit, reasons(&report(&run))), (Some(0), vec!["KeysStored", "Paused"]));
    assert_eq!(world.snapshot("ana").await, Json::Null);
    let keys = new_keys(&world, "ben", "PKBEN");
    let pair = Keys { key_id: "PKBEN".into(), secret_key: "new-hush-PKBEN".into() };
    world.sandbox.alpaca().register("ben", pair, Profile::onboarding());
    world.put("users/ben", []).await;
    let run = Typed::in_to(&world, &["keys", "set", "ben", "--yes", "--json"], &keys).await;
    assert_eq!((run.exit, reasons(&report(&run))), (Some(0), vec!["KeysStored", "AccountNotOpen"]));
    assert_eq!(world.trouble("ben").await["state"], "incomplete");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_cannot_be_asked_or_does_not_exist_gets_keys() {
    let world = sandbox().await;
    synced(&world).await;
    let keys = new_keys(&world, "ana", "PKNEW");
    let run = Typed::in_to(&world, &["keys", "set", "ana"], &keys).await;
    assert!(run.exit == Some(2) && run.stdout.contains("NotConfirmed"), "{}", run.stdout);
    let run =
        Typed::in_to(&world, &["keys", "set", "ana", "--yes", "PKNEW", "--secret=new-hush-PKNEW"], &keys)
            .await;
    assert!(run.exit == Some(2) && run.stdout.contains("not given as arguments"), "{}", run.stdout);
    assert!(!run.stdout.contains("PKNEW") && !run.stderr.contains("PKNEW"));
    assert_eq!(states(&world, "ana").await, ["ENABLED"]);
    let run = Typed::in_to(&world, &["keys", "set", "nobody", "--yes", "--json"], &keys).await;
    assert_eq!((run.exit, reasons(&report(&run))), (Some(3), vec!["UserUnknown"]));
    assert_eq!(world.calls(Service::SecretManager, "AddSecretVersion"), 0);
}

/// The command that destroys older versions once nobody is given them any more.
fn looks_first(world: &World) -> String {
    format!("pulse keys set ana --destroy-old --yes --project={}", world.project)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_with_the_same_keys_adds_no_version_and_says_what_is_left() {
    let world = sandbox().await;
    synced(&world).await;
    let keys = new_keys(&world, "ana", "PKNEW");
    for (was_there, calls) in [(false, 1), (true, 1)] {
        let run = Typed::in_to(&world, &SET, &keys).await;
        let report = report(&run);
        assert_eq!(report["was_stored_before"], was_there);
        assert_eq!(reasons(&report), ["KeysStored", "Synced", "OlderVersionsLeft"]);
        assert_eq!(report["older_versions"], json!(["1"]));
        let sentence = report["findings"][2]["sentence"].as_str().expect("a sentence");
        let expected = "1 older version is left, and costs money: 1 (";
        assert!(
            sentence.starts_with(expected) && sentence.contains("leave the old keys alone"),
            "{sentence}"
        );
        assert_eq!(report["findings"][2]["mend"], looks_first(&world));
        assert_eq!(world.calls(Service::SecretManager, "AddSecretVersion"), calls);
    }
    assert_eq!(world.snapshot("ana").await["key_version"], "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_is_synced_by_the_new_version_while_latest_is_the_old_one() {
    let world = sandbox().await;
    synced(&world).await;
    world.fault("secret-manager:old-latest");
    let run = Typed::in_to(&world, &SET, &new_keys(&world, "ana", "PKNEW")).await;
    assert_eq!(run.exit, Some(0), "{}", run.stdout);
    assert_eq!(world.snapshot("ana").await["key_version"], "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_stores_the_keys_once() {
    for fault in [
        "secret-manager/AddSecretVersion:drop-after,times=1",
        "secret-manager/CreateSecret:drop-after,times=1",
    ] {
        let world = sandbox().await;
        world.put("users/ana", []).await;
        world.fault(fault);
        let run = Typed::in_to(&world, &SET, &new_keys(&world, "ana", "PKNEW")).await;
        assert_eq!(run.exit, Some(0), "{fault}: {}", run.stdout);
        assert_eq!(states(&world, "ana").await, ["ENABLED"], "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_stored_with_its_environment_and_said_to_be_one() {
    let world = sandbox().await;
    world.put("users/ana", []).await;
    world.sandbox.alpaca().register_token("ana", "hush-token-0123456789", Profile::active());
    let run = Typed::in_to(&world, &[&SET[..], &["--token"]].concat(), "hush-token-0123456789\n").await;
    assert!(run.exit == Some(2) && run.stdout.contains("add --paper or --live"), "{}", run.stdout);
    let args = [&SET[..], &["--token", "--paper"]].concat();
    let run = Typed::in_to(&world, &args, "hush-token-0123456789\n").await;
    let told = report(&run);
    assert_eq!((run.exit, reasons(&told)), (Some(0), vec!["KeysStored", "Synced"]), "{told}");
    assert_eq!(told["kind"], "token");
    let payload = r#"{"oauth_token":"hush-token-0123456789","environment":"paper"}"#;
    assert_eq!(stored(&world, "ana", "1").await.as_deref(), Some(payload));
    let run = Run::of(&mut world.bare_command(&["keys", "check", "ana"])).await;
    assert!(run.exit == Some(0) && run.stdout.contains("read-only"), "{}", run.stdout);
}

/// Times in which `latest` settles in a test.
const QUICKLY: [&str; 3] = ["--destroy-old", "--settled-for=300ms", "--wait-for=20s"];

#[tokio::test(flavor = "multi_thread")]
async fn older_versions_go_when_latest_is_the_new_one_for_good_and_a_pulse_came_by_it() {
    let world = sandbox().await;
    synced(&world).await;
    world.store_payload("ana", "a version in between");
    world.sandbox.secrets().set_state(&secret_of("ana"), "2", VersionState::Disabled);
    let keys = new_keys(&world, "ana", "PKNEW");
    world.fault("secret-manager:old-latest,times=3");
    let setting = Typed::start(&world, &[&SET[..], &QUICKLY].concat(), &keys).await;
    let ended = tokio::spawn(Run::end_of(setting));
    while !ended.is_finished() {
        world.pulse().await;
    }
    let run = ended.await.expect("no panic");
    let report = report(&run);
    assert_eq!((run.exit, &report["destroyed"]), (Some(0), &json!(["2", "1"])), "{report}");
    assert_eq!(states(&world, "ana").await, ["DESTROYED", "DESTROYED", "ENABLED"]);
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_destroyed_while_latest_lags_or_no_pulse_comes() {
    for (fault, why) in
        [(Some("secret-manager:old-latest"), "`latest` for good"), (None, "no pulse has synced")]
    {
        let world = sandbox().await;
        synced(&world).await;
        fault.into_iter().for_each(|fault| world.fault(fault));
        let args = [&SET[..], &["--destroy-old", "--settled-for=100ms", "--wait-for=500ms"]].concat();
        let run = Typed::in_to(&world, &args, &new_keys(&world, "ana", "PKNEW")).await;
        assert!(run.exit == Some(0) && run.stdout.contains(why), "{}", run.stdout);
        assert_eq!(states(&world, "ana").await, ["ENABLED", "ENABLED"]);
        let told = report(&run);
        assert_eq!(told["findings"][2]["mend"], looks_first(&world), "{told}");
        assert!(!run.stdout.contains("gcloud"), "nothing destroys without a look: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_leaves_the_older_versions_to_the_command_that_looks() {
    let world = sandbox().await;
    synced(&world).await;
    let keys = new_keys(&world, "ana", "PKNEW");
    // The keys are tried, and then the sync is refused.
    world.fault("alpaca:error=503,skip=1");
    let told = report(&Typed::in_to(&world, &[&SET[..], &["--destroy-old"]].concat(), &keys).await);
    assert_eq!(reasons(&told), ["KeysStored", "OlderVersionsLeft", "SyncFailed"], "{told}");
    assert_eq!(told["findings"][1]["mend"], looks_first(&world));
}

async fn rotating(world: &World) -> String {
    synced(world).await;
    new_keys(world, "ana", "PKNEW")
}

async fn still_syncs(world: &World, place: &str) {
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    let version = world.snapshot("ana").await["key_version"].clone();
    assert!(version == "1" || version == "2", "{place}: {version}");
}

async fn is_rotated(world: &World, run: &Run, place: &str) {
    assert_eq!(run.exit, Some(0), "{place}: {}", run.stdout);
    assert_eq!(states(world, "ana").await, ["DESTROYED", "ENABLED"], "{place}");
    assert_eq!(world.snapshot("ana").await["key_version"], "2", "{place}");
    assert_eq!(stored(world, "ana", "2").await, Some(payload("PKNEW")), "{place}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_call_the_user_syncs_and_a_second_run_finishes() {
    let again = [&SET[..], &QUICKLY].concat();
    let at = ["firestore", "secret-manager", "alpaca"];
    let killing = Killing { at: &at, args: &SET, again: &again, with_pulses: false };
    let calls = killing.each(rotating, still_syncs, is_rotated).await;
    assert!(calls >= 24, "{calls} calls were seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_destroys_a_second_run_finishes() {
    let args = [&SET[..], &QUICKLY].concat();
    let at = ["secret-manager/ListSecretVersions", "secret-manager/DestroySecretVersion"];
    let killing = Killing { at: &at, args: &args, again: &args, with_pulses: true };
    let calls = killing.each(rotating, still_syncs, is_rotated).await;
    assert_eq!(calls, 6, "a list before the keys are stored, one before the old ones go, and one of those");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_which_account_the_newest_keys_open_and_writes_nothing() {
    let world = sandbox().await;
    synced(&world).await;
    let check = async || Run::of(&mut world.bare_command(&["keys", "check", "ana", "--json"])).await;
    let commits = world.calls(Service::Firestore, "Commit");
    let run = check().await;
    assert_eq!((run.exit, reasons(&report(&run))), (Some(0), vec!["KeysWork", "SameAccount"]));
    world.sandbox.alpaca().register(
        "ben",
        Keys { key_id: "PKB".into(), secret_key: "s".into() },
        Profile::active(),
    );
    world.store_payload("ana", r#"{"key_id": "PKB", "secret_key": "s"}"#);
    let run = check().await;
    assert_eq!((run.exit, reasons(&report(&run))), (Some(3), vec!["KeysWork", "OtherAccount"]));
    world.connect("ana", Profile::Revoked);
    let run = check().await;
    assert_eq!((run.exit, reasons(&report(&run))), (Some(3), vec!["KeysRejected"]));
    world.sandbox.secrets().forbid(&secret_of("ana"), true);
    let run = check().await;
    assert_eq!((run.exit, reasons(&report(&run))), (Some(1), vec!["RightMissing"]), "could not look");
    world.sandbox.secrets().delete(&secret_of("ana"));
    let run = check().await;
    assert_eq!((run.exit, reasons(&report(&run))), (Some(3), vec!["KeysMissing"]));
    assert_eq!(world.calls(Service::Firestore, "Commit"), commits);
}

/// Neither keys nor a sync would mend that.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_somebody_who_does_not_exist_says_where_they_do_not() {
    let world = sandbox().await;
    synced(&world).await;
    world.connect("gone", Profile::active());
    for user in ["nobody", "gone"] {
        let told = report(&Run::of(&mut world.bare_command(&["keys", "check", user, "--json"])).await);
        let finding = told["findings"].as_array().expect("findings").last().expect("some");
        let place = format!("There is no user {user} in database (default) of project {}.", world.project);
        assert_eq!((&finding["reason"], &finding["sentence"]), (&json!("UserUnknown"), &json!(place)));
        assert_eq!(finding["mend"], Json::Null, "{told}");
    }
    let told = report(&Run::of(&mut world.bare_command(&["explain", "nobody", "--json"])).await);
    assert!(told["conclusion"].to_string().contains(&world.project), "{told}");
}

/// To look once more tells nothing new.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_without_an_answer_leads_on() {
    let world = sandbox().await;
    synced(&world).await;
    world.fault("alpaca:error=503");
    let told = report(&Run::of(&mut world.bare_command(&["keys", "check", "ana", "--json"])).await);
    let finding = &told["findings"][0];
    assert_eq!(finding["reason"], "AlpacaUnavailable", "{told}");
    assert_eq!(finding["mend"], format!("pulse doctor --project={}", world.project));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_every_secret_its_versions_and_its_cost() {
    let world = sandbox().await;
    for user in ["ana", "ben"] {
        world.user(user).await;
    }
    world.put("users/cy", []).await;
    world.store_payload("ana", "newer");
    world.sandbox.secrets().set_state(&secret_of("ana"), "1", VersionState::Disabled);
    world.store_payload("gone", "of nobody");
    world.sandbox.secrets().add_version("other-secret", "of another program");
    let run = Run::of(&mut world.bare_command(&["keys", "list", "--json"])).await;
    let report = report(&run);
    assert_eq!(run.exit, Some(0), "{report}");
    let row = |user: &str, is_a_user: bool, enabled: u32, disabled: u32| {
        let dollars = f64::from(6 * (enabled + disabled)) / 100.0;
        json!([user, is_a_user, enabled, disabled, dollars])
    };
    let rows: Vec<Json> = report["secrets"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|found| {
            let fields = ["user", "is_a_user", "enabled", "disabled", "dollars_a_month"];
            fields.iter().map(|field| found[field].clone()).collect()
        })
        .collect();
    assert_eq!(rows, [row("ana", true, 1, 1), row("ben", true, 1, 0), row("gone", false, 1, 0)]);
    assert_eq!(report["users_without_secret"], json!(["cy"]));
    let expected = ["KeysListed", "OlderVersionsLeft", "SecretsWithoutUser", "UsersWithoutSecret"];
    assert_eq!(reasons(&report), expected);
    let older = &report["findings"][1];
    let sentence = older["sentence"].as_str().expect("a sentence");
    assert!(sentence.starts_with("1 older version is left, and costs money: 1 of ana."), "{sentence}");
    assert_eq!(older["mend"], format!("pulse keys set ana --destroy-old --project={}", world.project));
    let run = Run::of(&mut world.bare_command(&["keys", "list", "--older-than", "0s", "--json"])).await;
    assert!(run.exit == Some(0) || run.exit == Some(3), "as old as the test is quick: {}", run.stdout);
    assert!(!run.stdout.contains("pulse keys set gone"), "nobody needs keys: {}", run.stdout);
    let run = Run::of(&mut world.bare_command(&["keys", "list", "--older-than", "90d"])).await;
    assert!(run.exit == Some(0) && !run.stdout.contains("\nana "), "{}", run.stdout);
    assert!(run.stdout.contains("No user's newest keys are older than 90 days."), "{}", run.stdout);
    assert!(!run.stdout.contains("ENABLED"), "no table without a row: {}", run.stdout);
    world.fault("secret-manager/ListSecretVersions:error=503,user=ben");
    let run = Run::of(&mut world.bare_command(&["keys", "list"])).await;
    assert!(run.exit == Some(1) && run.stdout.contains("VersionsUnknown"), "{}", run.stdout);
}

/// What is typed on a terminal is not shown there.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_asked_unseen_and_told_what_the_keys_are() {
    let world = sandbox().await;
    world.put("users/ana", []).await;
    new_keys(&world, "ana", "PKNEW");
    let Some(shown) = Typed::on_a_terminal(
        &world,
        &["keys", "set", "ana"],
        &[("Key id: ", "PKNEW"), ("Secret key: ", "new-hush-PKNEW"), ("[y/N] ", "y")],
    )
    .await
    else {
        return;
    };
    assert!(shown.contains("PAPER, play money") && shown.contains("Synced"), "{shown}");
    assert!(!shown.contains("PKNEW") && !shown.contains("new-hush"), "{shown}");
    assert_eq!(stored(&world, "ana", "1").await, Some(payload("PKNEW")));
}
