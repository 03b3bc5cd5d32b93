//! What becomes of a proposal: the pure half of a transaction that reads, decides and creates a signal.

use crate::decimal;
use crate::decision::{Decision, DenyCode, Order, Policy, Side, US_DOLLARS, decide};
use crate::documents::signal as field;
use crate::signal::{Signal, is_of_backend, pending_sum};
use crate::snapshot::Snapshot;
use crate::time;
use crate::value::{Fields, Value, text};
use bigdecimal::{BigDecimal, Zero};
use jiff::Timestamp;
use std::fmt;

/// What a strategy wants to trade for a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// For whom.
    pub user: String,
    /// What to trade.
    pub symbol: String,
    /// Which way.
    pub action: Action,
    /// For how many US dollars, at most as exact as a double's text; `None` where an action that closes does not know.
    ///
    /// A purchase that closes (it covers a short) is paid like any other, and nothing in its document says that it
    /// closes: while it is pending it counts, and without an amount no other purchase is allowed. [`Action::Flat`] never
    /// counts.
    pub notional_usd: Option<BigDecimal>,
    /// The order only reduces a position. To go [`Action::Flat`] always does.
    pub closes: bool,
    /// Why, for people.
    pub reason: String,
    /// Which strategy.
    pub strategy_id: String,
    /// From when on nobody may execute it, and its money is free again.
    pub expires_at: Timestamp,
}

/// Which way a signal goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To buy.
    Buy,
    /// To sell.
    Sell,
    /// To close the whole position.
    Flat,
}

impl Action {
    /// `buy`, `sell` or `flat`, as in the document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Buy => field::BUY,
            Self::Sell => field::SELL,
            Self::Flat => field::FLAT,
        }
    }
}

/// What the transaction read, all of it at one time.
#[derive(Clone, Copy, Debug)]
pub struct Desk<'a> {
    /// The document under the proposal's key, if there is one.
    pub existing: Option<&'a Fields>,
    /// The user's snapshot.
    pub snapshot: &'a Snapshot,
    /// All of the user's signals that may be pending: `proposed`, `executing` and `executed`.
    pub signals: &'a [Signal<'a>],
}

/// What the transaction has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// To create the document with these fields, under the precondition that it does not exist.
    Create {
        /// The signal: `proposed`, or `rejected` with the code.
        fields: Fields,
        /// Whether it was allowed.
        decision: Decision,
    },
    /// Nothing: the backend has proposed under this key before, and the same key twice is one signal.
    Existing {
        /// What has become of it since; as stored, empty if it does not say.
        status: String,
        /// It was another proposal: another symbol, action or amount. Then the key was not meant for both.
        differs: bool,
    },
    /// Nothing: the document under this key is not the backend's, so its author may change it at will.
    KeyTaken,
}

/// For people, as [`Decision`] is.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { decision, .. } => decision.fmt(f),
            Self::Existing { status, differs: false } => write!(f, "proposed before, now {status}"),
            Self::Existing { differs: true, .. } => write!(f, "denied, the key is another proposal's"),
            Self::KeyTaken => write!(f, "denied, key_taken: the key is of a signal of the user's own"),
        }
    }
}

/// What to do about a proposal at that moment, given what the transaction read. A denied one is recorded as well, so
/// that the same key is never decided twice.
///
/// ```
/// use account_reader::decimal::parse;
/// use account_reader::{
///     Action, DenyCode, Decision, Desk, Documents, Environment, Funds, Lookup, Outcome, Policy, Proposal, Snapshot,
///     Source, propose,
/// };
/// let proposal = Proposal {
///     user: "ana".to_owned(),
///     symbol: "SPY".to_owned(),
///     action: Action::Buy,
///     notional_usd: Some(parse("400")?),
///     closes: false,
///     reason: "trend".to_owned(),
///     strategy_id: "s1".to_owned(),
///     expires_at: "2026-01-05T14:32:00Z".parse()?,
/// };
/// let policy = Policy {
///     environment: Environment::Paper,
///     currency: "USD".to_owned(),
///     funds: Funds::Cash,
///     reserve: parse("0")?,
/// };
/// // Ana never synced: recorded as rejected.
/// let documents = Documents { snapshot: None, sync: Lookup::Absent, last_pulse: Lookup::Absent };
/// let snapshot = Snapshot::read(Source::User("ana".to_owned()), documents);
/// let desk = Desk { existing: None, snapshot: &snapshot, signals: &[] };
/// let Outcome::Create { decision, fields } = propose(&proposal, desk, &policy, "2026-01-05T14:30:00Z".parse()?)
/// else {
///     panic!("nothing under that key yet")
/// };
/// assert!(matches!(decision, Decision::Deny { code: DenyCode::SnapshotMissing, .. }));
/// assert_eq!(fields["denied_code"], account_reader::Value::String("snapshot_missing".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn propose(proposal: &Proposal, desk: Desk<'_>, policy: &Policy, now: Timestamp) -> Outcome {
    match desk.existing {
        Some(existing) if is_of_backend(existing) => Outcome::Existing {
            status: text(existing, field::STATUS).unwrap_or_default().to_owned(),
            differs: proposal.differs_from(existing),
        },
        Some(_) => Outcome::KeyTaken,
        None => {
            let decision = proposal.decide(desk, policy, now);
            Outcome::Create { fields: proposal.fields(&decision, desk.snapshot, now), decision }
        }
    }
}

