//! Section 12: the metrics of a pass, as a collector gets them from the real process.

use crate::google::Google;
use crate::live::{Live, wait_until};
use crate::world::{Run, World, sandbox};
use alpaca_pulse::firestore::values::timestamp;
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::call::Service;
use pulse_sandbox::telemetry::{Export, Measured, Point};
use std::collections::BTreeSet;

/// All that section 12 names.
const NAMES: [&str; 8] = [
    "pulse_billed_operations",
    "pulse_failing_users",
    "pulse_last_success_timestamp_seconds",
    "pulse_longest_failing_seconds",
    "pulse_pass_duration_seconds",
    "pulse_stale_users",
    "pulse_user_duration_seconds",
    "pulse_users",
];

/// A machine that stands still for a while is no collector's fault.
const PATIENT: (&str, &str) = ("OTEL_EXPORTER_OTLP_TIMEOUT", "60000");

const LOST: &str = "The metrics of this pass did not reach ";

fn endpoint(world: &World) -> String {
    format!("http://{}", world.sandbox.address())
}

async fn pass(world: &World) -> Run {
    world.pulse_in(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint(world)), PATIENT]).await
}

fn point<'a>(export: &'a Export, name: &str, labels: &[(&str, &str)]) -> &'a Point {
    let is_it = |point: &&Point| {
        let has = |(label, value): &(&str, &str)| point.labels.get(*label).is_some_and(|set| set == value);
        point.name == name && point.labels.len() == labels.len() && labels.iter().all(has)
    };
    export.points.iter().find(is_it).unwrap_or_else(|| panic!("no {name} {labels:?} in {export:#?}"))
}

fn number(export: &Export, name: &str, labels: &[(&str, &str)]) -> f64 {
    match point(export, name, labels).value {
        Measured::Number(number) => number,
        ref other => panic!("{name} is {other:?}"),
    }
}

/// The users of the histogram.
fn timed(export: &Export) -> u64 {
    match &point(export, "pulse_user_duration_seconds", &[]).value {
        Measured::Histogram { buckets, .. } => buckets.iter().sum(),
        other => panic!("it is {other:?}"),
    }
}

fn users(export: &Export, outcome: &str, code: &str) -> f64 {
    number(export, "pulse_users", &[("outcome", outcome), ("code", code)])
}

/// The one export.
#[track_caller]
fn taken(world: &World) -> Export {
    let taken = world.sandbox.telemetry().taken();
    assert_eq!(taken.len(), 1, "{taken:#?}");
    taken.into_iter().next().expect("one")
}

