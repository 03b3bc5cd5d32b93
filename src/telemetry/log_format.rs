//! Which form the log has.

use clap::ValueEnum;
use std::ffi::OsString;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One object a line, in Cloud Logging's structured form.
    Json,
    /// For people.
    Text,
    /// Text on a terminal, JSON elsewhere.
    Auto,
}

impl LogFormat {
    /// The one that was asked for by a command line that cannot be used as a whole.
    #[must_use]
    pub(crate) fn asked_for(args: &[OsString], lookup: impl Fn(&str) -> Option<String>) -> Self {
        let args: Vec<_> = args.iter().filter_map(|arg| arg.to_str()).collect();
        let apart = args.windows(2).find(|pair| pair[0] == "--log-format").map(|pair| pair[1]);
        let flag = args.iter().find_map(|arg| arg.strip_prefix("--log-format=")).or(apart);
        let asked = flag.map(str::to_owned).or_else(|| lookup("PULSE_LOG_FORMAT"));
        asked.and_then(|name| Self::from_str(&name, false).ok()).unwrap_or(Self::Auto)
    }

    /// Whether the log is JSON, with stdout on a terminal or not.
    #[must_use]
    pub(crate) fn is_json(self, on_terminal: bool) -> bool {
        self == Self::Json || self == Self::Auto && !on_terminal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_format_is_known_of_a_command_line_that_is_not() {
        use LogFormat::{Auto, Json, Text};
        for (args, variable, expected) in [
            (&["pulse"][..], None, Auto),
            (&["pulse", "sync", "--log-format", "json"], Some("text"), Json),
            (&["pulse", "sync", "--log-format=text", "--frobnicate"], Some("json"), Text),
            (&["pulse", "sync", "--frobnicate"], Some("json"), Json),
            (&["pulse", "sync", "--log-format"], Some("text"), Text),
            (&["pulse", "sync", "--log-format", "xml"], None, Auto),
            (&["pulse", "sync"], Some("xml"), Auto),
        ] {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            let asked = LogFormat::asked_for(&args, |_| variable.map(str::to_owned));
            assert_eq!(asked, expected, "{args:?} {variable:?}");
        }
        assert!(Json.is_json(true) && Auto.is_json(false) && !Auto.is_json(true) && !Text.is_json(false));
    }
}
