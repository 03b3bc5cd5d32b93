use super::*;
use crate::documents::current_pulse::CurrentPulse;
use crate::documents::ledger::LedgerWrites;
use crate::execution::examples::{
    COMPLETED, FAILED, RUNNING, SKIPPED, STOPPED, SYNCED, assignment, at, conflict, counts, database, id,
    ledger, paths, record, refused,
};
use crate::execution::silence::{LastSynced, Silence};
use std::cell::RefCell;

#[test]
fn who_is_not_recorded_and_who_finds_all_done_have_nothing_to_tell() {
    for (recording, earlier, expected) in [
        (Recording::Ledger, Earlier::Nothing, true),
        (Recording::Ledger, Earlier::Unfinished, true),
        (Recording::Ledger, Earlier::Completed, true),
        (Recording::LastPulse, Earlier::Nothing, true),
        (Recording::Ledger, Earlier::Ended(PassStatus::Ok), false),
        (Recording::Nowhere, Earlier::Nothing, false),
    ] {
        let assignment = TaskAssignment { recording, earlier, ..assignment(0, 1) };
        assert_eq!(assignment.has_something_to_tell(), expected, "{recording:?} {earlier:?}");
    }
}

#[test]
fn the_last_task_has_the_word() {
    let own = |state| {
        let mut own = record(state);
        own.finished.counts = counts(&[SYNCED, FAILED]);
        own.used.alpaca_calls = 2;
        own
    };
    for (others, state, expected) in [
        (&[COMPLETED, None][..], TaskState::Completed, Some(Leave::Last(PassStatus::Degraded))),
        // Its own record is not the ledger's, which may be older.
        (&[COMPLETED, RUNNING], TaskState::Completed, Some(Leave::Last(PassStatus::Degraded))),
        (&[COMPLETED, RUNNING], TaskState::Stopped, Some(Leave::LastOfUnfinished)),
        (&[COMPLETED, RUNNING], TaskState::Failed, Some(Leave::LastOfUnfinished)),
        (&[STOPPED, RUNNING], TaskState::Completed, Some(Leave::LastOfUnfinished)),
        (&[RUNNING, RUNNING], TaskState::Completed, None),
        (&[RUNNING, RUNNING], TaskState::Stopped, None),
        (&[None, RUNNING], TaskState::Completed, None),
        (&[Some(TaskState::Settling), RUNNING], TaskState::Completed, None),
    ] {
        let word = assignment(1, 2).last_word(ledger(others), own(state));
        assert_eq!(word.as_ref().map(|word| word.leave), expected, "{others:?} {state:?}");
        if let Some(word) = word {
            assert_eq!((word.counts, word.used.alpaca_calls), (counts(&[SYNCED, FAILED]), 2));
        }
    }
}

#[test]
fn the_last_task_tells_of_all_that_nobody_was_synced() {
    let assignment = TaskAssignment { last_synced: LastSynced::At(at(-60)), ..assignment(1, 2) };
    let word =
        assignment.last_word(ledger(&[COMPLETED, None]), record(TaskState::Completed)).expect("the last");
    assert_eq!(word.worth, Worth { status: PassStatus::Failed, silence: Some(Silence::Sudden(at(-60))) });
    assert_eq!(word.leave, Leave::Last(PassStatus::Failed));
}

#[test]
fn a_single_task_needs_no_ledger_to_be_the_last() {
    for (state, counted, expected, unreached) in [
        (TaskState::Completed, None, Leave::Last(PassStatus::Ok), Some(0)),
        (TaskState::Stopped, Some(4), Leave::LastOfUnfinished, Some(4)),
        (TaskState::Stopped, None, Leave::LastOfUnfinished, None),
        (TaskState::Failed, None, Leave::LastOfUnfinished, None),
    ] {
        let mut own = record(state);
        (own.finished.counts, own.unreached) = (counts(&[SYNCED]), counted);
        let word = assignment(0, 1).last_word(Ledger::of_one_task(at(0)), own).expect("at rest");
        assert_eq!((word.leave, word.counts.success, word.unreached), (expected, 1, unreached));
    }
}

