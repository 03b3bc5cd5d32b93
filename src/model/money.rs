//! Money: one figure of an account, exact to the last digit that Alpaca sent.

use bigdecimal::{BigDecimal, Zero};
use std::fmt;

/// Why a text is not a figure. The text itself is left out: it may be somebody's balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidFigure {
    /// Not a decimal number: words, `NaN`, `Infinity`, thousands separators, an empty text.
    #[error("is not a decimal number")]
    NotDecimal,
    /// A decimal number that the `double` which readers rely on cannot hold.
    #[error("is too large for a number field")]
    TooLarge,
    /// A decimal number that is not zero, but would be as a `double`.
    #[error("is too small for a number field, which would read zero")]
    TooSmall,
}

/// A finite decimal amount in the account's currency.
///
/// Equal figures may be written differently (`1.5` and `1.50`); [`Figure::text`] is always what
/// Alpaca wrote.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    text: Box<str>,
    value: BigDecimal,
}

impl Figure {
    /// Longest text taken for a figure. Alpaca sends 22 characters at most; the bound keeps a hostile
    /// answer from costing more than it is worth.
    const MAX_CHARS: usize = 100;

    /// Reads a decimal number, with or without an exponent, and rounds nothing.
    ///
    /// The nearest double may differ from it as it may from any decimal, below the normal range by more than usual: a
    /// reader who needs the digits has the text. But it is never zero when the figure is not.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidFigure> {
        let digits_only = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
        if !digits_only || text.len() > Self::MAX_CHARS {
            return Err(InvalidFigure::NotDecimal);
        }
        let value: BigDecimal = text.parse().map_err(|_| InvalidFigure::NotDecimal)?;
        match text.parse::<f64>() {
            Ok(double) if double.is_infinite() => Err(InvalidFigure::TooLarge),
            Ok(0.0) if !value.is_zero() => Err(InvalidFigure::TooSmall),
            // To compare a zero with a vast exponent to anything would cost as many digits.
            Ok(0.0) => Ok(Self { text: text.into(), value: BigDecimal::zero() }),
            Ok(_) => Ok(Self { text: text.into(), value }),
            Err(_) => Err(InvalidFigure::NotDecimal),
        }
    }

    /// Alpaca's own decimal text.
    #[must_use]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The nearest `double`, for the number fields that readers rely on. Taken from the text, because
    /// the standard library rounds it correctly.
    #[must_use]
    #[expect(clippy::expect_used, reason = "parse() refused every text that is not a finite double")]
    pub(crate) fn to_double(&self) -> f64 {
        self.text.parse().expect("checked when parsed")
    }
}

impl PartialEq for Figure {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Figure {}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_figure_keeps_every_digit_it_was_sent() {
        for text in [
            "0",
            "-23140.20",
            "122011.09751111286868",
            "1e3",
            "0.10",
            "12345678901234567890.123456789012345678901234567890",
        ] {
            assert_eq!(Figure::parse(text).expect(text).text(), text);
        }
        assert_eq!(
            Figure::parse("245432.61").expect("decimal").to_double().to_bits(),
            245_432.61_f64.to_bits()
        );
    }

    #[test]
    fn what_is_not_a_finite_decimal_is_refused() {
        for text in [
            "",
            "NaN",
            "nan",
            "inf",
            "-Infinity",
            "1,000.00",
            "1_000",
            " 1",
            "1 ",
            "0x10",
            "--1",
            "1.2.3",
            "e5",
            ".",
            "-",
            "12a",
            "$1",
            "١",
        ] {
            assert_eq!(Figure::parse(text).expect_err(text), InvalidFigure::NotDecimal, "{text:?}");
        }
        assert_eq!(Figure::parse("1e400").expect_err("no double"), InvalidFigure::TooLarge);
        assert!(Figure::parse(&"9".repeat(100)).is_ok());
        assert_eq!(Figure::parse(&"9".repeat(101)).expect_err("absurd"), InvalidFigure::NotDecimal);
    }

    #[test]
    fn what_is_not_zero_never_becomes_zero() {
        for text in ["1e-400", "-1e-400", "0.1e-323", "2e-324", "1E-99999", "-0.000001e-320"] {
            assert_eq!(Figure::parse(text).expect_err(text), InvalidFigure::TooSmall, "{text}");
        }
        for text in ["5e-324", "-5e-324", "3e-324", "1e-310", "0.0000000000000000000000000001"] {
            assert_ne!(Figure::parse(text).expect(text).to_double(), 0.0, "{text}");
        }
    }

    #[test]
    fn a_zero_is_one_however_it_is_written() {
        for text in ["0", "-0", "0.00", "0e0", "-0.0e5", "0e999999", "0E-999999", "0e999999999999", "+0"] {
            let zero = Figure::parse(text).expect(text);
            assert_eq!((zero.to_double(), zero.text()), (0.0, text));
            assert_eq!(zero, Figure::parse("0").expect("a zero"), "{text}");
            assert_ne!(zero, Figure::parse("1e300").expect("a figure"), "{text}");
        }
    }

    #[test]
    fn figures_are_equal_by_value_not_by_spelling() {
        assert_eq!(Figure::parse("1.50").expect("decimal"), Figure::parse("1.5").expect("decimal"));
        assert_ne!(
            Figure::parse("1.500000000000000000001").expect("decimal"),
            Figure::parse("1.5").expect("decimal")
        );
    }

    proptest! {
        #[test]
        fn any_decimal_survives_and_becomes_the_nearest_double(text in "-?[0-9]{1,25}(\\.[0-9]{1,25})?") {
            let figure = Figure::parse(&text).expect("a decimal");
            prop_assert_eq!(figure.text(), &text);
            prop_assert_eq!(figure.to_double(), text.parse::<f64>().expect("a double"));
        }

        #[test]
        fn no_text_panics_or_becomes_an_infinite_double(text in "\\PC{0,30}|[0-9eE+.-]{0,12}") {
            if let Ok(figure) = Figure::parse(&text) {
                prop_assert!(figure.to_double().is_finite());
            }
        }

        #[test]
        fn a_figure_is_zero_as_a_double_only_if_all_its_digits_are(
            digits in "-?[0-9]{1,3}(\\.[0-9]{1,3})?", exponent in -700_i32..700,
        ) {
            if let Ok(figure) = Figure::parse(&format!("{digits}e{exponent}")) {
                let all_zeros = !digits.contains(|c: char| ('1'..='9').contains(&c));
                prop_assert_eq!(figure.to_double() == 0.0, all_zeros);
            }
        }
    }
}
