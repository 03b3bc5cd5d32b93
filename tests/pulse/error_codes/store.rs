//! Commits that Firestore does not take, and what it cannot tell about single users.

use super::{COMMIT, SYNC, faulty, row};
use crate::world::{fields_of, sandbox};
use alpaca_pulse::firestore::values::text;
use pulse_sandbox::alpaca::Profile;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn store_unavailable() {
    let world = sandbox().await;
    // Three times in each lap, so that the trouble itself can be recorded.
    let users = faulty(
        &world,
        &[
            ("unavailable", "firestore/Commit:error=UNAVAILABLE,times=6"),
            ("exhausted", "firestore/Commit:error=RESOURCE_EXHAUSTED,times=6"),
            ("internal", "firestore/Commit:error=INTERNAL,times=6"),
            ("deadline", "firestore/Commit:error=DEADLINE_EXCEEDED,times=6"),
            ("cancelled", "firestore/Commit:error=CANCELLED,times=6"),
            ("unknown", "firestore/Commit:error=UNKNOWN,times=6"),
            ("garbage", "firestore/Commit:garbage,times=6"),
            ("unauthenticated", "firestore/Commit:error=UNAUTHENTICATED,times=6"),
        ],
    )
    .await;
    row("store_unavailable", SYNC, COMMIT, 6).fails(&world, &users).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn store_rejected() {
    let world = sandbox().await;
    let users = faulty(
        &world,
        &[
            ("denied", "firestore/Commit:error=PERMISSION_DENIED,times=1"),
            ("unimplemented", "firestore/Commit:error=UNIMPLEMENTED,times=1"),
            ("out-of-range", "firestore/Commit:error=OUT_OF_RANGE,times=1"),
            ("data-loss", "firestore/Commit:error=DATA_LOSS,times=1"),
        ],
    )
    .await;
    row("store_rejected", SYNC, COMMIT, 1).fails(&world, &users).await;
}

/// It could be the tenant's document, so the snapshot is tried alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_refused_with_and_without_its_tenants_document_fails_its_user() {
    let world = sandbox().await;
    let users = faulty(&world, &[("invalid", "firestore/Commit:error=INVALID_ARGUMENT,times=2")]).await;
    row("store_rejected", SYNC, COMMIT, 2).fails(&world, &users).await;

    let world = sandbox().await;
    let users = faulty(
        &world,
        &[
            ("aborted", "firestore/Commit:error=ABORTED,times=12"),
            ("changed", "firestore/Commit:error=FAILED_PRECONDITION,times=4"),
        ],
    )
    .await;
    let run = world.pulse().await;
    run.assert_completed("0 successful, 2 errors", 1);
    for user in users {
        assert_eq!(run.error_of(user).as_deref(), Some("store_unavailable"), "{user}");
        assert_eq!(world.snapshot(user).await, json!(null));
    }
    assert_eq!((world.snapshot_commits("aborted"), world.snapshot_commits("changed")), (12, 4));
}

/// What a commit demands of the tenant's document is decided anew each time, three times.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_document_that_keeps_changing_is_left_out_after_three_decisions() {
    let world = sandbox().await;
    let users = faulty(
        &world,
        &[
            ("exists", "firestore/Commit:error=ALREADY_EXISTS,times=3"),
            ("gone", "firestore/Commit:error=NOT_FOUND,times=3"),
            ("changed", "firestore/Commit:error=FAILED_PRECONDITION,times=3"),
            ("contended", "firestore/Commit:error=ABORTED,times=3"),
        ],
    )
    .await;
    let run = world.pulse().await;
    run.assert_completed("4 successful, 0 errors", 0);
    for user in users {
        let entry =
            run.entry(&format!("Wrote the snapshot of user {user} without the document of tenant {user}"));
        assert_eq!((&entry["severity"], &entry["tenant_id"]), (&json!("WARNING"), &json!(user)));
        assert_eq!(world.snapshot_commits(user), 4, "{user}");
        assert_eq!(world.snapshot(user).await["status"], "ACTIVE");
        assert_eq!(world.primary(user).await, json!(null));
    }
}

