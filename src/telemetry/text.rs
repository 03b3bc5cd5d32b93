//! Lines for people: with all fields where they are kept, and short where somebody watches.

use crate::model::advice::{Advice, NEEDS_REAUTH};
use crate::model::clean::clean;
use crate::model::outcome::Code;
use crate::telemetry::cloud_logging::{Seen, severity_of};
use crate::telemetry::terminal::columns_of_stdout;
use crate::telemetry::wrap::{LEAST_WIDTH, wrapped};
use jiff::Timestamp;
use std::fmt;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Takes away a line that is to be drawn over.
pub(super) const CLEAR_LINE: &str = "\r\x1b[K";

/// Columns of a time and what comes behind it. The rest of a line that does not fit stands below the rest.
const MARGIN: usize = "14:30:00  ".len();

/// How lines look.
#[derive(Clone, Copy, Debug)]
pub(super) enum Text {
    /// Whole, for whoever reads them later.
    Kept,
    /// Short, on a terminal.
    Watched {
        has_colours: bool,
        /// A line of progress may be where the line comes.
        is_drawn_over: bool,
        /// With everything that is known.
        is_verbose: bool,
    },
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut seen = Seen::default();
        event.record(&mut seen);
        let severity = seen.severity.clone();
        let severity = severity.as_deref().unwrap_or(severity_of(*event.metadata().level()));
        let columns = match self {
            Self::Watched { is_verbose: false, .. } => columns_of_stdout(),
            Self::Watched { .. } | Self::Kept => None,
        };
        let said = self.line(severity, &seen, (Timestamp::now(), columns.unwrap_or(usize::MAX)));
        writeln!(line, "{said}")
    }
}

/// Lines about single users that are neither errors nor warnings: who watches does not want thousands of them, unless
/// they asked what would change.
pub(super) fn is_good_news(kind: &Metadata<'_>) -> bool {
    let has = |field| kind.fields().field(field).is_some();
    *kind.level() >= tracing::Level::INFO && has("user_id") && !has("difference")
}

impl Text {
    fn line(self, severity: &str, seen: &Seen, (now, columns): (Timestamp, usize)) -> String {
        let message = clean(&seen.message);
        match self {
            Self::Kept => format!("{now:.6} {severity:>8} {message}{}", fields(seen)),
            Self::Watched { has_colours, is_drawn_over, is_verbose } => {
                let start = if is_drawn_over { CLEAR_LINE } else { "" };
                let time = now.strftime("%H:%M:%S");
                let short = match severity {
                    _ if is_verbose => None,
                    "ERROR" => failure(seen),
                    _ => change(seen),
                };
                let told = short.unwrap_or_else(|| {
                    let fields = if is_verbose { fields(seen) } else { String::new() };
                    format!("{severity:<8}  {message}{fields}")
                });
                let lines = wrapped(&told, columns.max(LEAST_WIDTH) - MARGIN);
                let told = lines.join(&format!("\n{:MARGIN$}", ""));
                format!("{start}{time}  {}", painted(&told, severity, has_colours))
            }
        }
    }
}

/// Of a user whom a dry run compared: who, and what would change.
fn change(seen: &Seen) -> Option<String> {
    let (user, difference) = (text(seen, "user_id")?, text(seen, "difference")?);
    let changes = text(seen, "changes").map(|changes| format!(": {}", clean(changes)));
    Some(format!("{}  {}{}", clean(user), clean(difference), changes.unwrap_or_default()))
}

fn text<'a>(seen: &'a Seen, name: &str) -> Option<&'a str> {
    seen.fields.iter().find(|(field, _)| *field == name).and_then(|(_, value)| value.as_str())
}

/// Of a user who failed: who, the code, what to do.
fn failure(seen: &Seen) -> Option<String> {
    let text = |name| text(seen, name);
    let (user, code) = (text("user_id")?, Code::parse(text("error")?)?);
    let advice = match (code, text("since")) {
        (Code::BrokerRejected, Some(_)) => NEEDS_REAUTH,
        _ => Advice::on(code, true),
    };
    Some(format!("{}  {code}  {}", clean(user), advice.in_few_words()))
}

fn fields(seen: &Seen) -> String {
    seen.fields.iter().map(|(name, value)| format!(" {name}={}", clean(&value.to_string()))).collect()
}

