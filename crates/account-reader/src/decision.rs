//! Whether an order may go out.

use crate::account::{Account, Environment, Standing};
use crate::decimal;
use crate::documents::snapshot as field;
use crate::signal::UnreadableSignal;
use crate::snapshot::{Snapshot, Verdict};
use crate::sync::SyncState;
use bigdecimal::{BigDecimal, Zero};
use jiff::Timestamp;
use std::fmt;

/// The currency of every signal's amount, as Alpaca writes it.
pub(crate) const US_DOLLARS: &str = "USD";

/// Which way an order goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// To buy.
    Buy,
    /// To sell.
    Sell,
}

/// What somebody wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whose money it is about: a user's id. Figures of anybody else deny it.
    pub user: String,
    /// Which way. It decides nothing: a sale that does not close is a short one, which money has to cover too.
    pub side: Side,
    /// For how much, in the policy's currency: above zero, or zero where an order that closes does not know.
    pub notional: BigDecimal,
    /// The order only reduces a position. Whoever says so has looked.
    pub closes: bool,
    /// What is spoken for already, in US dollars, as [`crate::pending_sum`] has it. Where that is not known, nothing may be
    /// spent; nor where it is not zero and the policy has another currency, in which it is not known.
    pub pending: Result<BigDecimal, UnreadableSignal>,
}

/// The figure that an order is paid from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Funds {
    /// `buying_power`, credit included; in the account's currency, as the others.
    BuyingPower,
    /// `non_marginable_buying_power`, which an account need not have: then nothing is allowed.
    NonMarginableBuyingPower,
    /// `cash`.
    Cash,
}

impl Funds {
    /// The field's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BuyingPower => field::BUYING_POWER,
            Self::NonMarginableBuyingPower => field::NON_MARGINABLE_BUYING_POWER,
            Self::Cash => field::CASH,
        }
    }

    fn of(self, account: &Account) -> Option<&BigDecimal> {
        match self {
            Self::BuyingPower => Some(&account.figures.buying_power),
            Self::NonMarginableBuyingPower => account.figures.non_marginable_buying_power.as_ref(),
            Self::Cash => Some(&account.figures.cash),
        }
    }
}

/// On which terms orders go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The only environment that orders are for.
    pub environment: Environment,
    /// The only currency, as Alpaca writes it: `USD`.
    pub currency: String,
    /// What orders are paid from.
    pub funds: Funds,
    /// What stays untouched, in that currency: zero or more.
    pub reserve: BigDecimal,
}

/// Why an order is denied. The words of [`DenyCode::as_str`] are stored and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenyCode {
    /// The order or the policy is none: a notional that is not above zero, a negative reserve or pending sum.
    InvalidOrder,
    /// The user never synced.
    SnapshotMissing,
    /// The figures are of another user.
    OtherUser,
    /// The account is in another environment than the policy's.
    Environment,
    /// A block flag is set.
    Blocked,
    /// The snapshot is not one that `pulse` wrote.
    SnapshotMalformed,
    /// The figures are old.
    SnapshotStale,
    /// The broker rejects the user's keys.
    NeedsReauth,
    /// How the user's sync goes is not known.
    SyncUnknown,
    /// The account is not `ACTIVE`.
    Status,
    /// The figures are in another currency than the policy's.
    Currency,
    /// The pending sum is not known: a signal cannot be read, or it is in dollars and the policy is not.
    PendingUnknown,
    /// The account has no figure of the kind that the policy names.
    FundsUnknown,
    /// The order is above what may be spent.
    InsufficientFunds,
}

impl DenyCode {
    /// All of them, in the order in which they are looked for.
    pub const ALL: [Self; 14] = [
        Self::InvalidOrder,
        Self::SnapshotMissing,
        Self::OtherUser,
        Self::Environment,
        Self::Blocked,
        Self::SnapshotMalformed,
        Self::SnapshotStale,
        Self::NeedsReauth,
        Self::SyncUnknown,
        Self::Status,
        Self::Currency,
        Self::PendingUnknown,
        Self::FundsUnknown,
        Self::InsufficientFunds,
    ];

