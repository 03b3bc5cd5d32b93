//! Many users who have to reconnect: what they cost, and how soon their new keys are found.

use super::{HOUR, MINUTE, needs_reauth, nobody_looks_at_any_of};
use crate::on_both;
use crate::traffic::Traffic;
use crate::world::{World, sandbox};
use alpaca_pulse::firestore::values::timestamp as time;
use jiff::Timestamp;
use pulse_sandbox::alpaca::Profile;
use pulse_sandbox::call::Service;
use serde_json::json;
use std::collections::BTreeMap;

/// So many users whose secrets are not looked at within the next four minutes.
fn users_nobody_looks_at(count: usize) -> Vec<String> {
    nobody_looks_at_any_of((0..).map(|number| format!("waiting-{number}"))).take(count).collect()
}

/// When each record was written.
fn records(world: &World, users: &[String]) -> BTreeMap<String, Option<String>> {
    let record = |user: &String| world.name(&format!("users/{user}/alpacaAccounts/sync"));
    let written = |user| world.sandbox.firestore().document(&record(user))?.update_time;
    users.iter().map(|user| (user.clone(), written(user).map(|time| format!("{time:?}")))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn users_who_have_to_reconnect_cost_no_secret_no_call_and_no_write_while_none_is_due() {
    let world = sandbox().await;
    let healthy = world.crowd(20);
    let waiting = users_nobody_looks_at(300);
    for user in &waiting {
        needs_reauth(&world, user, HOUR).await;
    }
    let now = [("started_at", time(Timestamp::now()))];
    world.put("ops/last_pulse", now).await;
    let before = records(&world, &waiting);
    world.pulse().await.assert_completed("20 successful, 0 errors, 300 skipped", 0);
    for (service, method) in
        [(Service::SecretManager, "AccessSecretVersion"), (Service::Alpaca, "GetAccount")]
    {
        assert_eq!(world.calls(service, method), healthy.len() as u64, "{method}");
    }
    assert_eq!(records(&world, &waiting), before);
    let traffic = Traffic::of(&world);
    let written = traffic.commits().into_iter().flat_map(|commit| commit.writes);
    let waiting_is_written = written.map(|write| traffic.path(&write)).any(|path| path.contains("waiting-"));
    assert!(!waiting_is_written);
    assert_eq!(world.document("ops/last_pulse").await["needs_reauth_count"], json!({"integer": 300}));
}

on_both! {
    /// Whoever they are: in any five minutes everybody's turn comes.
    async fn new_keys_are_found_within_five_minutes(world) {
        let users: Vec<_> = (0..40).map(|number| format!("user-{number}")).collect();
        for user in &users {
            needs_reauth(&world, user, HOUR).await;
            world.connect(user, Profile::active());
        }
        let five_minutes_ago = [("started_at", time(Timestamp::now() - MINUTE * 5))];
        world.put("ops/last_pulse", five_minutes_ago).await;
        world.pulse().await.assert_completed("40 successful, 0 errors", 0);
        for user in &users {
            assert_eq!(world.trouble(user).await["state"], "ok", "{user}");
        }
    }

    /// At a pulse a minute: one or two of them.
    async fn a_provider_that_rejects_everybody_for_a_minute_makes_nobody_reconnect(world) {
        let users: Vec<_> = (0..12).map(|number| format!("user-{number}")).collect();
        for user in &users {
            world.user(user).await;
        }
        world.pulse().await.assert_completed("12 successful, 0 errors", 0);
        world.fault("alpaca:error=401");
        for _ in 0..2 {
            let run = world.pulse().await;
            run.assert_completed("0 successful, 12 errors", 1);
            let told = "Alpaca rejected 12 of 12 users: not marking anyone for re-authentication";
            assert_eq!(run.severity_of(told).as_deref(), Some("CRITICAL"), "{}", run.stdout);
            for user in &users {
                assert_eq!(world.trouble(user).await["state"], "retrying", "{user}");
            }
        }
        world.sandbox.faults().clear();
        world.pulse().await.assert_completed("12 successful, 0 errors", 0);
        for user in &users {
            assert_eq!(world.trouble(user).await["state"], "ok", "{user}");
        }
    }
}
