//! `--where`: Firestore leaves out the users who do not match, and so does the bill.

use super::reads;
use crate::live::Live;
use crate::on_both;
use crate::world::{Env, World, fields_of, sandbox, secret_of};
use alpaca_pulse::firestore::values::{boolean, double, integer, map, null, text};
use gcloud_sdk::google::firestore::v1::Value;
use pulse_sandbox::alpaca::Profile;
use pulse_sandbox::call::Service;
use serde_json::{Value as Json, json};

/// A user with this field.
async fn user_with(world: &World, id: &str, field: &str, value: Value) {
    world.put(&format!("users/{id}"), [(field, value)]).await;
    world.connect(id, Profile::active());
}

/// The users that a pass with these settings syncs, of those given.
async fn synced(world: &World, args: &[&str], env: Env<'_>, users: &[&str]) -> Vec<String> {
    for user in users {
        world.delete(&format!("users/{user}/alpacaAccounts/snapshot")).await;
    }
    let run = world.pulse_with_in(args, env).await;
    let mut synced = Vec::new();
    for user in users {
        if world.snapshot(user).await != Json::Null {
            synced.push((*user).to_owned());
        }
    }
    // Every world has synced somebody before: then nobody is no success.
    run.assert_completed(&format!("{} successful, 0 errors", synced.len()), i32::from(synced.is_empty()));
    synced
}

