//! `BatchWrite`: writes that succeed and fail one by one.

use crate::conform;
use crate::session::Session;
use crate::wire::*;
use gcloud_sdk::google::firestore::v1::*;
use tonic::Code;

#[tokio::test]
async fn a_batch_write_applies_each_write_on_its_own() {
    conform("batch-write", async |db: &mut Session| {
        let needy = if_present(db.update("b/2", &[]));
        let stamped = with_transforms(db.update("b/4", &[]), &[("t", REQUEST_TIME)]);
        let answer = db
            .batch_write([db.update("b/1", &[("a", int(1))]), needy, db.delete("b/3"), stamped])
            .await
            .unwrap();
        let codes: Vec<_> = answer.status.iter().map(|status| status.code).collect();
        assert_eq!(codes, [0, Code::NotFound as i32, 0, 0]);
        db.get("b/1").await.unwrap();
        db.batch_write([db.update("b/1", &[("a", int(1))])]).await.unwrap();
        let twice = db.batch_write([db.update("b/5", &[]), db.delete("b/5")]).await;
        assert_eq!(twice, Err(Code::InvalidArgument));
        for bad in [
            db.update("b/.", &[]),
            db.update("b/6", &[("", int(1))]),
            db.merge("b/6", &["a b"], &[]),
            Write::default(),
        ] {
            assert_eq!(db.batch_write([db.update("b/7", &[]), bad]).await, Err(Code::InvalidArgument));
        }
        assert_eq!(db.get("b/7").await, Err(Code::NotFound));
        db.batch_write([]).await.unwrap();
    })
    .await;
}
