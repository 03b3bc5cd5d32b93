//! What is recorded of a failure, and when.

use super::{record, says, status, stored};
use crate::on_both;
use crate::world::{World, secret_of, timestamp};
use alpaca_pulse::firestore::values::text;
use jiff::Timestamp;
use pulse_sandbox::alpaca::Profile;
use pulse_sandbox::secret_manager::VersionState;
use serde_json::json;

/// Users with every failure that can be had without touching Firestore, each with the `state`, `error`,
/// `rejections` and `key_version` that it leaves behind.
const FAILURES: [(&str, &str, &str, i64, Option<&str>); 11] = [
    ("missing", "retrying", "keys_missing", 0, None),
    ("forbidden", "retrying", "keys_forbidden", 0, None),
    ("disabled", "retrying", "keys_disabled", 0, None),
    ("malformed", "retrying", "keys_malformed", 0, Some("2")),
    ("unreadable", "retrying", "keys_unavailable", 0, None),
    ("no.secret", "retrying", "user_id_invalid", 0, None),
    ("rejected", "retrying", "broker_rejected", 1, Some("1")),
    ("onboarding", "incomplete", "account_incomplete", 0, Some("1")),
    ("limited", "retrying", "broker_rate_limited", 0, Some("1")),
    ("failing", "retrying", "broker_unavailable", 0, Some("1")),
    ("garbled", "retrying", "broker_bad_answer", 0, Some("1")),
];

async fn everybody_fails(world: &World) {
    for (user, ..) in FAILURES {
        world.user(user).await;
    }
    let secrets = world.sandbox.secrets();
    secrets.delete(&secret_of("missing"));
    secrets.forbid(&secret_of("forbidden"), true);
    assert!(secrets.set_state(&secret_of("disabled"), "latest", VersionState::Disabled));
    world.store_payload("malformed", "{}");
    world.fault("secret-manager:error=503,user=unreadable");
    world.account("rejected", Profile::Revoked);
    world.account("onboarding", Profile::onboarding());
    world.fault("alpaca:error=429,user=limited");
    world.fault("alpaca:error=503,user=failing");
    world.account("garbled", status(200));
}

