//! `--spread`: users are counted, and then started evenly.

use super::reads;
use crate::live::{Live, wait_until};
use crate::on_both;
use crate::world::{World, sandbox};
use pulse_sandbox::call::Service;

/// The methods of the job's first queries, in the order in which they were sent.
fn first_queries(world: &World) -> Vec<&'static str> {
    let received = world.sandbox.requests().received();
    let methods = received.iter().map(|call| call.method.name());
    methods.filter(|method| method.starts_with("Run")).collect()
}

on_both! {
    async fn everybody_is_synced_within_the_spread(world) {
        for user in ["ana", "ben", "cy"] {
            world.user(user).await;
        }
        for (args, env) in [(&["--spread", "1s"][..], &[][..]), (&[], &[("PULSE_SPREAD", "1s")])] {
            world.pulse_with_in(args, env).await.assert_completed("3 successful, 0 errors", 0);
        }
    }

    async fn the_count_costs_one_read(world) {
        world.user("ana").await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        // The second pass finds what the first one wrote, as the third one does.
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        let unspread = reads(&world).await;
        world.pulse_with(&["--spread", "100ms"]).await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(reads(&world).await, unspread + 1);
    }

    async fn a_pass_over_nobody_is_not_drawn_out(world) {
        world.pulse_with(&["--spread", "1h"]).await.assert_completed("0 successful, 0 errors", 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_are_counted_once_and_first() {
    let world = sandbox().await;
    world.crowd(1201);
    let run = world.pulse_with(&["--spread", "1ms", "--legacy-tenant-path=off"]).await;
    run.assert_completed("1201 successful, 0 errors", 0);
    assert_eq!(world.calls(Service::Firestore, "RunAggregationQuery"), 1);
    // The users, two for counting them (one a thousand), nobody in trouble, three documents at the
    // start, and whose the pulse is, at the end.
    assert_eq!(reads(&world).await, 1201 + 2 + 1 + 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_count_comes_before_the_users() {
    let world = sandbox().await;
    world.crowd(3);
    world.pulse_with(&["--spread", "1ms"]).await.assert_completed("3 successful, 0 errors", 0);
    let queries = first_queries(&world);
    assert_eq!(queries[0], "RunAggregationQuery", "{queries:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_to_wait_for_their_turn_is_not_started() {
    let world = sandbox().await;
    world.crowd(3);
    let mut running = Live::start(world.command(&["--spread", "1h"]));
    running.until("Successfully synced Alpaca account for user user-0001", 1).await;
    running.signal("TERM");
    let run = running.end().await;
    assert_eq!(run.exit, Some(143), "{}", run.stdout);
    run.entry("Stopped multi-tenant sync: 1 successful, 0 errors");
    run.entry("Syncing Alpaca account for user");
    assert_eq!(world.calls(Service::SecretManager, "AccessSecretVersion"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_who_cannot_be_counted_are_not_spread() {
    let world = sandbox().await;
    world.crowd(3);
    world.fault("firestore/RunAggregationQuery:error=PERMISSION_DENIED");
    let run = world.pulse_with(&["--spread", "1h"]).await;
    run.assert_completed("3 successful, 0 errors", 0);
    assert_eq!(run.entry("Could not count the users")["severity"], "WARNING");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_users_are_counted_is_heeded() {
    let world = sandbox().await;
    world.crowd(3);
    world.fault("firestore/RunAggregationQuery:stall");
    let running = Live::start(world.command(&["--spread", "1h"]));
    wait_until(|| world.calls(Service::Firestore, "RunAggregationQuery") > 0).await;
    running.signal("TERM");
    let run = running.end().await;
    assert_eq!(run.exit, Some(143), "{}", run.stdout);
    run.entry("Stopped multi-tenant sync: 0 successful, 0 errors");
}

#[tokio::test(flavor = "multi_thread")]
async fn named_users_are_not_kept_waiting() {
    let world = sandbox().await;
    let everybody = world.crowd(3).join(",");
    let run = world.pulse_with(&["--spread", "1h", "--user", &everybody]).await;
    run.assert_completed("3 successful, 0 errors", 0);
    assert_eq!(world.calls(Service::Firestore, "RunAggregationQuery"), 0);
}
