//! What a snapshot says of an account, checked field by field.

use crate::decimal;
use crate::documents::snapshot as field;
use crate::time;
use crate::value::{Fields, Malformed, Value, optional, required_text, text, time as time_of};
use bigdecimal::BigDecimal;
use jiff::Timestamp;

/// Which document a snapshot is read from, and so whose it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `users/{user}/alpacaAccounts/snapshot` of that user, whom `user_id` has to name.
    User(String),
    /// `tenants/{tenant}/accounts/primary` of that tenant, which `tenant_id` has to name. Whose figures they are
    /// says [`Account::user_id`]: a member's, not necessarily yours.
    Tenant(String),
    /// `alpacaAccounts/snapshot`, the account of a deployment without users: never read unless asked for.
    Legacy,
}

impl Source {
    /// `user`, `tenant` or `legacy`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Tenant(_) => "tenant",
            Self::Legacy => "legacy",
        }
    }

    /// A document of somebody else's under this name is malformed, whoever put it there.
    fn check_owner(&self, fields: &Fields) -> Result<(), Malformed> {
        let (name, owner) = match self {
            Self::User(user) => (field::USER_ID, user),
            Self::Tenant(tenant) => (field::TENANT_ID, tenant),
            Self::Legacy => return Ok(()),
        };
        let is_theirs = text(fields, name) == Some(owner);
        is_theirs.then_some(()).ok_or_else(|| Malformed::field(name))
    }
}

/// Where an account lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// Play money.
    Paper,
    /// Money.
    Live,
}

impl Environment {
    /// `paper` or `live`, as in the document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Live => "live",
        }
    }

    /// Reads what [`Environment::as_str`] wrote; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Paper, Self::Live].into_iter().find(|environment| environment.as_str() == text)
    }
}

/// An account's money, in its [`Account::currency`], exact to the last digit that Alpaca sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// What the account is worth.
    pub equity: BigDecimal,
    /// What orders can spend, credit included.
    pub buying_power: BigDecimal,
    /// Cash; may be negative.
    pub cash: BigDecimal,
    /// What the account was worth at the end of the trading day before, if Alpaca sent it.
    pub last_equity: Option<BigDecimal>,
    /// What orders can spend without credit, if Alpaca sent it.
    pub non_marginable_buying_power: Option<BigDecimal>,
}

impl Figures {
    fn of(fields: &Fields) -> Result<Self, Malformed> {
        Ok(Self {
            equity: figure(fields, field::EQUITY)?,
            buying_power: figure(fields, field::BUYING_POWER)?,
            cash: figure(fields, field::CASH)?,
            last_equity: optional_figure(fields, field::LAST_EQUITY)?,
            non_marginable_buying_power: optional_figure(fields, field::NON_MARGINABLE_BUYING_POWER)?,
        })
    }
}

/// The figure in `exact`, which the number beside it has to be the nearest double of. A text where the number should
/// be is no number; without `exact` the digits are not known; one of both alone contradicts the other.
fn figure(fields: &Fields, name: &str) -> Result<BigDecimal, Malformed> {
    let double = optional(fields, name, Value::number)?;
    let exact = exact(fields)?.get(name);
    let double = double.ok_or_else(|| Malformed::field(name))?;
    of_both(name, double, exact.ok_or_else(|| in_exact(name))?)
}

/// A figure that Alpaca need not send. `exact` says which ones it sent: a number without an entry there is of an earlier
/// answer, left by a job that did not know the field (after a rollback).
fn optional_figure(fields: &Fields, name: &str) -> Result<Option<BigDecimal>, Malformed> {
    let double = optional(fields, name, Value::number)?;
    let Some(exact) = exact(fields)?.get(name) else { return Ok(None) };
    of_both(name, double.ok_or_else(|| Malformed::field(name))?, exact).map(Some)
}

fn exact(fields: &Fields) -> Result<&Fields, Malformed> {
    match fields.get(field::EXACT) {
        Some(Value::Map(exact)) => Ok(exact),
        _ => Err(Malformed::field(field::EXACT)),
    }
}