on_both! {
    async fn only_users_with_the_value_are_synced(world) {
        let users = ["bool", "double", "integer", "nested", "nothing", "null", "quoted", "text", "weird"];
        user_with(&world, "bool", "f", boolean(true)).await;
        user_with(&world, "double", "f", double(1.0)).await;
        user_with(&world, "integer", "f", integer(1)).await;
        user_with(&world, "nested", "m", map(fields_of([("f", text("pro"))]))).await;
        world.user("nothing").await;
        user_with(&world, "null", "f", null()).await;
        user_with(&world, "quoted", "f", text("true")).await;
        user_with(&world, "text", "f", text("a, b=c")).await;
        user_with(&world, "weird", "a-b.c", text("x")).await;
        let cases: [(&str, &[&str]); 10] = [
            ("f=true", &["bool"]),
            ("f=1", &["double", "integer"]),
            ("f=1.0", &["double", "integer"]),
            ("f=false", &[]),
            ("f=null", &["null"]),
            (r#"f="true""#, &["quoted"]),
            (r#"f="a, b=c""#, &["text"]),
            ("m.f=pro", &["nested"]),
            ("`a-b.c`=x", &["weird"]),
            ("nowhere=1", &[]),
        ];
        for (condition, expected) in cases {
            assert_eq!(synced(&world, &["--where", condition], &[], &users).await, expected, "{condition}");
        }
    }

    async fn all_conditions_must_hold(world) {
        let users = ["ana", "ben", "cy"];
        for (user, active, plan) in [("ana", true, "pro"), ("ben", true, "free"), ("cy", false, "pro")] {
            world.put(&format!("users/{user}"), [("active", boolean(active)), ("plan", text(plan))]).await;
            world.connect(user, Profile::active());
        }
        let cases: [(&[&str], Env<'_>, &[&str]); 6] = [
            (&["--where", "active=true", "--where", "plan=pro"], &[], &["ana"]),
            (&["--where=active=true,plan=pro"], &[], &["ana"]),
            (&[], &[("PULSE_WHERE", "active=true,plan=pro")], &["ana"]),
            (&["--where", "plan=pro"], &[("PULSE_WHERE", "active=true")], &["ana", "cy"]),
            (&[], &[("PULSE_WHERE", "")], &users),
            (&["--user", "cy"], &[("PULSE_WHERE", "active=true")], &["cy"]),
        ];
        for (args, env, expected) in cases {
            assert_eq!(synced(&world, args, env, &users).await, expected, "{args:?} {env:?}");
        }
    }

    async fn users_who_do_not_match_cost_no_read(world) {
        for number in 0..20 {
            let active = boolean(number % 5 == 0);
            user_with(&world, &format!("user-{number:02}"), "active", active).await;
        }
        let args = ["--where", "active=true", "--legacy-tenant-path=off"];
        world.pulse_with(&args).await.assert_completed("4 successful, 0 errors", 0);
        // Four users, nobody in trouble, three documents at the start, and whose the pulse is, at the end.
        assert_eq!(reads(&world).await, 4 + 1 + 4);
        world.pulse_with(&[&args[..], &["--spread=10ms"]].concat()).await.assert_completed("4 successful, 0 errors", 0);
        // And the ledger of the pass before.
        assert_eq!(reads(&world).await, 4 + 1 + 4 + 1 + 1, "and the count");
    }

    async fn the_trouble_of_others_is_passed_over_and_kept(world) {
        let users = ["ana", "ben", "cy", "dan", "eve"];
        for user in users {
            user_with(&world, user, "active", boolean(user == "ben" || user == "dan" || user == "eve")).await;
        }
        for user in ["ana", "ben", "cy", "dan"] {
            world.sandbox.secrets().delete(&secret_of(user));
        }
        world.pulse().await.assert_completed("1 successful, 4 errors", 0);
        let before = [world.trouble("ana").await, world.trouble("cy").await];
        let ben = world.trouble("ben").await;
        for user in ["ana", "dan"] {
            world.connect(user, Profile::active());
        }
        world.pulse_with(&["--where", "active=true"]).await.assert_completed("2 successful, 1 errors", 0);
        assert_eq!([world.trouble("ana").await, world.trouble("cy").await], before);
        assert_eq!(world.trouble("ben").await, ben, "known to be in trouble: not written again");
        assert_eq!(world.trouble("dan").await["state"], "ok");
        assert_eq!(world.trouble("eve").await, Json::Null);
    }

    async fn the_users_of_several_pages_are_filtered_alike(world) {
        let mut expected = 0;
        for number in 0..60 {
            let active = number % 3 == 0;
            expected += usize::from(active);
            world.put(&format!("users/user-{number:04}"), [("active", boolean(active)), ("sync_enabled", boolean(false))]).await;
        }
        let run = world.pulse_with(&["--where", "active=true"]).await;
        run.assert_completed(&format!("0 successful, 0 errors, {expected} skipped"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_matching_users_go_on_where_they_ended() {
    let world = sandbox().await;
    let fields = |number: usize| {
        fields_of([("active", boolean(number.is_multiple_of(2))), ("sync_enabled", boolean(false))])
    };
    world.put_all("(default)", (0..1400).map(|number| (format!("users/user-{number:04}"), fields(number))));
    let run = world.pulse_with(&["--where", "active=true"]).await;
    run.assert_completed("0 successful, 0 errors, 700 skipped", 0);
    let queries = world.user_queries();
    assert_eq!(queries.len(), 2, "pages of 500 and 200");
    assert!(queries.iter().all(|query| query.r#where.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_matching_users_count_as_not_reached() {
    let world = sandbox().await;
    for number in 0..9 {
        user_with(&world, &format!("user-{number}"), "active", boolean(number != 4)).await;
    }
    let args = ["--where", "active=true", "--secret-accesses-per-minute=3", "--deadline=10s"];
    let mut running = Live::start(world.command(&args));
    running.until("Successfully synced Alpaca account for user", 3).await;
    let run = running.end().await;
    assert_eq!(run.entry("Stopped multi-tenant sync")["not_reached"], json!(5), "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_is_none_touches_nothing() {
    let world = sandbox().await;
    world.crowd(1);
    let cases: [(&[&str], Env<'_>); 8] = [
        (&["--where", "active"], &[]),
        (&["--where", ""], &[]),
        (&["--where", "a="], &[]),
        (&["--where", "__name__=user-0001"], &[]),
        (&["--where", "a..b=1"], &[]),
        (&[], &[("PULSE_WHERE", "a=1,")]),
        (&["--where", "a=1", "--user", "user-0001"], &[]),
        (&["--where", "a=1"], &[("PULSE_USERS", "user-0001")]),
    ];
    for (args, env) in cases {
        let run = world.pulse_with_in(args, env).await;
        assert_eq!(run.exit, Some(2), "{args:?} {env:?}: {}", run.stdout);
        assert!(run.stdout.contains("--where") || run.stdout.contains("PULSE_WHERE"), "{}", run.stdout);
    }
    assert_eq!(world.calls(Service::Firestore, "RunQuery"), 0);
}
