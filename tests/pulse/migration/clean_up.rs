//! The clean-up: in two steps, of which the first can be undone.

use super::{Everything, WHOSE, assert_same, json, raw, reasons, without_journal};
use crate::world::{Backend, World};
use alpaca_pulse::firestore::values::{integer, text};
use serde_json::json;

const USERS: u32 = 12;

/// A database that was migrated, and the plan's id.
async fn migrated(backend: Backend) -> Option<(World, String)> {
    let world = World::legacy(backend, USERS).await?;
    let plan = world.plan(&WHOSE).await;
    assert_eq!(world.apply(&plan, &WHOSE).await.exit, Some(0));
    Some((world, plan))
}

async fn in_the_sandbox() -> (World, String) {
    migrated(Backend::Sandbox).await.expect("a sandbox")
}

/// The documents of the past, but those with keys.
fn legacy(all: &Everything) -> Vec<&String> {
    let at_root = ["tradingSignals/", "trade_signals/", "shadowTradeHistory/", "alpacaAccounts/"];
    let below_users = ["signals", "trading_signals", "data"];
    let is_of_users = |collection: &str, id: &str| below_users.contains(&collection) && id != "other";
    let is_legacy = |path: &&String| {
        let segments: Vec<_> = path.split('/').collect();
        at_root.iter().any(|root| path.starts_with(root))
            || path.ends_with("/accounts/live")
            || matches!(segments[..], ["users", _, collection, id, ..] if is_of_users(collection, id))
    };
    all.keys().filter(is_legacy).collect()
}

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [more, &WHOSE[..]].concat()
}

