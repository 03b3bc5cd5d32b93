//! Collection groups, and filters on names.

use crate::conform;
use crate::session::Session;
use crate::wire::*;
use gcloud_sdk::google::firestore::v1::*;
use tonic::Code;

/// Documents of the group `g` at several depths, and others around them.
async fn commit_groups(db: &mut Session) {
    let paths = ["g/1", "g/1/g/2", "h/1/g/0", "h/1/i/2/g/9", "h/2/g/1", "g/0/z/1", "g/10", "g/2", "g/2/s/1"];
    let writes: Vec<_> = paths
        .iter()
        .enumerate()
        .map(|(k, path)| {
            db.update(path, &[("k", int(k as i64)), ("state", text(if k % 2 == 0 { "even" } else { "odd" }))])
        })
        .collect();
    db.commit(writes).await.expect("these documents are valid");
}

#[tokio::test]
async fn a_collection_group_spans_all_depths() {
    conform("groups", async |db: &mut Session| {
        commit_groups(db).await;
        let group = db.query(from_group("g")).await.unwrap();
        assert_eq!(group, ["g/1", "g/1/g/2", "g/10", "g/2", "h/1/g/0", "h/1/i/2/g/9", "h/2/g/1"]);
        assert_eq!(db.query(from("g")).await.unwrap(), ["g/1", "g/10", "g/2"]);
        assert_eq!(db.query_below("h/1", from_group("g")).await.unwrap(), ["h/1/g/0", "h/1/i/2/g/9"]);
        assert_eq!(db.query_below("h/1", from("g")).await.unwrap(), ["h/1/g/0"]);
        db.query(ordered(from_group("g"), &[("k", Descending)])).await.unwrap();
        for states in [
            array(&[text("odd")]),
            array(&[text("even"), text("odd"), text("none")]),
            array(&[text("even"), int(1)]),
        ] {
            db.query(filtered(from_group("g"), filter("state", Op::In, states))).await.unwrap();
        }
        let odd = filtered(from_group("g"), filter("state", Op::Equal, text("odd")));
        assert_eq!(db.query(odd.clone()).await.unwrap(), ["g/1/g/2", "g/2", "h/1/i/2/g/9"]);
        db.commit([db.merge("g/1", &["state"], &[("state", text("odd"))]), db.delete("g/2")]).await.unwrap();
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
            from: vec![structured_query::CollectionSelector::default(); 2],
            ..Default::default()
        };
        db.expect_invalid_queries([two, from("g/1/g"), from("__g__")]).await;
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
                    db.query(filtered(base.clone(), name(op, db.reference(path)))).await.unwrap();
                }
            }
            let some = array(&[db.reference("g/2"), db.reference("h/1/g/0"), db.reference("g/none")]);
            db.query(filtered(base.clone(), name(Op::In, some.clone()))).await.unwrap();
            db.query(filtered(base, name(Op::NotIn, some))).await.unwrap();
        }
        let between =
            all(&[name(Op::GreaterThan, db.reference("g/1")), name(Op::LessThan, db.reference("h/2"))]);
        let found = db.query(filtered(from_group("g"), between)).await.unwrap();
        assert_eq!(found, ["g/1/g/2", "g/10", "g/2", "h/1/g/0", "h/1/i/2/g/9"]);
        let none =
            all(&[name(Op::GreaterThan, db.reference("g/2")), name(Op::LessThan, db.reference("g/1"))]);
        assert!(db.query(filtered(from("g"), none)).await.unwrap().is_empty());
        let bad = [
            name(Op::Equal, text("1")),
            name(Op::Equal, db.reference("g")),
            name(Op::ArrayContains, db.reference("g/1")),
            unary("__name__", UnaryOp::IsNull),
        ];
        db.expect_invalid_queries(bad.map(|filter| filtered(from("g"), filter))).await;
    })
    .await;
}

/// The sandbox keeps an index for these queries.
#[tokio::test]
async fn accounts_in_trouble_are_found_across_all_users() {
    conform("accounts", async |db: &mut Session| {
        let account = |path: &str, state: Value| db.update(&format!("users/{path}"), &[("state", state)]);
        db.commit([
            account("a/alpacaAccounts/sync", text("failing")),
            account("b/alpacaAccounts/sync", text("ok")),
            account("c/alpacaAccounts/sync", int(1)),
            account("d/alpacaAccounts/sync", text("revoked")),
            account("d/others/sync", text("failing")),
        ])
        .await
        .unwrap();
        let states = array(&[text("failing"), text("revoked")]);
        let troubled = filtered(from_group("alpacaAccounts"), filter("state", Op::In, states));
        assert_eq!(
            db.query(troubled.clone()).await.unwrap(),
            ["users/a/alpacaAccounts/sync", "users/d/alpacaAccounts/sync"]
        );
        db.commit([
            db.update("users/a/alpacaAccounts/sync", &[("state", text("ok"))]),
            db.merge("users/b/alpacaAccounts/sync", &["state"], &[("state", text("revoked"))]),
            db.update("users/c/alpacaAccounts/sync", &[("state", text("failing"))]),
            db.delete("users/d/alpacaAccounts/sync"),
        ])
        .await
        .unwrap();
        let now = ["users/b/alpacaAccounts/sync", "users/c/alpacaAccounts/sync"];
        assert_eq!(db.query(troubled.clone()).await.unwrap(), now);
        let by_name = ordered(troubled, &[("__name__", Ascending)]);
        let behind_b = start(by_name, false, &[db.reference(now[0])]);
        assert_eq!(db.query(behind_b).await.unwrap(), now[1..]);
    })
    .await;
}
