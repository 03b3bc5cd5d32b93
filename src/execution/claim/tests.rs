use super::*;
use crate::documents::current_pulse::CurrentPulse;
use crate::documents::last_pulse::{LastPulse, Synced};
use crate::documents::written::Written;
use crate::execution::examples::{
    COMPLETED, RUNNING, STOPPED, SYNCED, at, conflict, counts, database, execution, id, ledger, paths,
    refused,
};
use crate::model::ledger::TaskState;
use crate::model::loop_claim::LoopClaim;
use crate::model::outcome::PassStatus;
use crate::model::usage::Used;
use std::cell::RefCell;
use std::time::Duration;

fn joining(execution: &Execution) -> JoiningTask<'_> {
    JoiningTask { execution, looping: None, is_ramping: false, recording: Recording::Ledger }
}

#[test]
fn another_execution_is_left_alone_while_it_is_alive() {
    let (own, rival, name) = (ledger(&[RUNNING]), ledger(&[RUNNING, None]), id("pulse-y"));
    let ended = Ledger { ended_at: Some(at(11)), ..rival.clone() };
    let dead = LeaseState::Free(Some(DeadExecution { id: &name, ledger: &rival }));
    let free = LeaseState::Free(None);
    let taken = LeaseState::Taken(&name);
    for (rival, second, expected) in [
        (Some(&rival), 10, taken),
        (Some(&rival), 70, taken),
        (Some(&rival), 71, dead),
        // A clock that jumped.
        (Some(&rival), -50, taken),
        (Some(&rival), -51, dead),
        (Some(&ended), 12, free),
        (Some(&ended), 1000, free),
        (None, 12, free),
    ] {
        // One that was taken over meanwhile is in no better position than one that has just come.
        for own in [None, Some(&own)] {
            let rival = rival.map(|ledger| (&name, ledger));
            assert_eq!(LeaseState::of(own, false, rival, at(second)), expected, "{second} {own:?}");
        }
    }
}

#[test]
fn the_tasks_of_one_execution_join_it_however_long_it_takes() {
    let own = ledger(&[RUNNING, None]);
    assert_eq!(LeaseState::of(Some(&own), true, None, at(100_000)), LeaseState::Ours);
    assert_eq!(LeaseState::of(None, true, None, at(0)), LeaseState::Free(None), "its ledger was deleted");
}

#[test]
fn what_is_done_about_the_pulse() {
    let (name, left) = (id("pulse-y"), ledger(&[RUNNING]));
    let dead = DeadExecution { id: &name, ledger: &left };
    let [ours, free, taken] = [LeaseState::Ours, LeaseState::Free(Some(dead)), LeaseState::Taken(&name)];
    let [leave, leave_for_all] = [JoinDecision::Leave(&name), JoinDecision::LeaveForAll(&name)];
    let claim = JoinDecision::Claim(Some(dead));
    for (lease, tasks, has_ledger, expected) in [
        (ours, 1, true, JoinDecision::Join),
        (ours, 8, true, JoinDecision::Join),
        (free, 1, false, claim),
        (free, 8, true, claim),
        (LeaseState::Free(None), 8, false, JoinDecision::Claim(None)),
        (taken, 1, false, leave),
        (taken, 1, true, leave),
        (taken, 8, true, leave),
        (taken, 8, false, leave_for_all),
    ] {
        let execution = execution(0, tasks);
        let decide = |recording| JoiningTask { recording, ..joining(&execution) }.decide(lease, has_ledger);
        assert_eq!(decide(Recording::Ledger), expected, "{lease:?} {tasks} {has_ledger}");
        assert_eq!(decide(Recording::Nowhere), JoinDecision::Join, "a dry run is in nobody's way");
    }
    assert_eq!([ours, free, taken].map(LeaseState::dead), [None, Some(dead), None]);
}

/// A pulse of a loop of a quarter of an hour, for that second.
fn tick(second: i64) -> LoopTick {
    let (due_at, next_at, ends_at) = (at(second), at(second + 60), at(900));
    LoopTick { due_at, claim: LoopClaim { id: id("pulse-x"), due_at, next_at, ends_at } }
}

