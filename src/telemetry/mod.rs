//! Log lines: objects in Cloud Logging's structured form, or readable text on a terminal.

mod chain;
mod cloud_logging;
mod label;
mod log_format;
#[cfg(test)]
mod memory;
pub(crate) mod metrics;
pub(crate) mod output;
mod pen;
mod progress;
mod queue;
mod targets;
mod terminal;
mod text;
mod wrap;

pub(crate) use self::chain::Chain;
pub(crate) use self::label::ExecutionLabel;
pub(crate) use self::log_format::LogFormat;
pub(crate) use self::progress::{Progress, SILENCE};
pub(crate) use self::terminal::{columns_of_stderr, columns_of_stdout, is_watched};
pub(crate) use self::wrap::{GLUE, LEAST_WIDTH, wrapped};
pub(crate) use crate::model::clean::clean;

use self::cloud_logging::CloudLogging;
use self::targets::{as_named_now, discretion, usual};
use self::terminal::{can_redraw, is_watched_from_now_on};
use self::text::{Text, is_good_news};
use std::any::Any;
use std::io::IsTerminal;
use tracing::Level;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging to stdout, once for the process. `lookup` is the environment; `is_verbose` tells who watches all of it.
pub(crate) fn init(
    (format, is_verbose): (LogFormat, bool),
    label: &ExecutionLabel,
    lookup: impl Fn(&str) -> Option<String>,
) {
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
            let text = text(terminal, is_verbose, &lookup);
            let is_short = terminal && !is_verbose;
            let wanted = filter_fn(move |kind| !(is_short && is_good_news(kind)));
            lines.event_format(text).finish().with(filter).with(discretion()).with(wanted).try_init()
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

/// How lines look to people.
fn text(is_terminal: bool, is_verbose: bool, lookup: impl Fn(&str) -> Option<String>) -> Text {
    if !is_terminal {
        return Text::Kept;
    }
    is_watched_from_now_on();
    let term = lookup("TERM");
    let wants_colours = lookup("NO_COLOR").is_none_or(|set| set.is_empty());
    let has_colours = wants_colours && term.as_deref() != Some("dumb");
    Text::Watched { has_colours, is_drawn_over: can_redraw(term.as_deref()), is_verbose }
}

/// The words of a panic that stand in the program. A text that was made when it panicked may quote anything, such as
/// the key that could not be read.
fn said_of_panic(payload: &dyn Any) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("see the place")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_says_only_what_stands_in_the_program() {
        assert_eq!(said_of_panic(&"no pages"), "no pages");
        assert_eq!(said_of_panic(&String::from("cannot read `hush`")), "see the place");
        assert_eq!(said_of_panic(&7), "see the place");
    }
}
