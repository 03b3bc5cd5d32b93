use super::*;
use crate::execution::examples::{
    COMPLETED, RUNNING, STOPPED, SYNCED, assignment, at, config, counts, execution, id, ledger,
};
use crate::model::selection::IdRange;

fn joined(own: Option<Ledger>) -> Joined {
    let shards = Shards::new(vec![id("m")]).expect("in order");
    Joined { shards, own, previous: Some(at(-60)), now: at(100) }
}

/// The part of that task of two when the execution's ledger is that.
fn taken(task: usize, own: Option<Ledger>) -> TaskAssignment {
    let mut assignment = assignment(task, 2);
    assignment.take(joined(own)).expect("a plan for two");
    assignment
}

fn range(after: Option<&str>, until: Option<&str>) -> Selection {
    let range = IdRange { after: after.map(id), until: until.map(id) };
    Selection::Round(Round::around(range, None))
}

/// A ledger in which that task has finished these of its users.
fn with_record(states: &[Option<TaskState>], task: usize, users: &[&str]) -> Ledger {
    let mut ledger = ledger(states);
    let record = ledger.tasks.get_mut(&task).expect("a task");
    record.finished.cursor = users.last().map(|user| id(user));
    record.finished.counts = counts(&vec![SYNCED; users.len()]);
    record.used.alpaca_calls = users.len() as u64;
    ledger
}

#[test]
fn whoever_names_users_gets_them_and_nothing_else() {
    for (flags, takes_everybody, recording, last_synced) in [
        (&[][..], true, Recording::Ledger, LastSynced::Unreadable),
        (&["--dry-run"], true, Recording::Nowhere, LastSynced::Unreadable),
        (&["--user", "ana"], false, Recording::Nowhere, LastSynced::NotAsked),
        (&["--user", "ana", "--dry-run"], false, Recording::Nowhere, LastSynced::NotAsked),
    ] {
        let config = config(flags, 1, 3);
        let used = Used { alpaca_calls: 7, ..Used::default() };
        let new = TaskAssignment::new(&config, &execution(1, 3), used, at(5));
        assert_eq!(new.selection, config.selection, "{flags:?}");
        assert_eq!(
            (new.has_legacy_account, new.recording, new.last_synced),
            (takes_everybody, recording, last_synced)
        );
        assert_eq!((new.task, new.tasks, new.started_at, new.execution), (1, 3, at(5), id("pulse-x")));
        assert_eq!((new.schedule.previous, new.schedule.now, new.earlier), (None, at(5), Earlier::Nothing));
        assert_eq!(new.used_before.and(used), Used::default());
    }
}

#[test]
fn each_task_has_its_share_and_the_first_the_legacy_account() {
    for (task, selection, has_legacy_account) in
        [(0, range(None, Some("m")), true), (1, range(Some("m"), None), false)]
    {
        let taken = taken(task, None);
        assert_eq!((taken.selection, taken.has_legacy_account), (selection, has_legacy_account));
        assert_eq!(
            (taken.started_at, taken.schedule.previous, taken.schedule.now),
            (at(100), Some(at(-60)), at(100))
        );
        assert_eq!((taken.earlier, taken.finished), (Earlier::Nothing, Finished::default()));
    }
}

#[test]
fn a_ledger_for_another_number_of_tasks_is_refused() {
    for (task, tasks) in [(0, 1), (0, 3), (2, 3)] {
        let refused = assignment(task, tasks).take(joined(None)).expect_err("planned for two");
        let expected =
            format!("the ledger of execution pulse-x is for 2 tasks, not {tasks}: start a new execution");
        assert_eq!(refused.to_string(), expected);
    }
}

#[test]
fn a_retry_goes_on_after_the_cursor_with_what_is_counted() {
    let unfinished = taken(1, Some(with_record(&[COMPLETED, RUNNING], 1, &["n", "p"])));
    assert_eq!(unfinished.selection, range(Some("p"), None));
    assert_eq!((unfinished.finished.counts.success, unfinished.earlier), (2, Earlier::Unfinished));
    assert_eq!(unfinished.used_before.attempts.alpaca_calls, 2);
    assert_eq!(unfinished.started_at, at(0), "of the execution, not of the attempt");
    // Nobody is finished yet.
    let at_the_start = taken(1, Some(ledger(&[COMPLETED, STOPPED])));
    assert_eq!(at_the_start.selection, range(Some("m"), None));
}

