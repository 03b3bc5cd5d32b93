//! Decimal texts, read exactly and alike in every language.

use bigdecimal::{BigDecimal, Zero};

/// Why a text is no decimal. The text itself is left out: it may be somebody's balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no finite decimal number")]
pub struct InvalidDecimal;

/// Longest text that is read. Alpaca's figures have 22 characters at most.
const MAX_CHARS: usize = 100;

/// Reads a decimal number and rounds nothing.
///
/// `[+-]`, digits with at most one point among, before or behind them, and perhaps an exponent: what `pulse` writes
/// into `exact`. The number has a double nearest to it that is finite, and zero only if the number is. So no blank,
/// comma, underscore, currency sign, `NaN` or `Infinity`, and at most 100 characters.
///
/// ```
/// let exact = account_reader::decimal::parse("122011.09751111286868")?;
/// assert_eq!(account_reader::decimal::plain(&exact), "122011.09751111286868");
/// assert!(account_reader::decimal::parse("NaN").is_err());
/// # Ok::<(), account_reader::decimal::InvalidDecimal>(())
/// ```
///
/// # Errors
///
/// [`InvalidDecimal`] for any other text.
pub fn parse(text: &str) -> Result<BigDecimal, InvalidDecimal> {
    if text.len() > MAX_CHARS {
        return Err(InvalidDecimal);
    }
    let double: f64 = text.parse().map_err(|_| InvalidDecimal)?;
    match double {
        // A zero may have a vast exponent, which to carry along would cost as many digits.
        0.0 if has_only_zeros(text) => Ok(BigDecimal::zero()),
        0.0 => Err(InvalidDecimal),
        // `NaN` and `inf` are the only words that the standard library takes for numbers.
        _ if double.is_finite() => text.parse().map_err(|_| InvalidDecimal),
        _ => Err(InvalidDecimal),
    }
}

/// The shortest text of the number: no exponent, no zeros at the end, no `-0`.
///
/// ```
/// use account_reader::decimal::{parse, plain};
/// assert_eq!(plain(&parse("1.50e3")?), "1500");
/// # Ok::<(), account_reader::decimal::InvalidDecimal>(())
/// ```
#[must_use]
pub fn plain(number: &BigDecimal) -> String {
    number.normalized().to_plain_string()
}

/// The decimal that a double is written as: the shortest that reads back as the same double.
pub(crate) fn of_double(double: f64) -> Option<BigDecimal> {
    parse(&format!("{double:e}")).ok()
}

/// Whether that double is the nearest one to the number in that text.
pub(crate) fn is_nearest(double: f64, text: &str) -> bool {
    text.parse() == Ok(double)
}

fn has_only_zeros(text: &str) -> bool {
    let number = text.split(['e', 'E']).next().unwrap_or_default();
    !number.contains(|digit: char| ('1'..='9').contains(&digit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_decimal_keeps_every_digit() {
        for (text, expected) in [
            ("0", "0"),
            ("-0.00", "0"),
            ("-23140.20", "-23140.2"),
            ("122011.09751111286868", "122011.09751111286868"),
            ("1e3", "1000"),
            ("+.5", "0.5"),
            ("5.", "5"),
            ("1E-3", "0.001"),
            ("0e999999999999999999999", "0"),
            (
                "12345678901234567890.123456789012345678901234567890",
                "12345678901234567890.12345678901234567890123456789",
            ),
        ] {
            assert_eq!(plain(&parse(text).expect(text)), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_finite_decimal_is_refused() {
        for text in [
            "",
            " ",
            " 1",
            "1 ",
            "NaN",
            "nan",
            "inf",
            "Infinity",
            "-Infinity",
            "1,000.00",
            "1_000",
            "0x10",
            "--1",
            "+-1",
            "1.2.3",
            "e5",
            "1e",
            "1e+",
            "1e1.5",
            "1e1e1",
            ".",
            "-",
            "-.",
            ".e1",
            "12a",
            "$1",
            "١",
            "1e400",
            "-1e400",
            "1e-400",
            "1e99999999999999999999",
        ] {
            assert_eq!(parse(text), Err(InvalidDecimal), "{text:?}");
        }
        assert!(parse(&"9".repeat(100)).is_ok());
        assert_eq!(parse(&"9".repeat(101)), Err(InvalidDecimal));
    }

    #[test]
    fn the_smallest_and_largest_doubles_are_decimals() {
        for double in [f64::MIN_POSITIVE, 5e-324, f64::MAX, f64::MIN, -0.0, 0.1, 1e21, 123_456_789.125] {
            let decimal = of_double(double).expect("finite");
            assert!(is_nearest(double, &plain(&decimal)), "{double:e}");
        }
        assert_eq!(of_double(f64::NAN), None);
        assert_eq!(of_double(f64::INFINITY), None);
    }

    proptest! {
        #[test]
        fn any_decimal_survives(text in "-?[1-9][0-9]{0,24}(\\.[0-9]{0,24}[1-9])?") {
            prop_assert_eq!(plain(&parse(&text).expect("a decimal")), text);
        }

        #[test]
        fn no_text_panics_or_is_more_than_a_double_holds(text in "\\PC{0,30}|[0-9eE+.-]{0,12}") {
            if let Ok(number) = parse(&text) {
                let double: f64 = text.parse().expect("a double");
                prop_assert!(double.is_finite());
                prop_assert_eq!(number.is_zero(), double == 0.0);
            }
        }

        #[test]
        fn any_finite_double_is_written_as_a_decimal_that_reads_back_as_it(double in any::<f64>()) {
            match of_double(double) {
                Some(decimal) => {
                    let text = decimal.to_scientific_notation();
                    prop_assert!(is_nearest(double, &text), "{}", text);
                }
                None => prop_assert!(!double.is_finite()),
            }
        }
    }
}
