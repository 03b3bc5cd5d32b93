//! Server-side changes of single fields: `REQUEST_TIME`, `increment`, `maximum` and their like.

use super::clock::{Micros, request_time};
use super::errors::invalid;
use super::fields::FieldPath;
use super::values::{Fields, check_operand, equal, is_nan, null, order, value};
use gcloud_sdk::google::firestore::v1::document_transform::FieldTransform;
use gcloud_sdk::google::firestore::v1::document_transform::field_transform::{ServerValue, TransformType};
use gcloud_sdk::google::firestore::v1::value::ValueType;
use gcloud_sdk::google::firestore::v1::{ArrayValue, Value};
use std::cmp::Ordering;
use tonic::Status;

/// A checked transform of one field.
#[derive(Clone, Debug)]
pub(super) struct Transform {
    field: FieldPath,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    RequestTime,
    Increment(Value),
    Maximum(Value),
    Minimum(Value),
    AppendMissing(Vec<Value>),
    RemoveAll(Vec<Value>),
}

/// Checks the transforms of one write.
pub(super) fn parse_transforms(transforms: Vec<FieldTransform>) -> Result<Vec<Transform>, Status> {
    let parsed = transforms.into_iter().map(Transform::parse).collect::<Result<Vec<_>, _>>()?;
    let nested = parsed.iter().any(|inner| parsed.iter().any(|outer| inner.field.is_within(&outer.field)));
    if nested {
        return Err(invalid("Cannot transform a field and one nested in it at the same time."));
    }
    Ok(parsed)
}

impl Transform {
    fn parse(transform: FieldTransform) -> Result<Self, Status> {
        let field = FieldPath::parse(&transform.field_path)?;
        let kind = match transform.transform_type {
            None => return Err(invalid("A field transform has no operation.")),
            Some(TransformType::SetToServerValue(server_value)) => {
                if server_value != i32::from(ServerValue::RequestTime) {
                    return Err(invalid("A field transform sets an unknown server value."));
                }
                Kind::RequestTime
            }
            Some(TransformType::Increment(operand)) => Kind::Increment(number(operand)?),
            Some(TransformType::Maximum(operand)) => Kind::Maximum(number(operand)?),
            Some(TransformType::Minimum(operand)) => Kind::Minimum(number(operand)?),
            Some(TransformType::AppendMissingElements(array)) => Kind::AppendMissing(elements(array)?),
            Some(TransformType::RemoveAllFromArray(array)) => Kind::RemoveAll(elements(array)?),
        };
        Ok(Self { field, kind })
    }

    /// Changes the field, and answers what the client is told: the new value, or null for arrays.
    pub(super) fn apply(&self, fields: &mut Fields, time: Micros) -> Value {
        let current = self.field.get(fields);
        let (new, told) = match &self.kind {
            Kind::RequestTime => same(request_time(time)),
            Kind::Increment(by) => same(sum(current, by)),
            Kind::Maximum(operand) => same(extreme(current, operand, Ordering::Greater)),
            Kind::Minimum(operand) => same(extreme(current, operand, Ordering::Less)),
            Kind::AppendMissing(operands) => (append_missing(current, operands), null()),
            Kind::RemoveAll(operands) => (remove_all(current, operands), null()),
        };
        self.field.set(fields, new);
        told
    }
}

fn same(new: Value) -> (Value, Value) {
    (new.clone(), new)
}

fn number(operand: Value) -> Result<Value, Status> {
    match operand.value_type {
        Some(ValueType::IntegerValue(_) | ValueType::DoubleValue(_)) => Ok(operand),
        _ => Err(invalid("A field transform's operand must be an integer or a double.")),
    }
}

fn elements(array: ArrayValue) -> Result<Vec<Value>, Status> {
    let mut operand = value(ValueType::ArrayValue(array));
    check_operand(&mut operand)?;
    match operand.value_type {
        Some(ValueType::ArrayValue(array)) => Ok(array.values),
        _ => Ok(Vec::new()),
    }
}

