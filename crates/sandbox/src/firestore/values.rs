//! Values: their order, their equality, their limits.

use super::errors::invalid;
use super::names::{self, is_reserved};
use gcloud_sdk::google::firestore::v1::value::ValueType;
use gcloud_sdk::google::firestore::v1::{MapValue, Value};
use gcloud_sdk::google::r#type::LatLng;
use std::cmp::Ordering;
use std::collections::HashMap;
use tonic::Status;

/// The fields of a document or map.
pub(super) type Fields = HashMap<String, Value>;

/// Largest document: the sum of its name, field names and values, as Firestore counts them.
const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;
/// Largest single string or bytes value.
const MAX_VALUE_BYTES: usize = MAX_DOCUMENT_BYTES - 89;
const MAX_FIELD_NAME_BYTES: usize = 1500;
/// Maps and arrays may lie in each other this deep.
const MAX_DEPTH: usize = 20;
/// Most elements of a vector.
const MAX_DIMENSIONS: usize = 2048;
const NANOS_PER_MICRO: i32 = 1_000;

/// A value's rank among the types. Values of different ranks are never equal, and range filters compare only
/// values of one rank.
pub(super) fn type_rank(value: &Value) -> u8 {
    match &value.value_type {
        None | Some(ValueType::NullValue(_)) => 0,
        Some(ValueType::BooleanValue(_)) => 1,
        Some(ValueType::IntegerValue(_) | ValueType::DoubleValue(_)) => 2,
        Some(ValueType::TimestampValue(_)) => 3,
        Some(ValueType::StringValue(_)) => 4,
        Some(ValueType::BytesValue(_)) => 5,
        Some(ValueType::ReferenceValue(_)) => 6,
        Some(ValueType::GeoPointValue(_)) => 7,
        Some(ValueType::ArrayValue(_)) => 8,
        Some(ValueType::MapValue(map)) if as_vector(map).is_some() => 9,
        Some(ValueType::MapValue(_)) => 10,
        // Expressions of pipeline queries: `check_fields` lets none of them in.
        Some(
            ValueType::FieldReferenceValue(_)
            | ValueType::VariableReferenceValue(_)
            | ValueType::FunctionValue(_)
            | ValueType::PipelineValue(_),
        ) => 11,
    }
}

/// Firestore's total order of values: by type, then by value. `1` and `1.0` are equal, and `NaN` is the least
/// number.
pub(super) fn order(left: &Value, right: &Value) -> Ordering {
    match (&left.value_type, &right.value_type) {
        (Some(ValueType::BooleanValue(a)), Some(ValueType::BooleanValue(b))) => a.cmp(b),
        (Some(ValueType::IntegerValue(a)), Some(ValueType::IntegerValue(b))) => a.cmp(b),
        (Some(ValueType::DoubleValue(a)), Some(ValueType::DoubleValue(b))) => order_doubles(*a, *b),
        (Some(ValueType::IntegerValue(a)), Some(ValueType::DoubleValue(b))) => order_mixed(*a, *b),
        (Some(ValueType::DoubleValue(a)), Some(ValueType::IntegerValue(b))) => order_mixed(*b, *a).reverse(),
        (Some(ValueType::TimestampValue(a)), Some(ValueType::TimestampValue(b))) => {
            (a.seconds, a.nanos).cmp(&(b.seconds, b.nanos))
        }
        (Some(ValueType::StringValue(a)), Some(ValueType::StringValue(b))) => a.cmp(b),
        (Some(ValueType::BytesValue(a)), Some(ValueType::BytesValue(b))) => a.cmp(b),
        (Some(ValueType::ReferenceValue(a)), Some(ValueType::ReferenceValue(b))) => order_names(a, b),
        (Some(ValueType::GeoPointValue(a)), Some(ValueType::GeoPointValue(b))) => {
            order_doubles(a.latitude, b.latitude).then_with(|| order_doubles(a.longitude, b.longitude))
        }
        (Some(ValueType::ArrayValue(a)), Some(ValueType::ArrayValue(b))) => {
            first_difference(a.values.iter().zip(&b.values).map(|(a, b)| order(a, b)))
                .then_with(|| a.values.len().cmp(&b.values.len()))
        }
        (Some(ValueType::MapValue(a)), Some(ValueType::MapValue(b))) => match (as_vector(a), as_vector(b)) {
            (Some(a), Some(b)) => {
                let elements = || first_difference(a.iter().zip(b).map(|(a, b)| order(a, b)));
                a.len().cmp(&b.len()).then_with(elements)
            }
            (None, None) => order_maps(&a.fields, &b.fields),
            _ => type_rank(left).cmp(&type_rank(right)),
        },
        _ => type_rank(left).cmp(&type_rank(right)),
    }
}

