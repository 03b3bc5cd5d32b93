//! Killed, stopped and cut off at every moment.

use super::{Everything, WHOSE, assert_same, json, reasons, without_journal};
use crate::live::{Live, wait_until};
use crate::world::{Backend, World};
use pulse_sandbox::call::Service;

const USERS: u32 = 12;

async fn legacy() -> World {
    World::legacy(Backend::Sandbox, USERS).await.expect("a sandbox")
}

fn commits(world: &World) -> u64 {
    world.calls(Service::Firestore, "Commit")
}

/// How a migration that nothing disturbs ends, and how many commits it takes.
async fn undisturbed() -> (Everything, u64) {
    let world = legacy().await;
    let plan = world.plan(&WHOSE).await;
    assert_eq!(world.apply(&plan, &WHOSE).await.exit, Some(0));
    (without_journal(world.everything().await), commits(&world))
}

/// Starts a command whose commit with this number never gets an answer, and kills it then.
async fn killed_at(world: &World, commit: u64, args: &[&str]) -> bool {
    let before = commits(world);
    world.fault(&format!("firestore/Commit:stall,skip={commit},times=1"));
    let mut child = world.migration(args).spawn().expect("pulse starts");
    let reaches_it = async {
        wait_until(|| commits(world) > before + commit).await;
    };
    let was_killed = tokio::select! {
        () = reaches_it => true,
        _ = child.wait() => false,
    };
    child.kill().await.expect("it can be killed");
    world.sandbox.faults().clear();
    was_killed
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_commit_in_turn_it_ends_the_same() {
    let (expected, all) = undisturbed().await;
    for commit in 0..all {
        let world = legacy().await;
        let before = world.everything().await;
        let plan = world.plan(&WHOSE).await;
        let args = [&["apply", "--plan", &plan, "--yes"], &WHOSE[..]].concat();
        assert!(killed_at(&world, commit, &args).await, "commit {commit} of {all}");
        let run = world.apply(&plan, &WHOSE).await;
        assert_eq!(run.exit, Some(0), "{commit}: {run:?}");
        assert_same(&expected, &without_journal(world.everything().await));
        let killed = killed_at(&world, commit, &["rollback", "--plan", &plan, "--yes"]).await;
        let run = world.roll_back(&plan).await;
        assert_eq!(run.exit, Some(0), "{commit}, {killed}: {run:?}");
        assert_same(&before, &without_journal(world.everything().await));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_to_every_commit_change_nothing() {
    let (expected, all) = undisturbed().await;
    for commit in 0..all {
        let world = legacy().await;
        let before = world.everything().await;
        let plan = world.plan(&WHOSE).await;
        world.fault(&format!("firestore/Commit:drop-after,skip={commit},times=1"));
        let run = world.apply(&plan, &WHOSE).await;
        let found = ["Applied".to_owned(), "UserUnknown".to_owned()];
        assert_eq!((run.exit, reasons(&run)), (Some(0), found.into()), "{commit}: {run:?}");
        assert_same(&expected, &without_journal(world.everything().await));
        world.fault(&format!("firestore/Commit:drop-after,skip={commit},times=1"));
        let run = world.roll_back(&plan).await;
        assert_eq!((run.exit, reasons(&run)), (Some(0), vec!["RolledBack".to_owned()]), "{commit}: {run:?}");
        assert_same(&before, &without_journal(world.everything().await));
    }
}

/// The clean-up's first step, and its undoing.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_commit_of_the_clean_up_it_ends_the_same() {
    for commit in 0.. {
        let world = legacy().await;
        let plan = world.plan(&WHOSE).await;
        assert_eq!(world.apply(&plan, &WHOSE).await.exit, Some(0));
        let before = without_journal(world.everything().await);
        let verified = world.verified(&WHOSE).await;
        let args = [&["--verified", &verified], &WHOSE[..]].concat();
        let whole = [&["cleanup", "--plan", &plan, "--yes"], &args[..]].concat();
        let was_killed = killed_at(&world, commit, &whole).await;
        if was_killed {
            let run = world.clean_up(&plan, &args).await;
            assert_eq!((run.exit, reasons(&run)), (Some(0), vec!["Deleted".to_owned()]), "{commit}: {run:?}");
        }
        let after = without_journal(world.everything().await);
        assert!(!after.keys().any(|path| path.starts_with("tradingSignals/")), "{commit}");
        let undo = ["cleanup", "--plan", &plan, "--yes", "--undo"];
        killed_at(&world, commit, &undo).await;
        if world.document(&format!("ops/migrations/runs/{plan}")).await["state"] != "applied" {
            let run = world.migrate(&undo).await;
            assert_eq!(run.exit, Some(0), "{commit}: {run:?}");
        }
        assert_same(&before, &without_journal(world.everything().await));
        if !was_killed {
            assert!(commit > 5, "{commit}");
            return;
        }
    }
}

/// The clean-up's second step, which nothing undoes.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_commit_of_the_closing_it_ends_the_same() {
    for commit in 0.. {
        let world = legacy().await;
        let plan = world.plan(&WHOSE).await;
        assert_eq!(world.apply(&plan, &WHOSE).await.exit, Some(0));
        world.pulse().await;
        let verified = world.verified(&WHOSE).await;
        let args = [&["--verified", &verified, "--after", "0s"], &WHOSE[..]].concat();
        assert_eq!(world.clean_up(&plan, &args).await.exit, Some(0));
        let whole = [&["cleanup", "--plan", &plan, "--yes"], &args[..]].concat();
        let was_killed = killed_at(&world, commit, &whole).await;
        if was_killed {
            let run = world.clean_up(&plan, &args).await;
            assert_eq!((run.exit, reasons(&run)), (Some(0), vec!["Closed".to_owned()]), "{commit}: {run:?}");
        }
        let all = world.everything().await;
        let is_of_before = |path: &&String| path.contains("/secrets/") || path.starts_with("ops/migrations/");
        let run = format!("ops/migrations/runs/{plan}");
        assert_eq!(all.keys().filter(is_of_before).collect::<Vec<_>>(), [&run], "{commit}");
        assert_eq!(world.document(&run).await["state"], "closed");
        if !was_killed {
            assert!(commit > 5, "{commit}");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_stops_it_between_two_commits_and_it_goes_on_when_run_again() {
    let (expected, _) = undisturbed().await;
    let world = legacy().await;
    let plan = world.plan(&WHOSE).await;
    world.fault("firestore/Commit:latency=1s,skip=1,times=1");
    let args = [&["apply", "--plan", &plan, "--yes"], &WHOSE[..]].concat();
    let running = Live::start(world.migration(&args));
    wait_until(|| commits(&world) > 1).await;
    running.signal("TERM");
    let run = running.end().await;
    assert_eq!((run.exit, reasons(&run)), (Some(143), vec!["Stopped".to_owned()]), "{run:?}");
    assert!(json(&run)["moved"].as_u64() > Some(0), "what was in flight is finished: {run:?}");
    let status = world.migrate(&["status"]).await;
    assert_eq!(reasons(&status), ["Applying"]);
    let mend = format!("pulse migrate apply --plan {plan} {}", WHOSE.join(" "));
    assert_eq!(json(&status)["findings"][0]["mend"], mend, "it can be typed as it is");
    assert_eq!(world.apply(&plan, &WHOSE).await.exit, Some(0));
    assert_same(&expected, &without_journal(world.everything().await));
}

#[tokio::test(flavor = "multi_thread")]
async fn firestore_that_does_not_answer_is_no_loss() {
    let world = legacy().await;
    let plan = world.plan(&WHOSE).await;
    world.fault("firestore/Commit:error=PERMISSION_DENIED,skip=2");
    let run = world.apply(&plan, &WHOSE).await;
    assert_eq!(
        (run.exit, reasons(&run)),
        (Some(1), vec!["FirestoreUnavailable".to_owned(), "Incomplete".to_owned()])
    );
    world.sandbox.faults().clear();
    world.fault("firestore/Commit:error=UNAVAILABLE,times=4");
    assert_eq!(world.apply(&plan, &WHOSE).await.exit, Some(0), "what passes is waited for");
}

/// The first was broken off, and the second made the rest and was cleaned up.
#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_plan_is_never_rolled_back_over_a_later_ones_clean_up() {
    let world = legacy().await;
    let first = world.plan(&WHOSE).await;
    world.fault("firestore/Commit:error=PERMISSION_DENIED,skip=3");
    assert_eq!(world.apply(&first, &WHOSE).await.exit, Some(1));
    world.sandbox.faults().clear();
    let second = world.plan(&WHOSE).await;
    assert_eq!(world.apply(&second, &WHOSE).await.exit, Some(0));
    world.pulse().await;
    let verified = world.verified(&WHOSE).await;
    let args = [&["--verified", &verified, "--after", "0s"], &WHOSE[..]].concat();
    assert_eq!(world.clean_up(&second, &args).await.exit, Some(0));
    let cleaned = without_journal(world.everything().await);
    let run = world.roll_back(&first).await;
    assert_eq!((run.exit, reasons(&run)), (Some(3), vec!["CleanedUpByAnother".to_owned()]));
    let run = world.clean_up(&second, &args).await;
    assert_eq!((run.exit, reasons(&run)), (Some(0), vec!["Closed".to_owned()]), "{run:?}");
    assert_eq!(world.group("entries").await.len(), 0, "the first plan's journal is gone too");
    let run = world.roll_back(&first).await;
    assert_eq!((run.exit, reasons(&run)), (Some(3), vec!["NotInThisState".to_owned()]));
    let mut after = cleaned;
    after.retain(|path, _| !path.contains("/secrets/"));
    assert_same(&after, &without_journal(world.everything().await));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_all_that_is_left_of_a_document_is_not_rolled_back() {
    let world = legacy().await;
    let plan = world.plan(&WHOSE).await;
    assert_eq!(world.apply(&plan, &WHOSE).await.exit, Some(0));
    world.delete("tradingSignals/form-2").await;
    let killed = killed_at(&world, 2, &["rollback", "--plan", &plan, "--yes"]).await;
    let run = world.apply(&plan, &WHOSE).await;
    let mend = format!("pulse migrate rollback --plan {plan}");
    assert!(killed && json(&run)["findings"][0]["mend"].as_str() == Some(&mend), "{run:?}");
    let run = world.roll_back(&plan).await;
    assert_eq!((run.exit, reasons(&run)), (Some(3), vec!["RolledBack".to_owned(), "SourceGone".into()]));
    let expected = serde_json::json!([{
        "target": "users/user-0001/tradingSignals/form-2", "outcome": "source_gone",
    }]);
    assert_eq!(json(&run)["left"], expected);
    assert_eq!(world.document("users/user-0001/tradingSignals/form-2").await["symbol"], "QQQ");
}