async fn troubled_world() -> World {
    let world = sandbox().await;
    for user in ["ana", "ben", "cy"] {
        world.user(user).await;
    }
    world.put("users/dan", []).await;
    world.pulse().await;
    world.fault("alpaca:error=503,user=ben");
    world.pulse().await;
    let since = [("failing_since", timestamp(Timestamp::now() - SignedDuration::from_mins(7)))];
    world.patch("users/ben/alpacaAccounts/sync", since).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn off_means_that_nothing_is_sent() {
    let world = sandbox().await;
    world.user("ana").await;
    for env in [
        &[("OTEL_EXPORTER_OTLP_HEADERS", "a=b")][..],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint(&world)), ("OTEL_SDK_DISABLED", "true")],
    ] {
        world.pulse_in(env).await.assert_completed("1 successful, 0 errors", 0);
    }
    assert_eq!(world.calls(Service::Telemetry, "ExportMetrics"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_every_metric_once_a_pass() {
    let world = troubled_world().await;
    let run = pass(&world).await;
    let export = taken(&world);
    let names: BTreeSet<&str> = export.points.iter().map(|point| point.name.as_str()).collect();
    assert_eq!(names, NAMES.into());
    assert_eq!((users(&export, "synced", "none"), timed(&export)), (2.0, 2));
    assert_eq!(users(&export, "failed", "broker_unavailable"), 1.0);
    assert_eq!(users(&export, "failed", "keys_missing"), 1.0);
    assert_eq!(users(&export, "failed", "internal"), 0.0);
    assert_eq!(number(&export, "pulse_failing_users", &[]), 1.0);
    let longest = number(&export, "pulse_longest_failing_seconds", &[]);
    assert!((420.0..480.0).contains(&longest), "{longest}");
    let last_success = number(&export, "pulse_last_success_timestamp_seconds", &[]);
    assert!((Timestamp::now().as_second() as f64 - last_success).abs() < 60.0, "{last_success}");
    let line = run.entry("Completed multi-tenant sync");
    let reads =
        number(&export, "pulse_billed_operations", &[("service", "firestore"), ("operation", "read")]);
    assert!(reads >= line["firestore_reads"].as_f64().expect("a number"), "{reads} {line}");
    assert_eq!(export.resource["service.name"], "pulse");
    assert_eq!(run.exit, Some(0));
    assert!(!run.stdout.contains(LOST), "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_label_is_a_users_or_an_executions() {
    let world = troubled_world().await;
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint(&world)),
        ("CLOUD_RUN_EXECUTION", "pulse-xyz12".to_owned()),
    ];
    Run::of(world.command(&[]).envs(env).envs([PATIENT])).await;
    let said = format!("{:?}", taken(&world));
    for secret in ["\"ana", "\"ben", "\"dan", "pulse-xyz12", "PKTEST", "hush"] {
        assert!(!said.contains(secret), "{secret} in {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_standard_variables_say_goes_along() {
    let world = sandbox().await;
    world.user("ana").await;
    let env = [
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", format!("{}/v1/metrics", endpoint(&world))),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=abc".to_owned()),
        ("OTEL_SERVICE_NAME", "pulse-eu".to_owned()),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=prod".to_owned()),
    ];
    Run::of(world.command(&[]).envs(env).envs([PATIENT])).await;
    let export = taken(&world);
    assert_eq!(export.resource["service.name"], "pulse-eu");
    assert_eq!(export.resource["deployment.environment"], "prod");
    let received = world.sandbox.requests().received();
    let sent = received.iter().find(|call| call.path == "/v1/metrics").expect("one");
    assert_eq!(sent.headers["x-collector-key"], "abc");
    assert!(!sent.headers.contains_key("authorization"), "the job's token is for Google");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_several_tasks_tells_the_sums_of_all() {
    let world = sandbox().await;
    let ids: Vec<String> = (0..20).map(|n| format!("{}-user", char::from(b'a' + n))).collect();
    world.users(&ids).await;
    let endpoint = endpoint(&world);
    for task in ["1", "0", "2"] {
        let env = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("CLOUD_RUN_EXECUTION", "pulse-three"),
            ("CLOUD_RUN_TASK_INDEX", task),
            ("CLOUD_RUN_TASK_COUNT", "3"),
            PATIENT,
        ];
        assert_eq!(world.pulse_in(&env).await.exit, Some(0));
    }
    let export = taken(&world);
    assert_eq!((users(&export, "synced", "none"), timed(&export)), (20.0, 20));
    let accesses = [("service", "secret_manager"), ("operation", "access")];
    assert_eq!(number(&export, "pulse_billed_operations", &accesses), 20.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_sends_after_its_passes_and_no_more_often_than_google_takes() {
    let world = sandbox().await;
    world.user("ana").await;
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint(&world))];
    let mut command = world.command(&["--every", "3s", "--for", "9s"]);
    let run = Run::of(command.envs(env).envs([PATIENT])).await;
    assert_eq!(run.exit, Some(0), "{}", run.stdout);
    let taken = world.sandbox.telemetry().taken();
    let times: Vec<u64> = taken.iter().map(|export| export.points[0].times.1).collect();
    assert!(!times.is_empty(), "{}", run.stdout);
    assert!(times.is_sorted_by(|one, next| *next >= one + 5_000_000_000), "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_runs_and_runs_for_named_users_send_nothing() {
    let world = sandbox().await;
    world.user("ana").await;
    let endpoint = endpoint(&world);
    for args in [&["--dry-run"][..], &["--user", "ana"]] {
        world.pulse_with_in(args, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    }
    assert_eq!(world.sandbox.telemetry().taken(), []);
}

/// A collector's faults, with what is said of each.
const FAULTS: [(&str, &str); 6] = [
    ("stall", "no answer came in time"),
    ("latency=90s", "no answer came in time"),
    ("error=401", "it answered 401 Unauthorized"),
    ("error=503", "it answered 503 Service Unavailable"),
    ("drop-before", "the connection ended without an answer"),
    ("redirect=http://127.0.0.1:1/", "it answered 302 Found"),
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_collector_does_costs_one_warning_and_changes_nothing() {
    let world = sandbox().await;
    world.user("ana").await;
    let endpoint = endpoint(&world);
    for (fault, said) in FAULTS {
        world.fault(&format!("telemetry:{fault}"));
        // Who does not answer is not waited for, by itself.
        let patient = (!said.contains("in time")).then_some(PATIENT);
        let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
        let run = Run::of(world.command(&[]).envs(env).envs(patient)).await;
        run.assert_completed("1 successful, 0 errors", 0);
        let line = run.entry(LOST);
        assert_eq!(line["severity"], "WARNING");
        assert_eq!(line["message"], format!("{LOST}127.0.0.1: {said}"), "{fault}");
        world.sandbox.faults().clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_one_warning() {
    let world = sandbox().await;
    world.user("ana").await;
    let run = world.pulse_in(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"), PATIENT]).await;
    run.assert_completed("1 successful, 0 errors", 0);
    assert_eq!(run.entry(LOST)["message"], format!("{LOST}127.0.0.1: it could not be reached"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_comes_back_within_the_time_gets_them() {
    let world = sandbox().await;
    world.user("ana").await;
    world.fault("telemetry:error=503,times=1");
    let run = pass(&world).await;
    assert!(!run.stdout.contains(LOST), "{}", run.stdout);
    assert_eq!(users(&taken(&world), "synced", "none"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_does_not_wait_for_a_collector() {
    let world = sandbox().await;
    world.user("ana").await;
    world.fault("telemetry:stall");
    let mut command = world.command(&[]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint(&world)).envs([PATIENT]);
    let live = Live::start(command);
    wait_until(|| world.calls(Service::Telemetry, "ExportMetrics") > 0).await;
    live.signal("TERM");
    let run = live.end().await;
    assert_eq!(run.exit, Some(143), "{}", run.stdout);
    // It would be told after the minute.
    assert!(!run.stdout.contains(LOST), "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn google_gets_them_by_its_rules_with_the_jobs_token() {
    let google = Google::with_users(&["ana", "ben"]).await;
    let run = google.pulse_with_in(&[], &[("PULSE_METRICS", "gcp"), PATIENT]).await;
    run.assert_completed("2 successful, 0 errors", 0);
    assert!(!run.stdout.contains(LOST), "{}", run.stdout);
    let export = taken(&google.world);
    let resource = |name: &str| export.resource.get(name).cloned();
    assert_eq!(resource("location").as_deref(), Some("us-central1"));
    assert_eq!(resource("cluster").as_deref(), Some("__run__"));
    assert_eq!(resource("gcp.project_id"), Some(google.world.project.clone()));
    assert_eq!(resource("service.instance.id").as_deref(), Some("(default)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_google_does_not_take_is_told() {
    let google = Google::with_users(&["ana"]).await;
    let gcp = [("PULSE_METRICS", "gcp"), PATIENT];
    let run = loop {
        google.pulse_with_in(&[], &gcp).await;
        let next = google.pulse_with_in(&[], &gcp).await;
        // Unless the machine stood still for so long between the two.
        if next.stdout.contains(LOST) {
            break next;
        }
    };
    let said = run.entry(LOST)["message"].as_str().expect("text").to_owned();
    assert!(said.ends_with("points: one point of a series each 5 s"), "{said}");
    google.world.fault("telemetry:error=403,reason=IAM_PERMISSION_DENIED");
    let run = google.pulse_with_in(&[], &gcp).await;
    run.assert_completed("1 successful, 0 errors", 0);
    let said = run.entry(LOST)["message"].as_str().expect("text").to_owned();
    assert!(said.contains("it answered 403 Forbidden: grant roles/monitoring.metricWriter"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_cannot_be_meant_is_a_configuration_error() {
    let world = sandbox().await;
    world.user("ana").await;
    for (env, named) in [
        (&[("PULSE_METRICS", "aws")][..], "PULSE_METRICS"),
        (&[("PULSE_METRICS", "gcp"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "2s")], "OTEL_EXPORTER_OTLP_TIMEOUT"),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.test:4318")], "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (&[("PULSE_METRICS", "gcp"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c.test")], "PULSE_METRICS=gcp"),
    ] {
        let run = world.pulse_in(env).await;
        assert_eq!(run.exit, Some(2));
        assert!(run.stdout.contains(named), "{}", run.stdout);
    }
    assert_eq!(world.calls(Service::Alpaca, "GetAccount"), 0);
}
