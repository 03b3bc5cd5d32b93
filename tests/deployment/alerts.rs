//! The alert policies, which only work if the metrics that they watch exist and count something.

use crate::docs::{after, assert_pulse_takes, calls};
use crate::gcloud::{assert_understood, messages_take};
use crate::read;
use crate::shell::Call;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const USER_METRIC: &str = "logging.googleapis.com/user/";
/// The same in PromQL, where a metric of the log may be about several kinds of resources, so that one has to be named.
const PROMQL_METRIC: &str = "logging_googleapis_com:user_";
const PROMQL_RESOURCE: &str = r#"monitored_resource="cloud_run_job""#;

/// The policies that the docs create, by their file.
pub(crate) fn policies() -> BTreeMap<String, Json> {
    let calls = calls();
    let files = after(calls, "gcloud alpha monitoring policies create").into_iter().map(|policy| {
        assert!(policy.contains(&"--notification-channels=1".to_owned()), "{policy:?} tells nobody");
        policy[0].strip_prefix("--policy-from-file=").expect("a file").to_owned()
    });
    files.map(|file| (file.clone(), json(&file))).collect()
}

/// The metrics of the log that the docs create, by their name.
fn metrics() -> BTreeMap<String, Json> {
    let calls = calls();
    let created = after(calls, "gcloud logging metrics create").into_iter().map(|metric| {
        let file = metric[1].strip_prefix("--config-from-file=").expect("a file");
        (metric[0].clone(), json(file))
    });
    created.collect()
}

/// The files of the dashboards that the docs create.
fn dashboards() -> Vec<String> {
    let created = after(calls(), "gcloud monitoring dashboards create").into_iter();
    created.map(|call| call[0].strip_prefix("--config-from-file=").expect("a file").to_owned()).collect()
}

fn json(file: &str) -> Json {
    serde_json::from_str(&read(file)).expect("JSON")
}

fn conditions(policy: &Json) -> Vec<&Json> {
    let conditions = policy["conditions"].as_array().expect("a list").iter();
    let kinds = ["conditionThreshold", "conditionAbsent", "conditionPrometheusQueryLanguage"];
    conditions
        .map(|condition| kinds.iter().find_map(|kind| condition.get(*kind)).expect("a known kind"))
        .collect()
}

/// The query of a policy's one condition in PromQL.
pub(crate) fn query(policy: &Json) -> String {
    let queries = conditions(policy).into_iter().filter_map(|condition| condition["query"].as_str());
    let [query] = queries.collect::<Vec<_>>()[..] else { panic!("one query: {policy}") };
    query.to_owned()
}

/// What a filter says between quotes after `name =`.
fn quoted<'a>(filter: &'a str, name: &str) -> Option<&'a str> {
    filter.split(" AND ").find_map(|part| part.strip_prefix(name)?.strip_prefix(" = \"")?.strip_suffix('"'))
}

/// The metrics of the log that a condition watches.
fn watched(condition: &Json) -> Vec<String> {
    if let Some(query) = condition["query"].as_str() {
        let names = query.split(PROMQL_METRIC).skip(1);
        let names = names.map(|rest| rest.split('{').next().unwrap_or(rest).replace('_', "-"));
        return names
            .map(|name| name.strip_suffix("-sum").or(name.strip_suffix("-count")).unwrap_or(&name).to_owned())
            .collect();
    }
    let filter = condition["filter"].as_str().expect("a filter or a query");
    let metric = quoted(filter, "metric.type").expect("a metric");
    metric.strip_prefix(USER_METRIC).map(str::to_owned).into_iter().collect()
}

#[test]
fn there_is_one_for_each_way_in_which_the_promise_is_not_kept() {
    let files: Vec<_> = policies().into_keys().collect();
    let expected = ["failed", "failing", "nobody", "objective", "share", "silent"];
    let expected = expected.map(|name| format!("deploy/monitoring/alert-{name}.json"));
    assert_eq!(files, expected);
}

#[test]
fn every_file_beside_them_is_created() {
    let files =
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/monitoring")).expect("the files");
    let files = files.map(|file| file.expect("an entry").file_name().into_string().expect("a name"));
    let files: BTreeSet<String> = files.filter(|name| name.ends_with(".json")).collect();
    let created = metrics().into_keys().map(|name| name.replace("pulse-", "metric-") + ".json");
    let others = policies().into_keys().chain(dashboards());
    let others = others.map(|file| file.replace("deploy/monitoring/", ""));
    assert_eq!(files, created.chain(others).collect());
}

#[test]
fn the_metrics_of_the_log_that_they_watch_are_those_that_the_docs_create() {
    let policies = policies();
    let watched: BTreeSet<String> = policies.values().flat_map(conditions).flat_map(watched).collect();
    assert_eq!(watched, metrics().into_keys().collect());
}

#[test]
fn every_condition_is_about_cloud_run_jobs_and_needs_one_match_of_any() {
    for (file, policy) in policies() {
        assert_eq!(policy["combiner"], "OR", "{file}");
        for condition in conditions(&policy) {
            if let Some(query) = condition["query"].as_str() {
                let selectors: Vec<&str> = query.split("increase(").skip(1).collect();
                assert!(selectors.iter().all(|selector| selector.contains(PROMQL_RESOURCE)), "{file}");
                continue;
            }
            let filter = condition["filter"].as_str().expect("a filter");
            assert_eq!(quoted(filter, "resource.type"), Some("cloud_run_job"), "{file}");
        }
    }
}

