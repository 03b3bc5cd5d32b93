//! Keys: from documents to Secret Manager, once Alpaca took them.

use super::{assert_same, json, reasons, without_journal};
use crate::live::wait_until;
use crate::world::{Backend, World, fields_of, keys_of, secret_of, token_of};
use alpaca_pulse::firestore::values::{map, null, text};
use pulse_sandbox::alpaca::Profile;
use pulse_sandbox::call::Service;
use pulse_sandbox::seed::{key_id, secret_key, user_id};
use serde_json::{Value as Json, json};

/// With the first four, none of whom has a document of their own missing.
async fn legacy() -> World {
    World::legacy(Backend::Sandbox, 4).await.expect("a sandbox")
}

const WHOSE: [&str; 6] =
    ["--owner", "user-0001", "--leave-behind", "ambiguous", "--leave-behind", "malformed"];

/// The newest payload of a user's secret, if it has one that can be read.
async fn stored(world: &World, user: &str) -> Option<Json> {
    let payload = crate::keys_command::stored(world, user, "latest").await?;
    serde_json::from_str(&payload).ok()
}

fn expected(number: u32) -> Option<Json> {
    Some(json!({"key_id": key_id(number), "secret_key": secret_key(number), "environment": "paper"}))
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_stored_as_todays_payload_and_a_rollback_disables_them() {
    let world = legacy().await;
    let before = world.everything().await;
    let plan = world.plan(&WHOSE).await;
    let verified = world.migrate(&[&["verify"][..], &WHOSE].concat()).await;
    assert_eq!(
        (verified.exit, reasons(&verified)),
        (Some(3), vec!["KeysNotMoved".to_owned(), "NotMoved".to_owned()])
    );
    let run = world.apply(&plan, &WHOSE).await;
    assert_eq!((run.exit, &json(&run)["keys_moved"]), (Some(0), &json!(3)), "{run:?}");
    for number in [1, 2, 4] {
        assert_eq!(stored(&world, &user_id(number)).await, expected(number));
    }
    assert_eq!(stored(&world, "user-0003").await, None, "nulls are no keys");
    assert_eq!(world.migrate(&[&["verify"][..], &WHOSE].concat()).await.exit, Some(0));
    world.pulse().await;
    assert_eq!(world.snapshot("user-0001").await["key_version"], "1");

    let again = world.apply(&plan, &WHOSE).await;
    assert_eq!((again.exit, &json(&again)["keys_moved"]), (Some(0), &json!(0)));
    for user in ["user-0001", "user-0002", "user-0004"] {
        for document in ["alpacaAccounts/snapshot", "alpacaAccounts/sync"] {
            world.delete(&format!("users/{user}/{document}")).await;
        }
        world.delete(&format!("tenants/{user}/accounts/primary")).await;
    }
    let run = world.roll_back(&plan).await;
    assert!(json(&run)["undone"].as_u64() > Some(3), "{run:?}");
    for number in 1..=4 {
        assert_eq!(stored(&world, &user_id(number)).await, None, "{number}");
    }
    let mut after = without_journal(world.everything().await);
    // The pulse has written a tenant's.
    after.retain(|path, _| before.contains_key(path) && !path.starts_with("tenants/"));
    let kept = before.into_iter().filter(|(path, _)| after.contains_key(path)).collect();
    assert_same(&kept, &after);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_keys_that_alpaca_takes_are_stored_and_nothing_is_overwritten() {
    let world = legacy().await;
    world
        .put("users/user-0001/secrets/alpaca", [("key_id", text("PKWRONG")), ("secret_key", text("wrong"))])
        .await;
    world.put("users/user-0003/secrets/alpaca", [("key_id", text("PK1")), ("secret_key", null())]).await;
    world
        .put(
            "users/stranger/secrets/alpaca",
            [("key_id", text(key_id(1))), ("secret_key", text(secret_key(1)))],
        )
        .await;
    world.put("users/user-0001/secrets/other", [("key_id", text("theirs"))]).await;
    let (other_id, other_key) = keys_of("user-0002");
    world.connect("user-0002", Profile::active());
    let plan = world.plan(&WHOSE).await;
    let run = world.apply(&plan, &WHOSE).await;
    assert_eq!(run.exit, Some(3), "{run:?}");
    let left = json(&run)["not_moved"].as_array().expect("a list").clone();
    for (path, outcome) in [
        ("users/user-0001/secrets/alpaca", "keys_rejected"),
        ("users/user-0002/secrets/alpaca", "other_keys"),
        ("users/user-0003/secrets/alpaca", "keys_malformed"),
        ("users/stranger/secrets/alpaca", "user_unknown"),
    ] {
        assert!(left.contains(&json!({"source": path, "outcome": outcome})), "{path} in {left:?}");
    }
    assert_eq!(left.len(), 4, "{left:?}");
    assert_eq!(stored(&world, "user-0001").await, None);
    let theirs = json!({"key_id": other_id, "secret_key": other_key, "environment": "paper"});
    assert_eq!(
        (stored(&world, "user-0002").await, stored(&world, "user-0004").await),
        (Some(theirs), expected(4))
    );
}

/// Three users' keys take two lists each, of which four go at once, and the others in some seconds.
#[tokio::test(flavor = "multi_thread")]
async fn secret_manager_is_asked_no_faster_than_its_quota_allows() {
    let world = legacy().await;
    let plan = world.plan(&WHOSE).await;
    let begin = std::time::Instant::now();
    let slowly = [&["--secret-calls-per-minute", "40"], &WHOSE[..]].concat();
    let run = world.apply(&plan, &slowly).await;
    assert_eq!((run.exit, &json(&run)["keys_moved"]), (Some(0), &json!(3)), "{run:?}");
    assert!(begin.elapsed().as_secs() >= 3, "{:?}", begin.elapsed());

    let calls = |method| world.calls(Service::SecretManager, method);
    let (lists, accesses) = (calls("ListSecretVersions"), calls("AccessSecretVersion"));
    let args = [&["verify", "--secret-accesses-per-minute", "1"], &WHOSE[..]].concat();
    let mut verifying = world.migration(&args).spawn().expect("pulse starts");
    wait_until(|| calls("ListSecretVersions") == lists + 3 && calls("AccessSecretVersion") > accesses).await;
    verifying.kill().await.expect("it can be killed");
    assert_eq!(calls("AccessSecretVersion"), accesses + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn alpaca_or_secret_manager_that_do_not_answer_are_asked_again_by_the_next_run() {
    for fault in ["alpaca:error=503", "secret-manager/AddSecretVersion:error=503"] {
        let world = legacy().await;
        let plan = world.plan(&WHOSE).await;
        world.fault(fault);
        let run = world.apply(&plan, &WHOSE).await;
        assert_eq!(
            (run.exit, reasons(&run)),
            (Some(1), vec!["Applied".to_owned(), "KeysNotAsked".to_owned()]),
            "{fault}"
        );
        world.sandbox.faults().clear();
        let run = world.apply(&plan, &WHOSE).await;
        assert_eq!((run.exit, &json(&run)["keys_moved"]), (Some(0), &json!(3)), "{fault}: {run:?}");
        assert_eq!(stored(&world, "user-0001").await, expected(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rollback_disabled_is_moved_again_by_the_next_plan() {
    let world = legacy().await;
    for round in 0..2 {
        let plan = world.plan(&WHOSE).await;
        let run = world.apply(&plan, &WHOSE).await;
        assert_eq!((run.exit, &json(&run)["keys_moved"]), (Some(0), &json!(3)), "{round}: {run:?}");
        assert_eq!(stored(&world, "user-0001").await, expected(1));
        assert_eq!(world.migrate(&[&["verify"][..], &WHOSE].concat()).await.exit, Some(0));
        let run = world.roll_back(&plan).await;
        assert_eq!((run.exit, stored(&world, "user-0001").await), (Some(0), None), "{round}: {run:?}");
    }
}

/// They are named by every command, and no option gives up what could be moved.
#[tokio::test(flavor = "multi_thread")]
async fn keys_by_other_names_are_never_taken_for_none() {
    let world = legacy().await;
    let upper = [("APCA_API_KEY_ID", text(key_id(1))), ("APCA_API_SECRET_KEY", text(secret_key(1)))];
    world.put("users/user-0001/secrets/alpaca", upper).await;
    let inner = map(fields_of([("id", text(key_id(2))), ("value", text(secret_key(2)))]));
    world.put("users/user-0002/secrets/alpaca", [("paper", inner)]).await;
    world.connect_token("user-0004", Profile::active());
    world.sandbox.secrets().delete(&secret_of("user-0004"));
    let token = token_of("user-0004");
    let of_today = [("oauth_token", text(&token)), ("environment", text("paper"))];
    world.put("users/user-0004/secrets/alpaca", of_today).await;
    let plan = world.plan(&WHOSE).await;
    let run = world.apply(&plan, &WHOSE).await;
    assert_eq!((run.exit, &json(&run)["keys_moved"]), (Some(3), &json!(1)), "{run:?}");
    let of_user =
        |user| json!({"source": format!("users/{user}/secrets/alpaca"), "outcome": "keys_malformed"});
    let left = json(&run)["not_moved"].as_array().expect("a list").clone();
    assert!(left.len() == 2 && ["user-0001", "user-0002"].map(of_user).iter().all(|one| left.contains(one)));
    let payload = json!({"oauth_token": token, "environment": "paper"});
    assert_eq!(stored(&world, "user-0004").await, Some(payload));
    let verified = world.migrate(&[&["verify"][..], &WHOSE].concat()).await;
    assert_eq!((verified.exit, reasons(&verified)), (Some(3), vec!["KeysMalformed".to_owned()]));
    let given_up = world.migrate(&[&["verify"][..], &super::WHOSE].concat()).await;
    let found = ["KeysMalformed", "Verified"].map(str::to_owned);
    assert_eq!((given_up.exit, reasons(&given_up)), (Some(0), found.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_could_be_moved_are_never_given_up() {
    let (world, whose) = (legacy().await, super::WHOSE);
    world
        .put("users/user-0002/secrets/alpaca", [("key_id", text("PKGONE")), ("secret_key", text("gone"))])
        .await;
    let plan = world.plan(&whose).await;
    world.fault("secret-manager/AddSecretVersion:error=503");
    assert_eq!(reasons(&world.apply(&plan, &whose).await), ["Applied", "KeysNotAsked", "KeysRejected"]);
    world.sandbox.faults().clear();
    let verify = || async { world.migrate(&[&["verify"][..], &whose].concat()).await };
    let run = verify().await;
    assert_eq!((run.exit, reasons(&run)), (Some(3), vec!["KeysNotMoved".to_owned(), "KeysRejected".into()]));
    world.fault("alpaca:error=503");
    assert_eq!(reasons(&verify().await), ["KeysNotAsked"]);
    world.sandbox.faults().clear();

    assert_eq!(world.apply(&plan, &whose).await.exit, Some(0));
    world.pulse().await;
    let verified = world.verified(&whose).await;
    let args = [&["--verified", &verified, "--after", "0s"], &whose[..]].concat();
    assert_eq!(world.clean_up(&plan, &args).await.exit, Some(0));
    world.sandbox.secrets().delete(&secret_of("user-0001"));
    let run = world.clean_up(&plan, &args).await;
    let found = ["KeysLeft", "KeysNotMoved"].map(str::to_owned);
    assert_eq!((run.exit, reasons(&run)), (Some(3), found.into()), "{run:?}");
    let left: Vec<_> = world.group("secrets").await.into_keys().collect();
    assert_eq!(left, ["users/user-0001/secrets/alpaca"], "what Alpaca refuses is given up");
}
