//! Names and values that no document may have.

use crate::conform;
use crate::session::Session;
use crate::wire::*;
use gcloud_sdk::google::firestore::v1::*;
use tonic::Code;

#[tokio::test]
async fn names_outside_the_limits_are_refused() {
    conform("names-limits", async |db: &mut Session| {
        let (longest, longest_accented) = ("x".repeat(1500), "é".repeat(750));
        let bad_ids = [".", "..", "__x__", &format!("{longest}x"), &format!("{longest_accented}é")]
            .map(|id| db.update(&format!("u/{id}"), &[]));
        db.expect_invalid_writes(bad_ids).await;
        for id in ["__x", "__id7__", "a b", "é", &longest, &longest_accented] {
            db.commit([db.update(&format!("u/{id}"), &[])]).await.unwrap();
        }
        let bad_paths =
            ["u", "u//b/c", "./d", "../d", "__x__/d", "__id7__/d", "u/a/s"].map(|path| db.update(path, &[]));
        db.expect_invalid_writes(bad_paths).await;
        let elsewhere = Document { name: "nowhere".into(), ..Default::default() };
        let write = Write { operation: Some(write::Operation::Update(elsewhere)), ..Default::default() };
        db.expect_invalid_writes([write]).await;
        assert_eq!(db.get("u").await, Err(Code::InvalidArgument));
    })
    .await;
}

#[tokio::test]
async fn fields_outside_the_limits_are_refused() {
    conform("limits", async |db: &mut Session| {
        for name in ["a.b", "a`b", "a/b", " ", "__x", &"x".repeat(1500)] {
            db.commit([db.update("u/f", &[(name, int(1))])]).await.unwrap();
        }
        let nested = |levels| (0..levels).fold(int(1), |inner, _| map(&[("n", inner)]));
        db.commit([db.update("u/v", &[("n", nested(20))])]).await.unwrap();
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
        let half = text(&"x".repeat(600_000));
        let halves = db.update("u/v", &[("a", half.clone()), ("b", half)]);
        assert_eq!(db.commit([halves]).await, Err(Code::InvalidArgument));
    })
    .await;
}

#[tokio::test]
async fn vectors_are_maps_of_a_reserved_type() {
    conform("vectors", async |db: &mut Session| {
        let ascending = [
            array(&[int(9)]),
            vector(&[double(2.0)]),
            vector(&[double(1.0), double(3.0)]),
            vector(&[double(2.0), double(-1.0)]),
            map(&[("a", int(0))]),
        ];
        let writes = ascending
            .iter()
            .enumerate()
            .map(|(index, value)| db.update(&format!("v/{index}"), &[("x", value.clone())]))
            .collect::<Vec<_>>();
        db.commit(writes).await.unwrap();
        let sorted = db.query(ordered(from("v"), &[("x", Ascending)])).await.unwrap();
        assert_eq!(sorted, ["v/0", "v/1", "v/2", "v/3", "v/4"]);
        let equal = filtered(from("v"), filter("x", Op::Equal, ascending[2].clone()));
        assert_eq!(db.query(equal).await.unwrap(), ["v/2"]);
        let above = filtered(from("v"), filter("x", Op::GreaterThan, ascending[1].clone()));
        assert_eq!(db.query(above).await.unwrap(), ["v/2", "v/3"]);
        let bad = [
            vector(&[text("1")]),
            vector(&[]),
            vector(&vec![double(1.0); 2049]),
            map(&[("__type__", text("__other__")), ("value", array(&[double(1.0)]))]),
            map(&[("__type__", text("__vector__"))]),
        ];
        let bad = bad.map(|value| db.update("v/bad", &[("x", value)]));
        db.expect_invalid_writes(bad).await;
        db.commit([db.update("v/most", &[("x", vector(&vec![double(1.0); 2048]))])]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn timestamps_keep_microseconds() {
    conform("timestamps", async |db: &mut Session| {
        let fields = [("a", array(&[map(&[("b", array(&[]))])])), ("t", time(9, 123_456_789))];
        db.commit([db.update("u/v", &fields)]).await.unwrap();
        assert_eq!(db.get("u/v").await.unwrap().fields["t"], time(9, 123_456_000));
    })
    .await;
}
