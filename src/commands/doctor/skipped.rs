//! Checks that had to wait for others.

use crate::commands::frame::{CheckState, Finding};

/// A check that had to wait for another.
pub(super) fn skip(check: &'static str, because: &str) -> Finding {
    Finding::new(CheckState::Skipped, check, format!("Not checked, because of {because}."))
}
