//! A database of the single-tenant layout, as older programs left it: every kind of document, and dirt.

use super::firestore::Firestore;
use super::seed::{key_id, secret_key, user_id};
use gcloud_sdk::google::firestore::v1::value::ValueType;
use gcloud_sdk::google::firestore::v1::write::Operation;
use gcloud_sdk::google::firestore::v1::{ArrayValue, Document, MapValue, Value, Write};
use gcloud_sdk::google::r#type::LatLng;
use std::collections::HashMap;

/// Writes sent to Firestore at a time.
const BATCH: usize = 500;

/// 2025-01-05T12:00:00Z, when the old writers were at work.
const THEN: i64 = 1_736_078_400;

/// Entries of the single tenant's history.
const MINUTES: i64 = 12;

/// Characters of a document that nearly fills all that Firestore allows.
const HUGE: usize = 900_000;

type Fields = Vec<(&'static str, ValueType)>;

/// Writes the documents of so many users, of whom the first owns what names no user.
pub(crate) fn write_documents(
    users: u32,
    firestore: &Firestore,
    database: &str,
) -> Result<(), tonic::Status> {
    let mut batch = Vec::with_capacity(BATCH);
    let of_users = (1..=users).flat_map(of_user);
    for (path, fields) in shared().into_iter().chain(dirt()).chain(of_users) {
        batch.push(update(format!("{database}/documents/{path}"), fields));
        if batch.len() == BATCH {
            firestore.commit(database, std::mem::take(&mut batch))?;
        }
    }
    firestore.commit(database, batch).map(drop)
}

/// What belongs to no user by its path.
fn shared() -> Vec<(String, Fields)> {
    let history = (0..MINUTES).map(|minute| {
        let path = format!("alpacaAccounts/snapshot/equity_history/2025010512{minute:02}");
        (path, vec![("ts", time(minute * 60)), ("equity", text(&format!("{}.25", 103_820 + minute)))])
    });
    accounts().into_iter().chain(signals()).chain(history).collect()
}

fn accounts() -> Vec<(String, Fields)> {
    let figures = || vec![("equity", text("103820.56")), ("cash", text("1000.05")), ("syncedAt", time(0))];
    vec![
        ("alpacaAccounts/snapshot".to_owned(), figures()),
        ("tenants/local/accounts/primary".to_owned(), figures()),
        (
            "tenants/local/accounts/live".to_owned(),
            vec![("equity", double(103_820.0)), ("updated_at_ms", int(THEN))],
        ),
        ("tenants/owned".to_owned(), vec![("owner_uid", text(&user_id(2)))]),
        ("tenants/owned/accounts/primary".to_owned(), figures()),
        ("tenants/crowded/accounts/primary".to_owned(), figures()),
        ("tenants/crowded/users/user-0001".to_owned(), vec![]),
        ("tenants/crowded/users/user-0002".to_owned(), vec![]),
    ]
}

fn signals() -> Vec<(String, Fields)> {
    vec![
        (
            "tradingSignals/form-1".to_owned(),
            vec![
                ("signal_id", text("form-1")),
                ("symbol", text("SPY")),
                ("action", text("HOLD")),
                ("reason", text("no trend")),
                ("signal_payload", map(vec![("vix", double(14.2))])),
                ("did_trade", ValueType::BooleanValue(false)),
                ("timestamp", time(0)),
                ("created_at", time(1)),
            ],
        ),
        (
            "tradingSignals/form-2".to_owned(),
            vec![
                ("strategy", text("gamma")),
                ("action", text("BUY")),
                ("ticker", text("QQQ")),
                ("allocation", double(0.25)),
                ("notional_usd", text("n/a")),
                ("reasoning", text("up")),
                ("timestamp", text("2025-01-05T12:00:00.123456")),
                ("tenant_id", text("local")),
            ],
        ),
        (
            "trade_signals/form-3".to_owned(),
            vec![("ticker", text("IWM")), ("action", text("sell")), ("createdAt", int(THEN))],
        ),
        ("trade_signals/form-1".to_owned(), vec![("ticker", text("DIA")), ("createdAt", time(3))]),
        ("shadowTradeHistory/without-uid".to_owned(), vec![("price", text("12.50"))]),
    ]
}

/// A field of each type, and of each odd name.
fn everything() -> Fields {
    vec![
        ("null", ValueType::NullValue(0)),
        ("nan", double(f64::NAN)),
        ("negative_zero", double(-0.0)),
        ("bytes", ValueType::BytesValue(vec![0, 255])),
        ("place", ValueType::GeoPointValue(LatLng { latitude: 40.7, longitude: -74.0 })),
        ("reference", ValueType::ReferenceValue("projects/p/databases/(default)/documents/a/b".into())),
        ("list", ValueType::ArrayValue(ArrayValue { values: vec![value(int(1)), value(text("x"))] })),
        ("map", map(vec![("a", int(1))])),
        ("with space", int(1)),
        ("with.dot", int(2)),
        ("`tick`", int(3)),
    ]
}

/// What nobody meant to write, and somebody did.
fn dirt() -> Vec<(String, Fields)> {
    let dated = |mut fields: Fields| {
        fields.push(("timestamp", time(9)));
        fields
    };
    vec![
        ("tradingSignals/every type".to_owned(), dated(everything())),
        (format!("tradingSignals/{}", "x".repeat(1500)), dated(vec![])),
        ("tradingSignals/é 1".to_owned(), dated(vec![("ticker", text("é"))])),
        ("tradingSignals/huge".to_owned(), dated(vec![("metadata", text(&"x".repeat(HUGE)))])),
        ("tradingSignals/no-time".to_owned(), vec![("ticker", text("SPY"))]),
        ("tradingSignals/odd-action".to_owned(), dated(vec![("action", text("SHORT"))])),
        ("tradingSignals/number-for-text".to_owned(), dated(vec![("symbol", int(7))])),
        ("tradingSignals/two-owners".to_owned(), dated(vec![("uid", text("a")), ("user_id", text("b"))])),
        ("tradingSignals/odd-owner".to_owned(), dated(vec![("uid", text("a/b"))])),
        ("shadowTradeHistory/odd-uid".to_owned(), vec![("uid", int(7))]),
        (
            "alpacaAccounts/snapshot/equity_history/odd".to_owned(),
            vec![("ts", text("noon")), ("equity", text("1"))],
        ),
        (
            "alpacaAccounts/snapshot/equity_history/none".to_owned(),
            vec![("ts", time(0)), ("equity", text("n/a"))],
        ),
        (
            "users/user-0002/alpacaAccounts/snapshot".to_owned(),
            dated([vec![("configured", text("yes")), ("account", map(vec![]))], everything()].concat()),
        ),
        ("users/nobody/data/snapshot".to_owned(), vec![("equity", text("0"))]),
        (
            "users/nobody/signals/only".to_owned(),
            dated(vec![("reasoning", text("a user without a document"))]),
        ),
        ("tradingSignals/form-1/comments/c".to_owned(), vec![("theirs", text("goes with the signal"))]),
        ("alpacaAccounts/snapshot/positions/SPY".to_owned(), everything()),
        ("users/user-0001/data/snapshot/days/d/orders/o".to_owned(), vec![("theirs", text("goes too"))]),
        ("users/user-0001/signals/user-0001-own-1/notes/n".to_owned(), vec![]),
        ("users/nobody/data/other".to_owned(), vec![("theirs", text("stays"))]),
        ("strategies/one/signals/s".to_owned(), vec![("theirs", text("stays"))]),
    ]
}

/// What a user with this number has. Every fifth has no document of their own.
fn of_user(number: u32) -> Vec<(String, Fields)> {
    let user = user_id(number);
    let tenant = format!("tenant-{:04}", number / 8);
    let mut documents = Vec::new();
    if !number.is_multiple_of(5) {
        documents.push((format!("users/{user}"), own_document(number, &tenant)));
    }
    if number.is_multiple_of(4) && !number.is_multiple_of(12) {
        documents.push((format!("tenants/{tenant}/users/{user}"), vec![("role", text("member"))]));
        documents.push((format!("tenants/{tenant}/accounts/primary"), vec![("equity", text("1.00"))]));
    }
    if number.is_multiple_of(3) {
        let placeholder = vec![
            ("configured", ValueType::BooleanValue(false)),
            ("note", text("not connected yet")),
            ("syncedAt", time(0)),
            ("equity", text("0")),
        ];
        documents.push((format!("users/{user}/alpacaAccounts/snapshot"), placeholder));
    }
    documents
        .push((format!("users/{user}/data/snapshot"), vec![("equity", text("1.00")), ("syncedAt", time(0))]));
    documents
        .push((format!("users/{user}/status/trading"), vec![("enabled", ValueType::BooleanValue(true))]));
    documents.push(keys(number, &user, &tenant));
    documents.extend((0..3).map(|n| signal(format!("tradingSignals/{user}-{n}"), Some(&user), n)));
    documents.extend((0..2).map(|n| signal(format!("users/{user}/signals/{user}-own-{n}"), None, n)));
    let trade = vec![("uid", text(&user)), ("price", text("12.50")), ("quantity", text("3"))];
    documents.push((format!("shadowTradeHistory/{user}-t"), trade));
    let answer = vec![("createdAt", time(5)), ("userId", text(&user)), ("response", text("hold"))];
    documents.push((format!("users/{user}/trading_signals/{user}-answer"), answer));
    documents
}

fn own_document(number: u32, tenant: &str) -> Fields {
    let mut fields = vec![("display_name", text(&format!("User {number:04}"))), ("createdAt", time(0))];
    match number {
        7 => fields.push(("tenantId", text("tenant-0001"))),
        9 => fields.push(("tenantId", int(9))),
        11 => fields.extend([("tenantId", text("tenant-0001")), ("tenant_id", text("tenant-0002"))]),
        _ if number.is_multiple_of(4) && !number.is_multiple_of(12) => {
            fields.push(("tenantId", text(tenant)))
        }
        _ => {}
    }
    fields
}

/// Keys as one or another writer kept them. None is real.
fn keys(number: u32, user: &str, tenant: &str) -> (String, Fields) {
    let (key, secret) = (key_id(number), secret_key(number));
    let path = match number % 6 {
        0 => format!("tenants/{tenant}/users/{user}/secrets/alpaca"),
        _ => format!("users/{user}/secrets/alpaca"),
    };
    let fields = match number % 6 {
        1 => vec![("api_key_id", text(&key)), ("api_secret_key", text(&secret))],
        2 => vec![("key_id", text(&format!(" {key}\n"))), ("secret_key", text(&format!("{secret} ")))],
        3 => vec![("key_id", ValueType::NullValue(0)), ("secret_key", ValueType::NullValue(0))],
        _ => vec![
            ("configured", ValueType::BooleanValue(true)),
            ("key_id", text(&key)),
            ("secret_key", text(&secret)),
            ("base_url", text("https://paper-api.alpaca.markets/v2")),
        ],
    };
    (path, fields)
}

fn signal(path: String, user: Option<&str>, number: i64) -> (String, Fields) {
    let mut fields = vec![
        ("ticker", text("SPY")),
        ("action", text(["BUY", "SELL", "HOLD"][number.unsigned_abs() as usize % 3])),
        ("reasoning", text("as the strategy says")),
        ("allocation", double(0.1)),
        ("timestamp", time(number)),
    ];
    fields.extend(user.map(|user| ("uid", text(user))));
    (path, fields)
}

fn text(content: &str) -> ValueType {
    ValueType::StringValue(content.to_owned())
}

fn int(number: i64) -> ValueType {
    ValueType::IntegerValue(number)
}

fn double(number: f64) -> ValueType {
    ValueType::DoubleValue(number)
}

fn time(seconds: i64) -> ValueType {
    ValueType::TimestampValue(prost_types::Timestamp { seconds: THEN + seconds, nanos: 0 })
}

fn map(fields: Fields) -> ValueType {
    ValueType::MapValue(MapValue { fields: to_map(fields) })
}

fn value(value: ValueType) -> Value {
    Value { value_type: Some(value) }
}

fn to_map(fields: Fields) -> HashMap<String, Value> {
    fields.into_iter().map(|(name, content)| (name.to_owned(), value(content))).collect()
}

fn update(name: String, fields: Fields) -> Write {
    let document = Document { name, fields: to_map(fields), ..Document::default() };
    Write { operation: Some(Operation::Update(document)), ..Write::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATABASE: &str = "projects/p/databases/(default)";

    #[test]
    fn a_legacy_database_has_each_kind_of_document_once_at_least() {
        let firestore = Firestore::default();
        write_documents(25, &firestore, DATABASE).unwrap();
        let documents = firestore.documents(DATABASE);
        let prefix = format!("{DATABASE}/documents/");
        let paths: Vec<_> = documents.iter().filter_map(|found| found.name.strip_prefix(&prefix)).collect();
        for [before, behind] in [
            ["alpacaAccounts/snapshot", ""],
            ["alpacaAccounts/snapshot/equity_history/", ""],
            ["tenants/", "/accounts/primary"],
            ["tenants/", "/accounts/live"],
            ["tenants/", "/secrets/alpaca"],
            ["users/", "/data/snapshot"],
            ["users/", "/alpacaAccounts/snapshot"],
            ["users/", "/secrets/alpaca"],
            ["users/user-0001/signals/", ""],
            ["users/user-0001/trading_signals/", ""],
            ["tradingSignals/", ""],
            ["trade_signals/", ""],
            ["shadowTradeHistory/", ""],
            ["tradingSignals/", "/comments/c"],
        ] {
            let is_one = |path: &&str| path.starts_with(before) && path.ends_with(behind);
            assert!(paths.iter().any(is_one), "{before}*{behind}");
        }
        assert!(!paths.contains(&"users/user-0005") && paths.contains(&"users/user-0005/data/snapshot"));
    }
}
