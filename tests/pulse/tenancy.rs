//! Section 2, "Which tenant": whose figures `tenants/{tenantId}/accounts/primary` carries.

use crate::answers::money;
use crate::held_alpaca::HeldAlpaca;
use crate::live::Live;
use crate::on_both;
use crate::traffic::{Traffic, watched};
use crate::world::{Run, World, off, sandbox};
use alpaca_pulse::firestore::values::{array, boolean, double, integer, map, null, text, timestamp};
use gcloud_sdk::google::firestore::v1::document_transform::field_transform::{ServerValue, TransformType};
use gcloud_sdk::google::firestore::v1::precondition::ConditionType;
use gcloud_sdk::google::firestore::v1::write::Operation;
use gcloud_sdk::google::firestore::v1::{Value, Write};
use jiff::Timestamp;
use pulse_sandbox::call::Service;
use serde_json::json;
use std::collections::BTreeSet;

const ACME: &str = "tenants/acme/accounts/primary";

/// A member of a tenant, whose account has that much equity.
async fn member(world: &World, tenant: &str, user: &str, equity: &str) {
    world.user_of_tenant(user, text(tenant)).await;
    world.membership(tenant, user).await;
    world.connect(user, money(equity));
}

/// A tenant's document as a pass has just left it for its owner.
async fn owned(world: &World, tenant: &str, owner: &str, equity: f64) {
    let path = format!("tenants/{tenant}/accounts/primary");
    let fields = [
        ("user_id", text(owner)),
        ("tenant_id", text(tenant)),
        ("equity", double(equity)),
        ("updated_at", timestamp(Timestamp::now())),
    ];
    world.put(&path, fields).await;
}

/// A pass that has read what decides about the tenants of so many users, and waits for Alpaca.
async fn held_pass(world: &World, users: usize) -> (Live, HeldAlpaca) {
    let alpaca = HeldAlpaca::start().await;
    let pass = Live::start(alpaca.command(world, &[]));
    alpaca.arrived(users).await;
    (pass, alpaca)
}

/// Owner and equity of a tenant's document, and the equity of a user's own snapshot.
async fn owner_and_money(world: &World, tenant: &str, user: &str) -> (serde_json::Value, serde_json::Value) {
    let primary = world.primary(tenant).await;
    let snapshot = world.snapshot(user).await;
    (json!([primary["user_id"], primary["equity"]]), snapshot["equity"].clone())
}

fn refusal(user: &str, tenant: &str) -> String {
    format!(
        "Refused the tenant document of user {user}: it says tenant {tenant}, \
         but tenants/{tenant}/users has no document for it"
    )
}

fn assert_refused(run: &Run, message: &str) {
    let severity = run.severity_of(message);
    assert_eq!(severity.as_deref(), Some("WARNING"), "{message:?} in:\n{}", run.stdout);
}

