//! `pulse user`: who takes part, and who does no more.

use crate::on_both;
use crate::typed::{Killing, Typed};
use crate::world::{Run, World, sandbox, secret_of};
use alpaca_pulse::firestore::values::text;
use pulse_sandbox::alpaca::Profile;
use pulse_sandbox::call::Service;
use serde_json::{Value as Json, json};

fn report(run: &Run) -> Json {
    serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{} {}", run.stdout, run.stderr))
}

fn reasons(report: &Json) -> Vec<&str> {
    let findings = report["findings"].as_array().expect("findings");
    findings.iter().map(|finding| finding["reason"].as_str().expect("a reason")).collect()
}

async fn typed(world: &World, args: &[&str]) -> (Option<i32>, Json) {
    let run = Typed::in_to(world, &[args, &["--yes", "--json"]].concat(), "").await;
    (run.exit, report(&run))
}

const ADD: [&str; 9] =
    ["user", "add", "ana", "--email", "ana@example.com", "--display-name", "Ana", "--tenant", "acme"];

on_both! {
    async fn a_user_is_added_once_and_what_is_there_is_kept(world) {
        let (exit, told) = typed(&world, &ADD).await;
        assert_eq!((exit, reasons(&told)), (Some(0), vec!["UserAdded"]), "{told}");
        assert_eq!(told["findings"][0]["mend"], format!("pulse keys set ana --project={}", world.project));
        let user = world.document("users/ana").await;
        assert_eq!((&user["email"], &user["display_name"]), (&json!("ana@example.com"), &json!("Ana")));
        assert!(user["created_at"]["timestamp"].is_string() && user["keys_updated_at"] == user["created_at"]);
        assert_eq!(world.document("tenants/acme/users/ana").await["role"], "member");
        let (exit, told) = typed(&world, &ADD).await;
        assert_eq!((exit, reasons(&told)), (Some(0), vec!["UserThere"]));
        assert_eq!(told["findings"][0]["mend"], format!("pulse explain ana --project={}", world.project));
        let (exit, _) = typed(&world, &["user", "add", "ana", "--display-name", "Somebody else"]).await;
        assert_eq!((exit, world.document("users/ana").await), (Some(0), user.clone()));
        let (exit, told) = typed(&world, &["user", "add", "ana", "--tenant", "zeta"]).await;
        assert_eq!((exit, reasons(&told)), (Some(3), vec!["OtherTenant"]));
        world.connect("ana", Profile::active());
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(world.primary("acme").await["user_id"], "ana");
    }

    async fn a_member_who_lost_a_document_gets_what_is_missing(world) {
        world.put("users/ana", [("email", text("first@example.com"))]).await;
        let (exit, told) = typed(&world, &ADD).await;
        assert_eq!((exit, reasons(&told)), (Some(0), vec!["UserCompleted"]), "{told}");
        let user = world.document("users/ana").await;
        assert_eq!((&user["email"], &user["tenant_id"]), (&json!("first@example.com"), &json!("acme")));
        assert_ne!(world.document("tenants/acme/users/ana").await, Json::Null);
    }

    async fn a_user_is_paused_and_resumed(world) {
        world.user("ana").await;
        for (command, reason, completed) in [
            ("pause", "Paused", "0 successful, 0 errors, 1 skipped"),
            ("resume", "Resumed", "1 successful, 0 errors"),
        ] {
            for _ in 0..2 {
                let (exit, told) = typed(&world, &["user", command, "ana"]).await;
                assert_eq!((exit, reasons(&told)), (Some(0), vec![reason]), "{told}");
                assert!(world.document("users/ana").await["keys_updated_at"]["timestamp"].is_string());
            }
            assert!(world.pulse().await.says(&format!("Completed multi-tenant sync: {completed}")));
        }
        let (exit, told) = typed(&world, &["user", "pause", "nobody"]).await;
        assert_eq!((exit, reasons(&told)), (Some(3), vec!["UserUnknown"]));
        assert!(told["findings"][0]["sentence"].to_string().contains(&world.project), "where it looked: {told}");
        assert_eq!(world.document("users/nobody").await, Json::Null);
    }

    async fn a_user_is_removed_with_all_that_pulse_keeps(world) {
        crowded(&world).await;
        let (exit, told) = typed(&world, &["user", "remove", "ana"]).await;
        assert_eq!((exit, reasons(&told)), (Some(0), vec!["HandedOver", "UserRemoved", "OtherDataStays"]), "{told}");
        let deletes: Vec<&str> = told["deletes"].as_array().expect("a list").iter().filter_map(Json::as_str).collect();
        assert_eq!(deletes, [
            "users/ana/alpacaAccounts/snapshot",
            "users/ana/alpacaAccounts/snapshot/equity_history/*",
            "users/ana/alpacaAccounts/sync",
            "tenants/acme/accounts/primary",
            "tenants/acme: owner_uid, which names ana",
            "tenants/acme/users/ana",
            "users/ana",
            "secret alpaca-keys-ana with all versions",
        ]);
        assert_eq!((&told["heir"], &told["stays"]), (&json!("ben"), &json!(["tradingSignals"])));
        assert_removed(&world, "ana").await;
        assert_eq!(world.primary("acme").await["user_id"], "ben");
        assert_eq!(world.document("tenants/acme").await, json!({"owner_uid": "ben", "name": "Acme"}));
        let (exit, told) = typed(&world, &["user", "remove", "ana"]).await;
        assert_eq!((exit, reasons(&told)), (Some(0), vec!["NothingLeft", "OtherDataStays"]));
        world.pulse().await.assert_completed("2 successful, 0 errors", 0);
        assert_eq!(world.snapshot("ana").await, Json::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_document_falls_to_a_member_who_is_synced() {
    let world = sandbox().await;
    for user in ["ana", "ben", "cy"] {
        world.user_of_tenant(user, text("acme")).await;
        world.membership("acme", user).await;
    }
    world.put("tenants/acme", [("owner_uid", text("ana"))]).await;
    world.patch("users/ben", [("sync_enabled", crate::world::off())]).await;
    world.pulse().await;
    assert_eq!(world.primary("acme").await["user_id"], "ana");
    let (_, told) = typed(&world, &["user", "remove", "ana"]).await;
    assert_eq!((reasons(&told), &told["heir"]), (vec!["HandedOver", "UserRemoved"], &json!("cy")), "{told}");
    let (_, told) = typed(&world, &["user", "remove", "cy"]).await;
    assert_eq!(
        (reasons(&told), &told["heir"]),
        (vec!["UserRemoved", "HandOverWaits"], &json!("ben")),
        "{told}"
    );
    assert_eq!(told["findings"][1]["mend"], Json::Null, "whoever is paused stays so: {told}");
}

/// Two members of a tenant whose document shows the first one's account, and a user of their own.
async fn crowded(world: &World) {
    for user in ["ana", "ben"] {
        world.user_of_tenant(user, text("acme")).await;
        world.membership("acme", user).await;
    }
    world.put("tenants/acme", [("owner_uid", text("ana")), ("name", text("Acme"))]).await;
    world.user("cy").await;
    world.pulse().await.assert_completed("3 successful, 0 errors", 0);
    world.put("users/ana/alpacaAccounts/sync", [("state", text("ok"))]).await;
    assert_eq!(world.primary("acme").await["user_id"], "ana");
    for minute in ["202601051430", "202601051431"] {
        let entry = format!("users/ana/alpacaAccounts/snapshot/equity_history/{minute}");
        world.put(&entry, [("equity", text("1"))]).await;
    }
    world.put("users/ana/tradingSignals/s1", [("symbol", text("SPY"))]).await;
}

/// Nothing of the user is left but what other programs keep.
async fn assert_removed(world: &World, user: &str) {
    for path in [format!("users/{user}"), format!("tenants/acme/users/{user}")] {
        assert_eq!(world.document(&path).await, Json::Null, "{path}");
    }
    for collection in ["alpacaAccounts", "equity_history"] {
        let left: Vec<String> = world.group(collection).await.into_keys().collect();
        assert!(!left.iter().any(|path| path.contains(&format!("/{user}/"))), "{left:?}");
    }
    for (path, document) in world.group("accounts").await {
        assert_ne!(document["user_id"], user, "{path}");
    }
    let url = format!(
        "http://{}/v1/projects/{}/secrets/{}",
        world.sandbox.address(),
        world.project,
        secret_of(user)
    );
    assert_eq!(reqwest::get(url).await.expect("an answer").status(), 404);
    assert_eq!(world.document(&format!("users/{user}/tradingSignals/s1")).await["symbol"], "SPY");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_call_a_removal_can_be_repeated_until_nothing_is_left() {
    let args = ["user", "remove", "ana", "--yes", "--json"];
    let at = ["firestore", "secret-manager"];
    let killing = Killing { at: &at, args: &args, again: &args, with_pulses: false };
    let prepare = async |world: &World| {
        crowded(world).await;
        String::new()
    };
    let others_sync = async |world: &World, place: &str| {
        let run = world.pulse().await;
        assert_eq!(run.exit, Some(0), "{place}: {}", run.stdout);
        assert!(!run.stdout.contains("for user ben:") && !run.stdout.contains("for user cy:"), "{place}");
    };
    let is_removed = async |world: &World, run: &Run, place: &str| {
        assert_eq!(run.exit, Some(0), "{place}: {}", run.stdout);
        // A pulse that was at work may have written once more, as the command says.
        let (exit, told) = typed(world, &["user", "remove", "ana"]).await;
        assert_eq!(exit, Some(0), "{place}: {told}");
        assert_removed(world, "ana").await;
        world.pulse().await;
        assert_eq!(world.primary("acme").await["user_id"], "ben", "{place}");
    };
    let calls = killing.each(prepare, others_sync, is_removed).await;
    assert!(calls >= 40, "{calls} calls were seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_document_that_changed_meanwhile_is_looked_at_again_and_removed() {
    for fault in ["error=FAILED_PRECONDITION", "drop-after"] {
        let world = sandbox().await;
        crowded(&world).await;
        // The first commit pauses the user, the second deletes their history, the third the figures.
        world.fault(&format!("firestore/Commit:{fault},skip=2,times=1"));
        let (exit, told) = typed(&world, &["user", "remove", "ana"]).await;
        assert_eq!(
            (exit, reasons(&told)),
            (Some(0), vec!["HandedOver", "UserRemoved", "OtherDataStays"]),
            "{fault}"
        );
        assert_removed(&world, "ana").await;
        assert_eq!(world.primary("acme").await["user_id"], "ben", "{fault}");
    }
}

/// Figures and keys are gone by then, and nobody has the tenant's document.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_broke_off_hands_the_tenants_document_over_when_it_is_repeated() {
    let world = sandbox().await;
    crowded(&world).await;
    // The first commit pauses the user, the second deletes their history, the third the figures.
    world.fault("firestore/Commit:error=PERMISSION_DENIED,skip=3,times=1");
    let (exit, told) = typed(&world, &["user", "remove", "ana"]).await;
    assert_eq!((exit, reasons(&told)), (Some(1), vec!["LeftPaused", "FirestoreUnavailable"]), "{told}");
    assert_eq!(world.primary("acme").await, Json::Null);
    let (exit, told) = typed(&world, &["user", "remove", "ana"]).await;
    let expected = vec!["HandedOver", "UserRemoved", "OtherDataStays"];
    assert_eq!((exit, reasons(&told)), (Some(0), expected), "{told}");
    assert_eq!(world.primary("acme").await["user_id"], "ben");
    assert_removed(&world, "ana").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gets_a_tenants_document_is_shown_before_it_is_asked() {
    let world = sandbox().await;
    crowded(&world).await;
    let run = Typed::in_to(&world, &["user", "remove", "ana"], "").await;
    assert!(run.stdout.contains("The document of tenant acme falls to ben."), "{}", run.stdout);
    world.delete("tenants/acme/users/ben").await;
    let run = Typed::in_to(&world, &["user", "remove", "ana"], "").await;
    assert!(run.stdout.contains("Tenant acme has no other member"), "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_without_a_yes_and_what_would_be_is_shown_first() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    let commits = world.calls(Service::Firestore, "Commit");
    let run = Typed::in_to(&world, &["user", "remove", "ana"], "y\n").await;
    assert_eq!(run.exit, Some(2), "nobody can be asked");
    assert!(run.stdout.contains("  users/ana/alpacaAccounts/snapshot\n"), "{}", run.stdout);
    assert!(run.stdout.contains("  tenants/ana/accounts/primary\n"), "{}", run.stdout);
    let shown = Typed::on_a_terminal(&world, &["user", "remove", "ana"], &[("[y/N] ", "n")]).await;
    assert!(shown.is_none_or(|shown| shown.contains("Nothing was changed")));
    assert_eq!(world.calls(Service::Firestore, "Commit"), commits);
    let (exit, told) = typed(&world, &["user", "remove", "ana"]).await;
    assert_eq!((exit, reasons(&told)), (Some(0), vec!["UserRemoved"]), "{told}");
    assert_eq!(world.primary("ana").await, Json::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_tenant_has_is_removed_once_the_user_is() {
    let world = sandbox().await;
    crowded(&world).await;
    world.membership("zeta", "ana").await;
    world.put("tenants/zeta/accounts/primary", [("user_id", text("ana"))]).await;
    let from_zeta = ["user", "remove", "ana", "--tenant", "zeta"];
    let (exit, told) = typed(&world, &from_zeta).await;
    assert_eq!((exit, reasons(&told)), (Some(3), vec!["OtherTenant"]), "{told}");
    let mend = format!("pulse explain ana --project={}", world.project);
    assert_eq!(told["findings"][0]["mend"], mend, "nobody has asked for their removal");
    assert_eq!(typed(&world, &["user", "remove", "ana"]).await.0, Some(0));
    assert_eq!(typed(&world, &from_zeta).await.0, Some(0));
    assert_removed(&world, "ana").await;
    assert_eq!(world.document("tenants/zeta/users/ana").await, Json::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_is_refused_says_which_right_is_missing_and_is_repeated() {
    let world = sandbox().await;
    crowded(&world).await;
    world.fault("secret-manager/DeleteSecret:error=403,reason=IAM_PERMISSION_DENIED");
    let (exit, told) = typed(&world, &["user", "remove", "ana"]).await;
    assert_eq!((exit, reasons(&told)), (Some(1), vec!["LeftPaused", "RightMissing"]), "{told}");
    assert_eq!(told["findings"][0]["mend"], format!("pulse user resume ana --project={}", world.project));
    assert!(told.to_string().contains("secretmanager.secrets.delete"), "{told}");
    world.sandbox.faults().clear();
    let (exit, _) = typed(&world, &["user", "remove", "ana"]).await;
    assert_eq!(exit, Some(0));
    assert_removed(&world, "ana").await;
}
