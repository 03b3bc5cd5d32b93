//! Connections that break and stall under a pass: Firestore's emulator behind a proxy, and the sandbox as well.

use super::{completed, names, users_with, whole_snapshots, whole_snapshots_after};
use crate::live::{LOOK_INTERVAL, Live, in_time};
use crate::on_both;
use crate::tcp_proxy::{Marked, TcpProxy};
use crate::world::{Run, World, sandbox, timestamp};
use pulse_sandbox::call::Service;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

const SYNCED: &str = "Successfully synced Alpaca account for user ";
const FAILED: &str = "Failed to sync Alpaca account for user ";

/// Slows each user down, so that a pass of so many users takes longer than a second on any machine.
const SLOW_ALPACA: &str = "alpaca:latency=40ms";

/// One pass with Firestore behind a proxy.
async fn pulse_through(world: &World, proxy: &TcpProxy, args: &[&str]) -> Run {
    world.pulse_with_in(args, &[("FIRESTORE_EMULATOR_HOST", &proxy.host())]).await
}

/// Each user is counted once, as what the log says of them, and every success has its documents. Returns how many
/// were synced.
async fn everybody_is_accounted_for(world: &World, run: &Run, ids: &[String]) -> usize {
    let (successes, errors) = completed(run);
    let entries = run.entries();
    let synced = users_with(&entries, SYNCED);
    let failed: Vec<_> = [FAILED, "Could not retrieve Alpaca keys for user "]
        .into_iter()
        .flat_map(|line| users_with(&entries, line))
        .collect();
    assert_eq!((synced.len(), failed.len()), (successes, errors), "{}", run.stdout);
    let told: BTreeSet<_> = synced.iter().chain(&failed).copied().collect();
    assert_eq!(told, ids.iter().map(String::as_str).collect(), "everybody has one line");
    assert_eq!(successes + errors, ids.len(), "and no more than one");
    let written = whole_snapshots_after(world, &entries).await;
    assert!(synced.iter().all(|user| written.contains_key(*user)));
    successes
}

