//! The users that a loop keeps from one pass to the next, so that most passes read nobody.
//!
//! They are read in pages every `--users-ttl`, and in between one query asks who has changed. What the loop writes itself
//! it notes: a tenant's document is written under the precondition that it is still the revision of the last commit, so
//! whatever is wrong here costs a conflict, after which all of it is read. Whoever has something written that is not
//! plainly a success, their trouble above all, is read by name in the next pass.

mod read;
mod roll;
mod user;

use crate::model::ids::DocumentId;
use crate::model::selection::{IdRange, Round};
use crate::model::tenancy::{Findings, Primary, TenantLookup};
use crate::model::user::User;
use crate::pass::kept::roll::Roll;
use crate::pass::kept::user::KeptPrimary;
use crate::pass::user_record::UserRecord;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::info;

/// How far behind Firestore's the clock of somebody may be who sets `keys_updated_at` by it.
const SLOW_CLOCKS: SignedDuration = SignedDuration::from_secs(60);

/// Users who are read by their names at once; for more, all are read.
const MOST_BY_NAME: usize = 1_000;

/// What is known, and what is to be asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// Who changed after that has to be asked.
    after: Timestamp,
    /// What is known of these is in doubt.
    doubted: BTreeSet<DocumentId>,
}

/// The users that a loop keeps.
#[derive(Debug)]
pub(crate) struct KeptUsers {
    ttl: Duration,
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    roll: Option<Roll>,
    doubted: BTreeSet<DocumentId>,
    /// There are more users than are kept.
    are_too_many: bool,
}

impl KeptUsers {
    /// Nobody yet; so many at most, for so long.
    #[must_use]
    pub(crate) fn new(ttl: Duration, most: usize) -> Self {
        Self { ttl, most, kept: Mutex::default() }
    }

    /// What is to be asked before the pass that is due then goes by what is kept; nothing where it cannot.
    fn question(&self, due: Instant) -> Option<Question> {
        let mut kept = self.lock();
        let (doubted, ttl) = (std::mem::take(&mut kept.doubted), self.ttl);
        let is_fresh = |roll: &&Roll| roll.is_whole() && due.saturating_duration_since(roll.due) < ttl;
        let roll = kept.roll.as_ref().filter(is_fresh).filter(|_| doubted.len() <= MOST_BY_NAME)?;
        let after = roll.asked_until.saturating_sub(SLOW_CLOCKS).unwrap_or(Timestamp::MIN);
        Some(Question { after, doubted })
    }

    /// All users are going to be read, from `now` on, of a pass that was due then. Whether they are to be kept.
    fn begin(&self, round: &Round, (due, now): (Instant, Timestamp)) -> bool {
        let mut kept = self.lock();
        let keeps = round.has_everybody() && !kept.are_too_many;
        // The old ones go first: there is not to be room for both.
        kept.roll = None;
        kept.roll = keeps.then(|| Roll::new(due, now));
        keeps
    }

    pub(super) fn begin_range(&self) {
        if let Some(roll) = &mut self.lock().roll {
            roll.begin_range();
        }
    }

    /// Keeps a page, before its users are synced.
    pub(super) fn extend(&self, page: &[UserRecord]) {
        let mut kept = self.lock();
        let Some(roll) = &mut kept.roll else { return };
        let are_known = roll.extend(page);
        let are_too_many = roll.len() > self.most;
        if are_too_many {
            kept.are_too_many = true;
            let most = self.most;
            info!("There are more than --kept-users {most}: all users are read in every pulse");
        }
        if are_too_many || !are_known {
            kept.roll = None;
        }
    }

    /// All users were read.
    pub(super) fn complete(&self) {
        if let Some(roll) = &mut self.lock().roll {
            roll.complete();
        }
    }

    /// Those of these who have changed.
    fn other_than(&self, users: Vec<User>) -> Vec<DocumentId> {
        self.lock().roll.as_ref().map(|roll| roll.other_than(users)).unwrap_or_default()
    }

    /// Takes in users who were read by name. What changed by then is known. Whether there is still room for all.
    fn fold(&self, records: &[UserRecord], until: Timestamp) -> bool {
        let mut kept = self.lock();
        let Some(roll) = &mut kept.roll else { return false };
        roll.fold(records);
        roll.asked_until = until;
        roll.len() <= self.most
    }

    /// Some users of a range, as they are kept.
    fn page(&self, range: &IdRange, after: Option<&DocumentId>, most: usize) -> Vec<UserRecord> {
        self.lock().roll.as_ref().map(|roll| roll.page(range, after, most)).unwrap_or_default()
    }

    /// What is known of the user may be wrong by now: the next pass reads it.
    pub(super) fn doubt(&self, user: &DocumentId) {
        let mut kept = self.lock();
        // One more than can be read by name is enough.
        if kept.doubted.len() <= MOST_BY_NAME {
            kept.doubted.insert(user.clone());
        }
    }

    /// A commit has written the user's snapshot, and the document of their tenant, if that is given.
    pub(super) fn note_written(&self, user: &DocumentId, primary: Option<&Primary>) {
        if let Some(roll) = &mut self.lock().roll {
            roll.note_written(user, primary.and_then(|primary| KeptPrimary::of(primary, user)));
        }
    }

    /// What decides about the document of the user's tenant was read.
    pub(super) fn note_lookup(&self, user: &DocumentId, lookup: &TenantLookup) {
        if let Some(roll) = &mut self.lock().roll {
            roll.note_lookup(user, lookup);
        }
    }

    /// What the user's tenant was asked besides came to that.
    pub(super) fn note_findings(&self, user: &DocumentId, found: Findings) {
        if let Some(roll) = &mut self.lock().roll {
            roll.note_findings(user, found);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Whatever panics while it is locked leaves users who are whole, and conflicts tell of the rest.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
