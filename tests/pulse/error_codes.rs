//! Section 5 at the wire: for every cause its code, its line, and how often the failing call is sent, while
//! another user is synced all the same.

use crate::answers::answer;
use crate::on_both;
use crate::traffic::{Traffic, start_after};
use crate::world::{Run, World, fields_of, sandbox, secret_of};
use alpaca_pulse::sandbox::alpaca::Profile;
use alpaca_pulse::sandbox::call::Service;
use alpaca_pulse::sandbox::secret_manager::VersionState;
use alpaca_pulse::store::values::{Fields, text};
use jiff::{Timestamp, ToSpan};
use serde_json::{Value as Json, json};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::TcpSocket;

const KEYS: &str = "Could not retrieve Alpaca keys for user";
const SYNC: &str = "Failed to sync Alpaca account for user";
const SKIPPED: &str = "Skipped Alpaca account for user";

/// Calls that a failing user costs.
type Calls = fn(&World, &str) -> usize;

const SECRET: Calls = |world, user| world.secret_accesses(user);
const ACCOUNT: Calls = |world, user| world.account_calls(user);
const COMMIT: Calls = |world, user| world.snapshot_commits(user);

/// What a row of the table promises.
struct Row {
    code: &'static str,
    line: &'static str,
    calls: (Calls, usize),
}

const fn row(code: &'static str, line: &'static str, calls: Calls, times: usize) -> Row {
    Row { code, line, calls: (calls, times) }
}

impl Row {
    /// One pass in which these users fail, and zoe is synced all the same.
    async fn fails(&self, world: &World, users: &[&str]) -> Run {
        world.user("zoe").await;
        let run = world.pulse().await;
        let counts = match self.line {
            SKIPPED => format!("1 successful, 0 errors, {} skipped", users.len()),
            _ => format!("1 successful, {} errors", users.len()),
        };
        run.assert_completed(&counts, 0);
        assert!(run.says("Successfully synced Alpaca account for user zoe"));
        assert!(world.snapshot("zoe").await.is_object());
        for user in users {
            self.is_logged_for(&run, user);
            let (count, times) = self.calls;
            assert_eq!(count(world, user), times, "{user}: calls in\n{}", run.stdout);
            assert_eq!(world.snapshot(user).await, json!(null), "{user}");
            assert_eq!(world.primary(user).await, json!(null), "{user}");
            assert_eq!(world.trouble(user).await["error"], self.code, "{user}");
        }
        run
    }

    fn is_logged_for(&self, run: &Run, user: &str) {
        let entry = run.entry(&format!("{} {user}: ", self.line));
        let severity = if self.line == SKIPPED { "INFO" } else { "ERROR" };
        assert_eq!(
            (&entry["error"], &entry["severity"], &entry["user_id"]),
            (&json!(self.code), &json!(severity), &json!(user)),
            "{entry}"
        );
        assert!(entry["duration_ms"].is_u64(), "{entry}");
    }
}

/// A user for each of these faults; returns their names.
async fn faulty<'a>(world: &World, faults: &[(&'a str, &str)]) -> Vec<&'a str> {
    for (user, fault) in faults {
        world.user(user).await;
        world.fault(&format!("{fault},user={user}"));
    }
    faults.iter().map(|(user, _)| *user).collect()
}

/// A user for each of these answers of Alpaca; returns their names.
async fn answered<'a>(world: &World, answers: &[(&'a str, u16, String)]) -> Vec<&'a str> {
    for (user, status, body) in answers {
        world.user(user).await;
        world.connect(user, answer(*status, body));
    }
    answers.iter().map(|(user, ..)| *user).collect()
}