/// Integers saturate; with a double on either side the sum is one. What is not a number counts as absent.
pub(super) fn sum(current: Option<&Value>, by: &Value) -> Value {
    match (current.and_then(|value| value.value_type.as_ref()), &by.value_type) {
        (Some(ValueType::IntegerValue(a)), Some(ValueType::IntegerValue(b))) => {
            value(ValueType::IntegerValue(a.saturating_add(*b)))
        }
        (Some(a @ (ValueType::IntegerValue(_) | ValueType::DoubleValue(_))), Some(b)) => {
            value(ValueType::DoubleValue(as_double(a) + as_double(b)))
        }
        _ => by.clone(),
    }
}

/// The number as a double; 0 for anything else.
pub(super) fn as_double(number: &ValueType) -> f64 {
    match number {
        ValueType::IntegerValue(number) => *number as f64,
        ValueType::DoubleValue(number) => *number,
        _ => 0.0,
    }
}

/// The operand where it is on the `wanted` side of the current number, else the number as it is, so equal numbers
/// keep their type. `NaN` wins over every number.
fn extreme(current: Option<&Value>, operand: &Value, wanted: Ordering) -> Value {
    match current {
        Some(current) if is_number(current) => {
            let replaces = !is_nan(current) && (is_nan(operand) || order(operand, current) == wanted);
            if replaces { operand.clone() } else { current.clone() }
        }
        _ => operand.clone(),
    }
}

fn is_number(value: &Value) -> bool {
    matches!(value.value_type, Some(ValueType::IntegerValue(_) | ValueType::DoubleValue(_)))
}

fn append_missing(current: Option<&Value>, operands: &[Value]) -> Value {
    let mut values = array_or_empty(current);
    for operand in operands {
        if !values.iter().any(|existing| equal(existing, operand)) {
            values.push(operand.clone());
        }
    }
    value(ValueType::ArrayValue(ArrayValue { values }))
}

fn remove_all(current: Option<&Value>, operands: &[Value]) -> Value {
    let mut values = array_or_empty(current);
    values.retain(|existing| !operands.iter().any(|operand| equal(existing, operand)));
    value(ValueType::ArrayValue(ArrayValue { values }))
}

fn array_or_empty(current: Option<&Value>) -> Vec<Value> {
    match current.and_then(|value| value.value_type.as_ref()) {
        Some(ValueType::ArrayValue(array)) => array.values.clone(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{array, double, int};
    use super::*;

    #[test]
    fn integers_saturate_and_doubles_are_contagious() {
        assert_eq!(sum(Some(&int(i64::MAX)), &int(1)), int(i64::MAX));
        assert_eq!(sum(Some(&int(i64::MIN)), &int(-1)), int(i64::MIN));
        assert_eq!(sum(Some(&int(1)), &double(0.5)), double(1.5));
        assert_eq!(sum(Some(&double(0.5)), &int(1)), double(1.5));
        assert_eq!(sum(None, &int(7)), int(7));
        assert_eq!(sum(Some(&null()), &int(7)), int(7));
    }

    #[test]
    fn equal_extremes_keep_the_stored_type() {
        assert_eq!(extreme(Some(&int(3)), &double(3.0), Ordering::Greater), int(3));
        assert_eq!(extreme(Some(&double(3.0)), &int(4), Ordering::Greater), int(4));
        assert_eq!(extreme(Some(&double(3.0)), &int(4), Ordering::Less), double(3.0));
        assert!(is_nan(&extreme(Some(&int(3)), &double(f64::NAN), Ordering::Greater)));
    }

    #[test]
    fn arrays_gain_what_is_missing_and_lose_every_equal_element() {
        let current = array(&[int(1), int(2), int(1)]);
        assert_eq!(
            append_missing(Some(&current), &[double(2.0), int(3), int(3)]),
            array(&[int(1), int(2), int(1), int(3)])
        );
        assert_eq!(remove_all(Some(&current), &[double(1.0)]), array(&[int(2)]));
        assert_eq!(append_missing(Some(&int(5)), &[int(1)]), array(&[int(1)]));
    }
}
