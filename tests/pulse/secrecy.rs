//! Keys leave only as request headers to Alpaca: whatever fails, and however much is logged.

use crate::answers::answer;
use crate::world::{Env, Run, World, keys_of, sandbox, secret_of, token_of};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use pulse_sandbox::alpaca::{Keys, Profile};
use pulse_sandbox::call::Service;
use pulse_sandbox::secret_manager::VersionState;
use std::fmt::Debug;

/// What must not show up anywhere, in every spelling that a careless line could use.
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    pub(crate) fn of(texts: impl IntoIterator<Item = String>) -> Self {
        let spellings = |text: String| {
            let bytes = format!("{:?}", text.as_bytes());
            let bytes = bytes.trim_matches(['[', ']']).to_owned();
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            // Within a longer text, base64 depends on where it begins.
            let inner = [1, 2].map(|skipped| {
                let whole = text.len() - skipped - (text.len() - skipped) % 3;
                STANDARD.encode(&text[skipped..skipped + whole])
            });
            let whole = text.len() - text.len() % 3;
            let spelt = [STANDARD.encode(&text[..whole]), URL_SAFE_NO_PAD.encode(&text), bytes, hex, text];
            inner.into_iter().chain(spelt)
        };
        Self(texts.into_iter().flat_map(spellings).collect())
    }

    #[track_caller]
    pub(crate) fn assert_not_in(&self, text: &str, place: &dyn Debug) {
        for secret in &self.0 {
            let found = text.find(secret.as_str());
            let line = found.and_then(|at| text[at..].lines().next());
            assert_eq!(line, None, "{secret:?} is in {place:?}");
        }
    }

    fn assert_not_in_bytes(&self, bytes: &[u8], place: &dyn Debug) {
        self.assert_not_in(&String::from_utf8_lossy(bytes), place);
    }
}

