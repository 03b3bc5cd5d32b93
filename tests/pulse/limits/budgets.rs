//! Rate budgets: users wait for them before their sync, and never in it.

use crate::live::{Live, wait_until};
use crate::traffic::Traffic;
use crate::world::{Env, Run, World, off, sandbox, timestamp};
use futures::future::join_all;
use pulse_sandbox::call::Service;
use serde_json::json;

const SYNCING: &str = "Syncing Alpaca account for user";
const SYNCED: &str = "Successfully synced Alpaca account for user";
const TOLD: &str = "Told to stop: starting no new user, finishing what is in flight";

/// A pass that is told to stop once so many users are synced, while the others wait for their budget.
async fn stopped_after(world: &World, synced: usize, args: &[&str], env: Env<'_>) -> Run {
    let mut command = world.command(args);
    command.envs(env.iter().copied());
    let mut running = Live::start(command);
    running.until(SYNCED, synced).await;
    running.signal("TERM");
    running.until(TOLD, 1).await;
    let run = running.end().await;
    assert_eq!(run.exit, Some(143), "{}", run.stdout);
    run
}

fn logged(run: &Run, message: &str) -> usize {
    let messages = run.entries();
    messages
        .iter()
        .filter(|entry| entry["message"].as_str().is_some_and(|text| text.starts_with(message)))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_started_beyond_the_minutes_secrets() {
    let cases: [(&[&str], Env<'_>); 3] = [
        (&["--secret-accesses-per-minute", "3"], &[]),
        (&[], &[("PULSE_SECRET_ACCESSES_PER_MINUTE", "3")]),
        (&["--secret-accesses-per-minute=3"], &[("PULSE_SECRET_ACCESSES_PER_MINUTE", "9")]),
    ];
    join_all(cases.map(|(args, env)| async move {
        let world = sandbox().await;
        world.crowd(5);
        let run = stopped_after(&world, 3, args, env).await;
        run.entry("Stopped multi-tenant sync: 3 successful, 0 errors");
        assert_eq!(world.calls(Service::SecretManager, "AccessSecretVersion"), 3, "{args:?} {env:?}");
        assert_eq!(logged(&run, SYNCING), 3, "who waits is not said to be syncing");
    }))
    .await;
}

/// Far more users than seconds that the test could take: all of them at once would be noticed.
#[tokio::test(flavor = "multi_thread")]
async fn alpaca_and_firestore_get_no_more_than_their_budgets_in_a_second() {
    const USERS: usize = 300;
    let cases: [(&[&str], Env<'_>); 5] = [
        (&["--alpaca-calls-per-second", "1"], &[]),
        (&[], &[("PULSE_ALPACA_CALLS_PER_SECOND", "1")]),
        (&["--max-writes-per-second", "2"], &[]),
        (&[], &[("PULSE_MAX_WRITES_PER_SECOND", "2")]),
        (&["--ramp-writes", "--max-writes-per-second", "2"], &[]),
    ];
    join_all(cases.map(|(args, env)| async move {
        let world = sandbox().await;
        world.crowd(USERS);
        let run = stopped_after(&world, 2, args, env).await;
        let started = logged(&run, SYNCING);
        assert!((2..USERS / 2).contains(&started), "{args:?} {env:?}: {started}");
        assert_eq!(logged(&run, SYNCED), started, "who was started is finished");
        assert_eq!(world.calls(Service::Alpaca, "GetAccount"), started as u64);
        assert_eq!(world.calls(Service::SecretManager, "AccessSecretVersion"), started as u64);
    }))
    .await;
}

/// With two writes for each user and one a second, the last one waits for longer than a sync may take.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_budget_is_not_part_of_a_users_time() {
    const USERS: usize = 13;
    let world = sandbox().await;
    world.crowd(USERS);
    let run = world.pulse_with(&["--max-writes-per-second", "1"]).await;
    run.assert_completed(&format!("{USERS} successful, 0 errors"), 0);
    let writes: usize = Traffic::of(&world).commits().iter().map(|commit| commit.writes.len()).sum();
    let last_pulse = world.document("ops/last_pulse").await;
    let took = timestamp(&last_pulse["timestamp"]) - timestamp(&last_pulse["started_at"]);
    let took = took.total(jiff::Unit::Second).expect("a span");
    // One is allowed at once, and a second may go by before the pass starts.
    assert!(took >= (writes - 2) as f64, "{writes} writes in {took} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn further_attempts_are_part_of_the_budget() {
    let world = sandbox().await;
    world.crowd(2);
    world.fault("secret-manager:error=503");
    let args = ["--secret-accesses-per-minute", "3", "--concurrency", "1"];
    let running = Live::start(world.command(&args));
    let accesses = || world.secret_accesses("user-0001") + world.secret_accesses("user-0002");
    wait_until(|| accesses() == 3).await;
    running.signal("TERM");
    let run = running.end().await;
    run.entry("Stopped multi-tenant sync: 0 successful, ");
    assert_eq!(accesses(), 3);
}

/// Between three attempts more than a second goes by, where backing off alone takes 600 ms at most.
#[tokio::test(flavor = "multi_thread")]
async fn further_attempts_wait_for_the_second_they_belong_to() {
    let cases = [
        ("--alpaca-calls-per-second=1", "alpaca:error=503,times=2"),
        ("--max-writes-per-second=2", "firestore/Commit:error=UNAVAILABLE,user=user-0001,times=2"),
    ];
    join_all(cases.map(|(limit, fault)| async move {
        let world = sandbox().await;
        world.crowd(1);
        world.fault(fault);
        let run = world.pulse_with(&[limit]).await;
        run.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(world.faults_applied(), [2]);
        let took = run.entry(SYNCED)["duration_ms"].as_u64();
        assert!(took > Some(1000), "{limit}: {took:?} ms");
    }))
    .await;
}

/// A second for each user's snapshot, which is kept for them, and one for each record.
#[tokio::test(flavor = "multi_thread")]
async fn records_of_trouble_are_writes_like_any_other() {
    let world = sandbox().await;
    for user in ["a", "b", "c", "d", "e"] {
        world.put(&format!("users/{user}"), []).await;
    }
    let run = world.pulse_with(&["--max-writes-per-second=1", "--legacy-tenant-path=off"]).await;
    run.assert_completed("0 successful, 5 errors", 1);
    let took = run.entry("Completed")["duration_ms"].as_u64();
    assert!(took > Some(8000), "{took:?} ms for ten writes, one of them at once");
    for user in ["a", "b", "c", "d", "e"] {
        assert_eq!(world.trouble(user).await["error"], "keys_missing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_may_not_be_made_in_time_is_not_made() {
    let world = sandbox().await;
    world.crowd(1);
    world.fault("secret-manager:error=503,user=user-0001");
    let run = world.pulse_with(&["--secret-accesses-per-minute", "1"]).await;
    run.assert_completed("0 successful, 1 errors", 1);
    assert_eq!(run.error_of("user-0001").as_deref(), Some("keys_unavailable"));
    assert_eq!(run.entry("A call was not made: its budget was used up")["severity"], "WARNING");
    let told = run.entry("Could not retrieve Alpaca keys for user user-0001: ")["message"].to_string();
    assert!(told.contains("was not asked") && told.contains("--secret-accesses-per-minute"), "{told}");
    assert_eq!(world.secret_accesses("user-0001"), 1);
}

/// The budgets are for those who have something to do: the others would take the minute from them.
#[tokio::test(flavor = "multi_thread")]
async fn users_with_nothing_to_do_take_nothing_from_the_budgets() {
    let world = sandbox().await;
    for user in ["a", "b", "c"] {
        world.put(&format!("users/{user}"), [("sync_enabled", off())]).await;
    }
    world.put("users/no key can be theirs", []).await;
    world.user("zoe").await;
    let run = world.pulse_with(&["--secret-accesses-per-minute=1", "--alpaca-calls-per-second=1"]).await;
    run.assert_completed("1 successful, 1 errors, 3 skipped", 0);
    assert!(
        run.entry("Completed")["duration_ms"].as_u64() < Some(60_000),
        "nobody waited for the next minute"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_needs_no_writes() {
    let world = sandbox().await;
    world.crowd(100);
    let run = world.pulse_with(&["--dry-run", "--max-writes-per-second", "1"]).await;
    run.assert_completed("100 successful, 0 errors", 0);
    assert!(run.entry("Completed")["duration_ms"].as_u64() < Some(60_000), "200 writes would take longer");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_do_not_hold_up_the_stop() {
    let world = sandbox().await;
    world.crowd(2);
    world.fault("alpaca:stall,user=user-0001");
    let running = Live::start(world.command(&["--secret-accesses-per-minute", "1"]));
    wait_until(|| world.account_calls("user-0001") > 0).await;
    running.signal("TERM");
    let run = running.end().await;
    assert_eq!(run.exit, Some(143), "{}", run.stdout);
    run.entry("Stopped multi-tenant sync: 0 successful, 0 errors; what was in flight is given up");
    assert_eq!(world.document("ops/last_pulse").await["users_count"], json!({"integer": 0}));
}
