//! `ListDocuments` and `ListCollectionIds`, page by page.

use crate::conform;
use crate::session::Session;
use crate::wire::*;
use tonic::Code;

/// Seven documents in `u`, and some below documents that are missing.
async fn commit_tree(db: &mut Session) {
    let listed = ["c", "a", "b", "Z", "é", "10", "9"]
        .map(|id| db.update(&format!("u/{id}"), &[("a", int(1)), ("b", int(2))]));
    let deeper = ["u/miss/s/x", "u/a/s/x", "v/1", "u/miss/t/x/deep/er"].map(|path| db.update(path, &[]));
    db.commit([&listed[..], &deeper].concat()).await.expect("these documents are valid");
}

#[tokio::test]
async fn a_collection_is_listed_page_by_page() {
    conform("lists", async |db: &mut Session| {
        commit_tree(db).await;
        let (paths, _) = db.list("u", |_| ()).await.unwrap();
        assert_eq!(paths, ["u/10", "u/9", "u/Z", "u/a", "u/b", "u/c", "u/é"]);
        let mut token = String::new();
        let mut pages = Vec::new();
        loop {
            let (page, next) =
                db.list("u", |list| (list.page_size, list.page_token) = (3, token)).await.unwrap();
            pages.push(page.len());
            token = next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(pages, [3, 3, 1]);
        db.list("u", |list| list.page_size = 7).await.unwrap();
        for mask in ["b", "__name__"] {
            db.list("u", |list| list.mask = Some(to_mask(&[mask]))).await.unwrap();
        }
        db.list("nothing", |_| ()).await.unwrap();
        db.list("u", |list| list.order_by = "__name__".into()).await.unwrap();
        let negative = db.list("u", |list| list.page_size = -1).await;
        assert_eq!(negative, Err(Code::InvalidArgument));
    })
    .await;
}

#[tokio::test]
async fn missing_documents_are_listed_on_demand() {
    conform("missing", async |db: &mut Session| {
        commit_tree(db).await;
        let (shown, _) = db.list("u", |list| list.show_missing = true).await.unwrap();
        assert!(shown.contains(&"u/miss".to_owned()));
        db.list("u", |list| (list.show_missing, list.page_size) = (true, 6)).await.unwrap();
        let below = db.name("u/miss");
        let (deeper, _) = db
            .list("t", |list| {
                (list.parent, list.show_missing) = (below.clone(), true);
            })
            .await
            .unwrap();
        assert_eq!(deeper, ["u/miss/t/x"]);
        db.list("t", |list| list.parent = below).await.unwrap();
        let ordered = db
            .list("u", |list| {
                (list.show_missing, list.order_by) = (true, "a".into());
            })
            .await;
        assert_eq!(ordered, Err(Code::InvalidArgument));
    })
    .await;
}

#[tokio::test]
async fn a_document_lists_its_collections() {
    conform("collections", async |db: &mut Session| {
        commit_tree(db).await;
        assert_eq!(db.list_collections("", 0, "").await.unwrap().0, ["u", "v"]);
        let (first, token) = db.list_collections("u/miss", 1, "").await.unwrap();
        let (second, _) = db.list_collections("u/miss", 1, &token).await.unwrap();
        assert_eq!((first, second), (vec!["s".into()], vec!["t".into()]));
        db.list_collections("u/miss", 3, "").await.unwrap();
        db.list_collections("u/nobody", 0, "").await.unwrap();
        for (parent, page_size) in [("u", 0), ("", -1)] {
            let refused = db.list_collections(parent, page_size, "").await;
            assert_eq!(refused, Err(Code::InvalidArgument));
        }
    })
    .await;
}

#[tokio::test]
async fn a_page_of_documents_has_a_default_and_a_largest_size() {
    conform("page-size", async |db: &mut Session| {
        let writes: Vec<_> = (0..160).map(|id| db.update(&format!("u/{id}"), &[])).collect();
        db.commit(writes).await.unwrap();
        assert_eq!(db.list("u", |_| ()).await.unwrap().0.len(), 30);
        assert_eq!(db.list("u", |list| list.page_size = 1000).await.unwrap().0.len(), 150);
    })
    .await;
}
