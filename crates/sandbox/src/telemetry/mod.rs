//! A collector of OpenTelemetry's metrics over HTTP: anybody's, and Google's for calls to its host.

mod export;
mod rules;

pub use export::{Export, Measured, Point};

use crate::answer::{self, Answer};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Where metrics are taken.
pub(super) const PATH: &str = "/v1/metrics";

/// Google's collector.
const GOOGLE: &str = "telemetry.googleapis.com";

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// Exports kept for tests.
const KEPT: usize = 10_000;

/// Takes metrics, and keeps them.
#[derive(Debug, Default)]
pub struct Telemetry {
    taken: Mutex<VecDeque<Export>>,
    /// When Google took each series' last point.
    last: Mutex<HashMap<String, u64>>,
}

impl Telemetry {
    /// What was taken so far, oldest first.
    pub fn taken(&self) -> Vec<Export> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Answers one call.
    pub(super) fn answer(&self, headers: &HeaderMap, body: &[u8]) -> Answer {
        if headers.get(CONTENT_TYPE) != Some(&PROTOBUF) {
            return refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "only application/x-protobuf");
        }
        let Ok(request) = ExportMetricsServiceRequest::decode(body) else {
            return refusal(StatusCode::BAD_REQUEST, "no ExportMetricsServiceRequest");
        };
        let mut exports: Vec<Export> = request.resource_metrics.into_iter().map(Export::of).collect();
        let mut late = 0;
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if host.split(':').next() == Some(GOOGLE) {
            if !has_token(headers) {
                return refusal(StatusCode::UNAUTHORIZED, "no token");
            }
            if let Some(reason) = rules::broken(&exports) {
                return refusal(StatusCode::BAD_REQUEST, &reason);
            }
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            late = rules::remove_too_early(&mut exports, &mut last);
        }
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.extend(exports);
        let beyond = taken.len().saturating_sub(KEPT);
        taken.drain(..beyond);
        acceptance(late)
    }
}

fn has_token(headers: &HeaderMap) -> bool {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    authorization.is_some_and(|value| value.len() > "Bearer ".len() && value.starts_with("Bearer "))
}

fn refusal(status: StatusCode, reason: &str) -> Answer {
    answer::json_text(status, reason.to_owned())
}

fn acceptance(late: usize) -> Answer {
    let partial_success = (late > 0).then(|| ExportMetricsPartialSuccess {
        rejected_data_points: late as i64,
        error_message: "one point of a series each 5 s".to_owned(),
    });
    let body = ExportMetricsServiceResponse { partial_success }.encode_to_vec();
    let mut answer = Response::new(Bytes::from(body));
    answer.headers_mut().insert(CONTENT_TYPE, PROTOBUF);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use opentelemetry_proto::tonic::metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, number_data_point,
    };
    use opentelemetry_proto::tonic::resource::v1::Resource;

    fn attribute((key, value): (&str, &str)) -> KeyValue {
        let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
        KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
    }

    /// A gauge at that second.
    fn body(resource: &[(&str, &str)], name: &str, second: u64) -> Vec<u8> {
        let number = NumberDataPoint {
            time_unix_nano: second * 1_000_000_000,
            value: Some(number_data_point::Value::AsDouble(1.5)),
            ..NumberDataPoint::default()
        };
        let metric = Metric {
            name: name.to_owned(),
            data: Some(Data::Gauge(Gauge { data_points: vec![number] })),
            ..Metric::default()
        };
        let attributes = resource.iter().copied().map(attribute).collect();
        let resource_metrics = vec![ResourceMetrics {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_metrics: vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }];
        ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
    }

    fn headers(host: &'static str, token: Option<&'static str>) -> HeaderMap {
        let token = token.map(|token| (AUTHORIZATION, HeaderValue::from_static(token)));
        let always = [(CONTENT_TYPE, PROTOBUF), (HOST, HeaderValue::from_static(host))];
        always.into_iter().chain(token).collect()
    }

    const COMPLETE: [(&str, &str); 3] =
        [("location", "here"), ("cluster", "__run__"), ("gcp.project_id", "p")];

    #[test]
    fn anybodys_collector_takes_what_is_metrics() {
        let telemetry = Telemetry::default();
        let local = headers("127.0.0.1:4318", None);
        assert_eq!(telemetry.answer(&local, b"{").status(), StatusCode::BAD_REQUEST);
        assert_eq!(telemetry.answer(&HeaderMap::new(), b"").status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(telemetry.answer(&local, &body(&[("a", "b")], "m", 1)).status(), StatusCode::OK);
        let [export] = &telemetry.taken()[..] else { panic!("one export") };
        assert_eq!(export.resource, [("a".to_owned(), "b".to_owned())].into());
        assert_eq!((export.points[0].name.as_str(), &export.points[0].value), ("m", &Measured::Number(1.5)));
    }

    #[test]
    fn googles_wants_a_token_and_takes_one_point_each_five_seconds() {
        let telemetry = Telemetry::default();
        let status = |token, body: &[u8]| telemetry.answer(&headers(GOOGLE, token), body).status();
        let (good, token) = (body(&COMPLETE, "m", 100), Some("Bearer t"));
        assert_eq!(status(None, &good), StatusCode::UNAUTHORIZED);
        assert_eq!(status(token, &body(&COMPLETE[1..], "m", 100)), StatusCode::BAD_REQUEST);
        for (second, rejected) in [(100, 0), (104, 1), (105, 0), (105, 1)] {
            let answer = telemetry.answer(&headers(GOOGLE, token), &body(&COMPLETE, "m", second));
            let said = ExportMetricsServiceResponse::decode(&answer.body()[..]).unwrap().partial_success;
            assert_eq!(said.map_or(0, |said| said.rejected_data_points), rejected, "{second}");
        }
        let points: usize = telemetry.taken().iter().map(|export| export.points.len()).sum();
        assert_eq!(points, 2);
    }
}
