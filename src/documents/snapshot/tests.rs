//! What is written and read of a snapshot.

use super::*;
use crate::firestore::values::arbitrary::any_fields;
use crate::firestore::values::{double, integer, null, text, timestamp};
use crate::model::past::Past;
use gcloud_sdk::google::firestore::v1::Value;
use proptest::prelude::*;

fn account() -> Account {
    let body =
        br#"{"id":"a1","status":"ACTIVE","currency":"USD","equity":"0.10","buying_power":"1e2","cash":"-3"}"#;
    Account::from_answer(body).expect("an account")
}

fn snapshot<'a>(account: &'a Account, version: &'a KeyVersion) -> Snapshot<'a> {
    Snapshot {
        user_id: "ana",
        account,
        environment: Environment::Paper,
        answered_at: Timestamp::from_second(0).expect("in range"),
        keys: Some(("projects/p/secrets/alpaca-keys-ana/versions/latest", version)),
        raw: None,
    }
}

fn value<'a>(fields: &[FieldChange<'a>], field: &str) -> Option<FieldValue<'a>> {
    fields.iter().find(|(name, _)| *name == field).unwrap_or_else(|| panic!("no {field}")).1.clone()
}

#[test]
fn the_figures_are_numbers_and_exact_texts() {
    let (account, version) = (account(), KeyVersion::parse("7").expect("a number"));
    let fields = snapshot(&account, &version).user_document();
    assert_eq!(value(&fields, "equity"), Some(0.1.into()));
    assert_eq!(value(&fields, "buying_power"), Some(100.0.into()));
    assert_eq!(value(&fields, "cash"), Some((-3.0).into()));
    let exact = vec![("equity", "0.10"), ("buying_power", "1e2"), ("cash", "-3")];
    assert_eq!(value(&fields, "exact"), Some(FieldValue::Texts(exact)));
    assert_eq!(value(&fields, "key_version"), Some("7".into()));
}

#[test]
fn an_old_raw_answer_is_removed_when_none_is_stored() {
    let (account, version) = (account(), KeyVersion::parse("7").expect("a number"));
    assert_eq!(value(&snapshot(&account, &version).user_document(), "raw"), None);
}

#[test]
fn what_would_contradict_the_figures_is_removed_from_both_documents() {
    let (account, version) = (account(), KeyVersion::parse("7").expect("a number"));
    let with_raw = Snapshot { raw: Some(serde_json::Map::new()), ..snapshot(&account, &version) };
    let tenant = TenantId::parse("acme").expect("legal");
    for document in [with_raw.user_document(), with_raw.tenant_document(&tenant)] {
        for field in ["configured", "note", "syncedAt", "account"] {
            assert_eq!(value(&document, field), None, "{field}");
        }
    }
    assert_eq!(value(&with_raw.tenant_document(&tenant), "raw"), None);
    assert!(value(&with_raw.user_document(), "raw").is_some());
}

#[test]
fn both_documents_carry_the_same_figures() {
    let (account, version) = (account(), KeyVersion::parse("7").expect("a number"));
    let snapshot = snapshot(&account, &version);
    let user = snapshot.user_document();
    let tenant = TenantId::parse("acme").expect("legal");
    let tenant = snapshot.tenant_document(&tenant);
    for (field, in_tenant) in tenant.iter().filter(|(field, _)| !["tenant_id", "raw"].contains(field)) {
        assert_eq!(&value(&user, field), in_tenant, "{field}");
    }
    assert_eq!(value(&tenant, "tenant_id"), Some("acme".into()));
    assert!(!tenant.iter().any(|(field, _)| ["encrypted_key_path", "key_version"].contains(field)));
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_623_400 + second).expect("in range")
}

fn pin(updated_at: Option<Timestamp>) -> Pin {
    Pin { account: "a1".into(), version: KeyVersion::parse("3").expect("a number"), updated_at }
}

