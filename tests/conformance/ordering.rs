//! The order of values and names.

use crate::conform;
use crate::session::Session;
use crate::wire::*;
use tonic::Code;

/// One document of every kind of value in `v`, in ascending order of `x`, and one without `x`.
pub(crate) async fn commit_values(db: &mut Session) {
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
            db.update(&format!("v/{index:02}"), &[("x", value), ("y", int(index as i64 % 3))])
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
        db.query(ordered(from("v"), &[("y", Descending), ("x", Ascending)])).await.unwrap();
        db.query(ordered(from("v"), &[("y", Ascending), ("__name__", Descending)])).await.unwrap();
        let bad = [
            &[("x y", Ascending)][..],
            &[("x", Ascending), ("x", Descending)],
            &[("__name__", Ascending), ("x", Ascending)],
        ];
        db.expect_invalid_queries(bad.map(|orders| ordered(from("v"), orders))).await;
        let backwards = db.query(ordered(from("v"), &[("__name__", Descending)])).await;
        assert_eq!(backwards, Err(Code::FailedPrecondition));
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
