//! Section 6: documents that cannot be written, because they are full or refused, cost only themselves.

use crate::answers::money;
use crate::on_both;
use crate::traffic::watched;
use crate::world::{Run, World, fields_of, sandbox};
use alpaca_pulse::firestore::values::{Fields, array, integer, map, string, text, timestamp};
use gcloud_sdk::google::firestore::v1::write::Operation;
use gcloud_sdk::google::firestore::v1::{Document, Value, Write};
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::Profile;
use pulse_sandbox::call::Service;
use serde_json::json;

const ACME: &str = "tenants/acme/accounts/primary";

/// The largest document that Firestore stores.
const MOST: usize = 1_048_576;

/// Room that is left in a full document: less than any write of the job needs, even one that changes little.
const ROOM: usize = 4;

/// Fills a document up, besides these fields.
pub(crate) async fn fill<const N: usize>(world: &World, path: &str, fields: [(&str, Value); N]) {
    let of_name: usize = path.split('/').map(|segment| segment.len() + 1).sum();
    let size = |value: &Value| match string(value) {
        Some(text) => text.len() + 1,
        None => 8,
    };
    let of_fields: usize = fields.iter().map(|(name, value)| name.len() + 1 + size(value)).sum();
    // In two fields, as one value alone must be a little smaller than a document.
    let overhead = 2 * ("filler".len() + 1 + 1);
    let rest = MOST - 16 - 32 - of_name - of_fields - overhead - ROOM;
    let filler = |name: &str, bytes| (name.to_owned(), text("x".repeat(bytes)));
    let fillers = [filler("filler", rest - 1000), filler("closer", 1000)];
    let fields: Fields = fields_of(fields).into_iter().chain(fillers).collect();
    let document = Document { name: world.name(path), fields, ..Document::default() };
    world.commit(vec![Write { operation: Some(Operation::Update(document)), ..Write::default() }]).await;
}

/// A member of acme, whose account has that much equity.
async fn member(world: &World, user: &str, equity: &str) {
    world.user_of_tenant(user, text("acme")).await;
    world.membership("acme", user).await;
    world.connect(user, money(equity));
}

/// Demands one warning, about that user, that starts so.
#[track_caller]
fn assert_warns(run: &Run, user: &str, message: &str) {
    let entry = run.entry(message);
    assert_eq!((&entry["severity"], &entry["user_id"]), (&json!("WARNING"), &json!(user)), "{}", run.stdout);
    assert_eq!(entry["error"], "store_rejected");
}

fn without_tenant(user: &str, tenant: &str) -> String {
    format!("Wrote the snapshot of user {user} without the document of tenant {tenant}")
}

fn without_end(user: &str) -> String {
    format!("Wrote the snapshot of user {user}, but not the end of their trouble")
}

/// A user whose trouble a pass will end, and cannot record the end of.
async fn recovers_into_a_full_record(world: &World, user: &str) {
    let trouble = [("state", text("retrying")), ("error", text("keys_missing"))];
    fill(world, &format!("users/{user}/alpacaAccounts/sync"), trouble).await;
}

/// A pass that died long ago.
async fn dead(world: &World, execution: &str) {
    let plan = map(fields_of([("tasks", integer(1)), ("splits", array(Vec::new()))]));
    let long_ago = timestamp(Timestamp::now() - SignedDuration::from_secs(600));
    let fields = [
        ("plan", plan),
        ("started_at", long_ago.clone()),
        ("touched_at", long_ago),
        ("tasks", map(fields_of([]))),
    ];
    world.put(&format!("ops/last_pulse/executions/{execution}"), fields).await;
    world.put("ops/current_pulse", [("execution", text(execution))]).await;
}

