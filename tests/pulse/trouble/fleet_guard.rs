//! Rejections of so many users at once that it cannot be their own fault.

use super::{fleet, record, says, stored};
use crate::on_both;
use crate::world::off;
use alpaca_pulse::store::values::{integer, null, text, timestamp as time};
use jiff::Timestamp;
use serde_json::json;

fn fleet_wide(rejected: usize, asked: usize) -> String {
    format!("Alpaca rejected {rejected} of {asked} users: not marking anyone for re-authentication")
}

on_both! {
    async fn when_more_than_a_fifth_is_rejected_nobodys_state_changes(world) {
        fleet(&world, 5, 15).await;
        let known = [("state", text("retrying")), ("error", text("broker_rejected")),
            ("key_version", text("1")), ("rejections", integer(1)),
            ("since", time(Timestamp::now())), ("next_attempt_at", null())];
        world.put("users/bad-0/alpacaAccounts/sync", known).await;
        let before = stored(&world, "bad-0").await;
        for _ in 0..2 {
            let run = world.pulse().await;
            run.assert_completed("15 successful, 5 errors", 0);
            assert_eq!(run.severity_of(&fleet_wide(5, 20)).as_deref(), Some("CRITICAL"), "{}", run.stdout);
            assert_eq!(stored(&world, "bad-0").await, before);
            for number in 1..5 {
                assert_eq!(world.trouble(&format!("bad-{number}")).await, json!(null));
            }
        }
    }

    async fn four_rejected_users_are_their_own_fault_however_few_there_are(world) {
        fleet(&world, 4, 6).await;
        let run = world.pulse().await;
        run.assert_completed("6 successful, 4 errors", 0);
        assert!(!run.stdout.contains("not marking anyone"), "{}", run.stdout);
        for number in 0..4 {
            let (marked, ..) = record(&world, &format!("bad-{number}")).await;
            assert_eq!(marked, says("retrying", Some("broker_rejected"), 1, Some("1")));
        }
    }

    async fn exactly_a_fifth_is_their_own_fault(world) {
        fleet(&world, 5, 20).await;
        let run = world.pulse().await;
        run.assert_completed("20 successful, 5 errors", 0);
        assert!(!run.stdout.contains("not marking anyone"), "{}", run.stdout);
        for number in 0..5 {
            let (marked, ..) = record(&world, &format!("bad-{number}")).await;
            assert_eq!(marked, says("retrying", Some("broker_rejected"), 1, Some("1")));
        }
    }

    async fn only_users_who_were_asked_about_count_for_the_fifth(world) {
        fleet(&world, 5, 19).await;
        for user in ["off-0", "off-1"] {
            world.put(&format!("users/{user}"), [("sync_enabled", off())]).await;
            world.put(&format!("users/keyless-{user}"), []).await;
        }
        let run = world.pulse().await;
        run.assert_completed("19 successful, 7 errors, 2 skipped", 0);
        assert_eq!(run.severity_of(&fleet_wide(5, 24)).as_deref(), Some("CRITICAL"), "{}", run.stdout);
        assert_eq!(world.trouble("bad-0").await, json!(null));
    }
}
