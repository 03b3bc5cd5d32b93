//! A process that stands still in the midst of a user's sync, and goes on: what it held may be old by then.

use crate::held_alpaca::HeldAlpaca;
use crate::live::{Live, wait_until};
use crate::on_both;
use crate::world::World;
use jiff::Timestamp;
use pulse_sandbox::call::Service;
use serde_json::json;
use std::time::Duration;

/// Longer than an answer may take from its question until it is read.
const TOO_LONG_TO_READ: Duration = Duration::from_secs(11);

/// Longer than a user has in all.
const TOO_LONG: Duration = Duration::from_secs(21);

/// A pass that has asked for ana's account.
async fn asking(world: &World, args: &[&str]) -> (HeldAlpaca, Live) {
    let alpaca = HeldAlpaca::start().await;
    world.user("ana").await;
    let running = Live::start(alpaca.command(world, args));
    alpaca.arrived(1).await;
    (alpaca, running)
}

/// Lets the process stand still for so long, from the moment on in which the account is answered.
async fn stands_still(alpaca: &HeldAlpaca, running: &Live, long: Duration) -> Timestamp {
    running.signal("STOP");
    alpaca.answer("ana", "1.00");
    tokio::time::sleep(long).await;
    let until = Timestamp::now();
    running.signal("CONT");
    until
}

/// What was held is not written: the account is asked for anew, which gives other figures.
async fn assert_asked_anew(world: &World, alpaca: &HeldAlpaca, running: Live, until: Timestamp) {
    alpaca.arrived(2).await;
    alpaca.answer("ana", "2.00");
    running.end().await.assert_completed("1 successful, 0 errors", 0);
    let snapshot = world.snapshot("ana").await;
    assert_eq!(snapshot["equity"], json!(2.0), "no figures of before");
    let answered: Timestamp = snapshot["updated_at_iso"].as_str().expect("a text").parse().expect("a time");
    assert!(answered >= until, "{answered}");
    assert_ne!(world.primary("ana").await["equity"], json!(1.0));
}

on_both! {
    async fn an_answer_that_was_read_too_late_is_dropped_and_asked_for_anew(world) {
        let (alpaca, running) = asking(&world, &[]).await;
        let until = stands_still(&alpaca, &running, TOO_LONG_TO_READ).await;
        assert_asked_anew(&world, &alpaca, running, until).await;
    }

    async fn a_user_whose_time_went_by_meanwhile_has_another_turn(world) {
        let (alpaca, running) = asking(&world, &[]).await;
        let until = stands_still(&alpaca, &running, TOO_LONG).await;
        assert_asked_anew(&world, &alpaca, running, until).await;
    }

    /// It is read at once, but what has to be known before it is written comes late.
    async fn an_answer_that_was_not_written_in_time_is_dropped(world) {
        let (alpaca, running) = asking(&world, &["--pin-accounts"]).await;
        if world.firestore_host == world.sandbox.address().to_string() {
            world.fault("firestore/BatchGetDocuments:latency=3s");
            let before = world.calls(Service::Firestore, "BatchGetDocuments");
            alpaca.answer("ana", "1.00");
            wait_until(|| world.calls(Service::Firestore, "BatchGetDocuments") > before).await;
            running.signal("STOP");
            tokio::time::sleep(TOO_LONG).await;
            let until = Timestamp::now();
            running.signal("CONT");
            assert_asked_anew(&world, &alpaca, running, until).await;
        }
    }
}
