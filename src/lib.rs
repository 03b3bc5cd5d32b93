//! The parts of the job `pulse`, which keeps a fresh snapshot of every user's Alpaca account.

pub mod commands;
mod config;
mod documents;
mod execution;
pub mod firestore;
mod google;
mod limits;
mod model;
mod pass;
mod services;
mod shutdown;
mod telemetry;
