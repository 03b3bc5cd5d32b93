//! What a write requires of its document, and what becomes of one that changes nothing.

use crate::conform;
use crate::session::Session;
use crate::wire::*;
use tonic::Code;

#[tokio::test]
async fn preconditions_hold_or_nothing_is_written() {
    conform("preconditions", async |db: &mut Session| {
        let refused = db.commit([db.update("u/x", &[]), if_present(db.update("u/a", &[]))]).await;
        assert_eq!(refused, Err(Code::NotFound));
        assert_eq!(db.get("u/x").await, Err(Code::NotFound), "all or nothing");
        let created = db.commit([if_absent(db.update("u/a", &[("a", int(1))]))]).await.unwrap();
        assert_eq!(db.commit([if_absent(db.update("u/a", &[]))]).await, Err(Code::AlreadyExists));
        db.commit([if_present(db.update("u/a", &[("a", int(2))]))]).await.unwrap();
        let stale = created.commit_time.unwrap();
        assert_eq!(
            db.commit([if_version(db.update("u/a", &[]), stale)]).await,
            Err(Code::FailedPrecondition)
        );
        assert_eq!(db.commit([if_version(db.delete("u/a"), stale)]).await, Err(Code::FailedPrecondition));
        assert_eq!(
            db.commit([if_version(db.update("u/none", &[]), stale)]).await,
            Err(Code::FailedPrecondition)
        );
        let current = db.get("u/a").await.unwrap().update_time.unwrap();
        db.commit([if_version(db.update("u/a", &[("a", int(3))]), current)]).await.unwrap();
        assert_eq!(db.commit([if_present(db.delete("u/none"))]).await, Err(Code::NotFound));
        assert_eq!(db.commit([if_absent(db.delete("u/a"))]).await, Err(Code::AlreadyExists));
        db.commit([if_absent(db.delete("u/none"))]).await.unwrap();
        db.commit([if_present(db.delete("u/a"))]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_write_that_changes_nothing_keeps_the_update_time() {
    conform("no-op", async |db: &mut Session| {
        let odd = &[("n", double(f64::NAN)), ("m", map(&[("a", array(&[int(1)]))])), ("i", int(1))];
        let first = db.commit([db.update("u/a", odd)]).await.unwrap();
        let again = db.commit([db.update("u/a", odd)]).await.unwrap();
        assert_eq!(again.write_results[0].update_time, first.write_results[0].update_time);
        assert_ne!(again.commit_time, first.commit_time);
        db.commit([db.merge("u/a", &["i", "gone"], &[("i", int(1))])]).await.unwrap();
        let plus_nothing =
            with_transforms(db.merge("u/a", &[], &[]), &[("i", TransformType::Increment(int(0)))]);
        db.commit([plus_nothing]).await.unwrap();
        let there_and_back =
            [db.merge("u/a", &["i"], &[("i", int(2))]), db.merge("u/a", &["i"], &[("i", int(1))])];
        db.commit(there_and_back).await.unwrap();
        assert_eq!(db.get("u/a").await.unwrap().update_time, first.commit_time);
        let retyped = db.commit([db.merge("u/a", &["i"], &[("i", double(1.0))])]).await.unwrap();
        assert_eq!(retyped.write_results[0].update_time, retyped.commit_time);
    })
    .await;
}

#[tokio::test]
async fn one_request_may_write_a_document_twice() {
    conform("twice", async |db: &mut Session| {
        db.commit([db.update("u/a", &[("a", int(1))]), db.update("u/a", &[("a", int(2))])]).await.unwrap();
        let gone = db.commit([db.update("u/a", &[]), db.delete("u/a")]).await.unwrap();
        assert_eq!(gone.write_results[0].update_time, None, "the results tell what became of the document");
        db.commit([db.update("u/a", &[("a", int(1))])]).await.unwrap();
        let replaced = db.commit([db.delete("u/a"), db.update("u/a", &[("a", int(1))])]).await.unwrap();
        assert_eq!(db.get("u/a").await.unwrap().create_time, replaced.commit_time);
        db.commit([db.delete("u/a"), if_absent(db.update("u/a", &[]))]).await.unwrap();
        db.commit([if_absent(db.update("u/n", &[])), if_present(db.update("u/n", &[("a", int(1))]))])
            .await
            .unwrap();
        db.commit([db.update("u/n", &[]), if_present(db.delete("u/n"))]).await.unwrap();
        let version = replaced.commit_time.unwrap();
        for contradiction in [
            [db.update("u/b", &[]), if_absent(db.update("u/b", &[]))],
            [if_absent(db.update("u/b", &[])), if_absent(db.delete("u/b"))],
            [db.delete("u/a"), if_present(db.update("u/a", &[]))],
            [db.delete("u/a"), if_present(db.delete("u/a"))],
            [db.update("u/a", &[]), if_version(db.update("u/a", &[]), version)],
        ] {
            assert_eq!(db.commit(contradiction).await, Err(Code::InvalidArgument));
        }
    })
    .await;
}
