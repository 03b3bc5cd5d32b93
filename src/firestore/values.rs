//! Firestore's values, in the few forms that are used: made, read, and made of JSON.

use gcloud_sdk::google::firestore::v1::{ArrayValue, MapValue, Value, value::ValueType};
use gcloud_sdk::prost_types;
use jiff::Timestamp;
use std::collections::HashMap;

/// The fields of a document.
pub type Fields = HashMap<String, Value>;

/// Deepest nesting of maps that Firestore stores.
const MAX_DEPTH: usize = 19;

fn value(value_type: ValueType) -> Value {
    Value { value_type: Some(value_type) }
}

/// A string.
pub fn text(text: impl Into<String>) -> Value {
    value(ValueType::StringValue(text.into()))
}

/// A 64-bit integer.
#[must_use]
pub fn integer(number: i64) -> Value {
    value(ValueType::IntegerValue(number))
}

/// A double.
#[must_use]
pub fn double(number: f64) -> Value {
    value(ValueType::DoubleValue(number))
}

/// A boolean.
#[must_use]
pub fn boolean(switch: bool) -> Value {
    value(ValueType::BooleanValue(switch))
}

/// A null.
#[must_use]
pub fn null() -> Value {
    value(ValueType::NullValue(0))
}

/// A map.
#[must_use]
pub fn map(fields: Fields) -> Value {
    value(ValueType::MapValue(MapValue { fields }))
}

/// An array.
#[must_use]
pub fn array(values: Vec<Value>) -> Value {
    value(ValueType::ArrayValue(ArrayValue { values }))
}

/// A document, by its full name.
#[must_use]
pub fn reference(name: String) -> Value {
    value(ValueType::ReferenceValue(name))
}

/// A point in time.
#[must_use]
pub fn timestamp(time: Timestamp) -> Value {
    value(ValueType::TimestampValue(wire_time(time)))
}

/// A point in time as messages have it.
#[must_use]
pub(crate) fn wire_time(time: Timestamp) -> prost_types::Timestamp {
    // Both parts of jiff's pair are negative before 1970; Firestore wants the nanoseconds positive.
    let nanos = time.as_nanosecond().rem_euclid(1_000_000_000);
    let seconds = time.as_nanosecond().div_euclid(1_000_000_000);
    prost_types::Timestamp {
        seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
        nanos: i32::try_from(nanos).unwrap_or(0),
    }
}

/// Bytes.
#[must_use]
pub fn bytes(bytes: Vec<u8>) -> Value {
    value(ValueType::BytesValue(bytes))
}

/// Whether both are the same to the last bit. A NaN is, although it equals nothing, and a zero with another sign is not.
#[must_use]
pub fn is_same(one: &Value, other: &Value) -> bool {
    use ValueType::{ArrayValue, DoubleValue, MapValue};
    match (&one.value_type, &other.value_type) {
        (Some(DoubleValue(one)), Some(DoubleValue(other))) => {
            one.to_bits() == other.to_bits() || (one.is_nan() && other.is_nan())
        }
        (Some(ArrayValue(one)), Some(ArrayValue(other))) => {
            one.values.len() == other.values.len()
                && one.values.iter().zip(&other.values).all(|(one, other)| is_same(one, other))
        }
        (Some(MapValue(one)), Some(MapValue(other))) => are_same(&one.fields, &other.fields),
        (one, other) => one == other,
    }
}

/// The same for all fields of two documents.
#[must_use]
pub fn are_same(one: &Fields, other: &Fields) -> bool {
    one.len() == other.len()
        && one.iter().all(|(name, value)| other.get(name).is_some_and(|there| is_same(value, there)))
}

/// The string in a value, if it is one.
#[must_use]
pub fn string(value: &Value) -> Option<&str> {
    match &value.value_type {
        Some(ValueType::StringValue(text)) => Some(text),
        _ => None,
    }
}

/// The integer in a value, if it is one.
#[must_use]
pub fn whole_number(value: &Value) -> Option<i64> {
    match &value.value_type {
        Some(ValueType::IntegerValue(number)) => Some(*number),
        _ => None,
    }
}

/// The number in a value, whole or not, if it is one.
#[must_use]
pub fn number(value: &Value) -> Option<f64> {
    match &value.value_type {
        Some(ValueType::DoubleValue(number)) => Some(*number),
        Some(ValueType::IntegerValue(number)) => Some(*number as f64),
        _ => None,
    }
}

