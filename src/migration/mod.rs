//! From the layout of a single tenant, and of the platform's older writers, to the documents of today: load, decide
//! without asking anybody, apply.

mod diff;
mod owners;
mod reason;
mod stored;