/// Neither is about a document, so that no other decision would help.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_database_is_not_taken_for_a_changed_document() {
    let world = sandbox().await;
    let users = faulty(
        &world,
        &[
            ("missing", "firestore/Commit:error=NOT_FOUND,message=The database x does not exist for project p,times=1"),
            (
                "other-mode",
                "firestore/Commit:error=FAILED_PRECONDITION,times=1,\
                 message=The Cloud Firestore API is not available for Firestore in Datastore Mode database x",
            ),
            ("unpaid", "firestore/Commit:error=FAILED_PRECONDITION,reason=BILLING_DISABLED,times=1"),
        ],
    )
    .await;
    let run = row("store_rejected", SYNC, COMMIT, 1).fails(&world, &users).await;
    for (user, told) in users.into_iter().zip([
        "check --project and --database: NotFound: The database x does not exist",
        "FailedPrecondition: The Cloud Firestore API",
        "BILLING_DISABLED: enable billing",
    ]) {
        let message = run.entry(&format!("{SYNC} {user}: "))["message"].to_string();
        assert!(message.contains(told) && !message.contains("by now"), "{user}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_firestore_says_is_told_without_tokens_and_without_a_guess() {
    let world = sandbox().await;
    let users = faulty(
        &world,
        &[
            ("role", "firestore/Commit:error=PERMISSION_DENIED,reason=IAM_PERMISSION_DENIED,times=1"),
            ("off", "firestore/Commit:error=PERMISSION_DENIED,reason=SERVICE_DISABLED,times=1"),
            ("bare", "firestore/Commit:error=PERMISSION_DENIED,message=Missing or insufficient permissions.,times=1"),
            ("token", "firestore/Commit:error=OUT_OF_RANGE,message=got Bearer hush from you,times=1"),
        ],
    )
    .await;
    let run = row("store_rejected", SYNC, COMMIT, 1).fails(&world, &users).await;
    for (user, told) in users.into_iter().zip([
        "grant roles/datastore.user",
        "SERVICE_DISABLED: enable the API",
        "Firestore refused: PermissionDenied: Missing or insufficient permissions.",
        "OutOfRange: got Bearer … from you",
    ]) {
        let message = run.entry(&format!("{SYNC} {user}: "))["message"].to_string();
        assert!(message.contains(told) && !message.contains("hush"), "{user}: {message}");
        assert_eq!(message.contains("role"), user == "role", "{user}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_changed_twice_is_written_at_the_third_decision() {
    let world = sandbox().await;
    faulty(&world, &[("changed", "firestore/Commit:error=FAILED_PRECONDITION,times=2")]).await;
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    assert_eq!(world.snapshot_commits("changed"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_recovers_within_three_attempts_is_a_success() {
    let world = sandbox().await;
    faulty(
        &world,
        &[
            ("once", "firestore/Commit:error=UNAVAILABLE,times=1"),
            ("twice", "firestore/Commit:error=ABORTED,times=2"),
            ("garbage", "firestore/Commit:garbage,times=2"),
        ],
    )
    .await;
    world.pulse().await.assert_completed("3 successful, 0 errors", 0);
    assert_eq!((world.snapshot_commits("once"), world.snapshot_commits("twice")), (2, 3));
    assert_eq!((world.trouble("once").await, world.trouble("twice").await), (json!(null), json!(null)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_connection_breaks_is_sent_again() {
    let world = sandbox().await;
    world.user("ana").await;
    world.fault("firestore/Commit:drop-before,user=ana,times=2");
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    assert_eq!(world.snapshot_commits("ana"), 3);
    world.fault("firestore/Commit:drop-before,user=ana,times=6");
    world.pulse().await.assert_completed("0 successful, 1 errors", 1);
    assert_eq!(world.trouble("ana").await["error"], "store_unavailable");
}

/// Both documents come from one commit, however often it was applied.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_leaves_the_right_documents() {
    let world = sandbox().await;
    world.user("ana").await;
    // The tenant's document is created in the first round, and replaced in the second.
    for round in ["create", "replace"] {
        world.sandbox.faults().clear();
        world.fault("firestore/Commit:drop-after,user=ana,times=1");
        let run = world.pulse().await;
        run.assert_completed("1 successful, 0 errors", 0);
        let (user, tenant) = (world.snapshot("ana").await, world.primary("ana").await);
        for field in ["equity", "exact", "updated_at", "updated_at_iso", "user_id"] {
            assert_eq!(user[field], tenant[field], "{round}: {field}");
        }
        let entry = run.entry("Successfully synced Alpaca account for user ana");
        assert_eq!(entry["tenant_id"], "ana", "{round}");
        assert_eq!(world.trouble("ana").await, json!(null), "{round}");
    }
}

/// They are asked for once for the page, and then once for each user, of whom it is asked then when they last
/// succeeded; and at the end whose the pulse is.
#[tokio::test(flavor = "multi_thread")]
async fn unreadable_memberships_fail_their_users_before_anything_is_written() {
    for (error, code, attempts, second_lap) in
        [("UNAVAILABLE", "store_unavailable", 3, 2), ("PERMISSION_DENIED", "store_rejected", 1, 0)]
    {
        let world = sandbox().await;
        world.user("ana").await;
        world.user_of_tenant("ben", text("acme")).await;
        world.membership("acme", "ben").await;
        // The first such read is that of the last pulse.
        world.fault(&format!("firestore/BatchGetDocuments:error={error},skip=1"));
        let run = world.pulse().await;
        assert_eq!(world.faults_applied(), [(1 + 2 + 2 + 1) * attempts + second_lap], "{error}");
        world.sandbox.faults().clear();
        run.assert_completed("0 successful, 2 errors", 1);
        for user in ["ana", "ben"] {
            row(code, SYNC, COMMIT, 0).is_logged_for(&run, user);
            assert_eq!(world.snapshot_commits(user), 0, "{user}");
        }
        assert_eq!(world.primary("ana").await, json!(null));
        assert_eq!(world.primary("acme").await, json!(null));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memberships_that_cannot_be_read_for_a_whole_page_are_read_user_by_user() {
    let world = sandbox().await;
    world.crowd(501);
    world.fault("firestore/BatchGetDocuments:error=PERMISSION_DENIED,skip=1,times=1");
    let run = world.pulse().await;
    run.assert_completed("501 successful, 0 errors", 0);
    assert_eq!(run.entry("Could not read the tenants of 500 users at once")["severity"], "WARNING");
}

#[tokio::test(flavor = "multi_thread")]
async fn memberships_that_can_be_read_at_the_second_attempt_stop_nobody() {
    let world = sandbox().await;
    world.user("ana").await;
    world.fault("firestore/BatchGetDocuments:error=UNAVAILABLE,skip=1,times=1");
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_cannot_be_kept_stops_nobody() {
    let world = sandbox().await;
    world.user("ana").await;
    world.fault("firestore/BatchGetDocuments:error=PERMISSION_DENIED,times=1");
    let run = world.pulse().await;
    run.assert_completed("1 successful, 0 errors", 0);
    assert_eq!(run.entry("Could not keep the ledger ")["severity"], "ERROR");
    assert_eq!(
        world.document("ops/last_pulse").await["status"],
        "ok",
        "the dashboards are told all the same"
    );
}

/// The record of trouble must not be spoilt by a pass that could not read it.
#[tokio::test(flavor = "multi_thread")]
async fn unreadable_trouble_stops_nobody_and_stays_as_it_is() {
    let world = sandbox().await;
    world.user("recovered").await;
    world.user("rejected").await;
    world.connect("rejected", Profile::Revoked);
    let trouble = || fields_of([("state", text("retrying")), ("error", text("keys_missing"))]);
    world.put_all("(default)", [("users/recovered/alpacaAccounts/sync".into(), trouble())]);
    // A page of records whose users are gone comes before; the page after it cannot be read.
    let orphans = (0..500).map(|n| (format!("users/a-{n:03}/alpacaAccounts/sync"), trouble()));
    world.put_all("(default)", orphans);
    world.fault("firestore/RunQuery:error=PERMISSION_DENIED,user=a-499");
    let before = world.trouble("recovered").await;

    let run = world.pulse().await;
    run.assert_completed("1 successful, 1 errors", 0);
    let told = run.entry("Could not read who is in trouble");
    assert_eq!((&told["severity"], &told["error"]), (&json!("ERROR"), &json!("store_rejected")));
    assert_eq!(world.snapshot("recovered").await["status"], "ACTIVE");
    assert_eq!(world.trouble("recovered").await, before);
    assert_eq!(world.trouble("rejected").await, json!(null));
}
