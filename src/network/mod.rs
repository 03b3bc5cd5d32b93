//! The network as it is: names that are looked up, connections that are made, files that may be open.

pub(crate) mod http;
pub(crate) mod names;
pub(crate) mod open_files;
