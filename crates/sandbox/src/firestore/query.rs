//! Queries: checked once, then run against the documents as often as needed.

use super::clock::Micros;
use super::errors::invalid;
use super::fields::FieldPath;
use super::filter::{Filter, parse_name, parse_reference};
use super::names::{Path, check_collection_id};
use super::store::{Found, NameRange, Scan, Store, Stored};
use super::values::{Fields, check_operand, first_difference, order};
use gcloud_sdk::google::firestore::v1::structured_query::{
    CollectionSelector, Direction, Order as WireOrder,
};
use gcloud_sdk::google::firestore::v1::{Cursor as WireCursor, StructuredQuery, Value};
use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;
use tonic::Status;

/// A checked query.
#[derive(Clone, Debug)]
pub(super) struct Query {
    scope: Scope,
    filter: Option<Filter>,
    /// Ends in the name, which makes the order total.
    orders: Vec<Order>,
    start: Option<Cursor>,
    end: Option<Cursor>,
    offset: usize,
    limit: Option<usize>,
    /// The names between which all results lie.
    range: NameRange,
    /// The fields that the client wants, or `None` for all.
    pub(super) projection: Option<Vec<FieldPath>>,
    /// Fields that a document must have to be a result.
    required: Vec<FieldPath>,
}

/// Where a query looks.
#[derive(Clone, Debug)]
struct Scope {
    parent: Path,
    /// `None` for collections of any id.
    collection: Option<String>,
    all_descendants: bool,
}

#[derive(Clone, Debug)]
struct Order {
    /// `None` for the name.
    field: Option<FieldPath>,
    descending: bool,
}

/// A place between results: the values of the first orders.
#[derive(Clone, Debug)]
struct Cursor {
    values: Vec<CursorValue>,
    /// Whether the place is before the results with these values, rather than behind them.
    before: bool,
}

#[derive(Clone, Debug)]
enum CursorValue {
    Name(Path),
    Field(Value),
}

impl Query {
    /// Checks a query below `parent`.
    pub(super) fn parse(database: &str, parent: Path, query: StructuredQuery) -> Result<Self, Status> {
        if query.find_nearest.is_some() {
            return Err(Status::unimplemented("the sandbox's Firestore has no vector search"));
        }
        let scope = Scope::parse(parent, query.from)?;
        let filter = query.r#where.map(|filter| Filter::parse(database, filter)).transpose()?;
        let explicit = parse_orders(&query.order_by)?;
        let cursor = |cursor: Option<WireCursor>| {
            cursor.map(|cursor| Cursor::parse(database, cursor, &explicit)).transpose()
        };
        let (start, end) = (cursor(query.start_at)?, cursor(query.end_at)?);
        let orders = complete_orders(explicit, filter.as_ref());
        if name_order(&orders).is_some_and(|by| by.descending) && !tests_fields(filter.as_ref()) {
            // The name's index runs one way only.
            return Err(Status::failed_precondition("Firestore does not support descending key scans"));
        }
        let projection = query.select.map(|select| {
            select.fields.iter().map(|field| parse_reference(Some(field))).collect::<Result<Vec<_>, _>>()
        });
        let range = scope.range(filter.as_ref(), &orders, start.as_ref(), end.as_ref());
        Ok(Self {
            range,
            scope,
            filter,
            orders,
            start,
            end,
            offset: usize::try_from(query.offset).map_err(|_| invalid("offset is negative"))?,
            limit: query
                .limit
                .map(|limit| usize::try_from(limit).map_err(|_| invalid("limit is negative")))
                .transpose()?,
            projection: projection.transpose()?,
            required: Vec::new(),
        })
    }

    /// Every document below `parent`, in name order.
    pub(super) fn everything(parent: Path) -> Self {
        Self {
            range: NameRange::below(&parent),
            scope: Scope { parent, collection: None, all_descendants: true },
            filter: None,
            orders: complete_orders(Vec::new(), None),
            start: None,
            end: None,
            offset: 0,
            limit: None,
            projection: None,
            required: Vec::new(),
        }
    }

