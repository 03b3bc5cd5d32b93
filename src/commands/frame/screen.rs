//! The terminal, or what stands in for it.

use crate::telemetry::{LEAST_WIDTH, columns_of_stdout};
use std::borrow::Cow;

/// Columns where there is no terminal that says how many it has.
const WIDTH: usize = 80;

/// More are too many for eyes to find the next line.
const WIDEST_TEXT: usize = 110;

/// What the text is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Screen {
    /// The columns of the terminal, if it is one.
    columns: Option<usize>,
    has_colours: bool,
}

/// A colour that says how something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Bold,
    Dim,
    Green,
    Yellow,
    Red,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "31",
        }
    }
}

impl Screen {
    /// Stdout, with the environment's wishes.
    #[must_use]
    pub(crate) fn of_stdout(environment: impl Fn(&str) -> Option<String>) -> Self {
        let Some(columns) = columns_of_stdout() else { return Self::file() };
        let has_no_colour = environment("NO_COLOR").is_some_and(|set| !set.is_empty());
        let is_dumb = environment("TERM").is_some_and(|term| term == "dumb");
        Self::terminal(columns, !has_no_colour && !is_dumb)
    }

    /// A terminal of so many columns.
    #[must_use]
    pub(crate) fn terminal(columns: usize, has_colours: bool) -> Self {
        Self { columns: Some(columns.max(LEAST_WIDTH)), has_colours }
    }

    /// Anything else, such as a file or a pipe.
    #[must_use]
    pub(crate) fn file() -> Self {
        Self { columns: None, has_colours: false }
    }

    /// Columns for sentences.
    #[must_use]
    pub(crate) fn width(&self) -> usize {
        self.columns.unwrap_or(WIDTH).min(WIDEST_TEXT)
    }

    /// Columns for tables. Where no terminal is, other programs read their lines: nothing is left out for width.
    #[must_use]
    pub(crate) fn table_width(&self) -> usize {
        self.columns.unwrap_or(usize::MAX)
    }

    /// The text in that colour, where there are colours.
    #[must_use]
    pub(crate) fn paint<'a>(&self, paint: Paint, text: &'a str) -> Cow<'a, str> {
        match self.has_colours && !text.is_empty() {
            true => format!("\x1b[{}m{text}\x1b[0m", paint.code()).into(),
            false => text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_the_terminals_width_within_reason_and_eighty_columns_elsewhere() {
        for (screen, text, table) in [
            (Screen::file(), 80, usize::MAX),
            (Screen::terminal(80, false), 80, 80),
            (Screen::terminal(160, false), 110, 160),
            (Screen::terminal(3, false), 40, 40),
        ] {
            assert_eq!((screen.width(), screen.table_width()), (text, table));
        }
    }

    #[test]
    fn only_a_terminal_that_wants_them_has_colours() {
        assert_eq!(Screen::terminal(80, true).paint(Paint::Red, "failed"), "\x1b[31mfailed\x1b[0m");
        assert_eq!(Screen::terminal(80, true).paint(Paint::Red, ""), "");
        assert_eq!(Screen::terminal(80, false).paint(Paint::Red, "failed"), "failed");
        assert_eq!(Screen::file().paint(Paint::Bold, "x"), "x");
    }
}
