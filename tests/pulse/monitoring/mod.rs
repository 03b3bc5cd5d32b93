//! What an operator sees of whole days, and when they are woken: the alerts and the dashboard of `deploy/monitoring/`, by
//! Prometheus' own judge, on days made of what real passes said.

mod day;
mod filter;
mod rules;
mod series;

use crate::live::Live;
use crate::promtool;
use crate::world::{Run, World, sandbox};
use day::Day;
use pulse_sandbox::alpaca::Profile;
use rules::{panels, queries, rules};
use serde_json::{Value as Json, json};
use series::{names, series};
use std::collections::BTreeSet;

/// When something begins to happen: at ten.
const TEN: usize = 10 * 60;

/// From the end of an hour that began then.
const REST: usize = 24 * 60 - TEN - 60;

/// An alert, and the first and the last minute in which it is on, as counted from ten.
type Alert = (&'static str, usize, usize);

/// The hour is told while it lasts, and the passes that fail until they are five minutes ago.
const NO_PASS_BEGINS: [Alert; 4] =
    [("failed-1", 1, 64), ("failed-2", 1, 64), ("nobody", 15, 60), ("silent-2", 10, 60)];

/// Twelve users, and three who signed up and have no keys yet.
async fn small_world() -> World {
    let world = sandbox().await;
    world.users(&ids("user", 12)).await;
    sign_up(&world, 3).await;
    world
}

fn ids(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name}-{number:03}")).collect()
}

async fn sign_up(world: &World, count: usize) {
    for id in ids("new", count) {
        world.put(&format!("users/{id}"), []).await;
    }
}

/// A small world's day of health, until ten.
async fn morning() -> Day {
    let mut day = Day::of(small_world().await).await;
    day.goes_on(TEN - 1).await;
    day.goes_on(1).await;
    day
}

