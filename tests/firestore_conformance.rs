//! The sandbox's Firestore and Google's emulator, asked the same, answer the same.
//!
//! Each scenario is a sequence of raw calls. It asserts what it is about, and then all outcomes of both are compared
//! (documents, results, status codes; times by their order, messages not at all).
//!
//! Left out, because they must differ:
//! - Contention. The emulator locks what a transaction reads, and makes other writers wait; the sandbox aborts at the
//!   commit. `transactions_are_optimistic` tests that on the sandbox alone.
//! - Names of another database than the request's. The emulator takes them; the sandbox refuses, as Firestore does.
//! - Requests between 4 and 10 MiB, which reach the emulator only in part of its transports.
//! - `PartitionQuery`, which the emulator lacks as well, and the streams `Listen` and `Write`.
//! - A filtered collection group query below a document, which the emulator refuses and the sandbox serves.
//! - `BatchGetDocuments` of nothing in a new transaction: the emulator fails with UNKNOWN.
//! - Documents of a size close to 1 MiB: the emulator measures them in its own encoding.

#![cfg(feature = "sandbox")]
#![allow(
    clippy::expect_used,
    reason = "scenarios share helpers, which are test code as well"
)]

mod support;

use alpaca_pulse::sandbox::{Options, Sandbox};
use gcloud_sdk::google::firestore::v1::document_transform::FieldTransform;
use gcloud_sdk::google::firestore::v1::document_transform::field_transform::{ServerValue, TransformType};
use gcloud_sdk::google::firestore::v1::precondition::ConditionType;
use gcloud_sdk::google::firestore::v1::structured_aggregation_query::{Aggregation, aggregation};
use gcloud_sdk::google::firestore::v1::structured_query::composite_filter::Operator as CompositeOp;
use gcloud_sdk::google::firestore::v1::structured_query::field_filter::Operator as Op;
use gcloud_sdk::google::firestore::v1::structured_query::filter::FilterType;
use gcloud_sdk::google::firestore::v1::structured_query::unary_filter::{OperandType, Operator as UnaryOp};
use gcloud_sdk::google::firestore::v1::structured_query::*;
use gcloud_sdk::google::firestore::v1::transaction_options::{Mode, ReadOnly, ReadWrite};
use gcloud_sdk::google::firestore::v1::value::ValueType;
use gcloud_sdk::google::firestore::v1::*;
use gcloud_sdk::google::r#type::LatLng;
use prost_types::Timestamp;
use support::emulator::emulator;
use support::session::{Session, to_mask, value};
use tonic::Code;

/// Runs a scenario against both, and compares.
async fn conform(project: &str, scenario: impl AsyncFn(&mut Session)) {
    let sandbox = Sandbox::start(Options::default())
        .await
        .expect("loopback has a free port");
    let ours = outcomes(&sandbox.address().to_string(), project, &scenario).await;
    if let Some(emulator) = emulator() {
        let theirs = outcomes(emulator, project, &scenario).await;
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "the sandbox (left) and the emulator (right) differ");
        }
        assert_eq!(ours.len(), theirs.len());
    }
}

async fn outcomes(host: &str, project: &str, scenario: &impl AsyncFn(&mut Session)) -> Vec<String> {
    let mut session = Session::open(host, project).await;
    scenario(&mut session).await;
    session.outcomes()
}

fn int(number: i64) -> Value {
    value(ValueType::IntegerValue(number))
}

fn double(number: f64) -> Value {
    value(ValueType::DoubleValue(number))
}

fn text(text: &str) -> Value {
    value(ValueType::StringValue(text.to_owned()))
}

fn null() -> Value {
    value(ValueType::NullValue(0))
}

fn boolean(truth: bool) -> Value {
    value(ValueType::BooleanValue(truth))
}

fn array(values: &[Value]) -> Value {
    value(ValueType::ArrayValue(ArrayValue {
        values: values.to_vec(),
    }))
}

fn map(fields: &[(&str, Value)]) -> Value {
    value(ValueType::MapValue(MapValue {
        fields: support::session::to_fields(fields),
    }))
}

fn time(seconds: i64, nanos: i32) -> Value {
    value(ValueType::TimestampValue(Timestamp { seconds, nanos }))
}

fn only_if(write: Write, condition: ConditionType) -> Write {
    Write {
        current_document: Some(Precondition {
            condition_type: Some(condition),
        }),
        ..write
    }
}

fn with_transforms(write: Write, transforms: &[(&str, TransformType)]) -> Write {
    Write {
        update_transforms: to_transforms(transforms),
        ..write
    }
}

fn to_transforms(transforms: &[(&str, TransformType)]) -> Vec<FieldTransform> {
    let transform = |(path, kind): &(&str, TransformType)| FieldTransform {
        field_path: (*path).to_owned(),
        transform_type: Some(kind.clone()),
    };
    transforms.iter().map(transform).collect()
}

/// The operation that carries only transforms, which older clients send.
fn legacy_transform(session: &Session, path: &str, transforms: &[(&str, TransformType)]) -> Write {
    let transform = DocumentTransform {
        document: session.name(path),
        field_transforms: to_transforms(transforms),
    };
    Write {
        operation: Some(write::Operation::Transform(transform)),
        ..Default::default()
    }
}

const REQUEST_TIME: TransformType = TransformType::SetToServerValue(ServerValue::RequestTime as i32);

fn field(path: &str) -> Option<FieldReference> {
    Some(FieldReference {
        field_path: path.to_owned(),
    })
}

fn from(collection: &str) -> StructuredQuery {
    let selector = CollectionSelector {
        collection_id: collection.to_owned(),
        all_descendants: false,
    };
    StructuredQuery {
        from: vec![selector],
        ..Default::default()
    }
}

fn from_group(collection: &str) -> StructuredQuery {
    let selector = CollectionSelector {
        collection_id: collection.to_owned(),
        all_descendants: true,
    };
    StructuredQuery {
        from: vec![selector],
        ..Default::default()
    }
}

fn filter(path: &str, op: Op, operand: Value) -> Filter {
    let filter = FieldFilter {
        field: field(path),
        op: op.into(),
        value: Some(operand),
    };
    Filter {
        filter_type: Some(FilterType::FieldFilter(filter)),
    }
}

fn unary(path: &str, op: UnaryOp) -> Filter {
    let filter = UnaryFilter {
        op: op.into(),
        operand_type: field(path).map(OperandType::Field),
    };
    Filter {
        filter_type: Some(FilterType::UnaryFilter(filter)),
    }
}

fn composite(op: CompositeOp, filters: &[Filter]) -> Filter {
    let filter = CompositeFilter {
        op: op.into(),
        filters: filters.to_vec(),
    };
    Filter {
        filter_type: Some(FilterType::CompositeFilter(filter)),
    }
}

fn all(filters: &[Filter]) -> Filter {
    composite(CompositeOp::And, filters)
}

fn any(filters: &[Filter]) -> Filter {
    composite(CompositeOp::Or, filters)
}

fn filtered(query: StructuredQuery, filter: Filter) -> StructuredQuery {
    StructuredQuery {
        r#where: Some(filter),
        ..query
    }
}

fn ordered(query: StructuredQuery, orders: &[(&str, Direction)]) -> StructuredQuery {
    let orders = orders.iter().map(|(path, direction)| Order {
        field: field(path),
        direction: (*direction).into(),
    });
    StructuredQuery {
        order_by: orders.collect(),
        ..query
    }
}

fn start(query: StructuredQuery, before: bool, values: &[Value]) -> StructuredQuery {
    StructuredQuery {
        start_at: Some(Cursor {
            values: values.to_vec(),
            before,
        }),
        ..query
    }
}

fn end(query: StructuredQuery, before: bool, values: &[Value]) -> StructuredQuery {
    StructuredQuery {
        end_at: Some(Cursor {
            values: values.to_vec(),
            before,
        }),
        ..query
    }
}

