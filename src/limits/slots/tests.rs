use super::*;
use tokio::time::sleep;

fn slots(concurrency: usize) -> Slots {
    Slots::new(NonZeroUsize::new(concurrency).expect("above 0"))
}

/// Whether a slot can be had at once.
fn is_free(slots: &Slots) -> bool {
    slots.at_work.available_permits() > 0
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_user_who_waits_holds_no_slot_and_has_one_again_afterwards() {
    let slots = slots(1);
    let slot = slots.take().await;
    let free = slots.clone();
    slot.hold_during(async {
        assert!(!is_free(&free));
        let seen = wait_aside(async {
            sleep(SECOND).await;
            is_free(&free)
        });
        assert_eq!(seen.await, Ok(true));
        assert!(!is_free(&free));
    })
    .await;
    assert!(is_free(&slots));
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_waits_for_a_slot() {
    let slots = slots(1);
    let (waits, works) = (slots.take().await, slots.clone());
    let other = tokio::spawn(async move {
        let slot = works.take().await;
        slot.hold_during(sleep(5 * SECOND)).await;
    });
    let start = Instant::now();
    waits.hold_during(wait_aside(sleep(SECOND))).await.expect("room");
    assert_eq!(start.elapsed(), 5 * SECOND);
    other.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_over_at_once_gives_nothing_up() {
    let slots = slots(1);
    let (slot, next) = (slots.take().await, slots.take());
    let mut next = pin!(next);
    assert!(futures::poll!(next.as_mut()).is_pending());
    // The next in line would get the slot otherwise, and this would not end.
    assert_eq!(slot.hold_during(wait_aside(std::future::ready(7))).await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_bounded() {
    let slots = slots(1);
    let mut waiting = Vec::new();
    for _ in 0..WAITING {
        let slot = slots.take().await;
        waiting.push(tokio::spawn(slot.hold_during(wait_aside(sleep(9 * SECOND)))));
        tokio::task::yield_now().await;
    }
    let start = Instant::now();
    let crowded = slots.take().await.hold_during(wait_aside(sleep(SECOND))).await;
    assert_eq!((crowded, start.elapsed()), (Err(Crowded), Duration::ZERO));
    for user in waiting {
        assert_eq!(user.await.expect("no panic"), Ok(()));
    }
    assert_eq!(slots.waiting.available_permits(), WAITING);
}

#[tokio::test(start_paused = true)]
async fn outside_of_a_users_task_everybody_waits_as_told() {
    let start = Instant::now();
    assert_eq!(wait_aside(sleep(SECOND)).await, Ok(()));
    let answer = answer_within(9 * SECOND, &Patience::default(), Box::pin(sleep(3 * SECOND))).await;
    assert_eq!((answer, start.elapsed()), (Ok(()), 4 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_frees_its_slot_after_a_second_within_bounds() {
    let slots = slots(1);
    let start = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..SILENT_CALLS {
        let slot = slots.take().await;
        let call = async {
            answer_within(60 * SECOND, &Patience::default(), Box::pin(std::future::pending::<()>())).await
        };
        silent.push(tokio::spawn(slot.hold_during(call)));
    }
    let (one_more, patience) = (slots.take().await, Patience::default());
    assert_eq!(start.elapsed(), 4 * SECOND, "a second for each");
    let held =
        one_more.hold_during(answer_within(5 * SECOND, &patience, Box::pin(std::future::pending::<()>())));
    let (free, next) = (slots.clone(), slots.take());
    let (unanswered, ()) = futures::join!(held, async {
        sleep(4 * SECOND).await;
        assert!(!is_free(&free), "there is no more room for such calls");
    });
    assert!(unanswered.is_err());
    drop(next.await);
    assert_eq!(start.elapsed(), 9 * SECOND);
    silent.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_freed_as_soon_as_there_is_room_for_one_more_call_without_an_answer() {
    let slots = slots(1);
    let call = |slot: WorkSlot, answer: u32| {
        let patience = Patience::default();
        let answer =
            async move { answer_within(60 * SECOND, &patience, Box::pin(sleep(answer * SECOND))).await };
        tokio::spawn(slot.hold_during(answer))
    };
    let start = Instant::now();
    let first = call(slots.take().await, 10);
    let mut silent = Vec::new();
    for _ in 0..SILENT_CALLS {
        silent.push(call(slots.take().await, 30));
    }
    // The last one holds the slot, until the first one is answered and its place is free. Then they change places.
    first.await.expect("no panic").expect("in time");
    assert_eq!(start.elapsed(), 10 * SECOND);
    drop(slots.take().await);
    assert_eq!(start.elapsed(), 10 * SECOND);
    silent.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn how_long_an_answer_usually_takes_decides_how_long_one_is_waited_for() {
    let (slots, patience) = (slots(1), Patience::default());
    for _ in 0..20 {
        assert!(answer_within(SECOND, &patience, Box::pin(sleep(Duration::from_millis(100)))).await.is_ok());
    }
    let (slot, start) = (slots.take().await, Instant::now());
    let call =
        async move { answer_within(9 * SECOND, &patience, Box::pin(std::future::pending::<()>())).await };
    let silent = tokio::spawn(slot.hold_during(call));
    drop(slots.take().await);
    assert_eq!(start.elapsed().as_millis(), 300);
    assert!(silent.await.expect("no panic").is_err());
    assert!(is_free(&slots));
}

#[tokio::test(start_paused = true)]
async fn a_user_who_is_given_up_leaves_slot_and_place() {
    let slots = slots(1);
    let waiting = slots.take().await.hold_during(wait_aside(std::future::pending::<()>()));
    assert!(timeout(SECOND, waiting).await.is_err());
    assert!(is_free(&slots));
    assert_eq!(slots.waiting.available_permits(), WAITING);
}

#[tokio::test(start_paused = true)]
async fn two_calls_of_one_user_wait_at_the_same_time_in_one_place() {
    let slots = slots(1);
    let (slot, start) = (slots.take().await, Instant::now());
    let waits = slot.hold_during(async {
        let both = futures::join!(wait_aside(sleep(SECOND)), wait_aside(sleep(2 * SECOND)));
        (both, slots.waiting.available_permits(), is_free(&slots))
    });
    assert_eq!(waits.await, ((Ok(()), Ok(())), WAITING, false));
    assert_eq!(start.elapsed(), 2 * SECOND);
    assert!(is_free(&slots));
}
