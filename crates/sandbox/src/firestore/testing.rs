//! What the unit tests of this module share: values, names and queries in few words.

use super::names::{Path, full_name, parse_document_in};
use super::values::{Fields, null, value};
use gcloud_sdk::google::firestore::v1::structured_query::field_filter::Operator as FieldOp;
use gcloud_sdk::google::firestore::v1::structured_query::filter::FilterType;
use gcloud_sdk::google::firestore::v1::structured_query::{
    FieldFilter, FieldReference, Filter as WireFilter,
};
use gcloud_sdk::google::firestore::v1::value::ValueType;
use gcloud_sdk::google::firestore::v1::{ArrayValue, MapValue, Value};
use gcloud_sdk::google::r#type::LatLng;
use proptest::prelude::*;

pub(super) const DATABASE: &str = "projects/p/databases/d";

pub(super) fn int(number: i64) -> Value {
    value(ValueType::IntegerValue(number))
}

pub(super) fn double(number: f64) -> Value {
    value(ValueType::DoubleValue(number))
}

pub(super) fn text(text: &str) -> Value {
    value(ValueType::StringValue(text.to_owned()))
}

pub(super) fn boolean(truth: bool) -> Value {
    value(ValueType::BooleanValue(truth))
}

pub(super) fn array(values: &[Value]) -> Value {
    value(ValueType::ArrayValue(ArrayValue { values: values.to_vec() }))
}

pub(super) fn map(fields: &[(&str, Value)]) -> Value {
    value(ValueType::MapValue(MapValue { fields: to_fields(fields) }))
}

pub(super) fn vector(elements: &[Value]) -> Value {
    map(&[("__type__", text("__vector__")), ("value", array(elements))])
}

pub(super) fn reference(path: &str) -> Value {
    value(ValueType::ReferenceValue(full_name(DATABASE, &document(path))))
}

pub(super) fn to_fields(fields: &[(&str, Value)]) -> Fields {
    fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

pub(super) fn document(path: &str) -> Path {
    parse_document_in(DATABASE, &format!("{DATABASE}/documents/{path}")).expect("a document's path")
}

pub(super) fn field_reference(path: &str) -> FieldReference {
    FieldReference { field_path: path.to_owned() }
}

pub(super) fn field_filter(path: &str, op: FieldOp, operand: Value) -> WireFilter {
    let filter = FieldFilter { field: Some(field_reference(path)), op: op.into(), value: Some(operand) };
    WireFilter { filter_type: Some(FilterType::FieldFilter(filter)) }
}

/// Paths of documents in which equal segments, prefixes of segments and numeric ids are common.
pub(super) fn any_document() -> impl Strategy<Value = String> {
    let id = prop::sample::select(vec!["a", "a!", "ab", "b", "é", "__id7__", "__id10__", "__id-7__"]);
    let collection = prop::sample::select(vec!["u", "u!", "v"]);
    prop::collection::vec((collection, id), 1..4).prop_map(|pairs| {
        let segments: Vec<_> = pairs.into_iter().flat_map(|(collection, id)| [collection, id]).collect();
        segments.join("/")
    })
}

/// Values of every type, among which equal and nearly equal ones are common.
pub(super) fn any_value() -> impl Strategy<Value = Value> {
    let doubles = [f64::NAN, f64::NEG_INFINITY, -0.0, 0.0, 0.5, 1.0, 9_007_199_254_740_992.0, f64::INFINITY];
    let scalar = prop_oneof![
        Just(null()),
        any::<bool>().prop_map(boolean),
        (-1_i64..2).prop_map(int),
        any::<i64>().prop_map(int),
        Just(int(9_007_199_254_740_993)),
        prop::sample::select(doubles.to_vec()).prop_map(double),
        (0_i64..2, 0..2).prop_map(|(seconds, nanos)| {
            value(ValueType::TimestampValue(prost_types::Timestamp { seconds, nanos }))
        }),
        "[aé]{0,2}".prop_map(|characters| text(&characters)),
        prop::collection::vec(0_u8..2, 0..2).prop_map(|bytes| value(ValueType::BytesValue(bytes))),
        any_document().prop_map(|path| reference(&path)),
        (-1_i8..1, -1_i8..1).prop_map(|(latitude, longitude)| {
            value(ValueType::GeoPointValue(LatLng { latitude: latitude.into(), longitude: longitude.into() }))
        }),
    ];
    scalar.prop_recursive(2, 8, 3, |inner| {
        let key = prop::sample::select(vec!["a", "aa", "b"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|values| array(&values)),
            prop::collection::vec(0_u8..2, 1..3).prop_map(|elements| {
                let elements: Vec<_> = elements.into_iter().map(|element| double(element.into())).collect();
                vector(&elements)
            }),
            prop::collection::vec((key, inner), 0..3).prop_map(|fields| map(&fields)),
        ]
    })
}
