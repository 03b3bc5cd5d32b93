//! Where a pass's metrics go, if anywhere: OpenTelemetry's own variables, and one for Google's endpoint. What they say of
//! headers, resources and the like is read by OpenTelemetry's exporter.

use crate::config::endpoints::parse_endpoint;
use reqwest::Url;
use std::time::Duration;

/// Google's own collector.
const GOOGLE: &str = "https://telemetry.googleapis.com";

/// Where a collector takes metrics, below an endpoint that is for all of telemetry.
const PATH: &str = "/v1/metrics";

/// For a whole export, unless a variable says otherwise.
const LIMIT: Duration = Duration::from_secs(2);

/// Who gets the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetricsTarget {
    /// The whole address.
    pub(crate) url: Url,
    /// Whether it is Google's: then the job's own token goes along, and its rules hold.
    pub(crate) is_google: bool,
    /// For all of one export, whatever the collector does.
    pub(crate) limit: Duration,
    /// `OTEL_SERVICE_NAME`.
    pub(crate) service_name: Option<String>,
    /// `OTEL_RESOURCE_ATTRIBUTES` says where the job runs, so that nobody need be asked.
    pub(crate) names_location: bool,
}

impl MetricsTarget {
    /// What the environment says; nothing where metrics are not asked for.
    pub(super) fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let is_google = match lookup("PULSE_METRICS").as_deref() {
            None => false,
            Some("gcp") => true,
            Some(other) => return Err(format!("PULSE_METRICS is {other:?}: it can be gcp, or unset")),
        };
        if is_off(&lookup) {
            return Ok(None);
        }
        let insecure = lookup("PULSE_ALLOW_INSECURE_ENDPOINTS").is_some_and(|value| value == "1");
        let set = endpoint(&lookup, insecure)?;
        let url = match (is_google, set) {
            (false, None) => return Ok(None),
            (false, Some((_, url))) => url,
            (true, None) => below(GOOGLE.parse().map_err(|_| "Google's endpoint is no URL")?),
            (true, Some((name, _))) => {
                return Err(format!("PULSE_METRICS=gcp and {name} name two collectors: unset one"));
            }
        };
        let attributes = lookup("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let mut names =
            attributes.split(',').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.trim());
        let (service_name, names_location) =
            (lookup("OTEL_SERVICE_NAME"), names.any(|name| name == "location"));
        Ok(Some(Self { url, is_google, limit: limit(&lookup)?, service_name, names_location }))
    }
}

/// The standard ways to switch it off whatever else is set.
fn is_off(lookup: impl Fn(&str) -> Option<String>) -> bool {
    let is = |name, word: &str| lookup(name).is_some_and(|value| value.trim().eq_ignore_ascii_case(word));
    is("OTEL_SDK_DISABLED", "true") || is("OTEL_METRICS_EXPORTER", "none")
}