on_both! {
    async fn a_full_tenants_document_costs_nobody_their_snapshot(world) {
        member(&world, "ana", "1").await;
        fill(&world, ACME, [("user_id", text("ana"))]).await;
        let before = world.stored(ACME).await;
        for equity in ["1", "2"] {
            world.connect("ana", money(equity));
            let run = world.pulse().await;
            run.assert_completed("1 successful, 0 errors", 0);
            assert_warns(&run, "ana", &without_tenant("ana", "acme"));
            assert_eq!(world.snapshot("ana").await["exact"]["equity"], equity);
            let synced = run.entry("Successfully synced Alpaca account for user ana");
            assert_eq!(synced["tenant_id"], json!(null), "its tenant's document is not written");
        }
        assert_eq!(world.stored(ACME).await, before);
        assert_eq!(world.trouble("ana").await, json!(null));
    }

    async fn a_full_record_of_trouble_costs_neither_the_snapshot_nor_the_tenants_document(world) {
        member(&world, "ana", "1").await;
        recovers_into_a_full_record(&world, "ana").await;
        let run = world.pulse().await;
        run.assert_completed("1 successful, 0 errors", 0);
        assert_warns(&run, "ana", &without_end("ana"));
        assert_eq!(world.snapshot("ana").await["equity"], json!(1.0));
        assert_eq!(world.document(ACME).await["equity"], json!(1.0));
        assert_eq!(run.entry("Successfully synced Alpaca account for user ana")["tenant_id"], "acme");
        assert_eq!(world.trouble("ana").await["state"], "retrying");
    }

    async fn two_full_documents_cost_only_themselves(world) {
        member(&world, "ana", "1").await;
        fill(&world, ACME, [("user_id", text("ana"))]).await;
        recovers_into_a_full_record(&world, "ana").await;
        world.user("ben").await;
        recovers_into_a_full_record(&world, "ben").await;
        let run = world.pulse_with(&["--legacy-tenant-path", "on"]).await;
        run.assert_completed("2 successful, 0 errors", 0);
        assert_warns(&run, "ana", &without_tenant("ana", "acme"));
        assert_warns(&run, "ana", &without_end("ana"));
        assert_warns(&run, "ben", &without_end("ben"));
        assert_eq!(world.snapshot("ana").await["equity"], json!(1.0));
        assert_eq!(world.primary("ben").await["user_id"], "ben");
    }

    async fn without_a_tenants_document_a_full_record_costs_only_itself_too(world) {
        member(&world, "ana", "1").await;
        recovers_into_a_full_record(&world, "ana").await;
        let run = world.pulse_with(&["--legacy-tenant-path", "off"]).await;
        run.assert_completed("1 successful, 0 errors", 0);
        assert_warns(&run, "ana", &without_end("ana"));
        assert_eq!(world.snapshot("ana").await["equity"], json!(1.0));
    }

    async fn a_full_snapshot_is_its_users_own_failure(world) {
        member(&world, "ana", "1").await;
        world.user("ben").await;
        fill(&world, "users/ana/alpacaAccounts/snapshot", []).await;
        let run = world.pulse().await;
        run.assert_completed("1 successful, 1 errors", 0);
        assert_eq!(run.error_of("ana").as_deref(), Some("store_rejected"), "{}", run.stdout);
        assert_eq!(world.document(ACME).await, json!(null), "figures that the user's own snapshot lacks");
        assert_eq!(world.trouble("ana").await["error"], "store_rejected");
    }

    async fn a_full_last_pulse_ends_the_ledger_all_the_same(world) {
        world.user("ana").await;
        fill(&world, "ops/last_pulse", [("timestamp", timestamp(Timestamp::UNIX_EPOCH))]).await;
        let before = world.stored("ops/last_pulse").await;
        for execution in ["one", "two"] {
            let run = world.pulse_in(&[("CLOUD_RUN_EXECUTION", execution)]).await;
            run.assert_completed("1 successful, 0 errors", 0);
            let entry = run.entry("Could not write ops/last_pulse: ");
            assert_eq!((&entry["severity"], &entry["error"]), (&json!("ERROR"), &json!("store_rejected")));
            let ledger = world.document(&format!("ops/last_pulse/executions/{execution}")).await;
            assert!(ledger["ended_at"].is_object(), "{ledger}");
        }
        assert_eq!(world.stored("ops/last_pulse").await, before);
    }

    async fn a_dead_pulse_is_taken_over_even_if_nobody_can_be_told(world) {
        world.user("ana").await;
        fill(&world, "ops/last_pulse", []).await;
        dead(&world, "dead").await;
        let run = world.pulse_in(&[("CLOUD_RUN_EXECUTION", "next")]).await;
        run.assert_completed("1 successful, 0 errors", 0);
        let mut told = run.entries();
        told.retain(|entry| entry["message"].as_str().is_some_and(|text| text.starts_with("Could not write ops/last_pulse")));
        assert_eq!(told.len(), 2, "of the dead one, and of this one: {}", run.stdout);
        assert!(told.iter().all(|entry| entry["severity"] == "ERROR"));
        assert_eq!(world.document("ops/current_pulse").await["execution"], "next");
        assert!(world.document("ops/last_pulse/executions/next").await["ended_at"].is_object());
    }

    async fn one_full_record_of_a_batch_leaves_the_others_recorded(world) {
        let rejected: Vec<String> = (0..4).map(|n| format!("bad-{n}")).collect();
        for user in &rejected {
            world.user(user).await;
            world.account(user, Profile::Revoked);
        }
        for n in 0..30 {
            world.user(&format!("good-{n}")).await;
        }
        fill(&world, "users/bad-2/alpacaAccounts/sync", []).await;
        let run = world.pulse().await;
        run.assert_completed("30 successful, 4 errors", 0);
        for user in &rejected {
            let state = if user == "bad-2" { json!(null) } else { json!("retrying") };
            assert_eq!(world.trouble(user).await["state"], state, "{user}");
        }
        let entry = run.entry("Could not record the trouble of 1 users: ");
        assert_eq!((&entry["severity"], &entry["error"]), (&json!("WARNING"), &json!("store_rejected")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_denied_is_not_tried_in_parts() {
    let world = sandbox().await;
    member(&world, "ana", "1").await;
    world.fault("firestore/Commit:error=PERMISSION_DENIED,user=ana");
    let (run, traffic) = watched(&world, &[]).await;
    run.assert_completed("0 successful, 1 errors", 1);
    assert_eq!(run.error_of("ana").as_deref(), Some("store_rejected"));
    assert_eq!(traffic.commits_to("users/ana/alpacaAccounts/snapshot").len(), 1);
}

/// As when others hold a lock on the tenant's document for long.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_stands_still_is_tried_without_the_tenants_document() {
    let world = sandbox().await;
    member(&world, "ana", "1").await;
    world.fault("firestore/Commit:stall,user=ana,times=2");
    let (run, traffic) = watched(&world, &[]).await;
    run.assert_completed("1 successful, 0 errors", 0);
    let entry = run.entry(&without_tenant("ana", "acme"));
    assert_eq!((&entry["severity"], &entry["error"]), (&json!("WARNING"), &json!("store_unavailable")));
    let commits = traffic.commits_to("users/ana/alpacaAccounts/snapshot");
    let writes: Vec<usize> = commits.iter().map(|commit| commit.writes.len()).collect();
    assert_eq!(writes, [2, 2, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refused_record_among_many_is_found_in_few_commits() {
    let world = sandbox().await;
    for n in 0..200 {
        world.user(&format!("bad-{n:03}")).await;
        world.account(&format!("bad-{n:03}"), Profile::Revoked);
    }
    for n in 0..200 {
        // Rejected before already, so that it is nobody's fault but theirs.
        let rejected =
            [("state", text("needs_reauth")), ("error", text("broker_rejected")), ("key_version", text("1"))];
        world.put(&format!("users/bad-{n:03}/alpacaAccounts/sync"), rejected).await;
    }
    world.fault("firestore/Commit:error=INVALID_ARGUMENT,user=bad-007");
    let before = world.calls(Service::Firestore, "Commit");
    let run = world.pulse().await;
    assert_eq!(run.exit, Some(0), "{}", run.stdout);
    run.entry("Could not record the trouble of 1 users: ");
    // The ledger's four, and of 200 records two halves for each of eight splits, and the whole.
    let commits = world.calls(Service::Firestore, "Commit") - before;
    assert!(commits <= 4 + 17, "{commits}");
}
