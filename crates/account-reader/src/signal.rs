//! Signals: what is proposed to trade, and how much money is spoken for by them.

use crate::decimal;
use crate::documents::signal as field;
use crate::snapshot::Snapshot;
use crate::value::{Fields, Value, text, time};
use bigdecimal::{BigDecimal, Zero};
use jiff::{SignedDuration, Timestamp};

/// How long before Alpaca's answer an order may have been executed that the figures do not show.
const UNSEEN: SignedDuration = SignedDuration::from_secs(60);

/// A document below `users/{user}/tradingSignals`.
#[derive(Clone, Copy, Debug)]
pub struct Signal<'a> {
    /// Its id, which is the key it was proposed under.
    pub id: &'a str,
    /// Its fields.
    pub fields: &'a Fields,
    /// When it was written last, as Firestore says; that is when it was executed, or later. `None` where a client
    /// does not tell.
    pub update_time: Option<Timestamp>,
}

/// A pending buy without a readable amount: what is spoken for is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the amount of signal {id} cannot be read")]
pub struct UnreadableSignal {
    /// The signal's id.
    pub id: String,
}

/// How much money of a user is spoken for, in US dollars: the sum over all of the user's signals that are pending.
///
/// Pending are the backend's buys that are `proposed` and not expired, `executing`, or `executed` after the time of
/// the snapshot's figures less 60 s, which may not show them yet. What users wrote themselves (no `proposed_by`) never
/// counts. What is not known counts: an executed one without a time, an action or a status that is none of
/// [`crate::documents::signal`]'s.
///
/// ```
/// use account_reader::decimal::plain;
/// use account_reader::{Documents, Fields, Lookup, Signal, Snapshot, Source, Value, pending_sum};
/// let now = "2026-01-05T14:30:00Z".parse()?;
/// let documents = Documents { snapshot: None, sync: Lookup::Absent, last_pulse: Lookup::Unread };
/// let snapshot = Snapshot::read(Source::User("ana".to_owned()), documents);
/// let text = |text: &str| Value::String(text.to_owned());
/// let mut fields = Fields::from([
///     ("proposed_by".to_owned(), text("backend")),
///     ("action".to_owned(), text("buy")),
///     ("status".to_owned(), text("executing")),
///     ("notional_usd".to_owned(), Value::Double(300.25)),
/// ]);
/// let sum = |fields: &Fields| {
///     pending_sum([Signal { id: "k1", fields, update_time: None }], &snapshot, now).map(|sum| plain(&sum))
/// };
/// assert_eq!(sum(&fields)?, "300.25");
/// // A user's own signal moves no money.
/// fields.remove("proposed_by");
/// assert_eq!(sum(&fields)?, "0");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`UnreadableSignal`] when the amount of a pending one is no number of zero or more. Then nobody may spend.
pub fn pending_sum<'a>(
    signals: impl IntoIterator<Item = Signal<'a>>,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Result<BigDecimal, UnreadableSignal> {
    let pending = signals.into_iter().filter(|signal| signal.is_pending(snapshot, now));
    pending.map(|signal| signal.amount()).sum()
}

/// Whether the backend proposed it; a user's own signal moves no money.
pub(crate) fn is_of_backend(fields: &Fields) -> bool {
    text(fields, field::PROPOSED_BY) == Some(field::BACKEND)
}

impl Signal<'_> {
    fn is_pending(&self, snapshot: &Snapshot, now: Timestamp) -> bool {
        let is_buy = !matches!(text(self.fields, field::ACTION), Some(field::SELL | field::FLAT));
        let counts = match text(self.fields, field::STATUS) {
            Some(field::PROPOSED) => time(self.fields, field::EXPIRES_AT).is_none_or(|expiry| now < expiry),
            Some(field::EXECUTED) => self.may_be_unseen(snapshot),
            Some(field::REJECTED | field::FAILED | field::CANCELLED | field::EXPIRED | field::ARCHIVED) => {
                false
            }
            _ => true,
        };
        is_of_backend(self.fields) && is_buy && counts
    }

    /// Whether the figures may be of before it was executed.
    fn may_be_unseen(&self, snapshot: &Snapshot) -> bool {
        match (self.update_time, snapshot.account()) {
            (Some(executed), Some(account)) => executed > account.updated_at - UNSEEN,
            _ => true,
        }
    }

    fn amount(&self) -> Result<BigDecimal, UnreadableSignal> {
        let number = self.fields.get(field::NOTIONAL_USD).and_then(exact_number);
        let amount = number.filter(|amount| *amount >= BigDecimal::zero());
        amount.ok_or_else(|| UnreadableSignal { id: self.id.to_owned() })
    }
}

/// A double is the decimal that it is written as; so dollars and cents are exact.
fn exact_number(value: &Value) -> Option<BigDecimal> {
    value.number().and_then(decimal::of_double)
}
