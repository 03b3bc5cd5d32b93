use super::*;
use crate::execution::examples::{
    COMPLETED, FAILED, SKIPPED, STOPPED, SYNCED, assignment, at, counts, ledger,
};
use crate::execution::silence::Silence;
use PassStatus::{Degraded, Failed, Ok};

fn worth_of(status: PassStatus, silence: Option<Silence>) -> Worth {
    Worth { status, silence }
}

#[test]
fn one_task_knows_what_the_pass_is_worth_and_one_of_several_does_not() {
    let sudden = Some(Silence::Sudden(at(-60)));
    for (tasks, last_synced, outcomes, expected) in [
        (1, LastSynced::Never, &[SYNCED, FAILED][..], Some(worth_of(Degraded, None))),
        (1, LastSynced::At(at(-60)), &[SKIPPED], Some(worth_of(Failed, sudden))),
        (1, LastSynced::Unreadable, &[SKIPPED], Some(worth_of(Failed, Some(Silence::Unknown)))),
        (2, LastSynced::Never, &[SYNCED, FAILED], None),
        (2, LastSynced::At(at(-60)), &[SKIPPED], None),
        (1, LastSynced::NotAsked, &[SKIPPED], Some(worth_of(Ok, None))),
        (2, LastSynced::NotAsked, &[SKIPPED, FAILED], Some(worth_of(Failed, None))),
    ] {
        let assignment = TaskAssignment { last_synced, ..assignment(0, tasks) };
        assert_eq!(assignment.worth(&counts(outcomes)), expected, "{tasks} {last_synced:?} {outcomes:?}");
    }
}

#[test]
fn what_an_earlier_attempt_has_ended_is_not_judged_again_unless_users_were_found_after_all() {
    for tasks in [1, 2] {
        let mut assignment = TaskAssignment { earlier: Earlier::Ended(Failed), ..assignment(0, tasks) };
        assignment.finished.counts = counts(&[SKIPPED]);
        assert_eq!(assignment.worth(&counts(&[SKIPPED])), Some(worth_of(Failed, None)));
        let after_all = (tasks == 1).then_some(worth_of(Ok, None));
        assert_eq!(assignment.worth(&counts(&[SKIPPED, SYNCED])), after_all);
    }
}

#[test]
fn only_a_pass_that_every_task_completed_can_have_synced_nobody_unexpectedly() {
    let sudden = Some(Silence::Sudden(at(0)));
    for (states, last_synced, success, expected) in [
        ([COMPLETED, COMPLETED], LastSynced::At(at(0)), 0, worth_of(Failed, sudden)),
        ([COMPLETED, COMPLETED], LastSynced::At(at(0)), 1, worth_of(Ok, None)),
        ([COMPLETED, COMPLETED], LastSynced::Never, 0, worth_of(Ok, Some(Silence::NoUsers))),
        ([COMPLETED, COMPLETED], LastSynced::Unreadable, 0, worth_of(Failed, Some(Silence::Unknown))),
        ([COMPLETED, COMPLETED], LastSynced::Unreadable, 1, worth_of(Ok, None)),
        ([COMPLETED, STOPPED], LastSynced::At(at(0)), 0, worth_of(Failed, None)),
        ([COMPLETED, STOPPED], LastSynced::Unreadable, 1, worth_of(Failed, None)),
    ] {
        let assignment = TaskAssignment { last_synced, ..assignment(0, 2) };
        let mut ledger = ledger(&states);
        ledger.tasks.get_mut(&1).expect("task 1").finished.counts.success = success;
        assert_eq!(assignment.worth_of_all(&ledger), expected, "{states:?} {last_synced:?} {success}");
    }
}

#[test]
fn the_exit_code_follows_the_pass_and_a_small_share_does_not_fail_it() {
    use Leave::{Last, LastOfUnfinished, OthersAtWork, Unrecorded};
    for (tasks, outcomes, leave, expected) in [
        (1, &[SYNCED][..], Last(Ok), Ok),
        (1, &[SYNCED, FAILED], Last(Degraded), Degraded),
        (1, &[FAILED], Last(Failed), Failed),
        // Nobody was synced, unexpectedly.
        (1, &[SKIPPED], Last(Failed), Failed),
        (2, &[SYNCED], Last(Failed), Failed),
        (2, &[FAILED], Last(Degraded), Degraded),
        (2, &[SYNCED], Last(Degraded), Ok),
        (2, &[FAILED], OthersAtWork, Degraded),
        (2, &[FAILED, SYNCED], OthersAtWork, Degraded),
        (2, &[SYNCED], OthersAtWork, Ok),
        (2, &[SYNCED], LastOfUnfinished, Ok),
        (2, &[FAILED, SYNCED], LastOfUnfinished, Degraded),
        (2, &[FAILED], LastOfUnfinished, Failed),
        (1, &[SYNCED], Unrecorded, Ok),
        (1, &[FAILED], Unrecorded, Failed),
        (2, &[FAILED], Unrecorded, Degraded),
    ] {
        let (assignment, counts) = (assignment(0, tasks), counts(outcomes));
        let status = |state| assignment.status(state, &counts, leave);
        assert_eq!(status(TaskState::Completed), expected, "{tasks} {outcomes:?} {leave:?}");
        for state in [TaskState::Stopped, TaskState::Failed] {
            assert_eq!(status(state), Failed, "not all users were reached");
        }
    }
}

#[test]
fn a_pass_that_is_not_recorded_is_judged_like_any_other() {
    for (last_synced, earlier, outcomes, expected) in [
        (LastSynced::At(at(-60)), Earlier::Nothing, &[SKIPPED][..], Failed),
        (LastSynced::Never, Earlier::Nothing, &[SKIPPED], Ok),
        (LastSynced::Unreadable, Earlier::Nothing, &[SKIPPED], Failed),
        (LastSynced::NotAsked, Earlier::Nothing, &[SKIPPED], Ok),
        (LastSynced::NotAsked, Earlier::Nothing, &[FAILED], Failed),
        (LastSynced::Never, Earlier::Ended(Failed), &[], Failed),
        (LastSynced::Never, Earlier::Ended(Degraded), &[], Ok),
    ] {
        let assignment = TaskAssignment { last_synced, earlier, ..assignment(0, 1) };
        let status = assignment.status(TaskState::Completed, &counts(outcomes), Leave::Unrecorded);
        assert_eq!(status, expected, "{last_synced:?} {earlier:?} {outcomes:?}");
    }
}