#[test]
fn the_pulses_of_a_loop_are_in_the_way_of_others_but_not_of_their_own() {
    let first = execution(0, 1);
    let third = first.nth(3);
    let tick = tick(0);
    for (execution, is_in_loop, current, expected) in [
        (&first, false, "pulse-y", true),
        (&first, false, "pulse-x-2", true),
        (&first, false, "pulse-x", false),
        (&third, true, "pulse-y", true),
        (&third, true, "pulse-x-2", false),
        (&third, true, "pulse-x", false),
        (&third, true, "pulse-x-3", false),
        (&third, true, "pulse-xy", true),
    ] {
        let looping = is_in_loop.then_some(&tick);
        let (current, joining) = (id(current), JoiningTask { looping, ..joining(execution) });
        let expected = expected.then_some(&current);
        assert_eq!(joining.rival(Some(&current)), expected, "{is_in_loop} {current}");
        assert_eq!(joining.rival(None), None);
    }
}

#[test]
fn a_loop_sees_that_another_execution_over_everybody_has_begun_or_ended_since_its_last_pulse() {
    let (third, tick) = (execution(0, 1).nth(3), tick(0));
    let joining = JoiningTask { looping: Some(&tick), ..joining(&third) };
    for (current, last, expected) in [
        (Some("pulse-x-2"), Some("pulse-x-2"), false),
        (Some("pulse-x"), Some("pulse-x"), false),
        (Some("by-hand"), Some("pulse-x-2"), true),
        (Some("pulse-x-2"), Some("by-hand"), true),
        (Some("by-hand"), Some("by-hand"), true),
        (None, Some("pulse-x-2"), true),
        (Some("pulse-x-2"), None, true),
    ] {
        let mut view = view(None);
        (view.current.execution, view.last.id) = (current.map(id), last.map(id));
        assert_eq!(joining.follows_others(&view), expected, "{current:?} {last:?}");
    }
}

#[test]
fn a_claim_that_no_loop_can_have_made_is_told_by_the_pulse_of_a_loop() {
    let (own, tick) = (execution(0, 1), tick(0));
    for (due, looping, expected) in
        [(60, Some(&tick), false), (61, Some(&tick), true), (61, None, false), (-9_000, Some(&tick), false)]
    {
        let mut view = LedgerView { now: at(0), ..view(None) };
        let (due_at, next_at) = (at(due), at(due + 60));
        view.current.looping = Some(LoopClaim { id: id("pulse-y"), due_at, next_at, ..tick.claim.clone() });
        let joining = JoiningTask { looping, ..joining(&own) };
        assert_eq!(joining.disbelieved(&view).is_some(), expected, "{due} {}", looping.is_some());
    }
}

#[test]
fn the_last_execution_is_read_only_for_shares_that_are_new_and_for_the_ramp() {
    let (own, last) = (ledger(&[RUNNING, None]), id("pulse-w"));
    for (tasks, own, is_ramping, expected) in [
        (1, None, false, false),
        (1, None, true, true),
        (2, None, false, true),
        (2, Some(&own), false, false),
        (2, Some(&own), true, true),
    ] {
        let execution = execution(0, tasks);
        let joining = JoiningTask { is_ramping, ..joining(&execution) };
        assert_eq!(joining.model_execution(own, Some(&last)).is_some(), expected, "{tasks} {is_ramping}");
        assert_eq!(joining.model_execution(own, None), None);
    }
}

#[test]
fn the_plan_is_learned_where_there_is_something_to_learn_and_guessed_otherwise() {
    let mut model = ledger(&[COMPLETED]);
    let sample = &mut model.tasks.get_mut(&0).expect("task 0").finished.sample;
    ["a", "b", "c", "d"].iter().for_each(|text| sample.take(&id(text), 1));
    let execution = execution(0, 2);
    let plan = |model: Option<&Ledger>| joining(&execution).plan(model, None);
    assert_eq!(plan(Some(&model)).splits(), [id("b")]);
    assert_eq!(plan(Some(&ledger(&[COMPLETED]))), Shards::guessed(2));
    assert_eq!(plan(None), Shards::guessed(2));
    // Half a pass keeps its borders.
    let stopped = ledger(&[COMPLETED, STOPPED]);
    assert_eq!(plan(Some(&stopped)), stopped.shards);
}

