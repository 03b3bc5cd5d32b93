//! What Google's collector refuses.

use super::export::{Export, Measured, Point};
use std::collections::{HashMap, HashSet};

/// Points in one call.
const MOST_POINTS: usize = 200;

/// Between two points of a series, in nanoseconds.
const LEAST_PAUSE: u64 = 5_000_000_000;

/// Says which place a series is kept in.
const RESOURCE: [&str; 3] = ["location", "cluster", "gcp.project_id"];

/// Why a call is refused as a whole, if it is.
pub(super) fn broken(exports: &[Export]) -> Option<String> {
    let points = exports.iter().map(|export| export.points.len()).sum::<usize>();
    if points > MOST_POINTS {
        return Some(format!("{points} points, of at most {MOST_POINTS}"));
    }
    let mut seen = HashSet::new();
    for export in exports {
        let lacks = RESOURCE.iter().find(|name| export.resource.get(**name).is_none_or(String::is_empty));
        let lacks = lacks.map(|name| format!("the resource has no {name}"));
        let fault = lacks.or_else(|| export.points.iter().find_map(fault_of));
        let mut all = export.points.iter().map(|point| series(export, point));
        let fault = fault.or_else(|| {
            all.find(|series| !seen.insert(series.clone())).map(|twice| format!("{twice} twice"))
        });
        if fault.is_some() {
            return fault;
        }
    }
    None
}

/// Removes the points that come too early after their series' last, and returns how many they were.
pub(super) fn remove_too_early(exports: &mut [Export], last: &mut HashMap<String, u64>) -> usize {
    let mut removed = 0;
    for export in exports {
        let whose = Export { points: Vec::new(), ..export.clone() };
        export.points.retain(|point| {
            let (series, at) = (series(&whose, point), point.times.1);
            let is_early = last.get(&series).is_some_and(|last| at < last.saturating_add(LEAST_PAUSE));
            removed += usize::from(is_early);
            if !is_early {
                last.insert(series, at);
            }
            !is_early
        });
    }
    removed
}

fn series(export: &Export, point: &Point) -> String {
    format!("{}{:?} of {:?}", point.name, point.labels, export.resource)
}

fn fault_of(point: &Point) -> Option<String> {
    let Point { name, labels, times, value } = point;
    if !is_name(name, "_:./") {
        return Some(format!("{name:?} is no metric's name"));
    }
    if let Some(label) = labels.keys().find(|label| !is_name(label, "_")) {
        return Some(format!("{label:?} is no label's name"));
    }
    match value {
        Measured::Number(number) if number.is_finite() && times.1 > 0 => None,
        Measured::Histogram { sum, bounds, buckets } => {
            let is_whole = sum.is_finite()
                && buckets.len() == bounds.len() + 1
                && bounds.is_sorted_by(|one, next| one < next)
                && times.0 > 0
                && times.0 < times.1;
            (!is_whole).then(|| format!("{name} is no histogram"))
        }
        Measured::Number(_) | Measured::Other => Some(format!("{name} has no value that is taken")),
    }
}

/// A letter, and then letters, digits and some others.
fn is_name(text: &str, others: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn labels(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn export(points: Vec<Point>) -> Export {
        let resource = labels(&[("location", "here"), ("cluster", "__run__"), ("gcp.project_id", "p")]);
        Export { resource, points }
    }

    fn point(name: &str, label: &str, value: Measured) -> Point {
        Point { name: name.to_owned(), labels: labels(&[(label, "x")]), times: (1, 2), value }
    }

    fn histogram(bounds: &[f64], buckets: &[u64]) -> Measured {
        Measured::Histogram { sum: 1.0, bounds: bounds.to_vec(), buckets: buckets.to_vec() }
    }

    #[test]
    fn what_google_refuses_is_refused_with_the_reason() {
        let number = || Measured::Number(1.0);
        for (point, reason) in [
            (point("a_b:c./d9", "l", number()), None),
            (point("9a", "l", number()), Some("\"9a\" is no metric's name")),
            (point("a-b", "l", number()), Some("\"a-b\" is no metric's name")),
            (point("", "l", number()), Some("\"\" is no metric's name")),
            (point("a", "l.m", number()), Some("\"l.m\" is no label's name")),
            (point("a", "l", Measured::Number(f64::NAN)), Some("a has no value that is taken")),
            (point("a", "l", Measured::Other), Some("a has no value that is taken")),
            (point("a", "l", histogram(&[1.0, 2.0], &[1, 2, 3])), None),
            (point("a", "l", histogram(&[2.0, 1.0], &[1, 2, 3])), Some("a is no histogram")),
            (point("a", "l", histogram(&[1.0, 2.0], &[1, 2])), Some("a is no histogram")),
        ] {
            assert_eq!(broken(&[export(vec![point.clone()])]).as_deref(), reason, "{point:?}");
        }
    }

    #[test]
    fn a_call_has_few_points_and_each_series_once() {
        let many = |count: usize| {
            let points = (0..count).map(|n| point(&format!("m{n}"), "l", Measured::Number(1.0)));
            broken(&[export(points.collect())])
        };
        assert_eq!((many(200), many(201)), (None, Some("201 points, of at most 200".to_owned())));
        let twice = vec![point("m", "l", Measured::Number(1.0)); 2];
        assert!(broken(&[export(twice)]).is_some_and(|reason| reason.ends_with("twice")));
        for missing in RESOURCE {
            let mut export = export(Vec::new());
            export.resource.remove(missing);
            assert_eq!(broken(&[export]), Some(format!("the resource has no {missing}")));
        }
    }
}