/// Users whose keys can go astray: one for each way to fail, and one for each echo of a key.
async fn population(world: &World) -> Vec<String> {
    let users = [
        "synced",
        "missing",
        "forbidden",
        "disabled",
        "destroyed",
        "revoked",
        "onboarding",
        "redirected",
        "echo-html",
        "echo-json",
        "echo-figure",
        "echo-401",
        "echo-500",
        "cut-short",
        "dropped",
        "checksum",
        "store-denied",
        "malformed-text",
        "malformed-key",
        "malformed-break",
        "malformed-world",
        "malformed-type",
        "malformed-token",
        "token",
        "token-revoked",
        "token-echo",
    ];
    let echo = |user| {
        let (key_id, secret_key) = keys_of(user);
        format!("{key_id} {secret_key} {}", token_of(user))
    };
    for user in users {
        world.user(user).await;
        let payload = match user {
            "malformed-text" => echo(user),
            "malformed-key" => format!(r#"{{"key_id": "{0}", "secretkey": "{0}"}}"#, echo(user)),
            "malformed-break" => format!(r#"{{"key_id": "{0}\n", "secret_key": "{0}\n"}}"#, echo(user)),
            "malformed-world" => {
                format!(r#"{{"key_id": "a", "secret_key": "b", "environment": "{}"}}"#, echo(user))
            }
            "malformed-type" => format!(r#"{{"key_id": ["{0}"], "secret_key": {{"{0}": 1}}}}"#, echo(user)),
            "malformed-token" => {
                format!(r#"{{"oauth_token": "{}\n", "environment": "{0}"}}"#, token_of(user))
            }
            _ => continue,
        };
        world.store_payload(user, &payload);
    }
    world.sandbox.secrets().delete(&secret_of("missing"));
    world.sandbox.secrets().forbid(&secret_of("forbidden"), true);
    for (user, state) in [("disabled", VersionState::Disabled), ("destroyed", VersionState::Destroyed)] {
        world.sandbox.secrets().set_state(&secret_of(user), "latest", state);
    }
    world.connect("revoked", Profile::Revoked);
    world.connect("onboarding", Profile::onboarding());
    world.connect_token("token", Profile::active());
    world.connect_token("token-revoked", Profile::Revoked);
    world.connect_token("token-echo", answer(401, echo("token-echo")));
    world.connect("echo-html", answer(200, format!("<html>{}</html>", echo("echo-html"))));
    world.connect("echo-json", answer(200, format!(r#"{{"id": "1", "{}": nonsense}}"#, echo("echo-json"))));
    world.connect("echo-figure", answer(200, format!(
        r#"{{"id": "1", "status": "ACTIVE", "currency": "USD", "equity": "{0}", "cash": "{0}", "buying_power": "{0}"}}"#,
        echo("echo-figure"),
    )));
    for (user, status) in [("echo-401", 401), ("echo-500", 502)] {
        world.connect(user, answer(status, echo(user)));
    }
    for fault in [
        "alpaca:redirect=http://127.0.0.1:9/,user=redirected",
        "alpaca:truncate,user=cut-short",
        "alpaca:drop-after,user=dropped",
        "secret-manager:wrong-checksum,user=checksum",
        "firestore/Commit:error=PERMISSION_DENIED,user=store-denied",
    ] {
        world.fault(fault);
    }
    users.map(str::to_owned).into()
}

/// The keys of these users, their payloads, and the credentials of the job itself.
fn secrets_of(users: &[String]) -> Secrets {
    let texts = users.iter().flat_map(|user| {
        let ((key_id, secret_key), token) = (keys_of(user), token_of(user));
        let payload = serde_json::json!({"key_id": key_id, "secret_key": secret_key, "environment": "paper"});
        let of_token = serde_json::json!({"oauth_token": token, "environment": "paper"});
        [payload.to_string(), key_id, secret_key, of_token.to_string(), token]
    });
    Secrets::of(texts.chain(["Bearer owner".to_owned()]))
}

/// Nothing secret is in what was printed, stored, or sent to anybody but Alpaca.
fn assert_kept(world: &World, run: &Run, secrets: &Secrets) {
    secrets.assert_not_in(&run.stdout, &"stdout");
    secrets.assert_not_in(&run.stderr, &"stderr");
    let database = format!("projects/{}/databases/(default)", world.project);
    for document in world.sandbox.firestore().documents(&database) {
        secrets.assert_not_in(&format!("{document:?}"), &document.name);
    }
    let mut others = world.sandbox.requests().received();
    assert!(others.len() < 1000, "the log of requests still has the first one");
    others.retain(|call| call.method.service() != Service::Alpaca);
    for call in others {
        let place = &call.path;
        secrets.assert_not_in(&format!("{place} {:?}", call.query), place);
        secrets.assert_not_in_bytes(&call.body, place);
        for (name, value) in call.headers.iter().filter(|(name, _)| *name != http::header::AUTHORIZATION) {
            secrets.assert_not_in_bytes(value.as_bytes(), &(place, name));
        }
    }
}

/// A run that logs everything it can.
async fn traced(world: &World, args: &[&str], env: Env<'_>) -> Run {
    let trace = [("RUST_LOG", "trace"), ("RUST_BACKTRACE", "full"), ("GOOGLE_CLOUD_RUST_LOGGING", "true")];
    world.pulse_with_in(args, &[&trace, env].concat()).await
}

/// The second pass finds the trouble that the first one recorded.
#[tokio::test(flavor = "multi_thread")]
async fn no_failure_shows_a_key_at_any_level_of_the_json_log() {
    let world = sandbox().await;
    let users = population(&world).await;
    for _ in 0..2 {
        let run = traced(&world, &[], &[]).await;
        run.entry("Completed multi-tenant sync: 2 successful");
        assert!(
            run.entries().iter().any(|entry| entry["severity"] == "DEBUG"),
            "whom it connects to is heard too"
        );
        assert_kept(&world, &run, &secrets_of(&users));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_failure_shows_a_key_at_any_level_of_the_text_log() {
    let world = sandbox().await;
    let users = population(&world).await;
    let run = traced(&world, &["--log-format", "text", "--store-raw"], &[]).await;
    assert!(run.stdout.contains("Completed multi-tenant sync: 2 successful"), "{}", run.stdout);
    assert_kept(&world, &run, &secrets_of(&users));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legacy_accounts_keys_are_not_shown_either() {
    let (key_id, secret_key) = keys_of("legacy");
    let secrets = || secrets_of(&["legacy".to_owned()]);
    let keys = [("APCA_API_KEY_ID", key_id.as_str()), ("APCA_API_SECRET_KEY", secret_key.as_str())];
    let spoilt = format!("{secret_key}\n");
    let cases = [
        ("synced", Profile::active(), keys),
        ("revoked", Profile::Revoked, keys),
        ("half a pair", Profile::active(), [keys[0], ("APCA_API_SECRET_KEY", "")]),
        ("the other half", Profile::active(), [("APCA_API_KEY_ID", ""), keys[1]]),
        ("a line break", Profile::active(), [keys[0], ("APCA_API_SECRET_KEY", spoilt.as_str())]),
    ];
    for (case, profile, env) in cases {
        for format in ["json", "text"] {
            let world = sandbox().await;
            let keys = Keys { key_id: key_id.clone(), secret_key: secret_key.clone() };
            world.sandbox.alpaca().register("legacy", keys, profile.clone());
            let run = traced(&world, &["--log-format", format], &env).await;
            assert!(run.exit.is_some() && !run.stdout.is_empty(), "{case}");
            assert_kept(&world, &run, &secrets());
        }
    }
}

/// As much can be wrong with Secret Manager's answer as with anybody's.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_answer_of_secret_manager_is_not_quoted() {
    let world = sandbox().await;
    let (_, secret_key) = keys_of("hush");
    let bodies = [
        ("text", format!(r#"{{"name": "projects/1/secrets/s/versions/1"\, "payload": "{secret_key}"}}"#)),
        ("data", format!(r#"{{"payload": {{"data": "{secret_key}"}}}}"#)),
        ("checksum", format!(r#"{{"payload": {{"dataCrc32c": "{secret_key}"}}}}"#)),
        ("name", format!(r#"{{"name": {{"{secret_key}": 1}}}}"#)),
        ("no-json", secret_key.clone()),
    ];
    for (user, body) in &bodies {
        world.user(user).await;
        world.fault(&format!("secret-manager:body={body},user={user}"));
    }
    let run = traced(&world, &[], &[]).await;
    run.assert_completed("0 successful, 5 errors", 1);
    let users = bodies.map(|(user, _)| user.to_owned()).into_iter().chain(["hush".to_owned()]);
    assert_kept(&world, &run, &secrets_of(&users.collect::<Vec<_>>()));
}

/// A status is a word such as ONBOARDING; what else comes in its place is no business of the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_repeats_a_key_is_not_quoted() {
    let world = sandbox().await;
    world.user("echo").await;
    let (key_id, secret_key) = keys_of("echo");
    let body = format!(r#"{{"id": "1", "status": "no account for {key_id} {secret_key}"}}"#);
    world.connect("echo", answer(200, body));
    let run = traced(&world, &[], &[]).await;
    assert!(run.error_of("echo").is_some());
    assert_kept(&world, &run, &secrets_of(&["echo".to_owned()]));
}
