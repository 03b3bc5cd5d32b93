//! Making the changes, each in one commit with its entry in the journal.

use crate::documents::migration::{Entry, Journal, Undo};
use crate::firestore::StoreError;
use crate::firestore::values::wire_time;
use crate::firestore::write::{Precondition, Write, delete, merge_at_all, put};
use crate::limits::retry::Deadline;
use crate::migration::diff::{Action, Change};
use crate::migration::load::{Judged, Loader};
use crate::migration::reason::Class;
use crate::migration::stored::Stored;
use crate::model::ids::Database;
use crate::services::writer::Writer;
use crate::shutdown::Stop;
use gcloud_sdk::prost_types::Timestamp;
use std::time::Duration;

/// For a commit, all tries together.
const COMMIT_BUDGET: Duration = Duration::from_secs(60);

/// Bytes of one commit. Firestore takes 10 MiB.
const COMMIT_BYTES: usize = 4 << 20;

/// Changes of one commit: one that is refused is tried again in halves.
const COMMIT_CHANGES: usize = 100;

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was made.
    Moved,
    /// Its legacy document was written after the plan.
    Late,
    /// Its documents were changed by somebody else at the same time.
    Changed,
    /// Firestore does not take it.
    Refused,
}

/// What was told to stop, or had to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// By a signal.
    #[error("told to stop")]
    Stopped,
    /// What it has made is being undone by a rollback.
    #[error("a rollback of the same plan has begun")]
    RolledBack,
}

/// Makes the changes of one plan.
#[derive(Debug)]
pub(crate) struct Applier<'a> {
    pub(crate) loader: &'a Loader<'a>,
    pub(crate) writer: &'a Writer,
    pub(crate) database: &'a Database,
    /// The plan's id.
    pub(crate) plan: &'a str,
    /// What was written later is left.
    pub(crate) planned_at: jiff::Timestamp,
    pub(crate) stop: &'a Stop,
}

/// One change with its writes.
struct Planned {
    judged: Judged,
    writes: Vec<Write>,
    bytes: usize,
    /// Whether it deletes the legacy document.
    is_deletion: bool,
}

impl Planned {
    fn new(judged: Judged, writes: Vec<Write>, is_deletion: bool) -> Self {
        let bytes = writes.iter().map(|write| write.as_bytes().len()).sum();
        Self { judged, writes, bytes, is_deletion }
    }
}

impl Applier<'_> {
    /// Makes the changes of a chunk, and tells `each` what became of them.
    pub(crate) async fn apply(
        &self,
        chunk: Vec<Judged>,
        each: &mut impl FnMut(&Judged, Outcome),
    ) -> Result<(), ApplyError> {
        let mut batch = Vec::new();
        for judged in chunk {
            let Some(change) = &judged.diff.change else { continue };
            if judged.document.updated_at > self.planned_at {
                each(&judged, Outcome::Late);
                continue;
            }
            let writes = writes(self.database, self.plan, &judged.document, change);
            batch.push(Planned::new(judged, writes, false));
        }
        self.commit_all(batch, each).await
    }

    /// Deletes the legacy documents themselves. The journal keeps them.
    pub(crate) async fn delete(
        &self,
        legacy: Vec<Judged>,
        each: &mut impl FnMut(&Judged, Outcome),
    ) -> Result<(), ApplyError> {
        let planned = |judged: Judged| {
            let writes = deletion(self.database, self.plan, &judged.document);
            Planned::new(judged, writes, true)
        };
        self.commit_all(legacy.into_iter().map(planned).collect(), each).await
    }

    async fn commit_all(
        &self,
        changes: Vec<Planned>,
        each: &mut impl FnMut(&Judged, Outcome),
    ) -> Result<(), ApplyError> {
        for batch in batches(changes) {
            self.commit(batch, each).await?;
        }
        Ok(())
    }

    /// Commits the changes together, or in halves where one of them stands in the way of the others.
    async fn commit(
        &self,
        batch: Vec<Planned>,
        each: &mut impl FnMut(&Judged, Outcome),
    ) -> Result<(), ApplyError> {
        let mut waiting = vec![batch];
        while let Some(mut batch) = waiting.pop() {
            if self.stop.signal().is_some() {
                return Err(ApplyError::Stopped);
            }
            let writes: Vec<Write> = batch.iter().flat_map(|planned| planned.writes.clone()).collect();
            let committed =
                self.writer.commit(&writes, Deadline::after(COMMIT_BUDGET).tried_to_the_end()).await;
            match committed {
                Ok(()) => batch.iter().for_each(|planned| each(&planned.judged, Outcome::Moved)),
                Err(err) if !err.may_be_one_documents() => return Err(err.into()),
                Err(_) if batch.len() > 1 => {
                    let second = batch.split_off(batch.len() / 2);
                    waiting.extend([second, batch]);
                }
                Err(err) => {
                    for planned in &batch {
                        let outcome = self.alone(planned, &err).await?;
                        each(&planned.judged, outcome);
                    }
                }
            }
        }
        Ok(())
    }

    /// What became of a change that was refused by itself: its answer may have been lost, and then it was made.
    async fn alone(&self, planned: &Planned, err: &StoreError) -> Result<Outcome, ApplyError> {
        if !matches!(err, StoreError::Conflict(_)) {
            return Ok(Outcome::Refused);
        }
        let path = planned.judged.document.path.as_str();
        let is_made = match planned.is_deletion {
            true => !self.loader.exists(path).await?,
            false => self.loader.judge_again(path).await?.is_none_or(|now| now.diff.class() == Class::Same),
        };
        Ok(if is_made { Outcome::Moved } else { Outcome::Changed })
    }
}

