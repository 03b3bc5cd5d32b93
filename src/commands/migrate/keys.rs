//! Keys: from documents to Secret Manager, once Alpaca took them. They go nowhere else.

use crate::commands::keys::store::Shelf;
use crate::documents::legacy::{Legacy, NoKeys, has_keys, key_collection, keys_of};
use crate::documents::migration::{Entry, Journal, StoredEntry, Undo};
use crate::firestore::StoreError;
use crate::firestore::reader::{Chunk, Reader};
use crate::limits::deadlines::USER_BUDGET;
use crate::limits::retry::Deadline;
use crate::migration::apply::ApplyError;
use crate::migration::rollback::SecretEntry;
use crate::migration::stored::Stored;
use crate::model::ids::{DocumentId, UserId};
use crate::model::typed_keys::TypedKeys;
use crate::services::alpaca::{Alpaca, AlpacaError};
use crate::services::secret_changes::{SecretChangeError, VersionInfo, VersionState, secret_of};
use crate::services::secret_manager::SecretManager;
use crate::services::writer::Writer;
use crate::shutdown::Stop;
use futures::stream::{self, StreamExt, TryStreamExt};
use std::collections::BTreeMap;

/// Users whose keys are tried at the same time.
const AT_ONCE: usize = 8;

/// What became of a document with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum KeysOutcome {
    /// They are in Secret Manager now.
    Moved,
    /// They are not there yet.
    NotThere,
    /// They were there.
    Same,
    /// There are none.
    Absent,
    /// The secret has other keys.
    OtherKeys,
    /// They are not what keys are, or their user can have no secret.
    Malformed,
    /// No document says that there is such a user.
    UserUnknown,
    /// Alpaca does not take them.
    Rejected,
    /// Alpaca or Secret Manager could not be asked.
    Unknown,
}

impl KeysOutcome {
    /// The word of JSON.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Moved => "keys_moved",
            Self::NotThere => "keys_not_there",
            Self::Same => "keys_same",
            Self::Absent => "keys_absent",
            Self::OtherKeys => "other_keys",
            Self::Malformed => "keys_malformed",
            Self::UserUnknown => "user_unknown",
            Self::Rejected => "keys_rejected",
            Self::Unknown => "not_asked",
        }
    }

    /// Whether the operator may do without those keys: nobody could move them as they are. What could be moved, or of
    /// which that is not known, is never given up.
    pub(super) fn may_be_given_up(self) -> bool {
        match self {
            Self::OtherKeys | Self::Malformed | Self::UserUnknown | Self::Rejected => true,
            Self::Moved | Self::NotThere | Self::Same | Self::Absent | Self::Unknown => false,
        }
    }
}

/// Looks whether keys are in Secret Manager. There is no way from it to a change.
pub(super) struct KeyLook<'a> {
    pub(super) reader: &'a Reader,
    pub(super) secrets: &'a SecretManager,
    /// Tries keys that are in no secret, if they are to be tried.
    pub(super) alpaca: Option<&'a Alpaca>,
}

/// Moves keys.
pub(super) struct KeyMove<'a> {
    /// It tries them.
    pub(super) look: KeyLook<'a>,
    pub(super) writer: &'a Writer,
    pub(super) plan: &'a str,
    pub(super) stop: &'a Stop,
}

/// The documents of one user.
pub(super) type OfUser = (DocumentId, Vec<Stored>);