#[test]
fn a_retry_of_a_task_that_began_in_the_middle_goes_round_from_its_cursor_to_where_it_began() {
    let shards = || joined(None).shards.beginning_behind([(1, id("t"))].into());
    for (cursor, expected) in [
        (None, &[(Some("t"), None), (Some("m"), Some("t"))][..]),
        (Some("w"), &[(Some("w"), None), (Some("m"), Some("t"))]),
        (Some("p"), &[(Some("p"), Some("t"))]),
        (Some("t"), &[]),
        // Not one of its own: it has passed nobody.
        (Some("a"), &[(Some("t"), None), (Some("m"), Some("t"))]),
    ] {
        let users: Vec<_> = cursor.into_iter().collect();
        let own = with_record(&[COMPLETED, STOPPED], 1, &users);
        let mut assignment = assignment(1, 2);
        assignment.take(Joined { shards: shards(), ..joined(Some(own)) }).expect("a plan for two");
        let Selection::Round(round) = assignment.selection else { panic!("nobody was named") };
        let range = |(after, until): &(Option<&str>, Option<&str>)| IdRange {
            after: after.map(id),
            until: until.map(id),
        };
        assert_eq!(round.ranges(), expected.iter().map(range).collect::<Vec<_>>(), "{cursor:?}");
    }
}

#[test]
fn the_legacy_account_is_synced_once_however_often_the_task_is_tried() {
    let with_legacy = |success| {
        let mut ledger = with_record(&[RUNNING, None], 0, &[]);
        ledger.tasks.get_mut(&0).expect("task 0").finished.counts.success = success;
        taken(0, Some(ledger)).has_legacy_account
    };
    assert!(with_legacy(0));
    assert!(!with_legacy(1), "it comes before all users");
}

#[test]
fn what_earlier_attempts_have_left() {
    let failed = Some(PassStatus::Failed);
    for (states, touched, ended, expected) in [
        (&[RUNNING, None][..], 90, None, Earlier::Nothing),
        (&[RUNNING, None], 70, None, Earlier::Nothing),
        (&[RUNNING, None], 69, None, Earlier::Silence),
        (&[RUNNING, None], 131, None, Earlier::Silence),
        (&[COMPLETED, None], 90, failed, Earlier::Silence),
        (&[RUNNING, RUNNING], 90, None, Earlier::Unfinished),
        (&[COMPLETED, STOPPED], 90, failed, Earlier::Unfinished),
        (&[COMPLETED, Some(TaskState::Failed)], 90, failed, Earlier::Unfinished),
        (&[COMPLETED, Some(TaskState::Settling)], 90, None, Earlier::Unfinished),
        (&[RUNNING, COMPLETED], 10, None, Earlier::Completed),
        (&[COMPLETED, COMPLETED], 90, failed, Earlier::Ended(PassStatus::Failed)),
        (&[COMPLETED, COMPLETED], 10, Some(PassStatus::Ok), Earlier::Ended(PassStatus::Ok)),
        (&[STOPPED, COMPLETED], 10, None, Earlier::Completed),
    ] {
        let own = Ledger {
            touched_at: at(touched),
            status: ended,
            ended_at: ended.map(|_| at(95)),
            ..ledger(states)
        };
        assert_eq!(taken(1, Some(own)).earlier, expected, "{states:?} {touched} {ended:?}");
    }
}

#[test]
fn what_follows_from_what_was_left() {
    for (earlier, leaves_work, is_silent, was_recorded) in [
        (Earlier::Nothing, true, false, false),
        (Earlier::Silence, true, true, false),
        (Earlier::Unfinished, true, true, true),
        (Earlier::Completed, false, false, true),
        (Earlier::Ended(PassStatus::Ok), false, false, true),
    ] {
        let follows = (earlier.leaves_work(), earlier.is_silent(), earlier.was_recorded());
        assert_eq!(follows, (leaves_work, is_silent, was_recorded), "{earlier:?}");
    }
}
