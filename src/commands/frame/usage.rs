//! What is wrong with a command line, for whoever typed it. It repeats what was typed, which may be anything.

use crate::model::clean::acts;
use crate::telemetry::{LEAST_WIDTH, clean, columns_of_stderr, wrapped};

/// The text as stderr shows it, with a line break at its end.
#[must_use]
pub(crate) fn refusal(text: &str) -> String {
    let typed: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    fitted(&harmless(text, &typed), columns_of_stderr())
}

/// The text without line breaks that were typed: those of the parser alone are left.
fn harmless(text: &str, typed: &[String]) -> String {
    let values = typed.iter().filter_map(|word| Some(word.split_once('=')?.1));
    let words = typed.iter().map(String::as_str).chain(values);
    let acting = words.filter(|word| word.contains(acts) && !word.chars().all(acts));
    acting.fold(text.to_owned(), |text, word| text.replace(word, &clean(word)))
}

/// The same in lines of that many columns, which keep their indents.
fn fitted(text: &str, columns: Option<usize>) -> String {
    let columns = columns.map_or(usize::MAX, |columns| columns.max(LEAST_WIDTH));
    let mut fitted = String::new();
    for line in text.lines() {
        let line = clean(line);
        let words = line.trim_start_matches(' ');
        let indent = (line.len() - words.len()).min(columns / 2);
        let lines = wrapped(words, columns - indent);
        // An empty line stays one.
        let lines = if lines.is_empty() { vec![String::new()] } else { lines };
        for line in lines {
            fitted.push_str(format!("{:indent$}{line}", "").trim_end());
            fitted.push('\n');
        }
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_acts_on_no_terminal_and_ends_no_line() {
        for (typed, text, expected) in [
            ("a\nb", "error: 'a\nb' is none\n\nUsage: x", "error: 'a\\nb' is none\n\nUsage: x\n"),
            ("--user=a\u{202e}\nb", "error: 'a\u{202e}\nb'", "error: 'a\\u{202e}\\nb'\n"),
            ("x", "by a variable: \u{1b}[2J", "by a variable: \\u{1b}[2J\n"),
            ("\n", "error: '\n'\n\nUsage", "error: '\n'\n\nUsage\n"),
        ] {
            assert_eq!(fitted(&harmless(text, &["pulse".to_owned(), typed.to_owned()]), None), expected);
        }
    }

    #[test]
    fn a_refusal_fits_the_screen_and_keeps_its_indents() {
        let text =
            "error: invalid value 'nonsense'\n  [possible values: keys_missing, keys_forbidden, internal]\n";
        let expected = "error: invalid value 'nonsense'\n  \
                        [possible values: keys_missing,\n  \
                        keys_forbidden, internal]\n";
        assert_eq!(fitted(text, Some(40)), expected);
        assert_eq!(fitted(text, Some(3)), expected, "nobody reads less");
        assert_eq!(fitted(text, None), text, "another program gets whole lines");
    }
}
