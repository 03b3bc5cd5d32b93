//! Section 5, `broker_other_account`: an answer is only taken for the keys that it was asked with.

use crate::answers::account;
use crate::live::Live;
use crate::on_both;
use crate::tcp_proxy::TcpProxy;
use crate::traffic::watched;
use crate::world::{Env, Run, World, sandbox};
use alpaca_pulse::firestore::values::{integer, null, text, timestamp};
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::Profile;
use pulse_sandbox::call::Service;
use serde_json::{Value as Json, json};

/// An open account of that id, which has so much equity.
fn named(id: &str, equity: &str) -> Profile {
    let body = account(equity).replace("1d9eed04-be39-4e01-9b84-a48ac5bbafcf", id);
    Profile::Fixed { status: http::StatusCode::OK, body: body.into() }
}

/// A user who is synced with the account `own`, and then gets `other`.
async fn swapped(world: &World, user: &str) {
    world.user(user).await;
    world.account(user, named("own", "1"));
    world.pulse_with(&["--user", user]).await.assert_completed("1 successful, 0 errors", 0);
    world.account(user, named("other", "666"));
}

/// Account and equity of both documents of a user.
async fn shown(world: &World, user: &str) -> Json {
    let (snapshot, primary) = (world.snapshot(user).await, world.primary(user).await);
    let shown = |document: Json| json!([document["external_account_id"], document["equity"]]);
    json!([shown(snapshot), shown(primary)])
}

fn own() -> Json {
    json!([["own", 1.0], ["own", 1.0]])
}

fn other() -> Json {
    json!([["other", 666.0], ["other", 666.0]])
}

#[track_caller]
fn assert_refused(run: &Run, user: &str) {
    assert_eq!(run.error_of(user).as_deref(), Some("broker_other_account"), "{}", run.stdout);
    let entry = run.entry(&format!("Failed to sync Alpaca account for user {user}: "));
    assert_eq!(entry["severity"], "ERROR");
    let message = entry["message"].as_str().expect("a text");
    assert!(message.contains("keys_updated_at") && !message.contains("666"), "{message}");
}

