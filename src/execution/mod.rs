//! Executions and their tasks: which of them runs, which task has which users, how far each has come, and what the
//! pass of all is worth.

pub(crate) mod assignment;
pub(crate) mod checkpoint;
mod claim;
mod dead_execution;
mod fence;
pub(crate) mod hand_over;
pub(crate) mod join;
mod ledger;
mod others;
pub(crate) mod progress;
pub(crate) mod publish;
mod record;
mod shards;
pub(crate) mod silence;
pub(crate) mod ticks;
mod view;
mod worth;

#[cfg(test)]
mod examples;
