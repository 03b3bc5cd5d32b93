//! Section 2: `ops/last_pulse`, which dashboards subscribe to.

use crate::on_both;
use crate::traffic::watched;
use crate::world::{World, off, sandbox, secret_of, timestamp};
use alpaca_pulse::firestore::values::{text, timestamp as time};
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::Profile;
use pulse_sandbox::call::Service;
use serde_json::{Value as Json, json};

/// One user for each way a sync ends.
async fn one_of_each(world: &World) {
    for user in ["ana", "ben", "keyless", "rejected"] {
        world.user(user).await;
    }
    world.sandbox.secrets().delete(&secret_of("keyless"));
    world.account("rejected", Profile::Revoked);
    let in_an_hour = time(Timestamp::now() + SignedDuration::from_hours(1));
    let rejected =
        [("state", text("needs_reauth")), ("key_version", text("1")), ("next_attempt_at", in_an_hour)];
    world.put("users/rejected/alpacaAccounts/sync", rejected).await;
    world.put("users/off", [("sync_enabled", off())]).await;
    world.user("new").await;
    world.account("new", Profile::onboarding());
}

async fn last_pulse(world: &World) -> Json {
    world.document("ops/last_pulse").await
}

/// The counts of `ops/last_pulse`, and its status: users, success, error, skipped, needs_reauth.
async fn counted(world: &World) -> (Json, [i64; 5]) {
    let document = last_pulse(world).await;
    let [users, success, error, skipped, needs_reauth] =
        ["users", "success", "error", "skipped", "needs_reauth"].map(|name| {
            let count = &document[format!("{name}_count")]["integer"];
            count.as_i64().expect("a whole number")
        });
    assert_eq!(users, success + error + skipped);
    (document["status"].clone(), [users, success, error, skipped, needs_reauth])
}

