//! Log lines: objects in Cloud Logging's structured form, or readable text on a terminal.

mod chain;
mod cloud_logging;
mod label;
mod log_format;
#[cfg(test)]
mod memory;
pub(crate) mod output;
mod pen;
mod queue;

pub(crate) use self::chain::Chain;
pub(crate) use self::label::ExecutionLabel;
pub(crate) use self::log_format::LogFormat;

use self::cloud_logging::CloudLogging;
use std::any::Any;
use std::io::IsTerminal;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterFn, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Who is ever heard, whatever a variable says: the job itself, and of a library what says nothing but the addresses that
/// it connects to. Any other may print the payloads, tokens and headers that it carries, today or in its next version.
const HEARD: [(&str, Level); 3] = [
    ("alpaca_pulse", Level::TRACE),
    ("pulse", Level::TRACE),
    ("hyper_util::client::legacy::connect::http", Level::DEBUG),
];

/// Starts logging to stdout, once for the process. `lookup` is the environment.
pub(crate) fn init(format: LogFormat, label: &ExecutionLabel, lookup: impl Fn(&str) -> Option<String>) {
    let wanted = lookup("RUST_LOG").filter(|filter| !filter.is_empty());
    let parsed = wanted.as_deref().map(str::parse::<Targets>);
    let is_ignored = matches!(parsed, Some(Err(_)));
    let filter = parsed.and_then(Result::ok).map_or_else(usual, as_named_now);
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
        (LogFormat::Json, _) | (LogFormat::Auto, false) => lines
            .event_format(CloudLogging(label.clone()))
            .finish()
            .with(filter)
            .with(discretion())
            .try_init(),
    };
    if is_ignored {
        tracing::warn!("RUST_LOG is ignored: it is no list such as warn,alpaca_pulse=debug");
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "Panicked, which is a bug: {}", said_of_panic(panic.payload()));
    }));
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

/// A filter with the job's own lines under the name that they have now. Most had the target `pulse` once, and
/// deployed jobs filter by it: their last line must not fall silent with a new version.
fn as_named_now(filter: Targets) -> Targets {
    let others = filter.default_level();
    let named = filter.into_iter().map(|(target, level)| match target.strip_prefix("pulse") {
        Some(rest) if rest.is_empty() || rest.starts_with("::") => ("alpaca_pulse".to_owned(), level),
        _ => (target, level),
    });
    let named = Targets::new().with_targets(named);
    match others {
        Some(level) => named.with_default(level),
        None => named,
    }
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

#[cfg(test)]
mod tests {
    use super::memory::logged_by;
    use super::*;
    use tracing_subscriber::filter::LevelFilter;

    #[test]
    fn a_filter_by_the_jobs_old_name_is_one_by_its_new_name() {
        for (given, meant) in [
            ("pulse=info", "alpaca_pulse=info"),
            ("warn,pulse=info", "warn,alpaca_pulse=info"),
            ("info,pulse=off", "info,alpaca_pulse=off"),
            ("pulse::x=debug", "alpaca_pulse=debug"),
            ("warn,alpaca_pulse=debug", "warn,alpaca_pulse=debug"),
            ("pulsex=trace,alpaca_pulse::pass=info", "pulsex=trace,alpaca_pulse::pass=info"),
        ] {
            let [given, meant]: [Targets; 2] = [given, meant].map(|text| text.parse().expect("a filter"));
            assert_eq!(as_named_now(given), meant);
        }
        let everything: Targets = "debug".parse().expect("a filter");
        assert_eq!(as_named_now(everything).default_level(), Some(LevelFilter::DEBUG));
    }

    #[test]
    fn no_library_is_heard_but_where_it_says_nothing_but_addresses() {
        let told = |log: fn()| {
            let everything = tracing_subscriber::fmt().with_max_level(Level::TRACE).with_ansi(false);
            logged_by(|memory| everything.with_writer(memory).finish().with(discretion()), log)
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
}
