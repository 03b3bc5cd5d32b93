//! What trouble costs: the query it is learned from, and the commits it is written with.

use super::{HOUR, fleet, needs_reauth, nobody_looks_at, record, says, status};
use crate::live::Live;
use crate::traffic::watched;
use crate::world::{sandbox, secret_of};
use alpaca_pulse::firestore::values::text;
use pulse_sandbox::alpaca::Profile;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_trouble_is_learned_from_one_query() {
    let world = sandbox().await;
    fleet(&world, 3, 5).await;
    for _ in 0..2 {
        let (run, traffic) = watched(&world, &[]).await;
        run.assert_completed("5 successful, 3 errors", 0);
        // Not those for members of the tenants that are created.
        let mut queries = traffic.queries();
        queries.retain(|query| query.limit != Some(2));
        let mut collections: Vec<_> = queries
            .iter()
            .flat_map(|query| &query.from)
            .map(|from| (from.collection_id.as_str(), from.all_descendants))
            .collect();
        collections.sort_unstable();
        assert_eq!(collections, [("alpacaAccounts", true), ("users", false)]);
        let read: Vec<String> = traffic.lookups().into_iter().flatten().collect();
        // A rejection's own record is looked at once more before it is overwritten at the end of the pass.
        let unasked = |path: &String| path.starts_with("users/") && !path.starts_with("users/bad-");
        assert!(!read.iter().any(unasked), "{read:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_trouble_is_in_the_commit_of_the_snapshot() {
    let world = sandbox().await;
    world.user("ana").await;
    world.account("ana", status(200));
    world.pulse().await.assert_completed("0 successful, 1 errors", 1);
    world.account("ana", Profile::active());
    let (run, traffic) = watched(&world, &[]).await;
    run.assert_completed("1 successful, 0 errors", 0);
    let commits = traffic.commits_to("users/ana/alpacaAccounts/sync");
    assert_eq!(commits.len(), 1);
    let mut paths: Vec<String> = commits[0].writes.iter().map(|write| traffic.path(write)).collect();
    paths.sort_unstable();
    let expected = [
        "tenants/ana/accounts/primary",
        "users/ana/alpacaAccounts/snapshot",
        "users/ana/alpacaAccounts/sync",
    ];
    assert_eq!(paths, expected);
    assert_eq!(traffic.commits().len(), 3, "and the ledger's first and last");
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_ongoing_trouble_nor_its_absence_is_committed_again() {
    let world = sandbox().await;
    world.user("ana").await;
    world.user("ben").await;
    world.sandbox.secrets().delete(&secret_of("ben"));
    needs_reauth(&world, &nobody_looks_at(), HOUR).await;
    world.pulse().await.assert_completed("1 successful, 1 errors, 1 skipped", 0);
    let (run, traffic) = watched(&world, &[]).await;
    run.assert_completed("1 successful, 1 errors, 1 skipped", 0);
    assert!(traffic.commits_to("/alpacaAccounts/sync").is_empty());
    assert_eq!(traffic.commits().len(), 3, "one for ana's snapshot, the ledger's first and last");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_firestore_does_not_take_is_recorded_once_it_takes_anything() {
    for (fault, code) in
        [("UNAVAILABLE,times=6", "store_unavailable"), ("PERMISSION_DENIED,times=1", "store_rejected")]
    {
        let world = sandbox().await;
        world.user("ana").await;
        world.fault(&format!("firestore/Commit:error={fault},user=ana"));
        world.pulse().await.assert_completed("0 successful, 1 errors", 1);
        let (record, ..) = record(&world, "ana").await;
        assert_eq!(record, says("retrying", Some(code), 0, Some("1")));
        assert_eq!(world.snapshot("ana").await, json!(null));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_records_no_trouble() {
    let world = sandbox().await;
    fleet(&world, 1, 1).await;
    world.put("users/keyless", []).await;
    let (run, traffic) = watched(&world, &["--dry-run"]).await;
    run.assert_completed("1 successful, 2 errors", 0);
    assert!(traffic.commits().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_newer_than_the_pass_is_not_overwritten_by_it() {
    let world = sandbox().await;
    fleet(&world, 1, 1).await;
    // The other user keeps the pass from its end until this one's record is there.
    world.fault("alpaca:stall,user=good-0,times=1");
    let mut running = Live::start(world.command(&[]));
    running.until("Failed to sync Alpaca account for user bad-0", 1).await;
    let newer = [("state", text("ok")), ("key_version", text("2"))];
    world.put("users/bad-0/alpacaAccounts/sync", newer).await;
    running.end().await.assert_completed("1 successful, 1 errors", 0);
    assert_eq!(world.trouble("bad-0").await, json!({"state": "ok", "key_version": "2"}));
}
