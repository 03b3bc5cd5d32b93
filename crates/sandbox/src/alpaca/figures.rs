//! The figures of an account: made up, but consistent with each other as Alpaca's are.

use serde::{Serialize, Serializer};
use std::fmt;

/// Money in thousandths, the finest step that Alpaca's own sums of whole cents and their halves need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Money(i64);

impl Money {
    pub(super) const ZERO: Self = Self(0);

    pub(super) fn cents(cents: i64) -> Self {
        Self(cents * 10)
    }

    /// `percent` of it, cut to whole cents.
    fn percent(self, percent: i64) -> Self {
        Self::cents(self.0 * percent / 1000)
    }

    fn half(self) -> Self {
        Self(self.0 / 2)
    }
}

impl std::ops::Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl fmt::Display for Money {
    /// As Alpaca writes it: no trailing zeros, `0` for nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, rest) = (self.0.unsigned_abs() / 1000, self.0.unsigned_abs() % 1000);
        let text = format!("{sign}{whole}.{rest:03}");
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The figures of one answer.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) cash: Money,
    pub(super) long_market_value: Money,
    last_market_value: Money,
    /// Digits below a cent of the last equity, where the market's closing prices leave them.
    last_equity_dust: u64,
}

impl Figures {
    /// The figures of the account made from `seed` at its `call`th call: cash stays, positions move by up to 5 %.
    pub(super) fn at(seed: u64, call: u32) -> Self {
        let cash = cents_between(100_000, 25_000_000, scramble(seed));
        let position = cents_between(50_000, 9_000_000, scramble(seed ^ 1));
        let drift = |step: u64| position * cents_between(-500, 500, scramble(seed ^ (step << 8))) / 10_000;
        Self {
            cash: Money::cents(cash),
            long_market_value: Money::cents(position + drift(u64::from(call) + 1)),
            last_market_value: Money::cents(position),
            last_equity_dust: scramble(seed ^ 2) % 1_000_000_000_000,
        }
    }

    pub(super) fn equity(&self) -> Money {
        self.cash + self.long_market_value
    }

    /// Twice the equity less what is invested, that is equity and cash.
    pub(super) fn buying_power(&self) -> Money {
        self.equity() + self.cash
    }

    pub(super) fn options_buying_power(&self) -> Money {
        self.cash + self.long_market_value.half()
    }

    pub(super) fn initial_margin(&self) -> Money {
        self.long_market_value.percent(50)
    }

    pub(super) fn maintenance_margin(&self) -> Money {
        self.long_market_value.percent(30)
    }

    pub(super) fn last_maintenance_margin(&self) -> Money {
        self.last_market_value.percent(30)
    }

    pub(super) fn sma(&self) -> Money {
        self.equity() + self.last_maintenance_margin()
    }

    /// Equity at the last close, with Alpaca's fourteen decimals.
    pub(super) fn last_equity(&self) -> String {
        let Money(mills) = self.cash + self.last_market_value;
        // Both parts are whole cents, so that the dust can follow the second decimal.
        let text = format!("{}.{:02}{:012}", mills / 1000, mills % 1000 / 10, self.last_equity_dust);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// A number in `low..=high` picked by `random`.
fn cents_between(low: i64, high: i64, random: u64) -> i64 {
    let span = high.abs_diff(low) + 1;
    low.saturating_add_unsigned(random % span)
}

/// SplitMix64's finaliser: turns neighbouring seeds into unrelated numbers.
pub(crate) fn scramble(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn money_is_written_as_alpaca_writes_it() {
        for (mills, text) in
            [(0, "0"), (122_086_500, "122086.5"), (-5, "-0.005"), (-23_140_200, "-23140.2"), (1_000, "1")]
        {
            assert_eq!(Money(mills).to_string(), text);
        }
    }

    #[test]
    fn the_sums_agree_with_a_real_answer() {
        let figures = Figures {
            cash: Money::cents(12_208_650),
            long_market_value: Money::cents(125_961),
            last_market_value: Money::cents(0),
            last_equity_dust: 0,
        };
        assert_eq!(figures.equity().to_string(), "123346.11");
        assert_eq!(figures.buying_power().to_string(), "245432.61");
        assert_eq!(figures.options_buying_power().to_string(), "122716.305");
        assert_eq!(figures.initial_margin().to_string(), "629.8");
        assert_eq!(figures.maintenance_margin().to_string(), "377.88");
    }

    #[test]
    fn equity_moves_from_call_to_call_and_the_last_close_does_not() {
        let (first, second) = (Figures::at(7, 0), Figures::at(7, 1));
        assert_ne!(first.equity(), second.equity());
        assert_eq!(first.cash, second.cash);
        assert_eq!(first.last_equity(), second.last_equity());
    }

    proptest! {
        #[test]
        fn the_last_close_is_near_and_everything_is_positive(seed: u64, call: u32) {
            let figures = Figures::at(seed, call);
            prop_assert!(figures.cash > Money::ZERO && figures.long_market_value > Money::ZERO);
            let (whole, fraction) = figures.last_equity().split_once('.').map_or_else(
                || (figures.last_equity(), String::new()),
                |(whole, fraction)| (whole.to_owned(), fraction.to_owned()),
            );
            prop_assert!(fraction.len() <= 14);
            let distance = (figures.equity().0 / 1000).abs_diff(whole.parse().unwrap());
            prop_assert!(distance <= 4_501, "{distance}");
        }
    }
}