/// Alpaca's answer with the JSON of one field replaced, or the field left out where that is empty.
fn account_with(field: &str, value: &str) -> String {
    let fields = [
        ("id", r#""1d9eed04""#),
        ("status", r#""ACTIVE""#),
        ("currency", r#""USD""#),
        ("equity", r#""1""#),
        ("buying_power", r#""2""#),
        ("cash", r#""3""#),
    ];
    let changed = fields.map(|(name, usual)| (name, if name == field { value } else { usual }));
    let kept = changed.iter().filter(|(_, value)| !value.is_empty());
    let members: Vec<_> = kept.map(|(name, value)| format!("\"{name}\": {value}")).collect();
    format!("{{{}}}", members.join(", "))
}

// Keys.

on_both! {
    async fn keys_missing(world) {
        for user in ["no-secret", "no-version"] {
            world.user(user).await;
            world.sandbox.secrets().delete(&secret_of(user));
        }
        // Creates the secret, without a version.
        world.sandbox.secrets().forbid(&secret_of("no-version"), true);
        world.sandbox.secrets().forbid(&secret_of("no-version"), false);
        row("keys_missing", KEYS, SECRET, 1).fails(&world, &["no-secret", "no-version"]).await;
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
        ]).await;
        row("keys_unavailable", KEYS, SECRET, 3).fails(&world, &users).await;
        assert!(users.iter().all(|user| world.account_calls(user) == 0));
    }

    async fn keys_unavailable_for_longer_than_the_budget_is_not_waited_for(world) {
        let users = faulty(&world, &[("later", "secret-manager:error=503,header=Retry-After: 3600")]).await;
        row("keys_unavailable", KEYS, SECRET, 1).fails(&world, &users).await;
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

// The broker.

on_both! {
    async fn broker_rejected(world) {
        let users = faulty(&world, &[
            ("forbidden", r#"alpaca:error=403,body={"code": 40310000\, "message": "forbidden"}"#),
            ("plain-text", "alpaca:error=403,body=forbidden"),
        ]).await;
        world.user("revoked").await;
        world.connect("revoked", Profile::Revoked);
        let users = [&users[..], &["revoked"]].concat();
        row("broker_rejected", SYNC, ACCOUNT, 1).fails(&world, &users).await;
    }

    async fn account_incomplete(world) {
        let users = ["ONBOARDING", "SUBMITTED", "APPROVAL_PENDING"];
        for user in users {
            world.user(user).await;
            world.connect(user, Profile::Pending { status: user.to_owned() });
        }
        row("account_incomplete", SKIPPED, ACCOUNT, 1).fails(&world, &users).await;
        assert_eq!(world.trouble("SUBMITTED").await["state"], "incomplete");
    }

    async fn broker_rate_limited(world) {
        let users = faulty(&world, &[
            ("unspecific", "alpaca:error=429"),
            ("in-a-second", "alpaca:error=429,header=Retry-After: 1"),
            ("long-ago", "alpaca:error=429,header=X-RateLimit-Reset: 1000000000"),
            ("nonsense", "alpaca:error=429,header=Retry-After: soon"),
        ]).await;
        let run = row("broker_rate_limited", SYNC, ACCOUNT, 3).fails(&world, &users).await;
        let waited = run.entry(&format!("{SYNC} in-a-second: "));
        assert!(waited["duration_ms"].as_u64() >= Some(2000), "two waits of a second: {waited}");
    }

    async fn broker_rate_limited_for_longer_than_the_budget_is_not_waited_for(world) {
        let hour = Timestamp::now() + 1.hour();
        let users = faulty(&world, &[
            ("seconds", "alpaca:error=429,header=Retry-After: 3600"),
            ("date", &format!("alpaca:error=429,header=Retry-After: {}", escaped(&http_date(hour)))),
            ("reset", &format!("alpaca:error=429,header=X-RateLimit-Reset: {}", hour.as_second())),
        ]).await;
        row("broker_rate_limited", SYNC, ACCOUNT, 1).fails(&world, &users).await;
    }

    async fn a_rate_limit_is_waited_for_as_told(world) {
        // Both are whole seconds, so the wait is one second at least.
        let end = Timestamp::from_second(Timestamp::now().as_second() + 2).expect("in range");
        let users = faulty(&world, &[
            ("seconds", "alpaca:error=429,times=1,header=Retry-After: 1"),
            ("date", &format!("alpaca:error=429,times=1,header=Retry-After: {}", escaped(&http_date(end)))),
            ("reset", &format!("alpaca:error=429,times=1,header=X-RateLimit-Reset: {}", end.as_second())),
        ]).await;
        let run = world.pulse().await;
        run.assert_completed("3 successful, 0 errors", 0);
        assert_eq!(users.iter().map(|user| world.account_calls(user)).collect::<Vec<_>>(), [2, 2, 2]);
        let waited = run.entry("Successfully synced Alpaca account for user seconds");
        assert!(waited["duration_ms"].as_u64() >= Some(1000), "{waited}");
        for user in ["date", "reset"] {
            let answered = world.snapshot(user).await["updated_at_iso"].clone();
            let answered: Timestamp = answered.as_str().expect("a text").parse().expect("a point in time");
            assert!(answered >= end, "{user} is asked again at {answered}, not before {end}");
        }
    }

    async fn broker_unavailable(world) {
        let users = faulty(&world, &[
            ("broken", "alpaca:error=500"),
            ("bad-gateway", "alpaca:error=502,body=<html>Bad Gateway</html>"),
            ("timeout", "alpaca:error=408"),
            ("overloaded", "alpaca:error=503,header=Retry-After: 1"),
            ("cut-before", "alpaca:drop-before"),
            ("cut-after", "alpaca:drop-after"),
            ("cut-short", "alpaca:truncate"),
        ]).await;
        let run = row("broker_unavailable", SYNC, ACCOUNT, 3).fails(&world, &users).await;
        let waited = run.entry(&format!("{SYNC} overloaded: "));
        assert!(waited["duration_ms"].as_u64() >= Some(2000), "two waits of a second: {waited}");
    }

    async fn broker_unavailable_for_longer_than_the_budget_is_not_waited_for(world) {
        let users = faulty(&world, &[("later", "alpaca:error=503,header=Retry-After: 3600")]).await;
        row("broker_unavailable", SYNC, ACCOUNT, 1).fails(&world, &users).await;
    }

    async fn a_broker_that_refuses_connections_is_unavailable(world) {
        let nobody = NobodyListens::new();
        world.user("ana").await;
        let run = world.pulse_in(&[("APCA_API_BASE_URL", &format!("http://{}", nobody.address))]).await;
        run.assert_completed("0 successful, 1 errors", 1);
        row("broker_unavailable", SYNC, ACCOUNT, 0).is_logged_for(&run, "ana");
        assert_eq!(world.document("ops/last_pulse").await["alpaca_calls"], json!({"integer": 3}));
    }

    async fn broker_bad_answer(world) {
        let usual = account_with("", "");
        let padded = format!("{usual}{}", " ".repeat(64 * 1024 + 1 - usual.len()));
        let users = answered(&world, &[
            ("not-json", 200, "not json".into()),
            ("html", 200, "<html><body>Sign in to this network</body></html>".into()),
            ("nothing", 200, String::new()),
            ("no-content", 204, String::new()),
            ("list", 200, "[]".into()),
            ("no-id", 200, account_with("id", "")),
            ("empty-id", 200, account_with("id", r#""""#)),
            ("number-as-id", 200, account_with("id", "1")),
            ("no-currency", 200, account_with("currency", "")),
            ("no-equity", 200, account_with("equity", "")),
            ("null-cash", 200, account_with("cash", "null")),
            ("nan", 200, account_with("equity", r#""NaN""#)),
            ("infinity", 200, account_with("buying_power", r#""Infinity""#)),
            ("too-large", 200, account_with("cash", "1e999")),
            ("boolean", 200, account_with("cash", "true")),
            ("words", 200, account_with("cash", r#""1,000.00""#)),
            ("no-figures", 200, r#"{"id": "1", "status": "ACTIVE", "currency": "USD"}"#.into()),
            ("not-found", 404, r#"{"message": "endpoint not found."}"#.into()),
            ("one-byte-more", 200, padded),
        ]).await;
        row("broker_bad_answer", SYNC, ACCOUNT, 1).fails(&world, &users).await;
    }

    async fn broker_bad_answer_of_five_megabytes(world) {
        let users = faulty(&world, &[("vast", "alpaca:padding=5000000")]).await;
        row("broker_bad_answer", SYNC, ACCOUNT, 1).fails(&world, &users).await;
    }

    async fn an_answer_of_exactly_the_bound_is_read(world) {
        let usual = account_with("", "");
        let padded = format!("{usual}{}", " ".repeat(64 * 1024 - usual.len()));
        answered(&world, &[("ana", 200, padded)]).await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    }

    async fn what_recovers_within_three_attempts_is_synced(world) {
        let faults = [
            ("secret-once", "secret-manager:error=503,times=1"),
            ("secret-twice", "secret-manager:drop-after,times=2"),
            ("checksum-once", "secret-manager:wrong-checksum,times=1"),
            ("broker-once", "alpaca:drop-before,times=1"),
            ("broker-twice", "alpaca:error=500,times=2"),
            ("cut-short-once", "alpaca:truncate,times=1"),
        ];
        faulty(&world, &faults).await;
        let run = world.pulse().await;
        run.assert_completed("6 successful, 0 errors", 0);
        for (user, fault) in faults {
            assert_eq!(world.snapshot(user).await["status"], "ACTIVE", "{user}");
            assert_eq!(world.trouble(user).await, json!(null), "{user} was never in trouble");
            let calls = if fault.starts_with("alpaca") { ACCOUNT } else { SECRET };
            let times = if fault.ends_with('1') { 2 } else { 3 };
            assert_eq!(calls(&world, user), times, "{user}");
        }
    }
}

/// An address that is taken but refuses connections.
struct NobodyListens {
    address: SocketAddr,
    _taken: TcpSocket,
}

impl NobodyListens {
    fn new() -> Self {
        let taken = TcpSocket::new_v4().expect("a socket");
        taken.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback has a free port");
        Self { address: taken.local_addr().expect("bound"), _taken: taken }
    }
}

fn http_date(time: Timestamp) -> String {
    httpdate::fmt_http_date(time.into())
}

/// A value as fault specs spell it.
fn escaped(value: &str) -> String {
    value.replace(',', "\\,")
}

// The store.

#[tokio::test(flavor = "multi_thread")]
async fn store_unavailable() {
    let world = sandbox().await;
    // Three times, so that the trouble itself can be recorded.
    let users = faulty(
        &world,
        &[
            ("unavailable", "firestore/Commit:error=UNAVAILABLE,times=3"),
            ("aborted", "firestore/Commit:error=ABORTED,times=3"),
            ("exhausted", "firestore/Commit:error=RESOURCE_EXHAUSTED,times=3"),
            ("internal", "firestore/Commit:error=INTERNAL,times=3"),
            ("deadline", "firestore/Commit:error=DEADLINE_EXCEEDED,times=3"),
        ],
    )
    .await;
    row("store_unavailable", SYNC, COMMIT, 3).fails(&world, &users).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn store_rejected() {
    let world = sandbox().await;
    let users = faulty(
        &world,
        &[
            ("denied", "firestore/Commit:error=PERMISSION_DENIED,times=1"),
            ("invalid", "firestore/Commit:error=INVALID_ARGUMENT,times=1"),
        ],
    )
    .await;
    row("store_rejected", SYNC, COMMIT, 1).fails(&world, &users).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_recovers_within_three_attempts_is_a_success() {
    let world = sandbox().await;
    faulty(
        &world,
        &[
            ("once", "firestore/Commit:error=UNAVAILABLE,times=1"),
            ("twice", "firestore/Commit:error=ABORTED,times=2"),
        ],
    )
    .await;
    world.pulse().await.assert_completed("2 successful, 0 errors", 0);
    assert_eq!((world.snapshot_commits("once"), world.snapshot_commits("twice")), (2, 3));
    assert_eq!((world.trouble("once").await, world.trouble("twice").await), (json!(null), json!(null)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_connection_breaks_is_sent_again() {
    let world = sandbox().await;
    world.user("ana").await;
    world.fault("firestore/Commit:drop-before,user=ana,times=2");
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    assert_eq!(world.snapshot_commits("ana"), 3);
    world.fault("firestore/Commit:drop-before,user=ana,times=3");
    world.pulse().await.assert_completed("0 successful, 1 errors", 1);
    assert_eq!(world.trouble("ana").await["error"], "store_unavailable");
}

/// Both documents come from one commit, however often it was applied.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_leaves_the_right_documents() {
    let world = sandbox().await;
    world.user("ana").await;
    // The tenant's document is created in the first round, and replaced in the second.
    for round in ["create", "replace"] {
        world.sandbox.faults().clear();
        world.fault("firestore/Commit:drop-after,user=ana,times=1");
        let run = world.pulse().await;
        run.assert_completed("1 successful, 0 errors", 0);
        let (user, tenant) = (world.snapshot("ana").await, world.primary("ana").await);
        for field in ["equity", "exact", "updated_at", "updated_at_iso", "user_id"] {
            assert_eq!(user[field], tenant[field], "{round}: {field}");
        }
        let entry = run.entry("Successfully synced Alpaca account for user ana");
        assert_eq!(entry["tenant_id"], "ana", "{round}");
        assert_eq!(world.trouble("ana").await, json!(null), "{round}");
    }
}

/// They are asked for once for the page, and then once for each user.
#[tokio::test(flavor = "multi_thread")]
async fn unreadable_memberships_fail_their_users_before_anything_is_written() {
    for (error, code, attempts) in
        [("UNAVAILABLE", "store_unavailable", 3), ("PERMISSION_DENIED", "store_rejected", 1)]
    {
        let world = sandbox().await;
        world.user("ana").await;
        world.user_of_tenant("ben", text("acme")).await;
        world.membership("acme", "ben").await;
        // The first such read is that of the last pulse.
        world.fault(&format!("firestore/BatchGetDocuments:error={error},skip=1,times={}", 3 * attempts));
        let run = world.pulse().await;
        run.assert_completed("0 successful, 2 errors", 1);
        for user in ["ana", "ben"] {
            row(code, SYNC, COMMIT, 0).is_logged_for(&run, user);
            assert_eq!(world.snapshot_commits(user), 0, "{user}");
        }
        assert_eq!(world.primary("ana").await, json!(null));
        assert_eq!(world.primary("acme").await, json!(null));
        assert_eq!(world.faults_applied(), [3 * attempts], "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memberships_that_cannot_be_read_for_a_whole_page_are_read_user_by_user() {
    let world = sandbox().await;
    world.crowd(501);
    world.fault("firestore/BatchGetDocuments:error=PERMISSION_DENIED,skip=1,times=1");
    let run = world.pulse().await;
    run.assert_completed("501 successful, 0 errors", 0);
    assert_eq!(run.entry("Could not read the tenants of 500 users at once")["severity"], "WARNING");
}

#[tokio::test(flavor = "multi_thread")]
async fn memberships_that_can_be_read_at_the_second_attempt_stop_nobody() {
    let world = sandbox().await;
    world.user("ana").await;
    world.fault("firestore/BatchGetDocuments:error=UNAVAILABLE,skip=1,times=1");
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_last_pulse_stops_nobody() {
    let world = sandbox().await;
    world.user("ana").await;
    world.fault("firestore/BatchGetDocuments:error=PERMISSION_DENIED,times=1");
    let run = world.pulse().await;
    run.assert_completed("1 successful, 0 errors", 0);
    assert_eq!(run.entry("Could not read when the last pulse started: ")["severity"], "WARNING");
}

// The roster.

#[tokio::test(flavor = "multi_thread")]
async fn users_that_can_be_read_at_a_later_attempt_are_all_synced() {
    let world = sandbox().await;
    world.crowd(501);
    // Either of the first two queries, and the one for the second page.
    world.fault("firestore/RunQuery:error=UNAVAILABLE,times=1");
    world.fault("firestore/RunQuery:error=UNAVAILABLE,user=user-0500,times=2");
    world.pulse().await.assert_completed("501 successful, 0 errors", 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_that_cannot_be_read_fail_the_pass() {
    for (error, code) in [("PERMISSION_DENIED", "store_rejected"), ("UNAVAILABLE", "store_unavailable")] {
        let world = sandbox().await;
        world.user("ana").await;
        world.fault(&format!("firestore/RunQuery:error={error}"));
        let run = world.pulse().await;
        assert_eq!(run.exit, Some(1), "{}", run.stdout);
        let last = run.entry("Failed multi-tenant sync: 0 successful, 0 errors");
        assert_eq!((&last["severity"], &last["error"]), (&json!("CRITICAL"), &json!(code)));
        assert_eq!(world.document("ops/last_pulse").await["status"], "failed");
        assert_eq!(world.calls(Service::SecretManager, "AccessSecretVersion"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_cannot_be_read_fails_the_pass_but_not_the_users_before_it() {
    let world = sandbox().await;
    world.crowd(501);
    world.fault("firestore/RunQuery:error=PERMISSION_DENIED,user=user-0500");
    let run = world.pulse().await;
    assert_eq!(run.exit, Some(1), "{}", run.stdout);
    assert_eq!(run.entry("Failed multi-tenant sync: 500 successful, 0 errors")["severity"], "CRITICAL");
    let last_pulse = world.document("ops/last_pulse").await;
    assert_eq!(
        (&last_pulse["status"], &last_pulse["success_count"], &last_pulse["users_count"]),
        (&json!("failed"), &json!({"integer": 500}), &json!({"integer": 500}))
    );
}

/// Every query breaks after 200 documents, so a page of 500 takes three.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_breaks_goes_on_where_it_broke() {
    let world = sandbox().await;
    let ids = world.crowd(1201);
    for id in &ids {
        // Nothing but reading is of interest here, and the request log is not endless.
        world.put_all("(default)", [(format!("users/{id}"), switched_off())]);
    }
    world.fault("firestore/RunQuery:break-after=200");
    world.pulse().await.assert_completed("0 successful, 0 errors, 1201 skipped", 0);
    let expected = [
        ("", 500),
        ("user-0200", 300),
        ("user-0400", 100),
        ("user-0500", 500),
        ("user-0700", 300),
        ("user-0900", 100),
        ("user-1000", 500),
        ("user-1200", 300),
    ];
    let queries = world.user_queries();
    let asked: Vec<_> = queries.iter().map(|query| (start_after(query), query.limit)).collect();
    assert_eq!(asked, expected.map(|(after, limit)| (after.to_owned(), Some(limit))));
    // Each user and their tenant's document, the last pulse, and nobody in trouble.
    let reads = json!({"integer": 1201 + 1201 + 1 + 1});
    assert_eq!(world.document("ops/last_pulse").await["firestore_reads"], reads);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_pages_that_break_are_synced_once_each() {
    let world = sandbox().await;
    let ids = world.crowd(501);
    world.fault("firestore/RunQuery:break-after=200");
    world.pulse().await.assert_completed("501 successful, 0 errors", 0);
    assert_eq!(world.calls(Service::Alpaca, "GetAccount"), 501);
    assert!(ids.iter().all(|id| world.has(&format!("users/{id}/alpacaAccounts/snapshot"))));
}

fn switched_off() -> Fields {
    fields_of([("sync_enabled", crate::world::off())])
}

/// The record of trouble must not be spoilt by a pass that could not read it.
#[tokio::test(flavor = "multi_thread")]
async fn unreadable_trouble_stops_nobody_and_stays_as_it_is() {
    let world = sandbox().await;
    world.user("recovered").await;
    world.user("rejected").await;
    world.connect("rejected", Profile::Revoked);
    let trouble = || fields_of([("state", text("retrying")), ("error", text("keys_missing"))]);
    world.put_all("(default)", [("users/recovered/alpacaAccounts/sync".into(), trouble())]);
    // A page of records whose users are gone comes before; the page after it cannot be read.
    let orphans = (0..500).map(|n| (format!("users/a-{n:03}/alpacaAccounts/sync"), trouble()));
    world.put_all("(default)", orphans);
    world.fault("firestore/RunQuery:error=PERMISSION_DENIED,user=a-499");
    let before = world.trouble("recovered").await;

    let run = world.pulse().await;
    run.assert_completed("1 successful, 1 errors", 0);
    let told = run.entry("Could not read who is in trouble");
    assert_eq!((&told["severity"], &told["error"]), (&json!("ERROR"), &json!("store_rejected")));
    assert_eq!(world.snapshot("recovered").await["status"], "ACTIVE");
    assert_eq!(world.trouble("recovered").await, before);
    assert_eq!(world.trouble("rejected").await, json!(null));
}

// Stalls. They take a user's whole budget, so as many as possible share a pass.

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_costs_its_user_two_attempts_and_nobody_else_anything() {
    let world = sandbox().await;
    let users = faulty(
        &world,
        &[
            ("secret-stalls", "secret-manager:stall"),
            ("broker-stalls", "alpaca:stall"),
            ("broker-trickles", "alpaca:slow=100ms"),
            ("store-stalls", "firestore/Commit:stall"),
        ],
    )
    .await;
    world.user("zoe").await;
    let run = world.pulse().await;
    run.assert_completed("1 successful, 4 errors", 0);
    for (user, code, line, calls) in [
        ("secret-stalls", "keys_unavailable", KEYS, SECRET),
        ("broker-stalls", "broker_unavailable", SYNC, ACCOUNT),
        ("broker-trickles", "broker_unavailable", SYNC, ACCOUNT),
        ("store-stalls", "store_unavailable", SYNC, COMMIT),
    ] {
        row(code, line, calls, 2).is_logged_for(&run, user);
        assert_eq!(calls(&world, user), 2, "{user}: ten seconds each");
    }
    // The record of the trouble stalls as well, and has to fit into the same 20 s.
    let whole_pass = run.entry("Completed multi-tenant sync: ")["duration_ms"].as_u64();
    assert!(whole_pass < Some(30_000), "{whole_pass:?} ms");
    assert_eq!(world.snapshot("zoe").await["status"], "ACTIVE");
    for user in users {
        assert_eq!(world.snapshot(user).await, Json::Null, "{user}");
    }
    let zoe = position(&run, "Successfully synced Alpaca account for user zoe");
    assert!(zoe < position(&run, &format!("{KEYS} secret-stalls")), "{}", run.stdout);
}

fn position(run: &Run, message: &str) -> Option<usize> {
    let found = run
        .entries()
        .iter()
        .position(|entry| entry["message"].as_str().is_some_and(|text| text.starts_with(message)));
    assert!(found.is_some(), "{message:?} is in {}", run.stdout);
    found
}
