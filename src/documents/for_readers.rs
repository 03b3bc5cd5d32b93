//! Documents in the form in which the readers' rules take them.

use crate::firestore::values::{self, Fields};
use account_reader::Value as ForReaders;
use gcloud_sdk::google::firestore::v1::Value;
use gcloud_sdk::google::firestore::v1::value::ValueType;

/// All fields of a document.
#[must_use]
pub(crate) fn for_readers(fields: &Fields) -> account_reader::Fields {
    fields.iter().map(|(name, value)| (name.clone(), value_for_readers(value))).collect()
}

fn value_for_readers(value: &Value) -> ForReaders {
    match &value.value_type {
        Some(ValueType::NullValue(_)) => ForReaders::Null,
        Some(ValueType::BooleanValue(switch)) => ForReaders::Bool(*switch),
        Some(ValueType::IntegerValue(number)) => ForReaders::Integer(*number),
        Some(ValueType::DoubleValue(number)) => ForReaders::Double(*number),
        Some(ValueType::StringValue(text)) => ForReaders::String(text.clone()),
        Some(ValueType::ArrayValue(array)) => {
            ForReaders::Array(array.values.iter().map(value_for_readers).collect())
        }
        Some(ValueType::MapValue(map)) => ForReaders::Map(for_readers(&map.fields)),
        // One that no year of ours has is no time.
        Some(ValueType::TimestampValue(_)) => {
            values::time(value).map_or(ForReaders::Other, ForReaders::Timestamp)
        }
        _ => ForReaders::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::{array, boolean, double, integer, map, null, text, timestamp};
    use gcloud_sdk::prost_types;
    use jiff::Timestamp;

    #[test]
    fn each_value_keeps_its_type() {
        let now = Timestamp::from_second(1_767_623_400).expect("in range");
        let beyond = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
        for (value, expected) in [
            (null(), ForReaders::Null),
            (boolean(true), ForReaders::Bool(true)),
            (integer(1), ForReaders::Integer(1)),
            (double(1.0), ForReaders::Double(1.0)),
            (text("1"), ForReaders::String("1".into())),
            (timestamp(now), ForReaders::Timestamp(now)),
            (Value { value_type: Some(ValueType::TimestampValue(beyond)) }, ForReaders::Other),
            (array(vec![integer(1)]), ForReaders::Array(vec![ForReaders::Integer(1)])),
            (
                map([("a".into(), text("b"))].into()),
                ForReaders::Map([("a".into(), ForReaders::String("b".into()))].into()),
            ),
            (Value { value_type: Some(ValueType::BytesValue(vec![1])) }, ForReaders::Other),
            (Value { value_type: None }, ForReaders::Other),
        ] {
            assert_eq!(for_readers(&[("x".to_owned(), value)].into())["x"], expected);
        }
    }
}
