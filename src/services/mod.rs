//! The services that the job calls, the keys it keeps, and what writes.

pub(crate) mod alpaca;
pub(crate) mod clients;
pub(crate) mod key_cache;
mod secret_access;
#[allow(dead_code, reason = "for now")]
pub(crate) mod secret_changes;
pub(crate) mod secret_manager;
pub(crate) mod writer;
