//! `ops/last_pulse`, which dashboards subscribe to. Every signed-in user can read it: no user id and
//! no error text goes in.

use crate::ids::Database;
use crate::outcome::{Counts, PassStatus};
use crate::retry::Deadline;
use crate::snapshot::FieldChange;
use crate::store::values::{integer, text, time, timestamp};
use crate::store::{Demand, Store, StoreError, merge_at};
use crate::usage::Usage;
use gcloud_sdk::google::firestore::v1::Value;
use jiff::Timestamp;
use std::time::Duration;

/// For reading what the pass can do without.
const READ_BUDGET: Duration = Duration::from_secs(5);

/// One finished pass.
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
    /// What it used.
    pub usage: &'a Usage,
}

impl LastPulse<'_> {
    fn fields(&self) -> Vec<FieldChange> {
        let Self { counts, status, execution, started_at, duration, usage } = self;
        let number = |number: u64| integer(i64::try_from(number).unwrap_or(i64::MAX));
        let fields: [(&'static str, Value); 14] = [
            ("success_count", number(counts.success)),
            ("error_count", number(counts.error())),
            ("skipped_count", number(counts.skipped)),
            ("needs_reauth_count", number(counts.needs_reauth)),
            ("users_count", number(counts.users())),
            ("status", text(status.as_str())),
            ("execution", text(*execution)),
            ("started_at", timestamp(*started_at)),
            ("duration_ms", integer(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))),
            ("version", text(env!("CARGO_PKG_VERSION"))),
            ("firestore_reads", number(usage.firestore_reads.get())),
            // The write of this document is one of the pass's own.
            ("firestore_writes", number(usage.firestore_writes.get() + 1)),
            ("secret_accesses", number(usage.secret_accesses.get())),
            ("alpaca_calls", number(usage.alpaca_calls.get())),
        ];
        fields.map(|(field, value)| (field, Some(value))).into()
    }

    /// Writes the document; `timestamp` gets the server's time.
    pub async fn write(&self, store: &Store, deadline: Deadline) -> Result<(), StoreError> {
        let write = merge_at(name(store.database()), self.fields(), "timestamp", Demand::Nothing);
        store.commit(&[write], deadline).await
    }
}

/// When the pass before this one started, if there was one.
pub async fn previous_start(store: &Store) -> Result<Option<Timestamp>, StoreError> {
    let name = name(store.database());
    let found = store.documents(vec![name.clone()], &["started_at"], Deadline::after(READ_BUDGET)).await?;
    Ok(found.get(&name).and_then(|document| document.fields.get("started_at")).and_then(time))
}

fn name(database: &Database) -> String {
    database.document(format_args!("ops/last_pulse"))
}