on_both! {
    async fn connections_to_firestore_that_are_cut_every_second_lose_nobody(world) {
        let proxy = TcpProxy::start(&world.firestore_host).await;
        let ids = names(480);
        world.users(&ids).await;
        world.fault(SLOW_ALPACA);
        let cutting = proxy.reset_every(Duration::from_secs(1));
        // 480 users, 8 at a time and 40 ms each: more than two seconds.
        let run = pulse_through(&world, &proxy, &["--concurrency=8"]).await;
        drop(cutting);
        assert!(proxy.tally().reset >= 2, "{:?}", proxy.tally());
        everybody_is_accounted_for(&world, &run, &ids).await;
        for user in users_with(&run.entries(), FAILED) {
            assert_eq!(run.error_of(user).as_deref(), Some("store_unavailable"), "{user}");
        }

        world.sandbox.faults().clear();
        world.pulse().await.assert_completed("480 successful, 0 errors", 0);
        assert_eq!(whole_snapshots(&world).await.len(), 480);
    }

    async fn connections_to_all_services_that_are_cut_every_second_lose_nobody(world) {
        let firestore = TcpProxy::start(&world.firestore_host).await;
        let others = TcpProxy::start(world.sandbox.address().to_string()).await;
        let ids = names(480);
        world.users(&ids).await;
        world.fault(SLOW_ALPACA);
        let cutting = [&firestore, &others].map(|proxy| proxy.reset_every(Duration::from_secs(1)));
        let others_host = others.host();
        let run = world.pulse_with_in(&["--concurrency=8"], &[
            ("FIRESTORE_EMULATOR_HOST", &firestore.host()),
            ("SECRET_MANAGER_EMULATOR_HOST", &others_host),
            ("APCA_API_BASE_URL", &format!("http://{others_host}")),
        ]).await;
        drop(cutting);
        assert!(firestore.tally().reset >= 2 && others.tally().reset >= 2);
        everybody_is_accounted_for(&world, &run, &ids).await;
        let passing = ["store_unavailable", "keys_unavailable", "broker_unavailable"];
        let entries = run.entries();
        let failed = entries.iter().filter(|entry| entry["severity"] == "ERROR" && entry["user_id"].is_string());
        failed.for_each(|entry| assert!(passing.map(Into::into).contains(&entry["error"]), "{entry}"));

        world.sandbox.faults().clear();
        world.pulse().await.assert_completed("480 successful, 0 errors", 0);
        assert_eq!(whole_snapshots(&world).await.len(), 480);
    }

    /// Less than any call may take, so that it costs no attempt.
    async fn a_stall_of_three_seconds_fails_nobody(world) {
        let proxy = TcpProxy::start(&world.firestore_host).await;
        let ids = names(120);
        world.users(&ids).await;
        let mut command = world.command(&["--concurrency=8"]);
        command.env("FIRESTORE_EMULATOR_HOST", proxy.host());
        let mut running = Live::start(command);
        running.until(SYNCED, 20).await;
        proxy.stall(Duration::from_secs(3)).await;
        let run = running.end().await;
        run.assert_completed("120 successful, 0 errors", 0);
        assert_eq!(everybody_is_accounted_for(&world, &run, &ids).await, 120);
        assert_eq!(world.calls(Service::Alpaca, "GetAccount"), 120);
    }

    /// A page of 500 users is some 80 KB; every one of these cuts is in the middle of an answer.
    async fn a_page_that_is_cut_in_the_middle_loses_nobody_and_syncs_nobody_twice(world) {
        let proxy = TcpProxy::start(&world.firestore_host).await;
        let ids = names(560);
        world.users(&ids).await;
        proxy.cut_answers_after([6_000, 11_001, 17_003, 25_555]);
        let run = pulse_through(&world, &proxy, &["--concurrency=32"]).await;
        run.assert_completed("560 successful, 0 errors", 0);
        assert_eq!(proxy.tally().reset, 4);
        assert_eq!(everybody_is_accounted_for(&world, &run, &ids).await, 560);
        for (service, method) in [(Service::SecretManager, "AccessSecretVersion"), (Service::Alpaca, "GetAccount")] {
            assert_eq!(world.calls(service, method), 560, "{method}");
        }
        assert_eq!(world.document("ops/last_pulse").await["users_count"], json!({"integer": 560}));
    }

    async fn bytes_that_are_no_answer_lose_nobody(world) {
        let proxy = TcpProxy::start(&world.firestore_host).await;
        let ids = names(560);
        world.users(&ids).await;
        // In the first settings of a connection, in the middle of a page, and later.
        proxy.garble_answers_after([5, 12_345, 20_002]);
        let run = pulse_through(&world, &proxy, &["--concurrency=32"]).await;
        run.assert_completed("560 successful, 0 errors", 0);
        assert_eq!(proxy.tally().garbled, 3);
        assert_eq!(everybody_is_accounted_for(&world, &run, &ids).await, 560);
        assert_eq!(world.calls(Service::Alpaca, "GetAccount"), 560);
    }

    async fn a_commit_that_is_cut_off_on_its_way_is_sent_again(world) {
        let proxy = TcpProxy::start(&world.firestore_host).await;
        world.users(&["ana".into()]).await;
        for written_before in [false, true] {
            let before = whole_snapshots(&world).await;
            assert_eq!(before.contains_key("ana"), written_before);
            let reset = proxy.tally().reset;
            proxy.mark("users/ana/alpacaAccounts/snapshot", Marked::Cut);
            pulse_through(&world, &proxy, &[]).await.assert_completed("1 successful, 0 errors", 0);
            assert_eq!(proxy.tally().reset, reset + 1);
            assert!(whole_snapshots(&world).await.get("ana") > before.get("ana"));
            assert_eq!(world.trouble("ana").await, json!(null));
        }
    }

    /// Applied twice, which is right: the second time the tenant's document is the user's own already.
    async fn a_commit_whose_answer_is_lost_on_its_way_is_a_success_all_the_same(world) {
        let proxy = TcpProxy::start(&world.firestore_host).await;
        world.users(&["ana".into()]).await;
        for round in 1..=2 {
            let before = world.snapshot("ana").await["updated_at"].clone();
            proxy.mark("users/ana/alpacaAccounts/snapshot", Marked::Unanswered);
            let mut command = world.command(&[]);
            command.env("FIRESTORE_EMULATOR_HOST", proxy.host());
            let running = Live::start(command);
            proxy.until(|tally| tally.unanswered == round).await;
            let applied = in_time(async {
                loop {
                    match world.snapshot("ana").await["updated_at"].clone() {
                        now if now != before => break timestamp(&now),
                        _ => tokio::time::sleep(LOOK_INTERVAL).await,
                    }
                }
            }).await;
            proxy.reset_all();
            running.end().await.assert_completed("1 successful, 0 errors", 0);
            assert!(whole_snapshots(&world).await["ana"] > applied, "written once more");
            assert_eq!(world.trouble("ana").await, json!(null));
        }
    }

    async fn a_firestore_that_refuses_for_a_while_fails_those_who_are_in_flight_and_then_nobody(world) {
        let proxy = TcpProxy::start(&world.firestore_host).await;
        let ids = names(40);
        world.users(&ids).await;
        let mut command = world.command(&["--concurrency=4"]);
        command.env("FIRESTORE_EMULATOR_HOST", proxy.host());
        let mut running = Live::start(command);
        running.until(SYNCED, 4).await;
        proxy.refuse(true);
        proxy.reset_all();
        running.until(FAILED, 4).await;
        proxy.refuse(false);
        let run = running.end().await;
        let synced = everybody_is_accounted_for(&world, &run, &ids).await;
        assert!((4..=36).contains(&synced), "{synced}");
        world.pulse().await.assert_completed("40 successful, 0 errors", 0);
    }
}

/// More often than a call is tried, which takes less than a second: a page is everybody's.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_cannot_be_read_for_a_moment_loses_nobody() {
    let world = sandbox().await;
    let ids = world.crowd(560);
    world.fault("firestore/RunQuery:error=UNAVAILABLE,skip=1,times=4");
    let run = world.pulse().await;
    run.assert_completed("560 successful, 0 errors", 0);
    assert_eq!(world.faults_applied(), [4]);
    assert!(run.entries().iter().all(|entry| entry["severity"] != "ERROR"), "{}", run.stdout);
    assert_eq!(everybody_is_accounted_for(&world, &run, &ids).await, 560);
}

/// As Google's front ends do it every now and then: what is in flight is answered, and the next call needs another
/// connection. What is just about to be sent costs an attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_firestore_that_closes_its_connections_politely_loses_nobody() {
    let world = sandbox().await;
    let ids = world.crowd(200);
    world.fault("firestore/RunQuery:goaway,times=1");
    for commits in [20, 80, 140] {
        world.fault(&format!("firestore/Commit:goaway,skip={commits},times=1"));
    }
    let run = world.pulse().await;
    run.assert_completed("200 successful, 0 errors", 0);
    assert_eq!(everybody_is_accounted_for(&world, &run, &ids).await, 200);
    assert_eq!(world.faults_applied(), [1, 1, 1, 1]);
    assert_eq!(world.calls(Service::Alpaca, "GetAccount"), 200);
}
