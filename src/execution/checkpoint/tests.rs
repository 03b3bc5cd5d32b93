use super::*;
use crate::execution::assignment::Earlier;
use crate::execution::examples::{SYNCED, assignment, id};
use crate::model::fleet_guard::Rejections;
use crate::model::measures::UserMeasures;
use crate::model::outcome::{Blame, PassStatus};
use crate::shutdown::StopSignal;
use std::time::Duration;
use tokio::time::Instant;

/// A save that was made: after how many milliseconds, with how many users, and what was said of the end.
type Save = (u64, u64, ExecutionEnd);

const OPEN: ExecutionEnd = ExecutionEnd::Open;
const UNCHANGED: ExecutionEnd = ExecutionEnd::Unchanged;

/// Saves that take `takes` and of which the first `failures` fail.
struct Saves {
    start: Instant,
    made: Mutex<Vec<Save>>,
    takes: Duration,
    failures: usize,
}

impl Saves {
    fn new(takes: u64, failures: usize) -> Arc<Self> {
        let (start, takes) = (Instant::now(), Duration::from_millis(takes));
        Arc::new(Self { start, made: Mutex::default(), takes, failures })
    }

    async fn save(self: Arc<Self>, finished: Finished, end: ExecutionEnd) -> bool {
        let made = {
            let mut made = self.made.lock().expect("not poisoned");
            made.push((self.start.elapsed().as_millis() as u64, finished.counts.users(), end));
            made.len()
        };
        sleep(self.takes).await;
        made > self.failures
    }

    fn made(&self) -> Vec<Save> {
        self.made.lock().expect("not poisoned").clone()
    }
}

fn checkpointer(saves: &Arc<Saves>, is_silent: bool) -> Checkpointer {
    let saves = Arc::clone(saves);
    let checkpointer = Checkpointer::new(Finished::default(), 1);
    checkpointer.saved_by(is_silent, move |finished, end| Arc::clone(&saves).save(finished, end))
}

fn sync(checkpointer: &Checkpointer, users: std::ops::Range<usize>) {
    for user in users {
        let slot = checkpointer.begin(Some(id(&format!("u{user:05}"))));
        let result = UserResult {
            outcome: SYNCED,
            blame: Blame::default(),
            rejections: Rejections::default(),
            measures: UserMeasures::default(),
        };
        checkpointer.end(slot, result);
    }
}

#[test]
fn a_task_is_followed_where_it_has_work_and_a_ledger() {
    for (recording, earlier, expected) in [
        (Recording::Ledger, Earlier::Nothing, true),
        (Recording::Ledger, Earlier::Silence, true),
        (Recording::Ledger, Earlier::Unfinished, true),
        (Recording::Ledger, Earlier::Completed, false),
        (Recording::Ledger, Earlier::Ended(PassStatus::Ok), false),
        (Recording::LastPulse, Earlier::Nothing, false),
        (Recording::Nowhere, Earlier::Nothing, false),
    ] {
        let assignment = TaskAssignment { recording, earlier, ..assignment(0, 1) };
        assert_eq!(assignment.is_checkpointed(), expected, "{recording:?} {earlier:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_cursor_is_saved_every_ten_seconds() {
    let saves = Saves::new(100, 0);
    let checkpointer = checkpointer(&saves, false);
    sync(&checkpointer, 0..3);
    sleep(Duration::from_secs(15)).await;
    sync(&checkpointer, 3..7);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(saves.made(), [(10_000, 3, UNCHANGED), (20_100, 7, UNCHANGED)]);
    assert_eq!(checkpointer.close(&Stop::default()).await.counts.users(), 7);
}

#[tokio::test(start_paused = true)]
async fn and_after_every_thousand_users_however_soon_that_is() {
    let saves = Saves::new(0, 0);
    let checkpointer = checkpointer(&saves, false);
    for (users, millis) in [(0..999, 1), (999..1000, 1), (1000..1999, 1), (1999..2001, 1), (2001..2999, 1)] {
        sync(&checkpointer, users);
        sleep(Duration::from_millis(millis)).await;
    }
    assert_eq!(saves.made(), [(1, 1000, UNCHANGED), (3, 2001, UNCHANGED)]);
}

#[tokio::test(start_paused = true)]
async fn users_of_earlier_attempts_make_no_save_due() {
    let mut finished = Finished::default();
    finished.counts.success = 5_000;
    let saves = Saves::new(0, 0);
    let to_save = Arc::clone(&saves);
    let checkpointer = Checkpointer::new(finished, 1)
        .saved_by(false, move |finished, end| Arc::clone(&to_save).save(finished, end));
    sync(&checkpointer, 0..999);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(saves.made(), []);
    sync(&checkpointer, 999..1000);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(saves.made(), [(1, 6_000, UNCHANGED)]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_says_at_once_that_it_is_at_work_until_that_is_saved() {
    for (failures, ends) in [(0, [OPEN, UNCHANGED, UNCHANGED]), (1, [OPEN, OPEN, UNCHANGED]), (2, [OPEN; 3])]
    {
        let saves = Saves::new(0, failures);
        let _checkpointer = checkpointer(&saves, true);
        sleep(Duration::from_millis(20_001)).await;
        let expected: Vec<_> =
            [0, 10_000, 20_000].into_iter().zip(ends).map(|(millis, end)| (millis, 0, end)).collect();
        assert_eq!(saves.made(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_save_under_way_is_waited_for_but_not_long_once_told_to_stop() {
    for (takes, told, waits) in
        [(3_000, false, 2_000), (3_000, true, 500), (1_200, true, 200), (60_000, false, 59_000)]
    {
        let saves = Saves::new(takes, 0);
        let checkpointer = checkpointer(&saves, true);
        sync(&checkpointer, 0..2);
        sleep(Duration::from_secs(1)).await;
        let (stop, start) = (Stop::default(), Instant::now());
        if told {
            stop.request(StopSignal::Terminate);
        }
        assert_eq!(checkpointer.close(&stop).await.counts.users(), 2);
        assert_eq!(start.elapsed(), Duration::from_millis(waits), "{takes} {told}");
        sleep(Duration::from_secs(100)).await;
        assert_eq!(saves.made().len(), 1, "nothing is saved after the end");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_ledger_there_is_nothing_to_wait_for() {
    let (start, checkpointer) = (Instant::now(), Checkpointer::new(Finished::default(), 1));
    sync(&checkpointer, 0..1_500);
    assert_eq!(checkpointer.close(&Stop::default()).await.counts.users(), 1_500);
    assert_eq!(start.elapsed(), Duration::ZERO);
}
