//! The metrics of a finished pass, sent to a collector by OpenTelemetry's own exporter: at the end of a pass, in a time of
//! their own, and whatever comes of it changes nothing of the pass.

mod wire;

use crate::config::MetricsTarget;
use crate::config::variables::environment;
use crate::google::credentials::Identity;
use crate::google::credentials::failure::NoToken;
use crate::google::region::region;
use crate::model::ids::Database;
use crate::model::pass_figures::PassFigures;
use crate::network::http::{self, look_up};
use crate::network::names::Names;
use crate::shutdown::Stop;
use crate::telemetry::metrics::{USER_DURATION, bounds, gauges, means};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_otlp::{MetricExporter, Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::resource::EnvResourceDetector;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use tracing::warn;
use wire::{Note, Undelivered, Wire};

/// What is left to the process after it, where it has a deadline.
const RESERVE: Duration = Duration::from_millis(250);

/// Google takes one point of each series in that time.
const LEAST_PAUSE: Duration = Duration::from_secs(5);

/// Never: the one export is the one that ends it.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// More users than that in one pass are damage of the ledger, and would take a while to count.
const MOST_USERS: u64 = 10_000_000;

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoMetrics {
    /// Who the job is, cannot be shown.
    #[error("Google's credentials give no token: {0}")]
    Credentials(NoToken),
    /// The client cannot be set up.
    #[error("their HTTP client cannot be set up")]
    Http(#[from] reqwest::Error),
}

/// Sends the metrics of passes. Made only where metrics are asked for.
#[derive(Debug)]
pub(crate) struct Metrics {
    target: MetricsTarget,
    http: reqwest::Client,
    names: Names,
    /// Only for Google.
    identity: Option<Identity>,
    database: Database,
    region: OnceCell<Option<String>>,
    sent_at: Mutex<Option<Instant>>,
}

impl Metrics {
    /// `google` is who the job is to Google's other services.
    pub(crate) fn new(
        target: &MetricsTarget,
        database: &Database,
        google: &Identity,
        names: &Names,
    ) -> Result<Self, NoMetrics> {
        let is_plain = target.url.scheme() == "http";
        let client = http::client(names, is_plain).timeout(target.limit);
        // A proxy would see what a collector beside the job is told.
        let client = if is_plain { client.no_proxy() } else { client };
        Ok(Self {
            http: client.build()?,
            identity: target
                .is_google
                .then(|| google.without_stand_in())
                .transpose()
                .map_err(NoMetrics::Credentials)?,
            target: target.clone(),
            names: names.clone(),
            database: database.clone(),
            region: OnceCell::new(),
            sent_at: Mutex::new(None),
        })
    }

    /// Sends them, as far as there is time, or says in one line that they did not arrive.
    pub(crate) async fn export(&self, figures: &PassFigures, stop: &Stop) {
        let limit = time_for(self.target.limit, stop.latest_end(), Instant::now());
        if stop.signal().is_some() || limit.is_zero() || !self.may_send(Instant::now()) {
            return;
        }
        let sent = tokio::select! {
            sent = timeout(limit, self.send(figures)) => sent.unwrap_or(Err(Undelivered::Late)),
            () = stop.signalled() => return,
        };
        if let Err(failure) = sent {
            let collector = self.target.url.host_str().unwrap_or_default();
            warn!("The metrics of this pass did not reach {collector}: {failure}");
        }
    }

    fn may_send(&self, now: Instant) -> bool {
        let mut sent_at = self.sent_at.lock().unwrap_or_else(PoisonError::into_inner);
        let may = sent_at.is_none_or(|at| now.duration_since(at) >= LEAST_PAUSE);
        if may {
            *sent_at = Some(now);
        }
        may
    }

    async fn send(&self, figures: &PassFigures) -> Result<(), Undelivered> {
        // Whoever is not found is not reached either.
        let _ = look_up(&self.names, &self.target.url).await;
        let (resource, figures, target) = (self.resource().await, figures.clone(), self.target.clone());
        let (runtime, note) = (Handle::current(), Note::default());
        let wire = Wire { http: self.http.clone(), identity: self.identity.clone(), runtime, note };
        // The exporter waits for its thread, which waits for calls on this one.
        let delivered = spawn_blocking(move || deliver(&target, wire, resource, &figures)).await;
        delivered.map_err(|_| Undelivered::Unusable("OpenTelemetry's exporter panicked".into()))?
    }

    /// Whose metrics they are: the same from pass to pass. What the standard variables say goes before.
    async fn resource(&self) -> Resource {
        let database = &self.database;
        let mut attributes = vec![
            KeyValue::new("service.name", "pulse"),
            KeyValue::new("service.instance.id", database.database.to_string()),
        ];
        if self.target.is_google {
            attributes.push(KeyValue::new("gcp.project_id", database.project.to_string()));
            attributes.push(KeyValue::new("cluster", "__run__"));
            attributes.extend(self.region().await.map(|region| KeyValue::new("location", region)));
        }
        let resource = Resource::builder_empty().with_attributes(attributes);
        let resource = resource.with_detector(Box::new(EnvResourceDetector::new()));
        match &self.target.service_name {
            Some(name) => resource.with_service_name(name.clone()).build(),
            None => resource.build(),
        }
    }

    async fn region(&self) -> Option<String> {
        if self.target.names_location {
            return None;
        }
        self.region.get_or_init(|| region(environment)).await.clone()
    }
}

/// How long an export may take now, before a process that has to end by then.
fn time_for(limit: Duration, end: Option<Instant>, now: Instant) -> Duration {
    end.map_or(limit, |end| end.saturating_duration_since(now + RESERVE).min(limit))
}

/// One export, in this thread and one of OpenTelemetry's.
fn deliver(
    target: &MetricsTarget,
    wire: Wire,
    resource: Resource,
    figures: &PassFigures,
) -> Result<(), Undelivered> {
    let note = wire.note.clone();
    let exporter = MetricExporter::builder()
        .with_temporality(Temporality::Cumulative)
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(target.url.as_str())
        .with_timeout(target.limit)
        .with_http_client(wire)
        .build()
        .map_err(|err| Undelivered::Unusable(err.to_string()))?;
    let reader = PeriodicReader::builder(exporter).with_interval(NEVER).build();
    // A new one for each pass: it has no other's numbers, and its end is the one export.
    let provider = SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build();
    record(&provider.meter("pulse"), figures);
    let ended = provider.shutdown();
    match note.take() {
        Some(failure) => Err(failure),
        None => ended.map_err(|err| Undelivered::Unusable(err.to_string())),
    }
}

/// OpenTelemetry takes single values and no sums, so the histogram is counted anew, from the buckets' means.
fn record(meter: &Meter, figures: &PassFigures) {
    for gauge in gauges(figures) {
        let labels: Vec<_> = gauge.labels.iter().map(|(name, value)| KeyValue::new(*name, *value)).collect();
        meter.f64_gauge(gauge.name).build().record(gauge.value, &labels);
    }
    let histogram = meter.f64_histogram(USER_DURATION).with_boundaries(bounds()).build();
    let times = &figures.measures.way_times;
    for (mean, users) in means(times).filter(|_| times.users() <= MOST_USERS) {
        (0..users).for_each(|_| histogram.record(mean, &[]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_leaves_the_end_of_the_process_its_time() {
        let (limit, now, second) = (Duration::from_secs(2), Instant::now(), Duration::from_secs(1));
        for (end, time) in [
            (None, limit),
            (Some(now + 60 * second), limit),
            (Some(now + second), Duration::from_millis(750)),
            (Some(now + RESERVE), Duration::ZERO),
            (Some(now), Duration::ZERO),
        ] {
            assert_eq!(time_for(limit, end, now), time, "{end:?}");
        }
    }
}
