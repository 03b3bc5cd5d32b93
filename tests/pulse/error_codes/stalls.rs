//! Services that stall. That takes a user's whole budget, so as many stalls as possible share a pass.

use super::{ACCOUNT, COMMIT, KEYS, SECRET, SYNC, faulty, row};
use crate::world::{Run, sandbox};
use serde_json::Value as Json;

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_costs_its_user_the_attempts_that_fit_and_nobody_else_anything() {
    let world = sandbox().await;
    let users = faulty(
        &world,
        &[
            ("secret-stalls", "secret-manager:stall"),
            ("secret-trickles", "secret-manager:slow=100ms"),
            ("broker-stalls", "alpaca:stall"),
            ("broker-trickles", "alpaca:slow=100ms"),
            ("store-stalls", "firestore/Commit:stall"),
        ],
    )
    .await;
    world.user("zoe").await;
    let run = world.pulse().await;
    run.assert_completed("1 successful, 5 errors", 0);
    // Google's services get five seconds for a call, Alpaca ten.
    for (user, code, line, calls, attempts) in [
        ("secret-stalls", "keys_unavailable", KEYS, SECRET, 4),
        ("secret-trickles", "keys_unavailable", KEYS, SECRET, 4),
        ("broker-stalls", "broker_unavailable", SYNC, ACCOUNT, 3),
        ("broker-trickles", "broker_unavailable", SYNC, ACCOUNT, 3),
        ("store-stalls", "store_unavailable", SYNC, COMMIT, 5),
    ] {
        row(code, line, calls, attempts).is_logged_for(&run, user);
        assert_eq!(calls(&world, user), attempts, "{user}");
    }
    // The record of the trouble stalls as well, and has to fit into the same 20 s; the second lap has 10 s.
    let whole_pass = run.entry("Completed multi-tenant sync: ")["duration_ms"].as_u64();
    assert!(whole_pass < Some(45_000), "{whole_pass:?} ms");
    assert_eq!(world.snapshot("zoe").await["status"], "ACTIVE");
    for user in users {
        assert_eq!(world.snapshot(user).await, Json::Null, "{user}");
    }
    let zoe = position(&run, "Successfully synced Alpaca account for user zoe");
    assert!(zoe < position(&run, &format!("{KEYS} secret-stalls")), "{}", run.stdout);
}

fn position(run: &Run, message: &str) -> Option<usize> {
    let found = run
        .entries()
        .iter()
        .position(|entry| entry["message"].as_str().is_some_and(|text| text.starts_with(message)));
    assert!(found.is_some(), "{message:?} is in {}", run.stdout);
    found
}
