//! `firestore.indexes.json` against what the code writes and asks for.

use crate::documents::equity_history;
use crate::documents::migration::{Entry, Journal, Undo};
use crate::documents::snapshot::Snapshot;
use crate::firestore::values::{bytes, text};
use crate::firestore::write::{FieldChange, FieldValue};
use crate::model::account::Account;
use crate::model::ids::{Database, TenantId};
use crate::model::key_version::KeyVersion;
use crate::model::keys::Environment;
use crate::model::outcome::Code;
use crate::model::past::LastSuccess;
use crate::model::sync_state::{State, SyncState};
use account_reader::documents::equity_history::{COLLECTION, TS};
use account_reader::documents::snapshot::UPDATED_AT;
use account_reader::time::iso;
use gcloud_sdk::google::firestore::v1::value::ValueType;
use gcloud_sdk::google::firestore::v1::{self, write::Operation};
use gcloud_sdk::prost::Message;
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};

/// A collection group's id.
type Group = &'static str;

/// The field that the pass asks for users in trouble by.
const QUERIED: (Group, &str) = ("alpacaAccounts", "state");

/// The time that loss guards ask for a user's latest entries by. Each user has one entry a minute at most.
const ASKED_BY_GUARDS: (Group, &str) = (COLLECTION, TS);

/// The ledger's fields that grow with time or are maps.
const LEDGER: [&str; 6] = ["plan", "tasks", "started_at", "ended_at", "touched_at", "expires_at"];

/// Each override of the file, by its collection group and field.
fn overrides() -> BTreeMap<(String, String), Json> {
    let file: Json = serde_json::from_str(include_str!("../../firestore.indexes.json")).expect("JSON");
    let composite = file["indexes"].as_array().expect("a list");
    let is_of_readers = |index: &Json| index["collectionGroup"] == "tradingSignals";
    assert!(composite.iter().all(is_of_readers), "no query of the job has more than one field and the name");
    let entries = file["fieldOverrides"].as_array().expect("a list");
    let of = |entry: &Json, key| entry[key].as_str().expect("a text").to_owned();
    let overrides: BTreeMap<_, _> = entries
        .iter()
        .map(|entry| ((of(entry, "collectionGroup"), of(entry, "fieldPath")), entry.clone()))
        .collect();
    assert_eq!(overrides.len(), entries.len(), "a field is listed twice");
    overrides
}

/// Every field that the code writes, and whether its index would be costly.
fn written() -> BTreeMap<(Group, String), bool> {
    let body =
        br#"{"id":"a1","status":"ACTIVE","currency":"USD","equity":"1","buying_power":"2","cash":"3","last_equity":"4",
            "non_marginable_buying_power":"5","multiplier":"2","trading_blocked":false,"account_blocked":false,
            "trade_suspended_by_user":false,"transfers_blocked":false,"pattern_day_trader":false}"#;
    let account = Account::from_answer(body).expect("an account");
    let version = KeyVersion::parse("7").expect("a number");
    let snapshot = Snapshot {
        user_id: "ana",
        account: &account,
        environment: Environment::Paper,
        answered_at: now(),
        stands_for: jiff::SignedDuration::ZERO,
        keys: Some(("projects/p/secrets/alpaca-keys-ana/versions/latest", &version)),
        raw: Some(serde_json::Map::new()),
    };
    let state = SyncState {
        state: State::NeedsReauth,
        error: Some(Code::BrokerRejected),
        since: now(),
        failing_since: Some(now()),
        last_success: Some(LastSuccess { at: now(), key_version: Some(version.clone()) }),
        rejections: 2,
        key_version: Some(version.clone()),
        next_attempt_at: Some(now()),
    };
    let tenant = TenantId::parse("acme").expect("legal");
    let state = state.to_fields().map(|(field, value)| (field, value.map(Into::into)));
    let groups: [(Group, Vec<FieldChange<'_>>); 4] = [
        (COLLECTION, equity_history::entry(&account, now()).into()),
        ("alpacaAccounts", snapshot.user_document()),
        ("accounts", snapshot.tenant_document(&tenant)),
        ("alpacaAccounts", state.into()),
    ];
    let mut written = BTreeMap::new();
    for (group, changes) in groups {
        if group != COLLECTION {
            written.insert((group, UPDATED_AT.to_owned()), true);
        }
        for (field, value) in &changes {
            *written.entry((group, (*field).to_owned())).or_default() |= is_costly(value.as_ref());
        }
    }
    written
}

