//! From the layout of a single tenant, and of the platform's older writers, to the documents of today: load, decide
//! without asking anybody, apply.

mod diff;
pub(crate) mod load;
pub(crate) mod options;
pub(crate) mod owners;
pub(crate) mod reason;
mod stored;
