//! Undoing what the journal has, as long as nobody else has changed it since.

use crate::documents::migration::{Entry, Journal, StoredEntry, Undo, run_path};
use crate::firestore::StoreError;
use crate::firestore::reader::{Chunk, Collection, Reader};
use crate::firestore::write::Write;
use crate::limits::retry::Deadline;
use crate::migration::apply::{ApplyError, undoing};
use crate::services::writer::Writer;
use crate::shutdown::Stop;
use gcloud_sdk::google::firestore::v1::Document;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// For a commit, all tries together.
const COMMIT_BUDGET: Duration = Duration::from_secs(60);

/// Entries of one commit.
const COMMIT_ENTRIES: usize = 100;

/// Bytes of one commit. Firestore takes 10 MiB.
const COMMIT_BYTES: usize = 4 << 20;

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UndoOutcome {
    /// Its change is undone.
    Done,
    /// Its target was changed since, and is left as it is.
    Changed,
    /// Its legacy document is gone: what was made of it may be all that is left.
    SourceGone,
    /// It cannot be read.
    Unreadable,
    /// It is of a secret, and is left to whoever has Secret Manager.
    Secret,
}

/// A secret's entry.
#[derive(Debug)]
pub(crate) struct SecretEntry {
    /// The document that the keys are from.
    pub(crate) source: String,
    /// The entry's full name.
    pub(crate) entry: String,
}

/// Undoes a journal.
#[derive(Debug)]
pub(crate) struct Undoer<'a> {
    pub(crate) reader: &'a Reader,
    pub(crate) writer: &'a Writer,
    pub(crate) plan: &'a str,
    pub(crate) journal: Journal,
    pub(crate) stop: &'a Stop,
}

/// An entry with the writes that undo it and take it from the journal.
struct Planned {
    /// The entry's full name.
    entry: String,
    target: String,
    writes: Vec<Write>,
    bytes: usize,
}

