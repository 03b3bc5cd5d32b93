//! What a filter lets through.

use crate::conform;
use crate::ordering::commit_values;
use crate::session::Session;
use crate::wire::*;
use gcloud_sdk::google::firestore::v1::*;
use tonic::Code;

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
                db.query(filtered(from("v"), filter("x", op, operand.clone()))).await.unwrap();
            }
        }
        let zeros = db.query(filtered(from("v"), filter("x", Op::Equal, int(0)))).await.unwrap();
        assert_eq!(zeros, ["v/06", "v/07", "v/08"]);
        let numbers = db.query(filtered(from("v"), filter("x", Op::LessThan, int(1)))).await.unwrap();
        assert_eq!(numbers, ["v/04", "v/05", "v/06", "v/07", "v/08"], "neither NaN nor another type");
        for op in [UnaryOp::IsNull, UnaryOp::IsNan, UnaryOp::IsNotNull, UnaryOp::IsNotNan] {
            assert!(!db.query(filtered(from("v"), unary("x", op))).await.unwrap().is_empty());
        }
        let nested = filter("x.a", Op::LessThanOrEqual, int(1));
        assert_eq!(db.query(filtered(from("v"), nested)).await.unwrap(), ["v/33", "v/34"]);
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
                db.query(filtered(from("v"), filter("x", op, list.clone()))).await.unwrap();
            }
            for bad in [array(&[]), int(1), array(&(0..31).map(int).collect::<Vec<_>>())] {
                assert_eq!(
                    db.query(filtered(from("v"), filter("x", op, bad))).await,
                    Err(Code::InvalidArgument)
                );
            }
        }
        let either = db.query(filtered(from("v"), filter("x", Op::In, lists[1].clone()))).await.unwrap();
        assert_eq!(either, ["v/15", "v/16"]);
        for operand in [int(2), null(), array(&[int(1)])] {
            db.query(filtered(from("v"), filter("x", Op::ArrayContains, operand))).await.unwrap();
        }
        let ten_more = filter("x", Op::NotIn, array(&(0..11).map(int).collect::<Vec<_>>()));
        assert_eq!(db.query(filtered(from("v"), ten_more)).await, Err(Code::InvalidArgument));
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
        assert_eq!(db.query(filtered(from("v"), range)).await.unwrap(), ["v/09", "v/10"]);
        let by_y = ordered(filtered(from("v"), x(Op::GreaterThan, text("a"))), &[("y", Ascending)]);
        db.query(by_y).await.unwrap();
        let bad = [
            any(&[]),
            composite(CompositeOp::Unspecified, &[x(Op::Equal, int(1))]),
            x(Op::Unspecified, int(1)),
            filter("x y", Op::Equal, int(1)),
            structured_query::Filter::default(),
            all(&[x(Op::NotEqual, int(1)), x(Op::NotEqual, int(2))]),
            all(&[x(Op::NotEqual, int(1)), x(Op::NotIn, one_of(0..2))]),
            all(&[x(Op::In, one_of(0..2)), x(Op::NotIn, one_of(0..2))]),
            all(&[x(Op::ArrayContains, int(1)), x(Op::ArrayContains, int(2))]),
            all(&[x(Op::ArrayContains, int(1)), y(Op::ArrayContainsAny, one_of(0..2))]),
            all(&[x(Op::In, one_of(0..6)), y(Op::In, one_of(0..6))]),
        ];
        db.expect_invalid_queries(bad.map(|filter| filtered(from("v"), filter))).await;
    })
    .await;
}
