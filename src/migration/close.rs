//! The end of a migration: keys in documents, of users who are synced from Secret Manager by now, and the journal.

use crate::documents::legacy::{Legacy, has_keys};
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
use futures::stream::{self, StreamExt, TryStreamExt};
use std::time::Duration;

/// For a commit, all tries together.
const COMMIT_BUDGET: Duration = Duration::from_secs(60);

/// Documents with keys that are looked at, and deleted, at the same time.
const AT_ONCE: usize = 8;

/// Deletes what is left of the time before.
#[derive(Debug)]
pub(crate) struct Closer<'a> {
    pub(crate) reader: &'a Reader,
    pub(crate) writer: &'a Writer,
    pub(crate) plan: &'a str,
    /// Whether keys are deleted that nobody has moved.
    pub(crate) is_given_up: bool,
    pub(crate) stop: &'a Stop,
}

impl Closer<'_> {
    /// Deletes the documents with keys, as far as they are no longer needed, and tells `each` of which paths are gone.
    /// The others are left because no pulse has synced the user with the secret. Of these there is no journal.
    pub(crate) async fn delete_keys(
        &self,
        collection: &Collection<'_>,
        mut each: impl FnMut(&str, bool),
    ) -> Result<(), ApplyError> {
        let mut after: Option<String> = None;
        loop {
            let Chunk { documents, is_last } = self.reader.chunk(collection, after.as_deref(), None).await?;
            after = documents.last().map(|document| document.name.clone()).or(after);
            let with_keys = documents.into_iter().filter_map(Stored::of).filter_map(|document| {
                let Some(Legacy::Keys(user)) = Legacy::at(&document.path) else { return None };
                Some((user, document))
            });
            let deleting = stream::iter(with_keys).map(async |(user, document)| {
                let is_useless = self.is_useless(&user, &document.path).await?;
                let is_gone = is_useless && self.delete(&document).await?;
                Ok::<_, ApplyError>((document.path, is_gone))
            });
            let mut deleting = deleting.buffer_unordered(AT_ONCE);
            while let Some((path, is_gone)) = deleting.try_next().await? {
                each(&path, is_gone);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn is_useless(&self, user: &DocumentId, path: &str) -> Result<bool, StoreError> {
        Ok(self.is_given_up || self.is_synced(user.as_str()).await? || self.is_hollow(path).await?)
    }

    /// Whether there are no keys in it.
    async fn is_hollow(&self, path: &str) -> Result<bool, StoreError> {
        let name = self.database().document(format_args!("{path}"));
        let found = self.reader.found(&[name]).await?.documents;
        Ok(found.values().all(|document| !has_keys(&document.fields)))
    }

    /// Whether it is gone; somebody else may have written it meanwhile.
    async fn delete(&self, document: &Stored) -> Result<bool, ApplyError> {
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
    async fn is_synced(&self, user: &str) -> Result<bool, StoreError> {
        let Ok(path) = snapshot::path(user) else { return Ok(false) };
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
            self.writer.commit(writes, Deadline::after(COMMIT_BUDGET)).await?;
        }
        Ok(())
    }
}
