//! From the layout of a single tenant, and of the platform's older writers, to the documents of today: load, decide
//! without asking anybody, apply.

pub(crate) mod apply;
pub(crate) mod below;
pub(crate) mod cleanup;
pub(crate) mod close;
pub(crate) mod diff;
pub(crate) mod load;
pub(crate) mod options;
pub(crate) mod owners;
pub(crate) mod reason;
pub(crate) mod rollback;
mod shown;
pub(crate) mod stored;
pub(crate) mod tally;
