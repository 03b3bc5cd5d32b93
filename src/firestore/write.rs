//! Writes of documents: some fields replaced, all others left alone.

use crate::firestore::protobuf::Message;
use crate::firestore::values::Fields;
use gcloud_sdk::google::firestore::v1::Value;
use gcloud_sdk::google::firestore::v1::document_transform::field_transform::ServerValue;
use gcloud_sdk::prost_types;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// Tags of the messages in `google/firestore/v1`: `write.proto`, `document.proto` and `common.proto`.
mod tag {
    pub(super) mod write {
        pub(crate) const UPDATE: u32 = 1;
        pub(crate) const DELETE: u32 = 2;
        pub(crate) const UPDATE_MASK: u32 = 3;
        pub(crate) const CURRENT_DOCUMENT: u32 = 4;
        pub(crate) const UPDATE_TRANSFORMS: u32 = 7;
    }
    pub(super) mod document {
        pub(crate) const NAME: u32 = 1;
        pub(crate) const FIELDS: u32 = 2;
    }
    pub(super) mod value {
        pub(crate) const DOUBLE: u32 = 3;
        pub(crate) const MAP: u32 = 6;
        pub(crate) const STRING: u32 = 17;
    }
    pub(super) mod field_transform {
        pub(crate) const FIELD_PATH: u32 = 1;
        pub(crate) const SET_TO_SERVER_VALUE: u32 = 2;
    }
    pub(super) mod precondition {
        pub(crate) const EXISTS: u32 = 1;
        pub(crate) const UPDATE_TIME: u32 = 2;
    }
    pub(super) const FIELD_PATHS_OF_MASK: u32 = 1;
    pub(super) const FIELDS_OF_MAP: u32 = 1;
    pub(super) const KEY_OF_ENTRY: u32 = 1;
    pub(super) const VALUE_OF_ENTRY: u32 = 2;
}

/// A snapshot has some 1,300 bytes without `--store-raw`.
const USUAL_BYTES: usize = 1536;

/// A field's path and its new value; `None` removes one that an earlier pulse may have left.
///
/// The path `tasks.task_3` is the field `task_3` of the map `tasks`, whose other fields are left alone. A write has
/// one such path for each map.
pub(crate) type FieldChange<'a> = (&'a str, Option<FieldValue<'a>>);

/// A value to write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FieldValue<'a> {
    /// A string.
    Text(Cow<'a, str>),
    /// A double.
    Double(f64),
    /// A map of strings.
    Texts(Vec<(&'a str, &'a str)>),
    /// Any value.
    Any(Value),
}

impl<'a> From<&'a str> for FieldValue<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for FieldValue<'_> {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<f64> for FieldValue<'_> {
    fn from(number: f64) -> Self {
        Self::Double(number)
    }
}

impl From<Value> for FieldValue<'_> {
    fn from(value: Value) -> Self {
        Self::Any(value)
    }
}

/// What a write demands of the document as it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Precondition {
    /// Nothing.
    Nothing,
    /// That it does not exist.
    Absent,
    /// That it is still the version that was read.
    Unchanged(Option<prost_types::Timestamp>),
}

/// One document's write, encoded as Firestore reads it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Write(Vec<u8>);

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Write of {} bytes", self.0.len())
    }
}

