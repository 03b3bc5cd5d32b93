//! Text in lines that fit a screen.

/// Looks like a space, and no line is broken there: between a number and what it counts.
pub(crate) const GLUE: char = '\u{a0}';

/// Fewer columns are too few for any sentence.
pub(crate) const LEAST_WIDTH: usize = 40;

/// The text in lines of at most that many characters; a word that is longer, such as an id, is not broken.
#[must_use]
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut length = 0;
    for word in text.split_inclusive(' ') {
        let letters = word.trim_end_matches(' ').chars().count();
        match lines.last_mut().filter(|_| letters == 0 || length + letters <= width) {
            Some(line) => line.push_str(word),
            None => {
                lines.push(word.to_owned());
                length = 0;
            }
        }
        length += word.chars().count();
    }
    lines.into_iter().map(|line| line.trim_end_matches(' ').replace(GLUE, " ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_broken_between_words_and_an_id_never() {
        for (width, expected) in [
            (10, &["one two", "three four"][..]),
            (7, &["one two", "three", "four"]),
            (3, &["one", "two", "three", "four"]),
            (99, &["one two three four"]),
        ] {
            assert_eq!(wrapped("one two three four", width), expected, "{width}");
        }
        assert_eq!(wrapped("a 2\u{a0}b", 3), ["a", "2 b"]);
        assert_eq!(wrapped("", 9), [""; 0]);
        assert_eq!(wrapped("a aVeryLongIdOfAUser b", 8), ["a", "aVeryLongIdOfAUser", "b"]);
        assert_eq!(wrapped("ana  ok   yes", 9), ["ana  ok", "yes"], "columns stay where they are");
    }
}
