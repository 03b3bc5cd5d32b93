//! The local cloud: a Firestore, a Secret Manager and an Alpaca on loopback.

pub mod firestore;
