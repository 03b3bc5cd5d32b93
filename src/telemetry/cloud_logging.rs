//! Cloud Logging's structured form: an object a line.
//!
//! No maintained crate writes it, so the few lines it takes are here.

use crate::model::clean::clean_json;
use crate::telemetry::chain::Chain;
use crate::telemetry::label::ExecutionLabel;
use jiff::Timestamp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::error::Error;
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Longest message of a line: Cloud Logging takes 256 KiB for a whole entry.
const MAX_MESSAGE_BYTES: usize = 16 * 1024;

/// Writes an event as a `LogEntry`'s JSON.
#[derive(Debug)]
pub(super) struct CloudLogging(pub(super) ExecutionLabel);

/// One line.
struct Entry<'a> {
    severity: &'a str,
    execution: &'a str,
    task_index: u32,
    target: &'a str,
    seen: &'a Seen,
}

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { severity, execution, task_index, target, seen } = self;
        let user_id = seen.fields.iter().find(|(name, _)| *name == "user_id");
        let user_id = user_id.and_then(|(_, id)| id.as_str());
        let mut entry = serializer.serialize_map(None)?;
        entry.serialize_entry("severity", severity)?;
        entry.serialize_entry("message", capped(&seen.message))?;
        entry.serialize_entry("time", &format_args!("{:.6}", Timestamp::now()))?;
        let labels = Labels { execution, task_index: &format_args!("{task_index}"), user_id };
        entry.serialize_entry("logging.googleapis.com/labels", &labels)?;
        entry.serialize_entry("execution", execution)?;
        entry.serialize_entry("task_index", task_index)?;
        entry.serialize_entry("target", target)?;
        for (name, value) in &seen.fields {
            entry.serialize_entry(name, value)?;
        }
        entry.end()
    }
}

/// Labels are what `gcloud logging read` filters by; their values must be texts.
#[derive(Serialize)]
struct Labels<'a> {
    execution: &'a str,
    task_index: &'a fmt::Arguments<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
}

impl<S, N> FormatEvent<S, N> for CloudLogging
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut seen = Seen::default();
        event.record(&mut seen);
        let execution = self.0.execution();
        let severity = seen.severity.as_deref().unwrap_or(severity_of(*event.metadata().level()));
        let entry = Entry {
            severity,
            execution: &execution,
            task_index: self.0.task_index(),
            target: event.metadata().target(),
            seen: &seen,
        };
        let json = serde_json::to_string(&entry).map_err(|_| fmt::Error)?;
        writeln!(line, "{}", clean_json(&json))
    }
}

/// Cloud Logging's name for a level; it has none below DEBUG.
pub(super) fn severity_of(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        _ => "DEBUG",
    }
}

fn capped(message: &str) -> &str {
    &message[..message.floor_char_boundary(MAX_MESSAGE_BYTES)]
}

/// What an event carries.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) message: String,
    /// Replaces the level's, for CRITICAL, which `tracing` does not have.
    pub(super) severity: Option<String>,
    pub(super) fields: Vec<(&'static str, Value)>,
}

impl Seen {
    fn keep(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("severity", Value::String(text)) => self.severity = Some(text),
            // An event's fields are single values: an object comes as its text.
            ("errors", Value::String(text)) => {
                let object = serde_json::from_str(&text).ok().filter(Value::is_object);
                self.fields.push(("errors", object.unwrap_or(Value::String(text))));
            }
            // Names of the entry itself, as a library's own event might use them.
            ("time" | "execution" | "task_index" | "target", _) => {}
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Seen {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.keep(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.keep(field, Chain(value).to_string().into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::DocumentId;
    use crate::telemetry::memory::logged_by;

    fn logged(log: impl FnOnce()) -> Vec<Value> {
        let execution = DocumentId::parse("pulse-x7k2p").expect("an id");
        let format = CloudLogging(ExecutionLabel::new(&execution, 3));
        let lines = tracing_subscriber::fmt().with_max_level(Level::TRACE).event_format(format);
        let text = logged_by(|memory| lines.with_writer(memory).finish(), log);
        text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
    }

    #[test]
    fn a_line_is_an_entry_with_labels_and_fields() {
        let entry =
            logged(|| tracing::info!(user_id = "ana", duration_ms = 12, "Successfully synced")).remove(0);
        assert_eq!(entry["severity"], "INFO");
        assert_eq!(entry["message"], "Successfully synced");
        assert_eq!((&entry["user_id"], &entry["duration_ms"]), (&"ana".into(), &12.into()));
        assert_eq!((&entry["execution"], &entry["task_index"]), (&"pulse-x7k2p".into(), &3.into()));
        let labels = serde_json::json!({"execution": "pulse-x7k2p", "task_index": "3", "user_id": "ana"});
        assert_eq!(entry["logging.googleapis.com/labels"], labels);
        entry["time"].as_str().and_then(|time| time.parse::<Timestamp>().ok()).expect("an RFC 3339 time");
    }

    #[test]
    fn levels_become_cloud_loggings_severities() {
        let entries = logged(|| {
            tracing::error!(severity = "CRITICAL", "a");
            tracing::error!("b");
            tracing::warn!("c");
            tracing::debug!("d");
            tracing::trace!("e");
        });
        let severities: Vec<_> =
            entries.iter().map(|entry| entry["severity"].as_str().expect("a text")).collect();
        assert_eq!(severities, ["CRITICAL", "ERROR", "WARNING", "DEBUG", "DEBUG"]);
    }

    #[test]
    fn a_line_break_in_a_message_does_not_break_the_line() {
        assert_eq!(logged(|| tracing::info!("a\n{{\"severity\":\"INFO\"}}")).len(), 1);
    }

    #[test]
    fn an_endless_message_is_capped_between_characters() {
        let entry = logged(|| tracing::info!("{}", "é".repeat(20_000))).remove(0);
        let message = entry["message"].as_str().expect("a text");
        assert!(message.len() <= MAX_MESSAGE_BYTES && message.ends_with('é'));
    }
}