#[test]
fn who_was_not_reached_is_summed_where_all_tasks_know() {
    for (of_first, expected) in [(Some(2), Some(7)), (None, None)] {
        let mut ledger = ledger(&[Some(TaskState::Stopped), Some(TaskState::Completed), None]);
        ledger.tasks.get_mut(&0).expect("task 0").unreached = of_first;
        let mut own = record(TaskState::Stopped);
        own.unreached = Some(5);
        let word = assignment(2, 3).last_word(ledger, own).expect("at rest");
        assert_eq!(word.unreached, expected);
    }
}

#[test]
fn users_that_the_cursor_is_behind_count_in_what_is_published() {
    let mut saved = record(TaskState::Stopped);
    saved.finished = Finished { cursor: Some(id("u3")), counts: counts(&[SYNCED]), ..Finished::default() };
    let (all, used) = (counts(&[SYNCED, SYNCED, FAILED]), Used { alpaca_calls: 3, ..Used::default() });
    let (behind, start) = (saved.finished.clone(), Instant::now());
    let leaving =
        |unreached| Leaving { state: TaskState::Stopped, finished: &behind, counts: &all, unreached, start };
    // Whichever of the two counts, they are as many users.
    assert_eq!(
        [Some(4), Some(0), None].map(|unreached| leaving(unreached).uncounted()),
        [Some(6), Some(2), None]
    );
    saved.unreached = Some(6);
    let finished = Finished { counts: all.clone(), ..saved.finished.clone() };
    let expected = TaskRecord { finished, used, unreached: Some(4), ..saved.clone() };
    assert_eq!(as_published(&saved, &leaving(Some(4)), used), expected);
}

fn word(outcomes: &[crate::model::outcome::Outcome]) -> LastWord {
    let used = Used { firestore_writes: 10, ..Used::default() };
    let worth = Worth { status: PassStatus::Degraded, silence: None };
    let (counts, measures) = (counts(outcomes), Measures::default());
    LastWord { counts, measures, unreached: Some(3), used, worth, leave: Leave::Last(PassStatus::Degraded) }
}

#[test]
fn what_the_dashboards_are_told() {
    let assignment = TaskAssignment { last_synced: LastSynced::At(at(-60)), ..assignment(0, 1) };
    for (now, elapsed, duration) in [(90, 30, 90), (90, 120, 120), (-5, 30, 30)] {
        let told =
            assignment.last_pulse(&word(&[SYNCED, FAILED]), (at(now), Duration::from_secs(elapsed)), 2);
        let expected = LastPulse {
            counts: counts(&[SYNCED, FAILED]),
            unreached: Some(3),
            status: PassStatus::Degraded,
            last_synced_at: Synced::Now,
            execution: id("pulse-x"),
            started_at: at(0),
            duration: Duration::from_secs(duration),
            used: Used { firestore_reads: 1, firestore_writes: 12, ..Used::default() },
        };
        assert_eq!(told, expected, "{now} {elapsed}");
    }
    for (last_synced, expected) in
        [(LastSynced::At(at(-60)), Some(at(-60))), (LastSynced::Never, None), (LastSynced::Unreadable, None)]
    {
        let assignment = TaskAssignment { last_synced, ..assignment.clone() };
        let told = assignment.last_pulse(&word(&[FAILED]), (at(9), Duration::ZERO), 1);
        assert_eq!(told.last_synced_at, Synced::Then(expected));
    }
}

