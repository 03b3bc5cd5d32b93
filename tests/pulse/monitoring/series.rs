//! A day as Cloud Monitoring has it: the metrics of the log, those that the collector got, and Cloud Run's own.

use super::day::{Day, Pass};
use super::filter::matches;
use pulse_sandbox::telemetry::{Measured, Point};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The JSON files of that kind, by their names without it.
pub(super) fn files(kind: &str) -> BTreeMap<String, Json> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/monitoring");
    let entries =
        fs::read_dir(&directory).expect("the files").map(|file| file.expect("an entry").file_name());
    let named = entries.filter_map(|file| {
        let name = file.to_str()?.strip_prefix(kind)?.strip_suffix(".json")?.to_owned();
        let text = fs::read_to_string(directory.join(&file)).expect("a file");
        Some((name, serde_json::from_str(&text).expect("JSON")))
    });
    named.collect()
}

/// A metric of the log in PromQL.
pub(super) fn name_of(metric: &str) -> String {
    format!("logging_googleapis_com:user_pulse_{}", metric.replace('-', "_"))
}

const RESOURCE: &str = r#"monitored_resource="cloud_run_job""#;

/// All series of a day in promtool's form, with a value each minute.
pub(super) fn series(day: &Day) -> Vec<Json> {
    let log = files("metric-").into_iter().flat_map(|(name, metric)| of_log(day, &name, &metric));
    log.chain(executions(day)).chain(measured(day)).collect()
}

/// The names of the metrics that a day's series are of.
pub(super) fn names(day: &Day) -> BTreeSet<String> {
    let name =
        |series: Json| series["series"].as_str().and_then(|text| Some(text.split_once('{')?.0.to_owned()));
    series(day).into_iter().map(|series| name(series).expect("a name")).collect()
}

/// A value at the day's begin, and one for each minute: what there is of its pass, if there is one.
fn line(day: &Day, series: &str, first: &str, mut value: impl FnMut(usize) -> Option<f64>) -> Json {
    let values = day.minutes.iter().map(|pass| {
        let value = pass.and_then(&mut value);
        value.map_or("_".to_owned(), |value| value.to_string())
    });
    let values: Vec<String> = [first.to_owned()].into_iter().chain(values).collect();
    json!({"series": series, "values": values.join(" ")})
}

/// A series that grows by what each pass adds.
fn growing(day: &Day, series: &str, added: impl Fn(&Pass) -> f64) -> Json {
    let added: Vec<f64> = day.passes.iter().map(added).collect();
    let mut sum = 0.0;
    line(day, series, "0", |pass| {
        sum += added[pass];
        Some(sum)
    })
}

/// What Cloud Logging counts, or extracts, of each pass' lines.
fn of_log(day: &Day, name: &str, metric: &Json) -> Vec<Json> {
    let filter = metric["filter"].as_str().expect("a filter");
    let counted = |pass: &Pass| pass.lines.iter().filter(|line| matches(filter, line)).count() as f64;
    let name = name_of(name);
    let Some(extractor) = metric["valueExtractor"].as_str() else {
        return vec![growing(day, &format!("{name}{{{RESOURCE}}}"), counted)];
    };
    let field = extractor.strip_prefix("EXTRACT(jsonPayload.").and_then(|rest| rest.strip_suffix(')'));
    let field = field.expect("a field");
    let extracted = |pass: &Pass| {
        let lines = pass.lines.iter().filter(|line| matches(filter, line));
        lines.map(|line| line[field].as_f64().expect(field)).sum()
    };
    vec![
        growing(day, &format!("{name}_sum{{{RESOURCE}}}"), extracted),
        growing(day, &format!("{name}_count{{{RESOURCE}}}"), counted),
    ]
}

fn executions(day: &Day) -> [Json; 2] {
    [("succeeded", false), ("failed", true)].map(|(result, is_failed)| {
        let labels = format!(r#"{RESOURCE}, job_name="pulse", result="{result}""#);
        let series = format!("run_googleapis_com:job_completed_execution_count{{{labels}}}");
        growing(day, &series, |pass| f64::from(u8::from(pass.is_failed == is_failed)))
    })
}

/// What the collector got.
fn measured(day: &Day) -> Vec<Json> {
    let of_pass = |pass: &Pass| -> BTreeMap<String, f64> {
        pass.export.iter().flat_map(|export| &export.points).flat_map(lines_of).collect()
    };
    let passes: Vec<BTreeMap<String, f64>> = day.passes.iter().map(of_pass).collect();
    let names: BTreeSet<&String> = passes.iter().flat_map(BTreeMap::keys).collect();
    let of_name = |name: &String| line(day, name, "_", |pass| passes[pass].get(name).copied());
    names.into_iter().map(of_name).collect()
}

/// A point as Prometheus has it.
fn lines_of(point: &Point) -> Vec<(String, f64)> {
    let labels: Vec<String> = point.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let name = |suffix: &str, more: Option<String>| {
        let labels: Vec<&str> = labels.iter().chain(&more).map(String::as_str).collect();
        format!("{}{suffix}{{{}}}", point.name, labels.join(", "))
    };
    match &point.value {
        Measured::Number(number) => vec![(name("", None), *number)],
        Measured::Histogram { sum, bounds, buckets } => {
            let bounds = bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
            let mut users = 0;
            let below = bounds.zip(buckets).map(|(bound, more)| {
                users += more;
                (name("_bucket", Some(format!("le={bound:?}"))), users as f64)
            });
            let mut lines: Vec<_> = below.collect();
            lines.extend([(name("_sum", None), *sum), (name("_count", None), users as f64)]);
            lines
        }
        Measured::Other => panic!("{point:?}"),
    }
}
