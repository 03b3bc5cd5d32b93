//! Reading a snapshot with what it is judged by.

use super::convert::fields;
use super::error::Error;
use crate::account::Source;
use crate::documents::{last_pulse, snapshot, sync};
use crate::snapshot::{Documents, Snapshot};
use crate::sync::Lookup;
use crate::value::{Fields, text};
use ::firestore::FirestoreDb;
use futures::{TryStreamExt, try_join};
use std::time::Duration;

/// How long one request may take; a client that was not told otherwise waits for ever.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How the `user_id` of an account begins that is of no user, and so has no sync document.
const LEGACY: &str = "legacy:";

/// Reads accounts. Cheap to clone; one for a program is enough.
///
/// ```no_run
/// # async fn show() -> Result<(), Box<dyn std::error::Error>> {
/// use account_reader::firestore::{Accounts, FirestoreDb};
/// use account_reader::{Verdict, decimal::plain, jiff::Timestamp};
///
/// let accounts = Accounts::new(&FirestoreDb::new("my-project").await?);
/// let snapshot = accounts.snapshot("ana").await?;
/// match snapshot.verdict(Timestamp::now()) {
///     Verdict::Fresh { account, .. } => println!("{} {}", plain(&account.figures.cash), account.currency),
///     other => println!("{}; sync: {}", other.as_str(), snapshot.sync().state.as_str()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Accounts {
    db: FirestoreDb,
}

impl Accounts {
    /// Reads with that client, and no longer than 10 s for each request.
    #[must_use]
    pub fn new(db: &FirestoreDb) -> Self {
        Self { db: limited(db) }
    }

    /// A user's snapshot, from `users/{user}/alpacaAccounts/snapshot`, with their `sync` and `ops/last_pulse`: three
    /// reads.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`] and [`Error::Firestore`]. A document that is not there is no error.
    pub async fn snapshot(&self, user: &str) -> Result<Snapshot, Error> {
        let paths = [snapshot::path(user)?, sync::path(user)?];
        let (documents, pulse) = try_join!(siblings(&self.db, paths), self.last_pulse())?;
        let [snapshot, sync] = documents;
        Ok(judged(Source::User(user.to_owned()), snapshot.as_ref(), lookup(sync.as_ref()), pulse.as_ref()))
    }

    /// A tenant's document, from `tenants/{tenant}/accounts/primary`, with the `sync` of the member whose figures they
    /// are and `ops/last_pulse`: three reads. Whose they are says [`crate::Account::user_id`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`] and [`Error::Firestore`]. A document that is not there is no error.
    pub async fn tenant_snapshot(&self, tenant: &str) -> Result<Snapshot, Error> {
        let [document] = siblings(&self.db, [snapshot::tenant_path(tenant)?]).await?;
        let (sync, pulse) = try_join!(self.sync_of_owner(document.as_ref()), self.last_pulse())?;
        let lookup = sync.as_ref().map_or(Lookup::Unread, |sync| lookup(sync.as_ref()));
        Ok(judged(Source::Tenant(tenant.to_owned()), document.as_ref(), lookup, pulse.as_ref()))
    }

    /// The snapshot of a deployment without users, from `alpacaAccounts/snapshot`, with `ops/last_pulse`: two reads.
    ///
    /// # Errors
    ///
    /// [`Error::Firestore`]. A document that is not there is no error.
    pub async fn legacy_snapshot(&self) -> Result<Snapshot, Error> {
        let path = snapshot::LEGACY_PATH.to_owned();
        let ([snapshot], pulse) = try_join!(siblings(&self.db, [path]), self.last_pulse())?;
        Ok(judged(Source::Legacy, snapshot.as_ref(), Lookup::Absent, pulse.as_ref()))
    }

    /// `None` where the document does not say whose it is.
    async fn sync_of_owner(&self, document: Option<&Fields>) -> Result<Option<Option<Fields>>, Error> {
        let owner = document.and_then(|fields| text(fields, snapshot::USER_ID));
        match owner.map(|owner| (owner.starts_with(LEGACY), sync::path(owner))) {
            Some((true, _)) => Ok(Some(None)),
            Some((false, Ok(path))) => siblings(&self.db, [path]).await.map(|[sync]| Some(sync)),
            Some((false, Err(_))) | None => Ok(None),
        }
    }

    async fn last_pulse(&self) -> Result<Option<Fields>, Error> {
        read_last_pulse(&self.db).await
    }
}

/// The client, with a limit on each request.
pub(super) fn limited(db: &FirestoreDb) -> FirestoreDb {
    db.clone_with_request_timeout(Some(REQUEST_TIMEOUT))
}

pub(super) async fn read_last_pulse(db: &FirestoreDb) -> Result<Option<Fields>, Error> {
    siblings(db, [last_pulse::PATH.to_owned()]).await.map(|[pulse]| pulse)
}

/// Documents of one collection, read at one time.
pub(super) async fn siblings<const N: usize>(
    db: &FirestoreDb,
    paths: [String; N],
) -> Result<[Option<Fields>; N], Error> {
    let places = paths.each_ref().map(|path| place(path));
    let ids = places.map(|(_, _, id)| id);
    let (parent, collection, _) = places[0];
    let parent = [db.get_documents_path(), parent].join("/");
    let parent = parent.trim_end_matches('/');
    let query = db.fluent().select().by_id_in(collection).parent(parent);
    let stream = query.batch_with_errors(ids).await?;
    let mut found: Vec<_> = stream.try_collect().await?;
    Ok(ids.map(|id| {
        let at = found.iter().position(|(name, _)| name == id)?;
        found.swap_remove(at).1.map(fields)
    }))
}

/// The path of the parent, which is empty for the root, the collection's id and the document's.
pub(super) fn place(path: &str) -> (&str, &str, &str) {
    let (above, id) = path.rsplit_once('/').unwrap_or_default();
    let (parent, collection) = above.rsplit_once('/').unwrap_or(("", above));
    (parent, collection, id)
}

pub(super) fn lookup(document: Option<&Fields>) -> Lookup<'_> {
    document.map_or(Lookup::Absent, Lookup::Found)
}

pub(super) fn judged(
    source: Source,
    snapshot: Option<&Fields>,
    sync: Lookup<'_>,
    last_pulse: Option<&Fields>,
) -> Snapshot {
    Snapshot::read(source, Documents { snapshot, sync, last_pulse: lookup(last_pulse) })
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn a_path_is_taken_apart() {
        assert_eq!(place("ops/last_pulse"), ("", "ops", "last_pulse"));
        assert_eq!(place("users/a/alpacaAccounts/sync"), ("users/a", "alpacaAccounts", "sync"));
    }
}
