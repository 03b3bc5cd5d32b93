//! What Alpaca can do instead of answering.

use super::{ACCOUNT, SECOND_LAP, SECRET, SKIPPED, SYNC, faulty, row};
use crate::answers::answer;
use crate::on_both;
use crate::world::World;
use jiff::{Timestamp, ToSpan};
use pulse_sandbox::alpaca::Profile;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::TcpSocket;

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

on_both! {
    async fn broker_rejected(world) {
        let users = faulty(&world, &[
            ("forbidden", r#"alpaca:error=403,body={"code": 40310000\, "message": "forbidden"}"#),
            ("code-alone", r#"alpaca:error=401,body={"code": 40110000}"#),
        ]).await;
        world.user("revoked").await;
        world.connect("revoked", Profile::Revoked);
        let users = [&users[..], &["revoked"]].concat();
        row("broker_rejected", SYNC, ACCOUNT, 1).fails(&world, &users).await;
    }

    async fn a_refusal_that_is_not_alpacas_own_says_nothing_about_the_keys(world) {
        let users = faulty(&world, &[
            ("plain-text", "alpaca:error=403,header=Content-Type: text/plain,body=Access denied"),
            ("html", "alpaca:error=403,header=Content-Type: text/html,body=<html>Forbidden</html>"),
            ("html-401", "alpaca:error=401,header=Content-Type: text/html,body=<html>Sign in</html>"),
            ("empty", "alpaca:error=403,body="),
            ("array", r#"alpaca:error=403,body=["forbidden."\, 40310000]"#),
            ("json-text", r#"alpaca:error=401,body="forbidden.""#),
            ("null", "alpaca:error=401,body=null"),
            ("an-edges-json", r#"alpaca:error=403,body={"error": "forbidden"}"#),
            ("no-text", r#"alpaca:error=403,body={"message": null}"#),
            ("broken", r#"alpaca:error=403,body={"message": "forb"#),
            ("vast", &format!(r#"alpaca:error=403,body={{"message": "{}"}}"#, "x".repeat(65 * 1024))),
        ]).await;
        let run = row("broker_unavailable", SYNC, ACCOUNT, 3 + SECOND_LAP).fails(&world, &users).await;
        let told = run.entry(&format!("{SYNC} html: "))["message"].to_string();
        assert!(told.contains("something between the job and Alpaca") && told.contains("403"), "{told}");
        assert!(!told.contains("reconnect"), "{told}");
        world.pulse().await.assert_completed(&format!("1 successful, {} errors", users.len()), 0);
        for user in users {
            let trouble = world.trouble(user).await;
            assert_eq!((&trouble["state"], &trouble["error"]), (&json!("retrying"), &json!("broker_unavailable")));
        }
    }

    async fn account_incomplete(world) {
        let pending = ["ONBOARDING", "SUBMITTED", "APPROVAL_PENDING"];
        for user in pending {
            world.user(user).await;
            world.connect(user, Profile::Pending { status: user.to_owned() });
        }
        let half = |fields: &str| format!(r#"{{"id": "a", "status": "ONBOARDING"{fields}}}"#);
        let answered = answered(&world, &[
            ("as-sent", 200, r#"{"id":"a","status":"ONBOARDING","currency":"USD","buying_power":"0"}"#.into()),
            ("nothing-else", 200, half("")),
            ("nulls", 200, half(r#", "equity": null, "cash": null, "buying_power": null, "currency": null"#)),
            ("all-but-one", 200, half(r#", "equity": "0", "cash": "0", "currency": "USD""#)),
            ("closed", 200, r#"{"id": "a", "status": "ACCOUNT_CLOSED", "equity": "0"}"#.into()),
        ]).await;
        let users = [&pending[..], &answered].concat();
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
            ("not-implemented", "alpaca:error=501"),
            ("gateway-timeout", "alpaca:error=504"),
            ("proxys-own", "alpaca:error=520"),
            ("overloaded", "alpaca:error=503,header=Retry-After: 1"),
            ("cut-before", "alpaca:drop-before"),
            ("cut-after", "alpaca:drop-after"),
            ("cut-short", "alpaca:truncate"),
        ]).await;
        let run = row("broker_unavailable", SYNC, ACCOUNT, 3 + SECOND_LAP).fails(&world, &users).await;
        let waited = run.entry("Completed multi-tenant sync: ");
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
        assert_eq!(world.document("ops/last_pulse").await["alpaca_calls"], json!({"integer": 3 + SECOND_LAP}));
    }

    async fn broker_bad_answer(world) {
        let usual = account_with("", "");
        let padded = format!("{usual}{}", " ".repeat(64 * 1024 + 1 - usual.len()));
        let users = answered(&world, &[
            ("no-content", 204, String::new()),
            ("list", 200, "[]".into()),
            ("list-of-fields", 200, r#"["1d9eed04", "ACTIVE", "USD", "1", "2", "3"]"#.into()),
            ("list-of-accounts", 200, format!("[{usual}]")),
            ("text", 200, r#""ACTIVE""#.into()),
            ("null", 200, "null".into()),
            ("twice", 200, usual.replace(r#""equity": "1""#, r#""equity": "1", "equity": "9""#)),
            ("maintenance", 200, r#"{"id": "x", "status": "MAINTENANCE"}"#.into()),
            ("lower-case", 200, r#"{"id": "x", "status": "onboarding"}"#.into()),
            ("newcomers-word", 200, r#"{"id": "x", "status": "ONBOARDING", "buying_power": "n/a"}"#.into()),
            ("newcomers-empty", 200, r#"{"id": "x", "status": "SUBMITTED", "cash": ""}"#.into()),
            ("too-small", 200, account_with("cash", "1e-400")),
            ("too-small-text", 200, account_with("equity", r#""-0.01e-400""#)),
            ("no-id", 200, account_with("id", "")),
            ("empty-id", 200, account_with("id", r#""""#)),
            ("number-as-id", 200, account_with("id", "1")),
            ("no-currency", 200, account_with("currency", "")),
            ("no-equity", 200, account_with("equity", "")),
            ("null-equity", 200, account_with("equity", "null")),
            ("null-buying-power", 200, account_with("buying_power", "null")),
            ("null-cash", 200, account_with("cash", "null")),
            ("nan", 200, account_with("equity", r#""NaN""#)),
            ("infinity", 200, account_with("buying_power", r#""Infinity""#)),
            ("too-large", 200, account_with("cash", "1e999")),
            ("boolean", 200, account_with("cash", "true")),
            ("words", 200, account_with("cash", r#""1,000.00""#)),
            ("no-figures", 200, r#"{"id": "1", "status": "ACTIVE", "currency": "USD"}"#.into()),
            ("not-found", 404, r#"{"message": "endpoint not found."}"#.into()),
            ("bad-request", 400, r#"{"message": "bad request"}"#.into()),
            ("not-allowed", 405, String::new()),
            ("gone", 410, String::new()),
            ("unprocessable", 422, r#"{"code": 42210000, "message": "unprocessable"}"#.into()),
            ("moved", 301, String::new()),
            ("one-byte-more", 200, padded),
        ]).await;
        row("broker_bad_answer", SYNC, ACCOUNT, 1).fails(&world, &users).await;
    }

    async fn an_answer_that_is_no_json_is_asked_for_once_more(world) {
        let usual = account_with("", "");
        let users = answered(&world, &[
            ("not-json", 200, "not json".into()),
            ("html", 200, "<html><body>Sign in to this network</body></html>".into()),
            ("nothing", 200, String::new()),
            ("half-an-answer", 200, usual[..usual.len() / 2].to_owned()),
            ("two-answers", 200, format!("{usual}{usual}")),
        ]).await;
        row("broker_bad_answer", SYNC, ACCOUNT, 2).fails(&world, &users).await;
    }

    async fn what_is_no_json_once_is_no_failure(world) {
        let users = faulty(&world, &[
            ("html", "alpaca:body=<html>Back soon</html>,times=1"),
            ("nothing", "alpaca:body=,times=1"),
        ]).await;
        faulty(&world, &[("after-a-503", "alpaca:error=503,times=1")]).await;
        world.fault("alpaca:body=<html>Back soon</html>,user=after-a-503,skip=1,times=1");
        world.pulse().await.assert_completed("3 successful, 0 errors", 0);
        assert_eq!(users.iter().map(|user| world.account_calls(user)).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(world.account_calls("after-a-503"), 3);
    }

    async fn a_zero_is_synced_however_it_is_written(world) {
        let users = answered(&world, &[
            ("minus", 200, account_with("cash", "-0")),
            ("exponent", 200, account_with("cash", r#""0e0""#)),
            ("vast-exponent", 200, account_with("cash", r#""0e999999""#)),
        ]).await;
        world.pulse().await.assert_completed("3 successful, 0 errors", 0);
        for user in users {
            assert_eq!(world.snapshot(user).await["cash"].as_f64(), Some(0.0), "{user}");
        }
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