/// A good snapshot with some fields changed.
fn read(changes: &[(&str, Option<Value>)]) -> Option<LastSuccess> {
    let whole = [
        ("updated_at_iso", text("2026-01-05T14:30:00.000Z")),
        ("updated_at", timestamp(at(1))),
        ("key_version", text("3")),
        ("equity", double(1.5)),
        ("buying_power", double(0.0)),
        ("cash", double(-2.0)),
    ];
    let mut fields = Fields::from_iter(whole.map(|(name, value)| (name.to_owned(), value)));
    for (name, value) in changes {
        match value {
            Some(value) => fields.insert((*name).to_owned(), value.clone()),
            None => fields.remove(*name),
        };
    }
    LastSuccess::from_snapshot(&fields)
}

#[test]
fn a_snapshot_tells_when_alpaca_answered_and_by_which_keys() {
    assert_eq!(read(&[]), Some(LastSuccess { at: at(0), key_version: KeyVersion::parse("3") }));
    let without_version = LastSuccess { at: at(0), key_version: None };
    for version in [None, Some(null()), Some(text("latest")), Some(integer(3))] {
        assert_eq!(read(&[("key_version", version)]), Some(without_version.clone()));
    }
}

#[test]
fn a_whole_number_is_a_figure_too() {
    assert!(read(&[("equity", Some(integer(100)))]).is_some());
}

#[test]
fn a_placeholder_is_no_success() {
    for figure in ["equity", "buying_power", "cash"] {
        for value in [None, Some(text("0")), Some(null()), Some(double(f64::NAN))] {
            assert_eq!(read(&[(figure, value.clone())]), None, "{figure} {value:?}");
        }
    }
    for iso in [None, Some(text("")), Some(text("yesterday")), Some(timestamp(at(0)))] {
        assert_eq!(read(&[("updated_at_iso", iso.clone())]), None, "{iso:?}");
    }
}

#[test]
fn an_answer_is_no_newer_than_its_commit() {
    let ahead = Some(text("2026-01-05T20:00:00.000Z"));
    assert_eq!(read(&[("updated_at_iso", ahead.clone())]).map(|last| last.at), Some(at(1)));
    let alone = read(&[("updated_at_iso", ahead), ("updated_at", None)]).map(|last| last.at);
    assert_eq!(alone, Some(at(19_800)));
}

#[test]
fn a_snapshot_without_account_or_version_pins_nothing() {
    let fields = |fields: &[(&str, Value)]| -> Fields {
        fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    };
    let (account, key_version) = (("external_account_id", text("a1")), ("key_version", text("3")));
    let whole = fields(&[account.clone(), key_version.clone(), ("updated_at", timestamp(at(50)))]);
    assert_eq!(Pin::from_fields(&whole), Some(pin(Some(at(50)))));
    assert_eq!(Pin::from_fields(&fields(&[account.clone(), key_version.clone()])), Some(pin(None)));
    for partial in [
        &[][..],
        std::slice::from_ref(&account),
        std::slice::from_ref(&key_version),
        &[("external_account_id", text("")), key_version.clone()],
        &[("external_account_id", integer(1)), key_version.clone()],
        &[account.clone(), ("key_version", integer(3))],
        &[account.clone(), ("key_version", text("latest"))],
    ] {
        assert_eq!(Pin::from_fields(&fields(partial)), None, "{partial:?}");
    }
}

proptest! {
    #[test]
    fn no_snapshot_panics(fields in any_fields(&LastSuccess::FIELDS), version in 1_u32..9) {
        let past = Past { failing_since: at(0), last_success: LastSuccess::from_snapshot(&fields) };
        let version = KeyVersion::parse(&version.to_string()).expect("a number");
        prop_assert!(past.last_success.is_some() || !(past.has_worked(&version) || past.is_stale(at(0))));
    }

    #[test]
    fn whatever_a_snapshot_says_its_own_account_is_never_forbidden(fields in any_fields(&Pin::FIELDS)) {
        if let Some(pin) = Pin::from_fields(&fields) {
            prop_assert!(!pin.forbids(&pin.account, &pin.version, None, Timestamp::MAX));
            prop_assert!(pin.forbids("other", &pin.version, None, Timestamp::MAX) || pin.account == "other");
        }
    }
}