    /// The code as it is stored and printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidOrder => "invalid_order",
            Self::SnapshotMissing => "snapshot_missing",
            Self::OtherUser => "other_user",
            Self::Environment => "environment",
            Self::Blocked => "blocked",
            Self::SnapshotMalformed => "snapshot_malformed",
            Self::SnapshotStale => "snapshot_stale",
            Self::NeedsReauth => "needs_reauth",
            Self::SyncUnknown => "sync_unknown",
            Self::Status => "status",
            Self::Currency => "currency",
            Self::PendingUnknown => "pending_unknown",
            Self::FundsUnknown => "funds_unknown",
            Self::InsufficientFunds => "insufficient_funds",
        }
    }
}

impl fmt::Display for DenyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether an order may go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Allow {
        /// The most that an order of this kind may be for, in the policy's currency: at least what was asked. Of an
        /// order that closes it is what was asked, as money does not limit it.
        max_notional: BigDecimal,
    },
    /// It must not.
    Deny {
        /// Why, for programs.
        code: DenyCode,
        /// Why, for people. Names no amount.
        reason: String,
    },
}

/// For people: `allowed, up to 800.1`, or `denied, snapshot_stale: the figures are 420 s old`.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow { max_notional } => write!(f, "allowed, up to {}", decimal::plain(max_notional)),
            Self::Deny { code, reason } => write!(f, "denied, {code}: {reason}"),
        }
    }
}

impl Decision {
    pub(crate) fn deny(code: DenyCode, reason: impl Into<String>) -> Self {
        Self::Deny { code, reason: reason.into() }
    }

    /// Whether it may.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }
}

/// Whether that order may go out at that moment of the reader's clock. Whatever is not known denies.
///
/// Of several causes the first in the order of [`DenyCode`] is named. An order that closes is denied for its own
/// faults, for whose account it is, environment and blocks, never for money, age, status or rejected keys: who may do
/// nothing else may still get out.
///
/// ```
/// use account_reader::decimal::parse;
/// use account_reader::{
///     Documents, Environment, Funds, Lookup, Order, Policy, Side, Snapshot, Source, decide,
/// };
/// // Ana never synced.
/// let documents = Documents { snapshot: None, sync: Lookup::Absent, last_pulse: Lookup::Absent };
/// let snapshot = Snapshot::read(Source::User("ana".to_owned()), documents);
/// let order = Order {
///     user: "ana".to_owned(),
///     side: Side::Buy,
///     notional: parse("400")?,
///     closes: false,
///     pending: Ok(parse("0")?),
/// };
/// let policy = Policy {
///     environment: Environment::Paper,
///     currency: "USD".to_owned(),
///     funds: Funds::Cash,
///     reserve: parse("0")?,
/// };
/// let decision = decide(&order, &snapshot, &policy, "2026-01-05T14:30:00Z".parse()?);
/// assert_eq!(decision.to_string(), "denied, snapshot_missing: the user never synced");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn decide(order: &Order, snapshot: &Snapshot, policy: &Policy, now: Timestamp) -> Decision {
    let checked = check_terms(order, policy)
        .and_then(|()| {
            check_standing(snapshot.standing().ok_or_else(|| unreadable(snapshot, now))?, order, policy)
        })
        .and_then(|()| match order.closes {
            true => Ok(order.notional.clone()),
            false => available(order, snapshot, policy, now),
        });
    match checked {
        Ok(max_notional) => Decision::Allow { max_notional },
        Err(denied) => denied,
    }
}

fn check_terms(order: &Order, policy: &Policy) -> Result<(), Decision> {
    let zero = BigDecimal::zero();
    let invalid = |reason| Err(Decision::deny(DenyCode::InvalidOrder, reason));
    match () {
        () if order.notional < zero => invalid("the order is for less than nothing"),
        () if order.notional == zero && !order.closes => invalid("the order is for nothing"),
        () if order.pending.as_ref().is_ok_and(|pending| *pending < zero) => {
            invalid("the pending sum is negative")
        }
        () if policy.reserve < zero => invalid("the policy's reserve is negative"),
        () => Ok(()),
    }
}

