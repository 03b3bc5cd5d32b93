use super::*;
use crate::execution::examples::{
    COMPLETED, FAILED, SKIPPED, STOPPED, SYNCED, assignment, at, counts, ledger,
};
use crate::model::outcome::Outcome;
use LastSynced::{At, Never, NotAsked, Unreadable};
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

fn before(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH - SignedDuration::from_secs(seconds)
}

fn judged(outcomes: &[Outcome], last_synced: LastSynced) -> (PassStatus, Option<Silence>) {
    let Worth { status, silence } = worth(&counts(outcomes), last_synced, Timestamp::UNIX_EPOCH);
    (status, silence)
}

const REAUTH: Outcome = Outcome::NeedsReauth;

#[test]
fn who_synced_anybody_is_judged_by_the_counts_alone() {
    for last in [Never, Unreadable, NotAsked, At(before(60)), At(before(1_000_000))] {
        assert_eq!(judged(&[SYNCED], last), (Ok, None));
        assert_eq!(judged(&[SYNCED, SKIPPED, REAUTH], last), (Ok, None));
        assert_eq!(judged(&[SYNCED, FAILED], last), (Degraded, None));
    }
}

#[test]
fn nobody_synced_soon_after_a_success_is_a_failure_whatever_the_reason() {
    const DAY: i64 = 24 * 3600;
    let reasons: [&[Outcome]; 6] =
        [&[], &[SKIPPED], &[REAUTH], &[FAILED], &[SKIPPED, REAUTH], &[SKIPPED, REAUTH, FAILED]];
    for outcomes in reasons {
        // A success in the future was written by a clock that was wrong, and is none that is long ago.
        for seconds in [-3600, 0, 1, DAY - 1] {
            let last = before(seconds);
            assert_eq!(
                judged(outcomes, At(last)),
                (Failed, Some(Silence::Sudden(last))),
                "{outcomes:?} {seconds}"
            );
        }
    }
}

#[test]
fn long_after_the_last_success_only_failures_and_a_database_without_users_are_told() {
    for last in [Never, At(before(24 * 3600)), At(before(1_000_000_000))] {
        assert_eq!(judged(&[], last), (Ok, Some(Silence::NoUsers)));
        assert_eq!(judged(&[SKIPPED], last), (Ok, None));
        assert_eq!(judged(&[REAUTH, SKIPPED], last), (Ok, None));
        assert_eq!(judged(&[SKIPPED, FAILED], last), (Failed, None));
    }
}

#[test]
fn a_success_that_could_not_be_read_is_not_taken_for_none() {
    for outcomes in [&[][..], &[SKIPPED], &[FAILED]] {
        assert_eq!(judged(outcomes, Unreadable), (Failed, Some(Silence::Unknown)), "{outcomes:?}");
    }
}

#[test]
fn a_run_for_named_users_is_judged_by_them_alone() {
    for (outcomes, expected) in
        [(&[][..], Ok), (&[SKIPPED], Ok), (&[FAILED], Failed), (&[FAILED, SYNCED], Degraded)]
    {
        assert_eq!(judged(outcomes, NotAsked), (expected, None), "{outcomes:?}");
    }
}