/// The address that is set, by the more special variable first, with the variable's name.
fn endpoint(
    lookup: impl Fn(&str) -> Option<String>,
    insecure: bool,
) -> Result<Option<(&'static str, Url)>, String> {
    let [metrics, all] = ["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    let set = [metrics, all].into_iter().find_map(|name| Some((name, lookup(name)?)));
    let Some((name, value)) = set else { return Ok(None) };
    let url = parse_endpoint(&value, insecure).map_err(|reason| format!("{name} {reason}"))?;
    Ok(Some((name, if name == all { below(url) } else { url })))
}

/// OpenTelemetry's own variables for it count in milliseconds.
fn limit(lookup: impl Fn(&str) -> Option<String>) -> Result<Duration, String> {
    let names = ["OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
    let set = names.into_iter().find_map(|name| Some((name, lookup(name)?)));
    let Some((name, value)) = set else { return Ok(LIMIT) };
    let millis = value.trim().parse().ok().filter(|millis| *millis > 0);
    let millis = millis.ok_or_else(|| format!("{name} is {value:?}: it is a number of milliseconds"))?;
    Ok(Duration::from_millis(millis))
}

/// The address below an endpoint that is for all of telemetry.
fn below(mut url: Url) -> Url {
    let path = format!("{}{PATH}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The address and whether it is Google's; nothing where metrics are off.
    fn read(variables: &[(&str, &str)]) -> Result<Option<(String, bool)>, String> {
        let lookup =
            |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        let target = MetricsTarget::from_lookup(lookup)?;
        Ok(target.map(|target| (target.url.to_string(), target.is_google)))
    }

    const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const METRICS: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";
    const GCP: (&str, &str) = ("PULSE_METRICS", "gcp");

    #[test]
    fn metrics_go_where_the_variables_say_and_nowhere_unless_they_do() {
        let google = "https://telemetry.googleapis.com/v1/metrics";
        for (variables, expected) in [
            (&[][..], None),
            (&[("OTEL_EXPORTER_OTLP_HEADERS", "a=b")], None),
            (&[(ALL, "http://localhost:4318")], Some(("http://localhost:4318/v1/metrics", false))),
            (&[(ALL, "https://c.test/otlp/")], Some(("https://c.test/otlp/v1/metrics", false))),
            (&[(METRICS, "https://c.test/x")], Some(("https://c.test/x", false))),
            (&[(ALL, "https://a.test"), (METRICS, "https://b.test/m")], Some(("https://b.test/m", false))),
            (&[GCP], Some((google, true))),
            (&[GCP, ("OTEL_SDK_DISABLED", "true")], None),
            (&[(ALL, "https://a.test"), ("OTEL_METRICS_EXPORTER", "none")], None),
            (
                &[(ALL, "https://a.test"), ("OTEL_SDK_DISABLED", "false")],
                Some(("https://a.test/v1/metrics", false)),
            ),
        ] {
            let expected = expected.map(|(url, is_google)| (url.to_owned(), is_google));
            assert_eq!(read(variables), Ok(expected), "{variables:?}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_the_variables_name() {
        for (variables, part) in [
            (&[("PULSE_METRICS", "google")][..], "PULSE_METRICS is \"google\""),
            (&[(ALL, "ftp://c.test")], "OTEL_EXPORTER_OTLP_ENDPOINT is neither http nor https"),
            (&[(METRICS, "http://c.test")], "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT is plain HTTP to c.test"),
            (&[GCP, ("OTEL_EXPORTER_OTLP_TIMEOUT", "2s")], "OTEL_EXPORTER_OTLP_TIMEOUT is \"2s\""),
            (&[GCP, ("OTEL_EXPORTER_OTLP_TIMEOUT", "0")], "OTEL_EXPORTER_OTLP_TIMEOUT is \"0\""),
            (&[GCP, (ALL, "https://c.test")], "PULSE_METRICS=gcp and OTEL_EXPORTER_OTLP_ENDPOINT name two"),
        ] {
            let told = read(variables).expect_err("refused");
            assert!(told.starts_with(part), "{told}");
        }
        let trusted = [(ALL, "http://c.test"), ("PULSE_ALLOW_INSECURE_ENDPOINTS", "1")];
        assert!(read(&trusted).is_ok_and(|target| target.is_some()));
    }

    #[test]
    fn an_export_may_take_two_seconds_or_what_the_variables_say() {
        let [metrics, all] = ["OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
        for (variables, millis) in
            [(&[][..], 2_000), (&[(all, "500")], 500), (&[(all, "500"), (metrics, " 750 ")], 750)]
        {
            let lookup = |name: &str| match name {
                "PULSE_METRICS" => Some("gcp".to_owned()),
                _ => variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned()),
            };
            let target = MetricsTarget::from_lookup(lookup).expect("usable").expect("on");
            assert_eq!(target.limit, Duration::from_millis(millis), "{variables:?}");
        }
    }

    #[test]
    fn the_resource_is_looked_at_for_the_location() {
        for (attributes, names_location) in [
            ("location=here", true),
            ("a=b, location = here", true),
            ("cloud.location=here", false),
            ("", false),
        ] {
            let lookup = |name: &str| match name {
                "PULSE_METRICS" => Some("gcp".to_owned()),
                "OTEL_RESOURCE_ATTRIBUTES" => Some(attributes.to_owned()),
                _ => None,
            };
            let target = MetricsTarget::from_lookup(lookup).expect("usable").expect("on");
            assert_eq!(target.names_location, names_location, "{attributes}");
        }
    }
}
