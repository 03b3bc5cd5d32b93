//! `--user-lines`: which lines about single users are logged.

use crate::answers::{answer, money};
use crate::live::Live;
use crate::world::{Run, World, off, sandbox, secret_of};
use alpaca_pulse::firestore::values::text;

/// What the lines about users say, in the order of their text, and how many others there are.
fn told(run: &Run) -> (Vec<String>, usize) {
    let entries = run.entries();
    let (users, others): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry["user_id"].is_string());
    let line = |entry: &&serde_json::Value| {
        let message = entry["message"].as_str().expect("a text");
        let verb = message.split_once(" Alpaca").expect("about an account").0;
        format!("{} {verb}", entry["user_id"].as_str().expect("a text"))
    };
    let mut lines: Vec<_> = users.iter().map(line).collect();
    lines.sort();
    (lines, others.len())
}

/// One who is synced, one without keys, one of whom Alpaca says nonsense, one who is paused, one whose switch cannot
/// be read, one whose account is not open yet.
async fn one_of_each() -> World {
    let world = sandbox().await;
    for user in ["ana", "ben", "cy", "dan", "eve", "fay"] {
        world.user(user).await;
    }
    world.sandbox.secrets().delete(&secret_of("ben"));
    world.account("cy", answer(200, "{}"));
    world.put("users/dan", [("sync_enabled", off())]).await;
    world.put("users/eve", [("sync_enabled", text("maybe"))]).await;
    world.account("fay", answer(200, r#"{"id": "a1", "status": "ONBOARDING"}"#));
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_and_what_asks_to_act_are_always_told_and_the_rest_as_it_is_wanted() {
    let failed = ["ben Could not retrieve", "cy Failed to sync", "eve Skipped"];
    let changed = [&failed[..], &["fay Skipped"]].concat();
    for (args, expected) in [
        (&["--user-lines", "failed"][..], &failed[..]),
        (&["--user-lines", "changed"], &changed),
        (
            &[],
            &[
                "ana Successfully synced",
                "ana Syncing",
                "ben Could not retrieve",
                "ben Syncing",
                "cy Failed to sync",
                "cy Syncing",
                "dan Skipped",
                "eve Skipped",
                "fay Skipped",
                "fay Syncing",
            ],
        ),
    ] {
        let world = one_of_each().await;
        let run = world.pulse_with(args).await;
        run.assert_completed("1 successful, 2 errors, 3 skipped", 0);
        assert_eq!(told(&run), (expected.iter().map(ToString::to_string).collect(), 1), "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_changed_is_told_once() {
    let world = one_of_each().await;
    let changed = async || {
        let run = world.pulse_in(&[("PULSE_USER_LINES", "changed")]).await;
        told(&run).0
    };
    changed().await;
    assert_eq!(
        changed().await,
        ["ben Could not retrieve", "cy Failed to sync", "eve Skipped"],
        "fay is known to have no account yet"
    );
    world.user("ben").await;
    world.account("cy", money("1.00"));
    world.account("fay", money("1.00"));
    world.put("users/eve", []).await;
    assert_eq!(
        changed().await,
        ["ben Successfully synced", "cy Successfully synced", "fay Successfully synced"],
        "whose trouble has ended"
    );
    assert_eq!(changed().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_tick_has_no_other_line_than_its_last() {
    let world = sandbox().await;
    world.crowd(20);
    let args = ["--every", "1s", "--for", "1h", "--user-lines", "failed"];
    let mut running = Live::start(world.command(&args));
    running.until("Completed multi-tenant sync: 20 successful, 0 errors", 3).await;
    let log = running.log().to_owned();
    running.signal("TERM");
    running.end().await;
    let entries = log.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line"));
    let good_news = entries.filter(|entry: &serde_json::Value| entry["severity"] == "INFO");
    assert_eq!(good_news.count(), 3, "{log}");
}
