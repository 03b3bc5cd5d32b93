//! Plan, apply, verify, roll back.

use super::{WHOSE, assert_same, changes, json, raw, reasons, without_journal};
use crate::world::{Backend, Run, World};
use alpaca_pulse::firestore::values::text;
use pulse_sandbox::call::Service;
use pulse_sandbox::seed::{key_id, secret_key};
use serde_json::json;

const USERS: u32 = 25;

async fn there_and_back(world: World) {
    let before = world.everything().await;
    let plan = world.plan(&WHOSE).await;
    assert_same(&before, &world.everything().await);

    let applied = world.apply(&plan, &WHOSE).await;
    let found = ["Applied".to_owned(), "UserUnknown".to_owned()];
    assert_eq!((applied.exit, reasons(&applied)), (Some(0), found.into()), "{applied:?}");
    let after = without_journal(world.everything().await);
    assert!(after["users/user-0003/tradingSignals/user-0003-0"]["status"] == text("archived"));
    let verified = world.migrate(&[&["verify"][..], &WHOSE].concat()).await;
    assert_eq!(verified.exit, Some(0), "{verified:?}");
    assert!(json(&verified)["verified"].is_string(), "{verified:?}");

    let again = world.apply(&plan, &WHOSE).await;
    assert_eq!((again.exit, &json(&again)["moved"]), (Some(0), &json!(0)), "{again:?}");
    assert_same(&after, &without_journal(world.everything().await));
    let status = json(&world.migrate(&["status"]).await);
    assert_eq!(status["migrations"][0]["moved"], json(&applied)["moved"], "the second run adds none");

    let rolled_back = world.roll_back(&plan).await;
    assert_eq!((rolled_back.exit, &json(&rolled_back)["undone"]), (Some(0), &json!(changes(&applied))));
    assert_same(&before, &without_journal(world.everything().await));
    assert_eq!(world.group("entries").await.len() + world.group("parts").await.len(), 0);
    assert_eq!(reasons(&world.apply(&plan, &WHOSE).await), ["NotInThisState"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_in_the_sandbox() {
    there_and_back(World::legacy(Backend::Sandbox, USERS).await.expect("a sandbox")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_in_the_emulator() {
    if let Some(world) = World::legacy(Backend::Emulator, USERS).await {
        there_and_back(world).await;
    }
}

async fn legacy() -> World {
    World::legacy(Backend::Sandbox, USERS).await.expect("a sandbox")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_names_every_document_with_its_class_and_writes_nothing() {
    let world = legacy().await;
    let run = world.migrate(&["plan", "--owner", "user-0001"]).await;
    let told = json(&run);
    assert_eq!(world.calls(Service::Firestore, "Commit"), 0);
    let documents = told["documents"].as_array().expect("a list");
    for (source, target, class, reason) in [
        (
            "alpacaAccounts/snapshot/equity_history/202501051200",
            "users/user-0001/alpacaAccounts/snapshot/equity_history/202501051200",
            "copy",
            "NotThere",
        ),
        ("tradingSignals/form-1", "users/user-0001/tradingSignals/form-1", "copy", "NotThere"),
        ("trade_signals/form-1", "users/user-0001/tradingSignals/form-1", "ambiguous", "IdTaken"),
        ("tenants/owned/accounts/primary", "tenants/owned/accounts/primary", "copy", "WithoutOwner"),
        ("tenants/local/accounts/primary", "tenants/local/accounts/primary", "copy", "WithoutOwner"),
        (
            "tenants/crowded/accounts/primary",
            "tenants/crowded/accounts/primary",
            "ambiguous",
            "SeveralMembers",
        ),
        ("users/user-0004", "users/user-0004", "copy", "OlderTenantId"),
        ("users/user-0007", "users/user-0007", "ambiguous", "NoMembership"),
        ("users/user-0011", "users/user-0011", "ambiguous", "TenantsContradict"),
        (
            "users/user-0003/alpacaAccounts/snapshot",
            "users/user-0003/alpacaAccounts/snapshot",
            "copy",
            "Placeholder",
        ),
    ] {
        let found = documents.iter().find(|document| document["source"] == source);
        let found = found.unwrap_or_else(|| panic!("{source} is not in {told}"));
        let expected = (&json!(target), &json!(class), &json!(reason));
        assert_eq!((&found["target"], &found["class"], &found["reason"]), expected, "{source}");
    }
    let of = |class: &str| documents.iter().filter(|document| document["class"] == class).count();
    for class in ["copy", "same", "newer_target", "ambiguous", "malformed", "secret", "cleanup"] {
        assert_eq!(told["counts"][class], of(class), "{class}");
    }
    assert_eq!((of("secret"), of("same")), (USERS as usize, 0));
    assert_eq!(told["estimate"]["writes"], 2 * of("copy"));
    assert_eq!(told["used"]["firestore_writes"], 0);
    assert_eq!(reasons(&run), ["DocumentsOpen", "KeysInFirestore", "PlanReady"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_owner_nobodys_documents_are_ambiguous() {
    let world = legacy().await;
    let told = json(&world.migrate(&["plan"]).await);
    let documents = told["documents"].as_array().expect("a list");
    let form = documents.iter().find(|document| document["source"] == "tradingSignals/form-1");
    let form = form.expect("it is named");
    assert_eq!(
        (&form["class"], &form["reason"], &form["target"]),
        (&json!("ambiguous"), &json!("NoOwner"), &json!(null))
    );
    let verified = world.migrate(&["verify"]).await;
    assert_eq!(verified.exit, Some(3));
    assert_eq!(reasons(&verified), ["Different", "KeysNotMoved", "NotMoved", "UserUnknown"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_applied_with_its_own_options_only() {
    let world = legacy().await;
    let plan = world.plan(&WHOSE).await;
    for (plan, whose, reason) in [
        (plan.as_str(), &[][..], "OtherOptions"),
        (&plan, &["--owner", "user-0002"], "OtherOptions"),
        ("20261129T092552.123456Z", &WHOSE, "NoPlan"),
    ] {
        let run = world.apply(plan, whose).await;
        assert_eq!((run.exit, reasons(&run)), (Some(2), vec![reason.to_owned()]), "{run:?}");
    }
    let unasked = world.migrate(&[&["apply", "--plan", &plan], &WHOSE[..]].concat()).await;
    assert_eq!((unasked.exit, reasons(&unasked)), (Some(2), vec!["NotConfirmed".to_owned()]));
    assert_eq!(world.calls(Service::Firestore, "Commit"), 0);
}

/// Everything that was said, and everything that was written beside the documents that had the keys before.
#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_ever_said_or_written() {
    let world = legacy().await;
    let mut said = String::new();
    let mut say = |run: Run| said.push_str(&(run.stdout + &run.stderr));
    let plan = world.plan(&WHOSE).await;
    say(Run::of(&mut world.bare_command(&[&["migrate", "plan"][..], &WHOSE].concat())).await);
    say(world.migrate(&[&["plan"][..], &WHOSE].concat()).await);
    say(world.apply(&plan, &WHOSE).await);
    say(world.migrate(&[&["verify"][..], &WHOSE].concat()).await);
    say(world.migrate(&["status"]).await);
    let mut everything = world.everything().await;
    everything.retain(|path, _| !path.contains("/secrets/"));
    say(world.roll_back(&plan).await);
    let plan = world.plan(&WHOSE).await;
    say(world.apply(&plan, &WHOSE).await);
    world.pulse().await;
    let verified = world.verified(&WHOSE).await;
    let clean_up = |verified| [&["--verified", verified, "--after", "0s"], &WHOSE[..]].concat();
    say(world.clean_up(&plan, &clean_up(&verified)).await);
    let mut cleaned = world.everything().await;
    cleaned.retain(|path, _| !path.contains("/secrets/"));
    say(world.clean_up(&plan, &["--undo"]).await);
    let verified = world.verified(&WHOSE).await;
    say(world.clean_up(&plan, &clean_up(&verified)).await);
    let closing = world.clean_up(&plan, &clean_up(&verified)).await;
    assert_eq!((closing.exit, reasons(&closing)), (Some(0), vec!["Closed".to_owned()]));
    say(closing);
    let written = [everything, cleaned, world.everything().await].map(|all| raw(&all)).concat();
    assert!(written.contains("goes with the signal"), "the journal of what was deleted is searched too");
    for number in 1..=USERS {
        for planted in [key_id(number), secret_key(number)] {
            assert!(!said.contains(&planted) && !written.contains(&planted), "{planted}");
        }
    }
}

/// Of another project, of a time that is still to come, or for an owner who is nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_nobody_made_here_is_refused() {
    let (world, other) = (legacy().await, legacy().await);
    let plan = other.plan(&WHOSE).await;
    let run = world.apply(&plan, &WHOSE).await;
    assert_eq!((run.exit, reasons(&run)), (Some(2), vec!["OtherOptions".to_owned()]), "{run:?}");
    let own = world.plan(&WHOSE).await;
    let to_come = format!("20990101T000000.000000Z-{}", own.rsplit_once('-').expect("two parts").1);
    let run = world.apply(&to_come, &WHOSE).await;
    assert_eq!((run.exit, reasons(&run)), (Some(2), vec!["NoPlan".to_owned()]), "{run:?}");
    let nobody = ["--owner", "user-001"];
    let planned = world.migrate(&[&["plan"][..], &nobody].concat()).await;
    assert!(reasons(&planned).contains(&"OwnerUnknown".to_owned()), "{planned:?}");
    let run = world.apply(&world.plan(&nobody).await, &nobody).await;
    assert_eq!((run.exit, reasons(&run)), (Some(2), vec!["OwnerUnknown".to_owned()]), "{run:?}");
    for args in [["rollback", "--plan", "../x"].as_slice(), &["cleanup", "--undo", "--plan", "../x"]] {
        let run = world.migrate(args).await;
        assert_eq!((run.exit, reasons(&run)), (Some(2), vec!["NoPlan".to_owned()]), "{run:?}");
    }
    assert_eq!(world.calls(Service::Firestore, "Commit"), 0);
    let empty = crate::world::sandbox().await;
    assert!(reasons(&empty.migrate(&["plan"]).await).contains(&"NothingFound".to_owned()));
}