/// The fields of a migration's journals that are paths, which are written in the order of their documents' names and so
/// only ever grow, or bytes.
fn journals() -> BTreeSet<(String, String)> {
    let database = Database::parse("p", "d").expect("legal");
    let long = bytes(vec![0; 1 << 20]);
    let undo = Undo::Recreate([("long".to_owned(), long)].into());
    let entry =
        Entry { source: "tradingSignals/s".into(), target: "users/ana/tradingSignals/s".into(), undo };
    let of = |journal| entry.to_writes(&database, "plan", journal);
    let writes = [Journal::Applied, Journal::Cleaned].into_iter().flat_map(of);
    let mut fields = BTreeSet::new();
    for write in writes {
        let Some(Operation::Update(document)) =
            v1::Write::decode(write.as_bytes()).expect("a write").operation
        else {
            panic!("no document")
        };
        let group = document.name.rsplit('/').nth(1).expect("a collection").to_owned();
        let is_costly = |value: &v1::Value| {
            let paths = [&entry.source, &entry.target].map(text);
            matches!(value.value_type, Some(ValueType::BytesValue(_))) || paths.contains(value)
        };
        let costly = document.fields.into_iter().filter(|(_, value)| is_costly(value));
        fields.extend(costly.map(|(field, _)| (group.clone(), field)));
    }
    fields
}

fn now() -> Timestamp {
    Timestamp::from_second(1_767_623_400).expect("in range")
}

/// Whether an automatic index of the field costs more than it can bring: it only ever grows, which caps the
/// collection's writes, or is a map, whose every entry is indexed.
fn is_costly(value: Option<&FieldValue<'_>>) -> bool {
    match value {
        Some(FieldValue::Text(text)) => *text == iso(now()),
        Some(FieldValue::Texts(_)) => true,
        Some(FieldValue::Any(value)) => match &value.value_type {
            Some(ValueType::StringValue(text)) => *text == iso(now()),
            kind => matches!(kind, Some(ValueType::TimestampValue(_) | ValueType::MapValue(_))),
        },
        Some(FieldValue::Double(_)) | None => false,
    }
}

#[test]
fn every_time_and_map_that_the_code_writes_is_exempt_and_nothing_else_is() {
    let written = written();
    let costly = written.iter().filter(|(_, is_costly)| **is_costly);
    let costly = costly.map(|((group, field), _)| (*group, field.as_str()));
    let costly = costly.filter(|field| *field != ASKED_BY_GUARDS);
    let journals = journals();
    let of_journals = journals.iter().map(|(group, field)| (group.as_str(), field.as_str()));
    let ledger = LEDGER.map(|field| ("executions", field));
    let expected: BTreeSet<_> = costly.chain(ledger).chain(of_journals).collect();
    let overrides = overrides();
    let exempt = overrides.iter().filter(|(_, entry)| entry["indexes"] == json!([]));
    let exempt: BTreeSet<_> = exempt.map(|((group, field), _)| (group.as_str(), field.as_str())).collect();
    assert_eq!(exempt, expected);
    let (group, field) = QUERIED;
    let others: Vec<_> =
        overrides.keys().filter(|(g, f)| !exempt.contains(&(g.as_str(), f.as_str()))).collect();
    assert_eq!(others, [&(group.to_owned(), field.to_owned())]);
}

#[test]
fn the_field_that_the_pass_queries_has_the_index_that_it_needs_and_no_other() {
    assert!(written().contains_key(&(QUERIED.0, QUERIED.1.to_owned())));
    assert!(SyncState::FIELDS.contains(&QUERIED.1));
    let (group, field) = QUERIED;
    // Ascending, and with it by name: the order that the query asks for.
    let index = json!([{"order": "ASCENDING", "queryScope": "COLLECTION_GROUP"}]);
    assert_eq!(overrides()[&(group.to_owned(), field.to_owned())]["indexes"], index);
}

#[test]
fn only_the_ledger_and_the_equity_history_expire() {
    let overrides = overrides();
    let expiring = overrides.iter().filter(|(_, entry)| entry["ttl"] == true);
    let expiring: Vec<_> = expiring.map(|((group, field), _)| (group.as_str(), field.as_str())).collect();
    assert_eq!(expiring, [("equity_history", "expires_at"), ("executions", "expires_at")]);
}

#[test]
fn the_firebase_cli_deploys_both_files() {
    let file: Json = serde_json::from_str(include_str!("../../firebase.json")).expect("JSON");
    assert_eq!(file["firestore"], json!({"rules": "firestore.rules", "indexes": "firestore.indexes.json"}));
}
