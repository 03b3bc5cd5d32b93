//! Why a legacy document's fields cannot be read.

/// A field that is not what its reader needs it to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable(pub(crate) &'static str);
