//! The documents by which the tasks of an execution, and executions among themselves, agree.

use crate::documents::last_pulse::last_synced_at;
use crate::execution::ledger::{KEPT_FOR, Ledger, SKIPPED_FOR, STATUS, TaskRecord, plan_value, task_field};
use crate::execution::shards::Shards;
use crate::firestore::values::{map, string, time, timestamp};
use crate::firestore::write::{FieldChange, Precondition, Write, merge_at};
use crate::firestore::{Found, Store, StoreError};
use crate::limits::retry::Deadline;
use crate::model::ids::{Database, DocumentId};
use crate::model::outcome::PassStatus;
use crate::telemetry::Chain;
use gcloud_sdk::google::firestore::v1::Document;
use gcloud_sdk::prost_types;
use jiff::Timestamp;
use tracing::error;

/// The field that says when a task last wrote the ledger.
const TOUCHED_AT: &str = "touched_at";

/// What is known when a task arrives.
#[derive(Debug)]
pub(crate) struct Look {
    /// By the server's clock, which all tasks share.
    pub(crate) now: Timestamp,
    /// The ledger of the task's own execution.
    pub(crate) own: Option<Ledger>,
    /// The execution that claimed last.
    pub(crate) current: Current,
    /// The execution that finished last.
    pub(crate) last: Last,
}

/// `ops/current_pulse`: the execution that claimed last. A claim replaces it only as it was read, so of two
/// that claim at once, one finds the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Current {
    /// Which it is.
    pub(crate) execution: Option<DocumentId>,
    version: Option<prost_types::Timestamp>,
}

/// What `ops/last_pulse` says of the execution that finished last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Last {
    /// Which it was.
    pub(crate) execution: Option<DocumentId>,
    /// When it started.
    pub(crate) started_at: Option<Timestamp>,
    /// When any execution last synced anybody.
    pub(crate) synced_at: Option<Timestamp>,
}

impl Store {
    /// Looks around, on arrival.
    pub(crate) async fn look(&self, execution: &DocumentId, deadline: Deadline) -> Result<Look, StoreError> {
        let database = self.database();
        let names = [last_pulse_name(database), current_name(database), ledger_name(database, execution)];
        let found = self.found(names.to_vec(), None, deadline).await?;
        let [last, current, own] = names.map(|name| found.documents.get(&name));
        let id = |document: Option<&Document>| {
            let id = document?.fields.get("execution").and_then(string)?;
            DocumentId::parse(id).ok()
        };
        Ok(Look {
            now: server_time(&found),
            own: own.and_then(|document| Ledger::from_fields(&document.fields)),
            current: Current {
                execution: id(current),
                version: current.and_then(|document| document.update_time),
            },
            last: Last {
                execution: id(last),
                started_at: last.and_then(|document| document.fields.get("started_at")).and_then(time),
                synced_at: last.and_then(|document| last_synced_at(&document.fields)),
            },
        })
    }

    /// The ledgers of those executions, in the same order.
    pub(crate) async fn ledgers<const N: usize>(
        &self,
        executions: [Option<&DocumentId>; N],
        deadline: Deadline,
    ) -> Result<[Option<Ledger>; N], StoreError> {
        let names = executions.map(|execution| execution.map(|id| ledger_name(self.database(), id)));
        let mut wanted: Vec<_> = names.iter().flatten().cloned().collect();
        wanted.dedup();
        let found = self.found(wanted, None, deadline).await?;
        Ok(names.map(|name| Ledger::from_fields(&found.documents.get(&name?)?.fields)))
    }

