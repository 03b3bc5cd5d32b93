//! Keys that Alpaca rejects: when the user has to reconnect, and who is asked about meanwhile.

use super::{HOUR, MINUTE, needs_reauth, nobody_looks_at, record, says, status, stored};
use crate::on_both;
use crate::world::World;
use alpaca_pulse::firestore::values::timestamp as time;
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::Profile;
use pulse_sandbox::call::Service;
use serde_json::json;

/// The next attempt is due.
async fn due(world: &World, user: &str) {
    let past = [("next_attempt_at", time(Timestamp::now() - MINUTE))];
    world.patch(&format!("users/{user}/alpacaAccounts/sync"), past).await;
}

/// The last pulse started that long ago: after ten minutes everybody's secret is looked at.
async fn last_pulse_was(world: &World, ago: SignedDuration) {
    world.put("ops/last_pulse", [("started_at", time(Timestamp::now() - ago))]).await;
}

/// Secrets accessed and accounts asked for so far.
fn asked(world: &World) -> (u64, u64) {
    (world.calls(Service::SecretManager, "AccessSecretVersion"), world.calls(Service::Alpaca, "GetAccount"))
}

const ONE_SKIPPED: &str = "0 successful, 0 errors, 1 skipped";

on_both! {
    async fn after_the_second_rejection_in_a_row_the_user_has_to_reconnect(world) {
        let user = nobody_looks_at();
        world.user(&user).await;
        world.account(&user, Profile::Revoked);
        world.pulse().await.assert_completed("0 successful, 1 errors", 1);
        let (first, _, next) = record(&world, &user).await;
        assert_eq!((first, next), (says("retrying", Some("broker_rejected"), 1, Some("1")), None));

        let before = Timestamp::now();
        world.pulse().await.assert_completed("0 successful, 1 errors", 1);
        let (second, since, next) = record(&world, &user).await;
        assert_eq!(second, says("needs_reauth", Some("broker_rejected"), 2, Some("1")));
        let rest = SignedDuration::from_mins(15);
        let next = next.expect("the keys rest");
        assert!(before + rest <= next && next <= Timestamp::now() + rest, "{next}");
        assert!(before <= since, "another state");
        assert_eq!(asked(&world), (2, 2));

        let left = stored(&world, &user).await;
        let run = world.pulse().await;
        run.assert_completed(ONE_SKIPPED, 0);
        run.entry(&format!("Skipped Alpaca account for user {user}: "));
        assert_eq!(asked(&world), (2, 2), "neither the secret nor Alpaca is asked");
        assert_eq!(stored(&world, &user).await, left);
        assert_eq!(world.document("ops/last_pulse").await["needs_reauth_count"], json!({"integer": 1}));
    }

    async fn the_secret_is_looked_at_once_in_five_minutes_and_alpaca_not_asked(world) {
        let user = nobody_looks_at();
        needs_reauth(&world, &user, HOUR).await;
        let left = stored(&world, &user).await;
        last_pulse_was(&world, SignedDuration::from_mins(10)).await;
        for _ in 0..3 {
            let run = world.pulse().await;
            run.assert_completed(ONE_SKIPPED, 0);
            run.entry(&format!("Skipped Alpaca account for user {user}: "));
            assert_eq!(asked(&world), (1, 0));
        }
        assert_eq!(stored(&world, &user).await, left);
    }

    async fn rejected_keys_that_are_due_are_asked_about_again_and_rest_longer_each_time(world) {
        let user = nobody_looks_at();
        needs_reauth(&world, &user, HOUR).await;
        let (_, since, _) = record(&world, &user).await;
        for (n, (rejections, hours)) in [(3, 1), (4, 6), (5, 24), (6, 24)].into_iter().enumerate() {
            due(&world, &user).await;
            let before = Timestamp::now();
            world.pulse().await.assert_completed(ONE_SKIPPED, 0);
            let (now, still_since, next) = record(&world, &user).await;
            assert_eq!(now, says("needs_reauth", Some("broker_rejected"), rejections, Some("1")));
            let (next, rest) = (next.expect("they rest"), HOUR * hours);
            assert!(before + rest <= next && next <= Timestamp::now() + rest, "{rejections}: {next}");
            assert_eq!((still_since, asked(&world).1), (since, n as u64 + 1));
        }
    }

    async fn a_newer_key_version_is_found_at_the_next_look(world) {
        let user = nobody_looks_at();
        needs_reauth(&world, &user, HOUR).await;
        let left = stored(&world, &user).await;
        world.connect(&user, Profile::active());
        last_pulse_was(&world, SignedDuration::ZERO).await;
        world.pulse().await.assert_completed(ONE_SKIPPED, 0);
        assert_eq!((asked(&world), stored(&world, &user).await), ((0, 0), left), "no look was due");

        last_pulse_was(&world, SignedDuration::from_mins(10)).await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        let (now, _, next) = record(&world, &user).await;
        assert_eq!((now, next), (says("ok", None, 0, Some("2")), None));
        assert_eq!(world.snapshot(&user).await["key_version"], "2");
    }

    async fn who_names_the_user_need_not_wait_for_the_look(world) {
        let user = nobody_looks_at();
        needs_reauth(&world, &user, HOUR).await;
        world.connect(&user, Profile::active());
        last_pulse_was(&world, SignedDuration::ZERO).await;
        world.pulse_with(&["--user", &user]).await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(record(&world, &user).await.0, says("ok", None, 0, Some("2")));
    }

    async fn the_same_keys_end_it_too_once_alpaca_takes_them(world) {
        let user = nobody_looks_at();
        needs_reauth(&world, &user, HOUR).await;
        world.account(&user, Profile::active());
        due(&world, &user).await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        let (now, _, next) = record(&world, &user).await;
        assert_eq!((now, next), (says("ok", None, 0, Some("1")), None));
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    }

    async fn a_newer_version_that_is_rejected_starts_over(world) {
        let user = nobody_looks_at();
        needs_reauth(&world, &user, HOUR).await;
        world.connect(&user, Profile::Revoked);
        last_pulse_was(&world, SignedDuration::from_mins(10)).await;
        for (state, rejections) in [("retrying", 1), ("needs_reauth", 2)] {
            world.pulse().await.assert_completed("0 successful, 1 errors", 1);
            let (now, _, next) = record(&world, &user).await;
            assert_eq!(now, says(state, Some("broker_rejected"), rejections, Some("2")));
            assert_eq!(next.is_some(), rejections == 2);
        }
    }

    async fn another_failure_between_two_rejections_breaks_the_row(world) {
        world.user("ana").await;
        for (answer, error, rejections) in [
            (Profile::Revoked, "broker_rejected", 1), (status(200), "broker_bad_answer", 0),
            (Profile::Revoked, "broker_rejected", 1), (status(503), "broker_unavailable", 0),
            (Profile::Revoked, "broker_rejected", 1),
        ] {
            world.account("ana", answer);
            world.pulse().await.assert_completed("0 successful, 1 errors", 1);
            let (now, _, next) = record(&world, "ana").await;
            assert_eq!((now, next), (says("retrying", Some(error), rejections, Some("1")), None));
        }
    }

    async fn a_success_between_two_rejections_breaks_the_row(world) {
        world.user("ana").await;
        for answer in [Profile::Revoked, Profile::active(), Profile::Revoked] {
            world.account("ana", answer);
            world.pulse().await;
        }
        assert_eq!(record(&world, "ana").await.0, says("retrying", Some("broker_rejected"), 1, Some("1")));
    }

    async fn what_is_no_answer_proves_nothing_about_rejected_keys(world) {
        let user = nobody_looks_at();
        needs_reauth(&world, &user, HOUR).await;
        due(&world, &user).await;
        let left = stored(&world, &user).await;
        for (code, error) in [(503, "broker_unavailable"), (429, "broker_rate_limited"), (200, "broker_bad_answer")] {
            world.account(&user, status(code));
            let run = world.pulse().await;
            run.assert_completed(ONE_SKIPPED, 0);
            assert_eq!(run.error_of(&user).as_deref(), Some(error));
            assert_eq!(stored(&world, &user).await, left, "after {code}");
        }
        world.fault(&format!("secret-manager:error=503,user={user}"));
        let run = world.pulse().await;
        assert_eq!(run.error_of(&user).as_deref(), Some("keys_unavailable"));
        assert_eq!(stored(&world, &user).await, left);
    }
}
