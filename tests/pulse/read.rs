//! `pulse read`: the readers' rules on documents that `pulse sync` wrote.

use crate::answers::{answer, money};
use crate::on_both;
use crate::world::{Run, World, fields_of, sandbox};
use alpaca_pulse::firestore::values::{double, map, text, timestamp};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};

async fn read(world: &World, args: &[&str]) -> Run {
    Run::of(&mut world.bare_command(&[&["read"], args].concat())).await
}

/// The object and the exit code.
async fn read_json(world: &World, args: &[&str]) -> (Json, i32) {
    let run = read(world, &[args, &["--json"]].concat()).await;
    let object = serde_json::from_str(&run.stdout).unwrap_or_else(|err| panic!("{err}: {run:?}"));
    (object, run.exit.expect("an exit code"))
}

/// The snapshot as it would be of an answer that old.
async fn age(world: &World, user: &str, age: SignedDuration) {
    let answered = Timestamp::now() - age;
    let fields = [
        ("updated_at_iso", text(format!("{answered:.3}"))),
        ("fresh_until", timestamp(answered + SignedDuration::from_secs(300))),
    ];
    world.patch(&format!("users/{user}/alpacaAccounts/snapshot"), fields).await;
}

/// A signal as the backend proposes it.
async fn signal(world: &World, key: &str, proposed_by: &str, status: &str, amount: f64) {
    let fields = [
        ("symbol", text("SPY")),
        ("action", text("buy")),
        ("notional_usd", double(amount)),
        ("status", text(status)),
        ("proposed_by", text(proposed_by)),
        ("expires_at", timestamp(Timestamp::now() + SignedDuration::from_mins(10))),
    ];
    world.put(&format!("users/ana/tradingSignals/{key}"), fields).await;
}

