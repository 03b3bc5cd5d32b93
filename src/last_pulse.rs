//! `ops/last_pulse`, which dashboards subscribe to. Every signed-in user can read it: no user id and
//! no error text goes in.

use crate::ids::Database;
use crate::outcome::{Counts, PassStatus};
use crate::store::ledger::last_pulse_name;
use crate::store::values::{integer, text, timestamp};
use crate::store::write::{Demand, FieldChange, Write, merge_at};
use crate::usage::Used;
use gcloud_sdk::google::firestore::v1::Value;
use jiff::Timestamp;
use std::time::Duration;

/// One finished pass of all tasks together.
#[derive(Debug)]
pub struct LastPulse<'a> {
    /// What became of the users.
    pub counts: &'a Counts,
    /// What became of the pass.
    pub status: PassStatus,
    /// Which run it was.
    pub execution: &'a str,
    /// When it started.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// What it used, this document's write included.
    pub used: Used,
}

impl LastPulse<'_> {
    fn fields(&self) -> Vec<FieldChange<'static>> {
        let Self { counts, status, execution, started_at, duration, used } = self;
        let number = |number: u64| integer(i64::try_from(number).unwrap_or(i64::MAX));
        let fields: [(&'static str, Value); 15] = [
            ("success_count", number(counts.success)),
            ("error_count", number(counts.error())),
            ("skipped_count", number(counts.skipped)),
            ("needs_reauth_count", number(counts.needs_reauth)),
            ("stale_count", number(counts.stale)),
            ("users_count", number(counts.users())),
            ("status", text(status.as_str())),
            ("execution", text(*execution)),
            ("started_at", timestamp(*started_at)),
            ("duration_ms", integer(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))),
            ("version", text(env!("CARGO_PKG_VERSION"))),
            ("firestore_reads", number(used.firestore_reads)),
            ("firestore_writes", number(used.firestore_writes)),
            ("secret_accesses", number(used.secret_accesses)),
            ("alpaca_calls", number(used.alpaca_calls)),
        ];
        fields.map(|(field, value)| (field, Some(value.into()))).into()
    }

    /// The write of the document; `timestamp` gets the server's time.
    #[must_use]
    pub fn to_write(&self, database: &Database) -> Write {
        merge_at(&last_pulse_name(database), &self.fields(), "timestamp", &Demand::Nothing)
    }
}
