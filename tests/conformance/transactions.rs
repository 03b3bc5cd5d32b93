//! Transactions, and reads of the past.

use crate::conform;
use crate::session::Session;
use crate::wire::*;
use gcloud_sdk::google::firestore::v1::TransactionOptions;
use gcloud_sdk::google::firestore::v1::batch_get_documents_request::ConsistencySelector::NewTransaction;
use gcloud_sdk::google::firestore::v1::transaction_options::{Mode, ReadOnly, ReadWrite};
use gcloud_sdk::prost_types::Timestamp;
use pulse_sandbox::{Options, Sandbox};
use tonic::Code;

const READ_WRITE: Mode = Mode::ReadWrite(ReadWrite { retry_transaction: Vec::new(), concurrency_mode: 0 });
const READ_ONLY: Mode = Mode::ReadOnly(ReadOnly { consistency_selector: None });

#[tokio::test]
async fn a_transaction_ends_once() {
    conform("transactions", async |db: &mut Session| {
        db.commit([db.update("u/a", &[("a", int(1))])]).await.unwrap();
        let committed = db.begin(Some(READ_WRITE)).await.unwrap();
        db.get_in(&committed, "u/a").await.unwrap();
        db.commit_in(&committed, [db.update("u/a", &[("a", int(2))])]).await.unwrap();
        assert_eq!(db.commit_in(&committed, [db.update("u/a", &[])]).await, Err(Code::InvalidArgument));
        db.rollback(&committed).await.unwrap();

        let rolled_back = db.begin(None).await.unwrap();
        db.rollback(&rolled_back).await.unwrap();
        db.rollback(&rolled_back).await.unwrap();
        assert_eq!(db.commit_in(&rolled_back, [db.update("u/a", &[])]).await, Err(Code::InvalidArgument));

        let empty = db.begin(Some(READ_WRITE)).await.unwrap();
        db.commit_in(&empty, []).await.unwrap();
        assert_eq!(db.get("u/a").await.unwrap().fields["a"], int(2));
    })
    .await;
}

#[tokio::test]
async fn an_unknown_transaction_is_refused() {
    conform("unknown-transactions", async |db: &mut Session| {
        for unknown in [&[0, 0, 0][..], &[]] {
            assert_eq!(db.rollback(unknown).await, Err(Code::InvalidArgument));
        }
        assert_eq!(db.commit_in(&[0, 0, 0], [db.update("u/a", &[])]).await, Err(Code::InvalidArgument));
    })
    .await;
}