    /// At most `limit` documents of one collection, in name order, behind the one of id `after`.
    pub(super) fn page(parent: Path, collection: &str, after: Option<&str>, limit: usize) -> Self {
        let path = parent.child(collection);
        let mut range = NameRange::below(&path);
        if let Some(after) = after {
            range.start(Bound::Excluded(path.child(after)));
        }
        let scope =
            Scope { parent: parent.clone(), collection: Some(collection.to_owned()), all_descendants: false };
        Self { scope, range, limit: Some(limit), ..Self::everything(parent) }
    }

    /// The same query, for documents that have this field too.
    pub(super) fn require(&mut self, field: FieldPath) {
        self.required.push(field);
    }

    /// The results in order, as they are or as they were at a time.
    pub(super) fn run(&self, store: &Store, at: Option<Micros>) -> Vec<Found> {
        let scan = Scan {
            collection: self.scope.collection.as_deref(),
            range: &self.range,
            among: self.filter.as_ref().and_then(Filter::strings),
        };
        if let Some(at) = at {
            return self.pick(store.scan_at(&scan, at));
        }
        self.pick(store.scan(&scan))
    }

    fn pick<'a>(&self, visited: impl Iterator<Item = (&'a Path, &'a Arc<Stored>)>) -> Vec<Found> {
        let reads_fields =
            tests_fields(self.filter.as_ref()) || self.orders.len() > 1 || !self.required.is_empty();
        let accepted = visited.filter(|(path, _)| self.scope.contains(path)).filter_map(|(path, stored)| {
            let fields = if reads_fields { stored.fields() } else { Fields::new() };
            let found = || Found { path: path.clone(), stored: Arc::clone(stored) };
            self.sort_key(path, fields).map(|key| (key, found()))
        });
        let limit = self.limit.unwrap_or(usize::MAX);
        if name_order(&self.orders).is_some_and(|by| !by.descending) {
            // Visited in this order already, so there is no need to visit more than the limit.
            return accepted.map(|(_, found)| found).skip(self.offset).take(limit).collect();
        }
        let mut results: Vec<_> = accepted.collect();
        results.sort_by(|(a_key, a), (b_key, b)| self.compare((a_key, &a.path), (b_key, &b.path)));
        results.into_iter().map(|(_, found)| found).skip(self.offset).take(limit).collect()
    }

    /// The values a document is sorted by, or `None` where it is no result.
    fn sort_key(&self, path: &Path, fields: Fields) -> Option<Vec<Value>> {
        let is_match = self.filter.as_ref().is_none_or(|filter| filter.matches(path, &fields))
            && self.required.iter().all(|field| field.get(&fields).is_some());
        if !is_match {
            return None;
        }
        let by = self.orders.iter().filter_map(|order| order.field.as_ref());
        let key: Vec<Value> = by.map(|field| field.get(&fields).cloned()).collect::<Option<_>>()?;
        let behind_start = self.start.as_ref().is_none_or(|cursor| match self.position(&key, path, cursor) {
            Ordering::Less => false,
            Ordering::Equal => cursor.before,
            Ordering::Greater => true,
        });
        let before_end = self.end.as_ref().is_none_or(|cursor| match self.position(&key, path, cursor) {
            Ordering::Less => true,
            Ordering::Equal => !cursor.before,
            Ordering::Greater => false,
        });
        (behind_start && before_end).then_some(key)
    }

    fn compare(&self, left: (&[Value], &Path), right: (&[Value], &Path)) -> Ordering {
        let (mut left_key, mut right_key) = (left.0.iter(), right.0.iter());
        let orders = self.orders.iter().map(|by| {
            let ascending = match (&by.field, left_key.next(), right_key.next()) {
                (Some(_), Some(left), Some(right)) => order(left, right),
                _ => left.1.cmp(right.1),
            };
            by.direct(ascending)
        });
        first_difference(orders)
    }

    /// Where a document lies as seen from a cursor.
    fn position(&self, key: &[Value], path: &Path, cursor: &Cursor) -> Ordering {
        let orders = self.orders.iter().zip(&cursor.values).enumerate().map(|(index, (by, bound))| {
            let ascending = match (bound, key.get(index)) {
                (CursorValue::Field(bound), Some(value)) => order(value, bound),
                (CursorValue::Name(bound), _) => path.cmp(bound),
                // Only the name, which is last, has no value of its own.
                (CursorValue::Field(_), None) => Ordering::Equal,
            };
            by.direct(ascending)
        });
        first_difference(orders)
    }
}

