//! Filters: the `where` of a query.

use super::errors::invalid;
use super::fields::FieldPath;
use super::names::{Path, parse_document_in};
use super::store::NameRange;
use super::values::{Fields, check_operand, equal, is_nan, is_null, order, type_rank};
use gcloud_sdk::google::firestore::v1::Value;
use gcloud_sdk::google::firestore::v1::structured_query::composite_filter::Operator as CompositeOp;
use gcloud_sdk::google::firestore::v1::structured_query::field_filter::Operator as FieldOp;
use gcloud_sdk::google::firestore::v1::structured_query::filter::FilterType;
use gcloud_sdk::google::firestore::v1::structured_query::unary_filter::{OperandType, Operator as UnaryOp};
use gcloud_sdk::google::firestore::v1::structured_query::{
    CompositeFilter, FieldFilter, FieldReference, Filter as WireFilter, UnaryFilter,
};
use gcloud_sdk::google::firestore::v1::value::ValueType;
use std::cmp::Ordering;
use std::ops::Bound;
use tonic::Status;

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
            return Err(invalid("NOT_IN cannot be used in one query with IN, ARRAY_CONTAINS_ANY or OR."));
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
        Ok(Self::Name(Test::parse(op, operand, |operand| parse_name(database, &operand))?))
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
            Self::And(parts) => parts.iter().map(Self::disjunctions).fold(1, usize::saturating_mul),
            Self::Or(parts) => parts.iter().map(Self::disjunctions).fold(0, usize::saturating_add),
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
            let most = if op == FieldOp::NotIn { MAX_NOT_IN } else { MAX_DISJUNCTIONS };
            if array.values.is_empty() || array.values.len() > most {
                return Err(invalid(format!("{} requires between 1 and {most} values.", op.as_str_name())));
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
                    && !operands.iter().any(|operand| is_null(operand) || compares(EQUAL, value, operand))
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
                let bound = if wanted.contains(&Ordering::Equal) { Bound::Included } else { Bound::Excluded };
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
        && if wanted == EQUAL { equal(value, operand) } else { wanted.contains(&order(value, operand)) }
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

#[cfg(test)]
mod tests {
    use super::super::testing::{
        DATABASE, any_document, any_value, array, document, double, field_filter, field_reference, int,
        reference, text, to_fields,
    };
    use super::super::values::null;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use tonic::Code;

    fn parse(filter: WireFilter) -> Result<Filter, Code> {
        Filter::parse(DATABASE, filter).map_err(|refusal| refusal.code())
    }

    fn composite(op: CompositeOp, filters: &[WireFilter]) -> WireFilter {
        let filter = CompositeFilter { op: op.into(), filters: filters.to_vec() };
        WireFilter { filter_type: Some(FilterType::CompositeFilter(filter)) }
    }

    fn unary(op: UnaryOp) -> WireFilter {
        let filter =
            UnaryFilter { op: op.into(), operand_type: Some(OperandType::Field(field_reference("x"))) };
        WireFilter { filter_type: Some(FilterType::UnaryFilter(filter)) }
    }

    fn x(op: FieldOp, operand: Value) -> WireFilter {
        field_filter("x", op, operand)
    }

    fn numbers(range: std::ops::Range<i64>) -> Value {
        array(&range.map(int).collect::<Vec<_>>())
    }

    #[test]
    fn a_test_accepts_only_what_it_is_about() {
        use FieldOp::*;
        let values = [
            ("null", null()),
            ("nan", double(f64::NAN)),
            ("1", int(1)),
            ("2.0", double(2.0)),
            ("a", text("a")),
            ("[1]", array(&[int(1), null()])),
        ];
        let cases: [(WireFilter, &[&str]); 17] = [
            (x(Equal, double(1.0)), &["1"]),
            (x(Equal, null()), &[]),
            (x(Equal, double(f64::NAN)), &[]),
            (x(LessThan, int(2)), &["1"]),
            (x(LessThanOrEqual, int(2)), &["1", "2.0"]),
            (x(GreaterThan, int(1)), &["2.0"]),
            (x(GreaterThanOrEqual, text("")), &["a"]),
            (x(NotEqual, int(1)), &["nan", "2.0", "a", "[1]"]),
            (x(NotEqual, null()), &[]),
            (x(In, array(&[int(2), text("a"), null()])), &["2.0", "a"]),
            (x(NotIn, array(&[int(2), text("a")])), &["nan", "1", "[1]"]),
            (x(NotIn, array(&[int(2), null()])), &[]),
            (x(ArrayContains, double(1.0)), &["[1]"]),
            (x(ArrayContainsAny, array(&[null(), int(2)])), &[]),
            (unary(UnaryOp::IsNull), &["null"]),
            (unary(UnaryOp::IsNotNull), &["nan", "1", "2.0", "a", "[1]"]),
            (unary(UnaryOp::IsNotNan), &["1", "2.0", "a", "[1]"]),
        ];
        for (wire, expected) in cases {
            let filter = parse(wire.clone()).unwrap();
            let accepts =
                |value: &Value| filter.matches(&document("u/a"), &to_fields(&[("x", value.clone())]));
            let accepted: Vec<_> =
                values.iter().filter(|(_, value)| accepts(value)).map(|(name, _)| *name).collect();
            assert_eq!(accepted, expected, "{wire:?}");
            assert!(!filter.matches(&document("u/a"), &Fields::new()), "a missing field: {wire:?}");
        }
    }

    #[test]
    fn a_filter_keeps_to_firestores_limits() {
        use FieldOp::*;
        let and = |filters: &[WireFilter]| composite(CompositeOp::And, filters);
        let or = |filters: &[WireFilter]| composite(CompositeOp::Or, filters);
        let good = [
            and(&[]),
            x(In, numbers(0..30)),
            and(&[x(In, numbers(0..5)), x(In, numbers(0..6))]),
            or(&[x(ArrayContains, int(1)), x(ArrayContains, int(2))]),
            x(NotIn, numbers(0..10)),
        ];
        for filter in good {
            assert!(parse(filter.clone()).is_ok(), "{filter:?}");
        }
        let bad = [
            WireFilter::default(),
            or(&[]),
            composite(CompositeOp::Unspecified, &[x(Equal, int(1))]),
            x(Unspecified, int(1)),
            unary(UnaryOp::Unspecified),
            x(In, int(1)),
            x(In, array(&[])),
            x(In, numbers(0..31)),
            and(&[x(In, numbers(0..6)), x(In, numbers(0..6))]),
            and(&[x(ArrayContains, int(1)), x(ArrayContains, int(2))]),
            x(NotIn, numbers(0..11)),
            and(&[x(NotEqual, int(1)), x(NotEqual, int(2))]),
            and(&[x(NotIn, numbers(0..2)), x(In, numbers(0..2))]),
            field_filter("__name__", ArrayContains, reference("u/a")),
            field_filter("__name__", Equal, text("a")),
        ];
        for filter in bad {
            assert_eq!(parse(filter.clone()).err(), Some(Code::InvalidArgument), "{filter:?}");
        }
    }

    #[test]
    fn only_a_choice_of_strings_can_use_an_index() {
        use FieldOp::*;
        let strings = |filter| {
            let filter = parse(filter).unwrap();
            filter.strings().map(|(_, texts)| texts.join(" "))
        };
        let chosen = x(In, array(&[text("a"), text("b")]));
        assert_eq!(strings(chosen.clone()).as_deref(), Some("a b"));
        assert_eq!(strings(x(Equal, text("a"))).as_deref(), Some("a"));
        let both = composite(CompositeOp::And, &[x(GreaterThan, int(0)), chosen.clone()]);
        assert_eq!(strings(both).as_deref(), Some("a b"));
        for none in [
            x(In, array(&[text("a"), int(1)])),
            x(GreaterThan, text("a")),
            x(NotEqual, text("a")),
            composite(CompositeOp::Or, &[chosen.clone(), x(Equal, int(1))]),
            field_filter("__name__", Equal, reference("u/a")),
        ] {
            assert_eq!(strings(none.clone()), None, "{none:?}");
        }
    }

    fn any_name_filter() -> impl Strategy<Value = WireFilter> {
        use FieldOp::*;
        let comparison = vec![Equal, NotEqual, LessThan, LessThanOrEqual, GreaterThan, GreaterThanOrEqual];
        let one = (prop::sample::select(comparison), any_document())
            .prop_map(|(op, path)| field_filter("__name__", op, reference(&path)));
        let some = prop::collection::vec(any_document(), 1..3).prop_map(|paths| {
            let references: Vec<_> = paths.iter().map(|path| reference(path)).collect();
            field_filter("__name__", In, array(&references))
        });
        prop_oneof![3 => one, 1 => some]
    }

    proptest! {
        #[test]
        fn every_name_that_a_filter_accepts_lies_in_its_range(
            filters in prop::collection::vec(any_name_filter(), 0..3),
            is_or: bool,
            names in prop::collection::btree_set(any_document(), 0..20),
        ) {
            let op = if is_or { CompositeOp::Or } else { CompositeOp::And };
            let Ok(filter) = parse(composite(op, &filters)) else { return Ok(()) };
            let mut range = NameRange::below(&Path::root());
            filter.narrow(&mut range);
            let accepted: BTreeSet<_> = names
                .iter()
                .map(|name| document(name))
                .filter(|name| filter.matches(name, &Fields::new()))
                .collect();
            for name in accepted {
                prop_assert!(range.contains(&name), "{}", name);
            }
        }

        #[test]
        fn a_value_is_in_one_of_the_three_relations_or_in_none(value in any_value(), operand in any_value()) {
            use FieldOp::*;
            let fields = to_fields(&[("x", value)]);
            let held = [LessThan, Equal, GreaterThan].map(|op| {
                parse(x(op, operand.clone())).map(|filter| filter.matches(&document("u/a"), &fields))
            });
            // Some operands no filter may have, such as an array in an array.
            let [Ok(less), Ok(equal), Ok(greater)] = held else { return Ok(()) };
            prop_assert!(usize::from(less) + usize::from(equal) + usize::from(greater) <= 1);
            let at_most = parse(x(LessThanOrEqual, operand)).unwrap();
            prop_assert_eq!(at_most.matches(&document("u/a"), &fields), less || equal);
        }
    }
}
