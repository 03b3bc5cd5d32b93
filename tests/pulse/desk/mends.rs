//! What is suggested can be pasted, and does what it says.

use super::findings;
use crate::world::{World, sandbox};
use alpaca_pulse::firestore::values::{boolean, integer};
use pulse_sandbox::alpaca::Profile;
use serde_json::{Value as Json, json};

fn mend_of<'a>(object: &'a Json, reason: &str) -> Option<&'a str> {
    let findings = object["findings"].as_array().expect("a list");
    findings.iter().find(|finding| finding["reason"] == reason)?["mend"].as_str()
}

/// Whoever may sign up chooses an id: it must not become a command of the operator's.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_stays_one_argument_whatever_it_is_made_of() {
    let world = sandbox().await;
    for id in ["$(touch pwned)", " user-0001", "-rf"] {
        world.put(&format!("users/{id}"), []).await;
    }
    let listed = world.told(&["keys", "list", "--json"]).await;
    let object: Json = serde_json::from_str(&listed.stdout).expect("an object");
    assert_eq!(object["users_without_secret"], json!(["-rf"]), "the others can have none");
    let mend = format!("pulse keys set --project={} -- -rf", world.project);
    assert_eq!(mend_of(&object, "UsersWithoutSecret"), Some(mend.as_str()));
    let told = world.told(&["explain", "--", "-rf"]).await;
    assert!(told.stdout.contains("-rf: there are no figures"), "{}{}", told.stdout, told.stderr);
    for (id, quoted) in [("$(touch pwned)", "'$(touch pwned)'"), (" user-0001", "' user-0001'")] {
        let (object, _) = world.look(&["read", id]).await;
        let expected = format!("pulse explain {quoted} --project={}", world.project);
        assert_eq!(object["findings"][0]["mend"], expected);
    }
    // No command of pulse mends a user who cannot have keys.
    world.put("users/$(touch pwned)", [("sync_enabled", boolean(false))]).await;
    let (object, _) = world.look(&["explain", "$(touch pwned)"]).await;
    let conclusion = &object["conclusion"];
    assert_eq!((&conclusion["reason"], &conclusion["mend"]), (&"Paused".into(), &Json::Null));
}

/// Users who were synced, and whose keys Alpaca rejects from now on.
async fn rejected(world: &World, users: &[&str]) {
    for user in users {
        world.user(user).await;
    }
    world.pulse().await;
    users.iter().for_each(|user| world.account(user, Profile::Revoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn rejections_of_many_are_told_at_once_and_those_of_one_are_not_taken_for_them() {
    let world = sandbox().await;
    rejected(&world, &["ana", "ben", "cy"]).await;
    world.pulse().await;
    let (object, _) = world.look(&["explain", "ana"]).await;
    let conclusion = &object["conclusion"];
    assert_eq!(conclusion["reason"], "BrokerRejectsMany", "{conclusion}");
    let mend = format!("pulse users --error=broker_rejected --project={}", world.project);
    assert_eq!(conclusion["mend"], mend);
    let alone = sandbox().await;
    rejected(&alone, &["ana"]).await;
    alone.pulse_with(&["--user=ana"]).await;
    assert_eq!(alone.trouble("ana").await["rejections"]["integer"], 0);
    let (object, _) = alone.look(&["explain", "ana"]).await;
    assert_eq!(object["conclusion"]["reason"], "BrokerRejected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_pulse_leads_to_its_cause() {
    let world = sandbox().await;
    world.user("ana").await;
    world.fault("alpaca:error=503");
    world.pulse().await;
    let (object, _) = world.look(&["status"]).await;
    let mend = format!("pulse users --error=broker_unavailable --project={}", world.project);
    assert_eq!(mend_of(&object, "PulseFailed"), Some(mend.as_str()));
    world.patch("ops/last_pulse", [("unreached_count", integer(3))]).await;
    let told = world.told(&["status"]).await;
    let words: Vec<_> = told.stdout.split_whitespace().collect();
    for expected in ["3 not reached", "3 users were not reached before the deadline"] {
        assert!(words.join(" ").contains(expected), "{}", told.stdout);
    }
    let empty = sandbox().await;
    empty.pulse().await;
    let (object, exit) = empty.look(&["status"]).await;
    assert_eq!(exit, Some(0));
    assert!(findings(&object).contains(&("PulseWorked".to_owned(), "warning".to_owned())), "{object}");
}