/// The point in time in a value, if it is one.
#[must_use]
pub fn time(value: &Value) -> Option<Timestamp> {
    match &value.value_type {
        Some(ValueType::TimestampValue(time)) => Timestamp::new(time.seconds, time.nanos).ok(),
        _ => None,
    }
}

/// The bytes in a value, if it has some.
#[must_use]
pub fn octets(value: &Value) -> Option<&[u8]> {
    match &value.value_type {
        Some(ValueType::BytesValue(bytes)) => Some(bytes),
        _ => None,
    }
}

/// Whether it is null.
#[must_use]
pub fn is_null(value: &Value) -> bool {
    matches!(value.value_type, None | Some(ValueType::NullValue(_)))
}

/// The fields of a value, if it is a map.
#[must_use]
pub fn entries(value: &Value) -> Option<&Fields> {
    match &value.value_type {
        Some(ValueType::MapValue(map)) => Some(&map.fields),
        _ => None,
    }
}

/// The items of the array in a value, if it is one.
#[must_use]
pub fn items(value: &Value) -> Option<&[Value]> {
    match &value.value_type {
        Some(ValueType::ArrayValue(array)) => Some(&array.values),
        _ => None,
    }
}

/// A whole JSON object as a map.
///
/// What Firestore cannot hold (an array directly in an array, an empty or reserved field name,
/// nesting past its limit) is kept as the JSON text of the field it is in, instead of failing the
/// document around it; a field of the object itself whose name is refused is left out.
#[must_use]
pub fn json_object(json: &serde_json::Map<String, serde_json::Value>) -> Value {
    map(json
        .iter()
        .filter(|(name, _)| is_field_name(name))
        .map(|(name, json)| (name.clone(), from_json(json, 1)))
        .collect())
}

/// Whether Firestore takes it as the name of a field.
#[must_use]
pub fn is_field_name(name: &str) -> bool {
    let reserved = name.starts_with("__") && name.ends_with("__");
    !name.is_empty() && !reserved && name.len() <= 1500
}

fn from_json(json: &serde_json::Value, depth: usize) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => null(),
        Json::Bool(switch) => boolean(*switch),
        Json::Number(number) => number.as_i64().map_or_else(|| text_or_double(number), integer),
        Json::String(string) => text(string),
        Json::Array(items) if depth < MAX_DEPTH && !items.iter().any(Json::is_array) => {
            array(items.iter().map(|item| from_json(item, depth + 1)).collect())
        }
        Json::Object(fields) if depth < MAX_DEPTH && fields.keys().all(|name| is_field_name(name)) => {
            map(fields.iter().map(|(name, json)| (name.clone(), from_json(json, depth + 1))).collect())
        }
        Json::Array(_) | Json::Object(_) => text(json.to_string()),
    }
}

fn text_or_double(number: &serde_json::Number) -> Value {
    number.as_f64().map_or_else(|| text(number.to_string()), double)
}

/// What a document may hold, whoever wrote it.
#[cfg(test)]
pub(crate) mod arbitrary {
    use super::*;
    use proptest::prelude::*;

