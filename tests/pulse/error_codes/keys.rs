//! What can be wrong with a user's keys, or with getting them.

use super::{Calls, KEYS, SECOND_LAP, SECRET, SYNC, faulty, row};
use crate::on_both;
use crate::traffic::Traffic;
use crate::world::{keys_of, secret_of};
use pulse_sandbox::alpaca::{Keys, Profile};
use pulse_sandbox::call::Service;
use pulse_sandbox::secret_manager::VersionState;
use serde_json::json;

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

    async fn each_malformed_payload_is_told_with_what_to_do(world) {
        let pair = r#"{"key_id": "PK1", "secret_key": "hush"}"#;
        let with = |more: &str| pair.replace('}', &format!(", {more}}}")).into_bytes();
        let payloads = [
            ("utf-16", pair.encode_utf16().flat_map(u16::to_le_bytes).collect(), "UTF-16"),
            ("latin-1", b"{\"key_id\": \"PK\xe9\"}".to_vec(), "not UTF-8"),
            ("quoted", format!("\"{pair}\"").into_bytes(), "quotes around"),
            ("shell-quoted", format!("'{pair}'").into_bytes(), "quotes around"),
            ("json-in-text", json!(pair).to_string().into_bytes(), "JSON text that holds JSON"),
            ("single", pair.replace('"', "'").into_bytes(), "single quotes"),
            ("typographic", pair.replace('"', "\u{201d}").into_bytes(), "typographic quotes"),
            ("array", br#"["PK1", "hush", null, null, null]"#.to_vec(), "array"),
            ("array-of-one", format!("[{pair}]").into_bytes(), "array"),
            ("comma", pair.replace('}', ",}").into_bytes(), "comma"),
            ("number", pair.replace("\"hush\"", "17").into_bytes(), "secret_key is no text"),
            ("twice", with(r#""key_id": "PK2""#), "twice"),
            ("blank", pair.replace("PK1", " PK1").into_bytes(), "key_id begins or ends with a blank"),
            ("line-break", pair.replace("hush", "hush\\n").into_bytes(), "secret_key begins or ends with a blank"),
            ("host", with(r#""base_url": "https://paper-api.alpaca.markets.evil.com""#), "base_url is neither"),
            ("userinfo", with(r#""base_url": "https://paper-api.alpaca.markets@evil.com/v2""#), "base_url is neither"),
            (
                "contradiction",
                with(r#""base_url": "https://paper-api.alpaca.markets", "environment": "live""#),
                "contradict",
            ),
            ("token", br#"{"oauth_token": "hush"}"#.to_vec(), "no environment"),
            ("token-break", br#"{"oauth_token": "hush\nx", "environment": "paper"}"#.to_vec(), "oauth_token has a character"),
            ("token-and-keys", with(r#""oauth_token": "hush""#), "both an oauth_token and a key pair"),
        ];
        for (user, payload, _) in &payloads {
            world.user(user).await;
            world.sandbox.secrets().add_version(&secret_of(user), payload.clone());
        }
        let users = payloads.each_ref().map(|(user, ..)| *user);
        let run = row("keys_malformed", KEYS, SECRET, 1).fails(&world, &users).await;
        for (user, _, told) in payloads {
            let message = run.entry(&format!("{KEYS} {user}: "))["message"].to_string();
            assert!(message.contains(told) && !message.contains("hush"), "{user}: {message}");
        }
    }

    async fn a_byte_order_mark_and_blanks_around_the_payload_are_ignored(world) {
        for (user, before, after) in [("mark", "\u{feff}", ""), ("blanks", " \r\n", "\n\n"), ("both", "\u{feff}\n", "\t")] {
            world.user(user).await;
            let (key_id, secret_key) = keys_of(user);
            let payload = json!({"key_id": key_id, "secret_key": secret_key}).to_string();
            world.store_payload(user, &format!("{before}{payload}{after}"));
        }
        world.pulse().await.assert_completed("3 successful, 0 errors", 0);
    }

    async fn the_base_url_says_which_of_alpacas_worlds_the_keys_are_of(world) {
        for (user, base_url) in [("live", "https://api.alpaca.markets/"), ("paper", "https://paper-api.alpaca.markets/v2")] {
            world.user(user).await;
            // The sandbox's Alpaca knows keys of both worlds; those of the one look like those of the other.
            let keys = Keys { key_id: if user == "live" { "PK2" } else { "AK1" }.into(), secret_key: "hush".into() };
            let payload = json!({"key_id": keys.key_id, "secret_key": keys.secret_key, "base_url": base_url});
            world.sandbox.alpaca().register(user, keys, Profile::active());
            world.store_payload(user, &payload.to_string());
        }
        world.pulse().await.assert_completed("2 successful, 0 errors", 0);
        for user in ["live", "paper"] {
            assert_eq!(world.snapshot(user).await["environment"], user);
        }
    }

    async fn an_answer_about_another_secret_gives_no_keys(world) {
        world.user("ben").await;
        let other = |name: &str| format!(r#"secret-manager:body={{"name": "{name}"\, "payload": {{"data": "e30="}}}}"#);
        let users = faulty(&world, &[
            ("bens", "secret-manager:other-secret=alpaca-keys-ben"),
            ("longer", &other("projects/1/secrets/alpaca-keys-longer2/versions/1")),
            ("nested", &other("projects/1/secrets/alpaca-keys-ben/secrets/alpaca-keys-nested/versions/1")),
            ("other-project", &other("projects/evil/secrets/alpaca-keys-other-project/versions/1")),
            ("no-number", &other("projects/1/secrets/alpaca-keys-no-number/versions/latest")),
            ("no-name", r#"secret-manager:body={"payload": {"data": "e30="}}"#),
        ]).await;
        world.delete("users/ben").await;
        row("keys_unavailable", KEYS, SECRET, 3 + SECOND_LAP).fails(&world, &users).await;
        assert_eq!(world.account_calls("ben"), 0, "ben's keys are used for nobody");
    }

    async fn keys_that_would_be_refused_again_are_not_asked_for_again(world) {
        let users = faulty(&world, &[
            ("bad-request", r#"secret-manager:error=400,body={"error": {"code": 400\, "status": "INVALID_ARGUMENT"}}"#),
            ("bare-400", "secret-manager:error=400"),
            ("too-large", "secret-manager:error=413,body=<html>Request Entity Too Large</html>"),
            ("kms", r#"secret-manager:error=400,body={"error": {"code": 400\, "status": "FAILED_PRECONDITION"\, "message": "cryptoKeyVersions/1 is not enabled\, current state is: DESTROYED."}}"#),
        ]).await;
        let run = row("keys_unavailable", KEYS, SECRET, 1).fails(&world, &users).await;
        let told = run.entry(&format!("{KEYS} kms: "))["message"].to_string();
        assert!(told.contains("FAILED_PRECONDITION") && !told.contains("disabled"), "{told}");
    }

    async fn a_denial_is_explained_only_as_far_as_google_explains_it(world) {
        let users = faulty(&world, &[
            ("off", "secret-manager:error=403,reason=SERVICE_DISABLED"),
            ("perimeter", "secret-manager:error=403,reason=SECURITY_POLICY_VIOLATED"),
            ("quota-project", "secret-manager:error=403,reason=USER_PROJECT_DENIED"),
            ("unpaid", "secret-manager:error=403,reason=BILLING_DISABLED"),
            ("unheard-of", "secret-manager:error=403,reason=SOMETHING_NEW"),
            ("no-word", "secret-manager:error=403,reason=hush\\\\n"),
            ("no-reason", r#"secret-manager:error=403,body={"error": {"code": 403\, "status": "PERMISSION_DENIED"\, "message": "hush"}}"#),
            ("proxys-page", "secret-manager:error=403,header=Content-Type: text/html,body=<html>hush</html>"),
            ("role", "secret-manager:error=403,reason=IAM_PERMISSION_DENIED"),
        ]).await;
        let run = row("keys_forbidden", KEYS, SECRET, 1).fails(&world, &users).await;
        for (user, told) in users.into_iter().zip([
            "SERVICE_DISABLED: enable the API",
            "SECURITY_POLICY_VIOLATED: let the job into the VPC",
            "USER_PROJECT_DENIED: check the quota project",
            "BILLING_DISABLED: enable billing",
            "SOMETHING_NEW",
            "gives no reason",
            "gives no reason",
            "without Google's own error",
            "grant roles/secretmanager.secretAccessor",
        ]) {
            let message = run.entry(&format!("{KEYS} {user}: "))["message"].to_string();
            assert!(message.contains(told) && !message.contains("hush"), "{user}: {message}");
            assert_eq!(message.contains("grant"), user == "role", "{user}: {message}");
        }
    }

    async fn a_page_instead_of_a_secret_is_not_taken_for_a_missing_one(world) {
        let page = "secret-manager:error=404,header=Content-Type: text/html,body=<html>Not Found</html>";
        let users = faulty(&world, &[("page", page)]).await;
        row("keys_unavailable", KEYS, SECRET, 3 + SECOND_LAP).fails(&world, &users).await;
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
        row("keys_unavailable", KEYS, SECRET, 3 + SECOND_LAP).fails(&world, &users).await;
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
