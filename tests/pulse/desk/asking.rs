//! `pulse explain --ask`: one access, one call, no write.

use super::{TEN_MINUTES, findings};
use crate::world::{World, sandbox, secret_of};
use pulse_sandbox::alpaca::Profile;
use pulse_sandbox::call::Service;

async fn asked(world: &World) -> (serde_json::Value, Option<i32>) {
    let before = (world.group("alpacaAccounts").await, world.calls(Service::Firestore, "Commit"));
    let asked = world.look(&["explain", "ana", "--ask"]).await;
    let after = (world.group("alpacaAccounts").await, world.calls(Service::Firestore, "Commit"));
    assert_eq!(after, before, "nothing is written");
    asked
}

fn state_of<'a>(object: &'a serde_json::Value, reason: &str) -> Option<&'a str> {
    let findings = object["findings"].as_array().expect("a list");
    findings.iter().find(|finding| finding["reason"] == reason)?["state"].as_str()
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_costs_one_access_and_one_call_and_changes_nothing() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await;
    let (object, exit) = asked(&world).await;
    assert_eq!((exit, state_of(&object, "AskedKeysTaken")), (Some(0), Some("ok")));
    let used = &object["used"];
    assert_eq!((&used["secret_accesses"], &used["alpaca_calls"]), (&1.into(), &1.into()));
    assert_eq!(
        (&object["asked"]["key_version"], &object["asked"]["environment"]),
        (&"1".into(), &"paper".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_taken_by_now_need_nothing_but_the_next_pulse() {
    let world = sandbox().await;
    world.user("ana").await;
    world.user("zoe").await;
    world.pulse().await;
    world.age_snapshot("ana", TEN_MINUTES).await;
    world.account("ana", Profile::Revoked);
    for _ in 0..2 {
        world.pulse().await;
    }
    let (object, _) = asked(&world).await;
    assert_eq!(
        (&object["conclusion"]["reason"], &object["conclusion"]["who"]),
        (&"NeedsReauth".into(), &"user".into())
    );
    world.connect("ana", Profile::active());
    let (object, exit) = asked(&world).await;
    let conclusion = &object["conclusion"];
    assert_eq!((&conclusion["who"], exit), (&"nobody".into(), Some(3)), "stale all the same");
    let mend = conclusion["mend"].as_str().expect("a command");
    assert!(mend.starts_with("pulse sync --user=ana --project="), "{mend}");
    let mended = world.told(&mend.split(' ').skip(1).collect::<Vec<_>>()).await;
    assert_eq!(mended.exit, Some(0));
    assert_eq!(world.look(&["explain", "ana"]).await.1, Some(0), "the command mends it");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_refused_now_are_told_before_a_pulse_finds_out() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await;
    world.sandbox.secrets().delete(&secret_of("ana"));
    let (object, exit) = asked(&world).await;
    assert_eq!((&object["conclusion"]["reason"], exit), (&"KeysMissing".into(), Some(0)), "still fresh");
    assert_eq!(object["state"], "warning");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_than_the_snapshots_is_told() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await;
    world.fault("alpaca:other-account");
    let (object, _) = asked(&world).await;
    assert_eq!(state_of(&object, "AskedOtherAccount"), Some("warning"));
    // That Alpaca answers is no cure for what it answers.
    world.pulse_with(&["--pin-accounts"]).await;
    let (object, _) = asked(&world).await;
    let conclusion = &object["conclusion"];
    assert_eq!(
        (&conclusion["reason"], &conclusion["who"]),
        (&"BrokerOtherAccount".into(), &"operator".into()),
        "{conclusion}"
    );
    assert!(!conclusion["sentence"].to_string().contains("the next pulse ends it"), "{conclusion}");
}

/// A right that the operator lacks says nothing about the job's.
#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_asked_is_unknown() {
    for fault in
        ["secret-manager:error=403", "secret-manager:error=503", "alpaca:error=503", "alpaca:error=429"]
    {
        let world = sandbox().await;
        world.user("ana").await;
        world.pulse().await;
        world.fault(fault);
        let (object, exit) = asked(&world).await;
        assert_eq!(
            (state_of(&object, "AskedUnheard"), exit),
            (Some("unknown"), Some(1)),
            "{fault}: {object}"
        );
        let used = &object["used"];
        assert!(used["secret_accesses"] == 1 && used["alpaca_calls"].as_i64() <= Some(1), "once: {used}");
        assert_eq!(
            (&object["asked"]["outcome"], &object["conclusion"]["reason"]),
            (&"unknown".into(), &"Fresh".into())
        );
        assert_eq!(findings(&object).last().map(|(_, state)| state.as_str()), Some("unknown"), "the worst");
        assert!(!object.to_string().contains("the account it runs as"), "it is a person: {object}");
    }
}

const LOG_OF_ANA: &str = "gcloud logging read 'jsonPayload.user_id=\"ana\" severity>=ERROR'";

/// Once they are asked, another question tells nothing new.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_asked_is_led_on() {
    for (fault, reason, who, mend) in [
        ("alpaca:error=503", "BrokerUnavailable", "nobody", LOG_OF_ANA),
        ("alpaca:error=429", "BrokerRateLimited", "operator", "pulse users --error=broker_rate_limited"),
        (r#"alpaca:error=401,body={"code": 40110000}"#, "BrokerRejected", "user", "pulse keys set ana"),
    ] {
        let world = sandbox().await;
        world.user("ana").await;
        world.user("zoe").await;
        world.pulse().await;
        world.fault(&format!("{fault},user=ana"));
        world.pulse().await;
        let (object, _) = asked(&world).await;
        let conclusion = &object["conclusion"];
        assert_eq!(
            (&conclusion["reason"], &conclusion["who"]),
            (&reason.into(), &who.into()),
            "{conclusion}"
        );
        let mend = format!("{mend} --project={}", world.project);
        assert!(
            conclusion["mend"].as_str().is_some_and(|command| command.starts_with(&mend)),
            "{conclusion}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_firestore_the_keys_are_tried_all_the_same() {
    let world = sandbox().await;
    world.user("ana").await;
    world.fault("firestore:error=PERMISSION_DENIED");
    let (object, exit) = world.look(&["explain", "ana", "--ask"]).await;
    assert_eq!((state_of(&object, "AskedKeysTaken"), exit), (Some("ok"), Some(1)));
    let expected = [("AskedKeysTaken", "ok"), ("UserState", "skipped"), ("FirestoreUnread", "unknown")];
    assert_eq!(findings(&object), expected.map(|(reason, state)| (reason.to_owned(), state.to_owned())));
    assert_eq!(object["findings"][2]["mend"], format!("pulse doctor --project={}", world.project));
}
