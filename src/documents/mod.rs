//! The documents of the contract, one file for each: its path, its fields, and how they are written and read. Nothing
//! else knows a path or the name of a field.

pub(crate) mod current_pulse;
pub(crate) mod equity_history;
#[cfg(test)]
mod indexes;
pub(crate) mod last_pulse;
pub(crate) mod ledger;
pub(crate) mod legacy;
pub(crate) mod migration;
pub(crate) mod order_view;
#[cfg(test)]
mod paths;
pub(crate) mod pulse_view;
mod ramp;
pub(crate) mod reader;
pub(crate) mod remains;
pub(crate) mod snapshot;
pub(crate) mod snapshot_diff;
pub(crate) mod sync_state;
pub(crate) mod tenant;
pub(crate) mod user;
pub(crate) mod user_changes;
#[cfg(test)]
pub(crate) mod written;
