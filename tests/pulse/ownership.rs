//! Section 2, "Which tenant", rules 2 and 3: who gets a tenant's document that is nobody's, and who loses one.

use crate::answers::money;
use crate::held_alpaca::HeldAlpaca;
use crate::live::Live;
use crate::on_both;
use crate::traffic::watched;
use crate::world::{Run, World, off, sandbox};
use alpaca_pulse::firestore::values::{array, double, integer, null, text, timestamp};
use gcloud_sdk::google::firestore::v1::Value;
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::Profile;
use serde_json::json;

const ACME: &str = "tenants/acme/accounts/primary";

/// A member of acme, whose account has that much equity.
async fn member(world: &World, user: &str, equity: &str) {
    world.user_of_tenant(user, text("acme")).await;
    world.membership("acme", user).await;
    world.connect(user, money(equity));
}

/// So many seconds ago.
fn ago(seconds: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_secs(seconds)
}

/// The document of acme as a pass left it for its owner so many seconds ago.
async fn owned(world: &World, owner: &str, age: i64) {
    let fields = [("user_id", text(owner)), ("equity", double(7.0)), ("updated_at", timestamp(ago(age)))];
    world.put(ACME, fields).await;
}

/// The pass before was so many seconds ago.
async fn last_pass(world: &World, seconds: i64) {
    world
        .put("ops/last_pulse", [("execution", text("before")), ("started_at", timestamp(ago(seconds)))])
        .await;
}

async fn owner(world: &World) -> serde_json::Value {
    world.document(ACME).await["user_id"].clone()
}

/// The warnings of a pass that name the tenant acme.
fn warnings(run: &Run) -> Vec<serde_json::Value> {
    let mut entries = run.entries();
    let of_acme = |message: &str| message.contains("tenant acme") || message.contains("of its own id, acme");
    entries.retain(|entry| {
        entry["severity"] == "WARNING" && of_acme(entry["message"].as_str().unwrap_or_default())
    });
    entries
}

/// Demands that the user acme, who has no tenant, got nothing but their own snapshot, and a single word.
async fn assert_is_not_acme(world: &World, run: &Run) {
    run.assert_completed("1 successful, 0 errors", 0);
    let message = "Refused the tenant document of user acme: it has no tenant_id, and the tenant of its own id, acme, \
                   is somebody else's";
    let warnings = warnings(run);
    assert_eq!(warnings.len(), 1, "{}", run.stdout);
    assert_eq!(warnings[0]["message"], message);
    assert_eq!(world.snapshot("acme").await["equity"], json!(1.0));
}

