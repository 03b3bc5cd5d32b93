//! Databases that nobody thought of: whatever is in them, a rollback gives it back.

use super::{assert_same, changes, json, without_journal};
use crate::world::{World, sandbox};
use alpaca_pulse::firestore::values::{
    Fields, array, boolean, bytes, double, integer, map, null, reference, text, timestamp,
};
use gcloud_sdk::google::firestore::v1::write::Operation;
use gcloud_sdk::google::firestore::v1::{Document, Value, Write, value::ValueType};
use gcloud_sdk::google::r#type::LatLng;
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;

const DATABASES: usize = 12;

fn any_scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(null()),
        any::<bool>().prop_map(boolean),
        any::<i64>().prop_map(integer),
        any::<f64>().prop_map(double),
        "\\PC{0,12}".prop_map(text),
        "[0-9]{1,5}|BUY|HOLD|ana|ben|2025-01-05T12:00:00Z".prop_map(text),
        (0_i64..2_000_000_000)
            .prop_map(|second| timestamp(Timestamp::from_second(second).expect("in range"))),
        Just(reference("projects/p/databases/(default)/documents/a/b".into())),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(bytes),
        (-90.0..90.0, -180.0..180.0).prop_map(|(latitude, longitude)| {
            Value { value_type: Some(ValueType::GeoPointValue(LatLng { latitude, longitude })) }
        }),
    ]
}

/// As Firestore takes it: no list directly in a list.
fn any_value() -> impl Strategy<Value = Value> {
    let names = "[a-z][a-z_]{0,5}|with space|a\\.b|`x`";
    prop_oneof![
        6 => any_scalar(),
        1 => prop::collection::vec(any_scalar(), 0..3).prop_map(array),
        1 => prop::collection::hash_map(names, any_scalar(), 0..3).prop_map(map),
    ]
}

fn any_fields() -> impl Strategy<Value = Fields> {
    let names = "ts|equity|uid|user_id|tenant_id|tenantId|ticker|symbol|action|reasoning|timestamp|created_at|\
                 createdAt|notional_usd|status|proposed_by|owner_uid|updated_at_iso|[a-z]{1,4}";
    prop::collection::hash_map(names, any_value(), 0..6)
}

fn any_path() -> impl Strategy<Value = String> {
    const PATTERNS: &[&str] = &[
        "alpacaAccounts/snapshot",
        "alpacaAccounts/snapshot/equity_history/#",
        "tenants/#",
        "tenants/#/accounts/primary",
        "tenants/#/accounts/live",
        "tenants/#/users/#",
        "users/#",
        "users/#/alpacaAccounts/snapshot",
        "users/#/alpacaAccounts/sync",
        "users/#/tradingSignals/#",
        "users/#/data/snapshot",
        "users/#/signals/#",
        "users/#/trading_signals/#",
        "tradingSignals/#",
        "trade_signals/#",
        "shadowTradeHistory/#",
        "users/#/shadowTradeHistory/#",
    ];
    let ids = prop::collection::vec("ana|ben|s|t|é 1|\\.\\.\\.", 2);
    (prop::sample::select(PATTERNS), ids)
        .prop_map(|(pattern, ids)| ids.iter().fold(pattern.to_owned(), |path, id| path.replacen('#', id, 1)))
}

async fn fill(world: &World, documents: impl IntoIterator<Item = (String, Fields)>) {
    let write = |(path, fields): (String, Fields)| Write {
        operation: Some(Operation::Update(Document {
            name: world.name(&path),
            fields,
            ..Document::default()
        })),
        ..Write::default()
    };
    world.commit(documents.into_iter().map(write).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_gives_back_whatever_was_there() {
    let mut runner = TestRunner::default();
    let databases = prop::collection::hash_map(any_path(), any_fields(), 20..80);
    let mut moved = 0;
    for _ in 0..DATABASES {
        let database = databases.new_tree(&mut runner).expect("a database").current();
        let world = sandbox().await;
        fill(&world, database).await;
        fill(&world, [("users/ana".to_owned(), Fields::new())]).await;
        let before = world.everything().await;
        let whose = ["--owner", "ana"];
        let plan = world.plan(&whose).await;
        let applied = world.apply(&plan, &whose).await;
        assert_eq!(applied.exit, Some(0), "{applied:?} {before:?}");
        moved += changes(&applied);
        let next = json(&world.migrate(&["plan", "--owner", "ana"]).await);
        assert_eq!(next["counts"]["copy"], json!(0), "{next} {before:?}");
        let rolled_back = world.roll_back(&plan).await;
        assert_eq!((rolled_back.exit, &json(&rolled_back)["undone"]), (Some(0), &json(&applied)["moved"]));
        assert_same(&before, &without_journal(world.everything().await));
    }
    assert!(moved > DATABASES as u64, "{moved}");
}
