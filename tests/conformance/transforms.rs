//! Fields that the server computes.

use crate::conform;
use crate::session::Session;
use crate::wire::*;
use gcloud_sdk::google::firestore::v1::*;
use tonic::Code;

#[tokio::test]
async fn numbers_are_computed_on_the_server() {
    conform("number-transforms", async |db: &mut Session| {
        use TransformType::{Increment, Maximum, Minimum};
        let numbers = [
            ("i", int(1)),
            ("d", double(1.5)),
            ("s", text("x")),
            ("max", int(i64::MAX)),
            ("nan", double(f64::NAN)),
        ];
        let increments = [
            ("i", Increment(int(2))),
            ("d", Increment(int(1))),
            ("s", Increment(int(5))),
            ("new", Increment(double(0.5))),
            ("max", Increment(int(1))),
            ("when.exactly", REQUEST_TIME),
        ];
        let answer =
            db.commit([with_transforms(db.update("t/numbers", &numbers), &increments)]).await.unwrap();
        assert_eq!(answer.write_results[0].transform_results[..3], [int(3), double(2.5), int(5)]);
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
        db.commit([with_transforms(db.merge("t/numbers", &[], &[]), &extremes)]).await.unwrap();
        db.get("t/numbers").await.unwrap();
        let merged = db.merge("t/numbers", &["i", "gone"], &[("i", int(10))]);
        let twice = [("i", Increment(int(1))), ("i", Increment(int(1)))];
        db.commit([with_transforms(merged, &twice)]).await.unwrap();
        assert_eq!(db.get("t/numbers").await.unwrap().fields["i"], int(12));
    })
    .await;
}

#[tokio::test]
async fn array_elements_are_added_and_removed_on_the_server() {
    conform("array-transforms", async |db: &mut Session| {
        use TransformType::{AppendMissingElements, RemoveAllFromArray};
        let elements = |values: &[Value]| ArrayValue { values: values.to_vec() };
        let arrays = [("a", array(&[int(1), int(1), text("x")])), ("b", array(&[int(1)])), ("s", text("s"))];
        let changes = [
            ("a", AppendMissingElements(elements(&[double(1.0), int(3), int(3), null()]))),
            ("b", RemoveAllFromArray(elements(&[double(1.0)]))),
            ("s", AppendMissingElements(elements(&[int(1), int(1)]))),
            ("none", RemoveAllFromArray(elements(&[int(1)]))),
        ];
        db.commit([with_transforms(db.update("t/arrays", &arrays), &changes)]).await.unwrap();
        let removal = RemoveAllFromArray(elements(&[int(1), null()]));
        db.commit([legacy_transform(db, "t/arrays", &[("a", removal)])]).await.unwrap();
        assert_eq!(db.get("t/arrays").await.unwrap().fields["a"], array(&[text("x"), int(3)]));
    })
    .await;
}

#[tokio::test]
async fn a_transform_alone_creates_the_document() {
    conform("transforms", async |db: &mut Session| {
        let transforms = [("n.x", REQUEST_TIME), ("n.y", TransformType::Increment(int(1)))];
        db.commit([legacy_transform(db, "t/new", &transforms)]).await.unwrap();
        db.get("t/new").await.unwrap();
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
                update_transforms: vec![document_transform::FieldTransform {
                    field_path: "a".into(),
                    transform_type: None,
                }],
                ..db.update("t/a", &[])
            },
            with_transforms(db.delete("t/a"), &[("a", REQUEST_TIME)]),
            Write { update_mask: Some(to_mask(&["a"])), ..legacy.clone() },
            legacy_transform(db, "t/a", &[]),
            Write::default(),
        ];
        db.expect_invalid_writes(bad).await;
        assert_eq!(db.commit([if_present(legacy)]).await, Err(Code::NotFound));
    })
    .await;
}
