//! Short ways to say what the wire's messages need many words for.

use crate::session::Session;
use gcloud_sdk::google::firestore::v1::document_transform::FieldTransform;
use gcloud_sdk::google::firestore::v1::document_transform::field_transform::ServerValue;
pub(crate) use gcloud_sdk::google::firestore::v1::document_transform::field_transform::TransformType;
use gcloud_sdk::google::firestore::v1::precondition::ConditionType;
pub(crate) use gcloud_sdk::google::firestore::v1::structured_query::Direction::{Ascending, Descending};
pub(crate) use gcloud_sdk::google::firestore::v1::structured_query::composite_filter::Operator as CompositeOp;
pub(crate) use gcloud_sdk::google::firestore::v1::structured_query::field_filter::Operator as Op;
use gcloud_sdk::google::firestore::v1::structured_query::filter::FilterType;
use gcloud_sdk::google::firestore::v1::structured_query::unary_filter::OperandType;
pub(crate) use gcloud_sdk::google::firestore::v1::structured_query::unary_filter::Operator as UnaryOp;
use gcloud_sdk::google::firestore::v1::structured_query::*;
pub(crate) use gcloud_sdk::google::firestore::v1::value::ValueType;
use gcloud_sdk::google::firestore::v1::*;
use gcloud_sdk::google::r#type::LatLng;
use gcloud_sdk::prost_types::Timestamp;
use std::collections::HashMap;

pub(crate) fn to_fields(fields: &[(&str, Value)]) -> HashMap<String, Value> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

pub(crate) fn to_mask(paths: &[&str]) -> DocumentMask {
    DocumentMask { field_paths: paths.iter().map(|path| (*path).to_owned()).collect() }
}

pub(crate) fn value(value_type: ValueType) -> Value {
    Value { value_type: Some(value_type) }
}

pub(crate) fn int(number: i64) -> Value {
    value(ValueType::IntegerValue(number))
}

pub(crate) fn double(number: f64) -> Value {
    value(ValueType::DoubleValue(number))
}

pub(crate) fn text(text: &str) -> Value {
    value(ValueType::StringValue(text.to_owned()))
}

pub(crate) fn null() -> Value {
    value(ValueType::NullValue(0))
}

pub(crate) fn boolean(truth: bool) -> Value {
    value(ValueType::BooleanValue(truth))
}

pub(crate) fn array(values: &[Value]) -> Value {
    value(ValueType::ArrayValue(ArrayValue { values: values.to_vec() }))
}

pub(crate) fn map(fields: &[(&str, Value)]) -> Value {
    value(ValueType::MapValue(MapValue { fields: to_fields(fields) }))
}

/// A vector, which is a map with a reserved key.
pub(crate) fn vector(elements: &[Value]) -> Value {
    map(&[("__type__", text("__vector__")), ("value", array(elements))])
}

pub(crate) fn point(latitude: f64, longitude: f64) -> Value {
    value(ValueType::GeoPointValue(LatLng { latitude, longitude }))
}

pub(crate) fn time(seconds: i64, nanos: i32) -> Value {
    value(ValueType::TimestampValue(Timestamp { seconds, nanos }))
}

/// The write, if its document exists.
pub(crate) fn if_present(write: Write) -> Write {
    only_if(write, exists(true))
}

/// The write, if its document does not exist.
pub(crate) fn if_absent(write: Write) -> Write {
    only_if(write, exists(false))
}

/// The write, if its document was last changed at that time.
pub(crate) fn if_version(write: Write, time: Timestamp) -> Write {
    only_if(write, precondition(ConditionType::UpdateTime(time)))
}

pub(crate) fn exists(exists: bool) -> Option<Precondition> {
    precondition(ConditionType::Exists(exists))
}

fn precondition(condition: ConditionType) -> Option<Precondition> {
    Some(Precondition { condition_type: Some(condition) })
}

fn only_if(write: Write, current_document: Option<Precondition>) -> Write {
    Write { current_document, ..write }
}

