//! What the integration tests share.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a test binary is a crate of its own, and uses what it needs"
)]

pub mod emulator;
pub mod firestore_server;
pub mod session;