    fn scalar() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value { value_type: None }),
            Just(null()),
            any::<bool>().prop_map(boolean),
            any::<i64>().prop_map(integer),
            any::<f64>().prop_map(double),
            "\\PC{0,20}".prop_map(text),
            "[0-9]{1,5}|ok|retrying|needs_reauth|incomplete|broker_rejected|keys_missing".prop_map(text),
            (any::<i64>(), any::<i32>()).prop_map(|(seconds, nanos)| {
                value(ValueType::TimestampValue(prost_types::Timestamp { seconds, nanos }))
            }),
            (-100_000_i64..100_000).prop_map(|seconds| {
                timestamp(Timestamp::from_second(1_700_000_000 + seconds).expect("in range"))
            }),
            "\\PC{0,20}".prop_map(reference),
            prop::collection::vec(any::<u8>(), 0..8).prop_map(|bytes| value(ValueType::BytesValue(bytes))),
        ]
    }

    /// Any value, as deep as it matters.
    pub(crate) fn any_value() -> impl Strategy<Value = Value> {
        scalar().prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(array),
                prop::collection::hash_map("[a-z_]{0,8}", inner, 0..3).prop_map(map),
            ]
        })
    }

    /// Fields of these names, each there or not, with any value.
    pub(crate) fn any_fields(names: &'static [&'static str]) -> impl Strategy<Value = Fields> {
        prop::collection::vec(prop::option::of(any_value()), names.len()).prop_map(|values| {
            let fields = names.iter().zip(values);
            fields.filter_map(|(name, value)| Some(((*name).to_owned(), value?))).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::arbitrary::any_value;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn stored(json: serde_json::Value) -> Value {
        json_object(json.as_object().expect("an object"))
    }

    fn fields<const N: usize>(fields: [(&str, Value); N]) -> Value {
        map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    #[test]
    fn json_becomes_the_like_value() {
        assert_eq!(
            stored(json!({"a": null, "b": true, "c": 3, "d": 1.5, "e": "x", "f": [1, {"g": 2}], "h": {}})),
            fields([
                ("a", null()),
                ("b", boolean(true)),
                ("c", integer(3)),
                ("d", double(1.5)),
                ("e", text("x")),
                ("f", array(vec![integer(1), fields([("g", integer(2))])])),
                ("h", fields([])),
            ])
        );
    }

    #[test]
    fn what_firestore_cannot_hold_is_kept_as_text() {
        assert_eq!(stored(json!({"a": [[1]]})), fields([("a", text("[[1]]"))]));
        assert_eq!(stored(json!({"a": {"": 1}})), fields([("a", text("{\"\":1}"))]));
        assert_eq!(stored(json!({"a": {"__b__": 1}})), fields([("a", text("{\"__b__\":1}"))]));
        let mut deep = json!(1);
        for _ in 0..40 {
            deep = json!({"a": deep});
        }
        let mut depth = 0;
        let mut level = stored(deep);
        while let Some(ValueType::MapValue(map)) = level.value_type.take() {
            (depth, level) = (depth + 1, map.fields.into_values().next().expect("one field"));
        }
        assert_eq!(depth, MAX_DEPTH);
    }

    #[test]
    fn a_time_survives_the_round_trip_on_both_sides_of_1970() {
        for nanos in [0, 1_700_000_000_123_456_789, -1, -1_500_000_000] {
            let moment = Timestamp::from_nanosecond(nanos).expect("in range");
            assert_eq!(time(&timestamp(moment)), Some(moment));
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(|switch| json!(switch)),
            any::<i64>().prop_map(|number| json!(number)),
            any::<u64>().prop_map(|number| json!(number)),
            any::<f64>().prop_map(|number| json!(number)),
            "\\PC{0,12}".prop_map(|text| json!(text)),
        ];
        leaf.prop_recursive(25, 40, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(|items| json!(items)),
                prop::collection::hash_map("[a-z_]{0,6}|__[a-z]{0,3}__", inner, 0..3)
                    .prop_map(|fields| json!(fields)),
            ]
        })
    }

    /// Whether Firestore takes it, `depth` maps and arrays deep.
    fn is_storable(value: &Value, depth: usize, in_array: bool) -> bool {
        match &value.value_type {
            Some(ValueType::ArrayValue(array)) => {
                let mut items = array.values.iter();
                !in_array && depth <= MAX_DEPTH && items.all(|item| is_storable(item, depth + 1, true))
            }
            Some(ValueType::MapValue(map)) => {
                let mut fields = map.fields.iter();
                let is_right = |(name, value): (&String, &Value)| {
                    is_field_name(name) && is_storable(value, depth + 1, false)
                };
                depth <= MAX_DEPTH && fields.all(is_right)
            }
            Some(_) => true,
            None => false,
        }
    }

    proptest! {
        #[test]
        fn any_json_object_becomes_what_firestore_takes(
            fields in prop::collection::hash_map("[a-z_]{0,6}|__[a-z]{0,3}__", any_json(), 0..4),
        ) {
            prop_assert!(is_storable(&stored(json!(fields)), 0, false));
        }

        #[test]
        fn any_value_is_read_as_what_it_is_or_not_at_all(value in any_value()) {
            let read = [string(&value).is_some(), whole_number(&value).is_some(), time(&value).is_some()];
            prop_assert!(read.iter().filter(|read| **read).count() <= 1);
        }
    }
}
