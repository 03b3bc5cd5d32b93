//! What Google's services have in common.

pub(crate) mod credentials;
pub(crate) mod error;
pub(crate) mod region;
