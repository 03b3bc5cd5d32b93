//! One file for each document: its path and its fields, both ways. Nothing else knows them.

pub(crate) mod current_pulse;
#[cfg(test)]
mod indexes;
pub(crate) mod last_pulse;
pub(crate) mod ledger;
pub(crate) mod snapshot;
pub(crate) mod tenant;
#[cfg(test)]
pub(crate) mod written;