impl Undoer<'_> {
    /// Undoes all entries, and tells `each` what became of them, by their targets' paths.
    pub(crate) async fn undo(&self, mut each: impl FnMut(&str, UndoOutcome)) -> Result<(), ApplyError> {
        self.walk(async |entries| self.undo_chunk(entries, &mut each).await).await
    }

    /// Gives all entries of secrets to `each`.
    pub(crate) async fn secrets(
        &self,
        mut each: impl AsyncFnMut(SecretEntry) -> Result<(), ApplyError>,
    ) -> Result<(), ApplyError> {
        self.walk(async |entries| {
            for stored in entries {
                let Some(Entry { source, undo: Undo::DisableSecret, .. }) = stored.entry(&[]) else {
                    continue;
                };
                if self.stop.signal().is_some() {
                    return Err(ApplyError::Stopped);
                }
                each(SecretEntry { source, entry: stored.name().to_owned() }).await?;
            }
            Ok(())
        })
        .await
    }

    async fn walk(
        &self,
        mut each: impl AsyncFnMut(Vec<StoredEntry>) -> Result<(), ApplyError>,
    ) -> Result<(), ApplyError> {
        let parent = run_path(self.plan);
        let collection = Collection { parent: &parent, id: self.journal.id(), is_group: false, fields: None };
        let mut after: Option<String> = None;
        loop {
            let Chunk { documents, is_last } = self.reader.chunk(&collection, after.as_deref(), None).await?;
            after = documents.last().map(|document| document.name.clone()).or(after);
            each(documents.into_iter().map(StoredEntry::of).collect()).await?;
            if is_last {
                return Ok(());
            }
        }
    }

    async fn undo_chunk(
        &self,
        entries: Vec<StoredEntry>,
        each: &mut impl FnMut(&str, UndoOutcome),
    ) -> Result<(), ApplyError> {
        let found = self.targets_and_parts(&entries).await?;
        let sources: Vec<String> =
            entries.iter().filter_map(|entry| Some(self.name(entry.source_of_new()?))).collect();
        let sources = self.reader.existing(&sources).await?;
        let mut batch: Vec<Planned> = Vec::new();
        for stored in &entries {
            match self.planned(stored, (&found, &sources)) {
                Ok(planned) => {
                    let bytes = batch.iter().map(|planned| planned.bytes).sum::<usize>() + planned.bytes;
                    if batch.len() == COMMIT_ENTRIES || bytes > COMMIT_BYTES {
                        self.commit(std::mem::take(&mut batch), each).await?;
                    }
                    batch.push(planned);
                }
                Err(outcome) => each(stored.target().unwrap_or_default(), outcome),
            }
        }
        self.commit(batch, each).await
    }

    /// By their full names.
    async fn targets_and_parts(
        &self,
        entries: &[StoredEntry],
    ) -> Result<HashMap<String, Document>, StoreError> {
        let targets = entries.iter().filter_map(|entry| Some(self.name(entry.target()?)));
        let names: Vec<String> = targets.chain(entries.iter().flat_map(StoredEntry::parts)).collect();
        Ok(self.reader.found(&names).await?.documents)
    }

    fn name(&self, path: &str) -> String {
        self.reader.database().document(format_args!("{path}"))
    }

    fn planned(
        &self,
        stored: &StoredEntry,
        (found, sources): (&HashMap<String, Document>, &HashSet<String>),
    ) -> Result<Planned, UndoOutcome> {
        let parts = stored.parts();
        let parts: Vec<&Document> = parts.iter().filter_map(|name| found.get(name)).collect();
        let entry = stored.entry(&parts).ok_or(UndoOutcome::Unreadable)?;
        if entry.undo == Undo::DisableSecret {
            return Err(UndoOutcome::Secret);
        }
        let target = found.get(&self.name(&entry.target)).map(|target| target.update_time);
        let was_removed = matches!(entry.undo, Undo::Recreate(_));
        let is_as_applied = match target {
            None => was_removed,
            Some(version) => !was_removed && version == stored.version(),
        };
        if !is_as_applied {
            return Err(UndoOutcome::Changed);
        }
        if stored.source_of_new().is_some_and(|source| !sources.contains(&self.name(source))) {
            return Err(UndoOutcome::SourceGone);
        }
        let undoing =
            undoing(self.reader.database(), &entry, stored.version()).ok_or(UndoOutcome::Unreadable)?;
        let writes: Vec<Write> = std::iter::once(undoing).chain(stored.deletions(&parts)).collect();
        let bytes = writes.iter().map(|write| write.as_bytes().len()).sum();
        Ok(Planned { entry: stored.name().to_owned(), target: entry.target, writes, bytes })
    }

    /// Commits them together, or one by one where one of them stands in the way of the others.
    async fn commit(
        &self,
        batch: Vec<Planned>,
        each: &mut impl FnMut(&str, UndoOutcome),
    ) -> Result<(), ApplyError> {
        if batch.is_empty() {
            return Ok(());
        }
        if self.stop.signal().is_some() {
            return Err(ApplyError::Stopped);
        }
        let writes: Vec<Write> = batch.iter().flat_map(|planned| planned.writes.clone()).collect();
        match self.writer.commit(&writes, Deadline::after(COMMIT_BUDGET).tried_to_the_end()).await {
            Ok(()) => batch.iter().for_each(|planned| each(&planned.target, UndoOutcome::Done)),
            Err(err) if !err.may_be_one_documents() => return Err(err.into()),
            Err(_) => {
                for planned in &batch {
                    each(&planned.target, self.alone(planned).await?);
                }
            }
        }
        Ok(())
    }

    /// What becomes of an entry by itself. When the answer to an earlier commit was lost, it is gone by now.
    async fn alone(&self, planned: &Planned) -> Result<UndoOutcome, ApplyError> {
        match self.writer.commit(&planned.writes, Deadline::after(COMMIT_BUDGET).tried_to_the_end()).await {
            Ok(()) => Ok(UndoOutcome::Done),
            Err(err) if err.may_be_one_documents() => {
                let found = self.reader.found(std::slice::from_ref(&planned.entry)).await?;
                Ok(if found.documents.is_empty() { UndoOutcome::Done } else { UndoOutcome::Changed })
            }
            Err(err) => Err(err.into()),
        }
    }
}