/// Why nothing can be said about the account at all.
fn unreadable(snapshot: &Snapshot, now: Timestamp) -> Decision {
    match snapshot.verdict(now) {
        Verdict::Malformed { field } => malformed(field),
        _ => Decision::deny(DenyCode::SnapshotMissing, "the user never synced"),
    }
}

fn malformed(field: &str) -> Decision {
    Decision::deny(
        DenyCode::SnapshotMalformed,
        format!("the snapshot's {field} is not what pulse writes there"),
    )
}

fn check_standing(standing: &Standing, order: &Order, policy: &Policy) -> Result<(), Decision> {
    let Standing { user_id, environment, blocks } = standing;
    if *user_id != order.user {
        return Err(Decision::deny(DenyCode::OtherUser, "the figures are of another user"));
    }
    if *environment != policy.environment {
        let (is, wanted) = (environment.as_str(), policy.environment.as_str());
        return Err(Decision::deny(
            DenyCode::Environment,
            format!("a {is} account, the order is for {wanted}"),
        ));
    }
    match blocks.first() {
        Some(block) => Err(Decision::deny(DenyCode::Blocked, format!("the account has {block}"))),
        None => Ok(()),
    }
}

/// The most that may be spent now.
fn available(
    order: &Order,
    snapshot: &Snapshot,
    policy: &Policy,
    now: Timestamp,
) -> Result<BigDecimal, Decision> {
    let account = match snapshot.verdict(now) {
        Verdict::Fresh { account, .. } => account,
        Verdict::Stale { age, .. } => {
            let reason = format!("the figures are {} s old", age.as_secs());
            return Err(Decision::deny(DenyCode::SnapshotStale, reason));
        }
        Verdict::Malformed { .. } | Verdict::Missing => return Err(unreadable(snapshot, now)),
    };
    check_sync(snapshot.sync().state)?;
    check_account(account, policy)?;
    let pending = pending(order, policy)?;
    let funds = policy.funds.of(account).ok_or_else(|| {
        Decision::deny(DenyCode::FundsUnknown, format!("the account has no {}", policy.funds.as_str()))
    })?;
    let available = funds - &policy.reserve - pending;
    match order.notional <= available {
        true => Ok(available),
        false => Err(Decision::deny(
            DenyCode::InsufficientFunds,
            format!("more than {} less the reserve and what is pending", policy.funds.as_str()),
        )),
    }
}

/// What is pending, in the policy's currency.
fn pending<'a>(order: &'a Order, policy: &Policy) -> Result<&'a BigDecimal, Decision> {
    let unknown = |reason: String| Decision::deny(DenyCode::PendingUnknown, reason);
    let pending = order.pending.as_ref().map_err(|signal| unknown(signal.to_string()))?;
    match pending.is_zero() || policy.currency == US_DOLLARS {
        true => Ok(pending),
        false => Err(unknown(format!("what is pending is in {US_DOLLARS}, not in {}", policy.currency))),
    }
}

/// Trouble of another kind makes no fresh figure wrong.
fn check_sync(state: SyncState) -> Result<(), Decision> {
    match state {
        SyncState::NeedsReauth => {
            Err(Decision::deny(DenyCode::NeedsReauth, "the broker rejects the user's keys"))
        }
        SyncState::Unknown => {
            Err(Decision::deny(DenyCode::SyncUnknown, "how the user's sync goes is not known"))
        }
        SyncState::Ok | SyncState::Retrying | SyncState::Incomplete => Ok(()),
    }
}

fn check_account(account: &Account, policy: &Policy) -> Result<(), Decision> {
    if account.status != field::ACTIVE {
        return Err(Decision::deny(
            DenyCode::Status,
            format!("the account is {}, not ACTIVE", account.status),
        ));
    }
    if account.currency != policy.currency {
        let (is, wanted) = (&account.currency, &policy.currency);
        return Err(Decision::deny(DenyCode::Currency, format!("figures in {is}, the order is in {wanted}")));
    }
    Ok(())
}
