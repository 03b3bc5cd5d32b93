//! Section 4: who has been failing for long, for a cause of ours, is told once a pass.

use super::MINUTE;
use crate::world::{Run, World, sandbox, secret_of};
use alpaca_pulse::firestore::values::timestamp;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};

const LINE: &str = " been failing for 5 minutes or more";

/// As if the user had been failing for so long.
async fn failing_for(world: &World, user: &str, time: SignedDuration) {
    let since = [("failing_since", timestamp(Timestamp::now() - time))];
    world.patch(&format!("users/{user}/alpacaAccounts/sync"), since).await;
}

fn told(run: &Run) -> Vec<Json> {
    let mut entries = run.entries();
    entries.retain(|entry| entry["message"].as_str().is_some_and(|message| message.ends_with(LINE)));
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_for_long_for_a_cause_of_ours_is_told_once_a_pass() {
    let world = sandbox().await;
    for user in ["ana", "ben", "cy", "dan", "zoe"] {
        world.user(user).await;
    }
    world.pulse().await;
    for user in ["ana", "ben", "cy"] {
        world.fault(&format!("alpaca:error=503,user={user}"));
    }
    // A cause of the user's own.
    world.sandbox.secrets().delete(&secret_of("dan"));
    assert_eq!(told(&world.pulse().await), [json!(null); 0], "nobody for long yet");
    for (user, minutes) in [("ana", 5), ("ben", 4), ("cy", 6), ("dan", 60)] {
        failing_for(&world, user, MINUTE * minutes).await;
    }
    let told_now = told(&world.pulse().await);
    let [line] = &told_now[..] else { panic!("one line: {told_now:?}") };
    assert_eq!(
        (&line["message"], &line["severity"]),
        (&json!(format!("2 users have{LINE}")), &json!("WARNING"))
    );
    assert_eq!(line["failing_count"], 2);
    assert!(
        line["longest_failing_s"].as_i64().is_some_and(|longest| (360..420).contains(&longest)),
        "{line}"
    );
}