on_both! {
    async fn another_account_for_the_same_keys_is_refused_and_recorded(world) {
        swapped(&world, "ana").await;
        let before = [world.stored("users/ana/alpacaAccounts/snapshot").await, world.stored("tenants/ana/accounts/primary").await];
        for args in [&[][..], &["--dry-run"], &["--user", "ana"]] {
            let run = world.pulse_with(args).await;
            assert_refused(&run, "ana");
            assert_eq!(run.exit, Some(1), "{}", run.stdout);
        }
        let after = [world.stored("users/ana/alpacaAccounts/snapshot").await, world.stored("tenants/ana/accounts/primary").await];
        assert_eq!(before, after, "not even their times");
        let trouble = world.trouble("ana").await;
        assert_eq!((&trouble["state"], &trouble["error"]), (&json!("retrying"), &json!("broker_other_account")));
        assert_eq!(trouble["key_version"], "1");

        world.account("ana", named("own", "2"));
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(world.trouble("ana").await["state"], "ok");
        assert_eq!(shown(&world, "ana").await, json!([["own", 2.0], ["own", 2.0]]));
    }

    async fn the_account_that_comes_with_newer_keys_is_taken(world) {
        swapped(&world, "ana").await;
        world.connect("ana", named("other", "666"));
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(shown(&world, "ana").await, other());
        assert_eq!(world.snapshot("ana").await["key_version"], "2");
    }

    async fn a_newer_change_of_the_keys_lets_the_new_account_in(world) {
        swapped(&world, "ana").await;
        assert_refused(&world.pulse().await, "ana");
        world.patch("users/ana", [("keys_updated_at", timestamp(Timestamp::now()))]).await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(shown(&world, "ana").await, other());
        world.account("ana", named("third", "3"));
        assert_refused(&world.pulse().await, "ana");
    }

    async fn a_change_of_the_keys_that_is_old_or_to_come_or_no_time_at_all_lets_nothing_in(world) {
        swapped(&world, "ana").await;
        let hour = SignedDuration::from_hours(1);
        let (past, future) = (timestamp(Timestamp::now() - hour), timestamp(Timestamp::now() + hour));
        for value in [past, future, text("2027-01-01T00:00:00Z"), integer(i64::MAX), null()] {
            world.patch("users/ana", [("keys_updated_at", value.clone())]).await;
            assert_refused(&world.pulse().await, "ana");
            assert_eq!(shown(&world, "ana").await, own(), "{value:?}");
        }
    }

    async fn one_answer_of_anothers_costs_nothing_but_a_second_question(world) {
        world.user("ana").await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        let first = world.snapshot("ana").await;
        world.fault("alpaca:other-account,user=ana,times=1");
        let run = world.pulse().await;
        run.assert_completed("1 successful, 0 errors", 0);
        let told = run.entry("Alpaca's first answer for user ana was about another account");
        assert_eq!((&told["severity"], &told["error"]), (&json!("WARNING"), &json!("broker_other_account")));
        let second = world.snapshot("ana").await;
        assert_eq!(second["external_account_id"], first["external_account_id"]);
        assert_ne!(second["updated_at"], first["updated_at"]);
        assert_eq!(world.trouble("ana").await, json!(null));
        assert_eq!(world.faults_applied(), [1]);
    }

    async fn a_third_account_is_no_better_than_the_second(world) {
        swapped(&world, "ana").await;
        world.fault("alpaca:other-account,user=ana,times=1");
        assert_refused(&world.pulse().await, "ana");
        assert_eq!(shown(&world, "ana").await, own());
    }

    async fn a_snapshot_that_pins_nothing_refuses_nothing(world) {
        let placeholders = [
            [("external_account_id", text("old")), ("configured", text("no"))],
            [("key_version", text("1")), ("configured", text("no"))],
            [("external_account_id", text("")), ("key_version", text("1"))],
            [("external_account_id", integer(7)), ("key_version", text("1"))],
            [("external_account_id", text("old")), ("key_version", text("latest"))],
        ];
        for (number, placeholder) in placeholders.into_iter().enumerate() {
            let user = format!("user-{number}");
            world.user(&user).await;
            world.account(&user, named("other", "666"));
            world.put(&format!("users/{user}/alpacaAccounts/snapshot"), placeholder).await;
            let primary = [("user_id", text(user.clone())), ("external_account_id", text("old"))];
            world.put(&format!("tenants/{user}/accounts/primary"), primary).await;
        }
        world.user("new").await;
        world.pulse_with(&["--pin-accounts"]).await.assert_completed("6 successful, 0 errors", 0);
        assert_eq!(shown(&world, "user-0").await, other());
    }

    async fn without_a_tenants_document_accounts_are_pinned_on_request(world) {
        let off = ["--legacy-tenant-path", "off"];
        world.user("ana").await;
        world.account("ana", named("own", "1"));
        world.pulse_with(&off).await.assert_completed("1 successful, 0 errors", 0);
        world.account("ana", named("other", "2"));
        let flags: [(&[&str], Env<'_>); 3] = [
            (&["--pin-accounts"], &[]), (&["--pin-accounts=true"], &[("PULSE_PIN_ACCOUNTS", "0")]),
            (&[], &[("PULSE_PIN_ACCOUNTS", "1")]),
        ];
        for (args, env) in flags {
            assert_refused(&world.pulse_with_in(&[&off, args].concat(), env).await, "ana");
            assert_eq!(world.snapshot("ana").await["external_account_id"], "own");
        }
        let run = world.pulse_with_in(&[&off[..], &["--pin-accounts=false"]].concat(), &[("PULSE_PIN_ACCOUNTS", "1")]).await;
        run.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(world.snapshot("ana").await["external_account_id"], "other");
    }

    async fn a_loop_remembers_the_accounts_it_has_seen(world) {
        world.user("ana").await;
        world.account("ana", named("own", "1"));
        let mut running = Live::start(world.command(&["--legacy-tenant-path", "off", "--every", "1s", "--for", "30s"]));
        running.until("Completed multi-tenant sync: 1 successful", 2).await;
        world.account("ana", named("other", "666"));
        running.until("Failed to sync Alpaca account for user ana", 1).await;
        world.connect("ana", named("other", "666"));
        running.until("Successfully synced Alpaca account for user ana", 3).await;
        running.signal("TERM");
        let run = running.end().await;
        assert_eq!(run.error_of("ana").as_deref(), Some("broker_other_account"), "{}", run.stdout);
        let snapshot = world.snapshot("ana").await;
        assert_eq!((&snapshot["external_account_id"], &snapshot["key_version"]), (&json!("other"), &json!("2")));
    }

    async fn the_legacy_account_is_asked_for_twice_before_it_changes(world) {
        let env = [("APCA_API_KEY_ID", "PKTESTlegacy"), ("APCA_API_SECRET_KEY", "hush-legacy-0123456789")];
        world.account("legacy", named("own", "1"));
        world.pulse_in(&env).await.assert_completed("1 successful, 0 errors", 0);
        world.fault("alpaca:other-account,times=1");
        world.pulse_in(&env).await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(world.primary("local").await["external_account_id"], "own");
        world.account("legacy", named("new", "2"));
        world.pulse_in(&env).await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(world.primary("local").await["external_account_id"], "new");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_knows_the_accounts_of_those_whom_it_reads_by_name() {
    let world = sandbox().await;
    world.user("ana").await;
    let mut running = Live::start(world.command(&["--every", "1s", "--for", "1h", "--users-ttl", "1h"]));
    running.until("Completed multi-tenant sync: 1 successful", 1).await;
    swapped(&world, "ben").await;
    // A change of before the snapshot, so that it lets nothing in.
    let answered = world.snapshot("ben").await["updated_at_iso"].as_str().expect("a text").parse();
    let before = answered.map(|at: Timestamp| at - SignedDuration::from_secs(1)).expect("a time");
    world.patch("users/ben", [("keys_updated_at", timestamp(before))]).await;
    running.until("Syncing Alpaca account for user ben", 1).await;
    running.until("Completed multi-tenant sync: ", 1).await;
    running.signal("TERM");
    assert_refused(&running.end().await, "ben");
    assert_eq!(shown(&world, "ben").await, own());
}

/// The lookups of a pass that name a snapshot.
async fn snapshots_read(world: &World, args: &[&str]) -> usize {
    let (run, traffic) = watched(world, args).await;
    assert_eq!(run.exit, Some(0), "{}", run.stdout);
    let lookups = traffic.lookups().into_iter().flatten();
    lookups.filter(|path| path.ends_with("/alpacaAccounts/snapshot")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_whose_account_is_the_same_costs_a_read() {
    let world = sandbox().await;
    for user in ["ana", "ben"] {
        world.user(user).await;
    }
    for _ in 0..2 {
        assert_eq!(snapshots_read(&world, &[]).await, 0);
    }
    world.connect("ana", named("other", "1"));
    assert_eq!(snapshots_read(&world, &[]).await, 1, "a new account under new keys, once");
    assert_eq!(snapshots_read(&world, &[]).await, 0);
    assert_eq!(snapshots_read(&world, &["--pin-accounts"]).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_question_goes_over_a_connection_of_its_own() {
    let world = sandbox().await;
    let proxy = TcpProxy::start(world.sandbox.address().to_string()).await;
    let alpaca = format!("http://{}", proxy.host());
    let env = [("APCA_API_BASE_URL", alpaca.as_str())];
    for user in ["ana", "ben", "cleo"] {
        world.user(user).await;
    }
    // One after the other, they share a connection.
    let args = ["--concurrency", "1"];
    world.pulse_with_in(&args, &env).await.assert_completed("3 successful, 0 errors", 0);
    assert_eq!(proxy.tally().accepted, 1);
    world.fault("alpaca:other-account,user=ben,times=1");
    world.fault("alpaca:other-account,user=cleo,times=1");
    world.pulse_with_in(&args, &env).await.assert_completed("3 successful, 0 errors", 0);
    assert_eq!(proxy.tally().accepted, 1 + 1 + 2, "one for all first questions, and one for each second");
    assert_eq!(world.calls(Service::Alpaca, "GetAccount"), 3 + 3 + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_question_without_an_answer_leaves_the_first_unused() {
    let world = sandbox().await;
    for (user, fault, code) in [
        ("ana", "error=503", "broker_unavailable"),
        ("ben", "error=401,body={\"message\":\"unauthorized\"}", "broker_rejected"),
        ("cleo", "body=[]", "broker_bad_answer"),
    ] {
        world.user(user).await;
        world.pulse_with(&["--user", user]).await.assert_completed("1 successful, 0 errors", 0);
        let before = world.stored(&format!("users/{user}/alpacaAccounts/snapshot")).await;
        world.sandbox.faults().clear();
        world.fault(&format!("alpaca:other-account,user={user},times=1"));
        world.fault(&format!("alpaca:{fault},user={user},skip=1"));
        let run = world.pulse_with(&["--user", user]).await;
        assert_eq!(run.error_of(user).as_deref(), Some(code), "{}", run.stdout);
        assert_eq!(world.stored(&format!("users/{user}/alpacaAccounts/snapshot")).await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_cannot_be_read_leaves_a_suspect_answer_unused() {
    let world = sandbox().await;
    swapped(&world, "ana").await;
    // The first such reads are those of the pass and of its page of users.
    world.fault("firestore/BatchGetDocuments:error=PERMISSION_DENIED,skip=2");
    let run = world.pulse().await;
    assert_eq!(run.error_of("ana").as_deref(), Some("store_rejected"), "{}", run.stdout);
    world.sandbox.faults().clear();
    assert_eq!(shown(&world, "ana").await, own());
}