impl KeyLook<'_> {
    /// The documents with keys behind the last one, by their users; nothing when there are no more.
    pub(super) async fn chunk(&self, after: &mut Option<String>) -> Result<(Vec<OfUser>, bool), StoreError> {
        let Chunk { documents, is_last } =
            self.reader.chunk(&key_collection(), after.as_deref(), None).await?;
        *after = documents.last().map(|document| document.name.clone()).or(after.take());
        let names: Vec<String> = documents.into_iter().map(|document| document.name).collect();
        let whole = self.reader.found(&names).await?.documents;
        let mut of_users: BTreeMap<String, Vec<Stored>> = BTreeMap::new();
        for document in whole.into_values().filter_map(Stored::of) {
            if let Some(Legacy::Keys(user)) = Legacy::at(&document.path) {
                of_users.entry(user.as_str().to_owned()).or_default().push(document);
            }
        }
        let by_path = |(user, mut documents): (String, Vec<Stored>)| {
            // A user's own before those below their tenants.
            documents.sort_unstable_by(|one, other| other.path.cmp(&one.path));
            (DocumentId::of_existing(&user), documents)
        };
        Ok((of_users.into_iter().map(by_path).collect(), is_last))
    }

    /// How all documents with keys stand.
    pub(super) async fn all(&self, mut each: impl FnMut(&str, KeysOutcome)) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let (of_users, is_last) = self.chunk(&mut after).await?;
            let looked = stream::iter(&of_users).map(async |(user, documents)| {
                let mut found = Vec::new();
                for document in documents {
                    found.push((&document.path, self.standing(user, document).await?));
                }
                Ok::<_, StoreError>(found)
            });
            let mut looked = looked.buffer_unordered(AT_ONCE);
            while let Some(found) = looked.try_next().await? {
                found.into_iter().for_each(|(path, outcome)| each(path, outcome));
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// How the keys of a document stand.
    pub(super) async fn standing(
        &self,
        id: &DocumentId,
        document: &Stored,
    ) -> Result<KeysOutcome, StoreError> {
        let (user, typed) = match readable(id, document) {
            Ok(readable) => readable,
            Err(outcome) => return Ok(outcome),
        };
        match self.compare(&user, &typed).await {
            KeysOutcome::NotThere if !self.exists(id).await? => Ok(KeysOutcome::UserUnknown),
            KeysOutcome::NotThere => Ok(self.tried(&typed).await),
            outcome => Ok(outcome),
        }
    }

    /// What Alpaca says of keys that are in no secret.
    async fn tried(&self, typed: &TypedKeys) -> KeysOutcome {
        let Some(alpaca) = self.alpaca else { return KeysOutcome::NotThere };
        match alpaca.account(&typed.keys, Deadline::after(USER_BUDGET)).await {
            Ok(_) | Err(AlpacaError::Incomplete(_)) => KeysOutcome::NotThere,
            Err(AlpacaError::Rejected { .. }) => KeysOutcome::Rejected,
            Err(_) => KeysOutcome::Unknown,
        }
    }

    /// How the newest version of the user's secret stands to these keys. One that nobody can read keeps none away: a
    /// rollback disables what it has to.
    async fn compare(&self, user: &UserId, typed: &TypedKeys) -> KeysOutcome {
        let (database, deadline) = (self.reader.database(), Deadline::after(USER_BUDGET));
        let versions = match self.secrets.versions(database, user, deadline).await {
            Ok(versions) => versions,
            Err(SecretChangeError::Missing) => return KeysOutcome::NotThere,
            Err(_) => return KeysOutcome::Unknown,
        };
        let version = match versions.first() {
            Some(VersionInfo { version, state: VersionState::Enabled, .. }) => version,
            Some(_) | None => return KeysOutcome::NotThere,
        };
        match self.secrets.holds(database, (user, version), &typed.payload, deadline).await {
            Ok(true) => KeysOutcome::Same,
            Ok(false) => KeysOutcome::OtherKeys,
            Err(_) => KeysOutcome::Unknown,
        }
    }

    async fn exists(&self, user: &DocumentId) -> Result<bool, StoreError> {
        let name = self.reader.database().document(format_args!("users/{}", user.as_str()));
        Ok(!self.reader.found(&[name]).await?.documents.is_empty())
    }
}

/// The keys in a document, and the user who can have a secret.
fn readable(user: &DocumentId, document: &Stored) -> Result<(UserId, TypedKeys), KeysOutcome> {
    let typed = keys_of(&document.fields).map_err(|none| match none {
        NoKeys::Absent => KeysOutcome::Absent,
        NoKeys::Malformed(_) | NoKeys::TooMany => KeysOutcome::Malformed,
    })?;
    Ok((UserId::parse(user.as_str()).map_err(|_| KeysOutcome::Malformed)?, typed))
}