on_both! {
    async fn what_pulse_wrote_is_fresh_and_told_with_exact_figures(world) {
        world.user("ana").await;
        let body = crate::answers::account("2000.10").replace('}', r#","last_equity":"122011.09751111286868"}"#);
        world.account("ana", answer(200, body));
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        let (object, exit) = read_json(&world, &["ana"]).await;
        assert_eq!(exit, 0, "{object}");
        for (field, expected) in [
            ("version", json!(1)),
            ("command", json!("read")),
            ("user_id", json!("ana")),
            ("source", json!("user")),
            ("verdict", json!("fresh")),
            ("sync", json!("ok")),
            ("error", json!(null)),
            ("state", json!("ok")),
            ("figures", json!({"equity": "2000.1", "buying_power": "2000.1", "cash": "2000.1", "last_equity": "122011.09751111286868"})),
        ] {
            assert_eq!(object[field], expected, "{field}: {object}");
        }
        let snapshot = world.snapshot("ana").await;
        let account = &object["account"];
        assert_eq!((&account["updated_at_iso"], &account["status"]), (&snapshot["updated_at_iso"], &json!("ACTIVE")));
        assert!(object["age_ms"].as_u64().is_some_and(|age| age < 300_000), "{object}");
        assert_eq!(object["findings"][0]["reason"], "Fresh");

        let run = read(&world, &["ana"]).await;
        assert_eq!((run.exit, run.stderr.as_str()), (Some(0), ""));
        assert!(run.stdout.starts_with("ana: fresh\n") && run.stdout.contains("2000.1 USD"), "{}", run.stdout);
        assert!(run.stdout.lines().all(|line| line.chars().count() <= 80), "{}", run.stdout);
    }

    async fn what_is_not_fresh_exits_with_3_and_says_why(world) {
        world.users(&["old", "odd", "troubled"].map(str::to_owned)).await;
        world.pulse().await.assert_completed("3 successful, 0 errors", 0);
        age(&world, "old", SignedDuration::from_secs(400)).await;
        let exact = map(fields_of([("equity", text("1")), ("buying_power", text("1")), ("cash", text("1"))]));
        world.patch("users/odd/alpacaAccounts/snapshot", [("exact", exact)]).await;
        for (user, verdict, reason, field) in [
            ("old", "stale", "Stale", json!(null)),
            ("odd", "malformed", "Malformed", json!("equity")),
            ("nobody", "missing", "Missing", json!(null)),
        ] {
            let (object, exit) = read_json(&world, &[user]).await;
            assert_eq!((exit, &object["verdict"], &object["field"]), (3, &json!(verdict), &field), "{object}");
            let finding = &object["findings"][0];
            assert_eq!((&finding["state"], &finding["reason"]), (&json!("failed"), &json!(reason)));
            assert!(finding["mend"].as_str().is_some_and(|mend| mend.starts_with(&format!("pulse explain {user} --project="))));
            let run = read(&world, &[user]).await;
            assert_eq!(run.exit, Some(3));
            let long = run.stdout.lines().filter(|line| line.chars().count() > 80 && !line.contains("$ pulse explain"));
            assert_eq!(long.count(), 0, "{}", run.stdout);
        }
        // As long as the job comes round and the user does not fail, a snapshot may stand for longer.
        let until = timestamp(Timestamp::now() + SignedDuration::from_mins(2));
        world.patch("users/old/alpacaAccounts/snapshot", [("fresh_until", until)]).await;
        let (object, exit) = read_json(&world, &["old"]).await;
        assert_eq!((exit, &object["verdict"]), (0, &json!("fresh")));
        assert!(object["findings"][0]["sentence"].as_str().is_some_and(|told| told.contains("may stand until")), "{object}");
        world.account("troubled", answer(503, ""));
        world.pulse_with(&["--user", "troubled"]).await;
        let (object, exit) = read_json(&world, &["troubled"]).await;
        assert_eq!((exit, &object["verdict"], &object["sync"]), (0, &json!("fresh"), &json!("retrying")), "of now all the same");
        assert_eq!(object["error"], "broker_unavailable");
    }

    async fn an_order_is_decided_on_what_is_left_of_the_money(world) {
        world.user("ana").await;
        world.account("ana", money("1000.50"));
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        signal(&world, "k1", "backend", "proposed", 600.25).await;
        signal(&world, "k2", "backend", "cancelled", 500.0).await;
        signal(&world, "k3", "somebody", "proposed", 500.0).await;
        for (order, expected, exit) in [
            ("buy:400", json!({"allow": {"max_notional": "400.25"}}), 0),
            ("buy:400.25", json!({"allow": {"max_notional": "400.25"}}), 0),
            ("sell:400.26", json!({"deny": "insufficient_funds"}), 3),
            ("buy:0", json!({"deny": "invalid_order"}), 3),
            ("flat:5000", json!({"allow": {"max_notional": "5000"}}), 0),
        ] {
            let (object, code) = read_json(&world, &["ana", "--order", order]).await;
            let mut decision = object["decision"].clone();
            decision.as_object_mut().expect("a decision").remove("reason");
            assert_eq!((decision, code), (expected, exit), "{order}: {object}");
            let run = read(&world, &["ana", "--order", order]).await;
            assert_eq!(run.exit, Some(exit));
            assert!(run.stdout.lines().all(|line| line.chars().count() <= 80), "{}", run.stdout);
        }
        age(&world, "ana", SignedDuration::from_secs(400)).await;
        let denied = read_json(&world, &["ana", "--order", "buy:1"]).await;
        assert_eq!((&denied.0["decision"]["deny"], denied.1), (&json!("snapshot_stale"), 3));
        let closing = read_json(&world, &["ana", "--order", "flat:1"]).await;
        assert_eq!((&closing.0["verdict"], closing.1), (&json!("stale"), 0), "whoever may do nothing else may get out");
    }

    async fn a_blocked_account_may_not_even_close(world) {
        world.user("ana").await;
        let body = crate::answers::account("1000").replace('}', r#","account_blocked":true}"#);
        world.account("ana", answer(200, body));
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        for order in ["buy:1", "flat:1"] {
            let (object, exit) = read_json(&world, &["ana", "--order", order]).await;
            assert_eq!((&object["decision"]["deny"], exit), (&json!("blocked"), 3));
            assert_eq!(object["account"]["blocks"], json!(["account_blocked"]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_looked_at_is_1_and_a_typing_error_2() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    for args in
        [&["ana/b"][..], &[], &["ana", "--order", "hold:1"], &["ana", "--order", "buy:many"], &["ana", "ben"]]
    {
        let run = read(&world, args).await;
        assert_eq!((run.exit, run.stdout.as_str()), (Some(2), ""), "{args:?}");
    }
    world.fault("firestore/RunQuery:error=PERMISSION_DENIED");
    let (object, exit) = read_json(&world, &["ana", "--order", "buy:1"]).await;
    assert_eq!(
        (exit, &object["state"], object.get("decision")),
        (1, &json!("unknown"), None),
        "signals unread"
    );
    assert_eq!(read_json(&world, &["ana"]).await.1, 0);
    world.fault("firestore/BatchGetDocuments:error=PERMISSION_DENIED");
    let (object, exit) = read_json(&world, &["ana"]).await;
    assert_eq!((exit, &object["state"], object.get("verdict")), (1, &json!("unknown"), None), "{object}");
}