    /// Makes an execution the current one, with a new ledger unless it has one, and says what there is to
    /// say of a `dead` one that it takes over from. A conflict means that another task was faster.
    pub(crate) async fn claim(
        &self,
        execution: &DocumentId,
        new: Option<(&Shards, Timestamp)>,
        found: &Current,
        dead: Option<Write>,
        deadline: Deadline,
    ) -> Result<(), StoreError> {
        let name = ledger_name(self.database(), execution);
        let ledger = match new {
            Some((shards, now)) => {
                merge_at(&name, &new_ledger(shards, now), TOUCHED_AT, &Precondition::Absent)
            }
            None => merge_at(&name, &[], TOUCHED_AT, &Precondition::Unchanged(None)),
        };
        let demand = match &found.version {
            Some(version) => Precondition::Unchanged(Some(*version)),
            None => Precondition::Absent,
        };
        let current = [("execution", Some(execution.as_str().into()))];
        let current = merge_at(&current_name(self.database()), &current, "claimed_at", &demand);
        let claim = [ledger, current];
        let Some(dead) = dead else { return self.commit(&claim, deadline).await };
        match self.commit(&[&claim[..], &[dead]].concat(), deadline).await {
            Err(err) if err.may_be_one_documents() && !matches!(err, StoreError::Conflict(_)) => {
                // What is only for the dashboards must not keep the pulse from running.
                self.commit(&claim, deadline).await?;
                report_unpublished(&err);
                Ok(())
            }
            result => result,
        }
    }

    /// Records that an execution does not run, because `other` does. A conflict means that another of its
    /// tasks was faster, whatever it decided.
    pub(crate) async fn skip(
        &self,
        execution: &DocumentId,
        shards: &Shards,
        other: &DocumentId,
        now: Timestamp,
        deadline: Deadline,
    ) -> Result<(), StoreError> {
        let mut fields = new_ledger(shards, now);
        fields.push(("ended_at", Some(timestamp(now).into())));
        fields.push((SKIPPED_FOR, Some(other.as_str().into())));
        let name = ledger_name(self.database(), execution);
        self.commit(&[merge_at(&name, &fields, TOUCHED_AT, &Precondition::Absent)], deadline).await
    }
}

/// Says that the dashboards were not told.
pub(crate) fn report_unpublished(err: &StoreError) {
    error!(error = err.code().as_str(), "Could not write ops/last_pulse: {}", Chain(err));
}

fn new_ledger(shards: &Shards, now: Timestamp) -> Vec<FieldChange<'static>> {
    let expires_at = now.saturating_add(KEPT_FOR).unwrap_or(now);
    vec![
        ("plan", Some(plan_value(shards).into())),
        ("tasks", Some(map(Default::default()).into())),
        ("started_at", Some(timestamp(now).into())),
        ("expires_at", Some(timestamp(expires_at).into())),
    ]
}

/// The write that brings a task's record in the ledger up to date. Its ledger must exist: half a ledger
/// would be none.
#[must_use]
pub(crate) fn task_write(
    database: &Database,
    execution: &DocumentId,
    task: usize,
    record: &TaskRecord,
    end: ExecutionEnd,
) -> Write {
    let task = format!("tasks.{}", task_field(task));
    let mut changes = vec![(task.as_str(), Some(record.to_value().into()))];
    match end {
        ExecutionEnd::Open => changes.extend([("ended_at", None), (STATUS, None)]),
        ExecutionEnd::Unchanged => {}
        ExecutionEnd::At(time, status) => changes
            .extend([("ended_at", Some(timestamp(time).into())), (STATUS, Some(status.as_str().into()))]),
    }
    merge_at(&ledger_name(database, execution), &changes, TOUCHED_AT, &Precondition::Unchanged(None))
}

/// What a task's record says of the end of the whole execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExecutionEnd {
    /// It has not ended.
    Open,
    /// Nothing.
    Unchanged,
    /// This was its end, and what the pass was worth.
    At(Timestamp, PassStatus),
}

fn server_time(found: &Found) -> Timestamp {
    let time = found.read_at.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
    time.unwrap_or_else(Timestamp::now)
}

/// Full name of `ops/last_pulse`.
#[must_use]
pub(crate) fn last_pulse_name(database: &Database) -> String {
    database.document(format_args!("ops/last_pulse"))
}

fn current_name(database: &Database) -> String {
    database.document(format_args!("ops/current_pulse"))
}

fn ledger_name(database: &Database, execution: &DocumentId) -> String {
    database.document(format_args!("ops/last_pulse/executions/{}", execution.as_str()))
}