impl KeyMove<'_> {
    /// Moves all keys, and tells `each` what became of them, by their documents' paths.
    pub(super) async fn all(&self, mut each: impl FnMut(&str, KeysOutcome)) -> Result<(), ApplyError> {
        let mut after = None;
        loop {
            let (of_users, is_last) = self.look.chunk(&mut after).await?;
            let moves = stream::iter(of_users).map(|(user, documents)| self.of_user(user, documents));
            let mut moved = moves.buffer_unordered(AT_ONCE);
            while let Some(outcomes) = moved.try_next().await? {
                outcomes.iter().for_each(|(path, outcome)| each(path, *outcome));
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// One document after the other: they have the same secret.
    async fn of_user(
        &self,
        user: DocumentId,
        documents: Vec<Stored>,
    ) -> Result<Vec<(String, KeysOutcome)>, ApplyError> {
        let mut outcomes = Vec::new();
        for document in documents {
            if self.stop.signal().is_some() {
                return Err(ApplyError::Stopped);
            }
            let outcome = self.of_document(&user, &document).await?;
            outcomes.push((document.path, outcome));
        }
        Ok(outcomes)
    }

    async fn of_document(&self, id: &DocumentId, document: &Stored) -> Result<KeysOutcome, ApplyError> {
        match self.look.standing(id, document).await? {
            KeysOutcome::NotThere => {}
            outcome => return Ok(outcome),
        }
        let (user, typed) = match readable(id, document) {
            Ok(readable) => readable,
            Err(outcome) => return Ok(outcome),
        };
        self.store(&user, document, &typed).await
    }

    /// The entry first: whatever happens then, a rollback knows of the secret. The user's own document is not marked:
    /// what it had before could not be given back, and a pulse finds the secret without.
    async fn store(
        &self,
        user: &UserId,
        document: &Stored,
        typed: &TypedKeys,
    ) -> Result<KeysOutcome, ApplyError> {
        let database = self.look.reader.database();
        let target = format!("projects/{}/secrets/{}", database.project, secret_of(user));
        let entry = Entry { source: document.path.clone(), target, undo: Undo::DisableSecret };
        let writes = entry.to_writes(database, self.plan, Journal::Applied);
        self.writer.commit(&writes, Deadline::after(USER_BUDGET)).await?;
        let shelf = Shelf { secrets: self.look.secrets, database, user };
        if shelf.put(&typed.payload).await.is_err() {
            return Ok(KeysOutcome::Unknown);
        }
        Ok(KeysOutcome::Moved)
    }
}

/// Disables what was stored, and takes the entry from the journal; whether nobody has stored other keys since.
pub(super) async fn take_back(
    look: &KeyLook<'_>,
    writer: &Writer,
    SecretEntry { source, entry }: &SecretEntry,
) -> Result<bool, ApplyError> {
    if !disable(look, source).await.unwrap_or(false) {
        return Ok(false);
    }
    let found = look.reader.found(std::slice::from_ref(entry)).await?.documents;
    for document in found.into_values() {
        let deletions = StoredEntry::of(document).deletions(&[]);
        match writer.commit(&deletions, Deadline::after(USER_BUDGET)).await {
            // The answer to an earlier attempt was lost; what is left of it the next rollback takes.
            Ok(()) | Err(StoreError::Conflict(_)) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(true)
}

/// Disables the versions that have the keys of that document; whether there was none with others.
async fn disable(look: &KeyLook<'_>, source: &str) -> Result<bool, SecretChangeError> {
    let database = look.reader.database();
    let name = database.document(format_args!("{source}"));
    let Ok(found) = look.reader.found(&[name]).await else { return Ok(false) };
    let document = found.documents.into_values().next().and_then(Stored::of);
    let (Some(document), Some(Legacy::Keys(id))) = (document, Legacy::at(source)) else { return Ok(false) };
    if !has_keys(&document.fields) {
        return Ok(false);
    }
    let Ok((user, typed)) = readable(&id, &document) else { return Ok(false) };
    let deadline = Deadline::after(USER_BUDGET);
    let versions = match look.secrets.versions(database, &user, deadline).await {
        // Nothing was stored before it was stopped.
        Err(SecretChangeError::Missing) => return Ok(true),
        other => other?,
    };
    for VersionInfo { version, state, .. } in &versions {
        if *state != VersionState::Enabled {
            continue;
        }
        if !look.secrets.holds(database, (&user, version), &typed.payload, deadline).await? {
            return Ok(false);
        }
        look.secrets.disable_version(database, &user, version, deadline).await?;
    }
    Ok(true)
}
