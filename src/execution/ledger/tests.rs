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

#[test]
fn the_ledger_of_one_task_waits_for_it_alone() {
    let mut ledger = Ledger::of_one_task(at(3));
    assert_eq!((ledger.shards.tasks(), ledger.started_at, ledger.is_at_rest()), (1, at(3), false));
    ledger.tasks.insert(0, crate::execution::examples::record(TaskState::Completed));
    assert!(ledger.is_completed());
}
