//! What is written and read of a snapshot.

use super::*;
use crate::documents::reader::to_reader;
use crate::documents::written::Written;
use crate::firestore::values::arbitrary::any_fields;
use crate::firestore::values::{double, integer, null, text, timestamp};
use crate::model::past::Past;
use account_reader::decimal::parse;
use account_reader::{Documents, Lookup, Source, Verdict};
use gcloud_sdk::google::firestore::v1::Value;
use jiff::SignedDuration;
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
        stands_for: SignedDuration::from_mins(5),
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

/// What an answer may have besides what it must have: figures as text, a multiplier, and flags.
#[derive(Clone, Debug)]
struct Sent {
    figures: [String; 3],
    optional: [Option<String>; 2],
    multiplier: Option<String>,
    flags: [Option<bool>; 5],
}

const OPTIONAL: [&str; 2] = [field::LAST_EQUITY, field::NON_MARGINABLE_BUYING_POWER];

impl Sent {
    fn any() -> impl Strategy<Value = Self> {
        let figure = || "-?(0|[1-9][0-9]{0,14})(\\.[0-9]{1,14})?";
        let figures = (figure(), figure(), figure()).prop_map(|(one, two, three)| [one, two, three]);
        let optional = [prop::option::of(figure()), prop::option::of(figure())];
        let flags = prop::array::uniform5(any::<Option<bool>>());
        (figures, optional, prop::option::of("[1-4]"), flags)
            .prop_map(|(figures, optional, multiplier, flags)| Self { figures, optional, multiplier, flags })
    }

    fn flags(&self) -> impl Iterator<Item = (&'static str, Option<bool>)> {
        [field::BLOCKS.as_slice(), &[field::PATTERN_DAY_TRADER]].concat().into_iter().zip(self.flags)
    }

    /// Fields that were not sent are absent from the answer, or null.
    fn account(&self, absent_as_null: bool) -> Account {
        let mut answer = serde_json::json!({"id": "a1", "status": "ACTIVE", "currency": "USD"});
        let figures =
            FIGURES.iter().zip(&self.figures).map(|(name, text)| (*name, Some(text.as_str().into())));
        let optional = OPTIONAL.iter().zip(&self.optional);
        let optional = optional.map(|(name, text)| (*name, text.as_deref().map(Into::into)));
        let flags = self.flags().map(|(name, flag)| (name, flag.map(Into::into)));
        let multiplier = [(field::MULTIPLIER, self.multiplier.as_deref().map(Into::into))];
        for (name, value) in figures.chain(optional).chain(flags).chain(multiplier) {
            if value.is_some() || absent_as_null {
                answer[name] = value.unwrap_or(serde_json::Value::Null);
            }
        }
        Account::from_answer(answer.to_string().as_bytes()).expect("an account")
    }
}

/// A document after a write.
fn after(mut document: Fields, write: &Write, committed: Timestamp) -> Fields {
    let written = Written::of(write);
    document.retain(|name, _| !written.mask.contains(name));
    document.extend(written.fields);
    document.extend(written.server_times.into_iter().map(|name| (name, timestamp(committed))));
    document
}

/// What a reader makes of a document at that time.
fn assert_says(document: &Fields, source: Source, sent: &Sent, now: Timestamp) {
    let document = to_reader(document);
    let documents = Documents { snapshot: Some(&document), sync: Lookup::Absent, last_pulse: Lookup::Absent };
    let snapshot = account_reader::Snapshot::read(source, documents);
    let Verdict::Fresh { account, .. } = snapshot.verdict(now) else { panic!("{:?}", snapshot.verdict(now)) };
    let figures = &account.figures;
    for (figure, text) in
        [&figures.equity, &figures.buying_power, &figures.cash].into_iter().zip(&sent.figures)
    {
        assert_eq!(figure, &parse(text).expect("a decimal"));
    }
    let optional = [&figures.last_equity, &figures.non_marginable_buying_power].into_iter();
    for (figure, text) in optional.zip(&sent.optional) {
        assert_eq!(figure, &text.as_deref().map(|text| parse(text).expect("a decimal")));
    }
    let blocks = sent.flags().filter(|(name, flag)| *flag == Some(true) && field::BLOCKS.contains(name));
    assert_eq!(account.blocks(), blocks.map(|(name, _)| name).collect::<Vec<_>>());
    assert_eq!(account.pattern_day_trader, sent.flags[4]);
    assert_eq!(account.multiplier, sent.multiplier);
    assert_eq!(account.fresh_until, Some(account.updated_at + SignedDuration::from_secs(300)));
}

#[test]
fn a_snapshot_promises_to_the_millisecond_how_long_it_may_stand() {
    let (account, version) = (account(), KeyVersion::parse("7").expect("a number"));
    let until = |nanos, mins| {
        let answered_at = Timestamp::from_nanosecond(nanos).expect("in range");
        let stands_for = SignedDuration::from_mins(mins);
        Snapshot { answered_at, stands_for, ..snapshot(&account, &version) }.fresh_until()
    };
    for (mins, expected) in [(5, "2026-01-05T14:35:00.123Z"), (17, "2026-01-05T14:47:00.123Z")] {
        assert_eq!(until(1_767_623_400_123_999_999, mins).to_string(), expected);
    }
    assert_eq!(until(Timestamp::MAX.as_nanosecond(), 5), Timestamp::MAX);
}

#[test]
fn a_snapshot_of_an_older_version_is_read_and_promises_nothing() {
    let (account, version) = (account(), KeyVersion::parse("7").expect("a number"));
    let mut document = after(
        Fields::new(),
        &snapshot(&account, &version).to_write("x/documents/n", &Precondition::Nothing),
        at(0),
    );
    document.retain(|name, _| name != field::FRESH_UNTIL);
    let read = to_reader(&document);
    let documents = Documents { snapshot: Some(&read), sync: Lookup::Absent, last_pulse: Lookup::Absent };
    let read = account_reader::Snapshot::read(Source::User("ana".into()), documents);
    let verdict = |second| read.verdict(Timestamp::from_second(second).expect("in range")).as_str();
    assert_eq!([verdict(300), verdict(301)], ["fresh", "stale"]);
    assert!(LastSuccess::from_snapshot(&document).is_some() && Pin::from_fields(&document).is_some());
}

proptest! {
    #[test]
    fn whatever_alpaca_sends_is_what_a_reader_reads_and_nothing_of_before(
        sent in Sent::any(), before in Sent::any(), absent_as_null: bool, millis in 0_i64..253_370_764_800_000,
    ) {
        let (version, tenant) = (KeyVersion::parse("7").expect("a number"), TenantId::parse("acme").expect("legal"));
        let answered_at = Timestamp::from_millisecond(millis).expect("in range");
        let database = Database::parse("p", "(default)").expect("legal");
        let (mut user, mut primary) = (Fields::new(), Fields::new());
        for sent in [&before, &sent] {
            let account = sent.account(absent_as_null);
            let snapshot = Snapshot { answered_at, ..snapshot(&account, &version) };
            user = after(user, &snapshot.to_write("x/documents/n", &Precondition::Nothing), answered_at);
            let write = snapshot.to_tenant_write(&database, &TenantWrite::Create(tenant.clone()));
            primary = after(primary, &write, answered_at);
        }
        assert_says(&user, Source::User("ana".into()), &sent, answered_at);
        assert_says(&primary, Source::Tenant("acme".into()), &sent, answered_at);
    }

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
