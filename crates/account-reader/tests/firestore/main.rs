//! Reading and proposing in the real Firestore emulator.

#![allow(clippy::expect_used, reason = "all of this is test code, though not all of it is a test")]

#[allow(unreachable_pub, reason = "other tests share it")]
#[path = "../../../../tests/support/emulator.rs"]
mod emulator;
mod propose;
mod read;
mod world;
