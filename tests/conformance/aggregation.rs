//! `RunAggregationQuery`.

use crate::conform;
use crate::session::Session;
use crate::wire::*;
use gcloud_sdk::google::firestore::v1::structured_aggregation_query::Aggregation;
use gcloud_sdk::google::firestore::v1::structured_aggregation_query::aggregation::{self, Operator};
use tonic::Code;

#[tokio::test]
async fn aggregations_count_sum_and_average() {
    conform("aggregations", async |db: &mut Session| {
        db.commit([
            db.update("k/1", &[("a", int(1))]),
            db.update("k/2", &[("a", double(2.5))]),
            db.update("k/3", &[("b", int(1))]),
            db.update("k/4", &[("a", text("s"))]),
        ])
        .await
        .unwrap();
        let counted = db.aggregate(from("k"), [count("n", None), count("", Some(2))]).await.unwrap();
        assert_eq!((&counted["n"], &counted["field_1"]), (&int(4), &int(2)));
        db.aggregate(from("k"), [count("n", Some(0))]).await.unwrap();
        for (offset, limit) in [(1, 2), (3, 9)] {
            db.aggregate(limited(from("k"), offset, limit), [count("n", None)]).await.unwrap();
        }
        let all = [sum("s", "a"), average("v", "a"), count("n", None)];
        db.aggregate(from("none"), all.clone()).await.unwrap();
        let mixed = db.aggregate(from("k"), all).await.unwrap();
        assert_eq!(mixed["n"], int(3), "only documents with the summed field");
        for bad in
            [vec![], vec![aggregation("n", None)], vec![count("n", None); 2], vec![sum("n", "__name__")]]
        {
            assert_eq!(db.aggregate(from("k"), bad).await, Err(Code::InvalidArgument));
        }
    })
    .await;
}

fn count(alias: &str, up_to: Option<i64>) -> Aggregation {
    aggregation(alias, Some(Operator::Count(aggregation::Count { up_to })))
}

fn sum(alias: &str, path: &str) -> Aggregation {
    aggregation(alias, Some(Operator::Sum(aggregation::Sum { field: field(path) })))
}

fn average(alias: &str, path: &str) -> Aggregation {
    aggregation(alias, Some(Operator::Avg(aggregation::Avg { field: field(path) })))
}

fn aggregation(alias: &str, operator: Option<Operator>) -> Aggregation {
    Aggregation { alias: alias.to_owned(), operator }
}
