//! Users page by page with all that is known of them, so that memory does not grow with their number.

use crate::config::filter::UserFilter;
use crate::documents::pulse_view::PulseView;
use crate::documents::reader::UserView;
use crate::firestore::query::Pages;
use crate::firestore::{Store, StoreError};
use crate::limits::retry::Deadline;
use crate::model::ids::DocumentId;
use crate::model::selection::IdRange;
use crate::model::sync_state::SyncState;
use crate::model::user::User;
use account_reader::Lookup;
use std::collections::VecDeque;
use std::time::Duration;

/// For the snapshots of one page, all tries together.
const PAGE_BUDGET: Duration = Duration::from_secs(60);

/// A document of each user, and their snapshot.
const READS_A_USER: u64 = 2;

/// Whose turn it is.
pub(crate) struct UserList<'a> {
    store: &'a Store,
    last_pulse: Lookup<'a>,
    states: Pages<(DocumentId, SyncState)>,
    /// Read already, of users who come later.
    ahead: VecDeque<(DocumentId, SyncState)>,
    /// `None` for those in trouble alone.
    everybody: Option<Pages<User>>,
}

impl<'a> UserList<'a> {
    /// Those in trouble, or everybody. Which documents there are, and what a reader makes of them, depends on the pulse.
    #[must_use]
    pub(crate) fn new(store: &'a Store, pulse: Option<&'a PulseView>, is_of_everybody: bool) -> Self {
        let (database, range) = (store.database(), IdRange::default());
        let everybody = || Pages::of_users(database, &range, &UserFilter::default());
        Self {
            store,
            last_pulse: pulse.map_or(Lookup::Absent, |pulse| Lookup::Found(&pulse.fields)),
            states: Pages::of_sync_states(database, &range, store.clock().now()),
            ahead: VecDeque::new(),
            everybody: is_of_everybody.then(everybody),
        }
    }

    /// What reading everybody will cost, before it is begun; nothing for those in trouble alone, who are few.
    pub(crate) async fn foreseen(&self) -> Result<Option<Foreseen>, StoreError> {
        let Some(everybody) = &self.everybody else { return Ok(None) };
        let deadline = Deadline::after(PAGE_BUDGET);
        let users = everybody.count(self.store, deadline).await?;
        let troubled = self.states.count(self.store, deadline).await?;
        Ok(Some(Foreseen { users, reads: users * READS_A_USER + troubled }))
    }

    /// The next users; `None` when there are no more.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<UserView>>, StoreError> {
        let known = match &mut self.everybody {
            None => self.states.next(self.store).await?.map(alone),
            Some(everybody) => match everybody.next(self.store).await? {
                Some(users) => Some(self.with_states(users).await?),
                None => None,
            },
        };
        let Some(known) = known else { return Ok(None) };
        let views = self.store.views(known, self.last_pulse, Deadline::after(PAGE_BUDGET)).await?;
        // A record without a user is a left-over, which the next pass removes.
        Ok(Some(views.into_iter().filter(|view| view.user.is_some()).collect()))
    }

    async fn with_states(&mut self, users: Vec<User>) -> Result<Vec<Known>, StoreError> {
        let mut known = Vec::with_capacity(users.len());
        for user in users {
            let state = self.state_of(&user.id).await?;
            known.push((user.id.clone(), Some(user), state));
        }
        Ok(known)
    }

    /// Must be asked in the order of the users' ids.
    async fn state_of(&mut self, user: &DocumentId) -> Result<Option<SyncState>, StoreError> {
        loop {
            match self.ahead.pop_front() {
                Some((id, _)) if id < *user => {}
                Some((id, state)) if id == *user => return Ok(Some(state)),
                Some(later) => {
                    self.ahead.push_front(later);
                    return Ok(None);
                }
                None => match self.states.next(self.store).await? {
                    Some(page) => self.ahead.extend(page),
                    None => return Ok(None),
                },
            }
        }
    }
}

type Known = (DocumentId, Option<User>, Option<SyncState>);

fn alone(states: Vec<(DocumentId, SyncState)>) -> Vec<Known> {
    states.into_iter().map(|(id, state)| (id, None, Some(state))).collect()
}

/// What there is to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Foreseen {
    pub(crate) users: u64,
    pub(crate) reads: u64,
}
