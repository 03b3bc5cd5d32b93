//! One pass over the users.

pub(crate) mod admission;
pub(crate) mod count;
pub(crate) mod failure;
pub(crate) mod fan_out;
pub(crate) mod run;
pub(crate) mod summary;
pub(crate) mod sync_user;
pub(crate) mod tally;
pub(crate) mod unchanged;
pub(crate) mod user_pages;