/// Whether a filter would call both the same: as [`order`], so `1` equals `1.0`.
pub(super) fn equal(left: &Value, right: &Value) -> bool {
    order(left, right).is_eq()
}

/// Whether both are the same down to the type and the bits: replacing one by the other would change nothing.
pub(super) fn identical(left: &Value, right: &Value) -> bool {
    match (&left.value_type, &right.value_type) {
        (Some(ValueType::DoubleValue(a)), Some(ValueType::DoubleValue(b))) => a.to_bits() == b.to_bits(),
        (Some(ValueType::ArrayValue(a)), Some(ValueType::ArrayValue(b))) => {
            a.values.len() == b.values.len() && a.values.iter().zip(&b.values).all(|(a, b)| identical(a, b))
        }
        (Some(ValueType::MapValue(a)), Some(ValueType::MapValue(b))) => {
            identical_fields(&a.fields, &b.fields)
        }
        (a, b) => a == b,
    }
}

/// [`identical`], for all fields of a document.
pub(super) fn identical_fields(left: &Fields, right: &Fields) -> bool {
    left.len() == right.len()
        && left.iter().all(|(name, value)| right.get(name).is_some_and(|other| identical(value, other)))
}

/// Whether the value is the number `NaN`.
pub(super) fn is_nan(value: &Value) -> bool {
    matches!(value.value_type, Some(ValueType::DoubleValue(number)) if number.is_nan())
}

pub(super) fn is_null(value: &Value) -> bool {
    matches!(value.value_type, Some(ValueType::NullValue(_)))
}

pub(super) fn value(value_type: ValueType) -> Value {
    Value { value_type: Some(value_type) }
}

pub(super) fn null() -> Value {
    value(ValueType::NullValue(0))
}

/// The elements of a vector, which is a map on the wire: `__vector__` as its `__type__`, and doubles as its `value`.
fn as_vector(map: &MapValue) -> Option<&[Value]> {
    let kind = map.fields.get("__type__")?;
    let elements = map.fields.get("value")?;
    match (&kind.value_type, &elements.value_type) {
        (Some(ValueType::StringValue(kind)), Some(ValueType::ArrayValue(array))) => {
            let is_double = |element: &Value| matches!(element.value_type, Some(ValueType::DoubleValue(_)));
            let is_vector = kind == "__vector__"
                && map.fields.len() == 2
                && (1..=MAX_DIMENSIONS).contains(&array.values.len())
                && array.values.iter().all(is_double);
            is_vector.then_some(&array.values)
        }
        _ => None,
    }
}

/// Refuses fields that Firestore would refuse, and cuts timestamps to the microseconds it keeps.
pub(super) fn check_fields(fields: &mut Fields) -> Result<(), Status> {
    fields.iter_mut().try_for_each(|(name, value)| {
        check_field_name(name)?;
        check_value(name, value, 1)
    })
}

/// As [`check_fields`], for one value outside a document: a filter's operand, a transform's argument.
pub(super) fn check_operand(operand: &mut Value) -> Result<(), Status> {
    check_value("operand", operand, 1)
}

/// Refuses a field name that Firestore would refuse.
pub(super) fn check_field_name(name: &str) -> Result<(), Status> {
    if name.is_empty() {
        return Err(invalid("A field name is the empty string."));
    }
    if name.len() > MAX_FIELD_NAME_BYTES {
        return Err(invalid(format!("A field name is longer than {MAX_FIELD_NAME_BYTES} bytes.")));
    }
    if is_reserved(name) {
        return Err(invalid(format!("Field name \"{name}\" is reserved.")));
    }
    Ok(())
}

/// Refuses a document above 1 MiB. `path` is its path below `.../documents`.
pub(super) fn check_document_size(path: &str, fields: &Fields) -> Result<(), Status> {
    const NAME_OVERHEAD: usize = 16;
    const DOCUMENT_OVERHEAD: usize = 32;
    let name = path.len() + 1 + NAME_OVERHEAD;
    if name + fields_size(fields) + DOCUMENT_OVERHEAD > MAX_DOCUMENT_BYTES {
        return Err(invalid(format!("The document {path} is larger than {MAX_DOCUMENT_BYTES} bytes.")));
    }
    Ok(())
}

