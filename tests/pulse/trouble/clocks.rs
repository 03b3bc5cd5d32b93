//! Clocks that jump, of this machine or of the one that wrote before: a time in a document that cannot be right
//! must lock nobody out.

use super::{HOUR, MINUTE, needs_reauth, nobody_looks_at, record, says};
use crate::on_both;
use crate::world::timestamp;
use alpaca_pulse::firestore::values::{integer, text, timestamp as time};
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::Profile;

/// The first and the last day that Firestore has.
fn the_ends_of_time() -> [Timestamp; 2] {
    ["0001-01-02T00:00:00Z", "9999-12-30T00:00:00Z"].map(|day| day.parse().expect("a point in time"))
}

on_both! {
    async fn keys_that_rest_until_the_end_of_time_are_tried_again_at_once(world) {
        let user = nobody_looks_at();
        let [_, end] = the_ends_of_time();
        needs_reauth(&world, &user, HOUR).await;
        let next = [("next_attempt_at", time(end))];
        world.patch(&format!("users/{user}/alpacaAccounts/sync"), next).await;
        let before = Timestamp::now();
        world.pulse().await.assert_completed("0 successful, 0 errors, 1 skipped", 0);
        assert_eq!(world.account_calls(&user), 1);
        let (now, _, next) = record(&world, &user).await;
        assert_eq!(now, says("needs_reauth", Some("broker_rejected"), 3, Some("1")));
        let next = next.expect("they rest");
        assert!(before + HOUR <= next && next <= Timestamp::now() + HOUR, "{next}");
    }

    async fn keys_that_rest_until_the_end_of_time_are_taken_once_alpaca_takes_them(world) {
        let user = nobody_looks_at();
        let [_, end] = the_ends_of_time();
        needs_reauth(&world, &user, HOUR).await;
        let next = [("next_attempt_at", time(end))];
        world.patch(&format!("users/{user}/alpacaAccounts/sync"), next).await;
        world.account(&user, Profile::active());
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(record(&world, &user).await.0, says("ok", None, 0, Some("1")));
    }

    async fn keys_that_were_due_at_the_beginning_of_time_are_tried_again_and_then_rest(world) {
        let user = nobody_looks_at();
        let [beginning, _] = the_ends_of_time();
        needs_reauth(&world, &user, HOUR).await;
        let due = [("next_attempt_at", time(beginning)), ("since", time(beginning))];
        world.patch(&format!("users/{user}/alpacaAccounts/sync"), due).await;
        world.pulse().await.assert_completed("0 successful, 0 errors, 1 skipped", 0);
        world.pulse().await.assert_completed("0 successful, 0 errors, 1 skipped", 0);
        assert_eq!(world.account_calls(&user), 1);
    }

    /// What cannot be a count starts over.
    async fn keys_rest_for_a_day_at_most_however_often_they_are_said_to_have_been_rejected(world) {
        let many = i64::from(u32::MAX);
        let stored = [("most", i64::MAX, 1), ("negative", -7, 1), ("many", many, many)];
        for (user, rejections, _) in stored {
            needs_reauth(&world, user, -HOUR).await;
            let rejections = [("rejections", integer(rejections))];
            world.patch(&format!("users/{user}/alpacaAccounts/sync"), rejections).await;
        }
        world.pulse().await.assert_completed("0 successful, 0 errors, 3 skipped", 0);
        for (user, _, counted) in stored {
            let (now, _, next) = record(&world, user).await;
            assert_eq!(now["rejections"]["integer"], counted, "{user}");
            assert!(next.is_none_or(|next| next <= Timestamp::now() + HOUR * 24), "{user}: {next:?}");
        }
    }

    async fn trouble_since_the_ends_of_time_ends_like_any_other(world) {
        for since in the_ends_of_time() {
            world.user("ana").await;
            let trouble = [("state", text("retrying")), ("error", text("keys_missing")), ("since", time(since))];
            world.put("users/ana/alpacaAccounts/sync", trouble).await;
            world.pulse().await.assert_completed("1 successful, 0 errors", 0);
            let (now, since, next) = record(&world, "ana").await;
            assert_eq!((now["state"].as_str(), next), (Some("ok"), None));
            assert!((Timestamp::now() - MINUTE..=Timestamp::now()).contains(&since), "{since}");
        }
    }

    async fn new_keys_are_found_at_once_after_a_pulse_at_the_ends_of_time(world) {
        for started_at in the_ends_of_time() {
            let user = nobody_looks_at();
            needs_reauth(&world, &user, HOUR).await;
            world.put("ops/last_pulse", [("started_at", time(started_at))]).await;
            world.connect(&user, Profile::active());
            world.pulse().await.assert_completed("1 successful, 0 errors", 0);
            let started = timestamp(&world.document("ops/last_pulse").await["started_at"]);
            assert!((Timestamp::now() - MINUTE..=Timestamp::now()).contains(&started), "{started}");
        }
    }

    /// The server's time decides, whatever the document says.
    async fn a_snapshot_from_the_end_of_time_is_replaced(world) {
        let [_, end] = the_ends_of_time();
        world.user("ana").await;
        for path in ["users/ana/alpacaAccounts/snapshot", "tenants/ana/accounts/primary"] {
            world.put(path, [("user_id", text("ana")), ("updated_at", time(end))]).await;
        }
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        for document in [world.snapshot("ana").await, world.primary("ana").await] {
            let written = timestamp(&document["updated_at"]);
            assert!(written <= Timestamp::now() + SignedDuration::from_mins(1), "{written}");
        }
    }
}
