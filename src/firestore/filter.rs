//! Filters of queries.

use crate::firestore::values::array;
use gcloud_sdk::google::firestore::v1::Value;
use gcloud_sdk::google::firestore::v1::structured_query::{
    CompositeFilter, FieldFilter, FieldReference, Filter, UnaryFilter, composite_filter, field_filter,
    filter::FilterType, unary_filter,
};

/// That the field has this value, which is not null.
#[must_use]
pub(crate) fn equal(path: &str, value: Value) -> Filter {
    of_field(path, field_filter::Operator::Equal, value)
}

/// That the field has one of these values.
#[must_use]
pub(crate) fn one_of(path: &str, values: Vec<Value>) -> Filter {
    of_field(path, field_filter::Operator::In, array(values))
}

/// That the field has a value of the same kind which is greater than this one.
#[must_use]
pub(crate) fn greater(path: &str, value: Value) -> Filter {
    of_field(path, field_filter::Operator::GreaterThan, value)
}

/// That the field has a value of the same kind which is this one at most.
#[must_use]
pub(crate) fn at_most(path: &str, value: Value) -> Filter {
    of_field(path, field_filter::Operator::LessThanOrEqual, value)
}

/// That the field is null. No other filter finds it.
#[must_use]
pub(crate) fn is_null(path: &str) -> Filter {
    let operand_type = Some(unary_filter::OperandType::Field(field(path)));
    let op = unary_filter::Operator::IsNull.into();
    of_type(FilterType::UnaryFilter(UnaryFilter { op, operand_type }))
}

/// All of them at once; nothing where there are none.
#[must_use]
pub(crate) fn all(mut filters: Vec<Filter>) -> Option<Filter> {
    if filters.len() > 1 {
        let op = composite_filter::Operator::And.into();
        filters = vec![of_type(FilterType::CompositeFilter(CompositeFilter { op, filters }))];
    }
    filters.pop()
}

/// A field by its path.
#[must_use]
pub(super) fn field(path: &str) -> FieldReference {
    FieldReference { field_path: path.to_owned() }
}

fn of_field(path: &str, op: field_filter::Operator, value: Value) -> Filter {
    let filter = FieldFilter { field: Some(field(path)), op: op.into(), value: Some(value) };
    of_type(FilterType::FieldFilter(filter))
}

fn of_type(filter_type: FilterType) -> Filter {
    Filter { filter_type: Some(filter_type) }
}
