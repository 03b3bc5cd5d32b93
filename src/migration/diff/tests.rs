//! Every row of what becomes of what, and whatever may speak against it.

use super::*;
use crate::firestore::values::{double, integer, null, text, timestamp};
use gcloud_sdk::google::firestore::v1::Value;
use jiff::{SignedDuration, Timestamp};

fn id(text: &str) -> DocumentId {
    DocumentId::of_existing(text)
}

fn noon() -> Timestamp {
    "2025-01-05T12:00:00Z".parse().expect("a time")
}

fn fields(fields: &[(&str, Value)]) -> Fields {
    fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn stored(path: &str, values: &[(&str, Value)]) -> Stored {
    Stored { path: path.to_owned(), fields: fields(values), updated_at: noon() }
}

/// The same, written so many seconds later.
fn later(seconds: i64, document: Stored) -> Stored {
    Stored { updated_at: noon() + SignedDuration::from_secs(seconds), ..document }
}

fn ana() -> Owners {
    Owners { single: Some(id("ana")), ..Owners::default() }
}

fn facts(documents: &[Stored], members: &[(&str, &[&str])]) -> Facts {
    let members =
        members.iter().map(|(tenant, ids)| ((*tenant).to_owned(), ids.iter().map(|of| id(of)).collect()));
    Facts {
        documents: documents.iter().map(|document| (document.path.clone(), document.clone())).collect(),
        members: members.collect(),
    }
}

/// What comes of a document, given only the facts that are asked for.
fn diff_among(document: &Stored, owners: &Owners, all: Facts) -> Option<Diff> {
    let intent = intent(document, owners)?;
    let wanted = intent.wanted();
    let Facts { mut documents, mut members } = all;
    documents.retain(|path, _| wanted.documents.contains(path));
    members.retain(|tenant, _| wanted.members_of.as_ref().is_some_and(|of| of.as_str() == tenant));
    Some(intent.settle(document, &Facts { documents, members }, owners))
}

fn diff(document: &Stored, owners: &Owners, documents: &[Stored]) -> Option<Diff> {
    diff_among(document, owners, facts(documents, &[]))
}

fn reason(document: &Stored, owners: &Owners, documents: &[Stored]) -> Option<Reason> {
    diff(document, owners, documents).map(|diff| diff.reason)
}

/// What is created, and where.
fn created_by(document: &Stored, owners: &Owners) -> (String, Fields) {
    match diff(document, owners, &[]).and_then(|diff| diff.change) {
        Some(Change { target, action: Action::Create(fields) }) => (target, fields),
        other => panic!("{other:?}"),
    }
}

fn signal(path: &str, more: &[(&str, Value)]) -> Stored {
    stored(path, &[more, &[("timestamp", timestamp(noon())), ("ticker", text("SPY"))]].concat())
}

const HISTORY: &str = "alpacaAccounts/snapshot/equity_history/202501051200";

#[test]
fn history_becomes_the_owners() {
    let entry = stored(HISTORY, &[("ts", timestamp(noon())), ("equity", text("103820.56"))]);
    let expected = fields(&[("ts", timestamp(noon())), ("equity", double(103_820.56))]);
    let target = "users/ana/alpacaAccounts/snapshot/equity_history/202501051200";
    assert_eq!(created_by(&entry, &ana()), (target.to_owned(), expected));
    assert_eq!(reason(&entry, &Owners::default(), &[]), Some(Reason::NoOwner));
    let odd = stored(HISTORY, &[("ts", timestamp(noon())), ("equity", null())]);
    assert_eq!(reason(&odd, &ana(), &[]), Some(Reason::Malformed("equity")));
}

#[test]
fn signals_become_their_users_archived_ones() {
    for (path, more, target) in [
        ("tradingSignals/s", &[][..], "users/ana/tradingSignals/s"),
        ("tradingSignals/s", &[("uid", text("ben"))], "users/ben/tradingSignals/s"),
        ("trade_signals/s", &[("user_id", text("ben"))], "users/ben/tradingSignals/s"),
        ("users/cy/signals/s", &[("uid", text("ben"))], "users/cy/tradingSignals/s"),
        ("users/cy/trading_signals/s", &[("userId", text("ben"))], "users/cy/tradingSignals/s"),
    ] {
        let (found, signal) = created_by(&signal(path, more), &ana());
        assert_eq!(found, target, "{path}");
        assert_eq!((&signal["status"], &signal["symbol"]), (&text("archived"), &text("SPY")));
        assert_eq!(signal["created_at"], timestamp(noon()));
    }
    let hold = signal("users/cy/signals/s", &[("action", text("HOLD"))]);
    assert_eq!(created_by(&hold, &ana()).1["action"], text("flat"));
    let odd = signal("users/cy/signals/s", &[("action", integer(1))]);
    assert_eq!(reason(&odd, &ana(), &[]), Some(Reason::Malformed("action")));
}

#[test]
fn shadow_trades_become_their_users_as_they_are() {
    let trade = stored("shadowTradeHistory/t", &[("uid", text("ben")), ("price", text("12.50"))]);
    assert_eq!(created_by(&trade, &ana()), ("users/ben/shadowTradeHistory/t".into(), trade.fields.clone()));
    let nobodys = stored("shadowTradeHistory/t", &[("price", text("12.50"))]);
    assert_eq!(reason(&nobodys, &Owners::default(), &[]), Some(Reason::NoOwner));
    let odd = stored("shadowTradeHistory/t", &[("uid", text("a/b"))]);
    assert_eq!(reason(&odd, &ana(), &[]), Some(Reason::Malformed("uid")));
}

#[test]
fn a_target_that_is_there_is_never_overwritten() {
    let source = signal("users/cy/signals/s", &[]);
    let (path, fields) = created_by(&source, &ana());
    let there = Stored { path, fields, updated_at: noon() };
    let changed = {
        let mut changed = there.clone();
        changed.fields.insert("seen".to_owned(), integer(1));
        changed
    };
    for (target, expected) in [
        (there.clone(), Reason::AlreadyThere),
        (later(60, there.clone()), Reason::AlreadyThere),
        (later(1, changed.clone()), Reason::TargetIsNewer),
        (changed.clone(), Reason::TargetDiffers),
        (later(-1, changed), Reason::TargetDiffers),
    ] {
        let diff = diff(&source, &ana(), &[target]).expect("a legacy document");
        assert_eq!((diff.reason, diff.change), (expected, None));
    }
}

#[test]
fn one_that_is_not_a_number_is_there_when_it_was_copied() {
    let mut source = signal("users/cy/signals/s", &[("score", double(f64::NAN))]);
    source.fields.insert("tiny".to_owned(), double(-0.0));
    let (path, fields) = created_by(&source, &ana());
    let mut there = Stored { path, fields, updated_at: noon() };
    assert_eq!(reason(&source, &ana(), std::slice::from_ref(&there)), Some(Reason::AlreadyThere));
    there.fields.insert("tiny".to_owned(), double(0.0));
    assert_eq!(reason(&source, &ana(), &[there]), Some(Reason::TargetDiffers));
}

#[test]
fn of_signals_with_one_id_the_first_is_taken_and_the_others_are_named() {
    let first = signal("tradingSignals/s", &[]);
    let same = signal("users/ana/signals/s", &[]);
    let other = signal("users/ana/trading_signals/s", &[("action", text("SELL"))]);
    let of_ben = signal("trade_signals/s", &[("uid", text("ben"))]);
    let odd = stored("trade_signals/s", &[]);
    assert_eq!(reason(&first, &ana(), &[same.clone(), other.clone()]), Some(Reason::NotThere));
    assert_eq!(reason(&same, &ana(), std::slice::from_ref(&first)), Some(Reason::Duplicate));
    assert_eq!(reason(&other, &ana(), std::slice::from_ref(&first)), Some(Reason::IdTaken));
    for no_rival in [of_ben, odd] {
        assert_eq!(reason(&other, &ana(), &[no_rival]), Some(Reason::NotThere));
    }
    let (path, fields) = created_by(&first, &ana());
    let taken = Stored { path, fields, updated_at: noon() };
    assert_eq!(reason(&other, &ana(), &[first.clone(), taken.clone()]), Some(Reason::IdTaken));
    assert_eq!(reason(&same, &ana(), &[first, taken]), Some(Reason::AlreadyThere));
}

#[test]
fn a_tenants_document_gets_the_owner_that_somebody_knows() {
    let owners = Owners { of_tenants: [("asked".to_owned(), id("ben"))].into(), ..ana() };
    let named = |value: Value| [stored("tenants/t", &[("owner_uid", value)])];
    for (tenant, documents, members, expected) in [
        ("t", &named(text("cy"))[..], &["di"][..], Ok("cy")),
        ("t", &named(null()), &["di"], Ok("di")),
        ("t", &[], &["di"], Ok("di")),
        ("t", &[], &["di", "eve"], Err(Reason::SeveralMembers)),
        ("t", &[], &[], Err(Reason::SeveralMembers)),
        ("asked", &[], &["di", "eve"], Ok("ben")),
        ("local", &[], &[], Ok("ana")),
        ("t", &named(integer(7)), &["di"], Err(Reason::Malformed("owner_uid"))),
        ("t", &named(text("a/b")), &["di"], Err(Reason::Malformed("owner_uid"))),
    ] {
        let path = format!("tenants/{tenant}/accounts/primary");
        for unnamed in [&[][..], &[("user_id", null())], &[("user_id", text(""))]] {
            let all = facts(documents, &[(tenant, members)]);
            let diff = diff_among(&stored(&path, unnamed), &owners, all).expect("a legacy document");
            let set = |owner: &str| Change {
                target: path.clone(),
                action: Action::Set("user_id", owner.to_owned()),
            };
            assert_eq!(diff.change.ok_or(diff.reason), expected.map(set), "{tenant} {members:?}");
        }
    }
    let named = stored("tenants/t/accounts/primary", &[("user_id", text("ana"))]);
    assert_eq!(reason(&named, &owners, &[]), None);
    let odd = stored("tenants/t/accounts/primary", &[("user_id", integer(7))]);
    assert_eq!(reason(&odd, &owners, &[]), Some(Reason::Malformed("user_id")));
}

#[test]
fn a_user_gets_the_older_tenant_id_only_as_a_member() {
    let member = [stored("tenants/acme/users/ana", &[])];
    let older = |more: &[(&str, Value)]| stored("users/ana", &[more, &[("tenantId", text("acme"))]].concat());
    let set = Action::Set("tenant_id", "acme".to_owned());
    let joined = diff(&older(&[]), &Owners::default(), &member).and_then(|diff| diff.change);
    assert_eq!(joined, Some(Change { target: "users/ana".into(), action: set }));
    for (document, members, expected) in [
        (older(&[]), &[][..], Some(Reason::NoMembership)),
        (older(&[("tenant_id", null())]), &member, Some(Reason::OlderTenantId)),
        (older(&[("tenant_id", text("acme"))]), &member, Some(Reason::AlreadyThere)),
        (older(&[("tenant_id", text("other"))]), &member, Some(Reason::TenantsContradict)),
        (older(&[("tenant_id", integer(7))]), &member, Some(Reason::Malformed("tenant_id"))),
        (stored("users/ana", &[("tenantId", text("a/b"))]), &member, Some(Reason::Malformed("tenantId"))),
        (stored("users/ana", &[("tenantId", integer(7))]), &member, Some(Reason::Malformed("tenantId"))),
        (stored("users/ana", &[("tenantId", null())]), &member, None),
        (stored("users/ana", &[]), &member, None),
    ] {
        assert_eq!(reason(&document, &Owners::default(), members), expected, "{:?}", document.fields);
    }
}

#[test]
fn a_placeholder_is_removed_and_a_snapshot_never() {
    let path = "users/ana/alpacaAccounts/snapshot";
    let placeholder = stored(path, &[("configured", text("false")), ("equity", text("0"))]);
    let removed = Some(Change { target: path.into(), action: Action::Remove });
    assert_eq!(diff(&placeholder, &ana(), &[]).and_then(|diff| diff.change), removed);
    for iso in [text("2026-01-05T14:30:00.123Z"), null()] {
        assert_eq!(reason(&stored(path, &[("updated_at_iso", iso)]), &ana(), &[]), None);
    }
}

#[test]
fn figures_are_never_copied_and_keys_go_another_way() {
    for (path, with_keys, expected) in [
        ("alpacaAccounts/snapshot", false, Reason::OldFigures),
        ("tenants/t/accounts/live", false, Reason::OldFigures),
        ("users/ana/data/snapshot", false, Reason::OldFigures),
        ("users/ana/data/snapshot", true, Reason::KeysInside),
        ("users/ana/alpacaAccounts/snapshot", true, Reason::KeysInside),
        ("alpacaAccounts/snapshot/equity_history/m", true, Reason::KeysInside),
        ("tradingSignals/s", true, Reason::KeysInside),
        ("users/ana/signals/s", true, Reason::KeysInside),
        ("shadowTradeHistory/t", true, Reason::KeysInside),
        ("users/ana/secrets/alpaca", true, Reason::Keys),
        ("tenants/t/users/ana/secrets/alpaca", true, Reason::Keys),
    ] {
        let key_id = if with_keys { text("PKPLANTED") } else { null() };
        let document = stored(path, &[("key_id", key_id), ("equity", double(1.0))]);
        let diff = diff(&document, &ana(), &[]).expect("a legacy document");
        assert_eq!((diff.reason, diff.change), (expected, None), "{path}");
        assert!(!format!("{document:?}").contains("PKPLANTED"));
    }
}

#[test]
fn an_id_that_could_name_another_document_is_malformed() {
    for path in ["users/__id7__/signals/s", "users/ana/signals/__id7__", "tradingSignals/__id7__"] {
        assert_eq!(reason(&signal(path, &[]), &ana(), &[]), Some(Reason::Malformed("id")), "{path}");
    }
    let long = "x".repeat(1500);
    assert_eq!(reason(&signal(&format!("tradingSignals/{long}"), &[]), &ana(), &[]), Some(Reason::NotThere));
}

#[test]
fn what_is_no_legacy_document_is_left_alone() {
    for path in ["users/ana/tradingSignals/s", "users/ana/alpacaAccounts/sync", "a/b/signals/s"] {
        assert_eq!(intent(&signal(path, &[]), &ana()), None, "{path}");
    }
}
