//! Section 5a: rejections of so many users at once, at one of Alpaca's hosts, that they cannot be their own fault.

use super::{HOUR, MINUTE, bad, fleet, past, record, says, stored};
use crate::on_both;
use crate::world::{Run, World, keys_of, off, sandbox};
use alpaca_pulse::firestore::values::timestamp as time;
use jiff::Timestamp;
use pulse_sandbox::alpaca::Profile;
use serde_json::json;

/// Users `{name}-0`, ... at that host, whose keys Alpaca has taken once.
async fn synced(world: &World, name: &str, host: &str, users: usize) -> Vec<String> {
    let ids: Vec<_> = (0..users).map(|number| format!("{name}-{number}")).collect();
    world.users(&ids).await;
    for id in &ids {
        let (key_id, secret_key) = keys_of(id);
        let keys = json!({"key_id": key_id, "secret_key": secret_key, "environment": host});
        world.store_payload(id, &keys.to_string());
    }
    world.pulse().await;
    for id in &ids {
        assert_eq!(world.snapshot(id).await["environment"], host);
    }
    ids
}

/// From now on Alpaca rejects them.
fn reject<'a>(world: &World, users: impl IntoIterator<Item = &'a String>) {
    users.into_iter().for_each(|user| world.account(user, Profile::Revoked));
}

/// Where the guard trips, and the numbers it names, in the order of the lines; each is CRITICAL.
fn tripped(run: &Run) -> Vec<(String, String)> {
    let mut entries = run.entries();
    entries.retain(|entry| entry["message"].as_str().is_some_and(|text| text.contains("not marking anyone")));
    let one = |entry: &serde_json::Value| {
        assert_eq!((&entry["severity"], &entry["error"]), (&json!("CRITICAL"), &json!("broker_rejected")));
        let message = entry["message"].as_str().expect("a text");
        let numbers = message.strip_prefix("Alpaca rejected ").expect("the promised words");
        let numbers = numbers.strip_suffix(" users: not marking anyone for re-authentication");
        let host = entry["environment"].as_str().expect("the host").to_owned();
        (host, numbers.expect("the promised words").to_owned())
    };
    entries.iter().map(one).collect()
}

fn at(host: &str, numbers: &str) -> (String, String) {
    (host.to_owned(), numbers.to_owned())
}

/// The user has been failing for so long.
async fn failing_for(world: &World, user: &str, span: jiff::SignedDuration) {
    let since = [("failing_since", time(Timestamp::now() - span))];
    world.patch(&format!("users/{user}/alpacaAccounts/sync"), since).await;
}

