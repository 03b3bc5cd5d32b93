use super::*;
use crate::execution::examples::{
    COMPLETED, FAILED, RUNNING, STOPPED, SYNCED, at, counts, id, ledger, rejected_live,
};
use crate::model::outcome::Blame;

const SETTLING: Option<TaskState> = Some(TaskState::Settling);

#[test]
fn an_execution_is_alive_for_a_minute_and_fresh_for_half_of_one() {
    for (second, is_alive, is_fresh) in [
        (10, true, true),
        (40, true, true),
        (41, true, false),
        (70, true, false),
        (71, false, false),
        // A clock that jumped.
        (-20, true, true),
        (-21, true, false),
        (-50, true, false),
        (-51, false, false),
    ] {
        let touched = ledger(&[RUNNING]);
        assert_eq!(
            (touched.is_alive(at(second)), touched.is_fresh(at(second))),
            (is_alive, is_fresh),
            "{second}"
        );
        let ended = Ledger { ended_at: Some(at(10)), ..touched };
        assert!(!ended.is_alive(at(second)) && !ended.is_fresh(at(second)), "{second}");
    }
}

#[test]
fn the_last_task_is_the_one_that_finds_all_at_rest() {
    for (states, expected) in [
        (&[COMPLETED, None][..], false),
        (&[COMPLETED, RUNNING], false),
        (&[COMPLETED, SETTLING], false),
        (&[COMPLETED, STOPPED, Some(TaskState::Failed)], true),
        (&[COMPLETED], true),
    ] {
        assert_eq!(ledger(states).is_at_rest(), expected, "{states:?}");
    }
}

#[test]
fn an_execution_is_done_when_every_task_completed_and_its_end_is_recorded() {
    for (states, ended, is_completed, is_done) in [
        (&[COMPLETED, COMPLETED][..], true, true, true),
        (&[COMPLETED, COMPLETED], false, true, false),
        (&[COMPLETED, STOPPED], true, false, false),
        (&[COMPLETED, SETTLING], true, false, false),
        (&[COMPLETED, None], true, false, false),
        (&[RUNNING], false, false, false),
    ] {
        let ledger = Ledger { ended_at: ended.then(|| at(20)), ..ledger(states) };
        assert_eq!((ledger.is_completed(), ledger.is_done()), (is_completed, is_done), "{states:?} {ended}");
    }
}

#[test]
fn a_task_waits_for_those_that_sync_users_and_never_for_itself() {
    for (states, task, expected) in [
        (&[RUNNING, SETTLING, COMPLETED][..], 0, true),
        (&[RUNNING, SETTLING, COMPLETED], 1, false),
        (&[RUNNING, RUNNING], 0, false),
        (&[RUNNING, None], 0, false),
        (&[None, STOPPED], 0, true),
        (&[COMPLETED], 0, true),
    ] {
        assert_eq!(ledger(states).others_have_finished(task), expected, "{states:?} {task}");
    }
}

#[test]
fn the_rejections_of_the_others_are_those_of_every_task_but_one() {
    let mut ledger = ledger(&[COMPLETED, RUNNING, COMPLETED]);
    for (task, rejected) in [(0, 1), (1, 10), (2, 100)] {
        ledger.tasks.get_mut(&task).expect("a task").finished.rejections = rejected_live(rejected);
    }
    let both = |one: u64, other: u64| {
        let mut both = rejected_live(one);
        both += rejected_live(other);
        both
    };
    for (task, expected) in [(0, both(10, 100)), (1, both(1, 100)), (2, both(1, 10))] {
        assert_eq!(ledger.rejections_of_others(task), expected, "{task}");
    }
}

#[test]
fn the_sums_are_of_all_tasks_and_the_pass_failed_when_one_did_not_complete() {
    let mut ledger = ledger(&[COMPLETED, COMPLETED]);
    for record in ledger.tasks.values_mut() {
        record.finished.counts = counts(&[SYNCED, FAILED]);
        record.finished.counts.add_blame(Blame { is_ours: true, is_stale: true });
        record.used.alpaca_calls = 3;
    }
    let (counts, used) = ledger.sums();
    assert_eq!((counts.success, counts.error(), used.alpaca_calls), (2, 2, 6));
    assert_eq!(ledger.pass_status(), PassStatus::Degraded);
    assert_eq!((counts.ours, counts.stale), (2, 2));
    ledger.tasks.get_mut(&0).expect("task 0").state = TaskState::Stopped;
    assert_eq!(ledger.pass_status(), PassStatus::Failed);
}

