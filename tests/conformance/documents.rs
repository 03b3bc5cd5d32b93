//! Documents: created, replaced, merged, deleted, and read by name.

use crate::conform;
use crate::session::Session;
use crate::wire::*;
use gcloud_sdk::google::firestore::v1::*;
use tonic::Code;

#[tokio::test]
async fn a_document_is_created_replaced_merged_and_deleted() {
    conform("documents", async |db: &mut Session| {
        assert_eq!(db.get("u/a").await, Err(Code::NotFound));
        db.commit([db.update("u/a", &[("a", int(1)), ("b", map(&[("c", int(2)), ("d", int(3))]))])])
            .await
            .unwrap();
        db.commit([db.merge("u/a", &["b.c", "b.d", "e"], &[("b", map(&[("c", int(9))])), ("x", int(0))])])
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
        db.commit([db.update("u/a", &[("s", int(1)), ("a b", int(2)), ("m", map(&[("x", int(1))]))])])
            .await
            .unwrap();
        db.commit([db.merge("u/a", &["s.x.y"], &[("s", map(&[("x", map(&[("y", int(1))]))]))])])
            .await
            .unwrap();
        db.commit([db.merge("u/a", &["`a b`", "m.x"], &[("a b", int(3))])]).await.unwrap();
        let document = db.get("u/a").await.unwrap();
        assert_eq!(document.fields["s"], map(&[("x", map(&[("y", int(1))]))]), "the scalar gave way to maps");
        assert_eq!((&document.fields["a b"], &document.fields["m"]), (&int(3), &map(&[])));
        db.commit([db.merge("u/a", &[], &[("z", int(1))])]).await.unwrap();
        db.commit([db.merge("u/a", &["a b.c.d", "q.r"], &[])]).await.unwrap_err();
        db.commit([db.merge("u/a", &["q.r", "s.x.y.z"], &[])]).await.unwrap();
        db.commit([db.merge("u/a", &["d", "d"], &[("d", int(1))])]).await.unwrap();
        db.commit([db.merge("u/a", &["d", "d.e"], &[("d", map(&[("e", int(1)), ("f", int(2))]))])])
            .await
            .unwrap();
        db.commit([db.merge("u/new", &["a.b"], &[])]).await.unwrap();
        db.get("u/a").await.unwrap();
        db.get("u/new").await.unwrap();
        for mask in
            ["a b", "", "a.", ".a", "a..b", "1a", "`a", "``", "`a`b", "a-b", "é", "*", "__x__", "a.__x__"]
        {
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
async fn documents_are_read_by_name() {
    conform("reads", async |db: &mut Session| {
        let fields = [("a", int(1)), ("b", map(&[("c", int(2)), ("d", int(3))]))];
        db.commit([db.update("u/a", &fields), db.update("u/b", &fields)]).await.unwrap();
        let found = db.batch_get(&["u/b", "u/none", "u/a", "u/b"], None).await.unwrap();
        assert_eq!(found, ["u/a", "u/b"], "sorted by the test");
        for mask in [&["b.c", "zz"][..], &["__name__"], &[], &["b", "b.c"]] {
            db.batch_get(&["u/a"], Some(mask)).await.unwrap();
            db.get_document("u/a", |request| request.mask = Some(to_mask(mask))).await.unwrap();
        }
        assert_eq!(db.batch_get(&["u/a"], Some(&["a b"])).await, Err(Code::InvalidArgument));
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
        let document =
            Document { name: db.name("u/a"), fields: to_fields(&[("b", int(2))]), ..Default::default() };
        let request = UpdateDocumentRequest {
            document: Some(document),
            update_mask: Some(to_mask(&["b"])),
            mask: Some(to_mask(&["b"])),
            ..Default::default()
        };
        assert_eq!(db.update_document(request.clone()).await.unwrap().fields.len(), 1);
        db.get("u/a").await.unwrap();
        let refused =
            db.update_document(UpdateDocumentRequest { current_document: exists(false), ..request }).await;
        assert_eq!(refused, Err(Code::AlreadyExists));
        let request = DeleteDocumentRequest { name: db.name("u/a"), ..Default::default() };
        db.delete_document(request.clone()).await.unwrap();
        db.delete_document(request.clone()).await.unwrap();
        let refused =
            db.delete_document(DeleteDocumentRequest { current_document: exists(true), ..request }).await;
        assert_eq!(refused, Err(Code::NotFound));
    })
    .await;
}

#[tokio::test]
async fn a_projection_picks_fields() {
    conform("projections", async |db: &mut Session| {
        let fields = [("a", map(&[("b", int(1)), ("c", int(2))])), ("d e", int(3)), ("f", int(4))];
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
        assert_eq!(db.query(select(from("s"), &["d e"])).await, Err(Code::InvalidArgument));
    })
    .await;
}