/// The documents of each commit, with the seconds it may take, and what came of the two documents, when the looks at
/// the pulse find it open or closed, and the commits are answered so.
async fn committed(
    has_ledger: bool,
    looks: &[bool],
    answers: Vec<Result<(), StoreError>>,
) -> (Vec<(Vec<String>, u64)>, (bool, &'static str)) {
    let (database, execution) = (database(), id("pulse-x"));
    let end = LedgerWrites { database: &database, execution: &execution }.task(
        0,
        &record(TaskState::Completed),
        ExecutionEnd::At(at(9), PassStatus::Ok),
    );
    let assignment = assignment(0, 1);
    let last_pulse = |writes| {
        let told = assignment.last_pulse(&word(&[SYNCED]), (at(9), Duration::ZERO), writes);
        told.to_write(&database)
    };
    let (answers, commits) = (RefCell::new(answers.into_iter()), RefCell::new(Vec::new()));
    let looks = RefCell::new(looks.iter());
    let firestore = Firestore {
        fence: async || {
            Ok(match looks.borrow_mut().next().expect("no more looks") {
                true => Fence::Open(CurrentPulse::default().kept_by(&execution, &database)),
                false => Fence::Closed(Some(id("pulse-y"))),
            })
        },
        commit: async |writes: Vec<Write>, deadline: Deadline| {
            commits.borrow_mut().push((paths(&writes), deadline.left().as_secs()));
            answers.borrow_mut().next().expect("no more commits")
        },
    };
    let deadline = Deadline::after(Duration::from_secs(8));
    let Published { end, last_pulse } =
        commit_end(has_ledger.then_some(end), last_pulse, deadline, firestore).await;
    let told = match last_pulse {
        Ok(()) => "told",
        Err(Unpublished::TakenOver(_)) => "taken over",
        Err(Unpublished::Refused(_)) => "refused",
    };
    (commits.into_inner(), (end.is_ok(), told))
}

#[tokio::test(start_paused = true)]
async fn each_document_costs_only_itself_and_the_dashboards_are_told_by_who_has_the_pulse() {
    const LEDGER: &str = "ops/last_pulse/executions/pulse-x";
    const CURRENT: &str = "ops/current_pulse";
    const PULSE: &str = "ops/last_pulse";
    let timeout = || Err(StoreError::Timeout);
    let all = (&[LEDGER, CURRENT, PULSE][..], 4);
    let (end, pulse) = ((&[LEDGER][..], 8), (&[CURRENT, PULSE][..], 8));
    for (has_ledger, looks, answers, commits, written) in [
        (true, &[true][..], vec![Ok(())], vec![all], (true, "told")),
        (true, &[true], vec![timeout(), Ok(()), Ok(())], vec![all, end, pulse], (true, "told")),
        (true, &[true], vec![timeout(), timeout(), Ok(())], vec![all, end, pulse], (false, "told")),
        (true, &[true], vec![timeout(), Ok(()), timeout()], vec![all, end, pulse], (true, "refused")),
        // The ledger is gone.
        (
            true,
            &[true, true],
            vec![Err(conflict()), Err(conflict()), Ok(())],
            vec![all, end, pulse],
            (true, "told"),
        ),
        // Another has taken over: before the end, and in the midst of it.
        (true, &[false], vec![Ok(())], vec![end], (true, "taken over")),
        (true, &[true, false], vec![Err(conflict()), Ok(())], vec![all, end], (true, "taken over")),
        (false, &[false], vec![], vec![], (true, "taken over")),
        // It would be refused again.
        (true, &[true], vec![Err(refused())], vec![all], (true, "refused")),
        (false, &[true], vec![Ok(())], vec![pulse], (true, "told")),
        (false, &[true], vec![timeout()], vec![pulse], (true, "refused")),
    ] {
        let told = format!("{has_ledger} {looks:?} {answers:?}");
        let (made, result) = committed(has_ledger, looks, answers).await;
        let made: Vec<_> = made
            .iter()
            .map(|(paths, left)| (paths.iter().map(String::as_str).collect::<Vec<_>>(), *left))
            .collect();
        let commits: Vec<_> = commits.into_iter().map(|(paths, left)| (paths.to_vec(), left)).collect();
        assert_eq!((made, result), (commits, written), "{told}");
    }
}

#[test]
fn the_exit_code_follows_the_pass_and_a_small_share_does_not_fail_it() {
    use Leave::{Last, LastOfUnfinished, OthersAtWork, Unrecorded};
    use PassStatus::{Degraded, Failed, Ok};
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
    use PassStatus::{Degraded, Failed, Ok};
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