fn painted(text: &str, severity: &str, has_colours: bool) -> String {
    let colour = match severity {
        "CRITICAL" => "1;31",
        "ERROR" => "31",
        "WARNING" => "33",
        _ => return text.to_owned(),
    };
    if has_colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn seen(message: &str, fields: &[(&'static str, serde_json::Value)]) -> Seen {
        Seen { message: message.to_owned(), severity: None, fields: fields.to_vec() }
    }

    const WATCHED: Text = Text::Watched { has_colours: false, is_drawn_over: false, is_verbose: false };
    const VERBOSE: Text = Text::Watched { has_colours: false, is_drawn_over: false, is_verbose: true };

    #[test]
    fn a_failure_is_short_where_somebody_watches_and_whole_where_it_is_kept() {
        let failed =
            seen("Failed: x", &[("user_id", json!("a\u{202e}na")), ("error", json!("keys_missing"))]);
        let now: Timestamp = "2026-01-05T14:30:00.5Z".parse().expect("a time");
        for (text, severity, expected) in [
            (WATCHED, "ERROR", "14:30:00  a\\u{202e}na  keys_missing  the user's to mend"),
            (
                VERBOSE,
                "ERROR",
                "14:30:00  ERROR     Failed: x user_id=\"a\\u{202e}na\" error=\"keys_missing\"",
            ),
            (
                Text::Kept,
                "ERROR",
                "2026-01-05T14:30:00.500000Z    ERROR Failed: x user_id=\"a\\u{202e}na\" error=\"keys_missing\"",
            ),
            (WATCHED, "WARNING", "14:30:00  WARNING   Failed: x"),
        ] {
            assert_eq!(text.line(severity, &failed, (now, usize::MAX)), expected);
        }
        let mut rejected = seen("x", &[("user_id", json!("ana")), ("error", json!("broker_rejected"))]);
        assert_eq!(
            WATCHED.line("ERROR", &rejected, (now, 80)),
            "14:30:00  ana  broker_rejected  will be tried again"
        );
        rejected.fields.push(("since", json!("2026-01-05T14:30:00Z")));
        assert_eq!(
            WATCHED.line("ERROR", &rejected, (now, 80)),
            "14:30:00  ana  broker_rejected  the user's to mend"
        );
    }

    #[test]
    fn critical_reads_critical_and_colours_are_for_who_wants_them() {
        let now = Timestamp::UNIX_EPOCH;
        let line = |text: Text| text.line("CRITICAL", &seen("no\nusers", &[]), (now, 80));
        assert_eq!(line(WATCHED), "00:00:00  CRITICAL  no\\nusers");
        let coloured = Text::Watched { has_colours: true, is_drawn_over: true, is_verbose: false };
        assert_eq!(line(coloured), "\r\x1b[K00:00:00  \x1b[1;31mCRITICAL  no\\nusers\x1b[0m");
    }

    #[test]
    fn what_would_change_is_short_and_fits_the_screen() {
        let now = Timestamp::UNIX_EPOCH;
        let fields = |difference: &str, changes: Option<&str>| {
            let ids = [("user_id", json!("Xk3vQ9LmTtPz0aBcDeFgHiJkLmN2")), ("difference", json!(difference))];
            let changes = changes.map(|changes| ("changes", json!(changes)));
            seen("Would have synced", &ids.into_iter().chain(changes).collect::<Vec<_>>())
        };
        let line = |seen: &Seen, columns| WATCHED.line("INFO", seen, (now, columns));
        assert_eq!(line(&fields("new", None), 80), "00:00:00  Xk3vQ9LmTtPz0aBcDeFgHiJkLmN2  new");
        let changed =
            fields("changed", Some("equity 100 → 101.5, status \"ACTIVE\" → \"ACCOUNT_CLOSED\"\u{202e}"));
        let expected = "00:00:00  Xk3vQ9LmTtPz0aBcDeFgHiJkLmN2  changed: equity 100 → 101.5, status\n\
                        \u{20}         \"ACTIVE\" → \"ACCOUNT_CLOSED\"\\u{202e}";
        assert_eq!(line(&changed, 80), expected);
        assert_eq!(line(&changed, 160).lines().count(), 1);
        assert!(line(&changed, 3).lines().all(|line| line.chars().count() <= LEAST_WIDTH));
        let verbose = VERBOSE.line("INFO", &changed, (now, usize::MAX));
        assert!(verbose.contains("INFO      Would have synced user_id="), "{verbose}");
    }
}
