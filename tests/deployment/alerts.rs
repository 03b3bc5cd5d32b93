//! The alert policies, which only work if the metrics that they watch exist and count something.

use crate::read;
use crate::readme::{after, calls};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const USER_METRIC: &str = "logging.googleapis.com/user/";

/// The policies that the README creates, by their file.
fn policies() -> BTreeMap<String, Json> {
    let calls = calls();
    let files = after(&calls, "gcloud alpha monitoring policies create").into_iter().map(|policy| {
        assert!(policy.contains(&"--notification-channels=1".to_owned()), "{policy:?} tells nobody");
        policy[0].strip_prefix("--policy-from-file=").expect("a file").to_owned()
    });
    files.map(|file| (file.clone(), serde_json::from_str(&read(&file)).expect("JSON"))).collect()
}

fn conditions(policy: &Json) -> Vec<&Json> {
    let conditions = policy["conditions"].as_array().expect("a list").iter();
    let kinds = ["conditionThreshold", "conditionAbsent"];
    conditions
        .map(|condition| kinds.iter().find_map(|kind| condition.get(*kind)).expect("a known kind"))
        .collect()
}

/// What a filter says between quotes after `name =`.
fn quoted<'a>(filter: &'a str, name: &str) -> Option<&'a str> {
    filter.split(" AND ").find_map(|part| part.strip_prefix(name)?.strip_prefix(" = \"")?.strip_suffix('"'))
}

#[test]
fn there_is_one_for_failures_and_one_for_silence() {
    let files: Vec<_> = policies().into_keys().collect();
    assert_eq!(files, ["deploy/alert-failed.json", "deploy/alert-silent.json"]);
}

#[test]
fn the_metrics_of_the_log_that_they_watch_are_those_that_the_readme_creates() {
    let (calls, policies) = (calls(), policies());
    let created: BTreeSet<&str> =
        after(&calls, "gcloud logging metrics create").into_iter().map(|metric| metric[0].as_str()).collect();
    let filters = policies.values().flat_map(conditions).map(|condition| condition["filter"].as_str());
    let watched: BTreeSet<&str> = filters
        .filter_map(|filter| quoted(filter.expect("a filter"), "metric.type")?.strip_prefix(USER_METRIC))
        .collect();
    assert_eq!(watched, created);
    assert_eq!(created.len(), 2);
}

#[test]
fn every_condition_is_about_cloud_run_jobs_and_needs_one_match_of_any() {
    for (file, policy) in policies() {
        assert_eq!(policy["combiner"], "OR", "{file}");
        for condition in conditions(&policy) {
            let filter = condition["filter"].as_str().expect("a filter");
            assert_eq!(quoted(filter, "resource.type"), Some("cloud_run_job"), "{file}");
        }
    }
}

/// The words that the metrics look for are words of the log.
#[test]
fn the_metrics_count_what_the_job_says() {
    let calls = calls();
    let filters: Vec<String> = after(&calls, "gcloud logging metrics create").concat();
    let sources = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("the source");
    let sources: String =
        sources.filter_map(|file| fs::read_to_string(file.expect("an entry").path()).ok()).collect();
    for (asked, said) in [
        ("severity>=CRITICAL", "severity = \"CRITICAL\""),
        ("=~\"^Completed multi-tenant sync\"", "\"Completed multi-tenant sync: {counts}"),
    ] {
        assert!(filters.iter().any(|filter| filter.contains(asked)), "{asked}");
        assert!(sources.contains(said), "{said}");
    }
}
