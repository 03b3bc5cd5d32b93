//! The services.

pub(crate) mod alpaca;
pub(crate) mod clients;
pub(crate) mod key_cache;
pub(crate) mod secret_manager;
