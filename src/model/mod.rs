//! The domain: the ids, values and rules of the job, pure. Nothing here knows a document, a service or a clock.

pub(crate) mod account;
pub(crate) mod advice;
pub(crate) mod durations;
pub(crate) mod failing;
pub(crate) mod fleet_guard;
pub(crate) mod ids;
pub(crate) mod key_version;
pub(crate) mod keys;
pub(crate) mod ledger;
pub(crate) mod measures;
pub(crate) mod money;
pub(crate) mod outcome;
pub(crate) mod pass_figures;
pub(crate) mod past;
pub(crate) mod pin;
pub(crate) mod ramp;
pub(crate) mod recheck;
pub(crate) mod selection;
pub(crate) mod shards;
pub(crate) mod sync_state;
pub(crate) mod tenancy;
pub(crate) mod usage;
pub(crate) mod user;