on_both! {
    async fn a_user_without_tenant_is_their_own(world) {
        world.user("ana").await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        let primary = world.primary("ana").await;
        assert_eq!((&primary["tenant_id"], &primary["user_id"]), (&json!("ana"), &json!("ana")));
        assert_eq!(world.tenants_with_account().await, ["ana"]);
    }

    async fn a_tenant_id_that_is_null_is_none_and_no_reason_for_a_word(world) {
        world.user_of_tenant("ana", null()).await;
        let run = world.pulse().await;
        run.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(world.primary("ana").await["user_id"], "ana");
        assert!(run.entries().iter().all(|entry| entry["severity"] == "INFO"), "{}", run.stdout);
    }

    async fn a_sync_enabled_that_is_no_boolean_pauses_the_user_and_is_named(world) {
        let odd = [
            ("false-text", text("false")), ("true-text", text("true")), ("empty", text("")), ("zero", integer(0)),
            ("one", integer(1)), ("double", double(1.0)), ("list", array(vec![boolean(true)])),
            ("map", map([("on".to_owned(), boolean(true))].into())),
        ];
        for (user, value) in odd.clone() {
            world.put(&format!("users/{user}"), [("sync_enabled", value)]).await;
            world.connect(user, money("1"));
        }
        for (user, value) in [("null", null()), ("on", boolean(true))] {
            world.put(&format!("users/{user}"), [("sync_enabled", value)]).await;
            world.connect(user, money("1"));
        }
        let run = world.pulse().await;
        run.assert_completed("2 successful, 0 errors, 8 skipped", 0);
        for (user, _) in odd {
            let entry = run.entry(&format!("Skipped Alpaca account for user {user}: its sync_enabled is neither"));
            assert_eq!((&entry["severity"], &entry["user_id"]), (&json!("WARNING"), &json!(user)));
            assert_eq!(world.snapshot(user).await, json!(null), "{user}");
        }
        assert_eq!(world.calls(Service::Alpaca, "GetAccount"), 2, "nobody else's account is asked for");
    }

    async fn a_members_figures_go_to_the_tenant_and_to_no_other(world) {
        member(&world, "acme", "ana", "1.50").await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        let primary = world.primary("acme").await;
        assert_eq!((&primary["tenant_id"], &primary["user_id"]), (&json!("acme"), &json!("ana")));
        assert_eq!(primary["exact"]["equity"], "1.50");
        assert_eq!(world.tenants_with_account().await, ["acme"]);
    }

    async fn without_membership_the_tenants_document_is_refused_and_the_snapshot_written(world) {
        owned(&world, "acme", "victim", 7.0).await;
        world.membership("acme", "victim").await;
        world.user_of_tenant("ana", text("acme")).await;
        world.user_of_tenant("ben", text("nobodys")).await;
        let before = world.stored(ACME).await;
        let run = world.pulse().await;
        run.assert_completed("2 successful, 0 errors", 0);
        assert_refused(&run, &refusal("ana", "acme"));
        assert_refused(&run, &refusal("ben", "nobodys"));
        assert_eq!(world.stored(ACME).await, before, "not even its update time changed");
        assert_eq!(world.tenants_with_account().await, ["acme"]);
        assert_eq!(world.snapshot("ana").await["status"], "ACTIVE");
        assert_eq!(world.snapshot("ben").await["status"], "ACTIVE");
    }

    async fn being_the_owner_is_no_membership(world) {
        owned(&world, "acme", "ana", 7.0).await;
        world.user_of_tenant("ana", text("acme")).await;
        let before = world.stored(ACME).await;
        let run = world.pulse().await;
        run.assert_completed("1 successful, 0 errors", 0);
        assert_refused(&run, &refusal("ana", "acme"));
        assert_eq!(world.stored(ACME).await, before);
    }

    async fn a_tenant_id_that_is_no_document_id_is_refused(world) {
        let unusable: [(&str, Value); 11] = [
            ("empty", text("")), ("slash", text("a/b")), ("climbing", text("../users/victim")),
            ("dot", text(".")), ("dots", text("..")), ("reserved", text("__x__")), ("number", integer(7)),
            ("map", map([("id".to_owned(), text("acme"))].into())),
            ("array", array(vec![text("acme")])), ("long", text("x".repeat(1501))), ("double", double(1.5)),
        ];
        for (user, tenant) in unusable.clone() {
            world.user_of_tenant(user, tenant).await;
        }
        let run = world.pulse().await;
        run.assert_completed("11 successful, 0 errors", 0);
        for (user, _) in unusable {
            let message = "its tenant_id is not a document id";
            assert_refused(&run, &format!("Refused the tenant document of user {user}: {message}"));
            assert_eq!(world.snapshot(user).await["status"], "ACTIVE", "{user}");
        }
        assert!(world.tenants_with_account().await.is_empty());
    }

    async fn an_odd_but_legal_tenant_id_is_taken_to_the_letter(world) {
        let (longest, odd) = ("x".repeat(1500), ["a%2Fb", "ünï côdé", "a.b:c", "Acme", "__x", "acme"]);
        let tenants: BTreeSet<&str> = odd.into_iter().chain([longest.as_str()]).collect();
        for (number, tenant) in tenants.iter().enumerate() {
            member(&world, tenant, &format!("user-{number}"), "1").await;
        }
        world.pulse().await.assert_completed("7 successful, 0 errors", 0);
        let written: BTreeSet<String> = world.tenants_with_account().await.into_iter().collect();
        assert_eq!(written, tenants.into_iter().map(str::to_owned).collect());
    }

    async fn the_first_member_creates_the_document_and_the_second_never_overwrites_it(world) {
        for (tenant, first, second) in [("acme", "ana", "ben"), ("zeta", "zoe", "yan")] {
            member(&world, tenant, first, "1").await;
            member(&world, tenant, second, "2").await;
            world.pulse_with(&["--user", first]).await.assert_completed("1 successful, 0 errors", 0);
            let path = format!("tenants/{tenant}/accounts/primary");
            let before = world.stored(&path).await;
            world.pulse_with(&["--user", second]).await.assert_completed("1 successful, 0 errors", 0);
            assert_eq!(owner_and_money(&world, tenant, second).await, (json!([first, 1.0]), json!(2.0)));
            assert_eq!(world.stored(&path).await, before);
        }
    }

    async fn two_members_in_one_pass_leave_one_owner_with_their_own_figures(world) {
        member(&world, "acme", "ana", "1").await;
        member(&world, "acme", "ben", "2").await;
        let (pass, alpaca) = held_pass(&world, 2).await;
        assert!(world.tenants_with_account().await.is_empty(), "both were told that there is none");
        alpaca.answer("ana", "1");
        alpaca.answer("ben", "2");
        pass.end().await.assert_completed("2 successful, 0 errors", 0);
        let (of_ana, of_ben) = (json!(["ana", 1.0]), json!(["ben", 2.0]));
        let (owner, ana) = owner_and_money(&world, "acme", "ana").await;
        assert!(owner == of_ana || owner == of_ben, "{owner}");
        assert_eq!((ana, world.snapshot("ben").await["equity"].clone()), (json!(1.0), json!(2.0)));

        world.pulse().await.assert_completed("2 successful, 0 errors", 0);
        assert_eq!(owner_and_money(&world, "acme", "ben").await, (owner, json!(2.0)), "the owner stays");
    }

    async fn of_two_members_in_one_pass_the_first_whose_account_arrives_is_the_owner(world) {
        member(&world, "acme", "ana", "1").await;
        member(&world, "acme", "ben", "2").await;
        let (pass, alpaca) = held_pass(&world, 2).await;
        alpaca.answer("ben", "2");
        world.wait_for(ACME).await;
        alpaca.answer("ana", "1");
        pass.end().await.assert_completed("2 successful, 0 errors", 0);
        assert_eq!(owner_and_money(&world, "acme", "ana").await, (json!(["ben", 2.0]), json!(1.0)));
    }

    async fn the_owner_stays_the_owner_in_the_next_pass(world) {
        member(&world, "acme", "ben", "1").await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        member(&world, "acme", "ana", "2").await;
        world.connect("ben", money("3"));
        world.pulse().await.assert_completed("2 successful, 0 errors", 0);
        assert_eq!(owner_and_money(&world, "acme", "ana").await, (json!(["ben", 3.0]), json!(2.0)));
    }

    async fn a_document_without_owner_is_taken_over(world) {
        member(&world, "acme", "ana", "2").await;
        world.put(ACME, [("equity", double(7.0)), ("theirs", text("stays"))]).await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(owner_and_money(&world, "acme", "ana").await, (json!(["ana", 2.0]), json!(2.0)));
        assert_eq!(world.document(ACME).await["theirs"], "stays");
    }

    async fn a_user_cannot_steer_their_figures_into_anothers_tenant_and_comes_back_unharmed(world) {
        member(&world, "acme", "victim", "9").await;
        world.user("eve").await;
        world.connect("eve", money("1"));
        world.pulse().await.assert_completed("2 successful, 0 errors", 0);

        world.patch("users/eve", [("tenant_id", text("acme"))]).await;
        world.connect("eve", money("2"));
        let run = world.pulse().await;
        run.assert_completed("2 successful, 0 errors", 0);
        assert_refused(&run, &refusal("eve", "acme"));
        assert_eq!(owner_and_money(&world, "acme", "victim").await, (json!(["victim", 9.0]), json!(9.0)));
        assert_eq!(owner_and_money(&world, "eve", "eve").await, (json!(["eve", 1.0]), json!(2.0)));

        world.user("eve").await;
        world.connect("eve", money("3"));
        world.pulse().await.assert_completed("2 successful, 0 errors", 0);
        assert_eq!(owner_and_money(&world, "eve", "eve").await, (json!(["eve", 3.0]), json!(3.0)));
        assert_eq!(world.tenants_with_account().await, ["acme", "eve"]);
    }

    async fn another_member_of_the_victims_tenant_does_not_get_its_document_either(world) {
        owned(&world, "acme", "victim", 7.0).await;
        world.put("users/victim", [("sync_enabled", off())]).await;
        world.membership("acme", "victim").await;
        member(&world, "acme", "eve", "1").await;
        let before = world.stored(ACME).await;
        world.pulse().await.assert_completed("1 successful, 0 errors, 1 skipped", 0);
        assert_eq!(world.stored(ACME).await, before);
        assert_eq!(world.snapshot("eve").await["equity"], json!(1.0));
    }

    async fn a_user_whose_id_is_anothers_tenant_does_not_get_its_document(world) {
        owned(&world, "acme", "ana", 7.0).await;
        world.user("acme").await;
        let before = world.stored(ACME).await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(world.stored(ACME).await, before);
        assert_eq!(world.snapshot("acme").await["status"], "ACTIVE");
    }

    async fn what_becomes_of_a_tenants_document_between_read_and_commit_decides(world) {
        for user in ["created", "taken", "deleted", "touched", "expelled"] {
            member(&world, &format!("of-{user}"), user, "2").await;
        }
        for user in ["taken", "deleted", "touched", "expelled"] {
            owned(&world, &format!("of-{user}"), user, 1.0).await;
        }
        let (pass, alpaca) = held_pass(&world, 5).await;
        owned(&world, "of-created", "somebody", 7.0).await;
        owned(&world, "of-taken", "somebody", 7.0).await;
        world.delete("tenants/of-deleted/accounts/primary").await;
        world.patch("tenants/of-touched/accounts/primary", [("theirs", text("stays"))]).await;
        world.delete("tenants/of-expelled/users/expelled").await;
        world.patch("tenants/of-expelled/accounts/primary", [("theirs", text("stays"))]).await;
        for user in ["created", "taken", "deleted", "touched", "expelled"] {
            alpaca.answer(user, "2");
        }
        let run = pass.end().await;

        run.assert_completed("5 successful, 0 errors", 0);
        for (user, owner, equity) in [("created", "somebody", 7.0), ("taken", "somebody", 7.0),
            ("deleted", "deleted", 2.0), ("touched", "touched", 2.0), ("expelled", "expelled", 1.0)]
        {
            let expected = (json!([owner, equity]), json!(2.0));
            assert_eq!(owner_and_money(&world, &format!("of-{user}"), user).await, expected, "{user}");
        }
        assert_eq!(world.primary("of-touched").await["theirs"], "stays");
        assert_refused(&run, &refusal("expelled", "of-expelled"));
    }
}

