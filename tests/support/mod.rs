//! What the integration tests share.

// Each test binary is a crate of its own, and uses what it needs of this.
#![allow(dead_code, unreachable_pub)]
// All of this is test code, though little of it is a test.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::print_stdout)]

pub mod emulator;
pub mod session;