fn select(query: StructuredQuery, paths: &[&str]) -> StructuredQuery {
    let fields = paths
        .iter()
        .map(|path| FieldReference {
            field_path: (*path).to_owned(),
        })
        .collect();
    StructuredQuery {
        select: Some(Projection { fields }),
        ..query
    }
}

fn limited(query: StructuredQuery, offset: i32, limit: i32) -> StructuredQuery {
    StructuredQuery {
        offset,
        limit: Some(limit),
        ..query
    }
}

use Direction::{Ascending, Descending};

#[tokio::test]
async fn a_document_is_created_replaced_merged_and_deleted() {
    conform("documents", async |db: &mut Session| {
        assert_eq!(db.get("u/a").await, Err(Code::NotFound));
        db.commit([db.update(
            "u/a",
            &[("a", int(1)), ("b", map(&[("c", int(2)), ("d", int(3))]))],
        )])
        .await
        .unwrap();
        db.commit([db.merge(
            "u/a",
            &["b.c", "b.d", "e"],
            &[("b", map(&[("c", int(9))])), ("x", int(0))],
        )])
        .await
        .unwrap();
        let merged = db.get("u/a").await.unwrap();
        assert_eq!(merged.fields["b"], map(&[("c", int(9))]));
        assert!(merged.fields.contains_key("a") && !merged.fields.contains_key("x"));
        assert!(merged.create_time.unwrap().nanos != merged.update_time.unwrap().nanos);
        db.commit([db.update("u/a", &[("z", int(1))])]).await.unwrap();
        assert_eq!(db.get("u/a").await.unwrap().fields.len(), 1);
        db.commit([db.delete("u/a")]).await.unwrap();
        assert_eq!(db.get("u/a").await, Err(Code::NotFound));
        db.commit([db.delete("u/a")]).await.unwrap();
        db.commit([]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn masks_reach_into_maps_and_quote_odd_names() {
    conform("masks", async |db: &mut Session| {
        db.commit([db.update(
            "u/a",
            &[("s", int(1)), ("a b", int(2)), ("m", map(&[("x", int(1))]))],
        )])
        .await
        .unwrap();
        db.commit([db.merge("u/a", &["s.x.y"], &[("s", map(&[("x", map(&[("y", int(1))]))]))])])
            .await
            .unwrap();
        db.commit([db.merge("u/a", &["`a b`", "m.x"], &[("a b", int(3))])])
            .await
            .unwrap();
        let document = db.get("u/a").await.unwrap();
        assert_eq!(
            document.fields["s"],
            map(&[("x", map(&[("y", int(1))]))]),
            "the scalar gave way to maps"
        );
        assert_eq!(
            (&document.fields["a b"], &document.fields["m"]),
            (&int(3), &map(&[]))
        );
        db.commit([db.merge("u/a", &[], &[("z", int(1))])]).await.unwrap();
        db.commit([db.merge("u/a", &["a b.c.d", "q.r"], &[])])
            .await
            .unwrap_err();
        db.commit([db.merge("u/a", &["q.r", "s.x.y.z"], &[])])
            .await
            .unwrap();
        db.commit([db.merge("u/a", &["d", "d"], &[("d", int(1))])])
            .await
            .unwrap();
        db.commit([db.merge(
            "u/a",
            &["d", "d.e"],
            &[("d", map(&[("e", int(1)), ("f", int(2))]))],
        )])
        .await
        .unwrap();
        db.commit([db.merge("u/new", &["a.b"], &[])]).await.unwrap();
        db.get("u/a").await.unwrap();
        db.get("u/new").await.unwrap();
        for mask in [
            "a b", "", "a.", ".a", "a..b", "1a", "`a", "``", "`a`b", "a-b", "é", "*", "__x__", "a.__x__",
        ] {
            assert_eq!(
                db.commit([db.merge("u/a", &[mask], &[])]).await,
                Err(Code::InvalidArgument),
                "{mask}"
            );
        }
        for mask in ["`a\\`b`", "`a\\\\b`", "a.`b`.c", "`é`", "_a1"] {
            db.commit([db.merge("u/a", &[mask], &[])]).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn preconditions_hold_or_nothing_is_written() {
    conform("preconditions", async |db: &mut Session| {
        let exists = |write, exists| only_if(write, ConditionType::Exists(exists));
        let refused = db
            .commit([db.update("u/x", &[]), exists(db.update("u/a", &[]), true)])
            .await;
        assert_eq!(refused, Err(Code::NotFound));
        assert_eq!(db.get("u/x").await, Err(Code::NotFound), "all or nothing");
        let created = db
            .commit([exists(db.update("u/a", &[("a", int(1))]), false)])
            .await
            .unwrap();
        assert_eq!(
            db.commit([exists(db.update("u/a", &[]), false)]).await,
            Err(Code::AlreadyExists)
        );
        db.commit([exists(db.update("u/a", &[("a", int(2))]), true)])
            .await
            .unwrap();
        let stale = ConditionType::UpdateTime(created.commit_time.unwrap());
        assert_eq!(
            db.commit([only_if(db.update("u/a", &[]), stale)]).await,
            Err(Code::FailedPrecondition)
        );
        assert_eq!(
            db.commit([only_if(db.delete("u/a"), stale)]).await,
            Err(Code::FailedPrecondition)
        );
        assert_eq!(
            db.commit([only_if(db.update("u/none", &[]), stale)]).await,
            Err(Code::FailedPrecondition)
        );
        let current = ConditionType::UpdateTime(db.get("u/a").await.unwrap().update_time.unwrap());
        db.commit([only_if(db.update("u/a", &[("a", int(3))]), current)])
            .await
            .unwrap();
        assert_eq!(
            db.commit([exists(db.delete("u/none"), true)]).await,
            Err(Code::NotFound)
        );
        assert_eq!(
            db.commit([exists(db.delete("u/a"), false)]).await,
            Err(Code::AlreadyExists)
        );
        db.commit([exists(db.delete("u/none"), false)]).await.unwrap();
        db.commit([exists(db.delete("u/a"), true)]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_write_that_changes_nothing_keeps_the_update_time() {
    conform("no-op", async |db: &mut Session| {
        let odd = &[
            ("n", double(f64::NAN)),
            ("m", map(&[("a", array(&[int(1)]))])),
            ("i", int(1)),
        ];
        let first = db.commit([db.update("u/a", odd)]).await.unwrap();
        let again = db.commit([db.update("u/a", odd)]).await.unwrap();
        assert_eq!(
            again.write_results[0].update_time,
            first.write_results[0].update_time
        );
        assert_ne!(again.commit_time, first.commit_time);
        db.commit([db.merge("u/a", &["i", "gone"], &[("i", int(1))])])
            .await
            .unwrap();
        let plus_nothing = with_transforms(
            db.merge("u/a", &[], &[]),
            &[("i", TransformType::Increment(int(0)))],
        );
        db.commit([plus_nothing]).await.unwrap();
        let there_and_back = [
            db.merge("u/a", &["i"], &[("i", int(2))]),
            db.merge("u/a", &["i"], &[("i", int(1))]),
        ];
        db.commit(there_and_back).await.unwrap();
        assert_eq!(db.get("u/a").await.unwrap().update_time, first.commit_time);
        let retyped = db
            .commit([db.merge("u/a", &["i"], &[("i", double(1.0))])])
            .await
            .unwrap();
        assert_eq!(retyped.write_results[0].update_time, retyped.commit_time);
    })
    .await;
}

#[tokio::test]
async fn one_request_may_write_a_document_twice() {
    conform("twice", async |db: &mut Session| {
        let exists = |write, exists| only_if(write, ConditionType::Exists(exists));
        db.commit([
            db.update("u/a", &[("a", int(1))]),
            db.update("u/a", &[("a", int(2))]),
        ])
        .await
        .unwrap();
        let gone = db
            .commit([db.update("u/a", &[]), db.delete("u/a")])
            .await
            .unwrap();
        assert_eq!(
            gone.write_results[0].update_time, None,
            "the results tell what became of the document"
        );
        db.commit([db.update("u/a", &[("a", int(1))])]).await.unwrap();
        let replaced = db
            .commit([db.delete("u/a"), db.update("u/a", &[("a", int(1))])])
            .await
            .unwrap();
        assert_eq!(db.get("u/a").await.unwrap().create_time, replaced.commit_time);
        db.commit([db.delete("u/a"), exists(db.update("u/a", &[]), false)])
            .await
            .unwrap();
        db.commit([
            exists(db.update("u/n", &[]), false),
            exists(db.update("u/n", &[("a", int(1))]), true),
        ])
        .await
        .unwrap();
        db.commit([db.update("u/n", &[]), exists(db.delete("u/n"), true)])
            .await
            .unwrap();
        let version = ConditionType::UpdateTime(replaced.commit_time.unwrap());
        for contradiction in [
            [db.update("u/b", &[]), exists(db.update("u/b", &[]), false)],
            [
                exists(db.update("u/b", &[]), false),
                exists(db.delete("u/b"), false),
            ],
            [db.delete("u/a"), exists(db.update("u/a", &[]), true)],
            [db.delete("u/a"), exists(db.delete("u/a"), true)],
            [db.update("u/a", &[]), only_if(db.update("u/a", &[]), version)],
        ] {
            assert_eq!(db.commit(contradiction).await, Err(Code::InvalidArgument));
        }
    })
    .await;
}

#[tokio::test]
async fn transforms_compute_on_the_server() {
    conform("transforms", async |db: &mut Session| {
        use TransformType::{AppendMissingElements, Increment, Maximum, Minimum, RemoveAllFromArray};
        let elements = |values: &[Value]| ArrayValue {
            values: values.to_vec(),
        };
        let numbers = db.update(
            "t/numbers",
            &[
                ("i", int(1)),
                ("d", double(1.5)),
                ("s", text("x")),
                ("max", int(i64::MAX)),
                ("nan", double(f64::NAN)),
            ],
        );
        let answer = db.commit([with_transforms(
            numbers,
            &[
                ("i", Increment(int(2))),
                ("d", Increment(int(1))),
                ("s", Increment(int(5))),
                ("new", Increment(double(0.5))),
                ("max", Increment(int(1))),
                ("when.exactly", REQUEST_TIME),
            ],
        )]);
        let answer = answer.await.unwrap();
        assert_eq!(
            answer.write_results[0].transform_results[..3],
            [int(3), double(2.5), int(5)]
        );
        let extremes = [
            ("i", Maximum(int(2))),
            ("i", Maximum(double(3.0))),
            ("d", Maximum(int(7))),
            ("d", Minimum(double(7.0))),
            ("s", Minimum(double(-0.0))),
            ("nan", Maximum(int(5))),
            ("max", Minimum(double(f64::NAN))),
            ("fresh", Minimum(int(1))),
        ];
        db.commit([with_transforms(db.merge("t/numbers", &[], &[]), &extremes)])
            .await
            .unwrap();
        db.get("t/numbers").await.unwrap();
        let arrays = db.update(
            "t/arrays",
            &[
                ("a", array(&[int(1), int(1), text("x")])),
                ("b", array(&[int(1)])),
                ("s", text("s")),
            ],
        );
        db.commit([with_transforms(
            arrays,
            &[
                (
                    "a",
                    AppendMissingElements(elements(&[double(1.0), int(3), int(3), null()])),
                ),
                ("b", RemoveAllFromArray(elements(&[double(1.0)]))),
                ("s", AppendMissingElements(elements(&[int(1), int(1)]))),
                ("none", RemoveAllFromArray(elements(&[int(1)]))),
            ],
        )])
        .await
        .unwrap();
        db.commit([legacy_transform(
            db,
            "t/arrays",
            &[("a", RemoveAllFromArray(elements(&[int(1), null()])))],
        )])
        .await
        .unwrap();
        assert_eq!(
            db.get("t/arrays").await.unwrap().fields["a"],
            array(&[text("x"), int(3)])
        );
        db.commit([legacy_transform(
            db,
            "t/new",
            &[("n.x", REQUEST_TIME), ("n.y", Increment(int(1)))],
        )])
        .await
        .unwrap();
        db.get("t/new").await.unwrap();
        let merged = db.merge("t/numbers", &["i", "gone"], &[("i", int(10))]);
        db.commit([with_transforms(
            merged,
            &[("i", Increment(int(1))), ("i", Increment(int(1)))],
        )])
        .await
        .unwrap();
        assert_eq!(db.get("t/numbers").await.unwrap().fields["i"], int(12));
    })
    .await;
}

#[tokio::test]
async fn transforms_that_make_no_sense_are_refused() {
    conform("bad-transforms", async |db: &mut Session| {
        use TransformType::{Increment, Maximum, SetToServerValue};
        let update = |transforms: &[_]| with_transforms(db.update("t/a", &[]), transforms);
        let legacy = legacy_transform(db, "t/a", &[("a", REQUEST_TIME)]);
        let bad = [
            update(&[("a", Increment(text("x")))]),
            update(&[("a", Maximum(null()))]),
            update(&[("a", SetToServerValue(0))]),
            update(&[("a b", REQUEST_TIME)]),
            update(&[("a", REQUEST_TIME), ("a.b", REQUEST_TIME)]),
            Write {
                update_transforms: vec![FieldTransform {
                    field_path: "a".into(),
                    transform_type: None,
                }],
                ..db.update("t/a", &[])
            },
            with_transforms(db.delete("t/a"), &[("a", REQUEST_TIME)]),
            Write {
                update_mask: Some(to_mask(&["a"])),
                ..legacy.clone()
            },
            legacy_transform(db, "t/a", &[]),
            Write::default(),
        ];
        for write in bad {
            assert_eq!(
                db.commit([write.clone()]).await,
                Err(Code::InvalidArgument),
                "{write:?}"
            );
        }
        assert_eq!(
            db.commit([only_if(legacy, ConditionType::Exists(true))]).await,
            Err(Code::NotFound)
        );
    })
    .await;
}

#[tokio::test]
async fn names_and_values_outside_the_limits_are_refused() {
    conform("limits", async |db: &mut Session| {
        for id in [".", "..", "__x__", &"x".repeat(1501), &"é".repeat(751)] {
            assert_eq!(
                db.commit([db.update(&format!("u/{id}"), &[])]).await,
                Err(Code::InvalidArgument),
                "{id}"
            );
        }
        for id in ["__x", "__id7__", "a b", "é", &"x".repeat(1500), &"é".repeat(750)] {
            db.commit([db.update(&format!("u/{id}"), &[])]).await.unwrap();
        }
        for path in ["u", "u//b/c", "./d", "../d", "__x__/d", "__id7__/d", "u/a/s"] {
            assert_eq!(
                db.commit([db.update(path, &[])]).await,
                Err(Code::InvalidArgument),
                "{path}"
            );
        }
        let elsewhere = Document {
            name: "nowhere".into(),
            ..Default::default()
        };
        let write = Write {
            operation: Some(write::Operation::Update(elsewhere)),
            ..Default::default()
        };
        assert_eq!(db.commit([write]).await, Err(Code::InvalidArgument));
        for name in ["a.b", "a`b", "a/b", " ", "__x", &"x".repeat(1500)] {
            db.commit([db.update("u/f", &[(name, int(1))])]).await.unwrap();
        }
        let nested = |levels| (0..levels).fold(int(1), |inner, _| map(&[("n", inner)]));
        db.commit([db.update("u/v", &[("n", nested(20))])]).await.unwrap();
        let point = |latitude, longitude| value(ValueType::GeoPointValue(LatLng { latitude, longitude }));
        let bad = [
            ("", int(1)),
            ("__x__", int(1)),
            (&*"x".repeat(1501), int(1)),
            ("a", array(&[array(&[int(1)])])),
            ("a", array(&[map(&[("b", array(&[array(&[])]))])])),
            ("a", Value::default()),
            ("a", map(&[("__x__", int(1))])),
            ("a", value(ValueType::ReferenceValue("u/a".into()))),
            ("a", point(91.0, 0.0)),
            ("a", point(0.0, 181.0)),
            ("a", nested(21)),
            ("a", text(&"x".repeat(1_048_488))),
        ];
        for (name, value) in bad {
            let refused = db.commit([db.update("u/v", &[(name, value)])]).await;
            assert_eq!(refused, Err(Code::InvalidArgument), "{name:.9}");
        }
        let halves = [
            ("a", text(&"x".repeat(600_000))),
            ("b", text(&"x".repeat(600_000))),
        ];
        assert_eq!(
            db.commit([db.update("u/v", &halves)]).await,
            Err(Code::InvalidArgument)
        );
        db.commit([db.update(
            "u/v",
            &[
                ("a", array(&[map(&[("b", array(&[]))])])),
                ("t", time(9, 123_456_789)),
            ],
        )])
        .await
        .unwrap();
        assert_eq!(
            db.get("u/v").await.unwrap().fields["t"],
            time(9, 123_456_000),
            "microseconds are kept"
        );
        assert_eq!(db.get("u").await, Err(Code::InvalidArgument));
    })
    .await;
}

#[tokio::test]
async fn a_batch_write_applies_each_write_on_its_own() {
    conform("batch-write", async |db: &mut Session| {
        let needy = only_if(db.update("b/2", &[]), ConditionType::Exists(true));
        let stamped = with_transforms(db.update("b/4", &[]), &[("t", REQUEST_TIME)]);
        let answer = db
            .batch_write([
                db.update("b/1", &[("a", int(1))]),
                needy,
                db.delete("b/3"),
                stamped,
            ])
            .await
            .unwrap();
        let codes: Vec<_> = answer.status.iter().map(|status| status.code).collect();
        assert_eq!(codes, [0, Code::NotFound as i32, 0, 0]);
        db.get("b/1").await.unwrap();
        db.batch_write([db.update("b/1", &[("a", int(1))])])
            .await
            .unwrap();
        let twice = db.batch_write([db.update("b/5", &[]), db.delete("b/5")]).await;
        assert_eq!(twice, Err(Code::InvalidArgument));
        for bad in [
            db.update("b/.", &[]),
            db.update("b/6", &[("", int(1))]),
            db.merge("b/6", &["a b"], &[]),
            Write::default(),
        ] {
            assert_eq!(
                db.batch_write([db.update("b/7", &[]), bad]).await,
                Err(Code::InvalidArgument)
            );
        }
        assert_eq!(db.get("b/7").await, Err(Code::NotFound));
        db.batch_write([]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn documents_are_read_by_name() {
    conform("reads", async |db: &mut Session| {
        let fields = [("a", int(1)), ("b", map(&[("c", int(2)), ("d", int(3))]))];
        db.commit([db.update("u/a", &fields), db.update("u/b", &fields)])
            .await
            .unwrap();
        let found = db
            .batch_get(&["u/b", "u/none", "u/a", "u/b"], None)
            .await
            .unwrap();
        assert_eq!(found, ["u/a", "u/b"], "sorted by the test");
        for mask in [&["b.c", "zz"][..], &["__name__"], &[], &["b", "b.c"]] {
            db.batch_get(&["u/a"], Some(mask)).await.unwrap();
            let request = GetDocumentRequest {
                name: db.name("u/a"),
                mask: Some(to_mask(mask)),
                ..Default::default()
            };
            db.get_document(request).await.unwrap();
        }
        assert_eq!(
            db.batch_get(&["u/a"], Some(&["a b"])).await,
            Err(Code::InvalidArgument)
        );
        assert_eq!(db.batch_get(&["u"], None).await, Err(Code::InvalidArgument));
        db.batch_get(&[], None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn single_document_methods_work_as_commits() {
    conform("single", async |db: &mut Session| {
        let created = db.create("u", "a", &[("a", int(1))]).await.unwrap();
        assert_eq!(created.create_time, created.update_time);
        assert_eq!(db.create("u", "a", &[]).await, Err(Code::AlreadyExists));
        assert_eq!(db.create("u", "a/b", &[]).await, Err(Code::InvalidArgument));
        assert_eq!(db.create("u", "__x__", &[]).await, Err(Code::InvalidArgument));
        let document = Document {
            name: db.name("u/a"),
            fields: support::session::to_fields(&[("b", int(2))]),
            ..Default::default()
        };
        let request = UpdateDocumentRequest {
            document: Some(document),
            update_mask: Some(to_mask(&["b"])),
            mask: Some(to_mask(&["b"])),
            ..Default::default()
        };
        assert_eq!(db.update_document(request.clone()).await.unwrap().fields.len(), 1);
        db.get("u/a").await.unwrap();
        let absent = Some(Precondition {
            condition_type: Some(ConditionType::Exists(false)),
        });
        let refused = db
            .update_document(UpdateDocumentRequest {
                current_document: absent,
                ..request
            })
            .await;
        assert_eq!(refused, Err(Code::AlreadyExists));
        let request = DeleteDocumentRequest {
            name: db.name("u/a"),
            ..Default::default()
        };
        db.delete_document(request.clone()).await.unwrap();
        db.delete_document(request.clone()).await.unwrap();
        let present = Some(Precondition {
            condition_type: Some(ConditionType::Exists(true)),
        });
        let refused = db
            .delete_document(DeleteDocumentRequest {
                current_document: present,
                ..request
            })
            .await;
        assert_eq!(refused, Err(Code::NotFound));
    })
    .await;
}

#[tokio::test]
async fn collections_are_listed_page_by_page() {
    conform("lists", async |db: &mut Session| {
        let ids = ["c", "a", "b", "Z", "é", "10", "9"];
        let mut writes: Vec<_> = ids
            .iter()
            .map(|id| db.update(&format!("u/{id}"), &[("a", int(1)), ("b", int(2))]))
            .collect();
        writes
            .extend(["u/miss/s/x", "u/a/s/x", "v/1", "u/miss/t/x/deep/er"].map(|path| db.update(path, &[])));
        db.commit(writes).await.unwrap();
        let (paths, _) = db.list("u", |_| ()).await.unwrap();
        assert_eq!(paths, ["u/10", "u/9", "u/Z", "u/a", "u/b", "u/c", "u/é"]);
        let mut token = String::new();
        let mut pages = Vec::new();
        loop {
            let (page, next) = db
                .list("u", |list| (list.page_size, list.page_token) = (3, token))
                .await
                .unwrap();
            pages.push(page.len());
            token = next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(pages, [3, 3, 1]);
        db.list("u", |list| list.page_size = 7).await.unwrap();
        db.list("u", |list| list.mask = Some(to_mask(&["b"])))
            .await
            .unwrap();
        db.list("u", |list| list.mask = Some(to_mask(&["__name__"])))
            .await
            .unwrap();
        let (shown, _) = db.list("u", |list| list.show_missing = true).await.unwrap();
        assert!(shown.contains(&"u/miss".to_owned()));
        db.list("u", |list| (list.show_missing, list.page_size) = (true, 6))
            .await
            .unwrap();
        let below = db.name("u/miss");
        assert_eq!(
            db.list("t", |list| (list.parent, list.show_missing) =
                (below.clone(), true))
                .await
                .unwrap()
                .0,
            ["u/miss/t/x"]
        );
        db.list("t", |list| list.parent = below).await.unwrap();
        db.list("nothing", |_| ()).await.unwrap();
        db.list("u", |list| list.order_by = "__name__".into())
            .await
            .unwrap();
        assert_eq!(
            db.list("u", |list| list.page_size = -1).await,
            Err(Code::InvalidArgument)
        );
        let both = db
            .list("u", |list| {
                (list.show_missing, list.order_by) = (true, "a".into())
            })
            .await;
        assert_eq!(both, Err(Code::InvalidArgument));

        assert_eq!(db.list_collections("", 0, "").await.unwrap().0, ["u", "v"]);
        let (first, token) = db.list_collections("u/miss", 1, "").await.unwrap();
        assert_eq!(
            (first, db.list_collections("u/miss", 1, &token).await.unwrap().0),
            (vec!["s".into()], vec!["t".into()])
        );
        db.list_collections("u/miss", 3, "").await.unwrap();
        db.list_collections("u/nobody", 0, "").await.unwrap();
        assert_eq!(db.list_collections("u", 0, "").await, Err(Code::InvalidArgument));
        assert_eq!(db.list_collections("", -1, "").await, Err(Code::InvalidArgument));
    })
    .await;
}

#[tokio::test]
async fn a_page_of_documents_has_a_default_and_a_largest_size() {
    conform("page-size", async |db: &mut Session| {
        let writes: Vec<_> = (0..160).map(|id| db.update(&format!("u/{id}"), &[])).collect();
        db.commit(writes).await.unwrap();
        assert_eq!(db.list("u", |_| ()).await.unwrap().0.len(), 30);
        assert_eq!(
            db.list("u", |list| list.page_size = 1000).await.unwrap().0.len(),
            150
        );
    })
    .await;
}

/// One document of every kind of value in `v`, in ascending order of `x`, and one without `x`.
async fn commit_values(db: &mut Session) {
    let point = |latitude, longitude| value(ValueType::GeoPointValue(LatLng { latitude, longitude }));
    let values = [
        null(),
        boolean(false),
        boolean(true),
        double(f64::NAN),
        double(f64::NEG_INFINITY),
        int(-1),
        double(-0.0),
        int(0),
        double(0.0),
        int(1),
        double(1.5),
        double(9_007_199_254_740_992.0),
        int(9_007_199_254_740_993),
        time(1_500_000_000, 0),
        text(""),
        text("a"),
        text("z"),
        text("é"),
        text("\u{ff5e}"),
        text("\u{1f600}"),
        value(ValueType::BytesValue(vec![0])),
        value(ValueType::BytesValue(vec![0, 1])),
        db.reference("u/10"),
        db.reference("u/a"),
        db.reference("u/a/b/c"),
        db.reference("u/a!"),
        point(1.0, -2.0),
        point(1.0, 2.0),
        array(&[]),
        array(&[int(1)]),
        array(&[int(1), int(2)]),
        array(&[int(2)]),
        map(&[]),
        map(&[("a", int(1))]),
        map(&[("a", int(1)), ("b", int(1))]),
        map(&[("a", int(2))]),
        map(&[("aa", int(0))]),
        map(&[("b", int(0))]),
    ];
    let mut writes: Vec<_> = values
        .into_iter()
        .enumerate()
        .map(|(index, value)| {
            db.update(
                &format!("v/{index:02}"),
                &[("x", value), ("y", int(index as i64 % 3))],
            )
        })
        .collect();
    writes.push(db.update("v/zz", &[("y", int(1))]));
    db.commit(writes).await.expect("these documents are valid");
}

#[tokio::test]
async fn values_sort_as_firestore_sorts_them() {
    conform("order", async |db: &mut Session| {
        commit_values(db).await;
        let ascending = db.query(ordered(from("v"), &[("x", Ascending)])).await.unwrap();
        assert_eq!(ascending.len(), 38, "not the document without the field");
        assert!(ascending.is_sorted(), "{ascending:?}");
        let mut descending = db.query(ordered(from("v"), &[("x", Descending)])).await.unwrap();
        descending.reverse();
        assert_eq!(descending, ascending, "the name follows the last direction");
        db.query(ordered(from("v"), &[("y", Descending), ("x", Ascending)]))
            .await
            .unwrap();
        db.query(ordered(from("v"), &[("y", Ascending), ("__name__", Descending)]))
            .await
            .unwrap();
        for bad in [
            &[("x y", Ascending)][..],
            &[("x", Ascending), ("x", Descending)],
            &[("__name__", Ascending), ("x", Ascending)],
        ] {
            assert_eq!(
                db.query(ordered(from("v"), bad)).await,
                Err(Code::InvalidArgument)
            );
        }
        let backwards = db.query(ordered(from("v"), &[("__name__", Descending)])).await;
        assert_eq!(backwards, Err(Code::FailedPrecondition));
    })
    .await;
}

#[tokio::test]
async fn filters_compare_within_one_type() {
    conform("filters", async |db: &mut Session| {
        commit_values(db).await;
        let operands = [
            int(1),
            int(0),
            int(9_007_199_254_740_993),
            null(),
            double(f64::NAN),
            text("a"),
            boolean(true),
            array(&[int(1)]),
            map(&[("a", int(1))]),
        ];
        for op in [
            Op::Equal,
            Op::NotEqual,
            Op::LessThan,
            Op::LessThanOrEqual,
            Op::GreaterThan,
            Op::GreaterThanOrEqual,
        ] {
            for operand in &operands {
                db.query(filtered(from("v"), filter("x", op, operand.clone())))
                    .await
                    .unwrap();
            }
        }
        let zeros = db
            .query(filtered(from("v"), filter("x", Op::Equal, int(0))))
            .await
            .unwrap();
        assert_eq!(zeros, ["v/06", "v/07", "v/08"]);
        let numbers = db
            .query(filtered(from("v"), filter("x", Op::LessThan, int(1))))
            .await
            .unwrap();
        assert_eq!(
            numbers,
            ["v/04", "v/05", "v/06", "v/07", "v/08"],
            "neither NaN nor another type"
        );
        for op in [
            UnaryOp::IsNull,
            UnaryOp::IsNan,
            UnaryOp::IsNotNull,
            UnaryOp::IsNotNan,
        ] {
            assert!(
                !db.query(filtered(from("v"), unary("x", op)))
                    .await
                    .unwrap()
                    .is_empty()
            );
        }
        let nested = filter("x.a", Op::LessThanOrEqual, int(1));
        assert_eq!(
            db.query(filtered(from("v"), nested)).await.unwrap(),
            ["v/33", "v/34"]
        );
    })
    .await;
}

#[tokio::test]
async fn filters_on_sets_and_arrays() {
    conform("sets", async |db: &mut Session| {
        commit_values(db).await;
        let lists = [
            array(&[int(1), text("a"), null(), double(f64::NAN)]),
            array(&[text("z"), text("a"), text("z")]),
            array(&[int(1), null()]),
            array(&[int(1), double(f64::NAN)]),
            array(&[int(2), int(7)]),
        ];
        for op in [Op::In, Op::NotIn, Op::ArrayContainsAny] {
            for list in &lists {
                db.query(filtered(from("v"), filter("x", op, list.clone())))
                    .await
                    .unwrap();
            }
            for bad in [array(&[]), int(1), array(&(0..31).map(int).collect::<Vec<_>>())] {
                assert_eq!(
                    db.query(filtered(from("v"), filter("x", op, bad))).await,
                    Err(Code::InvalidArgument)
                );
            }
        }
        let either = db
            .query(filtered(from("v"), filter("x", Op::In, lists[1].clone())))
            .await
            .unwrap();
        assert_eq!(either, ["v/15", "v/16"]);
        for operand in [int(2), null(), array(&[int(1)])] {
            db.query(filtered(from("v"), filter("x", Op::ArrayContains, operand)))
                .await
                .unwrap();
        }
        let ten_more = filter("x", Op::NotIn, array(&(0..11).map(int).collect::<Vec<_>>()));
        assert_eq!(
            db.query(filtered(from("v"), ten_more)).await,
            Err(Code::InvalidArgument)
        );
    })
    .await;
}

#[tokio::test]
async fn filters_combine() {
    conform("composite", async |db: &mut Session| {
        commit_values(db).await;
        let x = |op, operand| filter("x", op, operand);
        let y = |op, operand| filter("y", op, operand);
        let one_of = |numbers: std::ops::Range<i64>| array(&numbers.map(int).collect::<Vec<_>>());
        let good = [
            all(&[x(Op::GreaterThan, int(0)), x(Op::LessThan, int(2))]),
            any(&[x(Op::Equal, int(1)), y(Op::Equal, int(1))]),
            any(&[x(Op::GreaterThanOrEqual, text("z")), y(Op::Equal, int(1))]),
            all(&[
                any(&[y(Op::Equal, int(1)), y(Op::Equal, int(0))]),
                any(&[x(Op::Equal, int(1)), x(Op::Equal, text("a"))]),
            ]),
            all(&[x(Op::GreaterThan, int(0)), y(Op::GreaterThan, int(0))]),
            all(&[y(Op::Equal, int(0)), x(Op::NotEqual, int(1))]),
            all(&[y(Op::In, one_of(0..3)), x(Op::In, one_of(0..10))]),
            any(&[x(Op::ArrayContains, int(1)), y(Op::ArrayContains, int(1))]),
            all(&[x(Op::Equal, text("a"))]),
            all(&[]),
        ];
        for filter in good {
            db.query(filtered(from("v"), filter)).await.unwrap();
        }
        let range = all(&[x(Op::GreaterThan, int(0)), x(Op::LessThan, int(2))]);
        assert_eq!(
            db.query(filtered(from("v"), range)).await.unwrap(),
            ["v/09", "v/10"]
        );
        let by_y = ordered(
            filtered(from("v"), x(Op::GreaterThan, text("a"))),
            &[("y", Ascending)],
        );
        db.query(by_y).await.unwrap();
        let bad = [
            any(&[]),
            composite(CompositeOp::Unspecified, &[x(Op::Equal, int(1))]),
            x(Op::Unspecified, int(1)),
            filter("x y", Op::Equal, int(1)),
            Filter::default(),
            all(&[x(Op::NotEqual, int(1)), x(Op::NotEqual, int(2))]),
            all(&[x(Op::NotEqual, int(1)), x(Op::NotIn, one_of(0..2))]),
            all(&[x(Op::In, one_of(0..2)), x(Op::NotIn, one_of(0..2))]),
            all(&[x(Op::ArrayContains, int(1)), x(Op::ArrayContains, int(2))]),
            all(&[
                x(Op::ArrayContains, int(1)),
                y(Op::ArrayContainsAny, one_of(0..2)),
            ]),
            all(&[x(Op::In, one_of(0..6)), y(Op::In, one_of(0..6))]),
        ];
        for filter in bad {
            assert_eq!(
                db.query(filtered(from("v"), filter.clone())).await,
                Err(Code::InvalidArgument),
                "{filter:?}"
            );
        }
    })
    .await;
}

/// Documents of the group `g` at several depths, and others around them.
async fn commit_groups(db: &mut Session) {
    let paths = [
        "g/1",
        "g/1/g/2",
        "h/1/g/0",
        "h/1/i/2/g/9",
        "h/2/g/1",
        "g/0/z/1",
        "g/10",
        "g/2",
        "g/2/s/1",
    ];
    let writes: Vec<_> = paths
        .iter()
        .enumerate()
        .map(|(k, path)| {
            db.update(
                path,
                &[
                    ("k", int(k as i64)),
                    ("state", text(if k % 2 == 0 { "even" } else { "odd" })),
                ],
            )
        })
        .collect();
    db.commit(writes).await.expect("these documents are valid");
}

#[tokio::test]
async fn a_collection_group_spans_all_depths() {
    conform("groups", async |db: &mut Session| {
        commit_groups(db).await;
        let group = db.query(from_group("g")).await.unwrap();
        assert_eq!(
            group,
            [
                "g/1",
                "g/1/g/2",
                "g/10",
                "g/2",
                "h/1/g/0",
                "h/1/i/2/g/9",
                "h/2/g/1"
            ]
        );
        assert_eq!(db.query(from("g")).await.unwrap(), ["g/1", "g/10", "g/2"]);
        assert_eq!(
            db.query_below("h/1", from_group("g")).await.unwrap(),
            ["h/1/g/0", "h/1/i/2/g/9"]
        );
        assert_eq!(db.query_below("h/1", from("g")).await.unwrap(), ["h/1/g/0"]);
        db.query(ordered(from_group("g"), &[("k", Descending)]))
            .await
            .unwrap();
        for states in [
            array(&[text("odd")]),
            array(&[text("even"), text("odd"), text("none")]),
            array(&[text("even"), int(1)]),
        ] {
            db.query(filtered(from_group("g"), filter("state", Op::In, states)))
                .await
                .unwrap();
        }
        let odd = filtered(from_group("g"), filter("state", Op::Equal, text("odd")));
        assert_eq!(
            db.query(odd.clone()).await.unwrap(),
            ["g/1/g/2", "g/2", "h/1/i/2/g/9"]
        );
        db.commit([
            db.merge("g/1", &["state"], &[("state", text("odd"))]),
            db.delete("g/2"),
        ])
        .await
        .unwrap();
        assert_eq!(
            db.query(odd.clone()).await.unwrap(),
            ["g/1", "g/1/g/2", "h/1/i/2/g/9"],
            "the index follows"
        );
        db.query(from_group("")).await.unwrap();
        db.query_below("h/1", from_group("")).await.unwrap();
        db.query(from("")).await.unwrap();
        db.query(StructuredQuery::default()).await.unwrap();
        let two = StructuredQuery {
            from: vec![CollectionSelector::default(); 2],
            ..Default::default()
        };
        for bad in [two, from("g/1/g"), from("__g__")] {
            assert_eq!(db.query(bad).await, Err(Code::InvalidArgument));
        }
        assert_eq!(db.query_below("h", from("g")).await, Err(Code::InvalidArgument));
    })
    .await;
}

#[tokio::test]
async fn names_can_be_filtered() {
    conform("names", async |db: &mut Session| {
        commit_groups(db).await;
        let name = |op, operand| filter("__name__", op, operand);
        for base in [from("g"), from_group("g")] {
            for op in [
                Op::Equal,
                Op::NotEqual,
                Op::LessThan,
                Op::LessThanOrEqual,
                Op::GreaterThan,
                Op::GreaterThanOrEqual,
            ] {
                for path in ["g/1", "g/1/g/2", "g/10", "h/1/g/0", "h/1", "a/a", "z/z"] {
                    db.query(filtered(base.clone(), name(op, db.reference(path))))
                        .await
                        .unwrap();
                }
            }
            let some = array(&[
                db.reference("g/2"),
                db.reference("h/1/g/0"),
                db.reference("g/none"),
            ]);
            db.query(filtered(base.clone(), name(Op::In, some.clone())))
                .await
                .unwrap();
            db.query(filtered(base, name(Op::NotIn, some))).await.unwrap();
        }
        let between = all(&[
            name(Op::GreaterThan, db.reference("g/1")),
            name(Op::LessThan, db.reference("h/2")),
        ]);
        let found = db.query(filtered(from_group("g"), between)).await.unwrap();
        assert_eq!(found, ["g/1/g/2", "g/10", "g/2", "h/1/g/0", "h/1/i/2/g/9"]);
        let none = all(&[
            name(Op::GreaterThan, db.reference("g/2")),
            name(Op::LessThan, db.reference("g/1")),
        ]);
        assert!(db.query(filtered(from("g"), none)).await.unwrap().is_empty());
        for bad in [
            name(Op::Equal, text("1")),
            name(Op::Equal, db.reference("g")),
            name(Op::ArrayContains, db.reference("g/1")),
            unary("__name__", UnaryOp::IsNull),
        ] {
            assert_eq!(
                db.query(filtered(from("g"), bad.clone())).await,
                Err(Code::InvalidArgument),
                "{bad:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn numeric_ids_come_first() {
    conform("numeric", async |db: &mut Session| {
        let ids = ["__id7__", "__id10__", "__id-3__", "10", "Z", "a", "_", "__x"];
        let writes: Vec<_> = ids.iter().map(|id| db.update(&format!("n/{id}"), &[])).collect();
        db.commit(writes).await.unwrap();
        let sorted = db.query(from("n")).await.unwrap();
        assert_eq!(sorted[..4], ["n/__id-3__", "n/__id7__", "n/__id10__", "n/10"]);
    })
    .await;
}

#[tokio::test]
async fn cursors_offsets_and_limits_cut_pages() {
    conform("cursors", async |db: &mut Session| {
        commit_values(db).await;
        let by_name = ordered(from("v"), &[("__name__", Ascending)]);
        let by_x = ordered(from("v"), &[("x", Ascending)]);
        let page = limited(start(by_name.clone(), false, &[db.reference("v/09")]), 0, 3);
        assert_eq!(db.query(page).await.unwrap(), ["v/10", "v/11", "v/12"]);
        for before in [true, false] {
            db.query(start(by_name.clone(), before, &[db.reference("v/35")]))
                .await
                .unwrap();
            db.query(end(by_name.clone(), before, &[db.reference("v/02")]))
                .await
                .unwrap();
            db.query(start(by_x.clone(), before, &[int(0)])).await.unwrap();
            db.query(end(by_x.clone(), before, &[int(0)])).await.unwrap();
            db.query(start(limited(by_x.clone(), 0, 2), before, &[]))
                .await
                .unwrap();
            db.query(end(limited(by_x.clone(), 0, 2), before, &[]))
                .await
                .unwrap();
            let descending = ordered(from("v"), &[("x", Descending)]);
            db.query(limited(start(descending, before, &[text("z")]), 0, 3))
                .await
                .unwrap();
            let total = ordered(from("v"), &[("y", Ascending), ("__name__", Ascending)]);
            db.query(limited(
                start(total, before, &[int(1), db.reference("v/10")]),
                0,
                3,
            ))
            .await
            .unwrap();
        }
        for (offset, limit) in [(0, 0), (2, 1), (200, 1), (37, 5)] {
            db.query(limited(from("v"), offset, limit)).await.unwrap();
            db.query(limited(by_x.clone(), offset, limit)).await.unwrap();
        }
        let bad = [
            limited(from("v"), -1, 1),
            limited(from("v"), 0, -1),
            start(from("v"), true, &[db.reference("v/01")]),
            start(by_x.clone(), true, &[int(1), db.reference("v/01")]),
            start(by_name.clone(), true, &[text("01")]),
            start(by_name, true, &[db.reference("v")]),
            start(
                filtered(from("v"), filter("x", Op::GreaterThan, int(0))),
                true,
                &[int(1)],
            ),
        ];
        for query in bad {
            assert_eq!(
                db.query(query.clone()).await,
                Err(Code::InvalidArgument),
                "{query:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_projection_picks_fields() {
    conform("projections", async |db: &mut Session| {
        let fields = [
            ("a", map(&[("b", int(1)), ("c", int(2))])),
            ("d e", int(3)),
            ("f", int(4)),
        ];
        db.commit([db.update("s/1", &fields)]).await.unwrap();
        for paths in [
            &["__name__"][..],
            &[],
            &["zz"],
            &["a.b", "`d e`", "f.x"],
            &["a.b", "a"],
            &["a.b", "a.b"],
            &["f", "__name__"],
        ] {
            assert_eq!(db.query(select(from("s"), paths)).await.unwrap(), ["s/1"]);
        }
        assert_eq!(
            db.query(select(from("s"), &["d e"])).await,
            Err(Code::InvalidArgument)
        );
    })
    .await;
}

#[tokio::test]
async fn aggregations_count_sum_and_average() {
    conform("aggregations", async |db: &mut Session| {
        use aggregation::Operator::{self, Avg, Count, Sum};
        let aggregation = |alias: &str, operator: Option<Operator>| Aggregation {
            alias: alias.into(),
            operator,
        };
        let count = |up_to| Some(Count(aggregation::Count { up_to }));
        let sum = |path| Some(Sum(aggregation::Sum { field: field(path) }));
        let average = |path| Some(Avg(aggregation::Avg { field: field(path) }));
        db.commit([
            db.update("k/1", &[("a", int(1))]),
            db.update("k/2", &[("a", double(2.5))]),
            db.update("k/3", &[("b", int(1))]),
            db.update("k/4", &[("a", text("s"))]),
        ])
        .await
        .unwrap();
        let counted = db
            .aggregate(
                from("k"),
                [aggregation("n", count(None)), aggregation("", count(Some(2)))],
            )
            .await
            .unwrap();
        assert_eq!((&counted["n"], &counted["field_1"]), (&int(4), &int(2)));
        db.aggregate(from("k"), [aggregation("n", count(Some(0)))])
            .await
            .unwrap();
        db.aggregate(limited(from("k"), 1, 2), [aggregation("n", count(None))])
            .await
            .unwrap();
        db.aggregate(limited(from("k"), 3, 9), [aggregation("n", count(None))])
            .await
            .unwrap();
        db.aggregate(
            from("none"),
            [
                aggregation("n", count(None)),
                aggregation("s", sum("a")),
                aggregation("v", average("a")),
            ],
        )
        .await
        .unwrap();
        let mixed = db
            .aggregate(
                from("k"),
                [
                    aggregation("s", sum("a")),
                    aggregation("v", average("a")),
                    aggregation("n", count(None)),
                ],
            )
            .await;
        assert_eq!(
            mixed.unwrap()["n"],
            int(3),
            "only documents with the summed field"
        );
        for bad in [
            vec![],
            vec![aggregation("n", None)],
            vec![aggregation("n", count(None)); 2],
            vec![aggregation("n", sum("__name__"))],
        ] {
            assert_eq!(db.aggregate(from("k"), bad).await, Err(Code::InvalidArgument));
        }
    })
    .await;
}

const READ_WRITE: Option<Mode> = Some(Mode::ReadWrite(ReadWrite {
    retry_transaction: Vec::new(),
    concurrency_mode: 0,
}));
const READ_ONLY: Option<Mode> = Some(Mode::ReadOnly(ReadOnly {
    consistency_selector: None,
}));

#[tokio::test]
async fn a_transaction_ends_once() {
    conform("transactions", async |db: &mut Session| {
        db.commit([db.update("u/a", &[("a", int(1))])]).await.unwrap();
        let transaction = db.begin(READ_WRITE).await.unwrap();
        let request = GetDocumentRequest {
            name: db.name("u/a"),
            consistency_selector: Some(get_document_request::ConsistencySelector::Transaction(
                transaction.clone(),
            )),
            ..Default::default()
        };
        db.get_document(request).await.unwrap();
        db.commit_in(transaction.clone(), [db.update("u/a", &[("a", int(2))])])
            .await
            .unwrap();
        assert_eq!(
            db.commit_in(transaction.clone(), [db.update("u/a", &[])]).await,
            Err(Code::InvalidArgument)
        );
        db.rollback(transaction).await.unwrap();

        let transaction = db.begin(None).await.unwrap();
        db.rollback(transaction.clone()).await.unwrap();
        db.rollback(transaction.clone()).await.unwrap();
        assert_eq!(
            db.commit_in(transaction, [db.update("u/a", &[])]).await,
            Err(Code::InvalidArgument)
        );
        for unknown in [vec![0, 0, 0], Vec::new()] {
            assert_eq!(db.rollback(unknown).await, Err(Code::InvalidArgument));
        }
        assert_eq!(
            db.commit_in(vec![0, 0, 0], [db.update("u/a", &[])]).await,
            Err(Code::InvalidArgument)
        );

        let transaction = db.begin(READ_WRITE).await.unwrap();
        let needy = only_if(db.update("u/none", &[]), ConditionType::Exists(true));
        assert_eq!(
            db.commit_in(transaction.clone(), [needy]).await,
            Err(Code::NotFound)
        );
        assert_eq!(
            db.commit_in(transaction, [db.update("u/b", &[])]).await,
            Err(Code::InvalidArgument)
        );

        let transaction = db.begin(READ_WRITE).await.unwrap();
        assert_eq!(
            db.commit_in(transaction.clone(), [db.update("u/.", &[])]).await,
            Err(Code::InvalidArgument)
        );
        db.commit_in(transaction, [db.update("u/b", &[])]).await.unwrap();
        let transaction = db.begin(READ_WRITE).await.unwrap();
        db.commit_in(transaction, []).await.unwrap();
        assert_eq!(db.get("u/a").await.unwrap().fields["a"], int(2));
    })
    .await;
}

#[tokio::test]
async fn reads_can_begin_a_transaction() {
    conform("new-transactions", async |db: &mut Session| {
        db.commit([db.update("u/a", &[("a", int(1))])]).await.unwrap();
        let (_, transaction) = db
            .run_query(from("u"), |request| {
                let options = TransactionOptions { mode: READ_WRITE };
                request.consistency_selector =
                    Some(run_query_request::ConsistencySelector::NewTransaction(options));
            })
            .await
            .unwrap();
        assert!(!transaction.is_empty());
        db.commit_in(transaction, [db.update("u/a", &[("a", int(2))])])
            .await
            .unwrap();
        let request = |db: &Session, documents: &[&str]| BatchGetDocumentsRequest {
            database: db.database.clone(),
            documents: documents.iter().map(|path| db.name(path)).collect(),
            consistency_selector: Some(batch_get_documents_request::ConsistencySelector::NewTransaction(
                TransactionOptions { mode: READ_WRITE },
            )),
            ..Default::default()
        };
        let (_, transaction) = db
            .batch_get_documents(request(db, &["u/a", "u/none"]))
            .await
            .unwrap();
        db.commit_in(transaction, [db.update("u/none", &[])])
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_read_only_transaction_reads_one_moment() {
    conform("read-only", async |db: &mut Session| {
        db.commit([
            db.update("u/a", &[("a", int(1))]),
            db.update("u/b", &[("a", int(1))]),
        ])
        .await
        .unwrap();
        let transaction = db.begin(READ_ONLY).await.unwrap();
        let in_transaction = |name| GetDocumentRequest {
            name,
            consistency_selector: Some(get_document_request::ConsistencySelector::Transaction(
                transaction.clone(),
            )),
            ..Default::default()
        };
        db.get_document(in_transaction(db.name("u/a"))).await.unwrap();
        db.commit([
            db.update("u/a", &[("a", int(2))]),
            db.delete("u/b"),
            db.update("u/c", &[]),
        ])
        .await
        .unwrap();
        let then = db.get_document(in_transaction(db.name("u/a"))).await.unwrap();
        assert_eq!(then.fields["a"], int(1));
        let (paths, _) = db
            .run_query(from("u"), |request| {
                request.consistency_selector = Some(run_query_request::ConsistencySelector::Transaction(
                    transaction.clone(),
                ));
            })
            .await
            .unwrap();
        assert_eq!(paths, ["u/a", "u/b"]);
        assert_eq!(
            db.commit_in(transaction.clone(), [db.update("u/a", &[])]).await,
            Err(Code::InvalidArgument)
        );
        let transaction = db.begin(READ_ONLY).await.unwrap();
        db.commit_in(transaction.clone(), []).await.unwrap();
        assert_eq!(db.commit_in(transaction, []).await, Err(Code::InvalidArgument));
    })
    .await;
}

#[tokio::test]
async fn the_past_can_be_read() {
    conform("read-time", async |db: &mut Session| {
        let first = db.commit([db.update("u/a", &[("a", int(1))])]).await.unwrap();
        db.commit([db.update("u/a", &[("a", int(2))]), db.update("u/b", &[])])
            .await
            .unwrap();
        db.commit([db.delete("u/a")]).await.unwrap();
        let at = |name, time| GetDocumentRequest {
            name,
            consistency_selector: Some(get_document_request::ConsistencySelector::ReadTime(time)),
            ..Default::default()
        };
        let past = first.commit_time.unwrap();
        assert_eq!(
            db.get_document(at(db.name("u/a"), past)).await.unwrap().fields["a"],
            int(1)
        );
        assert_eq!(
            db.get_document(at(db.name("u/b"), past)).await,
            Err(Code::NotFound)
        );
        let (paths, _) = db
            .run_query(from("u"), |request| {
                request.consistency_selector = Some(run_query_request::ConsistencySelector::ReadTime(past));
            })
            .await
            .unwrap();
        assert_eq!(paths, ["u/a"]);
        let future = Timestamp {
            seconds: 4_000_000_000,
            nanos: 0,
        };
        assert_eq!(
            db.get_document(at(db.name("u/a"), future)).await,
            Err(Code::InvalidArgument)
        );
        let long_ago = Timestamp {
            seconds: 1_400_000_000,
            nanos: 0,
        };
        assert_eq!(
            db.get_document(at(db.name("u/a"), long_ago)).await,
            Err(Code::FailedPrecondition)
        );
    })
    .await;
}

/// On the sandbox alone: the emulator would make the other writer wait for the transaction.
#[tokio::test]
async fn transactions_are_optimistic() {
    let sandbox = Sandbox::start(Options::default())
        .await
        .expect("loopback has a free port");
    let host = sandbox.address().to_string();
    let mut db = Session::open(&host, "optimistic").await;
    db.commit([db.update("u/a", &[("a", int(1))])]).await.unwrap();
    let new = |mode| {
        Some(run_query_request::ConsistencySelector::NewTransaction(
            TransactionOptions { mode },
        ))
    };

    let (_, transaction) = db
        .run_query(from("u"), |request| {
            request.consistency_selector = new(READ_WRITE)
        })
        .await
        .unwrap();
    db.commit([db.update("u/phantom", &[])]).await.unwrap();
    let aborted = db.commit_in(transaction.clone(), [db.update("u/c", &[])]).await;
    assert_eq!(aborted, Err(Code::Aborted), "the query would find more now");
    assert_eq!(
        db.commit_in(transaction, [db.update("u/c", &[])]).await,
        Err(Code::InvalidArgument),
        "it is over"
    );

    for (path, other) in [
        ("u/a", db.update("u/a", &[("a", int(2))])),
        ("u/none", db.update("u/none", &[])),
        ("u/a", db.delete("u/a")),
    ] {
        let transaction = db.begin(READ_WRITE).await.unwrap();
        let request = GetDocumentRequest {
            name: db.name(path),
            consistency_selector: Some(get_document_request::ConsistencySelector::Transaction(
                transaction.clone(),
            )),
            ..Default::default()
        };
        let _: Result<_, Code> = db.get_document(request).await;
        db.commit([other]).await.unwrap();
        assert_eq!(
            db.commit_in(transaction, [db.update("u/c", &[])]).await,
            Err(Code::Aborted),
            "{path}"
        );
    }
    let transaction = db.begin(READ_WRITE).await.unwrap();
    db.commit([db.update("u/unread", &[])]).await.unwrap();
    db.commit_in(transaction, [db.update("u/c", &[])]).await.unwrap();
}
