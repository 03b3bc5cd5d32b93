//! One file for each document.

#[cfg(test)]
mod indexes;
pub(crate) mod last_pulse;
pub(crate) mod ledger;
pub(crate) mod snapshot;
pub(crate) mod tenant;