#[test]
fn what_the_pass_was_worth_at_its_end_is_not_judged_again() {
    let ended = Ledger { status: Some(PassStatus::Failed), ..ledger(&[COMPLETED]) };
    assert_eq!(ended.pass_status(), PassStatus::Failed);
    assert_eq!(ledger(&[COMPLETED]).pass_status(), PassStatus::Ok, "an older version left no word");
}

#[test]
fn what_all_tasks_have_shown_the_database_counts() {
    let mut ledger = ledger(&[COMPLETED, COMPLETED]);
    assert_eq!(ledger.ramp(), None);
    let ramp = Ramp { limit: 750, since: at(0) };
    let behind = Ramp { limit: 500, since: at(5) };
    ledger.tasks.values_mut().for_each(|record| record.ramp = Some((ramp, 300)));
    assert_eq!(ledger.ramp(), Some((ramp, 600.0)));
    ledger.tasks.get_mut(&1).expect("task 1").ramp = Some((behind, 40));
    assert_eq!(ledger.ramp(), Some((ramp, 340.0)));
    ledger.tasks.get_mut(&0).expect("task 0").ramp = None;
    assert_eq!(ledger.ramp(), Some((behind, 40.0)));
}

#[test]
fn half_a_pass_teaches_no_new_borders() {
    let mut half = ledger(&[COMPLETED, STOPPED]);
    half.shards = Shards::new(vec![id("m")]).expect("in order");
    let sample = &mut half.tasks.get_mut(&0).expect("task 0").finished.sample;
    ["a", "b", "c"].iter().for_each(|text| sample.take(&id(text), 2));
    let learned = Some(vec![id("a")]);
    let splits = |ledger: &Ledger, tasks| ledger.plan_next(tasks).map(|shards| shards.splits().to_vec());
    assert_eq!(half.plan_next(2), Some(half.shards.clone()));
    assert_eq!(splits(&half, 3).map(|splits| splits.len()), Some(2), "better than a guess");
    half.tasks.get_mut(&1).expect("task 1").state = TaskState::Completed;
    assert_eq!(splits(&half, 2), learned);
}

const FAILED_TO_READ: Option<TaskState> = Some(TaskState::Failed);

/// What one task has left: its state, its cursor, and where it began.
type Left<'a> = (Option<TaskState>, Option<&'a str>, Option<&'a str>);

