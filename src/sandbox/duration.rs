//! Durations as people write them: `20ms`, `1s`, `2m`.

use std::time::Duration;

const UNITS: [(&str, u128); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads a whole number and its unit: `ns`, `us`, `ms`, `s`, `m` or `h`.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration(text.to_owned());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u128 = number.parse().map_err(|_| invalid())?;
    let (_, nanos_per_unit) = UNITS
        .into_iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(invalid)?;
    let nanos = number.checked_mul(nanos_per_unit).ok_or_else(invalid)?;
    let seconds = u64::try_from(nanos / 1_000_000_000).map_err(|_| invalid())?;
    // A remainder of a division by a billion fits.
    let rest = u32::try_from(nanos % 1_000_000_000).map_err(|_| invalid())?;
    Ok(Duration::new(seconds, rest))
}

/// Writes `duration` in its largest whole unit, so that [`parse`] reads the same one back.
pub fn display(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0ms".to_owned();
    }
    UNITS
        .into_iter()
        .find(|(_, nanos_per_unit)| nanos.is_multiple_of(*nanos_per_unit))
        .map_or_else(
            || format!("{nanos}ns"),
            |(unit, nanos_per_unit)| format!("{}{unit}", nanos / nanos_per_unit),
        )
}

/// The text is not a duration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration such as 200ms, 1s or 2m")]
pub struct InvalidDuration(String);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_understood() {
        assert_eq!(parse("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(parse("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(parse("2m"), Ok(Duration::from_secs(120)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "20",
            "ms",
            "-1s",
            "1.5s",
            "1 s",
            "1d",
            "340282366920938463463374607431768211455h",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_duration_reads_back(seconds: u64, nanos in 0u32..1_000_000_000) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(parse(&display(duration)), Ok(duration));
        }
    }
}
