//! Section 2: the single account of old deployments, whose keys are in the environment.

use crate::answers::money;
use crate::on_both;
use crate::world::{World, sandbox, timestamp};
use alpaca_pulse::firestore::values::{double, text};
use pulse_sandbox::alpaca::{Keys, Profile};
use pulse_sandbox::call::Service;
use serde_json::json;

const KEY_ID: (&str, &str) = ("APCA_API_KEY_ID", "PKLEGACY0123456789");
const SECRET_KEY: (&str, &str) = ("APCA_API_SECRET_KEY", "hush-legacy-0123456789");
const OF_ACME: [(&str, &str); 3] = [KEY_ID, SECRET_KEY, ("TENANT_ID", "acme")];

const DEPRECATION: &str = "APCA_API_KEY_ID and APCA_API_SECRET_KEY are deprecated: store the keys in Secret \
    Manager as alpaca-keys-<userId> and unset both";

fn legacy_account(world: &World, profile: Profile) {
    let (key_id, secret_key) = (KEY_ID.1.to_owned(), SECRET_KEY.1.to_owned());
    let keys = Keys { key_id, secret_key };
    world.sandbox.alpaca().register("legacy", keys, profile);
}

on_both! {
    async fn it_is_synced_to_its_own_snapshot_and_the_tenant_that_the_operator_names(world) {
        legacy_account(&world, money("12.50"));
        let run = world.pulse_in(&OF_ACME).await;
        run.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(run.severity_of(DEPRECATION).as_deref(), Some("WARNING"), "{}", run.stdout);

        let mut snapshot = world.document("alpacaAccounts/snapshot").await;
        let mut primary = world.primary("acme").await;
        for document in [&mut snapshot, &mut primary] {
            let fields = document.as_object_mut().expect("a document");
            timestamp(&fields.remove("updated_at").expect("a server time"));
            timestamp(&fields.remove("fresh_until").expect("a promise"));
            assert!(fields.remove("updated_at_iso").is_some_and(|iso| iso.is_string()));
        }
        let mut expected = json!({
            "broker": "alpaca", "user_id": "legacy:acme", "environment": "paper", "currency": "USD",
            "external_account_id": "1d9eed04-be39-4e01-9b84-a48ac5bbafcf", "status": "ACTIVE",
            "equity": 12.5, "buying_power": 12.5, "cash": 12.5,
            "exact": {"equity": "12.50", "buying_power": "12.50", "cash": "12.50"},
        });
        assert_eq!(snapshot, expected);
        expected["tenant_id"] = json!("acme");
        assert_eq!(primary, expected);
    }

    async fn without_a_tenant_it_is_the_local_one(world) {
        legacy_account(&world, money("1"));
        world.pulse_in(&[KEY_ID, SECRET_KEY]).await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(world.tenants_with_account().await, ["local"]);
        assert_eq!(world.primary("local").await["tenant_id"], "local");
    }

    async fn it_is_synced_beside_the_users(world) {
        legacy_account(&world, money("1"));
        world.user("ana").await;
        let run = world.pulse_in(&OF_ACME).await;
        run.assert_completed("2 successful, 0 errors", 0);
        assert_eq!(world.snapshot("ana").await["status"], "ACTIVE");
        assert_eq!(world.tenants_with_account().await, ["acme", "ana"]);
        let last_pulse = world.document("ops/last_pulse").await;
        assert_eq!(last_pulse["users_count"], json!({"integer": 2}));
    }

    async fn it_keeps_its_tenants_document_from_pass_to_pass(world) {
        for equity in ["1", "2"] {
            legacy_account(&world, money(equity));
            world.pulse_in(&OF_ACME).await.assert_completed("1 successful, 0 errors", 0);
            assert_eq!(world.primary("acme").await["exact"]["equity"], equity);
        }
    }

    async fn a_tenants_document_that_belongs_to_somebody_is_not_overwritten(world) {
        let path = "tenants/acme/accounts/primary";
        world.put(path, [("user_id", text("ana")), ("equity", double(7.0))]).await;
        let before = world.stored(path).await;
        legacy_account(&world, money("1"));
        world.pulse_in(&OF_ACME).await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(world.stored(path).await, before);
        assert_eq!(world.document("alpacaAccounts/snapshot").await["equity"], json!(1.0));
    }

    async fn rejected_legacy_keys_fail_that_account_only(world) {
        legacy_account(&world, money("1"));
        world.user("ana").await;
        world.pulse_in(&OF_ACME).await.assert_completed("2 successful, 0 errors", 0);
        let before = world.stored("alpacaAccounts/snapshot").await;
        legacy_account(&world, Profile::Revoked);
        for _ in 0..2 {
            let run = world.pulse_in(&OF_ACME).await;
            run.assert_completed("1 successful, 1 errors", 0);
            assert_eq!(run.error_of("legacy:acme").as_deref(), Some("broker_rejected"));
            assert!(run.says("Successfully synced Alpaca account for user ana"), "{}", run.stdout);
        }
        assert_eq!(world.stored("alpacaAccounts/snapshot").await, before);
        assert_eq!(world.document("alpacaAccounts/sync").await, json!(null), "it has no record of trouble");
    }

    async fn neither_a_named_user_nor_a_dry_run_nor_the_path_switched_off_writes_its_tenant(world) {
        legacy_account(&world, money("1"));
        world.user("ana").await;
        let runs: [(&[&str], &str, bool); 3] = [
            (&["--user", "ana"], "1 successful, 0 errors", false),
            (&["--dry-run"], "2 successful, 0 errors", false),
            (&["--legacy-tenant-path", "off"], "2 successful, 0 errors", true),
        ];
        for (args, counts, is_written) in runs {
            let run = world.pulse_with_in(args, &OF_ACME).await;
            run.assert_completed(counts, 0);
            assert_eq!(world.primary("acme").await, json!(null), "{args:?}");
            let snapshot = world.document("alpacaAccounts/snapshot").await;
            assert_eq!(!snapshot.is_null(), is_written, "{args:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_for_named_users_does_not_ask_about_it() {
    let world = sandbox().await;
    legacy_account(&world, money("1"));
    world.user("ana").await;
    let mut environment = OF_ACME.to_vec();
    environment.push(("PULSE_USERS", "ana"));
    let run = world.pulse_in(&environment).await;
    run.assert_completed("1 successful, 0 errors", 0);
    assert!(!run.stdout.contains("deprecated"), "{}", run.stdout);
    assert_eq!(world.calls(Service::Alpaca, "GetAccount"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_key_pair_is_a_configuration_error_and_nothing_is_touched() {
    let half: [&[(&str, &str)]; 4] = [
        &[KEY_ID],
        &[SECRET_KEY],
        &[KEY_ID, ("APCA_API_SECRET_KEY", "")],
        &[("APCA_API_KEY_ID", ""), SECRET_KEY],
    ];
    let world = sandbox().await;
    for environment in half {
        let run = world.pulse_in(environment).await;
        assert_eq!(run.exit, Some(2), "{}", run.stdout);
        let message = "APCA_API_KEY_ID and APCA_API_SECRET_KEY must be set together";
        assert_eq!(run.severity_of(message).as_deref(), Some("ERROR"), "{}", run.stdout);
        assert!(!run.stdout.contains("hush") && !run.stdout.contains("PKLEGACY"), "{}", run.stdout);
        let called = world.sandbox.requests().counts();
        assert!(called.values().all(|methods| methods.is_empty()), "nobody was asked: {called:?}");
    }
}
