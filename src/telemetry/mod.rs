//! Log lines: objects in Cloud Logging's structured form, or readable text on a terminal.
//!
//! No maintained crate writes Cloud Logging's form, so the few lines it takes are here.

pub(crate) mod output;

use crate::config::Execution;
use crate::config::args::LogFormat;
use jiff::Timestamp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io::IsTerminal;
use std::sync::{Arc, PoisonError, RwLock};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, Targets, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Who is ever heard, whatever a variable says: the job itself, and of a library what says nothing but the addresses that
/// it connects to. Any other may print the payloads, tokens and headers that it carries, today or in its next version.
const HEARD: [(&str, Level); 3] = [
    ("alpaca_pulse", Level::TRACE),
    ("pulse", Level::TRACE),
    ("hyper_util::client::legacy::connect::http", Level::DEBUG),
];

/// Longest message of a line: Cloud Logging takes 256 KiB for a whole entry.
const MAX_MESSAGE_BYTES: usize = 16 * 1024;

/// An error and all its causes, for the one place where it is handled.
#[derive(Debug)]
pub(crate) struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(err) = cause {
            write!(f, ": {err}")?;
            cause = err.source();
        }
        Ok(())
    }
}

/// The execution that every line names. Clones name the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExecutionLabel(Arc<RwLock<String>>);

impl ExecutionLabel {
    /// Lines from now on are about this one.
    pub(crate) fn set(&self, execution: &Execution) {
        // Whatever panics while it is locked leaves a whole name.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = execution.id.to_string();
    }
}

/// Starts logging to stdout, once for the process. `lookup` is the environment; an execution that is not
/// usable is nothing to name in every line.
pub(crate) fn init(
    format: LogFormat,
    execution: Option<&Execution>,
    lookup: impl Fn(&str) -> Option<String>,
) -> ExecutionLabel {
    let label = ExecutionLabel::default();
    if let Some(execution) = execution {
        label.set(execution);
    }
    let wanted = lookup("RUST_LOG").filter(|filter| !filter.is_empty());
    let parsed = wanted.as_deref().map(str::parse::<Targets>);
    let is_ignored = matches!(parsed, Some(Err(_)));
    let filter = parsed.and_then(Result::ok).unwrap_or_else(usual);
    let terminal = std::io::stdout().is_terminal();
    let lines = tracing_subscriber::fmt().with_max_level(Level::TRACE);
    // What cannot be written is counted, and told by the line that sums up.
    let lines = lines.with_writer(output::Lines).log_internal_errors(false);
    // A second start, as in tests of one process, keeps the first.
    let _ = match (format, terminal) {
        (LogFormat::Text, _) | (LogFormat::Auto, true) => {
            let colours = terminal && lookup("NO_COLOR").is_none_or(|set| set.is_empty());
            lines
                .with_ansi(colours)
                .with_target(false)
                .compact()
                .finish()
                .with(filter)
                .with(discretion())
                .try_init()
        }
        (LogFormat::Json, _) | (LogFormat::Auto, false) => {
            let task_index = execution.map(|execution| execution.task_index).unwrap_or_default();
            let format = CloudLogging { execution: label.clone(), task_index };
            lines.event_format(format).finish().with(filter).with(discretion()).try_init()
        }
    };
    if is_ignored {
        tracing::warn!("RUST_LOG is ignored: it is no list such as warn,alpaca_pulse=debug");
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "Panicked, which is a bug: {}", said_of_panic(panic.payload()));
    }));
    label
}

/// The words of a panic that stand in the program. A text that was made when it panicked may quote anything, such as
/// the key that could not be read.
fn said_of_panic(payload: &dyn Any) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("see the place")
}

/// What is logged unless `RUST_LOG` says otherwise.
fn usual() -> Targets {
    Targets::new().with_targets([("alpaca_pulse", Level::INFO), ("pulse", Level::INFO)])
}

