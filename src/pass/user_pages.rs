//! The users of a pass, page by page, each with what has to be known before it is decided what is done for them.

use crate::config::choices::TenantPath;
use crate::config::filter::UserFilter;
use crate::firestore::query::Pages;
use crate::firestore::{Store, StoreError};
use crate::limits::deadlines::USER_BUDGET;
use crate::limits::retry::Deadline;
use crate::model::ids::DocumentId;
use crate::model::outcome::Code;
use crate::model::recheck::{Recheck, RecheckSchedule, recheck};
use crate::model::selection::{IdRange, Round, Selection};
use crate::model::sync_state::{PreviousState, SyncState};
use crate::model::tenancy::TenantLookup;
use crate::pass::kept::KeptUsers;
use crate::pass::left_overs::LeftOvers;
use crate::pass::memory::Memory;
use crate::pass::user_record::{PageLookup, UserRecord};
use crate::services::clients::Clients;
use crate::telemetry::Chain;
use futures::{Stream, StreamExt, stream};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{error, warn};

pub(super) type Sender = mpsc::Sender<Result<Vec<UserRecord>, Unreadable>>;

/// Why not all users could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// Firestore did not give them.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A bug: the task that reads them panicked.
    #[error("the task that reads them panicked")]
    Panicked,
}

impl Unreadable {
    /// The code that logs use for it.
    #[must_use]
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Store(err) => err.code(),
            Self::Panicked => Code::Internal,
        }
    }
}

/// The users of a pass, who are read in the background.
#[derive(Debug)]
pub(crate) struct UserPages {
    pages: mpsc::Receiver<Result<Vec<UserRecord>, Unreadable>>,
    /// Why there are no more of them, where it is not that all were read.
    pub(crate) unreadable: Option<Unreadable>,
}

impl UserPages {
    /// Starts to read: one page waits while another is worked on, so that memory does not grow with the number of
    /// users. An error ends the pages.
    #[must_use]
    pub(crate) fn start(reader: PageReader, selection: Selection) -> Self {
        let (sender, pages) = mpsc::channel(1);
        tokio::spawn(async move {
            let room = sender.clone();
            if let Some(err) = cut_short(async move { reader.read(selection, &room).await }).await {
                // Nobody is left to tell when the receiver is gone.
                let _ = sender.send(Err(err)).await;
            }
        });
        Self { pages, unreadable: None }
    }

    /// The users, one after the other.
    pub(crate) fn users(&mut self) -> impl Stream<Item = UserRecord> {
        let Self { pages, unreadable } = self;
        stream::unfold(pages, async |pages| Some((pages.recv().await?, pages)))
            .filter_map(|page| std::future::ready(page.map_err(|err| *unreadable = Some(err)).ok()))
            .flat_map(stream::iter)
    }
}

/// Reads the users of a pass.
#[derive(Debug)]
pub(crate) struct PageReader {
    /// The database that they are read from.
    pub(crate) store: Arc<Store>,
    /// Have the keys of users, who may be found to be gone.
    pub(crate) clients: Arc<Clients>,
    /// Leaves out the users of a range whom it does not let through.
    pub(crate) filter: UserFilter,
    /// For whom to read what decides about tenants' documents: for whom they are written.
    pub(crate) tenant_path: TenantPath,
    /// When secrets are looked at; when the pass started.
    pub(crate) schedule: RecheckSchedule,
    /// Learns whose records have no user.
    pub(crate) left_overs: Arc<LeftOvers>,
    /// Has the users that a loop keeps.
    pub(crate) memory: Arc<Memory>,
    /// When the pass was due.
    pub(crate) due: Instant,
}

impl PageReader {
    async fn read(&self, selection: Selection, pages: &Sender) -> Result<(), StoreError> {
        match selection {
            Selection::Named(users) => {
                let page = self.named(&users).await?;
                let _ = pages.send(Ok(page)).await;
            }
            Selection::Round(round) => self.read_round(&round, pages).await?,
        }
        Ok(())
    }

    /// All users of a round, who may be kept.
    pub(super) async fn read_ranges(
        &self,
        round: &Round,
        pages: &Sender,
        kept: Option<&KeptUsers>,
    ) -> Result<(), StoreError> {
        for range in round.ranges() {
            if let Some(kept) = kept {
                kept.begin_range();
            }
            if !self.read_range(range, pages, kept).await? {
                return Ok(());
            }
        }
        if let Some(kept) = kept {
            kept.complete();
        }
        Ok(())
    }

    /// Whether it came to the end, and not only to that of the pass.
    async fn read_range(
        &self,
        range: &IdRange,
        pages: &Sender,
        kept: Option<&KeptUsers>,
    ) -> Result<bool, StoreError> {
        let database = self.store.database();
        let mut users = Pages::of_users(database, range, &self.filter);
        let mut states =
            StateFeed::new(Pages::of_sync_states(database, range, self.schedule.now), &self.left_overs);
        // A page is read when there is room for it; without a receiver there never is.
        while let Ok(room) = pages.reserve().await {
            let (page, ()) = tokio::join!(users.next(&self.store), states.prefetch(&self.store));
            let Some(page) = page? else {
                states.note_rest(&self.store).await;
                return Ok(true);
            };
            let mut known = Vec::with_capacity(page.len());
            for user in page {
                let previous = states.previous(&user.id, &self.store).await;
                known.push(UserRecord::read(user, previous));
            }
            let page = self.with_lookups(known).await;
            if let Some(kept) = kept {
                self.memory.keep(kept, &page);
            }
            room.send(Ok(page));
        }
        Ok(false)
    }

