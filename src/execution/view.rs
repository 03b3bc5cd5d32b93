//! What a task sees on arrival: who has the pulse, who had it last, and what its own execution has recorded.

use crate::documents::current_pulse::{CurrentPulse, current_pulse_name};
use crate::documents::last_pulse::{LastExecution, last_pulse_name};
use crate::documents::ledger::ledger_name;
use crate::firestore::{Found, Store, StoreError};
use crate::limits::retry::Deadline;
use crate::model::ids::DocumentId;
use crate::model::ledger::Ledger;
use jiff::Timestamp;

/// The documents as they are when a task arrives.
#[derive(Debug)]
pub(super) struct LedgerView {
    /// By the server's clock, which all tasks share.
    pub(super) now: Timestamp,
    /// The ledger of the task's own execution.
    pub(super) own: Option<Ledger>,
    /// The execution that claimed last.
    pub(super) current: CurrentPulse,
    /// The execution that finished last.
    pub(super) last: LastExecution,
}

impl LedgerView {
    /// Reads all of it at one moment.
    pub(super) async fn read(
        store: &Store,
        execution: &DocumentId,
        deadline: Deadline,
    ) -> Result<Self, StoreError> {
        let database = store.database();
        let names =
            [last_pulse_name(database), current_pulse_name(database), ledger_name(database, execution)];
        let found = store.found(names.to_vec(), None, deadline).await?;
        let [last, current, own] = names.map(|name| found.documents.get(&name));
        Ok(Self {
            now: server_time(&found),
            own: own.and_then(|document| Ledger::from_fields(&document.fields)),
            current: CurrentPulse::of(current),
            last: LastExecution::of(last),
        })
    }
}

fn server_time(found: &Found) -> Timestamp {
    let time = found.read_at.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
    time.unwrap_or_else(Timestamp::now)
}
