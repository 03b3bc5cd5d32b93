//! The parts of the job `pulse`, which keeps a fresh snapshot of every user's Alpaca account.
//!
//! Data flows one way: [`config`] → [`roster`] of users → [`keys`] from [`secret_manager`] →
//! [`account`] from [`alpaca`] → [`snapshot`] into the [`store`] → [`outcome`]s in [`last_pulse`].
//! Modules that talk to a service say so in their name; the others decide and do no I/O.

pub mod account;
pub mod admission;
pub mod alpaca;
pub mod census;
pub mod cli;
pub mod config;
pub mod credentials;
pub mod failure;
pub mod fan_out;
pub mod figure;
pub mod filter;
pub mod fleet_guard;
pub mod google_error;
pub mod ids;
pub mod job;
pub mod key_cache;
pub mod keys;
pub mod last_pulse;
pub mod ledger;
pub mod outcome;
pub mod output;
pub mod pace;
pub mod part;
pub mod past;
pub mod pin;
pub mod progress;
pub mod ramp;
pub mod repeat;
pub mod retry;
pub mod roster;
pub mod secret_manager;
pub mod shards;
pub mod silence;
pub mod snapshot;
pub mod stop;
pub mod store;
pub mod telemetry;
pub mod tenancy;
pub mod trouble;
pub mod unchanged;
pub mod usage;
pub mod user;
pub mod variables;
pub mod verdicts;

#[cfg(feature = "sandbox")]
pub mod sandbox;
