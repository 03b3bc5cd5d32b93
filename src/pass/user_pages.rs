//! The users of a pass, page by page, each with what has to be known before their journey.

use crate::config::filter::UserFilter;
use crate::documents::sync_state::sync_state_name;
use crate::documents::user::user_name;
use crate::firestore::query::Pages;
use crate::firestore::{Store, StoreError};
use crate::limits::retry::{Deadline, USER_BUDGET};
use crate::model::ids::DocumentId;
use crate::model::outcome::Code;
use crate::model::selection::Selection;
use crate::model::sync_state::{PreviousState, SyncState};
use crate::model::tenancy::TenantLookup;
use crate::model::user::User;
use crate::telemetry::Chain;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{error, warn};

type Sender = mpsc::Sender<Result<Vec<PageEntry>, Unreadable>>;

/// One user and what is known of them.
#[derive(Clone, Debug)]
pub(crate) struct UserRecord {
    /// The user document.
    pub(crate) user: User,
    /// What decides about the tenant's document, as far as it was read.
    pub(crate) facts: Option<PageLookup>,
    /// What kept the user from being synced before.
    pub(crate) history: PreviousState,
}

/// What decided about a tenant's document when the user's page was read.
#[derive(Clone, Debug)]
pub(crate) struct PageLookup {
    facts: TenantLookup,
    read_at: Instant,
}

/// A membership that was revoked must not count for long.
const FACTS_MAX_AGE: Duration = Duration::from_secs(30);

impl PageLookup {
    /// The facts, unless they are too old to decide with.
    #[must_use]
    pub(crate) fn fresh(&self) -> Option<&TenantLookup> {
        (self.read_at.elapsed() <= FACTS_MAX_AGE).then_some(&self.facts)
    }
}

/// Why not all users could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// Firestore did not give them.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A bug.
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

/// One entry of the roster.
#[derive(Clone, Debug)]
pub(crate) enum PageEntry {
    /// A user.
    UserRecord(Box<UserRecord>),
    /// A named user without a document.
    Missing(DocumentId),
}

/// Reads the roster.
#[derive(Debug)]
pub(crate) struct UserPages {
    store: Arc<Store>,
    filter: UserFilter,
    with_tenants: bool,
    now: Timestamp,
}

impl UserPages {
    /// A reader for a pass that started at `now`. What decides about tenants' documents is read
    /// only for a pass that writes them.
    #[must_use]
    pub(crate) fn new(store: &Arc<Store>, with_tenants: bool, now: Timestamp) -> Self {
        Self { store: Arc::clone(store), filter: UserFilter::default(), with_tenants, now }
    }

    /// Leaves out the users of a range whom the filter does not let through.
    #[must_use]
    pub(crate) fn only(self, filter: UserFilter) -> Self {
        Self { filter, ..self }
    }

    /// Reads in the background: one page waits while another is worked on, so that memory does not
    /// grow with the number of users. An error ends the roster.
    #[must_use]
    pub(crate) fn start(self, selection: Selection) -> mpsc::Receiver<Result<Vec<PageEntry>, Unreadable>> {
        let (pages, roster) = mpsc::channel(1);
        tokio::spawn(async move {
            let rooms = pages.clone();
            if let Some(err) = cut_short(async move { self.read(selection, &rooms).await }).await {
                // Nobody is left to tell when the receiver is gone.
                let _ = pages.send(Err(err)).await;
            }
        });
        roster
    }

    async fn read(&self, selection: Selection, pages: &Sender) -> Result<(), StoreError> {
        let range = match selection {
            Selection::Named(users) => {
                let page = self.named(&users).await?;
                let _ = pages.send(Ok(page)).await;
                return Ok(());
            }
            Selection::Range(range) => range,
        };
        let database = self.store.database();
        let mut users = Pages::of_users(database, &range, &self.filter);
        let mut trouble = TroubleFeed::new(Pages::of_sync_states(database, &range, self.now));
        // A page is read when there is room for it; without a receiver there never is.
        while let Ok(room) = pages.reserve().await {
            let (page, ()) = tokio::join!(users.next(&self.store), trouble.prefetch(&self.store));
            let Some(page) = page? else { break };
            let mut known = Vec::with_capacity(page.len());
            for user in page {
                let history = trouble.history(&user.id, &self.store).await;
                known.push((user, history));
            }
            room.send(Ok(self.with_facts(known).await));
        }
        Ok(())
    }

