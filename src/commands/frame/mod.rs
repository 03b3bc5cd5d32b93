//! What all commands for operators share: where they look, what they found, how it is told, and what they exit with.

mod confirm;
mod finding;
mod json;
mod page;
mod report;
mod screen;
mod table;
mod times;

pub(crate) use self::confirm::{Refused, confirm};
pub(crate) use self::finding::{CheckState, Finding};
pub(crate) use self::page::{Page, counted, grouped};
pub(crate) use self::report::{Report, refuse, run, run_with};
pub(crate) use self::table::{Column, Table};
pub(crate) use self::times::{brief, in_words, point};
pub(crate) use crate::telemetry::GLUE;