fn of_both(name: &str, double: f64, exact: &Value) -> Result<BigDecimal, Malformed> {
    let text = exact.text().ok_or_else(|| in_exact(name))?;
    let figure = decimal::parse(text).map_err(|_| in_exact(name))?;
    decimal::is_nearest(double, text).then_some(figure).ok_or_else(|| Malformed::field(name))
}

fn in_exact(name: &str) -> Malformed {
    Malformed { field: format!("{}.{name}", field::EXACT) }
}

/// Whose an account is, where it lives and what it is blocked by: all that an order which only closes needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) user_id: String,
    pub(crate) environment: Environment,
    pub(crate) blocks: Vec<&'static str>,
}

impl Standing {
    pub(crate) fn of(fields: &Fields, source: &Source) -> Result<Self, Malformed> {
        let broker = required_text(fields, field::BROKER)?;
        if broker != field::ALPACA {
            return Err(Malformed::field(field::BROKER));
        }
        source.check_owner(fields)?;
        let user_id = required_text(fields, field::USER_ID)?.to_owned();
        let environment = text(fields, field::ENVIRONMENT).and_then(Environment::parse);
        let environment = environment.ok_or_else(|| Malformed::field(field::ENVIRONMENT))?;
        Ok(Self { user_id, environment, blocks: blocks(fields)? })
    }
}

fn blocks(fields: &Fields) -> Result<Vec<&'static str>, Malformed> {
    let mut blocks = Vec::new();
    for name in field::BLOCKS {
        if flag(fields, name)? == Some(true) {
            blocks.push(name);
        }
    }
    Ok(blocks)
}

fn flag(fields: &Fields, name: &str) -> Result<Option<bool>, Malformed> {
    optional(fields, name, |value| match value {
        Value::Bool(flag) => Some(*flag),
        _ => None,
    })
}

/// An account as Alpaca described it at [`Account::updated_at`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// When Alpaca answered (`updated_at_iso`); by the job's clock, to the millisecond.
    pub updated_at: Timestamp,
    /// The money.
    pub figures: Figures,
    pub(crate) standing: Standing,
    /// Alpaca's id of the account.
    pub external_account_id: String,
    /// As Alpaca sent it; only `ACTIVE` takes every order.
    pub status: String,
    /// The figures' currency, as Alpaca sent it: `USD`.
    pub currency: String,
    /// By how much credit multiplies cash, as Alpaca's text; if it was sent.
    pub multiplier: Option<String>,
    /// Says how the account trades, and blocks nothing; if it was sent.
    pub pattern_day_trader: Option<bool>,
    /// Until when the snapshot may stand unchanged; what that is worth says [`crate::Snapshot::verdict`].
    pub fresh_until: Option<Timestamp>,
}

impl Account {
    pub(crate) fn of(fields: &Fields, source: &Source) -> Result<Self, Malformed> {
        let owned = |name| required_text(fields, name).map(str::to_owned);
        let answered = text(fields, field::UPDATED_AT_ISO).and_then(time::parse_iso);
        Ok(Self {
            updated_at: answered.ok_or_else(|| Malformed::field(field::UPDATED_AT_ISO))?,
            figures: Figures::of(fields)?,
            standing: Standing::of(fields, source)?,
            external_account_id: owned(field::EXTERNAL_ACCOUNT_ID)?,
            status: owned(field::STATUS)?,
            currency: owned(field::CURRENCY)?,
            multiplier: optional(fields, field::MULTIPLIER, Value::text)?.map(str::to_owned),
            pattern_day_trader: flag(fields, field::PATTERN_DAY_TRADER)?,
            fresh_until: time_of(fields, field::FRESH_UNTIL),
        })
    }

    /// Whose account it is: a user's id, or `legacy:{tenant}` of the account of a deployment without users.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.standing.user_id
    }

    /// Where the account lives.
    #[must_use]
    pub fn environment(&self) -> Environment {
        self.standing.environment
    }

    /// The names of the flags that are set and that block it, such as `trading_blocked`; none is good.
    #[must_use]
    pub fn blocks(&self) -> &[&'static str] {
        &self.standing.blocks
    }
}
