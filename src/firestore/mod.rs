//! A client for the Firestore of anybody's project: it knows no document and no field of its own.

mod collections;
mod commit;
mod connection;
mod count;
mod dial;
mod error;
pub(crate) mod filter;
mod lookup;
pub(crate) mod newer;
mod protobuf;
pub(crate) mod query;
pub(crate) mod reader;
pub mod values;
pub(crate) mod write;

pub(crate) use commit::Committed;
pub(crate) use connection::{Store, StoreOptions};
pub(crate) use error::StoreError;
pub(crate) use lookup::Found;
