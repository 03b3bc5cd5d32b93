//! A host that has answered nobody for 10 s: one probe at a time, each with another user.

use super::mute_alpaca::{Answers, MuteAlpaca};
use super::{FAILED, ONE_AT_A_TIME, SYNCED, calls_for, users_with};
use crate::live::Live;
use crate::world::{Run, World, keys_of, sandbox};
use pulse_sandbox::call::Service;
use serde_json::json;
use std::collections::BTreeSet;

/// So many users work at once; with those whose calls have no answer, there are five times as many calls.
const CONCURRENCY: [&str; 2] = ["--concurrency", "2"];
const FIRST_CALLS: usize = 10;

#[track_caller]
fn assert_all_failed(run: &Run, code: &str, ids: &[String]) {
    run.assert_completed(&format!("0 successful, {} errors", ids.len()), 1);
    for user in ids {
        assert_eq!(run.error_of(user).as_deref(), Some(code), "{user}");
    }
}

async fn assert_synced_in_the_next_pass(world: &World, ids: &[String]) {
    world.sandbox.faults().clear();
    world.pulse().await.assert_completed(&format!("{} successful, 0 errors", ids.len()), 0);
    for user in ids {
        assert!(world.snapshot(user).await.is_object(), "{user}");
    }
}

/// Each user for themselves would ask twice, for ten seconds each.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_answers_nobody_is_asked_by_one_probe_at_a_time() {
    let world = sandbox().await;
    let alpaca = MuteAlpaca::start(FIRST_CALLS, Answers::Nobody).await;
    let ids = world.crowd(60);
    let run = Run::of(&mut alpaca.command(&world, &CONCURRENCY)).await;
    assert_all_failed(&run, "broker_unavailable", &ids);
    let mut failed = users_with(&run, FAILED);
    failed.sort();
    assert_eq!(failed, ids, "one line each");
    let probes = alpaca.asked_later();
    // The next one may be quicker than the end of the connection before.
    assert!(alpaca.most_open_later() <= 2, "{probes:?}");
    assert!((1..=10).contains(&probes.len()), "{probes:?}");
    assert!(
        alpaca.calls_by_key().values().all(|calls| *calls <= 2),
        "once in each lap: {:?}",
        alpaca.calls_by_key()
    );
    assert_eq!(world.document("ops/last_pulse").await["status"], json!("failed"));
    assert_synced_in_the_next_pass(&world, &ids).await;
}

/// Even an error is an answer. Those who had none before have another turn.
#[tokio::test(flavor = "multi_thread")]
async fn any_answer_to_a_probe_opens_the_host_again_for_all() {
    let world = sandbox().await;
    let alpaca = MuteAlpaca::start(FIRST_CALLS, Answers::Later).await;
    let ids = world.crowd(60);
    let run = Run::of(&mut alpaca.command(&world, &CONCURRENCY)).await;
    run.assert_completed("60 successful, 0 errors", 0);
    let first: BTreeSet<_> = alpaca.asked_first().into_iter().collect();
    assert_eq!(first.len(), FIRST_CALLS);
    let probe = &alpaca.asked_later()[0];
    assert!(!first.contains(probe), "who asked before makes no probe");
    let calls = alpaca.calls_by_key();
    assert_eq!(calls.values().sum::<usize>(), ids.len() + FIRST_CALLS + 1, "{calls:?}");
    for user in &ids {
        assert!(world.snapshot(user).await.is_object(), "{user}");
        assert_eq!(world.trouble(user).await, json!(null), "{user}");
    }
}

/// In the other turns they are the first one to ask, and for those who wait for the probe there are no turns after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_with_somebody_whose_account_never_answers_says_nothing_of_the_others() {
    let world = sandbox().await;
    let ids = world.crowd(3);
    for user in &ids[1..] {
        world.fault(&format!("secret-manager:latency=3s,times=1,user={user}"));
    }
    let alpaca = MuteAlpaca::start(ids.len(), Answers::LaterAllBut("user-0001")).await;
    let run = Run::of(&mut alpaca.command(&world, &ONE_AT_A_TIME)).await;
    assert_eq!(alpaca.asked_later()[0], keys_of(&ids[0]).0, "the first probe");
    run.assert_completed("2 successful, 1 errors", 0);
    assert_eq!(run.error_of(&ids[0]).as_deref(), Some("broker_unavailable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_manager_that_answers_nobody_is_hardly_asked_either() {
    let world = sandbox().await;
    let ids = world.crowd(60);
    world.fault("secret-manager:stall");
    let run = world.pulse_with(&CONCURRENCY).await;
    assert_all_failed(&run, "keys_unavailable", &ids);
    let mut asked = calls_for(&world, Service::SecretManager, "AccessSecretVersion");
    let calls = asked.len();
    assert!(calls < ids.len(), "{calls} calls for {} users", ids.len());
    asked.sort();
    assert_eq!(world.calls(Service::Alpaca, "GetAccount"), 0);
    assert_synced_in_the_next_pass(&world, &ids).await;
}

/// Their last calls in a tick are the only ones without an answer, and nobody asks until the next one begins.
#[tokio::test(flavor = "multi_thread")]
async fn one_whose_account_never_answers_keeps_nobody_waiting_in_the_next_tick_of_a_loop() {
    let world = sandbox().await;
    let ids = world.crowd(2);
    let alpaca = MuteAlpaca::start(0, Answers::AllBut("user-0001")).await;
    let args = [&ONE_AT_A_TIME[..], &["--every", "1s", "--for", "1h"]].concat();
    let mut running = Live::start(alpaca.command(&world, &args));
    running.until(&format!("{SYNCED}{}", ids[1]), 1).await;
    assert_eq!(alpaca.open(), 1, "the first one is still waited for");
    running.until("Completed multi-tenant sync: 1 successful, 1 errors", 1).await;
    let asked = || alpaca.calls_by_key()[&keys_of("user-0001").0];
    let before = asked();
    running.until(&format!("{SYNCED}{}", ids[1]), 1).await;
    assert_eq!((asked() - before, alpaca.open()), (1, 1), "and so it is again: {}", running.log());
    running.signal("TERM");
    assert_eq!(running.end().await.exit, Some(143));
}

/// Paper accounts and live ones are at different hosts.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_answers_nobody_is_not_the_other_one() {
    let world = sandbox().await;
    let (live, paper) = (super::names("live", 12), super::names("paper", 12));
    world.users(&live).await;
    world.users(&paper).await;
    for user in &live {
        let (key_id, secret_key) = keys_of(user);
        let payload = json!({"key_id": key_id, "secret_key": secret_key, "environment": "live"});
        world.store_payload(user, &payload.to_string());
        world.fault(&format!("alpaca:stall,user={user}"));
    }
    let run = world.pulse_with(&CONCURRENCY).await;
    run.assert_completed("12 successful, 12 errors", 0);
    for user in &paper {
        assert_eq!(world.account_calls(user), 1, "{user} is asked about as usual");
    }
    let asked: usize = live.iter().map(|user| world.account_calls(user)).sum();
    assert!(asked < 2 * live.len(), "{asked}");
}
