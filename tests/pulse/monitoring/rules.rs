//! The alerts as rules in PromQL, and the dashboard's queries, taken from their files.

use super::series::{files, name_of};
use serde_json::{Value as Json, json};

const USER_METRIC: &str = "logging.googleapis.com/user/pulse-";

/// Each condition of the policies as a rule by the policy's name, with a number where it has several.
pub(super) fn rules() -> Vec<Json> {
    let mut rules = Vec::new();
    for (name, policy) in files("alert-") {
        let conditions = policy["conditions"].as_array().expect("a list");
        for (number, condition) in (1..).zip(conditions) {
            let name = if conditions.len() == 1 { name.clone() } else { format!("{name}-{number}") };
            let (query, wait) = rule(condition);
            rules.push(json!({"alert": name, "expr": query, "for": wait}));
        }
    }
    rules
}

/// A condition's query, and for how long it has to be so.
fn rule(condition: &Json) -> (String, &str) {
    if let Some(of) = condition.get("conditionPrometheusQueryLanguage") {
        return (text(of, "query").to_owned(), text(of, "duration"));
    }
    if let Some(of) = condition.get("conditionAbsent") {
        return (format!("sum(absent_over_time({}[{}]))", series(of), text(of, "duration")), "0s");
    }
    let of = &condition["conditionThreshold"];
    let [aggregation] = &of["aggregations"].as_array().expect("a list")[..] else { panic!("one: {of}") };
    assert_eq!(
        (text(aggregation, "perSeriesAligner"), text(aggregation, "crossSeriesReducer")),
        ("ALIGN_DELTA", "REDUCE_SUM")
    );
    let sign = match text(of, "comparison") {
        "COMPARISON_GT" => ">",
        "COMPARISON_LT" => "<",
        other => panic!("{other}"),
    };
    let increase = format!("sum(increase({}[{}]))", series(of), text(aggregation, "alignmentPeriod"));
    (format!("{increase} {sign} {}", of["thresholdValue"]), text(of, "duration"))
}

fn text<'a>(of: &'a Json, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_else(|| panic!("no {key} in {of}"))
}

/// The metric of the log that a filter is about.
fn series(of: &Json) -> String {
    let (_, metric) = text(of, "filter").split_once(USER_METRIC).expect("a metric of the log");
    format!(r#"{}{{monitored_resource="cloud_run_job"}}"#, name_of(metric.trim_end_matches('"')))
}

/// The query of everything that is drawn on the dashboard.
pub(super) fn panels() -> Vec<String> {
    let mut queries = Vec::new();
    add_queries(&files("dashboard")[""], &mut queries);
    queries
}

fn add_queries(of: &Json, queries: &mut Vec<String>) {
    match of {
        Json::Object(fields) => {
            queries
                .extend(fields.get("prometheusQuery").map(|query| query.as_str().expect("text").to_owned()));
            fields.values().for_each(|field| add_queries(field, queries));
        }
        Json::Array(items) => items.iter().for_each(|item| add_queries(item, queries)),
        _ => {}
    }
}

/// All queries that there are.
pub(super) fn queries() -> Vec<String> {
    let rules = rules().into_iter().map(|rule| text(&rule, "expr").to_owned());
    rules.chain(panels()).collect()
}

/// The metrics that a query names.
pub(super) fn names(query: &str) -> Vec<String> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words
        .filter(|word| word.contains("pulse_") || word.contains("_googleapis_com:"))
        .map(str::to_owned)
        .collect()
}
