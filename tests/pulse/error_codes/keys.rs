//! What can be wrong with a user's keys, or with getting them.

use super::{Calls, KEYS, SECRET, SYNC, faulty, row};
use crate::on_both;
use crate::traffic::Traffic;
use crate::world::secret_of;
use alpaca_pulse::sandbox::call::Service;
use alpaca_pulse::sandbox::secret_manager::VersionState;

on_both! {
    async fn keys_missing(world) {
        for user in ["no-secret", "no-version"] {
            world.user(user).await;
            world.sandbox.secrets().delete(&secret_of(user));
        }
        // Creates the secret, without a version.
        world.sandbox.secrets().forbid(&secret_of("no-version"), true);
        world.sandbox.secrets().forbid(&secret_of("no-version"), false);
        faulty(&world, &[("bare-404", "secret-manager/AccessSecretVersion:error=404")]).await;
        row("keys_missing", KEYS, SECRET, 1).fails(&world, &["no-secret", "no-version", "bare-404"]).await;
    }

    async fn keys_forbidden(world) {
        world.user("denied").await;
        world.sandbox.secrets().forbid(&secret_of("denied"), true);
        faulty(&world, &[("bare-403", "secret-manager/AccessSecretVersion:error=403")]).await;
        row("keys_forbidden", KEYS, SECRET, 1).fails(&world, &["denied", "bare-403"]).await;
    }

    async fn keys_disabled(world) {
        for (user, state) in [("disabled", VersionState::Disabled), ("destroyed", VersionState::Destroyed)] {
            world.user(user).await;
            assert!(world.sandbox.secrets().set_state(&secret_of(user), "latest", state));
        }
        row("keys_disabled", KEYS, SECRET, 1).fails(&world, &["disabled", "destroyed"]).await;
        assert_eq!(world.account_calls("disabled"), 0, "an older version is not used instead");
    }

    async fn keys_malformed(world) {
        let payloads = [
            ("not-json", "key_id=PK1"),
            ("nothing", ""),
            ("no-key-id", r#"{"secret_key": "hush"}"#),
            ("no-secret-key", r#"{"key_id": "PK1"}"#),
            ("empty-key-id", r#"{"key_id": "", "secret_key": "hush"}"#),
            ("empty-secret-key", r#"{"key_id": "PK1", "secret_key": ""}"#),
            ("newline", r#"{"key_id": "PK1", "secret_key": "hush\n"}"#),
            ("not-ascii", r#"{"key_id": "PKé", "secret_key": "hush"}"#),
            ("other-world", r#"{"key_id": "PK1", "secret_key": "hush", "environment": "prod"}"#),
        ];
        for (user, payload) in payloads {
            world.user(user).await;
            world.store_payload(user, payload);
        }
        row("keys_malformed", KEYS, SECRET, 1).fails(&world, &payloads.map(|(user, _)| user)).await;
        assert_eq!(world.trouble("newline").await["key_version"], "2", "which version is malformed");
    }

    async fn keys_unavailable(world) {
        let users = faulty(&world, &[
            ("overloaded", "secret-manager:error=503"),
            ("limited", r#"secret-manager:error=429,body={"error": {"code": 429\, "status": "RESOURCE_EXHAUSTED"}}"#),
            ("broken", "secret-manager:error=500"),
            ("cut-before", "secret-manager:drop-before"),
            ("cut-after", "secret-manager:drop-after"),
            ("damaged", "secret-manager:wrong-checksum"),
            ("hollow", "secret-manager:body={}"),
            ("no-payload", r#"secret-manager:body={"name": "projects/1/secrets/s/versions/1"}"#),
            ("cut-short", "secret-manager:truncate"),
            ("half-an-answer", r#"secret-manager:body={"name": "projects/1/secrets/s/versions/1"\, "payl"#),
            ("html", "secret-manager:body=<html>Sign in to this network</html>"),
            ("timeout", "secret-manager:error=408"),
            ("bad-gateway", "secret-manager:error=502,body=<html>Bad Gateway</html>"),
            ("gateway-timeout", "secret-manager:error=504"),
            ("no-token", "secret-manager:error=401"),
            ("aborted", r#"secret-manager:error=409,body={"error": {"code": 409\, "status": "ABORTED"}}"#),
            ("cancelled", r#"secret-manager:error=499,body={"error": {"code": 499\, "status": "CANCELLED"}}"#),
        ]).await;
        row("keys_unavailable", KEYS, SECRET, 3).fails(&world, &users).await;
        assert!(users.iter().all(|user| world.account_calls(user) == 0));
    }

    async fn keys_unavailable_for_longer_than_the_budget_is_not_waited_for(world) {
        let users = faulty(&world, &[("later", "secret-manager:error=503,header=Retry-After: 3600")]).await;
        row("keys_unavailable", KEYS, SECRET, 1).fails(&world, &users).await;
    }

    async fn a_secret_in_five_megabytes_of_blanks_is_read_all_the_same(world) {
        faulty(&world, &[("vast", "secret-manager:padding=5000000")]).await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    }

    async fn user_id_invalid(world) {
        let long = "u".repeat(244);
        let users = ["ana@example.com", "a.b", "Zoë", "☕", "with space", "a:access", &long];
        for user in users {
            world.put(&format!("users/{user}"), []).await;
        }
        let accesses: Calls = |world, _| Traffic::of(world).count(Service::SecretManager, "AccessSecretVersion");
        // The one is zoe's.
        row("user_id_invalid", SYNC, accesses, 1).fails(&world, &users).await;
        assert_eq!(world.calls(Service::SecretManager, "Unknown"), 0, "no odd id reaches a path");
    }

    async fn the_longest_id_that_names_a_secret_is_synced(world) {
        let longest = "u".repeat(243);
        world.user(&longest).await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    }
}
