//! Section 2: the documents that a pass writes.

use crate::answers::answer;
use crate::on_both;
use crate::world::{fields_of, keys_of, sandbox, secret_of, timestamp, token_of};
use alpaca_pulse::firestore::values::{boolean, map, text};
use pulse_sandbox::alpaca::Profile;
use pulse_sandbox::call::Service;
use serde_json::json;

const ACCOUNT: &str = r#"{"id":"1d9eed04-be39-4e01-9b84-a48ac5bbafcf","status":"ACTIVE","currency":"USD",
    "equity":"123346.110","buying_power":"245432.61","cash":"-122086.5","multiplier":"2","user_configurations":null}"#;

/// The same with all that need not be sent.
const WHOLE_ACCOUNT: &str = r#"{"id":"1d9eed04-be39-4e01-9b84-a48ac5bbafcf","status":"ACTIVE","currency":"USD",
    "equity":"123346.110","buying_power":"245432.61","cash":"-122086.5","multiplier":"2",
    "last_equity":"122011.09751111286868","non_marginable_buying_power":"0","trading_blocked":true,
    "account_blocked":false,"trade_suspended_by_user":false,"transfers_blocked":false,"pattern_day_trader":false}"#;

on_both! {
    async fn a_snapshot_has_exactly_the_promised_fields(world) {
        world.user("ana").await;
        world.connect("ana", answer(200, ACCOUNT));
        let before = jiff::Timestamp::now();
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);

        let mut snapshot = world.snapshot("ana").await;
        let fields = snapshot.as_object_mut().expect("a document");
        let written = timestamp(&fields.remove("updated_at").expect("a server time"));
        let iso = fields.remove("updated_at_iso").expect("a text");
        let answered: jiff::Timestamp = iso.as_str().and_then(|iso| iso.parse().ok()).expect("a point in time");
        assert_eq!(iso.as_str().map(str::len), Some("2026-01-05T14:30:00.123Z".len()), "{iso}");
        assert!(before.as_millisecond() <= answered.as_millisecond() && answered <= jiff::Timestamp::now());
        assert!((written - answered).total(jiff::Unit::Second).expect("a span").abs() < 60.0);
        let until = timestamp(&fields.remove("fresh_until").expect("a promise"));
        assert_eq!(until.duration_since(answered), jiff::SignedDuration::from_secs(300));
        assert_eq!(snapshot, json!({
            "broker": "alpaca",
            "user_id": "ana",
            "external_account_id": "1d9eed04-be39-4e01-9b84-a48ac5bbafcf",
            "status": "ACTIVE",
            "environment": "paper",
            "currency": "USD",
            "equity": 123_346.11,
            "buying_power": 245_432.61,
            "cash": -122_086.5,
            "multiplier": "2",
            "exact": {"equity": "123346.110", "buying_power": "245432.61", "cash": "-122086.5"},
            "encrypted_key_path": format!("projects/{}/secrets/alpaca-keys-ana/versions/latest", world.project),
            "key_version": "2",
        }));
        assert_eq!(world.trouble("ana").await, json!(null), "a user without trouble has no sync document");
    }

    async fn the_tenants_document_carries_the_same_figures(world) {
        world.user("ana").await;
        world.connect("ana", answer(200, ACCOUNT));
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        let (user, mut tenant) = (world.snapshot("ana").await, world.primary("ana").await);
        let fields = tenant.as_object_mut().expect("a document");
        assert_eq!(fields.remove("tenant_id"), Some(json!("ana")));
        assert_eq!(fields.len(), 14);
        for (field, value) in fields {
            assert_eq!(&user[field.as_str()], value, "{field}: both are written by one commit");
        }
    }

    async fn what_need_not_be_sent_is_written_as_sent_and_removed_when_it_is_sent_no_more(world) {
        world.user("ana").await;
        let promised = json!({
            "last_equity": 122_011.097_511_112_87,
            "non_marginable_buying_power": 0.0,
            "multiplier": "2",
            "trading_blocked": true,
            "account_blocked": false,
            "trade_suspended_by_user": false,
            "transfers_blocked": false,
            "pattern_day_trader": false,
        });
        let promised = promised.as_object().expect("an object");
        let paths = ["users/ana/alpacaAccounts/snapshot", "tenants/ana/accounts/primary"];
        world.connect("ana", answer(200, WHOLE_ACCOUNT));
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        for path in paths {
            let document = world.document(path).await;
            for (field, value) in promised {
                assert_eq!(&document[field], value, "{path}: {field}");
            }
            let exact = &document["exact"];
            assert_eq!((&exact["last_equity"], &exact["non_marginable_buying_power"]), (&json!("122011.09751111286868"), &json!("0")));
        }
        world.account("ana", answer(200, ACCOUNT.replace("\"multiplier\":\"2\",", "")));
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        for path in paths {
            let document = world.document(path).await;
            for field in promised.keys() {
                assert_eq!(document.get(field), None, "{path}: {field}");
            }
            assert_eq!(document["exact"].as_object().map(serde_json::Map::len), Some(3));
        }
    }

    async fn fields_of_others_survive(world) {
        world.user("ana").await;
        for path in ["users/ana/alpacaAccounts/snapshot", "tenants/ana/accounts/primary", "ops/last_pulse"] {
            world.put(path, [("theirs", text("stays")), ("equity", text("replaced")), ("status", text("old"))]).await;
        }
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        for path in ["users/ana/alpacaAccounts/snapshot", "tenants/ana/accounts/primary"] {
            let document = world.document(path).await;
            assert_eq!((&document["theirs"], &document["status"]), (&json!("stays"), &json!("ACTIVE")), "{path}");
            assert!(document["equity"].is_f64(), "{path}");
        }
        assert_eq!(world.document("ops/last_pulse").await["theirs"], "stays");
    }

    async fn what_would_contradict_live_figures_is_removed_by_the_first_good_snapshot(world) {
        world.user("ana").await;
        let placeholder = || [
            ("configured", boolean(false)),
            ("note", text("not connected yet")),
            ("syncedAt", text("2025-01-01T00:00:00Z")),
            ("account", map(fields_of([("equity", text("0"))]))),
            ("equity", text("0")),
            ("raw", map(fields_of([("equity", text("0"))]))),
            ("theirs", text("stays")),
        ];
        let paths = ["users/ana/alpacaAccounts/snapshot", "tenants/ana/accounts/primary"];
        for path in paths {
            world.put(path, placeholder()).await;
        }
        world.account("ana", answer(200, r#"{"id":"1","status":"ACTIVE"}"#));
        world.pulse().await.assert_completed("0 successful, 1 errors", 1);
        for path in paths {
            let document = world.document(path).await;
            assert_eq!((&document["configured"], &document["equity"]), (&json!(false), &json!("0")), "{path}: untouched");
        }
        world.account("ana", answer(200, ACCOUNT));
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        for path in paths {
            let document = world.document(path).await;
            for field in ["configured", "note", "syncedAt", "account", "raw"] {
                assert_eq!(document.get(field), None, "{path}: {field}");
            }
            assert_eq!((&document["theirs"], &document["equity"]), (&json!("stays"), &json!(123_346.11)), "{path}");
        }
    }

    async fn an_answer_that_cannot_be_stored_whole_costs_only_raw(world) {
        let odd = [
            ("surrogate", r#""\ud800""#.to_owned()),
            ("range", "1e999".to_owned()),
            ("nesting", format!("{}{}", "[".repeat(300), "]".repeat(300))),
            ("escape", r#""\u12""#.to_owned()),
        ];
        for (user, odd) in &odd {
            world.user(user).await;
            world.account(user, answer(200, ACCOUNT.replace("\"multiplier\":\"2\"", &format!("\"multiplier\":{odd}"))));
            world.put(&format!("users/{user}/alpacaAccounts/snapshot"), [("raw", text("of then"))]).await;
        }
        world.user("zoe").await;
        world.account("zoe", answer(200, ACCOUNT.replace("multiplier", "__multiplier__")));
        let run = world.pulse_with(&["--store-raw"]).await;
        let [readable @ .., (escape, _)] = &odd;
        run.assert_completed("4 successful, 1 errors", 0);
        assert_eq!(run.error_of(escape).as_deref(), Some("broker_bad_answer"), "that is no JSON");
        for (user, _) in readable {
            let told = run.entry(&format!("Not storing raw for user {user}: "));
            assert_eq!((&told["severity"], &told["user_id"]), (&json!("WARNING"), &json!(user)));
            let snapshot = world.snapshot(user).await;
            assert_eq!((&snapshot["equity"], snapshot.get("raw")), (&json!(123_346.11), None), "{user}");
        }
        let told = run.entry("Storing raw for user zoe without 1 fields, ");
        assert_eq!(told["severity"], "WARNING");
        let raw = world.snapshot("zoe").await["raw"].clone();
        assert_eq!((&raw["cash"], raw.get("__multiplier__")), (&json!("-122086.5"), None));
    }

    async fn a_failed_user_keeps_the_last_good_snapshot_untouched(world) {
        world.user("ana").await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        let good = (world.snapshot("ana").await, world.primary("ana").await);
        for broken in [r#"{"id":"1","status":"ACTIVE"}"#, "not json", ""] {
            world.connect("ana", answer(200, broken));
            world.pulse().await.assert_completed("0 successful, 1 errors", 1);
            assert_eq!((world.snapshot("ana").await, world.primary("ana").await), good, "after {broken:?}");
        }
    }

    async fn a_user_who_never_synced_has_no_snapshot_at_all(world) {
        world.user("ana").await;
        world.sandbox.secrets().delete(&secret_of("ana"));
        world.pulse().await.assert_completed("0 successful, 1 errors", 1);
        assert_eq!(world.snapshot("ana").await, json!(null));
        assert_eq!(world.primary("ana").await, json!(null));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_travel_only_as_headers_to_alpaca() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    let (key_id, secret_key) = keys_of("ana");
    let received = world.sandbox.requests().received();
    let asked: Vec<_> = received.iter().filter(|call| call.method.service() == Service::Alpaca).collect();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path, "/v2/account");
    assert_eq!(asked[0].headers["apca-api-key-id"], key_id);
    assert_eq!(asked[0].headers["apca-api-secret-key"], secret_key);
    for call in received.iter().filter(|call| call.method.service() != Service::Alpaca) {
        let sent = format!("{} {:?} {:?} {:?}", call.path, call.query, call.headers, call.body);
        assert!(!sent.contains(&secret_key), "{} got the key", call.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_travels_only_as_a_bearer_header_to_alpaca() {
    let world = sandbox().await;
    world.user("ana").await;
    let version = world.connect_token("ana", answer(200, ACCOUNT));
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    let snapshot = world.snapshot("ana").await;
    assert_eq!((&snapshot["equity"], &snapshot["environment"]), (&json!(123_346.11), &json!("paper")));
    assert_eq!(snapshot["key_version"], version.to_string());
    let token = token_of("ana");
    let received = world.sandbox.requests().received();
    let asked: Vec<_> = received.iter().filter(|call| call.method.service() == Service::Alpaca).collect();
    assert_eq!((asked.len(), asked[0].path.as_str()), (1, "/v2/account"));
    assert_eq!(asked[0].headers["authorization"], format!("Bearer {token}"));
    assert!(!asked[0].headers.keys().any(|name| name.as_str().starts_with("apca-")));
    for call in received.iter().filter(|call| call.method.service() != Service::Alpaca) {
        let sent = format!("{} {:?} {:?} {:?}", call.path, call.query, call.headers, call.body);
        assert!(!sent.contains(&token), "{} got the token", call.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_token_is_its_users_to_replace_and_a_new_one_is_taken() {
    let world = sandbox().await;
    world.user("ana").await;
    world.connect_token("ana", Profile::Revoked);
    for _ in 0..2 {
        let run = world.pulse().await;
        assert_eq!(run.error_of("ana").as_deref(), Some("broker_rejected"), "{}", run.stdout);
    }
    assert_eq!(world.trouble("ana").await["state"], "needs_reauth");
    // By keys of the other kind.
    world.connect("ana", Profile::active());
    world.pulse_with(&["--user", "ana"]).await.assert_completed("1 successful, 0 errors", 0);
    assert_eq!(world.trouble("ana").await["state"], "ok");
}
