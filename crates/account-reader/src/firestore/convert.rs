//! Values as the client has them, and as this crate has them.

use crate::value::{Fields, Value};
use ::firestore::FirestoreDocument;
use ::firestore::gcloud_sdk::google::firestore::v1::value::ValueType;
use ::firestore::gcloud_sdk::google::firestore::v1::{ArrayValue, MapValue, Value as Typed};
use ::firestore::gcloud_sdk::prost_types;
use jiff::Timestamp;
use std::collections::HashMap;

/// A document's fields.
pub(super) fn fields(document: FirestoreDocument) -> Fields {
    of_map(document.fields)
}

fn of_map(fields: HashMap<String, Typed>) -> Fields {
    fields.into_iter().map(|(name, typed)| (name, value(typed))).collect()
}

fn value(typed: Typed) -> Value {
    match typed.value_type {
        Some(ValueType::NullValue(_)) => Value::Null,
        Some(ValueType::BooleanValue(flag)) => Value::Bool(flag),
        Some(ValueType::IntegerValue(number)) => Value::Integer(number),
        Some(ValueType::DoubleValue(number)) => Value::Double(number),
        // Firestore has times that are two days too late for this one's range.
        Some(ValueType::TimestampValue(at)) => time(at).map_or(Value::Other, Value::Timestamp),
        Some(ValueType::StringValue(text)) => Value::String(text),
        Some(ValueType::ArrayValue(list)) => Value::Array(list.values.into_iter().map(value).collect()),
        Some(ValueType::MapValue(map)) => Value::Map(of_map(map.fields)),
        _ => Value::Other,
    }
}

pub(super) fn time(at: prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(at.seconds, at.nanos).ok()
}

/// The fields of a document to write.
pub(super) fn to_fields(fields: Fields) -> HashMap<String, Typed> {
    fields.into_iter().map(|(name, value)| (name, to_value(value))).collect()
}

/// [`Value::Other`] stands for types that nothing here writes; it becomes a null.
fn to_value(value: Value) -> Typed {
    let typed = match value {
        Value::Null | Value::Other => ValueType::NullValue(0),
        Value::Bool(flag) => ValueType::BooleanValue(flag),
        Value::Integer(number) => ValueType::IntegerValue(number),
        Value::Double(number) => ValueType::DoubleValue(number),
        Value::Timestamp(at) => ValueType::TimestampValue(prost_types::Timestamp {
            seconds: at.as_second(),
            nanos: at.subsec_nanosecond(),
        }),
        Value::String(text) => ValueType::StringValue(text),
        Value::Array(list) => {
            ValueType::ArrayValue(ArrayValue { values: list.into_iter().map(to_value).collect() })
        }
        Value::Map(fields) => ValueType::MapValue(MapValue { fields: to_fields(fields) }),
    };
    Typed { value_type: Some(typed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_as_it_went() {
        let values = [
            Value::Null,
            Value::Bool(true),
            Value::Integer(500),
            Value::Double(500.0),
            Value::Timestamp("2026-01-05T14:30:00.123456Z".parse().expect("a time")),
            Value::Timestamp("1969-12-31T23:59:59.5Z".parse().expect("a time")),
            Value::String("500".to_owned()),
            Value::Array(vec![Value::Null, Value::Integer(1)]),
            Value::Map([("cash".to_owned(), Value::String("1.10".to_owned()))].into()),
        ];
        for sent in values {
            assert_eq!(value(to_value(sent.clone())), sent);
        }
    }

    #[test]
    fn what_no_rule_reads_is_never_mistaken_for_something_else() {
        let bytes = Typed { value_type: Some(ValueType::BytesValue(b"500".to_vec())) };
        let late = prost_types::Timestamp { seconds: 253_402_300_799, nanos: 0 };
        let late = Typed { value_type: Some(ValueType::TimestampValue(late)) };
        for typed in [bytes, late, Typed { value_type: None }] {
            assert_eq!(value(typed), Value::Other);
        }
    }
}