pub(crate) fn with_transforms(write: Write, transforms: &[(&str, TransformType)]) -> Write {
    Write { update_transforms: to_transforms(transforms), ..write }
}

fn to_transforms(transforms: &[(&str, TransformType)]) -> Vec<FieldTransform> {
    let transform = |(path, kind): &(&str, TransformType)| FieldTransform {
        field_path: (*path).to_owned(),
        transform_type: Some(kind.clone()),
    };
    transforms.iter().map(transform).collect()
}

/// The operation that carries only transforms, which older clients send.
pub(crate) fn legacy_transform(session: &Session, path: &str, transforms: &[(&str, TransformType)]) -> Write {
    let transform =
        DocumentTransform { document: session.name(path), field_transforms: to_transforms(transforms) };
    Write { operation: Some(write::Operation::Transform(transform)), ..Default::default() }
}

pub(crate) const REQUEST_TIME: TransformType =
    TransformType::SetToServerValue(ServerValue::RequestTime as i32);

pub(crate) fn field(path: &str) -> Option<FieldReference> {
    Some(FieldReference { field_path: path.to_owned() })
}

/// All documents of one collection.
pub(crate) fn from(collection: &str) -> StructuredQuery {
    select_from(collection, false)
}

/// All documents of the collections with one id, wherever they are.
pub(crate) fn from_group(collection: &str) -> StructuredQuery {
    select_from(collection, true)
}

fn select_from(collection: &str, all_descendants: bool) -> StructuredQuery {
    let selector = CollectionSelector { collection_id: collection.to_owned(), all_descendants };
    StructuredQuery { from: vec![selector], ..Default::default() }
}

pub(crate) fn filter(path: &str, op: Op, operand: Value) -> Filter {
    let filter = FieldFilter { field: field(path), op: op.into(), value: Some(operand) };
    Filter { filter_type: Some(FilterType::FieldFilter(filter)) }
}

pub(crate) fn unary(path: &str, op: UnaryOp) -> Filter {
    let filter = UnaryFilter { op: op.into(), operand_type: field(path).map(OperandType::Field) };
    Filter { filter_type: Some(FilterType::UnaryFilter(filter)) }
}

/// Filters combined by `op`, even where that makes no sense.
pub(crate) fn composite(op: CompositeOp, filters: &[Filter]) -> Filter {
    let filter = CompositeFilter { op: op.into(), filters: filters.to_vec() };
    Filter { filter_type: Some(FilterType::CompositeFilter(filter)) }
}

pub(crate) fn all(filters: &[Filter]) -> Filter {
    composite(CompositeOp::And, filters)
}

pub(crate) fn any(filters: &[Filter]) -> Filter {
    composite(CompositeOp::Or, filters)
}

pub(crate) fn filtered(query: StructuredQuery, filter: Filter) -> StructuredQuery {
    StructuredQuery { r#where: Some(filter), ..query }
}

pub(crate) fn ordered(query: StructuredQuery, orders: &[(&str, Direction)]) -> StructuredQuery {
    let orders =
        orders.iter().map(|(path, direction)| Order { field: field(path), direction: (*direction).into() });
    StructuredQuery { order_by: orders.collect(), ..query }
}

pub(crate) fn start(query: StructuredQuery, before: bool, values: &[Value]) -> StructuredQuery {
    StructuredQuery { start_at: cursor(before, values), ..query }
}

pub(crate) fn end(query: StructuredQuery, before: bool, values: &[Value]) -> StructuredQuery {
    StructuredQuery { end_at: cursor(before, values), ..query }
}

fn cursor(before: bool, values: &[Value]) -> Option<Cursor> {
    Some(Cursor { values: values.to_vec(), before })
}

pub(crate) fn select(query: StructuredQuery, paths: &[&str]) -> StructuredQuery {
    let fields = paths.iter().filter_map(|path| field(path)).collect();
    StructuredQuery { select: Some(Projection { fields }), ..query }
}

pub(crate) fn limited(query: StructuredQuery, offset: i32, limit: i32) -> StructuredQuery {
    StructuredQuery { offset, limit: Some(limit), ..query }
}