    /// Those users, whoever of them exists.
    pub(super) async fn named(&self, ids: &[DocumentId]) -> Result<Vec<UserRecord>, StoreError> {
        let users = self.store.named_users(ids, Deadline::after(USER_BUDGET)).await?;
        let (mut missing, mut known) = (Vec::new(), Vec::new());
        for (id, (user, state)) in ids.iter().zip(users) {
            match user {
                Some(user) => known.push(UserRecord::read(user, previous(state))),
                None => missing.push(UserRecord::missing(id.clone())),
            }
        }
        missing.extend(self.with_lookups(known).await);
        Ok(missing)
    }

    /// Adds what decides about the tenants' documents, for the whole page from one request. Where that
    /// fails, it is read in each user's own sync: one user's `tenant_id` that Firestore refuses must
    /// not fail the others.
    async fn with_lookups(&self, mut page: Vec<UserRecord>) -> Vec<UserRecord> {
        let read_at = Instant::now();
        let lookups = self.lookups(&page).await;
        let asked = page.iter_mut().filter(|record| self.needs_lookup(record));
        for (record, lookup) in asked.zip(lookups) {
            record.lookup = Some(PageLookup::read(lookup, read_at));
        }
        page
    }

    async fn lookups(&self, page: &[UserRecord]) -> Vec<TenantLookup> {
        let asked = page.iter().filter(|record| self.needs_lookup(record));
        let questions: Vec<_> = asked.map(|record| (record.id().as_str(), &record.user.tenant)).collect();
        if questions.is_empty() {
            return Vec::new();
        }
        self.store.tenant_lookups(&questions, Deadline::after(USER_BUDGET)).await.unwrap_or_else(|err| {
            let users = questions.len();
            warn!(
                error = err.code().as_str(),
                "Could not read the tenants of {users} users at once, so each is read alone: {}",
                Chain(&err)
            );
            Vec::new()
        })
    }

    /// Whether the user will need a tenant lookup: nearly nobody who has to reconnect does, nor does who is left alone for
    /// want of keys. For the few who do, it is read in their own sync.
    fn needs_lookup(&self, record: &UserRecord) -> bool {
        let UserRecord { user, previous, .. } = record;
        let waits_for_keys = || recheck(previous, user, &self.schedule) == Recheck::WaitForKeys;
        let may_write = user.is_synced() && self.tenant_path.covers(&user.tenant);
        may_write && !previous.needs_reauth() && !waits_for_keys()
    }
}

/// What ended the reading before its end. A panic counts: it must not look like the end of the users.
async fn cut_short(
    reading: impl Future<Output = Result<(), StoreError>> + Send + 'static,
) -> Option<Unreadable> {
    match tokio::spawn(reading).await {
        Ok(Ok(())) => None,
        Ok(Err(err)) => Some(err.into()),
        Err(_) => Some(Unreadable::Panicked),
    }
}

fn previous(state: Option<SyncState>) -> PreviousState {
    state.map_or(PreviousState::Clean, PreviousState::Troubled)
}

/// The states of users in trouble, read along with all users: both come in the order of their ids, so only
/// those between two pages are ever held.
struct StateFeed {
    pages: Pages<(DocumentId, SyncState)>,
    ahead: VecDeque<(DocumentId, SyncState)>,
    end: Feed,
    left_overs: Arc<LeftOvers>,
}

#[derive(PartialEq, Eq)]
enum Feed {
    Flowing,
    Ended,
    Broken,
}

impl StateFeed {
    fn new(pages: Pages<(DocumentId, SyncState)>, left_overs: &Arc<LeftOvers>) -> Self {
        Self { pages, ahead: VecDeque::new(), end: Feed::Flowing, left_overs: Arc::clone(left_overs) }
    }

    /// Makes sure that the next troubled user is known, if there is one.
    async fn prefetch(&mut self, store: &Store) {
        while self.ahead.is_empty() && self.end == Feed::Flowing {
            match self.pages.next(store).await {
                Ok(None) => self.end = Feed::Ended,
                Ok(Some(page)) => self.ahead.extend(page),
                Err(err) => {
                    self.end = Feed::Broken;
                    // Fresh money matters more than these records: the pass goes on without.
                    error!(
                        error = err.code().as_str(),
                        "Could not read who is in trouble, so alpacaAccounts/sync stays as it is in this pass: {}",
                        Chain(&err)
                    );
                }
            }
        }
    }

    /// Notes the next record as one without a user. Whether there is room for another.
    fn note_next(&mut self) -> bool {
        self.ahead.pop_front().is_some_and(|(user, _)| self.left_overs.note(user))
    }

    /// All users were read: what is left of the records belongs to nobody. No more of it is read than can be noted.
    async fn note_rest(&mut self, store: &Store) {
        loop {
            self.prefetch(store).await;
            if !self.note_next() {
                return;
            }
        }
    }

    /// The state of the next user. Must be asked in the order of the users' ids.
    async fn previous(&mut self, user: &DocumentId, store: &Store) -> PreviousState {
        loop {
            self.prefetch(store).await;
            match self.ahead.front() {
                Some((troubled, _)) if troubled < user => {
                    // A record without a user: the account was deleted, its record was not.
                    self.note_next();
                }
                Some((troubled, _)) if troubled == user => {
                    return previous(self.ahead.pop_front().map(|(_, state)| state));
                }
                None if self.end == Feed::Broken => return PreviousState::Unknown,
                Some(_) | None => return PreviousState::Clean,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_while_reading_is_not_the_end_of_the_users() {
        assert!(matches!(cut_short(async { panic!("a bug") }).await, Some(Unreadable::Panicked)));
        assert!(matches!(cut_short(async { Err(StoreError::Timeout) }).await, Some(Unreadable::Store(_))));
        assert!(cut_short(async { Ok(()) }).await.is_none());
    }
}
