//! All users, in the order of their ids, in one piece or as they are read.

use crate::model::ids::DocumentId;
use crate::model::selection::IdRange;
use crate::model::sync_state::PreviousState;
use crate::model::tenancy::{Findings, TenantLookup};
use crate::model::user::User;
use crate::pass::kept::user::{KeptPrimary, KeptUser, Tenants};
use crate::pass::user_record::{KeysAt, UserRecord};
use jiff::Timestamp;
use std::collections::HashSet;
use tokio::time::Instant;

/// The users of whom a loop knows.
#[derive(Debug)]
pub(super) struct Roll {
    /// When the pass was due that read them.
    pub(super) due: Instant,
    /// Until when it is known what changed, by Firestore's clock.
    pub(super) asked_until: Timestamp,
    /// One for each range that is, or was, read; each in order.
    runs: Vec<Vec<KeptUser>>,
    tenants: Tenants,
    /// Whether all users were read.
    is_whole: bool,
}

impl Roll {
    /// Nobody was read yet.
    pub(super) fn new(due: Instant, now: Timestamp) -> Self {
        Self { due, asked_until: now, runs: Vec::new(), tenants: Tenants::new(), is_whole: false }
    }

    /// Users of another range follow.
    pub(super) fn begin_range(&mut self) {
        self.runs.push(Vec::new());
    }

    /// Takes users who come after all others of the range. Whether they can be kept: not where it is unknown who of
    /// them is in trouble.
    pub(super) fn extend(&mut self, records: &[UserRecord]) -> bool {
        let Some(run) = self.runs.last_mut() else { return false };
        run.extend(records.iter().map(|record| KeptUser::of(record, &mut self.tenants)));
        records.iter().all(|record| record.previous != PreviousState::Unknown)
    }

    /// All users were read.
    pub(super) fn complete(&mut self) {
        self.runs.retain(|run| !run.is_empty());
        self.runs.sort_by(|one, other| one[0].id().cmp(other[0].id()));
        if self.runs.len() > 1 {
            self.runs = vec![self.runs.drain(..).flatten().collect()];
        }
        self.runs.resize_with(1, Vec::new);
        self.runs[0].shrink_to_fit();
        self.is_whole = true;
    }

    /// Whether all users were read.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// How many users were read.
    pub(super) fn len(&self) -> usize {
        self.runs.iter().map(Vec::len).sum()
    }

    /// So many of the users of a range who come after that one, or of all of the range.
    pub(super) fn page(&self, range: &IdRange, after: Option<&DocumentId>, most: usize) -> Vec<UserRecord> {
        let after = after.or(range.after.as_ref());
        let of_run = |run: &Vec<KeptUser>| {
            let first = after.map_or(0, |after| run.partition_point(|user| user.id() <= after));
            let users = run[first..].iter().take_while(|user| range.contains(user.id())).take(most);
            users.map(|user| user.record(&self.tenants)).collect()
        };
        self.runs.first().map(of_run).unwrap_or_default()
    }

    /// Those of these users of whom something else is known, or nothing.
    pub(super) fn other_than(&self, users: Vec<User>) -> Vec<DocumentId> {
        let kept = |id: &DocumentId| self.place(id).map(|(run, place)| &self.runs[run][place]);
        let is_known = |user: &User| kept(&user.id).is_some_and(|kept| kept.is_same(user));
        users.into_iter().filter(|user| !is_known(user)).map(|user| user.id).collect()
    }

    /// Takes in users who were read by their names.
    pub(super) fn fold(&mut self, records: &[UserRecord]) {
        let Self { runs, tenants, .. } = self;
        let Some(run) = runs.first_mut() else { return };
        let (mut gone, mut new) = (HashSet::new(), Vec::new());
        for record in records {
            let place = run.binary_search_by(|user| user.id().cmp(record.id()));
            match (place, &record.keys) {
                (Ok(_), KeysAt::NoSuchUser) => drop(gone.insert(record.id())),
                (Err(_), KeysAt::NoSuchUser) => {}
                (Ok(place), _) => run[place] = KeptUser::of(record, tenants),
                (Err(_), _) => new.push(KeptUser::of(record, tenants)),
            }
        }
        if !gone.is_empty() {
            run.retain(|user| !gone.contains(user.id()));
        }
        if !new.is_empty() {
            run.extend(new);
            // Two runs, which it merges.
            run.sort_by(|one, other| one.id().cmp(other.id()));
        }
    }

    /// A commit has written the user's snapshot, and the document of their tenant, if that is given.
    pub(super) fn note_written(&mut self, user: &DocumentId, primary: Option<KeptPrimary>) {
        let Some((run, place)) = self.place(user) else { return };
        let kept = &mut self.runs[run][place];
        kept.has_written();
        if primary.is_some() {
            kept.put(primary, &mut self.tenants);
        }
    }

    /// What decides about the document of the user's tenant was read.
    pub(super) fn note_lookup(&mut self, user: &DocumentId, lookup: &TenantLookup) {
        if let Some((run, place)) = self.place(user) {
            self.runs[run][place].learn(lookup, &mut self.tenants);
        }
    }

    /// What the user's tenant was asked besides came to that.
    pub(super) fn note_findings(&mut self, user: &DocumentId, found: Findings) {
        if let Some((run, place)) = self.place(user) {
            self.runs[run][place].has_found(found);
        }
    }

    /// In which of the runs, and where in it.
    fn place(&self, user: &DocumentId) -> Option<(usize, usize)> {
        let in_run = |run: &Vec<KeptUser>| run.binary_search_by(|kept| kept.id().cmp(user)).ok();
        self.runs.iter().enumerate().find_map(|(number, run)| Some((number, in_run(run)?)))
    }
}
