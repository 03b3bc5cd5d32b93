//! Filters: the `where` of a query.

use std::cmp::Ordering;
use std::ops::Bound;

use gcloud_sdk::google::firestore::v1::Value;
use gcloud_sdk::google::firestore::v1::structured_query::composite_filter::Operator as CompositeOp;
use gcloud_sdk::google::firestore::v1::structured_query::field_filter::Operator as FieldOp;
use gcloud_sdk::google::firestore::v1::structured_query::filter::FilterType;
use gcloud_sdk::google::firestore::v1::structured_query::unary_filter::{OperandType, Operator as UnaryOp};
use gcloud_sdk::google::firestore::v1::structured_query::{
    CompositeFilter, FieldFilter, FieldReference, Filter as WireFilter, UnaryFilter,
};
use gcloud_sdk::google::firestore::v1::value::ValueType;
use tonic::Status;

use super::errors::invalid;
use super::fields::FieldPath;
use super::names::{Path, parse_document_in};
use super::store::NameRange;
use super::values::{Fields, check_operand, equal, is_nan, is_null, order, type_rank};

/// Most alternatives that a filter may come to when its `OR`s and `IN`s are multiplied out.
const MAX_DISJUNCTIONS: usize = 30;
/// Most values of a `NOT_IN`.
const MAX_NOT_IN: usize = 10;

/// A checked filter.
#[derive(Clone, Debug)]
pub(super) enum Filter {
    And(Vec<Self>),
    Or(Vec<Self>),
    Name(Test<Path>),
    Field(FieldPath, Test<Value>),
}

/// What a name or field must satisfy.
#[derive(Clone, Debug)]
pub(super) enum Test<T> {
    /// Compares as one of these. Never true of another type of value, nor of `NaN`.
    Compare(&'static [Ordering], T),
    NotEqual(T),
    In(Vec<T>),
    NotIn(Vec<T>),
    ContainsAny(Vec<T>),
    IsNull,
    IsNan,
    IsNotNull,
    IsNotNan,
}

impl Filter {
    /// Checks a filter of a query on `database`.
    pub(super) fn parse(database: &str, filter: WireFilter) -> Result<Self, Status> {
        let parsed = Self::parse_part(database, filter)?;
        let disjunctions = parsed.disjunctions();
        if disjunctions > MAX_DISJUNCTIONS {
            return Err(invalid(format!(
                "The filter has {disjunctions} disjunctions: at most {MAX_DISJUNCTIONS} may be."
            )));
        }
        if parsed.array_tests() > 1 {
            return Err(invalid(
                "At most one ARRAY_CONTAINS or ARRAY_CONTAINS_ANY is allowed per disjunction.",
            ));
        }
        let negations = parsed.count(|test| test.is_negation());
        if negations > 1 {
            return Err(invalid(
                "Only a single NOT_EQUAL, NOT_IN, IS_NOT_NAN or IS_NOT_NULL is allowed per query.",
            ));
        }
        if parsed.count(|test| matches!(test, TestKind::NotIn)) > 0 && disjunctions > 1 {
            return Err(invalid(
                "NOT_IN cannot be used in one query with IN, ARRAY_CONTAINS_ANY or OR.",
            ));
        }
        Ok(parsed)
    }

    fn parse_part(database: &str, filter: WireFilter) -> Result<Self, Status> {
        match filter.filter_type {
            None => Err(invalid("A filter is empty.")),
            Some(FilterType::CompositeFilter(filter)) => Self::parse_composite(database, filter),
            Some(FilterType::FieldFilter(filter)) => Self::parse_field(database, filter),
            Some(FilterType::UnaryFilter(filter)) => Self::parse_unary(filter),
        }
    }

    fn parse_composite(database: &str, filter: CompositeFilter) -> Result<Self, Status> {
        let op = filter.op();
        let parts: Vec<_> = filter
            .filters
            .into_iter()
            .map(|part| Self::parse_part(database, part))
            .collect::<Result<_, _>>()?;
        match op {
            CompositeOp::And => Ok(Self::And(parts)),
            CompositeOp::Or if parts.is_empty() => Err(invalid("An OR filter has no filters.")),
            CompositeOp::Or => Ok(Self::Or(parts)),
            CompositeOp::Unspecified => Err(invalid("A composite filter has no operator.")),
        }
    }

    fn parse_field(database: &str, filter: FieldFilter) -> Result<Self, Status> {
        let op = filter.op();
        let field = parse_reference(filter.field.as_ref())?;
        let mut operand = filter.value.unwrap_or_default();
        if !field.is_name() {
            check_operand(&mut operand)?;
            return Ok(Self::Field(field, Test::parse(op, operand, Ok)?));
        }
        if matches!(op, FieldOp::ArrayContains | FieldOp::ArrayContainsAny) {
            return Err(invalid("A document's name is not an array."));
        }
        Ok(Self::Name(Test::parse(op, operand, |operand| {
            parse_name(database, &operand)
        })?))
    }

