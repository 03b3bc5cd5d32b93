//! Users without keys, of whom there may be many: when they are looked for, and what that costs.

use super::{HOUR, MINUTE, nobody_looks_at, stored};
use crate::on_both;
use crate::world::{World, secret_of};
use alpaca_pulse::firestore::values::{integer, text, timestamp as time};
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::Profile;
use serde_json::{Value as Json, json};

/// The user fails with that code for so long, has never synced, and the pulse before was just now.
async fn fails_for(world: &World, user: &str, code: &str, long: SignedDuration) {
    let since = Timestamp::now() - long;
    let fields = [
        ("state", text("retrying")),
        ("error", text(code)),
        ("since", time(since)),
        ("failing_since", time(since)),
        ("rejections", integer(0)),
        ("updated_at", time(since)),
    ];
    world.put(&format!("users/{user}/alpacaAccounts/sync"), fields).await;
    world.put("ops/last_pulse", [("started_at", time(Timestamp::now()))]).await;
}

/// A user who signed up, and no more.
async fn newcomer(world: &World, code: &str, long: SignedDuration) -> String {
    let user = nobody_looks_at();
    world.put(&format!("users/{user}"), [("display_name", text("Somebody"))]).await;
    fails_for(world, &user, code, long).await;
    user
}

/// Some of the numbers of `ops/last_pulse`.
async fn published(world: &World, names: [&str; 3]) -> [Json; 3] {
    let document = world.document("ops/last_pulse").await;
    names.map(|name| document[name]["integer"].clone())
}

/// Whether the user is left alone in a pulse, which then says so and costs nothing.
async fn rests(world: &World, user: &str, code: &str) -> bool {
    let (before, accesses) = (stored(world, user).await, world.secret_accesses(user));
    let run = world.pulse().await;
    let counts = published(world, ["skipped_count", "error_count", "secret_accesses"]).await;
    let line = format!("Skipped Alpaca account for user {user}: it has had no keys for over an hour");
    if !run.stdout.contains(&line) {
        assert_eq!(counts, [json!(0), json!(1), json!(1)], "{}", run.stdout);
        assert_eq!(world.secret_accesses(user), accesses + 1);
        return false;
    }
    run.assert_completed("0 successful, 0 errors, 1 skipped", 0);
    let entry = run.entry(&line);
    assert_eq!((&entry["severity"], &entry["error"]), (&json!("INFO"), &json!(code)));
    assert!(entry["failing_since"].is_string(), "{entry}");
    assert!(!run.stdout.contains("Syncing Alpaca account"), "{}", run.stdout);
    assert_eq!(counts, [json!(1), json!(0), json!(0)]);
    assert_eq!(world.secret_accesses(user), accesses);
    assert_eq!(stored(world, user).await, before, "not written either");
    true
}

on_both! {
    async fn missing_keys_are_looked_for_in_every_pulse_for_an_hour_and_then_seldom(world) {
        for (long, expected) in [(HOUR - MINUTE, false), (HOUR + MINUTE, true)] {
            let user = newcomer(&world, "keys_missing", long).await;
            assert_eq!(rests(&world, &user, "keys_missing").await, expected, "{long}");
        }
        let user = newcomer(&world, "keys_missing", HOUR * 48).await;
        let ten_minutes_ago = Timestamp::now() - MINUTE * 10;
        world.patch("ops/last_pulse", [("started_at", time(ten_minutes_ago))]).await;
        assert!(!rests(&world, &user, "keys_missing").await, "a look is due");
        assert!(rests(&world, &user, "keys_missing").await, "and not at once again");
    }

    async fn a_secret_that_was_never_made_looks_forbidden_and_rests_as_well(world) {
        let user = newcomer(&world, "keys_forbidden", HOUR * 2).await;
        world.sandbox.secrets().forbid(&secret_of(&user), true);
        assert!(rests(&world, &user, "keys_forbidden").await);
        let synced = [("last_success_at", time(Timestamp::now() - HOUR * 3))];
        world.patch(&format!("users/{user}/alpacaAccounts/sync"), synced).await;
        assert!(!rests(&world, &user, "keys_forbidden").await, "of a user who has synced, it is our fault");
    }

    async fn who_says_that_there_are_keys_is_looked_at_in_the_next_pulse(world) {
        let user = newcomer(&world, "keys_missing", HOUR * 48).await;
        let changed = |at: Timestamp| [("keys_updated_at", time(at))];
        world.patch(&format!("users/{user}"), changed(Timestamp::now() - HOUR - MINUTE)).await;
        assert!(rests(&world, &user, "keys_missing").await);
        world.patch(&format!("users/{user}"), changed(Timestamp::now() + HOUR)).await;
        assert!(rests(&world, &user, "keys_missing").await, "the future is no time");
        world.connect(&user, Profile::active());
        world.patch(&format!("users/{user}"), changed(Timestamp::now())).await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(world.trouble(&user).await["state"], "ok");
    }

    async fn a_named_run_always_looks(world) {
        let user = newcomer(&world, "keys_missing", HOUR * 48).await;
        let run = world.pulse_with(&["--user", &user]).await;
        assert_eq!((run.exit, world.secret_accesses(&user)), (Some(1), 1), "{}", run.stdout);
        world.connect(&user, Profile::active());
        world.pulse_with(&["--user", &user]).await.assert_completed("1 successful, 0 errors", 0);
    }

    async fn who_rests_costs_no_read_of_a_tenant(world) {
        let user = newcomer(&world, "keys_missing", HOUR * 48).await;
        let used = async || published(&world, ["firestore_reads", "secret_accesses", "alpaca_calls"]).await;
        // The first one finds no execution before it to read about.
        world.pulse().await;
        assert!(rests(&world, &user, "keys_missing").await);
        let [resting, ..] = used().await;
        world.delete(&format!("users/{user}")).await;
        world.delete(&format!("users/{user}/alpacaAccounts/sync")).await;
        world.pulse().await;
        let [nobody, ..] = used().await;
        // An empty page is billed as one read: the user is no more than that, and so is their state.
        assert_eq!(resting, nobody);
    }
}
