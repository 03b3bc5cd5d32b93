//! Texts that nobody controls, made harmless for a terminal and a line.

use std::borrow::Cow;

/// The text with whatever could act on a terminal, end a line or change its direction as its escape.
#[must_use]
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c.escape_default().to_string())
}

/// JSON with such characters as its own escapes: it stays the same JSON.
pub(crate) fn clean_json(json: &str) -> Cow<'_, str> {
    escaped(json, |c| format!("\\u{:04x}", u32::from(c)))
}

fn escaped(text: &str, escape: impl Fn(char) -> String) -> Cow<'_, str> {
    if !text.contains(acts) {
        return text.into();
    }
    let mut shown = String::new();
    for c in text.chars() {
        match acts(c) {
            true => shown.push_str(&escape(c)),
            false => shown.push(c),
        }
    }
    shown.into()
}

/// Whether it could. All of them have four hexadecimal digits at most.
#[must_use]
pub(crate) fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_acts_on_a_terminal_gets_there() {
        for (given, shown) in [
            ("ana", "ana"),
            ("a\x1b[31mb", "a\\u{1b}[31mb"),
            ("a\nb", "a\\nb"),
            ("a\u{202e}b\u{2028}c\u{85}", "a\\u{202e}b\\u{2028}c\\u{85}"),
            ("Zoë", "Zoë"),
        ] {
            assert_eq!(clean(given), shown);
        }
    }

    #[test]
    fn json_stays_what_it_is() {
        let text = "a\u{202e}b\u{2028}c\u{85}\u{7f}d\u{feff}";
        let json = serde_json::to_string(text).expect("JSON");
        let cleaned = clean_json(&json);
        assert!(cleaned.is_ascii(), "{cleaned}");
        assert_eq!(serde_json::from_str::<String>(&cleaned).expect("JSON"), text);
    }
}
