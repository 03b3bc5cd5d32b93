//! A change as a person reads it: only what differs, each value in a few characters.

use crate::firestore::values::{Fields, is_same, time};
use crate::migration::diff::{Action, Change};
use gcloud_sdk::google::firestore::v1::Value;
use gcloud_sdk::google::firestore::v1::value::ValueType;

/// Of a longer text only the beginning is shown.
const SHOWN_CHARS: usize = 40;

/// The lines of the difference that a change makes to the legacy document's fields.
#[must_use]
pub(crate) fn lines(source: &Fields, change: &Change) -> Vec<String> {
    match &change.action {
        Action::Create(fields) => differences(source, fields),
        Action::Set(field, value) => vec![format!("+ {field}: {value:?}")],
        Action::Remove => sorted(source).map(|(name, value)| format!("- {name}: {}", short(value))).collect(),
    }
}

fn differences(before: &Fields, after: &Fields) -> Vec<String> {
    let is_in = |others: &Fields, (name, value): &(&String, &Value)| {
        others.get(*name).is_some_and(|other| is_same(value, other))
    };
    let removed = sorted(before).filter(|field| !is_in(after, field));
    let added = sorted(after).filter(|field| !is_in(before, field));
    let line =
        |sign: char| move |(name, value): (&String, &Value)| format!("{sign} {name}: {}", short(value));
    removed.map(line('-')).chain(added.map(line('+'))).collect()
}

fn sorted(fields: &Fields) -> impl Iterator<Item = (&String, &Value)> {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    sorted.into_iter()
}

fn short(value: &Value) -> String {
    match &value.value_type {
        None | Some(ValueType::NullValue(_)) => "null".to_owned(),
        Some(ValueType::BooleanValue(switch)) => switch.to_string(),
        Some(ValueType::IntegerValue(number)) => number.to_string(),
        Some(ValueType::DoubleValue(number)) => format!("{number:?}"),
        Some(ValueType::StringValue(text)) => quoted(text),
        Some(ValueType::TimestampValue(_)) => {
            time(value).map_or("a time".to_owned(), |time| time.to_string())
        }
        Some(ValueType::ReferenceValue(name)) => {
            quoted(name.rsplit("/documents/").next().unwrap_or_default())
        }
        Some(ValueType::GeoPointValue(point)) => format!("({}, {})", point.latitude, point.longitude),
        Some(ValueType::BytesValue(bytes)) => format!("{} bytes", bytes.len()),
        Some(ValueType::ArrayValue(array)) => format!("[{} items]", array.values.len()),
        Some(ValueType::MapValue(map)) => format!("{{{} fields}}", map.fields.len()),
        Some(_) => "another value".to_owned(),
    }
}

fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(SHOWN_CHARS).collect();
    let rest = if shown.len() < text.len() { " …" } else { "" };
    format!("{shown:?}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::{array, bytes, double, integer, map, null, text};

    fn fields(fields: &[(&str, Value)]) -> Fields {
        fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn only_what_differs_is_shown() {
        let before = fields(&[("ticker", text("SPY")), ("score", double(f64::NAN)), ("action", text("BUY"))]);
        let after = fields(&[("symbol", text("SPY")), ("score", double(f64::NAN)), ("action", text("buy"))]);
        let change = |action| Change { target: "t".into(), action };
        let expected = ["- action: \"BUY\"", "- ticker: \"SPY\"", "+ action: \"buy\"", "+ symbol: \"SPY\""];
        assert_eq!(lines(&before, &change(Action::Create(after))), expected);
        assert_eq!(lines(&before, &change(Action::Set("user_id", "ana".into()))), ["+ user_id: \"ana\""]);
        assert_eq!(lines(&fields(&[("equity", text("0"))]), &change(Action::Remove)), ["- equity: \"0\""]);
    }

    #[test]
    fn a_value_takes_a_few_characters_whatever_it_is() {
        for (value, expected) in [
            (null(), "null".to_owned()),
            (integer(7), "7".into()),
            (double(7.0), "7.0".into()),
            (text("a\nb"), r#""a\nb""#.into()),
            (text("é".repeat(41)), format!("{:?} …", "é".repeat(40))),
            (bytes(vec![0; 9]), "9 bytes".into()),
            (array(vec![null()]), "[1 items]".into()),
            (map(Fields::new()), "{0 fields}".into()),
        ] {
            assert_eq!(short(&value), expected);
        }
    }
}