on_both! {
    async fn whoever_signs_up_under_the_id_of_somebodys_tenant_gets_no_document_there(world) {
        world.user("acme").await;
        world.connect("acme", money("1"));
        let proofs = [
            ("tenants/acme", "name"), ("tenants/acme/users/ana", "role"), ("tenants/acme/users/acme2", "role"),
            ("tenants/acme/users/ACME", "role"), ("tenants/acme/users/a%63me", "role"),
        ];
        for (path, field) in proofs {
            world.put(path, [(field, text("x"))]).await;
            assert_is_not_acme(&world, &world.pulse().await).await;
            assert_eq!(world.document(ACME).await, json!(null), "{path}");
            world.delete(path).await;
        }
        let run = world.pulse().await;
        run.assert_completed("1 successful, 0 errors", 0);
        assert!(warnings(&run).is_empty(), "{}", run.stdout);
        assert_eq!(owner(&world).await, "acme", "nobody is left whose tenant it could be");
    }

    async fn a_tenant_with_other_members_is_somebodys_whoever_else_is_one(world) {
        world.user("acme").await;
        world.connect("acme", money("1"));
        for member in ["acme", "zoe"] {
            world.membership("acme", member).await;
        }
        assert_is_not_acme(&world, &world.pulse().await).await;
        world.delete("tenants/acme/users/zoe").await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(owner(&world).await, "acme");
    }

    async fn a_document_that_names_nobody_is_taken_only_in_ones_own_tenant(world) {
        world.user("acme").await;
        world.connect("acme", money("1"));
        for unowned in [[("equity", double(7.0))], [("user_id", text(""))], [("user_id", integer(7))]] {
            world.put(ACME, unowned).await;
            world.put("tenants/acme", [("name", text("Acme"))]).await;
            let before = world.stored(ACME).await;
            assert_is_not_acme(&world, &world.pulse().await).await;
            assert_eq!(world.stored(ACME).await, before);
            world.delete("tenants/acme").await;
            world.pulse().await.assert_completed("1 successful, 0 errors", 0);
            assert_eq!(owner(&world).await, "acme");
        }
    }

    async fn a_document_that_names_another_is_somebodys(world) {
        world.user("acme").await;
        world.connect("acme", money("1"));
        for owner in ["ana", "legacy:local", "acme ", "ACME"] {
            owned(&world, owner, 9_000).await;
            let before = world.stored(ACME).await;
            assert_is_not_acme(&world, &world.pulse().await).await;
            assert_eq!(world.stored(ACME).await, before, "{owner}");
        }
    }

    async fn a_membership_that_appears_while_the_account_is_asked_for_counts(world) {
        world.user("acme").await;
        let alpaca = HeldAlpaca::start().await;
        let pass = Live::start(alpaca.command(&world, &[]));
        alpaca.arrived(1).await;
        world.membership("acme", "ana").await;
        alpaca.answer("acme", "1");
        assert_is_not_acme(&world, &pass.end().await).await;
        assert_eq!(world.document(ACME).await, json!(null));
    }

    async fn an_owner_who_is_gone_loses_the_document_to_the_next_member_once_it_is_stale(world) {
        member(&world, "ana", "1").await;
        world.put("users/ben", [("tenant_id", text("acme")), ("sync_enabled", off())]).await;
        let keeps = [("users/ben", true), ("tenants/acme/users/ben", true)];
        for (left, age, successor) in [
            (&keeps[..], 9_000, "ben"), (&keeps[..1], 9_000, "ana"), (&keeps[1..], 301, "ana"), (&[], 9_000, "ana"),
            (&keeps[..1], 30, "ben"), (&keeps[1..], 200, "ben"), (&[], 0, "ben"),
        ] {
            for (path, _) in keeps {
                world.delete(path).await;
            }
            for (path, _) in left {
                world.put(path, [("sync_enabled", off())]).await;
            }
            owned(&world, "ben", age).await;
            assert_eq!(world.pulse().await.exit, Some(0));
            assert_eq!(owner(&world).await, successor, "{left:?} {age}");
            let equity = if successor == "ana" { 1.0 } else { 7.0 };
            assert_eq!(world.document(ACME).await["equity"], json!(equity));
        }
    }

    async fn figures_that_do_not_say_when_they_were_written_are_old(world) {
        member(&world, "ana", "1").await;
        for updated_at in [null(), text("2026-01-05T14:30:00Z"), integer(1_767_623_400)] {
            world.put(ACME, [("user_id", text("ben")), ("updated_at", updated_at)]).await;
            let run = world.pulse().await;
            run.assert_completed("1 successful, 0 errors", 0);
            assert_eq!(owner(&world).await, "ana");
            let taken = run.entry("User ana is to take the account of tenant acme over");
            assert_eq!((&taken["owner"], &taken["tenant_id"]), (&json!("ben"), &json!("acme")));
        }
    }

    async fn the_legacy_account_keeps_its_document_only_while_it_is_configured(world) {
        member(&world, "ana", "1").await;
        owned(&world, "legacy:acme", 9_000).await;
        let configured = [("APCA_API_KEY_ID", "PKLEGACY"), ("APCA_API_SECRET_KEY", "hush"), ("TENANT_ID", "acme")];
        let run = world.pulse_in(&configured).await;
        run.assert_completed("1 successful, 1 errors", 0);
        assert_eq!(owner(&world).await, "legacy:acme");
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(owner(&world).await, "ana");
    }

    async fn a_user_takes_over_from_the_legacy_account_that_they_were(world) {
        world.user("acme").await;
        owned(&world, "legacy:acme", 30).await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(owner(&world).await, "legacy:acme", "its last figures are not stale");
        owned(&world, "legacy:acme", 301).await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(owner(&world).await, "acme");
        owned(&world, "legacy:acme", 301).await;
        world.membership("acme", "ana").await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(owner(&world).await, "legacy:acme", "somebody else is there");
    }

    async fn a_persons_own_run_takes_nothing_over(world) {
        member(&world, "ana", "1").await;
        owned(&world, "ben", 9_000).await;
        let before = world.stored(ACME).await;
        world.pulse_with(&["--user", "ana"]).await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(world.stored(ACME).await, before);
        world.pulse_with(&["--dry-run"]).await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(world.stored(ACME).await, before);
    }

    async fn the_backend_says_who_creates_the_document(world) {
        member(&world, "ana", "1").await;
        member(&world, "ben", "2").await;
        world.put("tenants/acme", [("owner_uid", text("ben"))]).await;
        world.pulse_with(&["--user", "ana"]).await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(world.document(ACME).await, json!(null));
        world.pulse().await.assert_completed("2 successful, 0 errors", 0);
        assert_eq!((owner(&world).await, world.document(ACME).await["equity"].clone()), (json!("ben"), json!(2.0)));
    }

    async fn an_owner_uid_that_names_no_member_who_is_there_says_nothing(world) {
        member(&world, "ana", "1").await;
        world.put("users/stranger", [("sync_enabled", off())]).await;
        world.membership("acme", "ghost").await;
        let nobody: [Value; 9] = [
            text("stranger"), text("ghost"), text(""), text("a/b"), text("../users/ana"), text("__x__"), null(),
            integer(7), array(vec![text("ana")]),
        ];
        for uid in nobody {
            world.put("tenants/acme", [("owner_uid", uid.clone())]).await;
            world.delete(ACME).await;
            assert_eq!(world.pulse().await.exit, Some(0));
            assert_eq!(owner(&world).await, "ana", "{uid:?}");
        }
    }

    async fn whom_the_backend_names_takes_the_document_from_one_who_is_synced(world) {
        member(&world, "ana", "1").await;
        member(&world, "ben", "2").await;
        owned(&world, "ana", 0).await;
        world.put("tenants/acme", [("owner_uid", text("ben"))]).await;
        world.pulse().await.assert_completed("2 successful, 0 errors", 0);
        assert_eq!(owner(&world).await, "ben", "there was no pass before: everybody looks");
        world.pulse().await.assert_completed("2 successful, 0 errors", 0);
        assert_eq!((owner(&world).await, world.document(ACME).await["equity"].clone()), (json!("ben"), json!(2.0)));
    }

    async fn a_stale_document_waits_for_whom_the_backend_names(world) {
        member(&world, "ana", "1").await;
        member(&world, "zoe", "2").await;
        world.put("tenants/acme", [("owner_uid", text("zoe"))]).await;
        owned(&world, "gone", 9_000).await;
        world.account("zoe", Profile::Revoked);
        world.pulse().await.assert_completed("1 successful, 1 errors", 0);
        assert_eq!(owner(&world).await, "gone");
        world.account("zoe", money("2"));
        world.pulse().await.assert_completed("2 successful, 0 errors", 0);
        assert_eq!(owner(&world).await, "zoe");
    }

    async fn an_owner_who_is_not_synced_is_named_once_an_hour(world) {
        for user in ["ana", "cleo", "dan"] {
            member(&world, user, "1").await;
        }
        world.put("users/ben", [("tenant_id", text("acme")), ("sync_enabled", off())]).await;
        world.membership("acme", "ben").await;
        for (age, before, told) in [
            // It becomes stale in this pass, it did in the one before, and it has been so for an hour.
            (320, 60, true), (420, 60, false), (3_920, 60, true), (4_020, 60, false), (200, 60, false),
            (9_000, 7_000, true),
        ] {
            owned(&world, "ben", age).await;
            last_pass(&world, before).await;
            let run = world.pulse().await;
            run.assert_completed("3 successful, 0 errors, 1 skipped", 0);
            assert_eq!(owner(&world).await, "ben");
            let warnings = warnings(&run);
            assert_eq!(warnings.len(), usize::from(told), "{age} {before}: {}", run.stdout);
            if let [warning] = &warnings[..] {
                assert_eq!((&warning["tenant_id"], &warning["owner"]), (&json!("acme"), &json!("ben")));
                let said = warning["age_s"].as_i64().expect("an age");
                assert!((age..age + 120).contains(&said), "{said}");
                assert!(warning["message"].as_str().expect("a text").contains(&format!("{said} s old")));
            }
        }
    }

    async fn an_owner_who_fails_or_has_to_reconnect_is_named_too(world) {
        member(&world, "ana", "1").await;
        member(&world, "ben", "2").await;
        world.account("ben", Profile::Revoked);
        for _ in 0..3 {
            owned(&world, "ben", 9_000).await;
            last_pass(&world, 4_000).await;
            let run = world.pulse().await;
            assert_eq!((run.exit, warnings(&run).len()), (Some(0), 1), "{}", run.stdout);
            assert_eq!(owner(&world).await, "ben");
        }
        assert_eq!(world.trouble("ben").await["state"], "needs_reauth");
    }

    async fn a_member_who_is_locked_out_by_no_member_is_told_once_an_hour(world) {
        world.user("acme").await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        member(&world, "ana", "1").await;
        for (before, told) in [(7_300, 1), (1, 0)] {
            last_pass(&world, before).await;
            let run = world.pulse().await;
            run.assert_completed("2 successful, 0 errors", 0);
            let told_of = warnings(&run).len();
            // A second's pause may be the one in which the hour turns.
            assert!(told_of == told || (before == 1 && told_of == 1), "{}", run.stdout);
        }
        world.put("tenants/acme", [("owner_uid", text("ana"))]).await;
        last_pass(&world, 7_300).await;
        world.pulse().await.assert_completed("2 successful, 0 errors", 0);
        assert_eq!(owner(&world).await, "ana");
        assert_is_not_acme_any_more(&world).await;
    }
}