    fn parse_unary(filter: UnaryFilter) -> Result<Self, Status> {
        let test = match filter.op() {
            UnaryOp::IsNull => Test::IsNull,
            UnaryOp::IsNan => Test::IsNan,
            UnaryOp::IsNotNull => Test::IsNotNull,
            UnaryOp::IsNotNan => Test::IsNotNan,
            UnaryOp::Unspecified => return Err(invalid("A unary filter has no operator.")),
        };
        let field = filter.operand_type.map(|OperandType::Field(field)| field);
        let field = parse_reference(field.as_ref())?;
        if field.is_name() {
            return Err(invalid("A document's name is neither null nor NaN."));
        }
        Ok(Self::Field(field, test))
    }

    /// Whether a document satisfies this. `fields` is looked at only where the filter tests any.
    pub(super) fn matches(&self, path: &Path, fields: &Fields) -> bool {
        match self {
            Self::And(parts) => parts.iter().all(|part| part.matches(path, fields)),
            Self::Or(parts) => parts.iter().any(|part| part.matches(path, fields)),
            Self::Name(test) => test.accepts_name(path),
            Self::Field(field, test) => field.get(fields).is_some_and(|value| test.accepts(value)),
        }
    }

    /// Whether any field of a document is tested, not only its name.
    pub(super) fn tests_fields(&self) -> bool {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().any(Self::tests_fields),
            Self::Name(_) => false,
            Self::Field(..) => true,
        }
    }

    /// The fields compared by range or negation, which order the results unless the query says otherwise.
    pub(super) fn inequality_fields<'a>(&'a self, into: &mut Vec<&'a FieldPath>) {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.inequality_fields(into)),
            Self::Field(field, test) if test.kind().is_inequality() => into.push(field),
            Self::Name(_) | Self::Field(..) => {}
        }
    }

    /// Narrows `range` to the names that can satisfy this filter.
    pub(super) fn narrow(&self, range: &mut NameRange) {
        match self {
            Self::And(parts) => parts.iter().for_each(|part| part.narrow(range)),
            Self::Name(test) => test.narrow(range),
            Self::Or(_) | Self::Field(..) => {}
        }
    }

    /// A field that must be one of some strings for this filter to be satisfied.
    pub(super) fn strings(&self) -> Option<(&FieldPath, Vec<&str>)> {
        match self {
            Self::And(parts) => parts.iter().find_map(Self::strings),
            Self::Field(field, test) => {
                let operands = match test {
                    Test::Compare(EQUAL, operand) => std::slice::from_ref(operand),
                    Test::In(operands) => operands,
                    _ => return None,
                };
                let texts = operands.iter().map(|operand| match &operand.value_type {
                    Some(ValueType::StringValue(text)) => Some(text.as_str()),
                    _ => None,
                });
                Some((field, texts.collect::<Option<_>>()?))
            }
            Self::Or(_) | Self::Name(_) => None,
        }
    }

    fn disjunctions(&self) -> usize {
        match self {
            Self::And(parts) => parts
                .iter()
                .map(Self::disjunctions)
                .fold(1, usize::saturating_mul),
            Self::Or(parts) => parts
                .iter()
                .map(Self::disjunctions)
                .fold(0, usize::saturating_add),
            Self::Name(Test::In(operands)) => operands.len(),
            Self::Field(_, Test::In(operands) | Test::ContainsAny(operands)) => operands.len(),
            Self::Name(_) | Self::Field(..) => 1,
        }
    }

    fn array_tests(&self) -> usize {
        match self {
            Self::And(parts) => parts.iter().map(Self::array_tests).sum(),
            Self::Or(parts) => parts.iter().map(Self::array_tests).max().unwrap_or_default(),
            Self::Name(_) => 0,
            Self::Field(_, test) => usize::from(matches!(test, Test::ContainsAny(_))),
        }
    }

    fn count(&self, wanted: impl Fn(TestKind) -> bool + Copy) -> usize {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().map(|part| part.count(wanted)).sum(),
            Self::Name(test) => usize::from(wanted(test.kind())),
            Self::Field(_, test) => usize::from(wanted(test.kind())),
        }
    }
}

const EQUAL: &[Ordering] = &[Ordering::Equal];

/// The kind of a [`Test`], whatever it compares with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TestKind {
    Range,
    NotEqual,
    NotIn,
    Other,
}

impl TestKind {
    fn is_negation(self) -> bool {
        matches!(self, Self::NotEqual | Self::NotIn)
    }

    fn is_inequality(self) -> bool {
        self != Self::Other
    }
}

