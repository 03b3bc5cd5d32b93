//! Answers as text that two Firestores can be compared in.

use gcloud_sdk::google::firestore::v1::value::ValueType;
use gcloud_sdk::google::firestore::v1::*;
use gcloud_sdk::prost_types::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Replaces server times by their rank among all server times: which of them are equal, and which is earlier, is
/// compared; when the scenario ran is not.
pub(crate) fn rank_times(text: &str) -> String {
    let times: BTreeSet<&str> = text.split('@').skip(1).step_by(2).collect();
    let ranks: BTreeMap<_, _> = times.into_iter().enumerate().map(|(rank, time)| (time, rank)).collect();
    let ranked = text.split('@').enumerate().map(|(index, part)| match ranks.get(part) {
        Some(rank) if index % 2 == 1 => format!("t{rank}"),
        _ => part.to_owned(),
    });
    ranked.collect()
}

pub(crate) fn join<T>(items: &[T], separator: &str, show: impl Fn(&T) -> String) -> String {
    items.iter().map(show).collect::<Vec<_>>().join(separator)
}

/// The path in a document's full name, without the database.
pub(crate) fn show_name(name: &str) -> &str {
    name.split_once("/documents/").map_or(name, |(_, path)| path)
}

/// A server time, between marks for [`rank_times`]; padded, so that texts sort as times do.
pub(crate) fn show_time(time: Option<Timestamp>) -> String {
    time.map_or("never".to_owned(), |time| format!("@{:012}{:09}@", time.seconds, time.nanos))
}

pub(crate) fn show_write_result(result: &WriteResult) -> String {
    let transformed = join(&result.transform_results, ", ", show_value);
    format!("{} [{transformed}]", show_time(result.update_time))
}

pub(crate) fn show_document(document: &Document) -> String {
    format!(
        "{} created {} updated {} {}",
        show_name(&document.name),
        show_time(document.create_time),
        show_time(document.update_time),
        show_fields(&document.fields)
    )
}

pub(crate) fn show_fields(fields: &HashMap<String, Value>) -> String {
    let sorted: BTreeMap<_, _> = fields.iter().collect();
    let shown = sorted.into_iter().map(|(name, value)| format!("{name:?}: {}", show_value(value)));
    format!("{{{}}}", shown.collect::<Vec<_>>().join(", "))
}

fn show_value(value: &Value) -> String {
    match &value.value_type {
        Some(ValueType::ArrayValue(array)) => format!("[{}]", join(&array.values, ", ", show_value)),
        Some(ValueType::MapValue(map)) => show_fields(&map.fields),
        Some(ValueType::ReferenceValue(name)) => format!("reference {}", show_name(name)),
        // `REQUEST_TIME`: the scenarios' own timestamps are far in the past.
        Some(ValueType::TimestampValue(time)) if time.seconds > 1_600_000_000 => {
            assert_eq!(time.nanos % 1_000_000, 0, "REQUEST_TIME is in whole milliseconds");
            "request time".to_owned()
        }
        other => format!("{other:?}"),
    }
}