    async fn named(&self, ids: &[DocumentId]) -> Result<Vec<PageEntry>, StoreError> {
        let database = self.store.database();
        let names =
            ids.iter().flat_map(|id| [user_name(database, id), sync_state_name(database, id)]).collect();
        let fields: Vec<&str> = User::FIELDS.into_iter().chain(SyncState::FIELDS).collect();
        let found = self.store.documents(names, &fields, Deadline::after(USER_BUDGET)).await?;
        let mut members = Vec::new();
        let mut entries = Vec::new();
        for id in ids {
            let trouble = found.get(&sync_state_name(database, id));
            let trouble = trouble.and_then(|document| SyncState::from_fields(&document.fields, self.now));
            match found.get(&user_name(database, id)) {
                Some(document) => {
                    members.push((User::from_fields(id.clone(), &document.fields), history(trouble)));
                }
                None => entries.push(PageEntry::Missing(id.clone())),
            }
        }
        entries.extend(self.with_facts(members).await);
        Ok(entries)
    }

    /// Adds what decides about the tenants' documents, for the whole page from one request. Where that
    /// fails, each user's journey asks for itself: one user's `tenant_id` that Firestore refuses must
    /// not fail the others.
    async fn with_facts(&self, page: Vec<(User, PreviousState)>) -> Vec<PageEntry> {
        let read_at = Instant::now();
        let mut facts = self.facts(&page).await.into_iter();
        let member = |(user, history): (User, PreviousState)| {
            let facts = needs_facts(&user, &history).then(|| facts.next()).flatten();
            let facts = facts.map(|facts| PageLookup { facts, read_at });
            PageEntry::UserRecord(Box::new(UserRecord { user, facts, history }))
        };
        page.into_iter().map(member).collect()
    }

    async fn facts(&self, page: &[(User, PreviousState)]) -> Vec<TenantLookup> {
        if !self.with_tenants {
            return Vec::new();
        }
        let asked = page.iter().filter(|(user, history)| needs_facts(user, history));
        let questions: Vec<_> = asked.map(|(user, _)| (user.id.as_str(), &user.tenant)).collect();
        self.store.tenant_facts(&questions, Deadline::after(USER_BUDGET)).await.unwrap_or_else(|err| {
            let users = questions.len();
            warn!(
                error = err.code().as_str(),
                "Could not read the tenants of {users} users at once, so each is read alone: {}",
                Chain(&err)
            );
            Vec::new()
        })
    }
}

/// Whether the user will need them: nearly nobody who has to reconnect does, and the few who do ask for
/// themselves.
fn needs_facts(user: &User, history: &PreviousState) -> bool {
    user.is_synced() && !history.needs_reauth()
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

fn history(trouble: Option<SyncState>) -> PreviousState {
    trouble.map_or(PreviousState::Clean, PreviousState::Troubled)
}

/// The troubled users, read along with all users: both come in the order of their ids, so only the
/// part between two pages is ever held.
struct TroubleFeed {
    pages: Pages<(DocumentId, SyncState)>,
    ahead: VecDeque<(DocumentId, SyncState)>,
    state: Feed,
}

#[derive(PartialEq, Eq)]
enum Feed {
    Flowing,
    Ended,
    Broken,
}

impl TroubleFeed {
    fn new(pages: Pages<(DocumentId, SyncState)>) -> Self {
        Self { pages, ahead: VecDeque::new(), state: Feed::Flowing }
    }

    /// Makes sure that the next troubled user is known, if there is one.
    async fn prefetch(&mut self, store: &Store) {
        while self.ahead.is_empty() && self.state == Feed::Flowing {
            match self.pages.next(store).await {
                Ok(None) => self.state = Feed::Ended,
                Ok(Some(page)) => self.ahead.extend(page),
                Err(err) => {
                    self.state = Feed::Broken;
                    // Fresh money matters more than the trouble's record: the pass goes on without.
                    error!(
                        error = err.code().as_str(),
                        "Could not read who is in trouble, so alpacaAccounts/sync stays as it is in this pass: {}",
                        Chain(&err)
                    );
                }
            }
        }
    }

    /// The history of the next user. Must be asked in the order of the users' ids.
    async fn history(&mut self, user: &DocumentId, store: &Store) -> PreviousState {
        loop {
            self.prefetch(store).await;
            match self.ahead.front() {
                Some((troubled, _)) if troubled < user => {
                    // A record without a user: the account was deleted, its record was not.
                    self.ahead.pop_front();
                }
                Some((troubled, _)) if troubled == user => {
                    return history(self.ahead.pop_front().map(|(_, trouble)| trouble));
                }
                None if self.state == Feed::Broken => return PreviousState::Unknown,
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