/// What a write demands, in words.
fn demand(write: &Write) -> &'static str {
    let condition = write.current_document.as_ref().and_then(|demand| demand.condition_type.as_ref());
    match condition {
        None => "nothing",
        Some(ConditionType::Exists(false)) => "that it does not exist",
        Some(ConditionType::Exists(true)) => "that it exists",
        Some(ConditionType::UpdateTime(_)) => "that it is unchanged",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_and_tenants_document_go_in_one_commit_with_mask_server_time_and_precondition() {
    let world = sandbox().await;
    world.user("ana").await;
    for demanded in ["that it does not exist", "that it is unchanged"] {
        let (run, traffic) = watched(&world, &[]).await;
        run.assert_completed("1 successful, 0 errors", 0);
        let commits = traffic.commits_to("/alpacaAccounts/snapshot");
        assert_eq!((commits.len(), commits[0].writes.len()), (1, 2));
        let paths = commits[0].writes.iter().map(|write| (traffic.path(write), demand(write)));
        let expected = [
            ("users/ana/alpacaAccounts/snapshot".to_owned(), "nothing"),
            ("tenants/ana/accounts/primary".to_owned(), demanded),
        ];
        assert_eq!(paths.collect::<Vec<_>>(), expected);
        commits[0].writes.iter().for_each(assert_merges);
    }
}

/// Only the fields in the mask are written, and `updated_at` is the server's.
fn assert_merges(write: &Write) {
    let Some(Operation::Update(document)) = &write.operation else { panic!("an update") };
    let mask = write.update_mask.as_ref().expect("a write without a mask replaces the document");
    let masked: BTreeSet<&str> = mask.field_paths.iter().map(String::as_str).collect();
    assert!(document.fields.keys().all(|field| masked.contains(field.as_str())), "{masked:?}");
    assert!(masked.contains("equity") && !masked.contains("updated_at"), "{masked:?}");
    let transforms: Vec<_> = write
        .update_transforms
        .iter()
        .map(|transform| (transform.field_path.as_str(), transform.transform_type.clone()))
        .collect();
    let server_time = TransformType::SetToServerValue(ServerValue::RequestTime.into());
    assert_eq!(transforms, [("updated_at", Some(server_time))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_decides_about_all_tenants_of_a_page_is_read_at_once() {
    let world = sandbox().await;
    world.user("ana").await;
    for user in ["ben", "cleo"] {
        member(&world, "acme", user, "1").await;
    }
    world.user_of_tenant("dan", text("..")).await;
    let (run, traffic) = watched(&world, &[]).await;
    run.assert_completed("4 successful, 0 errors", 0);
    let mut lookups = traffic.lookups();
    lookups.retain(|paths| paths.iter().any(|path| path.ends_with("/accounts/primary")));
    assert!(
        !lookups.is_empty() && lookups.len() <= 2,
        "one for the page, one more for the loser: {lookups:?}"
    );
    let page: BTreeSet<&str> = lookups[0].iter().map(String::as_str).collect();
    let expected = [
        "tenants/acme/accounts/primary",
        "tenants/acme/users/ben",
        "tenants/acme/users/cleo",
        "tenants/ana/accounts/primary",
    ];
    assert_eq!(page, BTreeSet::from(expected));
    assert_eq!(lookups[0].len(), expected.len(), "nothing is read twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_legacy_path_no_request_is_about_a_tenant() {
    let world = sandbox().await;
    world.user("ana").await;
    member(&world, "acme", "ben", "1").await;
    world.user_of_tenant("eve", text("acme")).await;
    let (run, traffic) = watched(&world, &["--legacy-tenant-path", "off"]).await;
    run.assert_completed("3 successful, 0 errors", 0);
    assert!(traffic.mentions("users/ben/alpacaAccounts/snapshot"));
    assert!(!traffic.mentions("tenants/"));
    assert!(world.tenants_with_account().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_commit_whose_answer_is_lost_makes_the_user_the_owner_all_the_same() {
    let world = sandbox().await;
    member(&world, "acme", "ana", "1").await;
    world.fault("firestore/Commit:drop-after,user=ana,times=1");
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    assert_eq!(owner_and_money(&world, "acme", "ana").await, (json!(["ana", 1.0]), json!(1.0)));
    assert!(Traffic::of(&world).commits_to("/alpacaAccounts/snapshot").len() > 1, "it was sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_document_that_never_rests_is_left_out_after_three_tries() {
    let world = sandbox().await;
    member(&world, "acme", "ana", "1").await;
    world.user("ben").await;
    world.fault("firestore/Commit:error=FAILED_PRECONDITION,user=ana,times=3");
    let (run, traffic) = watched(&world, &[]).await;
    run.assert_completed("2 successful, 0 errors", 0);
    let commits = traffic.commits_to("users/ana/alpacaAccounts/snapshot");
    let writes: Vec<usize> = commits.iter().map(|commit| commit.writes.len()).collect();
    assert_eq!(writes, [2, 2, 2, 1]);
    assert_eq!(
        (world.snapshot("ana").await["equity"].clone(), world.primary("acme").await),
        (json!(1.0), json!(null))
    );
    assert_refused(
        &run,
        run.entry("Wrote the snapshot of user ana without the document of tenant acme")["message"]
            .as_str()
            .expect("a text"),
    );
    assert_eq!(world.calls(Service::Alpaca, "GetAccount"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_memberships_cannot_be_read_no_money_is_written_anywhere() {
    let world = sandbox().await;
    world.user("ana").await;
    member(&world, "acme", "ben", "1").await;
    // The first one asks when the last pulse started.
    world.fault("firestore/BatchGetDocuments:error=PERMISSION_DENIED,skip=1");
    let (run, traffic) = watched(&world, &[]).await;
    run.assert_completed("0 successful, 2 errors", 1);
    assert_eq!(run.error_of("ben").as_deref(), Some("store_rejected"));
    assert!(traffic.commits_to("/accounts/primary").is_empty());
    assert!(traffic.commits_to("/alpacaAccounts/snapshot").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_id_that_firestore_finds_invalid_fails_its_own_user_alone() {
    let world = sandbox().await;
    for user in ["ana", "ben", "cleo", "dan"] {
        member(&world, "acme", user, "1").await;
    }
    // Refused for all four together, and for the first who is asked about alone. The first request of all
    // asks when the last pulse started.
    world.fault("firestore/BatchGetDocuments:error=INVALID_ARGUMENT,skip=1,times=2");
    let run = world.pulse().await;
    run.assert_completed("3 successful, 1 errors", 0);
    let failed: Vec<_> =
        ["ana", "ben", "cleo", "dan"].into_iter().filter(|user| run.error_of(user).is_some()).collect();
    let [failed] = failed[..] else { panic!("one user fails, not {failed:?}") };
    assert_eq!(run.error_of(failed).as_deref(), Some("store_rejected"));
    assert_eq!(world.snapshot(failed).await, json!(null));
    assert_ne!(world.primary("acme").await["user_id"], failed);
}