/// The sum of a counter, or the distribution of a count, is of the wrong kind.
#[test]
fn sums_are_of_distributions_and_the_rest_of_counters() {
    let metrics = metrics();
    for (name, metric) in &metrics {
        let is_distribution = metric["metricDescriptor"]["valueType"] == "DISTRIBUTION";
        assert_eq!(is_distribution, metric["valueExtractor"].is_string(), "{name}");
        let promql = format!("{PROMQL_METRIC}{}", name.replace('-', "_"));
        for query in
            policies().values().flat_map(conditions).filter_map(|condition| condition["query"].as_str())
        {
            let uses = query.split(&promql).skip(1);
            for suffix in uses.map(|rest| rest.split('{').next().unwrap_or(rest)) {
                assert_eq!(is_distribution, ["_sum", "_count"].contains(&suffix), "{name}{suffix}");
            }
        }
    }
}

/// What the user has to mend pages nobody.
#[test]
fn only_causes_of_ours_are_counted_as_failures() {
    let metrics = metrics();
    assert_eq!(metrics["pulse-our-errors"]["valueExtractor"], "EXTRACT(jsonPayload.our_error_count)");
    let failed = metrics["pulse-failed"]["filter"].as_str().expect("a filter");
    assert!(failed.contains("0 successful\" AND jsonPayload.our_error_count>0"), "{failed}");
    for (name, metric) in &metrics {
        assert_ne!(metric["valueExtractor"], "EXTRACT(jsonPayload.error_count)", "{name}");
    }
}

#[test]
fn named_users_and_dry_runs_count_in_no_metric() {
    for (name, metric) in metrics() {
        let filter = metric["filter"].as_str().expect("a filter");
        assert!(filter.contains(r#"jsonPayload.scope="all users""#), "{name}");
        assert!(
            filter.starts_with(r#"resource.type="cloud_run_job" AND resource.labels.job_name="pulse" AND "#)
        );
    }
}

/// The words that the metrics look for are words of the log.
#[test]
fn the_metrics_count_what_the_job_says() {
    let filters: Vec<String> = metrics().values().map(|metric| metric["filter"].to_string()).collect();
    let rooms = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("the source");
    let rooms = rooms.filter_map(|room| fs::read_dir(room.expect("an entry").path()).ok());
    let sources: String =
        rooms.flatten().filter_map(|file| fs::read_to_string(file.expect("an entry").path()).ok()).collect();
    for (asked, said) in [
        ("severity>=CRITICAL", "severity = \"CRITICAL\""),
        ("^Completed multi-tenant sync", "\"Completed multi-tenant sync: {counts}"),
        ("(Completed|Stopped|Failed) multi-tenant sync", "\"Stopped multi-tenant sync: {counts}"),
        ("(Completed|Stopped|Failed) multi-tenant sync", "\"Failed multi-tenant sync: {counts}"),
        ("been failing for 5 minutes or more$", "been failing for 5 minutes or more\""),
    ] {
        assert!(filters.iter().any(|filter| filter.contains(asked)), "{asked}");
        assert!(sources.contains(said), "{said}");
    }
}

/// The commands in a policy's text, which are those that somebody types at night.
fn commands(policy: &Json) -> Vec<Call> {
    let content = policy["documentation"]["content"].as_str().expect("a text");
    let spans = content.split('`').skip(1).step_by(2);
    let spans = spans.filter(|span| span.starts_with("gcloud ") || span.starts_with("pulse "));
    let script: String = spans.map(|span| format!("{span}\n")).collect();
    crate::shell::Cloud::empty().run(&script, &BTreeMap::new()).calls
}

#[test]
fn each_says_what_happened_what_it_does_not_mean_and_what_to_type() {
    let mut typed = Vec::new();
    for (file, policy) in policies() {
        let content = policy["documentation"]["content"].as_str().expect("a text");
        let parts: Vec<&str> = content.split("\n\n").filter_map(|part| part.split(":**").next()).collect();
        assert_eq!(parts, ["**What happened", "**What it does not mean", "**What to type"], "{file}");
        let commands = commands(&policy);
        assert!(commands.len() >= 2 && commands[0][0] == "pulse", "{file}: {commands:?}");
        typed.extend(commands);
    }
    assert_understood(&typed);
    assert_pulse_takes(&typed);
}

/// gcloud reads the files only when it has an account, and Google refuses what it does not know.
#[test]
fn gclouds_own_messages_know_every_field() {
    let policies = policies().into_values().map(|policy| ("monitoring", "v3", "AlertPolicy", policy));
    let metrics = metrics().into_values().map(|metric| ("logging", "v2", "LogMetric", metric));
    let dashboards = dashboards().into_iter().map(|file| ("monitoring", "v1", "Dashboard", json(&file)));
    let messages: Vec<_> = policies.chain(metrics).chain(dashboards).collect();
    for (message, unknown) in messages_take(&messages) {
        assert_eq!(unknown, "", "{message}");
    }
}

#[test]
fn a_field_or_a_value_that_gcloud_does_not_know_is_found() {
    let mut policy = json("deploy/monitoring/alert-share.json");
    policy["combiner"] = "XOR".into();
    let mut metric = json("deploy/monitoring/metric-users.json");
    metric["metricDescriptor"]["kind"] = "DELTA".into();
    let said =
        messages_take(&[("monitoring", "v3", "AlertPolicy", policy), ("logging", "v2", "LogMetric", metric)]);
    assert!(said.iter().all(|(_, unknown)| !unknown.is_empty()), "{said:?}");
}
