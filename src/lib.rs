//! The parts of the job `pulse`, which keeps a fresh snapshot of every user's Alpaca account.

pub mod commands;
mod config;
mod documents;
mod execution;
// pub for tests, which build documents with firestore::values
pub mod firestore;
mod google;
mod limits;
mod migration;
mod model;
mod network;
mod pass;
mod services;
mod shutdown;
mod telemetry;
