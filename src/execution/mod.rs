//! Executions.

pub(crate) mod assignment;
pub(crate) mod ledger;
pub(crate) mod progress;
pub(crate) mod shards;
pub(crate) mod silence;
pub(crate) mod ticks;
