//! Users who cannot be read, or not at once.

use crate::traffic::start_after;
use crate::world::{fields_of, off, sandbox};
use alpaca_pulse::firestore::values::Fields;
use pulse_sandbox::call::Service;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn users_that_can_be_read_at_a_later_attempt_are_all_synced() {
    let world = sandbox().await;
    world.crowd(501);
    // Either of the first two queries, and the one for the second page.
    world.fault("firestore/RunQuery:error=UNAVAILABLE,times=1");
    world.fault("firestore/RunQuery:error=UNAVAILABLE,user=user-0500,times=2");
    world.pulse().await.assert_completed("501 successful, 0 errors", 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_that_cannot_be_read_fail_the_pass() {
    for (error, code) in [("PERMISSION_DENIED", "store_rejected"), ("UNAVAILABLE", "store_unavailable")] {
        let world = sandbox().await;
        world.user("ana").await;
        world.fault(&format!("firestore/RunQuery:error={error}"));
        let run = world.pulse().await;
        assert_eq!(run.exit, Some(1), "{}", run.stdout);
        let last = run.entry("Failed multi-tenant sync: 0 successful, 0 errors");
        assert_eq!((&last["severity"], &last["error"]), (&json!("CRITICAL"), &json!(code)));
        assert_eq!(world.document("ops/last_pulse").await["status"], "failed");
        assert_eq!(world.calls(Service::SecretManager, "AccessSecretVersion"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_cannot_be_read_fails_the_pass_but_not_the_users_before_it() {
    let world = sandbox().await;
    world.crowd(501);
    world.fault("firestore/RunQuery:error=PERMISSION_DENIED,user=user-0500");
    let run = world.pulse().await;
    assert_eq!(run.exit, Some(1), "{}", run.stdout);
    assert_eq!(run.entry("Failed multi-tenant sync: 500 successful, 0 errors")["severity"], "CRITICAL");
    let last_pulse = world.document("ops/last_pulse").await;
    assert_eq!(
        (&last_pulse["status"], &last_pulse["success_count"], &last_pulse["users_count"]),
        (&json!("failed"), &json!({"integer": 500}), &json!({"integer": 500}))
    );
}

/// Every query breaks after 200 documents, so a page of 500 takes three.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_breaks_goes_on_where_it_broke() {
    let world = sandbox().await;
    let ids = world.crowd(1201);
    for id in &ids {
        // Nothing but reading is of interest here, and the request log is not endless.
        world.put_all("(default)", [(format!("users/{id}"), switched_off())]);
    }
    world.fault("firestore/RunQuery:break-after=200");
    world.pulse().await.assert_completed("0 successful, 0 errors, 1201 skipped", 0);
    let expected = [
        ("", 500),
        ("user-0200", 300),
        ("user-0400", 100),
        ("user-0500", 500),
        ("user-0700", 300),
        ("user-0900", 100),
        ("user-1000", 500),
        ("user-1200", 300),
    ];
    let queries = world.user_queries();
    let asked: Vec<_> = queries.iter().map(|query| (start_after(query), query.limit)).collect();
    assert_eq!(asked, expected.map(|(after, limit)| (after.to_owned(), Some(limit))));
    // Each user, the three documents of the start and the one of the end, and nobody in trouble. Who is not synced
    // needs no tenant.
    let reads = json!({"integer": 1201 + 3 + 1 + 1});
    assert_eq!(world.document("ops/last_pulse").await["firestore_reads"], reads);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_pages_that_break_are_synced_once_each() {
    let world = sandbox().await;
    let ids = world.crowd(501);
    world.fault("firestore/RunQuery:break-after=200");
    world.pulse().await.assert_completed("501 successful, 0 errors", 0);
    assert_eq!(world.calls(Service::Alpaca, "GetAccount"), 501);
    assert!(ids.iter().all(|id| world.has(&format!("users/{id}/alpacaAccounts/snapshot"))));
}

fn switched_off() -> Fields {
    fields_of([("sync_enabled", off())])
}
