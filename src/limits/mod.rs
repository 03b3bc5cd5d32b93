//! How fast, how often and how long; and how late it is.

pub(crate) mod clock;
pub(crate) mod deadlines;
pub(crate) mod patience;
pub(crate) mod ramp;
pub(crate) mod rate;
pub(crate) mod retry;
pub(crate) mod slots;
pub(crate) mod usage;