async fn assert_is_not_acme_any_more(world: &World) {
    world.pulse().await.assert_completed("2 successful, 0 errors", 0);
    assert_eq!(owner(world).await, "ana", "the user acme does not get it back");
}

/// The paths below `tenants/acme` that a pass reads, and how many queries it asks there.
async fn reads_of_acme(world: &World, args: &[&str]) -> (Vec<String>, usize) {
    let (run, traffic) = watched(world, args).await;
    assert_eq!(run.exit, Some(0), "{}", run.stdout);
    let mut paths: Vec<String> = traffic.lookups().into_iter().flatten().collect();
    paths.retain(|path| path.starts_with("tenants/acme") || path.starts_with("users/ben"));
    paths.sort_unstable();
    let queries = traffic.queries().iter().filter(|query| query.limit == Some(2)).count();
    (paths, queries)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_has_their_document_costs_no_read_more() {
    let world = sandbox().await;
    world.user("acme").await;
    let created = reads_of_acme(&world, &[]).await;
    assert_eq!(created, (vec!["tenants/acme".into(), ACME.into()], 1));
    world.put("tenants/acme", [("name", text("Acme"))]).await;
    for _ in 0..2 {
        assert_eq!(reads_of_acme(&world, &[]).await, (vec![ACME.into()], 0));
    }
    assert_eq!(owner(&world).await, "acme", "what is theirs stays theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_member_costs_more_only_while_the_document_is_stale_or_once_an_hour() {
    let world = sandbox().await;
    member(&world, "ana", "1").await;
    world.put("users/ben", [("sync_enabled", off())]).await;
    world.membership("acme", "ben").await;
    let usual = vec![ACME.to_owned(), "tenants/acme/users/ana".into()];
    let more = ["tenants/acme", ACME, "tenants/acme/users/ana", "tenants/acme/users/ben", "users/ben"];
    let more: Vec<String> = more.map(str::to_owned).into();
    for (age, before, expected) in [(30, 7_300, &more), (301, 60, &more), (9_000, 60, &more)] {
        owned(&world, "ben", age).await;
        last_pass(&world, before).await;
        assert_eq!(reads_of_acme(&world, &[]).await, (expected.clone(), 0), "{age} {before}");
    }
    for (age, args) in [(30, &["--user", "ana"][..]), (9_000, &["--user", "ana"])] {
        owned(&world, "ben", age).await;
        assert_eq!(reads_of_acme(&world, args).await, (usual.clone(), 0), "{age} {args:?}");
    }
    // Two passes in a row do not both fall on a turn of the tenant's hour.
    owned(&world, "ben", 0).await;
    let mut twice = Vec::new();
    for _ in 0..2 {
        last_pass(&world, 1).await;
        twice.push(reads_of_acme(&world, &[]).await);
    }
    assert!(twice.contains(&(usual, 0)), "{twice:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_tenant_it_is_that_cannot_be_read_costs_the_tenants_document_alone() {
    let world = sandbox().await;
    world.user("acme").await;
    member(&world, "ana", "1").await;
    owned(&world, "gone", 9_000).await;
    // The first such reads are those of the pass and of its page of users.
    world.fault("firestore/BatchGetDocuments:error=PERMISSION_DENIED,skip=2");
    let run = world.pulse().await;
    run.assert_completed("2 successful, 0 errors", 0);
    let entry =
        run.entry("Not writing the document of tenant acme for user ana: whose it is could not be read");
    assert_eq!((&entry["severity"], &entry["error"]), (&json!("WARNING"), &json!("store_rejected")));
    world.sandbox.faults().clear();
    assert_eq!(owner(&world).await, "gone");
    assert_eq!(world.snapshot("ana").await["equity"], json!(1.0));
}
