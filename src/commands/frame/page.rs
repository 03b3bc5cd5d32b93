//! Text that fits the screen.

use crate::commands::frame::finding::{CheckState, Finding};
use crate::commands::frame::screen::{Paint, Screen};
use crate::telemetry::{clean, wrapped};
use std::fmt::Write;

/// Columns for what stands left of a text: a state, or the name of a value.
const MARGIN: usize = 14;

/// A part of a text, in lines that fit the screen.
#[derive(Debug)]
pub(crate) struct Page {
    screen: Screen,
    text: String,
    /// Whether there is something above it.
    is_later: bool,
}

impl Page {
    #[must_use]
    pub(crate) fn new(screen: Screen) -> Self {
        Self { screen, text: String::new(), is_later: false }
    }

    /// One that comes below others.
    #[must_use]
    pub(super) fn below(screen: Screen, is_later: bool) -> Self {
        Self { is_later, ..Self::new(screen) }
    }

    /// What it is written to.
    #[must_use]
    pub(crate) fn screen(&self) -> Screen {
        self.screen
    }

    #[must_use]
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// A line as it is, such as one of a table or a command to copy.
    pub(crate) fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// An empty line, unless there is one, or nothing above.
    pub(crate) fn gap(&mut self) {
        let is_at_top = self.text.is_empty();
        if if is_at_top { self.is_later } else { !self.text.ends_with("\n\n") } {
            self.text.push('\n');
        }
    }

    /// A line that says what follows.
    pub(crate) fn heading(&mut self, text: &str) {
        let text = clean(text);
        let painted = self.screen.paint(Paint::Bold, &text).into_owned();
        self.line(&painted);
    }

    /// A text from the left edge.
    pub(crate) fn paragraph(&mut self, text: &str) {
        for line in wrapped(&clean(text), self.screen.width()) {
            self.line(&line);
        }
    }

    /// A value with its name to the left.
    pub(crate) fn pair(&mut self, name: &str, text: &str) {
        self.beside((name, Paint::Dim), text);
    }

    /// One finding.
    pub(crate) fn finding(&mut self, Finding { state, reason, sentence, mend }: &Finding) {
        let paint = match state {
            CheckState::Ok => Paint::Green,
            CheckState::Skipped => Paint::Dim,
            CheckState::Warning | CheckState::Unknown => Paint::Yellow,
            CheckState::Failed => Paint::Red,
        };
        self.beside((state.as_str(), paint), &format!("{reason}: {sentence}"));
        if let Some(command) = mend {
            // Whole, to be copied, however long it is.
            self.line(&format!("{:MARGIN$}$ {}", "", clean(command)));
        }
    }

    fn beside(&mut self, (name, paint): (&str, Paint), text: &str) {
        let painted = self.screen.paint(paint, name).into_owned();
        let gap = " ".repeat(MARGIN.saturating_sub(name.chars().count()).max(1));
        let mut lines = wrapped(&clean(text), self.screen.width() - MARGIN).into_iter();
        self.line(&format!("{painted}{gap}{}", lines.next().unwrap_or_default()));
        for line in lines {
            self.line(&format!("{:MARGIN$}{line}", ""));
        }
    }
}

/// A number in groups of three digits: `2,030`.
#[must_use]
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        let gap = if place > 0 && (digits.len() - place).is_multiple_of(3) { "," } else { "" };
        // Writing to a text never fails.
        let _ = write!(shown, "{gap}{digit}");
    }
    shown
}

/// So many, with the word for one or for many: `1 user`, `2,030 users`.
#[must_use]
pub(crate) fn counted(number: u64, [one, many]: [&str; 2]) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(screen: Screen, write: impl FnOnce(&mut Page)) -> String {
        let mut page = Page::new(screen);
        write(&mut page);
        page.into_text()
    }

    #[test]
    fn a_finding_has_its_state_to_the_left_and_its_command_whole() {
        let command =
            "gcloud secrets versions enable 3 --secret=alpaca-keys-AVeryLongIdOfAUserOfFirebase --project=p";
        let found = [
            Finding::new(CheckState::Ok, "Fine", "All is well."),
            Finding::new(
                CheckState::Failed,
                "KeysDisabled",
                "The newest version of the user's keys is disabled, and nothing else works.",
            )
            .mended_by(command),
        ];
        let expected = format!(
            "ok            Fine: All is well.\n\
             failed        KeysDisabled: The newest version of the user's keys is disabled,\n\
             \u{20}             and nothing else works.\n\
             \u{20}             $ {command}\n"
        );
        assert_eq!(
            text(Screen::terminal(80, false), |page| found.iter().for_each(|finding| page.finding(finding))),
            expected
        );
        let painted = text(Screen::terminal(80, true), |page| page.finding(&found[0]));
        assert_eq!(painted, "\x1b[32mok\x1b[0m            Fine: All is well.\n");
    }

    #[test]
    fn a_page_has_no_gap_at_its_top_and_no_two_together() {
        let shown = text(Screen::file(), |page| {
            page.gap();
            page.heading("Users");
            page.gap();
            page.gap();
            page.pair("count", "3");
        });
        assert_eq!(shown, "Users\n\ncount         3\n");
        for (is_later, expected) in [(false, "x\n"), (true, "\nx\n")] {
            let mut page = Page::below(Screen::file(), is_later);
            page.gap();
            page.line("x");
            assert_eq!(page.into_text(), expected);
        }
    }

    #[test]
    fn a_number_is_grouped_by_thousands() {
        for (number, shown) in [(0, "0"), (999, "999"), (2030, "2,030"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), shown);
        }
        for (number, shown) in [(0, "0 users"), (1, "1 user"), (2030, "2,030 users")] {
            assert_eq!(counted(number, ["user", "users"]), shown);
        }
    }
}
