use super::*;
use crate::execution::examples::{conflict, refused};
use std::cell::Cell;

/// How often it is tried, and whether it works out, when so many tries meet others that are faster.
async fn tried(conflicts: u32, then: Option<StoreError>) -> (u32, Result<(), StoreError>) {
    let (tries, then) = (Cell::new(0), Cell::new(then));
    let result = until_no_conflict(async || {
        tries.set(tries.get() + 1);
        match tries.get() <= conflicts {
            true => Err(conflict()),
            false => then.take().map_or(Ok(()), Err),
        }
    })
    .await;
    (tries.get(), result)
}

#[tokio::test]
async fn others_that_are_faster_are_met_five_times_at_most() {
    for (conflicts, expected) in
        [(0, (1, true)), (1, (2, true)), (4, (5, true)), (5, (5, false)), (9, (5, false))]
    {
        let (tries, result) = tried(conflicts, None).await;
        assert_eq!((tries, result.is_ok()), expected, "{conflicts}");
        assert!(matches!(result, Ok(()) | Err(StoreError::Conflict(_))));
    }
}

#[tokio::test]
async fn what_is_no_conflict_is_not_tried_again() {
    for (conflicts, expected) in [(0, 1), (3, 4), (4, 5)] {
        let (tries, result) = tried(conflicts, Some(refused())).await;
        assert_eq!(tries, expected);
        assert!(matches!(result, Err(StoreError::Rejected(_))));
    }
}