impl<T> Test<T> {
    fn parse(
        op: FieldOp,
        operand: Value,
        parse_one: impl Fn(Value) -> Result<T, Status>,
    ) -> Result<Self, Status> {
        let list = |operand: Value| -> Result<Vec<T>, Status> {
            let Some(ValueType::ArrayValue(array)) = operand.value_type else {
                return Err(invalid(format!("{} requires an array.", op.as_str_name())));
            };
            let most = if op == FieldOp::NotIn {
                MAX_NOT_IN
            } else {
                MAX_DISJUNCTIONS
            };
            if array.values.is_empty() || array.values.len() > most {
                return Err(invalid(format!(
                    "{} requires between 1 and {most} values.",
                    op.as_str_name()
                )));
            }
            array.values.into_iter().map(&parse_one).collect()
        };
        Ok(match op {
            FieldOp::LessThan => Self::Compare(&[Ordering::Less], parse_one(operand)?),
            FieldOp::LessThanOrEqual => {
                Self::Compare(&[Ordering::Less, Ordering::Equal], parse_one(operand)?)
            }
            FieldOp::GreaterThan => Self::Compare(&[Ordering::Greater], parse_one(operand)?),
            FieldOp::GreaterThanOrEqual => {
                Self::Compare(&[Ordering::Greater, Ordering::Equal], parse_one(operand)?)
            }
            FieldOp::Equal => Self::Compare(EQUAL, parse_one(operand)?),
            FieldOp::NotEqual => Self::NotEqual(parse_one(operand)?),
            FieldOp::ArrayContains => Self::ContainsAny(vec![parse_one(operand)?]),
            FieldOp::In => Self::In(list(operand)?),
            FieldOp::ArrayContainsAny => Self::ContainsAny(list(operand)?),
            FieldOp::NotIn => Self::NotIn(list(operand)?),
            FieldOp::Unspecified => return Err(invalid("A field filter has no operator.")),
        })
    }

    fn kind(&self) -> TestKind {
        match self {
            Self::Compare(EQUAL, _) | Self::In(_) | Self::ContainsAny(_) | Self::IsNull | Self::IsNan => {
                TestKind::Other
            }
            Self::Compare(..) => TestKind::Range,
            Self::NotEqual(_) | Self::IsNotNull | Self::IsNotNan => TestKind::NotEqual,
            Self::NotIn(_) => TestKind::NotIn,
        }
    }
}

impl Test<Value> {
    /// Null and `NaN` equal nothing, not even themselves, and have tests of their own.
    fn accepts(&self, value: &Value) -> bool {
        match self {
            Self::Compare(wanted, operand) => compares(wanted, value, operand),
            Self::In(operands) => operands.iter().any(|operand| compares(EQUAL, value, operand)),
            Self::NotEqual(operand) => {
                !is_null(value) && !is_null(operand) && !compares(EQUAL, value, operand)
            }
            Self::NotIn(operands) => {
                !is_null(value)
                    && !operands
                        .iter()
                        .any(|operand| is_null(operand) || compares(EQUAL, value, operand))
            }
            Self::ContainsAny(operands) => match &value.value_type {
                Some(ValueType::ArrayValue(array)) => array
                    .values
                    .iter()
                    .any(|value| operands.iter().any(|operand| compares(EQUAL, value, operand))),
                _ => false,
            },
            Self::IsNull => is_null(value),
            Self::IsNan => is_nan(value),
            Self::IsNotNull => !is_null(value),
            Self::IsNotNan => !is_null(value) && !is_nan(value),
        }
    }
}

impl Test<Path> {
    fn accepts_name(&self, path: &Path) -> bool {
        match self {
            Self::Compare(wanted, operand) => wanted.contains(&path.cmp(operand)),
            Self::NotEqual(operand) => path != operand,
            Self::In(operands) => operands.contains(path),
            Self::NotIn(operands) => !operands.contains(path),
            Self::ContainsAny(_) | Self::IsNull | Self::IsNan => false,
            Self::IsNotNull | Self::IsNotNan => true,
        }
    }

    fn narrow(&self, range: &mut NameRange) {
        match self {
            Self::Compare(wanted, operand) => {
                let bound = if wanted.contains(&Ordering::Equal) {
                    Bound::Included
                } else {
                    Bound::Excluded
                };
                if !wanted.contains(&Ordering::Less) {
                    range.start(bound(operand.clone()));
                }
                if !wanted.contains(&Ordering::Greater) {
                    range.end(bound(operand.clone()));
                }
            }
            Self::In(operands) => {
                if let (Some(first), Some(last)) = (operands.iter().min(), operands.iter().max()) {
                    range.start(Bound::Included(first.clone()));
                    range.end(Bound::Included(last.clone()));
                }
            }
            _ => {}
        }
    }
}

fn compares(wanted: &[Ordering], value: &Value, operand: &Value) -> bool {
    let comparable =
        type_rank(value) == type_rank(operand) && !is_null(value) && !is_nan(value) && !is_nan(operand);
    comparable
        && if wanted == EQUAL {
            equal(value, operand)
        } else {
            wanted.contains(&order(value, operand))
        }
}

/// The field that a query's part refers to.
pub(super) fn parse_reference(field: Option<&FieldReference>) -> Result<FieldPath, Status> {
    FieldPath::parse(field.map_or("", |field| &field.field_path))
}

/// The path in a reference to a document, as filters and cursors on names need it.
pub(super) fn parse_name(database: &str, value: &Value) -> Result<Path, Status> {
    match &value.value_type {
        Some(ValueType::ReferenceValue(name)) => parse_document_in(database, name),
        _ => Err(invalid("A document's name compares only with a reference.")),
    }
}
