//! Cursors, offsets and limits.

use crate::conform;
use crate::ordering::commit_values;
use crate::session::Session;
use crate::wire::*;

#[tokio::test]
async fn cursors_offsets_and_limits_cut_pages() {
    conform("cursors", async |db: &mut Session| {
        commit_values(db).await;
        let by_name = ordered(from("v"), &[("__name__", Ascending)]);
        let by_x = ordered(from("v"), &[("x", Ascending)]);
        let page = limited(start(by_name.clone(), false, &[db.reference("v/09")]), 0, 3);
        assert_eq!(db.query(page).await.unwrap(), ["v/10", "v/11", "v/12"]);
        for before in [true, false] {
            db.query(start(by_name.clone(), before, &[db.reference("v/35")])).await.unwrap();
            db.query(end(by_name.clone(), before, &[db.reference("v/02")])).await.unwrap();
            db.query(start(by_x.clone(), before, &[int(0)])).await.unwrap();
            db.query(end(by_x.clone(), before, &[int(0)])).await.unwrap();
            db.query(start(limited(by_x.clone(), 0, 2), before, &[])).await.unwrap();
            db.query(end(limited(by_x.clone(), 0, 2), before, &[])).await.unwrap();
            let descending = ordered(from("v"), &[("x", Descending)]);
            db.query(limited(start(descending, before, &[text("z")]), 0, 3)).await.unwrap();
            let total = ordered(from("v"), &[("y", Ascending), ("__name__", Ascending)]);
            db.query(limited(start(total, before, &[int(1), db.reference("v/10")]), 0, 3)).await.unwrap();
        }
        for (offset, limit) in [(0, 0), (2, 1), (200, 1), (37, 5)] {
            db.query(limited(from("v"), offset, limit)).await.unwrap();
            db.query(limited(by_x.clone(), offset, limit)).await.unwrap();
        }
        let bad = [
            limited(from("v"), -1, 1),
            limited(from("v"), 0, -1),
            start(from("v"), true, &[db.reference("v/01")]),
            start(by_x.clone(), true, &[int(1), db.reference("v/01")]),
            start(by_name.clone(), true, &[text("01")]),
            start(by_name, true, &[db.reference("v")]),
            start(filtered(from("v"), filter("x", Op::GreaterThan, int(0))), true, &[int(1)]),
        ];
        db.expect_invalid_queries(bad).await;
    })
    .await;
}
