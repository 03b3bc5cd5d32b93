//! Alpaca's answer to `GET /v2/account`, checked before anyone's money depends on it.

use crate::model::money::Figure;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// An account with every figure a reader relies on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Account {
    /// Alpaca's own id of the account.
    pub(crate) external_account_id: String,
    /// Alpaca's account status, as sent. An open set of words: unknown ones are kept.
    pub(crate) status: String,
    /// ISO code of the currency of all figures, as sent.
    pub(crate) currency: String,
    /// Cash plus the market value of all positions.
    pub(crate) equity: Figure,
    /// What the account can still buy for, margin included.
    pub(crate) buying_power: Figure,
    /// Cash, negative when borrowed.
    pub(crate) cash: Figure,
    /// Equity at the end of the trading day before, if it was sent.
    pub(crate) last_equity: Option<Figure>,
    /// What the account can still buy for without margin, if it was sent.
    pub(crate) non_marginable_buying_power: Option<Figure>,
    /// By how much margin multiplies cash, if it was sent, and as it was.
    pub(crate) multiplier: Option<String>,
    /// What it may not do, and how it trades.
    pub(crate) flags: Flags,
}

/// What an account may not do, and how it trades: each as sent, if it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Flags {
    /// It may place no orders.
    pub(crate) trading_blocked: Option<bool>,
    /// It may do nothing.
    pub(crate) account_blocked: Option<bool>,
    /// Its user switched trading off.
    pub(crate) trade_suspended_by_user: Option<bool>,
    /// It may move no money in or out.
    pub(crate) transfers_blocked: Option<bool>,
    /// It trades as a pattern day trader does, which blocks nothing. Alpaca sends it no more.
    pub(crate) pattern_day_trader: Option<bool>,
}

/// Why an answer makes no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerError {
    /// The account is not open and lacks figures (code `account_incomplete`).
    #[error("the account is not open and lacks figures (status {0})")]
    Incomplete(&'static str),
    /// No JSON at all (code `broker_bad_answer`): it may be from somebody else, and only for a moment.
    #[error("Alpaca's answer is no JSON: it ends being so at line {line} column {column}")]
    NoJson {
        /// Where it ends being JSON.
        line: usize,
        /// Where in that line.
        column: usize,
    },
    /// Nothing that can be trusted (code `broker_bad_answer`). Says which field, never its value.
    #[error("Alpaca's answer cannot be used: {0}")]
    Unusable(String),
}

/// Statuses of accounts that are not open: not yet, or not any more. Alpaca's documents and its own client name these;
/// the others that they name are those of accounts that can trade, which have figures.
const NOT_OPEN: [&str; 19] = [
    "ACCOUNT_CLOSED",
    "ACCOUNT_CLOSED_PENDING",
    "ACTION_REQUIRED",
    "AML_REVIEW",
    "APPROVAL_PENDING",
    "APPROVED",
    "DISABLED",
    "DISABLE_PENDING",
    "EDITED",
    "INACTIVE",
    "KYC_SUBMITTED",
    "ONBOARDING",
    "PAPER_ONLY",
    "REAPPROVAL_PENDING",
    "REJECTED",
    "RESUBMITTED",
    "SIGNED_UP",
    "SUBMISSION_FAILED",
    "SUBMITTED",
];

/// Field by field what is read. `RawValue` keeps numbers as text, because Alpaca documents decimals
/// as strings and has sent both.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow)]
    currency: Option<Cow<'a, str>>,
    #[serde(borrow)]
    equity: Option<&'a RawValue>,
    #[serde(borrow)]
    buying_power: Option<&'a RawValue>,
    #[serde(borrow)]
    cash: Option<&'a RawValue>,
    #[serde(borrow)]
    last_equity: Option<&'a RawValue>,
    #[serde(borrow)]
    non_marginable_buying_power: Option<&'a RawValue>,
    #[serde(borrow)]
    multiplier: Option<&'a RawValue>,
    #[serde(borrow)]
    trading_blocked: Option<&'a RawValue>,
    #[serde(borrow)]
    account_blocked: Option<&'a RawValue>,
    #[serde(borrow)]
    trade_suspended_by_user: Option<&'a RawValue>,
    #[serde(borrow)]
    transfers_blocked: Option<&'a RawValue>,
    #[serde(borrow)]
    pattern_day_trader: Option<&'a RawValue>,
}

