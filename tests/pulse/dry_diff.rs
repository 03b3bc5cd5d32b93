//! `pulse sync --dry-run --diff`: what a dry run would change, user by user.

use crate::terminal::plain;
use crate::world::{Run, World, sandbox, secret_of};
use alpaca_pulse::firestore::values::{double, text};
use http::StatusCode;
use pulse_sandbox::alpaca::Profile;
use serde_json::json;

/// A user whose figures do not move from call to call.
async fn still(world: &World, user: &str) {
    world.user(user).await;
    let body = json!({
        "id": format!("account-of-{user}"), "status": "ACTIVE", "currency": "USD", "equity": "101.5",
        "buying_power": "200", "cash": "50", "trading_blocked": false, "account_blocked": false,
    });
    world.account(user, Profile::Fixed { status: StatusCode::OK, body: body.to_string().into() });
}

async fn diff(world: &World) -> Run {
    world.pulse_with(&["--dry-run", "--diff"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_user_is_new_changed_unchanged_or_failing() {
    let world = sandbox().await;
    for user in ["ana", "ben", "cy", "dan"] {
        still(&world, user).await;
    }
    world.pulse_with(&["--user=ana", "--user=ben", "--user=dan"]).await;
    let stored = world.snapshot("ana").await;
    world.patch("users/ben/alpacaAccounts/snapshot", [("equity", double(1.5)), ("cash", text("12"))]).await;
    world.sandbox.secrets().delete(&secret_of("dan"));
    let run = diff(&world).await;
    assert_eq!(run.exit, Some(3), "{}", run.stdout);
    let of = |user: &str| run.entry(&format!("Would have synced Alpaca account for user {user} (dry run)"));
    assert_eq!(of("ana")["difference"], json!("unchanged"));
    assert_eq!(of("cy")["difference"], json!("new"));
    let ben = of("ben");
    assert_eq!(ben["difference"], "changed");
    let message = ben["message"].as_str().expect("a text");
    let equity = world.snapshot("ana").await["equity"].clone();
    assert!(message.contains(&format!("equity 1.5 → {equity}")), "{message}");
    assert!(message.contains("cash \"12\" → "), "{message}");
    assert!(message.ends_with(ben["changes"].as_str().expect("a text")), "{message}");
    assert!(run.stdout.contains("Could not retrieve Alpaca keys for user dan"), "{}", run.stdout);
    let sum = run.entry("Compared with what is stored: 1 new, 1 changed, 1 unchanged");
    assert_eq!((&sum["new"], &sum["changed"], &sum["unchanged"]), (&json!(1), &json!(1), &json!(1)));
    let rest = ", 1 failed; changed are cash of 1, equity of 1; exits with 3, as not all are unchanged";
    assert!(sum["message"].as_str().is_some_and(|text| text.ends_with(rest)), "{sum}");
    assert_eq!(sum["failed"], json!(1));
    assert_eq!(world.snapshot("ana").await, stored, "nothing was written");
    assert!(!run.stdout.contains("hush"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_would_change_it_exits_with_0() {
    let world = sandbox().await;
    still(&world, "ana").await;
    world.pulse().await;
    assert_eq!(diff(&world).await.exit, Some(0));
    // Whoever fails could not be compared.
    still(&world, "ben").await;
    world.pulse().await;
    world.fault("alpaca:error=503,user=ben");
    assert_eq!(diff(&world).await.exit, Some(3));
    // As a job it is no reason for a retry.
    let run = world.pulse_with_in(&["--dry-run", "--diff"], &[("CLOUD_RUN_EXECUTION", "pulse-x")]).await;
    assert_eq!(run.exit, Some(0), "{}", run.stdout);
    // And a pass that failed is none that found something.
    world.fault("alpaca:error=503");
    assert_eq!(diff(&world).await.exit, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_dry_run_is_compared() {
    let world = sandbox().await;
    for args in [&["--diff"][..], &["--dry-run", "--diff", "--every=60s", "--for=2m"]] {
        let run = world.pulse_with(args).await;
        assert_eq!(run.exit, Some(2), "{}", run.stdout);
        assert!(run.stdout.contains("--diff says what a dry run would change"), "{}", run.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_everybody_is_shown() {
    let world = sandbox().await;
    for user in ["ana", "ben", "cy", "dan"] {
        still(&world, user).await;
    }
    world.pulse_with(&["--user=ana", "--user=ben", "--user=dan"]).await;
    let changed = ["external_account_id", "currency", "environment", "status"];
    let changed = changed.map(|field| (field, text("something else that is rather long")));
    world.patch("users/ben/alpacaAccounts/snapshot", changed).await;
    world.sandbox.secrets().delete(&secret_of("dan"));
    for columns in [80, 160] {
        let (exit, shown) = world.on_terminal(&["sync", "--dry-run", "--diff"], columns).await;
        assert_eq!(exit, Some(3), "{shown}");
        let lines = plain(&shown);
        let fits = |line: &String| {
            line.trim_start_matches('\r').chars().count() <= columns.into() || line.contains("$ ")
        };
        assert!(lines.iter().all(fits), "at {columns}: {lines:#?}");
        for part in
            ["  ana  unchanged", "  ben  changed: ", "  cy  new", "  dan  keys_missing  the user's to mend"]
        {
            assert!(lines.join("\n").contains(part), "{part} is not in {shown}");
        }
        let words = lines.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
        let change = "external_account_id \"something else that is rather long\" → \"account-of-ben\"";
        assert!(words.contains(change), "{words}");
        assert!(!shown.contains("duration_ms") && !shown.contains("Syncing"), "{shown}");
    }
}