/// Asserts that exactly these alerts go off, and that at ten there is something to see in each panel of the dashboard.
#[track_caller]
fn check(day: &Day, alerts: &[Alert]) {
    let minutes = day.minutes.len();
    let (firing, range) = (r#"ALERTS{alertstate="firing"}"#, format!("[{minutes}m:1m]"));
    let of_alerts = |query: String, value: fn(&Alert) -> usize| {
        let sample = |alert: &Alert| {
            let labels = format!(r#"{{alertname="{}", alertstate="firing"}}"#, alert.0);
            json!({"labels": labels, "value": value(alert)})
        };
        let samples: Vec<Json> = alerts.iter().map(sample).collect();
        json!({"expr": query, "eval_time": format!("{minutes}m"), "exp_samples": samples})
    };
    let mut queries = vec![
        of_alerts(format!("min_over_time(timestamp({firing}){range}) / 60"), |alert| TEN + alert.1),
        of_alerts(format!("max_over_time(timestamp({firing}){range}) / 60"), |alert| TEN + alert.2),
        of_alerts(format!("count_over_time({firing}{range})"), |alert| alert.2 - alert.1 + 1),
    ];
    let is_seen = |query: String| {
        let query = format!("count({query}) > bool 0");
        json!({"expr": query, "eval_time": format!("{TEN}m"), "exp_samples": [{"labels": "{}", "value": 1}]})
    };
    queries.extend(panels().into_iter().map(is_seen));
    let test = json!({"interval": "1m", "input_series": series(day), "promql_expr_test": queries});
    promtool::check(&rules(), &[test]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_day_with_twenty_revoked_users_a_hundred_sign_ups_and_a_slow_minute_wakes_nobody() {
    let world = sandbox().await;
    let ids = ids("user", 200);
    world.users(&ids).await;
    sign_up(&world, 100).await;
    let mut day = Day::of(world).await;
    day.goes_on(TEN - 3).await;
    day.goes_on(1).await;
    slow_minute(&mut day).await;
    day.goes_on(60).await;
    for id in &ids[..20] {
        day.world.account(id, Profile::Revoked);
    }
    day.goes_on(1).await;
    day.goes_on(1).await;
    // They rest, and are tried again now and then.
    day.goes_on(60).await;
    day.goes_on(1).await;
    day.goes_on(REST - 63).await;
    assert_eq!(day.passes.last().map(|pass| pass.figure("needs_reauth_count")), Some(20.0));
    check(&day, &[]);
}

/// A pass takes so long that the next minute's start finds it at work.
async fn slow_minute(day: &mut Day) {
    day.world.fault("alpaca:latency=1s");
    let (slow, skipped) = loop {
        let mut command = day.world.command(&[]);
        day.measured(&mut command);
        let mut slow = Live::start(command);
        slow.until("Syncing Alpaca account", 1).await;
        let second = Run::of(day.measured(&mut day.world.command(&[]))).await;
        let slow = slow.end().await;
        // A machine that stood still meanwhile has seen both through.
        if second.stdout.contains("Skipped pulse: ") {
            break (slow, second);
        }
    };
    day.world.sandbox.faults().clear();
    let (slow, skipped) = (day.take(&slow), day.take(&skipped));
    day.say(skipped, 1).await;
    day.say(slow, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_hour_of_the_broker_is_told_and_ends() {
    let mut day = morning().await;
    day.world.fault("alpaca:error=503");
    for minutes in [1, 5, 25, 29] {
        day.goes_on(minutes).await;
    }
    day.world.sandbox.faults().clear();
    day.goes_on(1).await;
    day.goes_on(REST - 1).await;
    check(
        &day,
        &[
            ("failed-1", 1, 64),
            ("failed-2", 1, 64),
            ("failing", 36, 64),
            ("nobody", 15, 60),
            ("objective", 8, 89),
            ("share", 11, 62),
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_hour_of_firestore_is_told_and_ends() {
    let mut day = morning().await;
    day.world.fault("firestore:error=UNAVAILABLE");
    let command = day.world.command(&[]);
    let down = Run::of(&mut { command }).await;
    day.world.sandbox.faults().clear();
    let down = day.take(&down);
    day.say(down, 60).await;
    day.goes_on(1).await;
    day.goes_on(REST - 1).await;
    check(&day, &NO_PASS_BEGINS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_hour_of_the_credentials_is_told_and_ends() {
    let mut day = morning().await;
    let mut command = day.world.command(&[]);
    command.env_remove("SECRET_MANAGER_EMULATOR_HOST");
    command.env("GCE_METADATA_HOST", day.world.sandbox.address().to_string());
    day.world.fault("metadata/GetToken:error=503");
    day.goes_on_by(command, 60).await;
    day.world.sandbox.faults().clear();
    day.goes_on(1).await;
    day.goes_on(REST - 1).await;
    check(&day, &NO_PASS_BEGINS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_silent_for_an_hour_is_told_and_ends() {
    let mut day = morning().await;
    day.is_silent(60).await;
    day.goes_on(1).await;
    day.goes_on(REST - 1).await;
    check(&day, &[("nobody", 15, 61), ("silent-1", 11, 60)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_fails_four_minutes_of_five_wakes_nobody() {
    let mut day = morning().await;
    let (good, mut round) = (0, Vec::new());
    day.world.fault("alpaca:error=503,user=user-000");
    for _ in 0..2 {
        let run = Run::of(day.measured(&mut day.world.command(&[]))).await;
        assert_eq!(run.error_of("user-000").as_deref(), Some("broker_unavailable"), "{}", run.stdout);
        let failing = day.take(&run);
        day.say(failing, 2).await;
        round.extend([failing; 2]);
    }
    round.push(good);
    day.say(good, 1).await;
    while day.minutes.len() < 24 * 60 {
        day.minutes.extend(round.iter().copied().map(Some));
    }
    check(&day, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_but_existing_database_is_told_and_ends() {
    let mut day = morning().await;
    let command = day.world.command(&["--database", "another"]);
    day.goes_on_by(command, 60).await;
    day.goes_on(1).await;
    day.goes_on(REST - 1).await;
    check(&day, &[("nobody", 15, 60)]);
}

/// What is asked for and never sent would never be seen.
#[tokio::test(flavor = "multi_thread")]
async fn every_metric_that_an_alert_or_the_dashboard_names_is_one_that_there_is() {
    let mut day = Day::of(small_world().await).await;
    day.goes_on(1).await;
    let (named, there): (BTreeSet<String>, _) =
        (queries().iter().flat_map(|query| rules::names(query)).collect(), names(&day));
    assert_eq!(named.difference(&there).next(), None, "{there:#?}");
    assert!(named.len() > 15, "{named:?}");
}