impl Account {
    /// Reads the body of a 200 answer. Fields other than those above may be absent or unknown.
    pub(crate) fn from_answer(body: &[u8]) -> Result<Self, AnswerError> {
        let answer = Answer::read(body)?;
        let flags = answer.flags()?;
        let external_account_id =
            text(answer.id).ok_or_else(|| AnswerError::Unusable("id is missing".into()))?;
        let status = text(answer.status).ok_or_else(|| AnswerError::Unusable("status is missing".into()))?;
        // A figure that is there has to be one, whatever else is missing.
        let equity = figure(answer.equity, "equity")?;
        let buying_power = figure(answer.buying_power, "buying_power")?;
        let cash = figure(answer.cash, "cash")?;
        let non_marginable = answer.non_marginable_buying_power;
        let missing = |field| lacking(&status, field);
        Ok(Self {
            currency: text(answer.currency).ok_or_else(|| missing("currency"))?,
            equity: equity.ok_or_else(|| missing("equity"))?,
            buying_power: buying_power.ok_or_else(|| missing("buying_power"))?,
            cash: cash.ok_or_else(|| missing("cash"))?,
            last_equity: figure(answer.last_equity, "last_equity")?,
            non_marginable_buying_power: figure(non_marginable, "non_marginable_buying_power")?,
            multiplier: answer.multiplier.and_then(word),
            flags,
            external_account_id,
            status,
        })
    }
}

impl<'a> Answer<'a> {
    fn read(body: &'a [u8]) -> Result<Self, AnswerError> {
        let read = match is_object(body) {
            true => serde_json::from_slice(body).map(Some),
            false => serde_json::from_slice::<IgnoredAny>(body).map(|_| None),
        };
        match read {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(AnswerError::Unusable("it is no JSON object".into())),
            // The message of serde would quote the answer: its place is enough to find it.
            Err(err) if err.is_data() => Err(AnswerError::Unusable(format!(
                "a field is of a wrong type, or there twice, at line {} column {}",
                err.line(),
                err.column()
            ))),
            Err(err) => Err(AnswerError::NoJson { line: err.line(), column: err.column() }),
        }
    }

    fn flags(&self) -> Result<Flags, AnswerError> {
        Ok(Flags {
            trading_blocked: block(self.trading_blocked, "trading_blocked")?,
            account_blocked: block(self.account_blocked, "account_blocked")?,
            trade_suspended_by_user: block(self.trade_suspended_by_user, "trade_suspended_by_user")?,
            transfers_blocked: block(self.transfers_blocked, "transfers_blocked")?,
            pattern_day_trader: self.pattern_day_trader.and_then(truth),
        })
    }
}

/// Whether JSON, if that is what it is, is an object: what serde derives takes an array of the right length too.
#[must_use]
pub(crate) fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().first() == Some(&b'{')
}

/// What the lack of a field means.
fn lacking(status: &str, field: &str) -> AnswerError {
    match NOT_OPEN.into_iter().find(|known| *known == status) {
        Some(status) => AnswerError::Incomplete(status),
        None => AnswerError::Unusable(format!("{field} is missing")),
    }
}

fn text(value: Option<Cow<'_, str>>) -> Option<String> {
    value.filter(|text| !text.is_empty()).map(Cow::into_owned)
}

fn figure(value: Option<&RawValue>, field: &str) -> Result<Option<Figure>, AnswerError> {
    let Some(json) = value.map(RawValue::get) else { return Ok(None) };
    let unusable = |reason: &dyn fmt::Display| AnswerError::Unusable(format!("{field} {reason}"));
    let decimal = match json.starts_with('"') {
        true => serde_json::from_str::<Cow<'_, str>>(json).map_err(|_| unusable(&"is not a text"))?,
        false => Cow::Borrowed(json),
    };
    Figure::parse(&decimal).map(Some).map_err(|err| unusable(&err))
}

/// A flag that is there has to be one: who cannot be told from an account that is blocked must not pass for a free one.
fn block(value: Option<&RawValue>, field: &str) -> Result<Option<bool>, AnswerError> {
    let known =
        |json| truth(json).ok_or_else(|| AnswerError::Unusable(format!("{field} is not true or false")));
    value.map(known).transpose()
}

fn truth(json: &RawValue) -> Option<bool> {
    json.get().parse().ok()
}

/// A text, or the digits of a number: as sent, and nobody's money.
fn word(json: &RawValue) -> Option<String> {
    let json = json.get();
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str(json).ok().filter(|text: &String| !text.is_empty()),
        b'-' | b'0'..=b'9' => Some(json.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
