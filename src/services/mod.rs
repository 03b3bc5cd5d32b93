//! The services that the job calls, the keys it keeps, and what writes.

pub(crate) mod admin;
pub(crate) mod alpaca;
mod authorization;
pub(crate) mod clients;
pub(crate) mod desk;
mod host_watch;
pub(crate) mod key_cache;
mod key_turns;
pub(crate) mod metrics;
pub(crate) mod request_id;
mod secret_access;
pub(crate) mod secret_changes;
pub(crate) mod secret_manager;
pub(crate) mod writer;