/// A write that replaces the given fields and one that gets the server's time of the commit, and leaves all others
/// alone.
#[must_use]
pub(crate) fn merge_at(
    name: &str,
    changes: &[FieldChange<'_>],
    server_time: &str,
    precondition: &Precondition,
) -> Write {
    merge_at_all(name, changes, &[server_time], precondition)
}

/// The same, with several fields for the server's time.
#[must_use]
pub(crate) fn merge_at_all(
    name: &str,
    changes: &[FieldChange<'_>],
    server_times: &[&str],
    precondition: &Precondition,
) -> Write {
    debug_assert!(
        have_own_fields(changes),
        "of two values for one field, Firestore takes the last: {changes:?}"
    );
    let mut write = Message::with_capacity(USUAL_BYTES);
    write.message(tag::write::UPDATE, |document| {
        document.bytes(tag::document::NAME, name.as_bytes());
        for (path, value) in changes {
            if let Some(value) = value {
                add_field(document, tag::document::FIELDS, path, value);
            }
        }
    });
    write.message(tag::write::UPDATE_MASK, |mask| {
        for (path, _) in changes {
            mask.bytes(tag::FIELD_PATHS_OF_MASK, path.as_bytes());
        }
    });
    for server_time in server_times {
        write.message(tag::write::UPDATE_TRANSFORMS, |transform| {
            transform.bytes(tag::field_transform::FIELD_PATH, server_time.as_bytes());
            transform.number(tag::field_transform::SET_TO_SERVER_VALUE, ServerValue::RequestTime as u64);
        });
    }
    require(&mut write, precondition);
    Write(write.into_bytes())
}

/// A write that gives a document these fields, and removes all others.
#[must_use]
pub(crate) fn put(name: &str, fields: &Fields, precondition: &Precondition) -> Write {
    let mut write = Message::with_capacity(USUAL_BYTES);
    write.message(tag::write::UPDATE, |document| {
        document.bytes(tag::document::NAME, name.as_bytes());
        for (name, value) in fields {
            document.message(tag::document::FIELDS, |entry| {
                entry.bytes(tag::KEY_OF_ENTRY, name.as_bytes());
                entry.embed(tag::VALUE_OF_ENTRY, value);
            });
        }
    });
    require(&mut write, precondition);
    Write(write.into_bytes())
}

/// The deletion of a document, as long as it is still that version.
#[must_use]
pub(crate) fn delete(name: &str, version: prost_types::Timestamp) -> Write {
    let mut write = Message::with_capacity(USUAL_BYTES);
    write.bytes(tag::write::DELETE, name.as_bytes());
    write.message(tag::write::CURRENT_DOCUMENT, |condition| {
        condition.embed(tag::precondition::UPDATE_TIME, &version);
    });
    Write(write.into_bytes())
}

/// Whether no two of the changes are about the same field of the document.
/// The deletion of a document, whatever it says by then, and whether it is there or not.
#[must_use]
pub(crate) fn delete_any(name: &str) -> Write {
    let mut write = Message::with_capacity(USUAL_BYTES);
    write.bytes(tag::write::DELETE, name.as_bytes());
    Write(write.into_bytes())
}

fn have_own_fields(changes: &[FieldChange<'_>]) -> bool {
    let mut seen = HashSet::new();
    changes.iter().all(|(path, _)| seen.insert(path.split('.').next()))
}

fn require(write: &mut Message, precondition: &Precondition) {
    match precondition {
        Precondition::Nothing => {}
        Precondition::Absent => require_existence(write, false),
        Precondition::Unchanged(None) => require_existence(write, true),
        Precondition::Unchanged(Some(version)) => write.message(tag::write::CURRENT_DOCUMENT, |condition| {
            condition.embed(tag::precondition::UPDATE_TIME, version);
        }),
    }
}

fn require_existence(write: &mut Message, exists: bool) {
    write.message(tag::write::CURRENT_DOCUMENT, |condition| {
        condition.number(tag::precondition::EXISTS, u64::from(exists));
    });
}

/// Adds an entry to a map of fields.
fn add_field(message: &mut Message, map: u32, path: &str, value: &FieldValue<'_>) {
    message.message(map, |entry| match path.split_once('.') {
        Some((outer, inner)) => {
            entry.bytes(tag::KEY_OF_ENTRY, outer.as_bytes());
            entry.message(tag::VALUE_OF_ENTRY, |in_outer| {
                in_outer.message(tag::value::MAP, |fields| {
                    add_field(fields, tag::FIELDS_OF_MAP, inner, value);
                });
            });
        }
        None => {
            entry.bytes(tag::KEY_OF_ENTRY, path.as_bytes());
            add_value(entry, value);
        }
    });
}

fn add_value(entry: &mut Message, value: &FieldValue<'_>) {
    match value {
        FieldValue::Any(value) => entry.embed(tag::VALUE_OF_ENTRY, value),
        FieldValue::Text(text) => add_text(entry, text),
        FieldValue::Double(number) => entry.message(tag::VALUE_OF_ENTRY, |value| {
            value.double(tag::value::DOUBLE, *number);
        }),
        FieldValue::Texts(texts) => entry.message(tag::VALUE_OF_ENTRY, |value| {
            value.message(tag::value::MAP, |map| {
                for (name, text) in texts {
                    map.message(tag::FIELDS_OF_MAP, |entry| {
                        entry.bytes(tag::KEY_OF_ENTRY, name.as_bytes());
                        add_text(entry, text);
                    });
                }
            });
        }),
    }
}

fn add_text(entry: &mut Message, text: &str) {
    entry.message(tag::VALUE_OF_ENTRY, |value| value.bytes(tag::value::STRING, text.as_bytes()));
}

impl Write {
    /// The encoded message `google.firestore.v1.Write`.
    #[must_use]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::arbitrary::any_value;
    use crate::firestore::values::{double, map, text};
    use gcloud_sdk::google::firestore::v1;
    use gcloud_sdk::google::firestore::v1::document_transform::FieldTransform;
    use gcloud_sdk::google::firestore::v1::document_transform::field_transform::TransformType;
    use gcloud_sdk::google::firestore::v1::precondition::ConditionType;
    use gcloud_sdk::google::firestore::v1::write::Operation;
    use gcloud_sdk::google::firestore::v1::{Document, DocumentMask};
    use gcloud_sdk::prost::Message as _;
    use proptest::prelude::*;

    fn decoded(write: &Write) -> v1::Write {
        v1::Write::decode(write.as_bytes()).expect("a message of Firestore's")
    }

    /// The same write, by way of the generated types.
    fn generated(
        name: &str,
        fields: Fields,
        paths: &[&str],
        server_time: &str,
        precondition: &Precondition,
    ) -> v1::Write {
        let condition = match precondition {
            Precondition::Nothing => None,
            Precondition::Absent => Some(ConditionType::Exists(false)),
            Precondition::Unchanged(None) => Some(ConditionType::Exists(true)),
            Precondition::Unchanged(Some(version)) => Some(ConditionType::UpdateTime(*version)),
        };
        v1::Write {
            operation: Some(Operation::Update(Document { name: name.into(), fields, ..Document::default() })),
            update_mask: Some(DocumentMask { field_paths: paths.iter().map(|&path| path.into()).collect() }),
            update_transforms: vec![FieldTransform {
                field_path: server_time.into(),
                transform_type: Some(TransformType::SetToServerValue(ServerValue::RequestTime.into())),
            }],
            current_document: condition.map(|condition| v1::Precondition { condition_type: Some(condition) }),
        }
    }

    fn to_value(value: &FieldValue<'_>) -> Value {
        match value {
            FieldValue::Text(content) => text(content.as_ref()),
            FieldValue::Double(number) => double(*number),
            FieldValue::Texts(texts) => {
                map(texts.iter().map(|(name, content)| ((*name).into(), text(*content))).collect())
            }
            FieldValue::Any(value) => value.clone(),
        }
    }

    #[test]
    fn a_merge_masks_what_it_sets_and_what_it_removes() {
        let write = merge_at("n", &[("a", Some("1".into())), ("b", None)], "t", &Precondition::Nothing);
        let fields = Fields::from([("a".into(), text("1"))]);
        let expected = generated("n", fields, &["a", "b"], "t", &Precondition::Nothing);
        assert_eq!(decoded(&write), expected);
    }

    #[test]
    fn a_field_of_a_map_is_replaced_alone() {
        let write = merge_at("n", &[("tasks.task_3", Some(7.0.into()))], "t", &Precondition::Unchanged(None));
        let tasks = map([("task_3".into(), double(7.0))].into());
        let fields = Fields::from([("tasks".into(), tasks)]);
        let expected = generated("n", fields, &["tasks.task_3"], "t", &Precondition::Unchanged(None));
        assert_eq!(decoded(&write), expected);
    }

    fn any_field() -> impl Strategy<Value = FieldValue<'static>> {
        prop_oneof![
            "\\PC{0,300}".prop_map(FieldValue::from),
            // Lengths of three bytes.
            (16_000..70_000_usize).prop_map(|length| FieldValue::from("x".repeat(length))),
            any::<f64>().prop_map(FieldValue::from),
            Just(FieldValue::Texts(vec![("equity", "0.10"), ("cash", "-3"), ("", "")])),
            any_value().prop_map(FieldValue::from),
        ]
    }

    fn any_precondition() -> impl Strategy<Value = Precondition> {
        let version = (any::<i64>(), any::<i32>());
        prop_oneof![
            Just(Precondition::Nothing),
            Just(Precondition::Absent),
            Just(Precondition::Unchanged(None)),
            version.prop_map(|(seconds, nanos)| {
                Precondition::Unchanged(Some(prost_types::Timestamp { seconds, nanos }))
            }),
        ]
    }

    proptest! {
        #[test]
        fn firestore_reads_the_write_that_was_meant(
            name in "\\PC{0,200}", server_time in "[a-z_]{1,12}", precondition in any_precondition(),
            changes in prop::collection::btree_map(
                "[a-zé_]{0,12}", (prop::option::of("[a-z_]{1,12}"), prop::option::of(any_field())), 0..20,
            ),
        ) {
            let path = |outer: &String, inner: &Option<String>| match inner {
                Some(inner) => format!("{outer}.{inner}"),
                None => outer.clone(),
            };
            let paths: Vec<_> = changes.iter().map(|(outer, (inner, _))| path(outer, inner)).collect();
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            let list: Vec<_> = paths.iter().copied().zip(changes.values().map(|(_, value)| value.clone())).collect();
            let field = |(outer, (inner, value)): (&String, &(Option<String>, Option<FieldValue<'_>>))| {
                let value = to_value(value.as_ref()?);
                let value = match inner {
                    Some(inner) => map([(inner.clone(), value)].into()),
                    None => value,
                };
                Some((outer.clone(), value))
            };
            let fields = changes.iter().filter_map(field).collect();
            let expected = generated(&name, fields, &paths, &server_time, &precondition);
            let write = decoded(&merge_at(&name, &list, &server_time, &precondition));
            prop_assert_eq!(write, expected);
        }
    }
}
