//! The text form of a time that `pulse` writes.

use jiff::Timestamp;

/// Reads `2026-01-05T14:30:00.123Z`: UTC, exactly milliseconds and `Z`, no leap second, not before 1970.
///
/// `None` for every other text, also for one that names the same time in another way: it is not of `pulse`, and the
/// parsers of other languages do not agree on it.
///
/// ```
/// let time = account_reader::time::parse_iso("2026-01-05T14:30:00.123Z").expect("as written");
/// assert_eq!(time.as_millisecond(), 1_767_623_400_123);
/// assert_eq!(account_reader::time::parse_iso("2026-01-05T14:30:00Z"), None);
/// ```
#[must_use]
pub fn parse_iso(text: &str) -> Option<Timestamp> {
    let time: Timestamp = text.parse().ok()?;
    (time >= Timestamp::UNIX_EPOCH && iso(time) == text).then_some(time)
}

/// The text of a time, as [`parse_iso`] reads it; what is finer than a millisecond is cut off.
///
/// ```
/// let time = "2026-01-05T14:30:00.1239Z".parse()?;
/// assert_eq!(account_reader::time::iso(time), "2026-01-05T14:30:00.123Z");
/// # Ok::<(), account_reader::jiff::Error>(())
/// ```
#[must_use]
pub fn iso(time: Timestamp) -> String {
    let millis = Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time);
    format!("{millis:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_text_that_pulse_writes_is_a_time() {
        for text in ["1970-01-01T00:00:00.000Z", "2024-02-29T23:59:59.999Z", "9999-12-30T00:00:00.000Z"] {
            assert_eq!(parse_iso(text).map(iso).as_deref(), Some(text));
        }
        for text in [
            "",
            "2026-01-05",
            "2026-01-05T14:30:00Z",
            "2026-01-05T14:30:00.12Z",
            "2026-01-05T14:30:00.123456Z",
            "2026-01-05T14:30:00.123+00:00",
            "2026-01-05T14:30:00.123",
            "2026-01-05 14:30:00.123Z",
            "2026-01-05t14:30:00.123z",
            "2026-01-05T14:30:60.000Z",
            "2026-01-05T24:00:00.000Z",
            "2026-02-30T14:30:00.123Z",
            "2026-1-5T14:30:00.123Z",
            " 2026-01-05T14:30:00.123Z",
            "now",
            "1767623400123",
            "0000-01-01T00:00:00.000Z",
            "1969-12-31T23:59:59.999Z",
            "2026-01-05T14:30:00,123Z",
            "2026-01-05T14:30:00.123Z[UTC]",
            "２026-01-05T14:30:00.123Z",
        ] {
            assert_eq!(parse_iso(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_time_is_read_as_it_was_written(millis in 0_i64..253_370_764_800_000) {
            let time = Timestamp::from_millisecond(millis).expect("in range");
            prop_assert_eq!(parse_iso(&iso(time)), Some(time));
        }

        #[test]
        fn no_text_panics_or_is_read_but_as_it_would_be_written(
            text in "\\PC{0,30}|[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]\\.[0-9]{3}Z"
        ) {
            if let Some(time) = parse_iso(&text) {
                prop_assert_eq!(iso(time), text);
            }
        }
    }
}