#[tokio::test]
async fn a_transaction_outlives_a_malformed_commit_but_not_a_failed_one() {
    conform("failed-transactions", async |db: &mut Session| {
        let failed = db.begin(Some(READ_WRITE)).await.unwrap();
        let needy = if_present(db.update("u/none", &[]));
        assert_eq!(db.commit_in(&failed, [needy]).await, Err(Code::NotFound));
        assert_eq!(db.commit_in(&failed, [db.update("u/b", &[])]).await, Err(Code::InvalidArgument));

        let malformed = db.begin(Some(READ_WRITE)).await.unwrap();
        assert_eq!(db.commit_in(&malformed, [db.update("u/.", &[])]).await, Err(Code::InvalidArgument));
        db.commit_in(&malformed, [db.update("u/b", &[])]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn reads_can_begin_a_transaction() {
    conform("new-transactions", async |db: &mut Session| {
        db.commit([db.update("u/a", &[("a", int(1))])]).await.unwrap();
        let by_query = db.begin_with_query(READ_WRITE, from("u")).await.unwrap();
        assert!(!by_query.is_empty());
        db.commit_in(&by_query, [db.update("u/a", &[("a", int(2))])]).await.unwrap();
        let (_, by_get) = db
            .batch_get_documents(&["u/a", "u/none"], |request| {
                let mode = Some(READ_WRITE);
                request.consistency_selector = Some(NewTransaction(TransactionOptions { mode }));
            })
            .await
            .unwrap();
        db.commit_in(&by_get, [db.update("u/none", &[])]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_read_only_transaction_reads_one_moment() {
    conform("read-only", async |db: &mut Session| {
        db.commit([db.update("u/a", &[("a", int(1))]), db.update("u/b", &[("a", int(1))])]).await.unwrap();
        let transaction = db.begin(Some(READ_ONLY)).await.unwrap();
        db.get_in(&transaction, "u/a").await.unwrap();
        db.commit([db.update("u/a", &[("a", int(2))]), db.delete("u/b"), db.update("u/c", &[])])
            .await
            .unwrap();
        let then = db.get_in(&transaction, "u/a").await.unwrap();
        assert_eq!(then.fields["a"], int(1));
        let paths = db.query_in(&transaction, from("u")).await.unwrap();
        assert_eq!(paths, ["u/a", "u/b"]);
        assert_eq!(db.commit_in(&transaction, [db.update("u/a", &[])]).await, Err(Code::InvalidArgument));
        let empty = db.begin(Some(READ_ONLY)).await.unwrap();
        db.commit_in(&empty, []).await.unwrap();
        assert_eq!(db.commit_in(&empty, []).await, Err(Code::InvalidArgument));
    })
    .await;
}

#[tokio::test]
async fn the_past_can_be_read() {
    conform("read-time", async |db: &mut Session| {
        let first = db.commit([db.update("u/a", &[("a", int(1))])]).await.unwrap();
        db.commit([db.update("u/a", &[("a", int(2))]), db.update("u/b", &[])]).await.unwrap();
        db.commit([db.delete("u/a")]).await.unwrap();
        let past = first.commit_time.unwrap();
        assert_eq!(db.get_at(past, "u/a").await.unwrap().fields["a"], int(1));
        assert_eq!(db.get_at(past, "u/b").await, Err(Code::NotFound));
        assert_eq!(db.query_at(past, from("u")).await.unwrap(), ["u/a"]);

        let second = |seconds| Timestamp { seconds, nanos: 0 };
        let future = db.get_at(second(4_000_000_000), "u/a").await;
        assert_eq!(future, Err(Code::InvalidArgument));
        let long_ago = db.get_at(second(1_400_000_000), "u/a").await;
        assert_eq!(long_ago, Err(Code::FailedPrecondition));
    })
    .await;
}

/// On the sandbox alone: the emulator would make the other writer wait for the transaction.
#[tokio::test]
async fn transactions_are_optimistic() {
    let sandbox = Sandbox::start(Options::default()).await.expect("loopback has a free port");
    let host = sandbox.address().to_string();
    let mut db = Session::open(&host, "optimistic").await;
    db.commit([db.update("u/a", &[("a", int(1))])]).await.unwrap();

    let queried = db.begin_with_query(READ_WRITE, from("u")).await.unwrap();
    db.commit([db.update("u/phantom", &[])]).await.unwrap();
    let aborted = db.commit_in(&queried, [db.update("u/c", &[])]).await;
    assert_eq!(aborted, Err(Code::Aborted), "the query would find more now");
    let again = db.commit_in(&queried, [db.update("u/c", &[])]).await;
    assert_eq!(again, Err(Code::InvalidArgument), "it is over");

    for (path, other) in [
        ("u/a", db.update("u/a", &[("a", int(2))])),
        ("u/none", db.update("u/none", &[])),
        ("u/a", db.delete("u/a")),
    ] {
        let transaction = db.begin(Some(READ_WRITE)).await.unwrap();
        // Found or missing, it counts as read.
        let _: Result<_, Code> = db.get_in(&transaction, path).await;
        db.commit([other]).await.unwrap();
        let aborted = db.commit_in(&transaction, [db.update("u/c", &[])]).await;
        assert_eq!(aborted, Err(Code::Aborted), "{path}");
    }
    let transaction = db.begin(Some(READ_WRITE)).await.unwrap();
    db.commit([db.update("u/unread", &[])]).await.unwrap();
    db.commit_in(&transaction, [db.update("u/c", &[])]).await.unwrap();
}