#[test]
fn those_come_first_whom_the_execution_before_did_not_reach_whichever_teaches_the_shares() {
    let mut stopped = ledger(&[STOPPED, COMPLETED]);
    stopped.shards = Shards::sorted(vec![id("m")]);
    stopped.tasks.get_mut(&0).expect("task 0").finished.cursor = Some(id("k"));
    let execution = execution(0, 2);
    let begins = |model: Option<&Ledger>, before: Option<&Ledger>| {
        let plan = joining(&execution).plan(model, before);
        (plan.splits().to_vec(), plan.begins_behind().clone())
    };
    let behind = || [(0, id("k"))].into();
    let guessed = Shards::guessed(2).splits().to_vec();
    assert!(guessed[0] < id("k"));
    assert_eq!(begins(Some(&stopped), Some(&stopped)), (vec![id("m")], behind()));
    assert_eq!(begins(None, Some(&stopped)), (guessed, [(1, id("k"))].into()));
    assert_eq!(begins(Some(&stopped), None), (vec![id("m")], Default::default()));
    // Nobody is left over for the one after.
    let mut done = stopped.clone();
    done.shards = done.shards.beginning_behind(behind());
    done.tasks.get_mut(&0).expect("task 0").state = TaskState::Completed;
    assert_eq!(begins(None, Some(&done)).1, Default::default());
    assert_eq!(done.plan_next(2).map(|shards| shards.begins_behind().len()), None, "it has no sample");
    done.tasks.get_mut(&0).expect("task 0").state = TaskState::Failed;
    assert_eq!(begins(Some(&done), Some(&done)), (vec![id("m")], Default::default()));
}

#[test]
fn a_dead_execution_is_told_of_as_failed_with_what_it_did() {
    let (name, mut left) = (id("pulse-y"), ledger(&[RUNNING, COMPLETED]));
    let dead = |ledger: &Ledger| DeadExecution { id: &name, ledger }.synced_at();
    assert_eq!(dead(&left), None);
    left.tasks.get_mut(&0).expect("task 0").finished.counts = counts(&[SYNCED, SYNCED]);
    left.tasks.get_mut(&1).expect("task 1").finished.counts = counts(&[SYNCED]);
    left.tasks.get_mut(&1).expect("task 1").used.alpaca_calls = 7;
    assert_eq!(dead(&left), Some(at(10)));
    let told = DeadExecution { id: &name, ledger: &left }.last_pulse(LastSynced::At(at(10)));
    assert_eq!(
        told,
        LastPulse {
            counts: counts(&[SYNCED, SYNCED, SYNCED]),
            unreached: None,
            status: PassStatus::Failed,
            last_synced_at: Synced::Then(Some(at(10))),
            execution: name.clone(),
            started_at: at(0),
            duration: Duration::from_secs(10),
            used: Used { alpaca_calls: 7, ..Used::default() },
        }
    );
    let backwards = Ledger { touched_at: at(-5), ..left.clone() };
    let told = DeadExecution { id: &name, ledger: &backwards }.last_pulse(LastSynced::Never);
    assert_eq!((told.duration.as_secs(), told.last_synced_at), (0, Synced::Then(None)));
}

fn view(own: Option<Ledger>) -> LedgerView {
    LedgerView { now: at(90), own, current: CurrentPulse::default(), last: Default::default() }
}

#[test]
fn what_is_written_follows_from_the_decision() {
    let (execution, rival, left) = (id("pulse-x"), id("pulse-y"), ledger(&[RUNNING]));
    let dead = DeadExecution { id: &rival, ledger: &left };
    let (own, current) = ("ops/last_pulse/executions/pulse-x", "ops/current_pulse");
    for (decision, claim, last_words) in [
        (JoinDecision::Join, vec![], None),
        (JoinDecision::Leave(&rival), vec![], None),
        (JoinDecision::LeaveForAll(&rival), vec![own], None),
        (JoinDecision::Claim(None), vec![own, current], None),
        (JoinDecision::Claim(Some(dead)), vec![own, current], Some("ops/last_pulse")),
    ] {
        for own in [None, Some(ledger(&[RUNNING]))] {
            let (view, shards) = (view(own), Shards::guessed(2));
            let last_synced = LastSynced::Never;
            let writes =
                Claim { execution: &execution, looping: None, view: &view, shards: &shards, last_synced }
                    .writes(decision, &database());
            assert_eq!(paths(&writes.claim), claim, "{decision:?}");
            assert_eq!(writes.last_words.map(|write| Written::of(&write).path).as_deref(), last_words);
            let begins = writes.claim.first().is_some_and(|write| !Written::of(write).mask.is_empty());
            let is_leaving = matches!(decision, JoinDecision::LeaveForAll(_));
            assert_eq!(begins, !claim.is_empty() && (view.own.is_none() || is_leaving), "{decision:?}");
        }
    }
}