on_both! {
    async fn the_document_has_exactly_the_promised_fields(world) {
        one_of_each(&world).await;
        let before = Timestamp::now();
        let run = world.pulse_in(&[("CLOUD_RUN_EXECUTION", "pulse-x7k2p")]).await;
        run.assert_completed("2 successful, 1 errors, 3 skipped", 0);
        let after = Timestamp::now();

        let mut document = last_pulse(&world).await;
        let fields = document.as_object_mut().expect("a document");
        let started = timestamp(&fields.remove("started_at").expect("a point in time"));
        let written = fields.remove("timestamp").expect("the server's time");
        assert_eq!(fields.remove("last_synced_at"), Some(written.clone()));
        let written = timestamp(&written);
        assert!(before <= started && started <= after, "{started}");
        assert!((written - started).total(jiff::Unit::Second).expect("a span").abs() < 60.0);
        let took = fields.remove("duration_ms").expect("a field")["integer"].as_i64().expect("a number");
        let longest = (after.as_millisecond() - before.as_millisecond()) + 1;
        assert!((1..=longest).contains(&took), "{took} ms");
        for used in ["firestore_reads", "firestore_writes", "secret_accesses", "alpaca_calls"] {
            assert!(fields.remove(used).expect("a number")["integer"].is_i64(), "{used}");
        }
        assert_eq!(document, json!({
            "users_count": {"integer": 6}, "success_count": {"integer": 2}, "error_count": {"integer": 1},
            "skipped_count": {"integer": 3}, "needs_reauth_count": {"integer": 1}, "stale_count": {"integer": 0},
            "unreached_count": {"integer": 0}, "status": "degraded", "errors": {"keys_missing": {"integer": 1}},
            "execution": "pulse-x7k2p", "version": env!("PULSE_VERSION"),
        }));
    }

    async fn it_names_nobody_and_no_error(world) {
        one_of_each(&world).await;
        world.pulse().await.assert_completed("2 successful, 1 errors, 3 skipped", 0);
        let document = last_pulse(&world).await.to_string();
        let private = ["ana", "ben", "keyless", "\"rejected", "\"off", "\"new", "alpaca-keys", "latest", "Alpaca"];
        for private in private {
            assert!(!document.contains(private), "{private} in {document}");
        }
    }

    async fn the_errors_are_those_of_the_pass_by_their_codes(world) {
        for user in ["ana", "ben", "cy", "dan"] {
            world.user(user).await;
        }
        for user in ["ana", "ben"] {
            world.sandbox.secrets().delete(&secret_of(user));
        }
        world.account("cy", Profile::Revoked);
        world.pulse().await.assert_completed("1 successful, 3 errors", 0);
        let errors = last_pulse(&world).await["errors"].clone();
        assert_eq!(errors, json!({"keys_missing": {"integer": 2}, "broker_rejected": {"integer": 1}}));
        world.connect("ana", Profile::active());
        world.connect("ben", Profile::active());
        world.store_payload("cy", "no keys");
        world.pulse().await.assert_completed("3 successful, 1 errors", 0);
        assert_eq!(last_pulse(&world).await["errors"], json!({"keys_malformed": {"integer": 1}}), "nothing of before");
        world.connect("cy", Profile::active());
        world.pulse().await.assert_completed("4 successful, 0 errors", 0);
        assert_eq!(last_pulse(&world).await["errors"], json!({}));
    }

    async fn the_status_says_what_the_pass_was_worth(world) {
        world.pulse().await.assert_completed("0 successful, 0 errors", 0);
        assert_eq!(counted(&world).await, (json!("ok"), [0, 0, 0, 0, 0]));

        world.put("users/off", [("sync_enabled", off())]).await;
        world.pulse().await.assert_completed("0 successful, 0 errors, 1 skipped", 0);
        assert_eq!(counted(&world).await, (json!("ok"), [1, 0, 0, 1, 0]));

        world.put("users/keyless", []).await;
        world.pulse().await.assert_completed("0 successful, 1 errors, 1 skipped", 1);
        assert_eq!(counted(&world).await, (json!("failed"), [2, 0, 1, 1, 0]));

        world.user("ana").await;
        world.pulse().await.assert_completed("1 successful, 1 errors, 1 skipped", 0);
        assert_eq!(counted(&world).await, (json!("degraded"), [3, 1, 1, 1, 0]));

        world.connect("keyless", Profile::active());
        world.pulse().await.assert_completed("2 successful, 0 errors, 1 skipped", 0);
        assert_eq!(counted(&world).await, (json!("ok"), [3, 2, 0, 1, 0]));
    }

    async fn outside_cloud_run_every_pass_is_an_execution_of_its_own(world) {
        world.pulse().await.assert_completed("0 successful, 0 errors", 0);
        let first = last_pulse(&world).await["execution"].clone();
        world.pulse().await.assert_completed("0 successful, 0 errors", 0);
        let second = last_pulse(&world).await["execution"].clone();
        assert!(first.is_string() && second.is_string() && first != second, "{first} {second}");
    }

    async fn a_run_for_named_users_and_a_dry_run_leave_it_alone(world) {
        world.user("ana").await;
        let runs: [&[&str]; 3] = [&["--user", "ana"], &["--dry-run"], &["--dry-run", "--user", "ana"]];
        for args in runs {
            world.pulse_with(args).await.assert_completed("1 successful, 0 errors", 0);
            assert_eq!(last_pulse(&world).await, json!(null), "{args:?}");
        }
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        let written = world.stored("ops/last_pulse").await;
        for args in runs {
            world.pulse_with(args).await.assert_completed("1 successful, 0 errors", 0);
            assert_eq!(world.stored("ops/last_pulse").await, written, "{args:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_that_could_not_read_the_users_says_so() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    world.fault("firestore/RunQuery:error=PERMISSION_DENIED");
    let run = world.pulse().await;
    assert_eq!(run.exit, Some(1), "{}", run.stdout);
    assert_eq!(counted(&world).await, (json!("failed"), [0, 0, 0, 0, 0]));
}

/// What `ops/last_pulse` says that the pass used: reads, writes, secrets, calls to Alpaca.
async fn used(world: &World) -> [u64; 4] {
    let document = last_pulse(world).await;
    let names = ["firestore_reads", "firestore_writes", "secret_accesses", "alpaca_calls"];
    names.map(|name| document[name]["integer"].as_u64().expect("a whole number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pass_used_is_what_the_services_saw_retries_included() {
    let world = sandbox().await;
    for user in ["ana", "ben", "cleo"] {
        world.user(user).await;
    }
    world.fault("firestore/Commit:error=UNAVAILABLE,user=ana,times=1");
    world.fault("secret-manager:error=503,user=ben,times=2");
    world.fault("alpaca:error=503,user=cleo,times=1");
    world.fault("firestore/BatchGetDocuments:error=UNAVAILABLE,times=1");
    // Each answer ends after two users: the third comes with the next one.
    world.fault("firestore/RunQuery:break-after=2");
    let (run, traffic) = watched(&world, &[]).await;
    run.assert_completed("3 successful, 0 errors", 0);

    let seen = |service, method| traffic.count(service, method) as u64;
    let (secrets, alpaca) =
        (seen(Service::SecretManager, "AccessSecretVersion"), seen(Service::Alpaca, "GetAccount"));
    assert_eq!((secrets, alpaca), (5, 4));
    let sent: usize = traffic.commits().iter().map(|commit| commit.writes.len()).sum();
    let refused = 2; // ana's snapshot and tenant document, once
    let of_the_pass = 2 + 3; // the ledger and the current pulse; both again, and the last pulse
    let reads = 3 // users
        + 1 // nobody is in trouble: an empty answer
        + 3 // the tenants' documents, which do not exist yet
        + 2 * 3 // whether the tenants are anybody else's: no document, and an empty answer about members
        + 3 // the last pulse, the current one and its ledger, of which there are none
        + 1; // the current one again, at the end
    assert_eq!(used(&world).await, [reads, (sent - refused) as u64, secrets, alpaca]);
    assert_eq!(sent, 2 * 3 + of_the_pass + refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_counts_the_members_of_trouble_and_tenants_that_it_read_and_the_records_it_wrote() {
    let world = sandbox().await;
    world.user("ana").await;
    world.user("keyless").await;
    world.sandbox.secrets().delete(&secret_of("keyless"));
    world.user_of_tenant("ben", text("acme")).await;
    world.membership("acme", "ben").await;
    world.pulse().await.assert_completed("2 successful, 1 errors", 0);
    // Users; no trouble yet; ana's, keyless's and acme's documents and ben's membership; the last pulse, the
    // current one and its ledger; the current one again.
    let reads = 3 + 1 + (3 + 1) + 3 + 1;
    // Only once: whose the tenants of ana (its document and members) and ben are, who has a new one each.
    let once = 2 + 1;
    // Two snapshots with tenant documents, one record of trouble; two at the start and three at the end.
    // And once, as trouble begins, when keyless last succeeded.
    assert_eq!(used(&world).await, [reads + once + 1, 2 * 2 + 1 + 5, 3, 2]);
    world.pulse().await.assert_completed("2 successful, 1 errors", 0);
    // The ledger of the pulse before has to be looked at, too.
    assert_eq!(used(&world).await, [reads + 1, 2 * 2 + 5, 3, 2]);
}