impl Order {
    fn direct(&self, ascending: Ordering) -> Ordering {
        if self.descending { ascending.reverse() } else { ascending }
    }
}

impl Scope {
    fn parse(parent: Path, from: Vec<CollectionSelector>) -> Result<Self, Status> {
        let selector = match <[CollectionSelector; 1]>::try_from(from) {
            Ok([selector]) => selector,
            Err(none) if none.is_empty() => CollectionSelector::default(),
            Err(_) => return Err(invalid("A query has more than one collection selector.")),
        };
        let collection = Some(selector.collection_id).filter(|id| !id.is_empty());
        if let Some(id) = &collection {
            check_collection_id(id)?;
        }
        Ok(Self { parent, collection, all_descendants: selector.all_descendants })
    }

    fn contains(&self, path: &Path) -> bool {
        self.all_descendants || path.is_grandchild_of(&self.parent)
    }

    /// The narrowest range of names that holds all results.
    fn range(
        &self,
        filter: Option<&Filter>,
        orders: &[Order],
        start: Option<&Cursor>,
        end: Option<&Cursor>,
    ) -> NameRange {
        let mut range = match &self.collection {
            Some(id) if !self.all_descendants => NameRange::below(&self.parent.child(id)),
            _ => NameRange::below(&self.parent),
        };
        if let Some(filter) = filter {
            filter.narrow(&mut range);
        }
        if name_order(orders).is_some_and(|by| !by.descending) {
            if let Some(Cursor { values, before }) = start
                && let [CursorValue::Name(name)] = &values[..]
            {
                range.start(if *before {
                    Bound::Included(name.clone())
                } else {
                    Bound::Excluded(name.clone())
                });
            }
            if let Some(Cursor { values, before }) = end
                && let [CursorValue::Name(name)] = &values[..]
            {
                range.end(if *before {
                    Bound::Excluded(name.clone())
                } else {
                    Bound::Included(name.clone())
                });
            }
        }
        range
    }
}

impl Cursor {
    fn parse(database: &str, cursor: WireCursor, orders: &[Order]) -> Result<Self, Status> {
        if cursor.values.len() > orders.len() {
            return Err(invalid("A cursor has more values than the query has orders."));
        }
        let values = orders.iter().zip(cursor.values).map(|(order, mut value)| match order.field {
            None => parse_name(database, &value).map(CursorValue::Name),
            Some(_) => check_operand(&mut value).map(|()| CursorValue::Field(value)),
        });
        Ok(Self { values: values.collect::<Result<_, _>>()?, before: cursor.before })
    }
}

/// The order by name, where it is the only one: nothing can be ordered further.
fn name_order(orders: &[Order]) -> Option<&Order> {
    orders.first().filter(|by| by.field.is_none())
}

fn tests_fields(filter: Option<&Filter>) -> bool {
    filter.is_some_and(Filter::tests_fields)
}

fn parse_orders(orders: &[WireOrder]) -> Result<Vec<Order>, Status> {
    let mut parsed = Vec::<Order>::with_capacity(orders.len() + 1);
    for order in orders {
        let field = parse_reference(order.field.as_ref())?;
        let field = (!field.is_name()).then_some(field);
        if parsed.iter().any(|earlier| earlier.field.is_none()) {
            return Err(invalid("A query cannot be ordered by more fields after the name."));
        }
        if parsed.iter().any(|earlier| earlier.field == field) {
            return Err(invalid("A query is ordered by the same field twice."));
        }
        parsed.push(Order { field, descending: order.direction() == Direction::Descending });
    }
    Ok(parsed)
}

/// Adds what Firestore orders by unasked: the fields of inequalities, and the name, in the last given direction.
fn complete_orders(mut orders: Vec<Order>, filter: Option<&Filter>) -> Vec<Order> {
    if orders.iter().any(|order| order.field.is_none()) {
        return orders;
    }
    let descending = orders.last().is_some_and(|order| order.descending);
    let mut inequalities = Vec::new();
    if let Some(filter) = filter {
        filter.inequality_fields(&mut inequalities);
    }
    inequalities.sort_unstable();
    for field in inequalities {
        if !orders.iter().any(|order| order.field.as_ref() == Some(field)) {
            orders.push(Order { field: Some(field.clone()), descending });
        }
    }
    orders.push(Order { field: None, descending });
    orders
}

