//! The body of `GET /v2/account`.

use super::figures::{Figures, Money, scramble};
use jiff::{Timestamp, ToSpan};
use serde::Serialize;
use std::collections::BTreeMap;

/// Every field of a real answer, in the order that Alpaca sends them.
#[derive(Serialize)]
pub(super) struct OpenAccount<'a> {
    account_blocked: bool,
    account_number: String,
    accrued_fees: Money,
    admin_configurations: BTreeMap<(), ()>,
    balance_asof: String,
    buying_power: Money,
    cash: Money,
    created_at: String,
    crypto_status: &'static str,
    crypto_tier: u8,
    currency: &'static str,
    effective_buying_power: Money,
    equity: Money,
    id: String,
    initial_margin: Money,
    intraday_adjustments: Money,
    last_equity: String,
    last_maintenance_margin: Money,
    long_market_value: Money,
    maintenance_margin: Money,
    multiplier: &'static str,
    non_marginable_buying_power: Money,
    options_approved_level: u8,
    options_buying_power: Money,
    options_trading_level: u8,
    pending_reg_taf_fees: Money,
    portfolio_value: Money,
    position_market_value: Money,
    regt_buying_power: Money,
    short_market_value: Money,
    shorting_enabled: bool,
    sma: Money,
    status: &'a str,
    trade_suspended_by_user: bool,
    trading_blocked: bool,
    transfers_blocked: bool,
    user_configurations: Option<()>,
}

impl<'a> OpenAccount<'a> {
    /// The account made from `seed`, at its `call`th call.
    pub(super) fn at(seed: u64, status: &'a str, call: u32, now: Timestamp) -> Self {
        let figures = Figures::at(seed, call);
        Self {
            account_blocked: false,
            account_number: account_number(seed),
            accrued_fees: Money::ZERO,
            admin_configurations: BTreeMap::new(),
            balance_asof: day_before(now),
            buying_power: figures.buying_power(),
            cash: figures.cash,
            created_at: created_at(seed),
            crypto_status: "ACTIVE",
            crypto_tier: 1,
            currency: "USD",
            effective_buying_power: figures.buying_power(),
            equity: figures.equity(),
            id: account_id(seed),
            initial_margin: figures.initial_margin(),
            intraday_adjustments: Money::ZERO,
            last_equity: figures.last_equity(),
            last_maintenance_margin: figures.last_maintenance_margin(),
            long_market_value: figures.long_market_value,
            maintenance_margin: figures.maintenance_margin(),
            multiplier: "2",
            non_marginable_buying_power: figures.cash,
            options_approved_level: 3,
            options_buying_power: figures.options_buying_power(),
            options_trading_level: 2,
            pending_reg_taf_fees: Money::ZERO,
            portfolio_value: figures.equity(),
            position_market_value: figures.long_market_value,
            regt_buying_power: figures.buying_power(),
            short_market_value: Money::ZERO,
            shorting_enabled: true,
            sma: figures.sma(),
            status,
            trade_suspended_by_user: false,
            trading_blocked: false,
            transfers_blocked: false,
            user_configurations: None,
        }
    }
}

/// An account that is not open yet: Alpaca knows who it is, and of its figures only that it can buy nothing.
#[derive(Serialize)]
pub(super) struct PendingAccount<'a> {
    id: String,
    status: &'a str,
    currency: &'static str,
    buying_power: Money,
}

impl<'a> PendingAccount<'a> {
    /// The account made from `seed`.
    pub(super) fn new(seed: u64, status: &'a str) -> Self {
        Self { id: account_id(seed), status, currency: "USD", buying_power: Money::ZERO }
    }
}

/// Paper account numbers start with `PA`.
fn account_number(seed: u64) -> String {
    format!("PA{:010}", scramble(seed ^ 3) % 10_000_000_000)
}

/// A version 4 UUID made from the seed.
pub(super) fn account_id(seed: u64) -> String {
    let (high, low) = (scramble(seed ^ 4), scramble(seed ^ 5));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | (low >> 48) & 0x3fff,
        low & 0xffff_ffff_ffff
    )
}

/// Some moment of 2025, to the microsecond.
fn created_at(seed: u64) -> String {
    const START_OF_2025: i64 = 1_735_689_600;
    const YEAR: u64 = 365 * 24 * 3600;
    let random = scramble(seed ^ 6);
    let second = START_OF_2025.saturating_add_unsigned(random % YEAR);
    let nanosecond = i32::try_from((random >> 32) % 1_000_000).unwrap_or(0) * 1000;
    Timestamp::new(second, nanosecond).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

fn day_before(now: Timestamp) -> String {
    now.saturating_sub(24.hours()).unwrap_or(now).strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const REAL: &str = r#"{"account_blocked":false,"account_number":"PA0000000000","accrued_fees":"0",
        "admin_configurations":{},"balance_asof":"2026-07-10","buying_power":"245432.61","cash":"122086.5",
        "created_at":"2026-07-10T17:13:37.972665Z","crypto_status":"ACTIVE","crypto_tier":1,"currency":"USD",
        "effective_buying_power":"245432.61","equity":"123346.11","id":"1d9eed04-be39-4e01-9b84-a48ac5bbafcf",
        "initial_margin":"629.8","intraday_adjustments":"0","last_equity":"122011.09751111286868",
        "last_maintenance_margin":"480.73","long_market_value":"1259.61","maintenance_margin":"377.88",
        "multiplier":"2","non_marginable_buying_power":"122086.5","options_approved_level":3,
        "options_buying_power":"122716.305","options_trading_level":2,"pending_reg_taf_fees":"0",
        "portfolio_value":"123346.11","position_market_value":"1259.61","regt_buying_power":"245432.61",
        "short_market_value":"0","shorting_enabled":true,"sma":"123369.74","status":"ACTIVE",
        "trade_suspended_by_user":false,"trading_blocked":false,"transfers_blocked":false,
        "user_configurations":null}"#;

    fn account(seed: u64) -> Value {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        serde_json::to_value(OpenAccount::at(seed, "ACTIVE", 0, now)).unwrap()
    }

    #[test]
    fn it_has_the_fields_and_types_of_a_real_answer() {
        let real: Value = serde_json::from_str(REAL).unwrap();
        let ours = account(1);
        let kinds = |value: &Value| -> Vec<(String, std::mem::Discriminant<Value>)> {
            let fields = value.as_object().unwrap().iter();
            fields.map(|(name, value)| (name.clone(), std::mem::discriminant(value))).collect()
        };
        assert_eq!(kinds(&ours), kinds(&real));
    }

    #[test]
    fn accounts_differ_and_stay_themselves() {
        assert_eq!(account(1), account(1));
        for field in ["id", "account_number", "equity", "created_at"] {
            assert_ne!(account(1)[field], account(2)[field], "{field}");
        }
        assert_eq!(account(1)["balance_asof"], "2026-02-28");
        assert_eq!(account(1)["id"].as_str().unwrap().len(), 36);
    }

    #[test]
    fn a_pending_account_looks_like_a_real_newcomer() {
        let pending = serde_json::to_value(PendingAccount::new(1, "ONBOARDING")).unwrap();
        let newcomer = serde_json::json!({
            "id": account(1)["id"], "status": "ONBOARDING", "currency": "USD", "buying_power": "0",
        });
        assert_eq!(pending, newcomer);
    }
}
