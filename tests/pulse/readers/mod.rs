//! The examples of readers, with what `pulse` wrote into Google's emulator.

mod backends;
mod docs;
mod page;
pub(crate) mod tools;