on_both! {
    async fn every_failure_is_recorded_with_its_code(world) {
        everybody_fails(&world).await;
        world.user("fine").await;
        let before = Timestamp::now();
        let run = world.pulse().await;
        run.assert_completed("1 successful, 10 errors, 1 skipped", 0);
        for (user, state, code, rejections, version) in FAILURES {
            let (record, since, next) = record(&world, user).await;
            assert_eq!(record, says(state, Some(code), rejections, version), "{user}");
            assert!(before <= since && since <= Timestamp::now(), "{user}: {since}");
            assert_eq!(next, None, "{user} is tried again at every pulse");
            assert_eq!(run.error_of(user).as_deref(), Some(code));
            assert_eq!(world.snapshot(user).await, json!(null), "{user}");
        }
        assert_eq!(world.trouble("fine").await, json!(null), "who never had trouble has no record");
    }

    async fn a_failure_that_goes_on_is_not_written_again(world) {
        everybody_fails(&world).await;
        world.pulse().await.assert_completed("0 successful, 10 errors, 1 skipped", 1);
        let mut before = Vec::new();
        for (user, ..) in FAILURES {
            before.push((user, stored(&world, user).await));
        }
        world.pulse().await.assert_completed("0 successful, 10 errors, 1 skipped", 1);
        for (user, before) in before {
            let changes = user == "rejected"; // a second time, which makes a difference
            assert_eq!(stored(&world, user).await != before, changes, "{user}");
        }
    }

    async fn another_failure_is_written_and_the_state_still_dates_from_the_first(world) {
        world.user("ana").await;
        world.sandbox.secrets().delete(&secret_of("ana"));
        world.pulse().await.assert_completed("0 successful, 1 errors", 1);
        let (_, first, _) = record(&world, "ana").await;
        let written = timestamp(&world.trouble("ana").await["updated_at"]);

        world.connect("ana", status(200));
        world.pulse().await.assert_completed("0 successful, 1 errors", 1);
        let (now, since, _) = record(&world, "ana").await;
        assert_eq!(now, says("retrying", Some("broker_bad_answer"), 0, Some("1")));
        assert_eq!(since, first);
        assert!(timestamp(&world.trouble("ana").await["updated_at"]) > written);

        world.account("ana", Profile::onboarding());
        let run = world.pulse().await;
        run.assert_completed("0 successful, 0 errors, 1 skipped", 0);
        let (now, since, _) = record(&world, "ana").await;
        assert_eq!(now, says("incomplete", Some("account_incomplete"), 0, Some("1")));
        assert!(since > first, "another state");
        run.entry("Skipped Alpaca account for user ana: ");
    }

    async fn success_ends_the_trouble_and_then_nothing_more_is_written(world) {
        world.user("ana").await;
        world.account("ana", status(200));
        world.pulse().await.assert_completed("0 successful, 1 errors", 1);
        let (_, first, _) = record(&world, "ana").await;

        world.account("ana", Profile::active());
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        let (now, since, next) = record(&world, "ana").await;
        assert_eq!((now, next), (says("ok", None, 0, Some("1")), None));
        assert!(since > first);
        assert_eq!(world.trouble("ana").await["updated_at"], world.snapshot("ana").await["updated_at"]);

        let over = stored(&world, "ana").await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(stored(&world, "ana").await, over);
        world.account("ana", status(200));
        world.pulse().await.assert_completed("0 successful, 1 errors", 1);
        let (again, since_again, _) = record(&world, "ana").await;
        assert_eq!(again, says("retrying", Some("broker_bad_answer"), 0, Some("1")));
        assert!(since_again > since, "trouble that comes back is new trouble");
    }

    async fn records_that_belong_to_no_user_do_no_harm(world) {
        let strangers = ["alpacaAccounts/sync", "tenants/acme/alpacaAccounts/sync",
            "users/ana/alpacaAccounts/other", "users/zoe/sub/doc/alpacaAccounts/sync"];
        let ghost = "users/ghost/alpacaAccounts/sync";
        for path in strangers.into_iter().chain([ghost]) {
            world.put(path, [("state", text("needs_reauth")), ("key_version", text("1"))]).await;
        }
        world.user("ana").await;
        world.user("zoe").await;
        world.account("zoe", status(200));
        world.pulse().await.assert_completed("1 successful, 1 errors", 0);
        let zoe = stored(&world, "zoe").await.expect("a record");
        world.pulse().await.assert_completed("1 successful, 1 errors", 0);
        assert_eq!(stored(&world, "zoe").await, Some(zoe), "the record is found behind the strangers");
        for path in strangers {
            let left = json!({"state": "needs_reauth", "key_version": "1"});
            assert_eq!(world.document(path).await, left, "{path}");
        }
        assert_eq!(world.document(ghost).await, json!(null), "whose it was is deleted");
        assert_eq!(world.trouble("ana").await, json!(null));
    }

    async fn everybody_in_trouble_is_found_whatever_the_order_of_their_ids(world) {
        // As texts, users/a-b/… comes before users/a/….
        let users = ["a", "a-b", "a_b", "a0", "A", "-", "b"];
        for user in users {
            world.user(user).await;
            world.account(user, if user == "a0" { Profile::active() } else { status(200) });
        }
        world.pulse().await.assert_completed("1 successful, 6 errors", 0);
        let mut before = Vec::new();
        for user in users {
            before.push(stored(&world, user).await);
        }
        world.pulse().await.assert_completed("1 successful, 6 errors", 0);
        for (user, before) in users.into_iter().zip(before) {
            assert_eq!(stored(&world, user).await, before, "{user}");
        }
    }
}