/// The changes in commits that Firestore takes.
fn batches(changes: Vec<Planned>) -> Vec<Vec<Planned>> {
    let mut batches: Vec<Vec<Planned>> = Vec::new();
    let mut bytes = 0;
    for change in changes {
        bytes += change.bytes;
        match batches.last_mut().filter(|batch| batch.len() < COMMIT_CHANGES && bytes <= COMMIT_BYTES) {
            Some(batch) => batch.push(change),
            None => {
                bytes = change.bytes;
                batches.push(vec![change]);
            }
        }
    }
    batches
}

/// The write of a change, and those of its entry.
fn writes(database: &Database, plan: &str, source: &Stored, change: &Change) -> Vec<Write> {
    let name = database.document(format_args!("{}", change.target));
    let version = wire_time(source.updated_at);
    let (write, undo) = match &change.action {
        Action::Create(fields) => (put(&name, fields, &Precondition::Absent), Undo::Delete),
        Action::Set(field, value) => {
            let unchanged = Precondition::Unchanged(Some(version));
            let write = merge_at_all(&name, &[(field, Some(value.as_str().into()))], &[], &unchanged);
            (write, Undo::RestoreField((*field).to_owned(), source.fields.get(*field).cloned()))
        }
        Action::Remove => (delete(&name, version), Undo::Recreate(source.fields.clone())),
    };
    let entry = Entry { source: source.path.clone(), target: change.target.clone(), undo };
    std::iter::once(write).chain(entry.to_writes(database, plan, Journal::Applied)).collect()
}

/// The deletion of a legacy document, and the writes of its entry.
fn deletion(database: &Database, plan: &str, source: &Stored) -> Vec<Write> {
    let name = database.document(format_args!("{}", source.path));
    let entry = Entry {
        source: source.path.clone(),
        target: source.path.clone(),
        undo: Undo::Recreate(source.fields.clone()),
    };
    let delete = delete(&name, wire_time(source.updated_at));
    std::iter::once(delete).chain(entry.to_writes(database, plan, Journal::Cleaned)).collect()
}

/// The write that undoes an entry, as long as its target is what the change made of it.
#[must_use]
pub(super) fn undoing(database: &Database, entry: &Entry, version: Option<Timestamp>) -> Option<Write> {
    let name = database.document(format_args!("{}", entry.target));
    match &entry.undo {
        Undo::Delete => Some(delete(&name, version?)),
        Undo::RestoreField(field, before) => {
            let before = before.clone().map(Into::into);
            Some(merge_at_all(&name, &[(field, before)], &[], &Precondition::Unchanged(version)))
        }
        Undo::Recreate(fields) => Some(put(&name, fields, &Precondition::Absent)),
        Undo::DisableSecret => None,
    }
}