#[test]
fn a_later_attempt_at_a_loops_pulse_takes_the_claim_further_and_never_back() {
    let (own, shards) = (id("pulse-x"), Shards::guessed(1));
    let current = "ops/current_pulse";
    let (recorded, given_up) = (tick(60), LoopClaim { ends_at: at(60), ..tick(60).claim });
    let other = LoopClaim { id: id("pulse-y"), ..tick(0).claim };
    for (execution, last, second, expected) in [
        ("pulse-x", Some(recorded.claim.clone()), 120, vec![current]),
        ("pulse-x", Some(recorded.claim.clone()), 60, vec![]),
        ("pulse-x", Some(recorded.claim.clone()), 0, vec![]),
        ("pulse-x", Some(given_up), 60, vec![current]),
        ("pulse-x", None, 60, vec![current]),
        ("pulse-x", Some(other), 120, vec![]),
        // It keeps no record.
        ("pulse-y", Some(recorded.claim), 120, vec![]),
    ] {
        let told = format!("{execution} {last:?} {second}");
        let mut view = view(Some(ledger(&[RUNNING])));
        (view.current.execution, view.current.looping) = (Some(id(execution)), last);
        let tick = tick(second);
        let (looping, last_synced) = (Some(&tick), LastSynced::Never);
        let claim = Claim { execution: &own, looping, view: &view, shards: &shards, last_synced };
        let writes = claim.writes(JoinDecision::Join, &database());
        assert_eq!(paths(&writes.claim), expected, "{told}");
    }
}

/// How many writes are committed at a time, and what comes of it, when the answers are these.
async fn committed(
    answers: Vec<Result<(), StoreError>>,
    last_words: bool,
) -> (Vec<usize>, Result<(), StoreError>) {
    let (execution, rival, left, view) = (id("pulse-x"), id("pulse-y"), ledger(&[RUNNING]), view(None));
    let claim = Claim {
        execution: &execution,
        looping: None,
        view: &view,
        shards: &left.shards,
        last_synced: LastSynced::Never,
    };
    let dead = last_words.then_some(DeadExecution { id: &rival, ledger: &left });
    let writes = claim.writes(JoinDecision::Claim(dead), &database());
    let (answers, sizes) = (RefCell::new(answers.into_iter()), RefCell::new(Vec::new()));
    let commit = async |writes: Vec<Write>| {
        sizes.borrow_mut().push(writes.len());
        answers.borrow_mut().next().expect("no more commits")
    };
    let result = writes.commit(commit).await;
    (sizes.into_inner(), result)
}

#[tokio::test]
async fn the_last_words_of_a_dead_execution_keep_no_pulse_from_running() {
    let timeout = || Err(StoreError::Timeout);
    for (answers, last_words, sizes, is_ok) in [
        (vec![Ok(())], false, vec![2], true),
        (vec![timeout()], false, vec![2], false),
        (vec![Ok(())], true, vec![3], true),
        (vec![timeout(), Ok(())], true, vec![3, 2], true),
        (vec![timeout(), timeout()], true, vec![3, 2], false),
        (vec![timeout(), Err(conflict())], true, vec![3, 2], false),
        // Another task was faster, or the same would be refused again.
        (vec![Err(conflict())], true, vec![3], false),
        (vec![Err(refused())], true, vec![3], false),
    ] {
        let told = format!("{answers:?}");
        let (committed, result) = committed(answers, last_words).await;
        assert_eq!((committed, result.is_ok()), (sizes, is_ok), "{told}");
    }
}