fn left(splits: &[&str], tasks: &[Left<'_>]) -> Ledger {
    let mut ledger = ledger(&tasks.iter().map(|(state, ..)| *state).collect::<Vec<_>>());
    for (task, (_, cursor, _)) in tasks.iter().enumerate() {
        if let Some(record) = ledger.tasks.get_mut(&task) {
            record.finished.cursor = cursor.map(id);
        }
    }
    let begun = tasks.iter().enumerate().filter_map(|(task, (.., begun))| Some((task, begun.map(id)?)));
    ledger.shards = shards(splits).beginning_behind(begun.collect());
    ledger
}

fn shards(splits: &[&str]) -> Shards {
    Shards::new(splits.iter().copied().map(id).collect()).expect("in order")
}

#[test]
fn each_task_begins_behind_the_first_of_its_users_whom_the_execution_before_did_not_reach() {
    let none = &[][..];
    for (splits, tasks, now, expected) in [
        // The same tasks.
        (none, &[(COMPLETED, Some("z"), None)][..], none, &[][..]),
        (none, &[(SETTLING, Some("z"), None)], none, &[]),
        (none, &[(STOPPED, Some("k"), None)], none, &[(0, "k")]),
        (none, &[(STOPPED, None, None)], none, &[]),
        (&["m"], &[(STOPPED, Some("c"), None), (STOPPED, Some("t"), None)], &["m"], &[(0, "c"), (1, "t")]),
        (&["m"], &[(COMPLETED, Some("l"), None), (STOPPED, Some("t"), None)], &["m"], &[(1, "t")]),
        // It came to the end of its range, and only did not say so.
        (&["m"], &[(STOPPED, Some("m"), None), (COMPLETED, Some("z"), None)], &["m"], &[]),
        // One that began in the middle: before it came to the end of the range, and after.
        (none, &[(STOPPED, Some("p"), Some("k"))], none, &[(0, "p")]),
        (none, &[(STOPPED, Some("c"), Some("k"))], none, &[(0, "c")]),
        (none, &[(STOPPED, Some("k"), Some("k"))], none, &[]),
        (none, &[(STOPPED, None, Some("k"))], none, &[(0, "k")]),
        (none, &[(COMPLETED, Some("k"), Some("k"))], none, &[]),
        (&["m"], &[(STOPPED, Some("m"), Some("k")), (COMPLETED, None, None)], &["m"], &[]),
        // It died, with somebody finished and with nobody; the other task never came.
        (&["m"], &[(RUNNING, Some("c"), None), (None, None, None)], &["m"], &[(0, "c")]),
        (&["m"], &[(RUNNING, None, Some("c")), (None, None, Some("t"))], &["m"], &[]),
        // Where users cannot be read, nobody may be reached again.
        (none, &[(FAILED_TO_READ, Some("k"), None)], none, &[]),
        // A cursor, or a beginning, that is not its own.
        (&["m"], &[(STOPPED, Some("t"), None), (STOPPED, Some("c"), Some("t"))], &["m"], &[(1, "t")]),
        (&["m"], &[(STOPPED, Some("c"), Some("t")), (COMPLETED, None, None)], &["m"], &[(0, "c")]),
        // Other tasks: of more than one range that was left, the first counts.
        (&["m"], &[(STOPPED, Some("c"), None), (STOPPED, Some("t"), None)], none, &[(0, "c")]),
        (&["m"], &[(COMPLETED, Some("c"), None), (STOPPED, Some("t"), None)], none, &[(0, "t")]),
        (
            &["f", "p"],
            &[(COMPLETED, None, None), (STOPPED, Some("h"), None), (STOPPED, Some("r"), None)],
            &["q"],
            &[(0, "h"), (1, "r")],
        ),
        (none, &[(STOPPED, Some("k"), None)], &["f", "m", "t"], &[(1, "k")]),
        (none, &[(STOPPED, Some("p"), Some("k"))], &["f", "m", "t"], &[(2, "p")]),
        (none, &[(STOPPED, Some("c"), Some("h"))], &["f", "m", "t"], &[(0, "c")]),
    ] {
        let begun = shards(now).beginning_with(&left(splits, tasks).unreached());
        let expected = expected.iter().map(|(task, behind)| (*task, id(behind))).collect();
        assert_eq!(begun.begins_behind(), &expected, "{splits:?} {tasks:?} {now:?}");
        assert_eq!(begun.splits(), shards(now).splits());
    }
}

#[test]
fn executions_that_are_cut_short_reach_everybody_in_turn() {
    let users: Vec<_> = ('a'..='z').map(|letter| id(&letter.to_string())).collect();
    let mut reached = vec![0; users.len()];
    let mut shards = shards(&["i"]);
    for _ in 0..13 {
        let mut before = left(&["i"], &[(STOPPED, None, None), (STOPPED, None, None)]);
        before.shards = shards;
        for task in 0..2 {
            let round = before.shards.round(task).expect("a task");
            let served =
                round.ranges().iter().flat_map(|range| users.iter().filter(|user| range.contains(user)));
            let served: Vec<_> = served.take(4).collect();
            served.iter().for_each(|user| reached[users.binary_search(user).expect("one of them")] += 1);
            before.tasks.get_mut(&task).expect("a task").finished.cursor =
                served.last().map(|user| (*user).clone());
        }
        shards = before.plan_next(2).expect("as before").beginning_with(&before.unreached());
    }
    // Nine users have thirteen times four turns, and seventeen others as many.
    assert!(reached[..9].iter().all(|turns| [5, 6].contains(turns)), "{reached:?}");
    assert!(reached[9..].iter().all(|turns| [3, 4].contains(turns)), "{reached:?}");
}

#[test]
fn the_ledger_of_one_task_waits_for_it_alone() {
    let mut ledger = Ledger::of_one_task(at(3));
    assert_eq!((ledger.shards.tasks(), ledger.started_at, ledger.is_at_rest()), (1, at(3), false));
    ledger.tasks.insert(0, crate::execution::examples::record(TaskState::Completed));
    assert!(ledger.is_completed());
}
