//! Beside programs that are running: older writers, a pulse, and anybody else.

use super::{WHOSE, assert_same, json, raw, reasons, without_journal};
use crate::live::{Live, wait_until};
use crate::world::{Backend, Run, World, fields_of};
use alpaca_pulse::firestore::values::{integer, map, text};
use pulse_sandbox::call::Service;
use serde_json::json;

const USERS: u32 = 4;

async fn legacy() -> World {
    World::legacy(Backend::Sandbox, USERS).await.expect("a sandbox")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_old_writer_writes_after_the_plan_is_left_and_named() {
    let world = legacy().await;
    let plan = world.plan(&WHOSE).await;
    let at_noon = text("2025-01-05T12:00:00Z");
    world.put("tradingSignals/late", [("ticker", text("SPY")), ("timestamp", at_noon)]).await;
    world.patch("tradingSignals/form-1", [("did_trade", integer(1))]).await;
    let run = world.apply(&plan, &WHOSE).await;
    assert_eq!((run.exit, reasons(&run)), (Some(3), vec!["Applied".to_owned(), "WrittenLater".to_owned()]));
    let late = ["tradingSignals/form-1", "tradingSignals/late"];
    assert_eq!(
        json(&run)["not_moved"],
        json!(late.map(|source| json!({"source": source, "outcome": "late"})))
    );
    for id in ["form-1", "late"] {
        assert_eq!(world.stored(&format!("users/user-0001/tradingSignals/{id}")).await, None);
    }
    let verified = world.migrate(&[&["verify"][..], &WHOSE].concat()).await;
    assert_eq!((verified.exit, reasons(&verified)), (Some(3), vec!["NotMoved".to_owned()]));
    let next = world.plan(&WHOSE).await;
    assert_eq!(world.apply(&next, &WHOSE).await.exit, Some(0));
    assert_eq!(world.migrate(&[&["verify"][..], &WHOSE].concat()).await.exit, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_wrote_since_survives_a_rollback_and_is_named() {
    let world = legacy().await;
    let before = world.everything().await;
    let plan = world.plan(&WHOSE).await;
    assert_eq!(world.apply(&plan, &WHOSE).await.exit, Some(0));
    let signal = "users/user-0001/tradingSignals/form-1";
    let snapshot = "users/user-0003/alpacaAccounts/snapshot";
    world.patch(signal, [("seen", integer(1))]).await;
    world.put(snapshot, [("updated_at_iso", text("2026-01-05T14:30:00.123Z"))]).await;
    let changed = world.everything().await;
    let run = world.roll_back(&plan).await;
    assert_eq!(
        (run.exit, reasons(&run)),
        (Some(3), vec!["ChangedSince".to_owned(), "RolledBack".to_owned()])
    );
    let left = json(&run)["left"].as_array().expect("a list").clone();
    assert_eq!(left.len(), 2, "{left:?}");
    let mut expected = before;
    for path in [signal, snapshot] {
        assert!(left.contains(&json!({"target": path, "outcome": "changed"})), "{left:?}");
        expected.insert(path.to_owned(), changed[path].clone());
    }
    assert_same(&expected, &without_journal(world.everything().await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_target_is_never_overwritten() {
    let world = legacy().await;
    let target = "users/user-0001/tradingSignals/form-1";
    world.put(target, [("symbol", text("MINE"))]).await;
    let plan = world.plan(&WHOSE).await;
    assert_eq!(world.apply(&plan, &WHOSE).await.exit, Some(0));
    assert_eq!(world.document(target).await, json!({"symbol": "MINE"}));
    let verified = world.migrate(&[&["verify"][..], &WHOSE].concat()).await;
    assert_eq!((verified.exit, reasons(&verified)), (Some(3), vec!["Different".to_owned()]));
    let given_up = [&["verify", "--leave-behind", "newer_target"], &WHOSE[..]].concat();
    assert_eq!(world.migrate(&given_up).await.exit, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_appears_during_the_move_is_left_and_named() {
    let world = legacy().await;
    let plan = world.plan(&WHOSE).await;
    // Of the first changes, behind the migration's own document.
    world.fault("firestore/Commit:latency=2s,skip=1,times=1");
    let args = [&["apply", "--plan", &plan, "--yes"], &WHOSE[..]].concat();
    let running = Live::start(world.migration(&args));
    wait_until(|| world.calls(Service::Firestore, "Commit") > 1).await;
    world.put("users/user-0001/tradingSignals/form-1", [("symbol", text("MINE"))]).await;
    let run = running.end().await;
    assert_eq!(
        (run.exit, reasons(&run)),
        (Some(3), vec!["Applied".to_owned(), "ChangedMeanwhile".to_owned()])
    );
    let expected = json!([{"source": "tradingSignals/form-1", "outcome": "changed"}]);
    assert_eq!(json(&run)["not_moved"], expected);
    assert_eq!(world.document("users/user-0001/tradingSignals/form-1").await, json!({"symbol": "MINE"}));
    assert_eq!(world.document("users/user-0001/tradingSignals/form-2").await["symbol"], "QQQ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_rolled_back_meanwhile_ends_and_says_so() {
    let world = legacy().await;
    let before = without_journal(world.everything().await);
    let plan = world.plan(&WHOSE).await;
    // Of the first changes, behind the migration's own document.
    world.fault("firestore/Commit:latency=2s,skip=1,times=1");
    let args = [&["apply", "--plan", &plan, "--yes"], &WHOSE[..]].concat();
    let running = Live::start(world.migration(&args));
    wait_until(|| world.calls(Service::Firestore, "Commit") > 1).await;
    // What a rollback says first.
    world.patch(&format!("ops/migrations/runs/{plan}"), [("state", text("rolling_back"))]).await;
    let run = running.end().await;
    assert_eq!((run.exit, reasons(&run)), (Some(3), vec!["RolledBackMeanwhile".to_owned()]), "{run:?}");
    assert_eq!(reasons(&world.migrate(&["status"]).await), ["RollingBack"], "it is not said to be applied");
    assert_eq!(world.migrate(&["rollback", "--plan", &plan, "--yes"]).await.exit, Some(0));
    assert_same(&before, &without_journal(world.everything().await));
}

/// Of each kind of document that would be copied whole, or deleted with its fields in the journal.
#[tokio::test(flavor = "multi_thread")]
async fn keys_in_documents_that_are_not_there_for_keys_go_nowhere_and_no_option_gives_them_up() {
    let world = legacy().await;
    let at_noon = || ("timestamp", text("2025-01-05T12:00:00Z"));
    let inner = || ("config", map(fields_of([("apiSecret", text("PLANTED"))])));
    world.put("users/user-0003/alpacaAccounts/snapshot", [("api_secret_key", text("PLANTED"))]).await;
    world.put("users/user-0002/data/snapshot", [("equity", text("1")), inner()]).await;
    world.put("tradingSignals/leaky", [("uid", text("user-0001")), at_noon(), inner()]).await;
    world.put("shadowTradeHistory/leaky", [("uid", text("user-0001")), ("key_id", text("PLANTED"))]).await;
    let planted = [
        "shadowTradeHistory/leaky",
        "tradingSignals/leaky",
        "users/user-0002/data/snapshot",
        "users/user-0003/alpacaAccounts/snapshot",
    ];
    let planned = world.migrate(&[&["plan"][..], &WHOSE].concat()).await;
    let documents = json(&planned)["documents"].as_array().cloned().expect("a list");
    let named = documents.iter().filter(|document| document["reason"] == "KeysInside");
    let mut named: Vec<_> = named.filter_map(|document| document["source"].as_str()).collect();
    named.sort_unstable();
    assert_eq!(named, planted);
    let text = Run::of(&mut world.bare_command(&[&["migrate", "plan"][..], &WHOSE].concat())).await;
    assert!(text.stdout.contains("KeysInside") && !text.stdout.contains("PLANTED"), "{text:?}");

    let plan = world.plan(&WHOSE).await;
    assert_eq!(world.apply(&plan, &WHOSE).await.exit, Some(0));
    let verified = world.migrate(&[&["verify"][..], &WHOSE].concat()).await;
    assert_eq!((verified.exit, reasons(&verified)), (Some(3), vec!["KeysInside".to_owned()]));
    let mut everything = world.everything().await;
    everything.retain(|path, _| !planted.contains(&path.as_str()));
    assert!(!raw(&everything).contains("PLANTED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_single_tenants_owner_gets_nothing_that_names_somebody_else() {
    let world = legacy().await;
    let at_noon = || ("timestamp", text("2025-01-05T12:00:00Z"));
    world.put("tradingSignals/t1", [("tenant_id", text("tenant-0000")), at_noon()]).await;
    world.put("tradingSignals/t2", [("tenantId", text("tenant-0000")), at_noon()]).await;
    world.put("shadowTradeHistory/t3", [("tenantId", text("tenant-0000"))]).await;
    world.put("tradingSignals/t4", [("userId", text("user-0002")), at_noon()]).await;
    world.put("tenants/local/accounts/primary", [("uid", text("user-0002"))]).await;
    let documents = json(&world.migrate(&[&["plan"][..], &WHOSE].concat()).await)["documents"].clone();
    let documents = documents.as_array().cloned().expect("a list");
    for (source, reason, target) in [
        ("tradingSignals/t1", "NoOwner", json!(null)),
        ("tradingSignals/t2", "NoOwner", json!(null)),
        ("shadowTradeHistory/t3", "NoOwner", json!(null)),
        ("tradingSignals/t4", "NotThere", json!("users/user-0002/tradingSignals/t4")),
        ("tenants/local/accounts/primary", "OwnersContradict", json!("tenants/local/accounts/primary")),
    ] {
        let found = documents.iter().find(|document| document["source"] == source).expect("it is named");
        assert_eq!((&found["reason"], &found["target"]), (&json!(reason), &target), "{source}");
    }
}
