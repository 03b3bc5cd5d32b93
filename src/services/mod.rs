//! The services that the job calls, the keys it keeps, and what writes.

pub(crate) mod alpaca;
pub(crate) mod clients;
#[allow(dead_code, reason = "the commands that use it follow")]
pub(crate) mod desk;
pub(crate) mod key_cache;
mod secret_access;
pub(crate) mod secret_manager;
pub(crate) mod writer;
