//! `users/{userId}/alpacaAccounts/sync`: recording what keeps users from being synced, when it happens and when the
//! pass closes.

use crate::documents::sync_state::sync_state_write;
use crate::firestore::StoreError;
use crate::firestore::write::Write;
use crate::limits::deadlines::RECORD_RESERVE;
use crate::limits::retry::Deadline;
use crate::model::ids::DocumentId;
use crate::model::past::{LastSuccess, Past};
use crate::model::sync_state::{SyncState, after_failure, after_named_failure};
use crate::pass::failure::Failure;
use crate::pass::memory::Memory;
use crate::pass::plan::OnFailure;
use crate::pass::user_record::UserRecord;
use crate::services::clients::Clients;
use crate::services::writer::Writer;
use crate::telemetry::Chain;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use std::collections::{HashMap, VecDeque};
use tracing::warn;

/// Commits of parts of a batch that is refused: enough to find a few records among many.
const MOST_SPLITS: usize = 128;

/// Commits of states at the same time, at the end of a pass.
const COMMITS_AT_ONCE: usize = 4;

/// Snapshots that are read at once, to learn when their users last succeeded.
const SNAPSHOTS_PER_READ: usize = 500;

/// A user's state, to be recorded.
pub(crate) type StateRecord = (DocumentId, SyncState);

/// Records states, and lets a loop know that it has to read them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorder<'a> {
    /// The services.
    pub(crate) clients: &'a Clients,
    /// What earlier passes of a loop left.
    pub(crate) memory: &'a Memory,
}

impl Recorder<'_> {
    /// Records a failure as soon as it has happened. Returns since when the user fails and when they last succeeded,
    /// if that is known: where no state tells it, the snapshot is read first, in a dry run too.
    pub(crate) async fn learn_past_and_record(
        &self,
        user: &UserRecord,
        failure: &Failure,
        on_failure: OnFailure,
        deadline: Deadline,
    ) -> Option<Past> {
        let clients = self.clients;
        let (now, previous) = (clients.store.clock().now(), &user.previous);
        let past = match previous.lacks_past() {
            // The record matters more, when there may be no time for both.
            true => read_past(clients, user, now, deadline.less(RECORD_RESERVE / 2)).await,
            false => previous.past(),
        };
        let (code, version) = (failure.code(), failure.key_version());
        let state = match on_failure {
            OnFailure::Record => after_failure(previous, past.as_ref(), code, version, now),
            OnFailure::RecordOwnRun => after_named_failure(previous, past.as_ref(), code, version, now),
            OnFailure::Forget => None,
        };
        if let Some(state) = state {
            self.record(&[(user.id().clone(), state)], deadline).await;
        }
        past
    }

    /// Records what was judged when the pass closed; nothing in a dry run. A state that somebody has written since the
    /// pass started is left alone: a person who synced the user by name knows more.
    pub(crate) async fn settle(&self, records: &[StateRecord], started_at: Timestamp, deadline: Deadline) {
        let clients = self.clients;
        if !clients.writer.commits() {
            return;
        }
        for some in records.chunks(clients.limits.writes_per_commit() * COMMITS_AT_ONCE) {
            let users = some.iter().map(|(user, _)| user);
            match clients.store.with_sync_states_after(started_at, users, deadline).await {
                Ok(touched) => {
                    let untouched: Vec<_> =
                        some.iter().filter(|(user, _)| !touched.contains(user)).cloned().collect();
                    touched.iter().for_each(|user| self.memory.doubt(user));
                    self.record(&untouched, deadline).await;
                }
                Err(err) => tell_unrecorded(some.len(), &err),
            }
        }
    }

    /// Records states, of many users in as few commits as Firestore takes. What cannot be recorded is
    /// logged and comes up again in the next pass.
    async fn record(&self, records: &[StateRecord], deadline: Deadline) {
        let clients = self.clients;
        // Whether or not each of them is written: the next pass of a loop reads it.
        records.iter().for_each(|(user, _)| self.memory.doubt(user));
        let writes = |batch: &[StateRecord]| -> Vec<Write> {
            batch
                .iter()
                .map(|(user, state)| sync_state_write(clients.store.database(), user, state))
                .collect()
        };
        let batches: Vec<_> = records.chunks(clients.limits.writes_per_commit()).map(writes).collect();
        let failed: Vec<_> = stream::iter(batches)
            .map(|writes| async move { commit_all_but_refused(&clients.writer, &writes, deadline).await })
            .buffer_unordered(COMMITS_AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await;
        if let Some((_, err)) = failed.first() {
            let users: usize = failed.iter().map(|(users, _)| users).sum();
            tell_unrecorded(users, err);
        }
    }
}

async fn read_past(clients: &Clients, user: &UserRecord, now: Timestamp, deadline: Deadline) -> Option<Past> {
    let mut read = last_successes(clients, std::slice::from_ref(user.id()), deadline).await;
    Some(user.previous.past_with(read.remove(user.id())?, now))
}

/// When these users last succeeded, as their snapshots tell it, with few calls. Those whose snapshots
/// cannot be read are left out, which is logged: their records are completed in a later pass.
pub(crate) async fn last_successes(
    clients: &Clients,
    users: &[DocumentId],
    deadline: Deadline,
) -> HashMap<DocumentId, Option<LastSuccess>> {
    let mut read = HashMap::new();
    for some in users.chunks(SNAPSHOTS_PER_READ) {
        match clients.store.last_successes(some, deadline).await {
            Ok(found) => read.extend(some.iter().cloned().zip(found)),
            Err(err) => {
                let users = some.len();
                warn!(
                    error = err.code().as_str(),
                    "Could not read when {users} users in trouble last succeeded: {}",
                    Chain(&err)
                );
            }
        }
    }
    read
}

/// Commits writes that have nothing to do with each other. A batch that is refused is split, so that a
/// document which cannot be written costs only itself. Returns how many were not written, and why.
pub(crate) async fn commit_all_but_refused(
    writer: &Writer,
    writes: &[Write],
    deadline: Deadline,
) -> Option<(usize, StoreError)> {
    // The largest first: what is left when the splits are used up is small.
    let (mut batches, mut splits) = (VecDeque::from([writes]), 0);
    let (mut unwritten, mut last) = (0, None);
    while let Some(batch) = batches.pop_front() {
        let Err(err) = writer.commit(batch, deadline).await else { continue };
        let worth_a_split = err.may_be_one_documents() && !deadline.is_over();
        if batch.len() > 1 && worth_a_split && splits < MOST_SPLITS {
            splits += 1;
            let (one, other) = batch.split_at(batch.len() / 2);
            batches.extend([one, other]);
        } else {
            unwritten += batch.len();
            last = Some(err);
        }
    }
    last.map(|err| (unwritten, err))
}

fn tell_unrecorded(users: usize, err: &StoreError) {
    warn!(error = err.code().as_str(), "Could not record the trouble of {users} users: {}", Chain(err));
}