/// Lets nothing through but who is ever [`HEARD`].
fn discretion() -> FilterFn {
    filter_fn(is_heard)
}

fn is_heard(event: &Metadata<'_>) -> bool {
    HEARD.iter().any(|(target, most)| is_within(event.target(), target) && event.level() <= most)
}

/// Whether a target is a module, or within it.
fn is_within(target: &str, module: &str) -> bool {
    target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Writes an event as a `LogEntry`'s JSON.
#[derive(Debug)]
struct CloudLogging {
    execution: ExecutionLabel,
    task_index: u32,
}

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
        let execution = self.execution.0.read().unwrap_or_else(PoisonError::into_inner);
        let severity = seen.severity.as_deref().unwrap_or(severity_of(*event.metadata().level()));
        let entry = Entry {
            severity,
            execution: &execution,
            task_index: self.task_index,
            target: event.metadata().target(),
            seen: &seen,
        };
        let json = serde_json::to_string(&entry).map_err(|_| fmt::Error)?;
        writeln!(line, "{json}")
    }
}

/// Cloud Logging's name for a level; it has none below DEBUG.
fn severity_of(level: Level) -> &'static str {
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
struct Seen {
    message: String,
    /// Replaces the level's, for CRITICAL, which `tracing` does not have.
    severity: Option<String>,
    fields: Vec<(&'static str, Value)>,
}

impl Seen {
    fn keep(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("severity", Value::String(text)) => self.severity = Some(text),
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
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: impl FnOnce()) -> Vec<Value> {
        let lines = Lines::default();
        let writer = lines.clone();
        let execution = ExecutionLabel(Arc::new(RwLock::new("pulse-x7k2p".into())));
        let format = CloudLogging { execution, task_index: 3 };
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .event_format(format)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = lines.0.lock().expect("not poisoned").clone();
        let text = String::from_utf8(bytes).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
    }

    #[test]
    fn no_library_is_heard_but_where_it_says_nothing_but_addresses() {
        let told = |log: fn()| {
            let lines = Lines::default();
            let writer = lines.clone();
            let everything = tracing_subscriber::fmt().with_max_level(Level::TRACE).with_ansi(false);
            let subscriber = everything.with_writer(move || writer.clone()).finish().with(discretion());
            tracing::subscriber::with_default(subscriber, log);
            let bytes = lines.0.lock().expect("not poisoned").clone();
            String::from_utf8(bytes).expect("UTF-8")
        };
        let heard = told(|| {
            tracing::trace!(target: "alpaca_pulse", "ours");
            tracing::trace!(target: "alpaca_pulse::execution::assignment", "a part of ours");
            tracing::info!(target: "pulse", "the binary");
            tracing::debug!(target: "hyper_util::client::legacy::connect::http", "connecting to 127.0.0.1:1");
        });
        assert_eq!(heard.lines().count(), 4, "{heard}");
        let kept = told(|| {
            tracing::error!(target: "google_cloud_gax_internal::http", "hush");
            tracing::error!(target: "google_cloud_auth", "hush");
            tracing::info!(target: "experimental.client.request", "hush");
            tracing::error!(target: "alpaca_pulses", "hush");
            tracing::warn!(target: "firestore::db", "hush");
            tracing::trace!(target: "hyper_util::client::legacy::connect::http", "hush");
            tracing::debug!(target: "hyper_util::client::legacy::connect::dns", "hush");
            let _in_a_span = tracing::error_span!(target: "tonic", "hush", secret = "hush").entered();
            tracing::info!(target: "pulse", "ours");
        });
        assert!(kept.contains("ours") && !kept.contains("hush"), "{kept}");
    }

    #[test]
    fn a_panic_says_only_what_stands_in_the_program() {
        assert_eq!(said_of_panic(&"no pages"), "no pages");
        assert_eq!(said_of_panic(&String::from("cannot read `hush`")), "see the place");
        assert_eq!(said_of_panic(&7), "see the place");
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
