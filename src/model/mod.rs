//! The domain: rules and values, without I/O.

pub(crate) mod account;
pub(crate) mod figure;
pub(crate) mod fleet_guard;
pub(crate) mod ids;
pub(crate) mod key_version;
pub(crate) mod keys;
pub(crate) mod ledger;
pub(crate) mod outcome;
pub(crate) mod past;
pub(crate) mod pin;
pub(crate) mod ramp;
pub(crate) mod selection;
pub(crate) mod shards;
pub(crate) mod sync_state;
pub(crate) mod tenancy;
pub(crate) mod usage;
pub(crate) mod user;
