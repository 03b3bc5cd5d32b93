//! Keeps a fresh snapshot of every user's Alpaca account: the parts of the job `pulse`.

#[cfg(feature = "sandbox")]
pub mod sandbox;