on_both! {
    async fn newcomers_with_made_up_keys_are_marked_and_make_no_alarm(world) {
        fleet(&world, 5, 19).await;
        for (state, rejections) in [("retrying", 1), ("needs_reauth", 2)] {
            let run = world.pulse().await;
            run.assert_completed("19 successful, 5 errors", 0);
            assert_eq!(tripped(&run), []);
            for user in bad(5) {
                let (marked, _, next) = record(&world, &user).await;
                assert_eq!(marked, says(state, Some("broker_rejected"), rejections, Some("1")));
                assert_eq!(next.is_some(), rejections == 2);
                let (failing_since, last, version) = past(&world, &user).await;
                assert_eq!((failing_since.is_some(), last, version), (true, None, None));
            }
        }
        world.pulse().await.assert_completed("19 successful, 0 errors, 5 skipped", 0);
    }

    async fn a_host_that_rejects_all_its_users_marks_none_of_them_however_well_the_other_does(world) {
        let paper = synced(&world, "paper", "paper", 20).await;
        let live = synced(&world, "live", "live", 5).await;
        reject(&world, &live);
        let mut left = Vec::new();
        for pass in 0..3 {
            let run = world.pulse().await;
            run.assert_completed("20 successful, 5 errors", 0);
            assert_eq!(tripped(&run), [at("live", "5 of 5")]);
            for user in &live {
                let (held, since, next) = record(&world, user).await;
                assert_eq!((held, next), (says("retrying", Some("broker_rejected"), 0, Some("2")), None));
                let (failing_since, last, version) = past(&world, user).await;
                assert_eq!((failing_since, version.as_deref()), (Some(since), Some("2")));
                let answered = world.snapshot(user).await["updated_at_iso"].as_str().expect("a text").parse();
                assert_eq!(last, Some(answered.expect("a point in time")));
                left.push(stored(&world, user).await);
            }
            assert!(left.iter().zip(&left[..5]).all(|(now, _)| now.is_some()), "pass {pass}");
        }
        assert_eq!((&left[5..10], &left[10..]), (&left[..5], &left[..5]), "nothing changes, nothing is written");
        for user in &paper {
            assert_eq!(world.trouble(user).await, json!(null), "{user}");
        }
    }

    async fn each_host_where_it_happens_is_named_once(world) {
        let (paper, live) = (synced(&world, "paper", "paper", 6).await, synced(&world, "live", "live", 8).await);
        reject(&world, &paper[..4]);
        reject(&world, &live[..3]);
        let run = world.pulse().await;
        run.assert_completed("7 successful, 7 errors", 0);
        assert_eq!(tripped(&run), [at("paper", "4 of 6"), at("live", "3 of 8")]);
    }

    async fn users_of_the_other_host_are_marked_as_usual(world) {
        let (paper, live) = (synced(&world, "paper", "paper", 6).await, synced(&world, "live", "live", 5).await);
        reject(&world, &live);
        reject(&world, &paper[..1]);
        for state in ["retrying", "needs_reauth"] {
            let run = world.pulse().await;
            assert_eq!(tripped(&run), [at("live", "5 of 5")]);
            assert_eq!(world.trouble(&paper[0]).await["state"], state);
            assert_eq!(world.trouble(&live[0]).await["state"], "retrying");
        }
    }

    async fn newcomers_neither_are_held_back_by_an_outage_nor_hide_it(world) {
        let users = synced(&world, "user", "paper", 14).await;
        fleet(&world, 40, 0).await;
        reject(&world, &users[..3]);
        for state in ["retrying", "needs_reauth"] {
            let run = world.pulse().await;
            run.assert_completed("11 successful, 43 errors", 0);
            assert_eq!(tripped(&run), [at("paper", "3 of 14")]);
            for user in bad(40) {
                assert_eq!(world.trouble(&user).await["state"], state, "{user}");
            }
            for user in &users[..3] {
                assert_eq!(world.trouble(user).await["state"], "retrying", "{user}");
            }
        }
    }

    async fn keys_that_never_worked_are_their_users_own_fault_whatever_worked_before_them(world) {
        let users = synced(&world, "user", "paper", 5).await;
        for user in &users {
            world.connect(user, Profile::Revoked);
        }
        for state in ["retrying", "needs_reauth"] {
            let run = world.pulse().await;
            assert_eq!(tripped(&run), []);
            for user in &users {
                assert_eq!(world.trouble(user).await["state"], state);
                assert_eq!(past(&world, user).await.2.as_deref(), Some("2"), "not the new version");
            }
        }
    }

    async fn two_rejected_users_are_their_own_fault_however_few_there_are(world) {
        let users = synced(&world, "user", "paper", 4).await;
        reject(&world, &users[..2]);
        for state in ["retrying", "needs_reauth"] {
            let run = world.pulse().await;
            assert_eq!(tripped(&run), []);
            assert_eq!(world.trouble(&users[0]).await["state"], state);
        }
    }

    async fn exactly_a_fifth_is_their_own_fault(world) {
        let users = synced(&world, "user", "paper", 15).await;
        reject(&world, &users[..3]);
        let run = world.pulse().await;
        run.assert_completed("12 successful, 3 errors", 0);
        assert_eq!(tripped(&run), []);
        for user in &users[..3] {
            assert_eq!(record(&world, user).await.0, says("retrying", Some("broker_rejected"), 1, Some("2")));
        }
    }

    async fn only_users_whose_keys_alpaca_has_a_word_on_count(world) {
        let users = synced(&world, "user", "paper", 14).await;
        reject(&world, &users[..3]);
        for user in ["off-0", "off-1"] {
            world.put(&format!("users/{user}"), [("sync_enabled", off())]).await;
            world.put(&format!("users/keyless-{user}"), []).await;
        }
        let run = world.pulse().await;
        run.assert_completed("11 successful, 5 errors, 2 skipped", 0);
        assert_eq!(tripped(&run), [at("paper", "3 of 14")]);
    }

    async fn who_is_rejected_for_an_hour_while_others_succeed_has_to_reconnect(world) {
        let users = synced(&world, "user", "paper", 5).await;
        reject(&world, &users[..3]);
        for _ in 0..2 {
            world.pulse().await.assert_completed("2 successful, 3 errors", 0);
        }
        failing_for(&world, &users[0], HOUR + MINUTE).await;
        failing_for(&world, &users[1], HOUR - MINUTE).await;
        let run = world.pulse().await;
        assert_eq!(tripped(&run), [at("paper", "3 of 5")]);
        let (marked, _, next) = record(&world, &users[0]).await;
        assert_eq!(marked, says("needs_reauth", Some("broker_rejected"), 2, Some("2")));
        let rest = next.expect("the keys rest").duration_since(Timestamp::now());
        assert!(MINUTE * 14 <= rest && rest <= MINUTE * 15, "{rest}");
        for user in &users[1..3] {
            assert_eq!(world.trouble(user).await["state"], "retrying");
        }
    }

    async fn nobody_has_to_reconnect_while_the_host_takes_nobodys_keys(world) {
        let (paper, live) = (synced(&world, "paper", "paper", 5).await, synced(&world, "live", "live", 3).await);
        reject(&world, &live);
        for _ in 0..2 {
            world.pulse().await.assert_completed("5 successful, 3 errors", 0);
        }
        for user in &live {
            failing_for(&world, user, HOUR * 30).await;
        }
        for _ in 0..2 {
            let run = world.pulse().await;
            assert_eq!(tripped(&run), [at("live", "3 of 3")]);
            for user in &live {
                assert_eq!(world.trouble(user).await["state"], "retrying");
            }
        }
        assert_eq!(world.trouble(&paper[0]).await, json!(null));
    }

    async fn what_the_guard_held_back_does_not_count_once_the_outage_is_over(world) {
        let users = synced(&world, "user", "paper", 6).await;
        reject(&world, &users[..4]);
        for _ in 0..2 {
            assert_eq!(tripped(&world.pulse().await), [at("paper", "4 of 6")]);
        }
        for user in &users[1..] {
            world.account(user, Profile::active());
        }
        for state in ["retrying", "needs_reauth"] {
            let run = world.pulse().await;
            run.assert_completed("5 successful, 1 errors", 0);
            assert_eq!((tripped(&run), &world.trouble(&users[0]).await["state"]), (vec![], &json!(state)));
        }
        for user in &users[1..4] {
            let (over, ..) = record(&world, user).await;
            assert_eq!(over, says("ok", None, 0, Some("2")));
        }
    }

    async fn who_had_to_reconnect_before_an_outage_still_has_to_and_makes_none(world) {
        let users = synced(&world, "user", "paper", 9).await;
        reject(&world, &users[..1]);
        for _ in 0..2 {
            world.pulse().await.assert_completed("8 successful, 1 errors", 0);
        }
        let due = [("next_attempt_at", time(Timestamp::now() - MINUTE))];
        world.patch(&format!("users/{}/alpacaAccounts/sync", users[0]), due).await;
        let before = stored(&world, &users[0]).await;
        reject(&world, &users[..4]);
        let run = world.pulse().await;
        run.assert_completed("5 successful, 3 errors, 1 skipped", 0);
        assert_eq!((tripped(&run), stored(&world, &users[0]).await), (vec![at("paper", "3 of 8")], before));
    }

    async fn a_dry_run_tells_as_much_and_writes_nothing(world) {
        let users = synced(&world, "user", "paper", 5).await;
        reject(&world, &users[..3]);
        let run = world.pulse_with(&["--dry-run"]).await;
        run.assert_completed("2 successful, 3 errors", 0);
        assert_eq!(tripped(&run), [at("paper", "3 of 5")]);
        assert_eq!(world.trouble(&users[0]).await, json!(null));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_past_cannot_be_read_may_have_worked_and_is_not_marked() {
    let world = sandbox().await;
    let users = synced(&world, "user", "paper", 5).await;
    reject(&world, &users[..3]);
    for _ in 0..2 {
        // The last question of a pass about them, before their records are looked at.
        world.fault("firestore/BatchGetDocuments:error=PERMISSION_DENIED,user=user-0,times=1");
        let run = world.pulse_with(&["--legacy-tenant-path", "off"]).await;
        run.assert_completed("2 successful, 3 errors", 0);
        assert_eq!(tripped(&run), [at("paper", "3 of 5")]);
        run.entry("Could not read when 3 users in trouble last succeeded: ");
        for user in &users[..3] {
            assert_eq!(record(&world, user).await.0, says("retrying", Some("broker_rejected"), 0, Some("2")));
            assert_eq!(past(&world, user).await, (None, None, None));
        }
        world.sandbox.faults().clear();
    }
    let (_, begun, _) = record(&world, &users[0]).await;
    assert_eq!(tripped(&world.pulse().await), [at("paper", "3 of 5")]);
    let (failing_since, last, version) = past(&world, &users[0]).await;
    assert_eq!((failing_since, last.is_some(), version.as_deref()), (Some(begun), true, Some("2")));
}