impl Proposal {
    fn decide(&self, desk: Desk<'_>, policy: &Policy, now: Timestamp) -> Decision {
        if let Err(denied) = self.check(policy, now) {
            return denied;
        }
        let closes = self.closes || self.action == Action::Flat;
        let pending = pending_sum(desk.signals.iter().copied(), desk.snapshot, now);
        let side = if self.action == Action::Buy { Side::Buy } else { Side::Sell };
        let notional = self.notional_usd.clone().unwrap_or_else(BigDecimal::zero);
        let order = Order { user: self.user.clone(), side, notional, closes, pending };
        decide(&order, desk.snapshot, policy, now)
    }

    fn check(&self, policy: &Policy, now: Timestamp) -> Result<(), Decision> {
        let invalid = |reason| Err(Decision::deny(DenyCode::InvalidOrder, reason));
        match () {
            () if policy.currency != US_DOLLARS => invalid("a signal is in US dollars, the policy is not"),
            () if self.expires_at <= now => invalid("the signal has expired"),
            () if self.symbol.is_empty() => invalid("the signal names no symbol"),
            () if self.notional_usd.is_some() && self.stored_amount().is_none() => {
                invalid("the amount has more digits than a number field keeps")
            }
            () => Ok(()),
        }
    }

    /// The amount as the double that is stored, if that one is read as the amount again.
    fn stored_amount(&self) -> Option<f64> {
        let amount = self.notional_usd.as_ref()?;
        let double: f64 = decimal::plain(amount).parse().ok()?;
        (decimal::of_double(double).as_ref() == Some(amount)).then_some(double)
    }

    fn differs_from(&self, existing: &Fields) -> bool {
        let amount = existing.get(field::NOTIONAL_USD).and_then(Value::number);
        text(existing, field::SYMBOL) != Some(&self.symbol)
            || text(existing, field::ACTION) != Some(self.action.as_str())
            || amount != self.stored_amount()
    }

    fn fields(&self, decision: &Decision, snapshot: &Snapshot, now: Timestamp) -> Fields {
        let (status, denied) = match decision {
            Decision::Allow { .. } => (field::PROPOSED, None),
            Decision::Deny { code, .. } => (field::REJECTED, Some(code.as_str())),
        };
        let string = |text: &str| Value::String(text.to_owned());
        let snapshot_time = snapshot.account().map(|account| time::iso(account.updated_at));
        let fields = [
            (field::SYMBOL, Some(string(&self.symbol))),
            (field::ACTION, Some(string(self.action.as_str()))),
            (field::NOTIONAL_USD, self.stored_amount().map(Value::Double)),
            (field::REASON, Some(string(&self.reason))),
            (field::STATUS, Some(string(status))),
            (field::DENIED_CODE, denied.map(string)),
            (field::STRATEGY_ID, Some(string(&self.strategy_id))),
            (field::CREATED_AT, Some(Value::Timestamp(now))),
            (field::EXPIRES_AT, Some(Value::Timestamp(self.expires_at))),
            (field::SNAPSHOT_UPDATED_AT_ISO, snapshot_time.map(Value::String)),
            (field::PROPOSED_BY, Some(string(field::BACKEND))),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

#[cfg(test)]
mod tests;
