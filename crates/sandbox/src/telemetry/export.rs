//! What a call brings, as tests look at it.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, metric::Data, number_data_point};
use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;

/// What one call brought, and was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// Whose metrics they are.
    pub resource: Labels,
    /// In the order in which they were sent.
    pub points: Vec<Point>,
}

/// One series' point.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The metric's name.
    pub name: String,
    pub labels: Labels,
    /// Since when it counts and when it was made, in nanoseconds since 1970.
    pub times: (u64, u64),
    pub value: Measured,
}

/// A point's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Measured {
    Number(f64),
    Histogram {
        sum: f64,
        bounds: Vec<f64>,
        buckets: Vec<u64>,
    },
    /// A kind that the sandbox does not know.
    Other,
}

impl Export {
    pub(super) fn of(metrics: ResourceMetrics) -> Self {
        let resource = labels(metrics.resource.map(|resource| resource.attributes).unwrap_or_default());
        let metrics = metrics.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
        let points = metrics.flat_map(|metric| points(&metric.name, metric.data));
        Self { resource, points: points.collect() }
    }
}

fn points(name: &str, data: Option<Data>) -> Vec<Point> {
    let point =
        |attributes, times, value| Point { name: name.to_owned(), labels: labels(attributes), times, value };
    match data {
        Some(Data::Gauge(gauge)) => {
            let points = gauge.data_points.into_iter().map(|number| {
                let value = match number.value {
                    Some(number_data_point::Value::AsDouble(value)) => Measured::Number(value),
                    Some(number_data_point::Value::AsInt(value)) => Measured::Number(value as f64),
                    None => Measured::Other,
                };
                point(number.attributes, (number.start_time_unix_nano, number.time_unix_nano), value)
            });
            points.collect()
        }
        Some(Data::Histogram(histogram)) => {
            let points = histogram.data_points.into_iter().map(|distribution| {
                let value = Measured::Histogram {
                    sum: distribution.sum.unwrap_or(f64::NAN),
                    bounds: distribution.explicit_bounds,
                    buckets: distribution.bucket_counts,
                };
                let times = (distribution.start_time_unix_nano, distribution.time_unix_nano);
                point(distribution.attributes, times, value)
            });
            points.collect()
        }
        _ => vec![point(Vec::new(), (0, 0), Measured::Other)],
    }
}

fn labels(attributes: Vec<KeyValue>) -> Labels {
    let text = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        other => format!("{other:?}"),
    };
    attributes.into_iter().map(|KeyValue { key, value, .. }| (key, text(value))).collect()
}