#[cfg(test)]
mod tests {
    use super::super::testing::{
        DATABASE, document, field_filter, field_reference, int, reference, text, to_fields,
    };
    use super::*;
    use gcloud_sdk::google::firestore::v1::structured_query::field_filter::Operator as FieldOp;
    use proptest::prelude::*;

    fn order_by(path: &str, descending: bool) -> WireOrder {
        let direction = if descending { Direction::Descending } else { Direction::Ascending };
        WireOrder { field: Some(field_reference(path)), direction: direction.into() }
    }

    fn parse(query: StructuredQuery) -> Result<Query, tonic::Code> {
        Query::parse(DATABASE, Path::root(), query).map_err(|refusal| refusal.code())
    }

    /// The documents of `u`, numbered, each with the `x` and `y` given for it.
    fn store_of(documents: &[(Option<i64>, i64)]) -> Store {
        let mut store = Store::default();
        for (number, (x, y)) in documents.iter().enumerate() {
            let mut fields = to_fields(&[("y", int(*y))]);
            fields.extend(x.map(|x| ("x".to_owned(), int(x))));
            store.put(document(&format!("u/{number:02}")), fields, 1, 1);
        }
        store
    }

    fn from_u() -> StructuredQuery {
        let selector = CollectionSelector { collection_id: "u".to_owned(), all_descendants: false };
        StructuredQuery { from: vec![selector], ..StructuredQuery::default() }
    }

    fn run(store: &Store, query: StructuredQuery) -> Vec<Found> {
        parse(query).expect("a valid query").run(store, None)
    }

    fn paths(found: &[Found]) -> Vec<String> {
        found.iter().map(|found| found.path.to_string()).collect()
    }

