//! How a case is written; see `vectors/README.md`. An unknown field is refused.

use crate::jiff::Timestamp;
use crate::{Documents, Fields, Lookup, Snapshot, Source, Value};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::path::Path;

type TypedFields = BTreeMap<String, TypedValue>;

/// A file of cases, with the documents that they start from.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    documents: BTreeMap<String, TypedFields>,
    pub(crate) cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) why: String,
    now: String,
    source: SourceCase,
    snapshot: Option<DocumentCase>,
    sync: Option<LookupCase>,
    last_pulse: Option<LookupCase>,
    pub(crate) order: Option<OrderCase>,
    pub(crate) policy: Option<PolicyCase>,
    #[serde(default)]
    pub(crate) signals: Vec<SignalCase>,
    pub(crate) expected: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum SourceCase {
    User(String),
    Tenant(String),
    Legacy(bool),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentCase {
    base: String,
    set: TypedFields,
    remove: Vec<String>,
}

/// A document, or the word `unread`.
#[derive(Deserialize)]
#[serde(untagged)]
enum LookupCase {
    Unread(Unread),
    Found(DocumentCase),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Unread {
    Unread,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderCase {
    pub(crate) user: String,
    pub(crate) side: String,
    pub(crate) notional: String,
    pub(crate) closes: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyCase {
    pub(crate) environment: String,
    pub(crate) currency: String,
    pub(crate) funds: String,
    pub(crate) reserve: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignalCase {
    pub(crate) id: String,
    document: DocumentCase,
    update_time: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::enum_variant_names, reason = "named as Firestore's REST interface names them")]
enum TypedValue {
    NullValue(()),
    BooleanValue(bool),
    IntegerValue(String),
    /// As it is written: whoever reads a case reads the nearest double.
    DoubleValue(Double),
    TimestampValue(String),
    StringValue(String),
    MapValue {
        fields: TypedFields,
    },
}

#[derive(Clone)]
struct Double(f64);

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        raw.get().trim_matches('"').parse().map(Self).map_err(serde::de::Error::custom)
    }
}

fn time(text: &str) -> Timestamp {
    text.parse().expect(text)
}

fn value(typed: &TypedValue) -> Value {
    match typed {
        TypedValue::NullValue(()) => Value::Null,
        TypedValue::BooleanValue(flag) => Value::Bool(*flag),
        TypedValue::IntegerValue(text) => Value::Integer(text.parse().expect(text)),
        TypedValue::DoubleValue(Double(double)) => Value::Double(*double),
        TypedValue::TimestampValue(text) => Value::Timestamp(time(text)),
        TypedValue::StringValue(text) => Value::String(text.clone()),
        TypedValue::MapValue { fields: typed } => Value::Map(fields(typed)),
    }
}

fn fields(typed: &TypedFields) -> Fields {
    typed.iter().map(|(name, typed)| (name.clone(), value(typed))).collect()
}

/// Where a field is: its name may lead into a map.
fn place<'a, 'b>(fields: &'a mut Fields, name: &'b str) -> (&'a mut Fields, &'b str) {
    match name.split_once('.') {
        None => (fields, name),
        Some((map, entry)) => match fields.get_mut(map) {
            Some(Value::Map(entries)) => (entries, entry),
            _ => panic!("{name}: no such map"),
        },
    }
}

impl File {
    pub(crate) fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name);
        let text = std::fs::read_to_string(path).expect(name);
        serde_json::from_str(&text).expect(name)
    }

    fn document(&self, case: &DocumentCase) -> Fields {
        let mut fields = fields(&self.documents[&case.base]);
        for name in &case.remove {
            let (map, name) = place(&mut fields, name);
            assert!(map.remove(name).is_some(), "{name} is not there");
        }
        for (name, typed) in &case.set {
            let (map, name) = place(&mut fields, name);
            map.insert(name.to_owned(), value(typed));
        }
        fields
    }

    fn lookup(&self, case: Option<&LookupCase>) -> Option<Option<Fields>> {
        match case {
            None => Some(None),
            Some(LookupCase::Unread(Unread::Unread)) => None,
            Some(LookupCase::Found(case)) => Some(Some(self.document(case))),
        }
    }

    pub(crate) fn snapshot(&self, case: &Case) -> Snapshot {
        let snapshot = case.snapshot.as_ref().map(|case| self.document(case));
        let [sync, last_pulse] = [&case.sync, &case.last_pulse].map(|case| self.lookup(case.as_ref()));
        let documents = Documents {
            snapshot: snapshot.as_ref(),
            sync: found(sync.as_ref()),
            last_pulse: found(last_pulse.as_ref()),
        };
        let source = match &case.source {
            SourceCase::User(user) => Source::User(user.clone()),
            SourceCase::Tenant(tenant) => Source::Tenant(tenant.clone()),
            SourceCase::Legacy(by_name) => {
                assert!(by_name, "asked for by name or not at all");
                Source::Legacy
            }
        };
        Snapshot::read(source, documents)
    }

    /// The fields of a signal, and when it was written last.
    pub(crate) fn signal(&self, case: &SignalCase) -> (Fields, Option<Timestamp>) {
        (self.document(&case.document), case.update_time.as_deref().map(time))
    }
}

fn found(read: Option<&Option<Fields>>) -> Lookup<'_> {
    match read {
        None => Lookup::Unread,
        Some(None) => Lookup::Absent,
        Some(Some(fields)) => Lookup::Found(fields),
    }
}

impl Case {
    pub(crate) fn now(&self) -> Timestamp {
        time(&self.now)
    }
}