async fn in_two_steps((world, plan): (World, String)) {
    let migrated = without_journal(world.everything().await);
    assert!(legacy(&migrated).len() > 50);
    let verified = world.verified(&WHOSE).await;
    let run = world.clean_up(&plan, &with(&["--verified", &verified])).await;
    assert_eq!((run.exit, reasons(&run)), (Some(0), vec!["Deleted".to_owned()]), "{run:?}");
    let cleaned = without_journal(world.everything().await);
    assert_eq!(legacy(&cleaned), [""; 0]);
    assert_eq!(json(&run)["deleted"], legacy(&migrated).len());
    assert_eq!(json(&run)["deleted_below"], 4);
    assert!(
        cleaned.contains_key("users/nobody/data/other") && cleaned.contains_key("strategies/one/signals/s")
    );

    assert_eq!(reasons(&world.roll_back(&plan).await), ["NotInThisState"]);
    let undone = world.clean_up(&plan, &with(&["--undo"])).await;
    assert_eq!(undone.exit, Some(0), "{undone:?}");
    assert_same(&migrated, &without_journal(world.everything().await));

    let verified = world.verified(&WHOSE).await;
    assert_eq!(world.clean_up(&plan, &with(&["--verified", &verified])).await.exit, Some(0));
    let early = world.clean_up(&plan, &with(&["--verified", &verified])).await;
    assert_eq!((early.exit, reasons(&early)), (Some(3), vec!["TooEarly".to_owned()]));
    world.pulse().await;
    let by_hand: Vec<&str> = WHOSE.iter().copied().take(6).collect();
    let waiting = world.migrate(&[&["verify"], &by_hand[..]].concat()).await;
    assert_eq!((waiting.exit, reasons(&waiting)), (Some(3), vec!["UserUnknown".to_owned()]));
    let run = world.clean_up(&plan, &with(&["--verified", &verified, "--after", "0s"])).await;
    assert_eq!((run.exit, reasons(&run)), (Some(0), vec!["Closed".to_owned()]), "{run:?}");
    let all = world.everything().await;
    let of_before: Vec<_> = all.keys().filter(|path| path.contains("/secrets/")).collect();
    assert_eq!(of_before, [""; 0]);
    let left: Vec<_> = all.keys().filter(|path| path.starts_with("ops/migrations/")).collect();
    assert_eq!(left, [&format!("ops/migrations/runs/{plan}")]);
    assert_eq!(world.document(left[0]).await["state"], "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_two_steps_in_the_sandbox() {
    in_two_steps(in_the_sandbox().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_two_steps_in_the_emulator() {
    if let Some(migrated) = migrated(Backend::Emulator).await {
        in_two_steps(migrated).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_verification_with_the_same_options_nothing_is_deleted() {
    let (world, plan) = in_the_sandbox().await;
    let before = world.everything().await;
    let verified = world.verified(&WHOSE).await;
    let to_come = format!("20990101T000000.000000Z-{}", verified.rsplit_once('-').expect("two parts").1);
    for (args, exit) in [
        (with(&[]), Some(2)),
        (with(&["--verified", &to_come]), Some(2)),
        (with(&["--verified", &plan]), Some(2)),
        (with(&["--verified", "20260101T000000.000000Z-00000000"]), Some(2)),
        (vec!["--verified", &verified, "--owner", "user-0002"], Some(2)),
        (with(&["--undo"]), Some(3)),
    ] {
        let run = world.clean_up(&plan, &args).await;
        assert_eq!(run.exit, exit, "{args:?} {run:?}");
    }
    assert_same(&before, &world.everything().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_still_writes_is_left_and_named() {
    let (world, plan) = in_the_sandbox().await;
    let verified = world.verified(&WHOSE).await;
    world.patch("tradingSignals/form-2", [("did_trade", integer(1))]).await;
    let run = world.clean_up(&plan, &with(&["--verified", &verified])).await;
    assert_eq!((run.exit, reasons(&run)), (Some(3), vec!["Deleted".to_owned(), "WrittenLater".to_owned()]));
    assert_eq!(legacy(&world.everything().await), ["tradingSignals/form-2"]);

    world.delete("tradingSignals/form-2").await;
    let verified = world.verified(&WHOSE).await;
    let run = world.clean_up(&plan, &with(&["--verified", &verified])).await;
    assert_eq!((run.exit, reasons(&run)), (Some(0), vec!["Deleted".to_owned()]), "the first step again");
    world.put("tenants/local/accounts/live", [("equity", text("1"))]).await;
    let run = world.clean_up(&plan, &with(&["--verified", &verified, "--after", "0s"])).await;
    assert_eq!((run.exit, reasons(&run)), (Some(3), vec!["WrittenAgain".to_owned()]), "{run:?}");
    assert_eq!(
        world.clean_up(&plan, &with(&["--undo"])).await.exit,
        Some(3),
        "the streamer's document is left"
    );
    assert!(world.stored("tradingSignals/form-1").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_below_a_legacy_document_goes_with_it_unless_somebody_writes_it_or_it_has_keys() {
    let (world, plan) = in_the_sandbox().await;
    let old = |number: u32| format!("users/user-0002/signals/user-0002-own-1/notes/{number:03}");
    for number in 0..3 {
        world.put(&old(number), [("text", text("x"))]).await;
    }
    let [keys, ghost] = ["tradingSignals/form-2/secrets/alpaca", "tradingSignals/gone/comments/c"];
    world.put(keys, [("key_id", text("PKPLANTED")), ("secret_key", text("planted"))]).await;
    world.put(ghost, [("text", text("of no legacy document"))]).await;
    let verified = world.verified(&WHOSE).await;
    let late = "users/user-0003/data/snapshot/days/late";
    world.put(late, [("text", text("later"))]).await;
    let run = world.clean_up(&plan, &with(&["--verified", &verified])).await;
    let found = ["Deleted", "KeysBelow", "WrittenLater"].map(str::to_owned);
    assert_eq!((run.exit, reasons(&run)), (Some(3), found.into()), "{run:?}");
    let all = world.everything().await;
    let expected = [
        keys.rsplitn(3, '/').last().expect("its signal"),
        keys,
        ghost,
        "users/user-0003/data/snapshot",
        late,
    ];
    assert_eq!(legacy(&all), expected);
    let others = all.into_iter().filter(|(path, _)| path != keys).collect();
    assert!(!raw(&others).contains("PKPLANTED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_users_whom_no_pulse_has_synced_with_the_secret_are_left_until_one_has() {
    let world = World::legacy(Backend::Sandbox, 4).await.expect("a sandbox");
    let whose = &WHOSE[..6];
    let plan = world.plan(whose).await;
    assert_eq!(world.apply(&plan, whose).await.exit, Some(0));
    let verified = world.verified(whose).await;
    let args = [&["--verified", &verified, "--after", "0s"], whose].concat();
    assert_eq!(world.clean_up(&plan, &args).await.exit, Some(0));
    let run = world.clean_up(&plan, &args).await;
    assert_eq!((run.exit, reasons(&run)), (Some(3), vec!["KeysLeft".to_owned()]), "{run:?}");
    let left: Vec<_> = [1, 2, 4].map(|user| json!(format!("users/user-000{user}/secrets/alpaca"))).into();
    let mut named = json(&run)["keys_left"].as_array().expect("a list").clone();
    named.sort_by_key(ToString::to_string);
    assert_eq!((named, &json(&run)["keys_deleted"]), (left, &json!(1)), "the document of nulls goes");

    world.pulse().await;
    let run = world.clean_up(&plan, &args).await;
    assert_eq!((run.exit, reasons(&run)), (Some(0), vec!["Closed".to_owned()]), "{run:?}");
    assert_eq!((&json(&run)["keys_left"], &json(&run)["keys_deleted"]), (&json!([]), &json!(3)));
}