fn check_value(field: &str, value: &mut Value, depth: usize) -> Result<(), Status> {
    match &mut value.value_type {
        None => return Err(invalid(format!("Field \"{field}\" has a value of no type."))),
        Some(
            ValueType::FieldReferenceValue(_)
            | ValueType::VariableReferenceValue(_)
            | ValueType::FunctionValue(_)
            | ValueType::PipelineValue(_),
        ) => {
            return Err(invalid(format!("Field \"{field}\" holds an expression, not a value.")));
        }
        Some(ValueType::TimestampValue(time)) => time.nanos -= time.nanos.rem_euclid(NANOS_PER_MICRO),
        Some(ValueType::StringValue(text)) => check_length(field, text.len())?,
        Some(ValueType::BytesValue(bytes)) => check_length(field, bytes.len())?,
        Some(ValueType::ReferenceValue(name)) => drop(names::parse_document(name)?),
        Some(ValueType::GeoPointValue(point)) => check_point(field, point)?,
        Some(ValueType::ArrayValue(array)) => {
            check_depth(field, depth)?;
            for element in &mut array.values {
                if matches!(element.value_type, Some(ValueType::ArrayValue(_))) {
                    return Err(invalid(format!("Field \"{field}\" has an array directly in an array.")));
                }
                check_value(field, element, depth + 1)?;
            }
        }
        Some(ValueType::MapValue(map)) if as_vector(map).is_some() => {}
        Some(ValueType::MapValue(map)) => {
            check_depth(field, depth)?;
            for (name, inner) in &mut map.fields {
                check_field_name(name)?;
                check_value(name, inner, depth + 1)?;
            }
        }
        Some(
            ValueType::NullValue(_)
            | ValueType::BooleanValue(_)
            | ValueType::IntegerValue(_)
            | ValueType::DoubleValue(_),
        ) => {}
    }
    Ok(())
}

fn check_point(field: &str, point: &LatLng) -> Result<(), Status> {
    if !(-90.0..=90.0).contains(&point.latitude) || !(-180.0..=180.0).contains(&point.longitude) {
        return Err(invalid(format!("Field \"{field}\" has a geo point outside the permitted range.")));
    }
    Ok(())
}

fn check_length(field: &str, bytes: usize) -> Result<(), Status> {
    if bytes > MAX_VALUE_BYTES {
        return Err(invalid(format!(
            "The value of field \"{field}\" is longer than {MAX_VALUE_BYTES} bytes."
        )));
    }
    Ok(())
}

fn check_depth(field: &str, depth: usize) -> Result<(), Status> {
    if depth > MAX_DEPTH {
        return Err(invalid(format!("Field \"{field}\" nests maps and arrays more than {MAX_DEPTH} deep.")));
    }
    Ok(())
}

fn fields_size(fields: &Fields) -> usize {
    fields.iter().map(|(name, value)| name.len() + 1 + size(value)).sum()
}

/// Bytes that Firestore counts for a value.
fn size(value: &Value) -> usize {
    match &value.value_type {
        Some(ValueType::IntegerValue(_) | ValueType::DoubleValue(_) | ValueType::TimestampValue(_)) => 8,
        Some(ValueType::GeoPointValue(_)) => 16,
        Some(ValueType::StringValue(text) | ValueType::ReferenceValue(text)) => text.len() + 1,
        Some(ValueType::BytesValue(bytes)) => bytes.len(),
        Some(ValueType::ArrayValue(array)) => array.values.iter().map(size).sum(),
        Some(ValueType::MapValue(map)) => fields_size(&map.fields),
        _ => 1,
    }
}

/// `NaN` before all other numbers; `-0.0` equals `0.0`.
fn order_doubles(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right).unwrap_or_else(|| right.is_nan().cmp(&left.is_nan()))
}

/// Compares without rounding: above 2^53 an integer may lie between two neighbouring doubles.
fn order_mixed(integer: i64, double: f64) -> Ordering {
    const TWO_POW_63: f64 = 9_223_372_036_854_775_808.0;
    if double.is_nan() || double < -TWO_POW_63 {
        Ordering::Greater
    } else if double >= TWO_POW_63 {
        Ordering::Less
    } else {
        // In range, so the cast only cuts the fraction off.
        integer.cmp(&(double as i64)).then_with(|| order_doubles(0.0, double.fract()))
    }
}

/// Segment by segment, as document names sort.
fn order_names(left: &str, right: &str) -> Ordering {
    match (names::parse_document(left), names::parse_document(right)) {
        (Ok((left_db, left)), Ok((right_db, right))) => {
            left_db.split('/').cmp(right_db.split('/')).then_with(|| left.cmp(&right))
        }
        _ => left.cmp(right),
    }
}

/// Entry by entry in the order of the keys: key first, then value; a prefix is less.
fn order_maps(left: &Fields, right: &Fields) -> Ordering {
    let (left, right) = (sorted(left), sorted(right));
    first_difference(left.iter().zip(&right).map(|(a, b)| a.0.cmp(b.0).then_with(|| order(a.1, b.1))))
        .then_with(|| left.len().cmp(&right.len()))
}

fn sorted(fields: &Fields) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = fields.iter().collect();
    entries.sort_unstable_by_key(|(name, _)| *name);
    entries
}

/// The first order that is not equal, or equal where there is none.
pub(super) fn first_difference(mut orders: impl Iterator<Item = Ordering>) -> Ordering {
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests;
