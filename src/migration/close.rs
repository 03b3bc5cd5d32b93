//! The end of a migration: of keys in documents, and of the journal.

use crate::documents::migration::{Journal, StoredEntry, run_path};
use crate::firestore::StoreError;
use crate::firestore::reader::{Chunk, Collection, Reader};
use crate::firestore::values::{string, wire_time};
use crate::firestore::write::{Write, delete};
use crate::limits::retry::Deadline;
use crate::migration::apply::ApplyError;
use crate::migration::stored::Stored;
use crate::model::ids::{Database, DocumentId};
use crate::services::writer::Writer;
use crate::shutdown::Stop;
use account_reader::documents::snapshot::{self, KEY_VERSION};
use std::time::Duration;

/// For a commit, all tries together.
const COMMIT_BUDGET: Duration = Duration::from_secs(60);

/// Deletes what is left of the time before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closer<'a> {
    pub(crate) reader: &'a Reader,
    pub(crate) writer: &'a Writer,
    pub(crate) plan: &'a str,
    pub(crate) stop: &'a Stop,
}

impl Closer<'_> {
    /// Deletes a document; whether it is gone. Of keys there is no journal, and somebody else may have written it meanwhile.
    pub(crate) async fn delete(&self, document: &Stored) -> Result<bool, ApplyError> {
        let name = self.database().document(format_args!("{}", document.path));
        match self.commit(&[delete(&name, wire_time(document.updated_at))]).await {
            Ok(()) => Ok(true),
            Err(ApplyError::Store(StoreError::Conflict(_))) => {
                Ok(self.reader.found(&[name]).await?.documents.is_empty())
            }
            Err(err) => Err(err),
        }
    }

    /// Whether a pulse has synced the user with keys of Secret Manager.
    pub(crate) async fn is_synced(&self, user: &DocumentId) -> Result<bool, StoreError> {
        let Ok(path) = snapshot::path(user.as_str()) else { return Ok(false) };
        let name = self.database().document(format_args!("{path}"));
        let found = self.reader.found(&[name]).await?.documents;
        let version = found.values().next().and_then(|snapshot| snapshot.fields.get(KEY_VERSION));
        Ok(version.and_then(string).is_some())
    }

    /// Deletes a journal for good.
    pub(crate) async fn delete_journal(&self, journal: Journal) -> Result<(), ApplyError> {
        let parent = run_path(self.plan);
        let collection = Collection { parent: &parent, id: journal.id(), is_group: false, fields: None };
        loop {
            let Chunk { documents, is_last } = self.reader.chunk(&collection, None, None).await?;
            let entries: Vec<StoredEntry> = documents.into_iter().map(StoredEntry::of).collect();
            let names: Vec<String> = entries.iter().flat_map(StoredEntry::parts).collect();
            let parts = self.reader.found(&names).await?.documents;
            let writes = entries.iter().flat_map(|entry| {
                let own = entry.parts();
                entry.deletions(&own.iter().filter_map(|name| parts.get(name)).collect::<Vec<_>>())
            });
            match self.commit(&writes.collect::<Vec<Write>>()).await {
                // The answer to an earlier attempt was lost: what is left is read again.
                Err(ApplyError::Store(StoreError::Conflict(_))) => {}
                Err(err) => return Err(err),
                Ok(()) if is_last => return Ok(()),
                Ok(()) => {}
            }
        }
    }

    fn database(&self) -> &Database {
        self.reader.database()
    }

    async fn commit(&self, writes: &[Write]) -> Result<(), ApplyError> {
        if self.stop.signal().is_some() {
            return Err(ApplyError::Stopped);
        }
        if !writes.is_empty() {
            self.writer.commit(writes, Deadline::after(COMMIT_BUDGET).tried_to_the_end()).await?;
        }
        Ok(())
    }
}
