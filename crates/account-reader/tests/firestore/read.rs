//! Reading snapshots with what they are judged by.

use crate::world::{World, snapshot};
use account_reader::firestore::Accounts;
use account_reader::jiff::{SignedDuration, Timestamp};
use account_reader::{Snapshot, SyncState};
use firestore::FirestoreTimestamp;
use serde::Serialize;
use serde_json::json;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

#[derive(Serialize)]
struct Pulse {
    status: &'static str,
    timestamp: FirestoreTimestamp,
}

#[derive(Serialize)]
struct Trouble {
    state: &'static str,
    failing_since: FirestoreTimestamp,
}

/// A snapshot that may stand unchanged for another hour.
#[derive(Serialize)]
struct Lasting {
    #[serde(flatten)]
    snapshot: serde_json::Map<String, serde_json::Value>,
    fresh_until: FirestoreTimestamp,
}

fn verdict(snapshot: &Snapshot) -> &'static str {
    snapshot.verdict(Timestamp::now()).as_str()
}

#[tokio::test]
async fn a_user_is_read_with_their_sync_and_the_jobs_last_pass() {
    let Some(world) = World::new() else { return };
    let accounts = Accounts::new(&world.client().await);
    assert_eq!(verdict(&accounts.snapshot("ana").await.expect("an answer")), "missing");

    let now = Timestamp::now();
    let fields = snapshot("ana", now - HOUR);
    let fields = fields.as_object().expect("fields").clone();
    let lasting = Lasting { snapshot: fields, fresh_until: FirestoreTimestamp(now + HOUR) };
    world.put("users/ana/alpacaAccounts/snapshot", &lasting).await;
    let read = accounts.snapshot("ana").await.expect("an answer");
    assert_eq!((verdict(&read), read.sync().state), ("stale", SyncState::Ok), "no pass is known");

    world.put("ops/last_pulse", &Pulse { status: "ok", timestamp: FirestoreTimestamp(now) }).await;
    assert_eq!(verdict(&accounts.snapshot("ana").await.expect("an answer")), "fresh");

    let trouble = Trouble { state: "needs_reauth", failing_since: FirestoreTimestamp(now) };
    world.put("users/ana/alpacaAccounts/sync", &trouble).await;
    let read = accounts.snapshot("ana").await.expect("an answer");
    assert_eq!((verdict(&read), read.sync().state), ("stale", SyncState::NeedsReauth));
}

#[tokio::test]
async fn a_tenant_is_read_with_the_sync_of_whose_figures_they_are() {
    let Some(world) = World::new() else { return };
    let accounts = Accounts::new(&world.client().await);
    let now = Timestamp::now();
    assert_eq!(verdict(&accounts.tenant_snapshot("acme").await.expect("an answer")), "missing");

    let mut document = snapshot("ana", now);
    document["tenant_id"] = json!("acme");
    world.put("tenants/acme/accounts/primary", &document).await;
    let trouble = Trouble { state: "retrying", failing_since: FirestoreTimestamp(now) };
    world.put("users/ana/alpacaAccounts/sync", &trouble).await;
    let read = accounts.tenant_snapshot("acme").await.expect("an answer");
    assert_eq!((verdict(&read), read.sync().state), ("fresh", SyncState::Retrying));

    document["user_id"] = json!("legacy:acme");
    world.put("tenants/acme/accounts/primary", &document).await;
    let read = accounts.tenant_snapshot("acme").await.expect("an answer");
    assert_eq!((verdict(&read), read.sync().state), ("fresh", SyncState::Ok));

    document["user_id"] = json!(null);
    world.put("tenants/acme/accounts/primary", &document).await;
    let read = accounts.tenant_snapshot("acme").await.expect("an answer");
    assert_eq!((verdict(&read), read.sync().state), ("malformed", SyncState::Unknown));
}

#[tokio::test]
async fn the_legacy_account_is_read_when_asked_for() {
    let Some(world) = World::new() else { return };
    world.put("alpacaAccounts/snapshot", &snapshot("legacy:local", Timestamp::now())).await;
    let accounts = Accounts::new(&world.client().await);
    let read = accounts.legacy_snapshot().await.expect("an answer");
    assert_eq!((verdict(&read), read.source().as_str()), ("fresh", "legacy"));
    assert_eq!(verdict(&accounts.snapshot("local").await.expect("an answer")), "missing");
}
