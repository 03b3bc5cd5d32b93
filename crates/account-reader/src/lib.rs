//! What a backend, an app or a strategy engine may conclude from the account snapshots that `pulse` keeps in
//! Firestore: whether the money is of now, and whether an order may go out.
//!
//! Nothing here reads a database or a clock. A client's documents come in as [`Fields`]; a [`Verdict`] and a
//! [`Decision`] come out. Whatever is old, foreign, blocked, unreadable or not known is never money to trade on.
//!
//! - [`Snapshot::read`] and [`Snapshot::verdict`]: fresh, stale, missing or malformed. No figure is ever read as 0
//!   because it was not there.
//! - [`decide`]: whether an order may go out, and for how much.
//! - [`pending_sum`] and [`propose`]: that no two orders spend the same money.
//! - [`documents`]: every path and field by name.
//!
//! Amounts are exact decimals in the account's currency; times are of UTC. The rules are written as cases for any
//! language in `vectors/`, which the readers in `examples/` pass too.
//!
//! ```
//! use account_reader::decimal::{parse, plain};
//! use account_reader::{
//!     Decision, Documents, Environment, Fields, Funds, Lookup, Order, Policy, Side, Snapshot, Source, Value, Verdict,
//!     decide,
//! };
//!
//! // As a client of Firestore got `users/ana/alpacaAccounts/snapshot`.
//! let text = |text: &str| Value::String(text.to_owned());
//! let figures = [("equity", "103820.56"), ("buying_power", "2000.10"), ("cash", "1000.05")];
//! let exact: Fields = figures.map(|(name, figure)| (name.to_owned(), text(figure))).into();
//! let mut document: Fields = [
//!     ("broker", "alpaca"),
//!     ("user_id", "ana"),
//!     ("external_account_id", "1d9eed04-be39-4e01-9b84-a48ac5bbafcf"),
//!     ("status", "ACTIVE"),
//!     ("environment", "paper"),
//!     ("currency", "USD"),
//!     ("updated_at_iso", "2026-01-05T14:30:00.123Z"),
//! ]
//! .map(|(name, value)| (name.to_owned(), text(value)))
//! .into();
//! document.extend(figures.map(|(name, figure)| (name.to_owned(), Value::Double(figure.parse().unwrap()))));
//! document.insert("exact".to_owned(), Value::Map(exact));
//!
//! let documents =
//!     Documents { snapshot: Some(&document), sync: Lookup::Absent, last_pulse: Lookup::Unread };
//! let snapshot = Snapshot::read(Source::User("ana".to_owned()), documents);
//!
//! // 20 s later the money is of now.
//! let now = "2026-01-05T14:30:20Z".parse()?;
//! let Verdict::Fresh { account, .. } = snapshot.verdict(now) else { panic!("fresh") };
//! assert_eq!(plain(&account.figures.cash), "1000.05");
//!
//! // An order for 400 dollars fits, with 500 kept back and 700 already spoken for.
//! let policy = Policy {
//!     environment: Environment::Paper,
//!     currency: "USD".to_owned(),
//!     funds: Funds::BuyingPower,
//!     reserve: parse("500")?,
//! };
//! let order = Order {
//!     user: "ana".to_owned(),
//!     side: Side::Buy,
//!     notional: parse("400")?,
//!     closes: false,
//!     pending: Ok(parse("700")?),
//! };
//! let decision = decide(&order, &snapshot, &policy, now);
//! assert_eq!(decision, Decision::Allow { max_notional: parse("800.1")? });
//!
//! // An hour later nothing is allowed, unless the job goes on and the user's sync with it.
//! assert!(!decide(&order, &snapshot, &policy, "2026-01-05T15:30:00Z".parse()?).is_allowed());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod account;
pub mod decimal;
mod decision;
pub mod documents;
#[cfg(feature = "firestore")]
pub mod firestore;
mod proposal;
mod signal;
mod snapshot;
mod sync;
pub mod time;
mod value;
#[cfg(test)]
mod vectors;

pub use account::{Account, Environment, Figures, Source};
pub use bigdecimal::BigDecimal;
pub use decision::{Decision, DenyCode, Funds, Order, Policy, Side, decide};
pub use jiff;
pub use proposal::{Action, Desk, Outcome, Proposal, propose};
pub use signal::{Signal, UnreadableSignal, pending_sum};
pub use snapshot::{Documents, MAX_AGE, MAX_AHEAD, Snapshot, Verdict};
pub use sync::{Lookup, Sync, SyncState};
pub use value::{Fields, Value};