    #[test]
    fn the_order_is_completed_by_inequalities_and_the_name() {
        let shown = |query: StructuredQuery| {
            let by = |order: &Order| {
                let field = order.field.as_ref().map_or("name".to_owned(), |field| format!("{field:?}"));
                format!("{}{field}", if order.descending { "-" } else { "" })
            };
            parse(query).unwrap().orders.iter().map(by).collect::<Vec<_>>()
        };
        let [x, y] = ["x", "y"].map(|path| format!("{:?}", FieldPath::parse(path).unwrap()));
        let above = Some(field_filter("y", FieldOp::GreaterThan, int(0)));
        let cases = [
            (from_u(), vec!["name".to_owned()]),
            (StructuredQuery { r#where: above.clone(), ..from_u() }, vec![y.clone(), "name".to_owned()]),
            (
                StructuredQuery { r#where: above, order_by: vec![order_by("x", true)], ..from_u() },
                vec![format!("-{x}"), format!("-{y}"), "-name".to_owned()],
            ),
            (
                StructuredQuery {
                    order_by: vec![order_by("x", true), order_by("__name__", false)],
                    ..from_u()
                },
                vec![format!("-{x}"), "name".to_owned()],
            ),
        ];
        for (query, expected) in cases {
            assert_eq!(shown(query.clone()), expected, "{query:?}");
        }
    }

    #[test]
    fn malformed_queries_are_refused() {
        let cursor = |values: &[Value]| Some(WireCursor { values: values.to_vec(), before: true });
        let bad = [
            StructuredQuery { offset: -1, ..from_u() },
            StructuredQuery { limit: Some(-1), ..from_u() },
            StructuredQuery { start_at: cursor(&[int(1)]), ..from_u() },
            StructuredQuery { from: vec![CollectionSelector::default(); 2], ..from_u() },
            StructuredQuery { order_by: vec![order_by("x", false), order_by("x", true)], ..from_u() },
            StructuredQuery { order_by: vec![order_by("__name__", false), order_by("x", true)], ..from_u() },
            StructuredQuery {
                order_by: vec![order_by("__name__", false)],
                start_at: cursor(&[text("01")]),
                ..from_u()
            },
        ];
        for query in bad {
            assert_eq!(parse(query.clone()).err(), Some(tonic::Code::InvalidArgument), "{query:?}");
        }
        let backwards = StructuredQuery { order_by: vec![order_by("__name__", true)], ..from_u() };
        assert_eq!(parse(backwards).err(), Some(tonic::Code::FailedPrecondition));
    }

    #[test]
    fn a_page_of_a_collection_goes_on_behind_an_id() {
        let store = store_of(&[(None, 0); 5]);
        let page = |after| paths(&Query::page(Path::root(), "u", after, 2).run(&store, None));
        assert_eq!(page(None), ["u/00", "u/01"]);
        assert_eq!(page(Some("01")), ["u/02", "u/03"]);
        assert_eq!(page(Some("03")), ["u/04"]);
    }

    fn any_documents() -> impl Strategy<Value = Vec<(Option<i64>, i64)>> {
        prop::collection::vec((prop::option::of(0_i64..4), 0_i64..3), 0..25)
    }

    fn any_orders() -> impl Strategy<Value = Vec<WireOrder>> {
        let by = |path: &'static str| any::<bool>().prop_map(move |descending| order_by(path, descending));
        prop_oneof![
            Just(Vec::new()),
            by("x").prop_map(|x| vec![x]),
            (by("x"), by("y")).prop_map(|(x, y)| vec![x, y]),
            (by("y"), by("__name__")).prop_map(|(y, name)| vec![y, name]),
        ]
    }

    proptest! {
        #[test]
        fn a_walk_with_cursors_visits_each_document_once(
            documents in any_documents(), orders in any_orders(), size in 1_i32..5,
        ) {
            let store = store_of(&documents);
            let query = StructuredQuery { order_by: orders.clone(), ..from_u() };
            // Cursors name values of explicit orders only, so the name, which makes them unique, must be one.
            let mut total = orders;
            if total.iter().all(|order| order.field != Some(field_reference("__name__"))) {
                let direction = total.last().map_or(Direction::Ascending.into(), |order| order.direction);
                total.push(WireOrder { field: Some(field_reference("__name__")), direction });
            }
            let mut visited = Vec::new();
            let mut start_at = None;
            loop {
                let page = StructuredQuery { order_by: total.clone(), limit: Some(size), start_at, ..from_u() };
                let found = run(&store, page);
                visited.extend(paths(&found));
                let Some(last) = found.last() else { break };
                let fields = last.stored.fields();
                let values = total.iter().map(|order| match order.field.as_ref().map(|field| &*field.field_path) {
                    Some("__name__") | None => reference(&last.path.to_string()),
                    Some(field) => fields[field].clone(),
                });
                start_at = Some(WireCursor { values: values.collect(), before: false });
            }
            prop_assert_eq!(visited, paths(&run(&store, query)));
        }

        #[test]
        fn offset_and_limit_cut_a_piece_out_of_the_results(
            documents in any_documents(), orders in any_orders(), offset in 0_usize..30, limit in 0_usize..10,
        ) {
            let store = store_of(&documents);
            let query = StructuredQuery { order_by: orders, ..from_u() };
            let all = paths(&run(&store, query.clone()));
            let cut = StructuredQuery {
                offset: i32::try_from(offset).unwrap(),
                limit: Some(i32::try_from(limit).unwrap()),
                ..query
            };
            let expected: Vec<_> = all.into_iter().skip(offset).take(limit).collect();
            prop_assert_eq!(paths(&run(&store, cut)), expected);
        }

        #[test]
        fn results_are_sorted_and_have_the_fields_they_are_sorted_by(
            documents in any_documents(), descending: bool,
        ) {
            let store = store_of(&documents);
            let query = StructuredQuery { order_by: vec![order_by("x", descending)], ..from_u() };
            let mut expected: Vec<_> = documents
                .iter()
                .enumerate()
                .filter_map(|(number, (x, _))| Some(((*x)?, format!("u/{number:02}"))))
                .collect();
            expected.sort();
            if descending {
                expected.reverse();
            }
            let expected: Vec<_> = expected.into_iter().map(|(_, path)| path).collect();
            prop_assert_eq!(paths(&run(&store, query)), expected);
        }
    }
}
