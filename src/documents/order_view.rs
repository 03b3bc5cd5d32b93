//! What is read before an order may go out: the documents that a snapshot is judged by, all at one time, and the signals
//! that may be pending.

use crate::documents::last_pulse::last_pulse_name;
use crate::documents::reader::to_reader;
use crate::documents::snapshot::snapshot_name;
use crate::documents::sync_state::sync_state_name;
use crate::documents::user::user_name;
use crate::firestore::filter;
use crate::firestore::query::{Pages, Query};
use crate::firestore::values::text;
use crate::firestore::{Store, StoreError};
use crate::limits::retry::Deadline;
use crate::model::ids::{Database, DocumentId};
use account_reader::documents::signal::{
    ACTION, COLLECTION, EXECUTED, EXECUTING, EXPIRES_AT, NOTIONAL_USD, PROPOSED, PROPOSED_BY, STATUS,
};
use account_reader::{Documents, Fields, Lookup, Signal, Snapshot, Source};
use gcloud_sdk::google::firestore::v1::Document;
use jiff::Timestamp;
use std::time::Duration;

/// A person waits for it.
const PAGE_BUDGET: Duration = Duration::from_secs(20);

/// A signal as it was read.
#[derive(Debug)]
pub(crate) struct SignalView {
    id: String,
    fields: Fields,
    update_time: Option<Timestamp>,
}

impl SignalView {
    fn of(document: &Document) -> Self {
        let update_time = document.update_time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
        let id = DocumentId::of_existing(&document.name).as_str().to_owned();
        Self { id, fields: to_reader(&document.fields), update_time }
    }

    /// As the readers' rules take it.
    #[must_use]
    pub(crate) fn signal(&self) -> Signal<'_> {
        Signal { id: &self.id, fields: &self.fields, update_time: self.update_time }
    }
}

impl Store {
    /// A user's snapshot, with what speaks for and against it.
    pub(crate) async fn snapshot(
        &self,
        user: &DocumentId,
        deadline: Deadline,
    ) -> Result<Snapshot, StoreError> {
        let database = self.database();
        let names =
            [snapshot_name(database, user), sync_state_name(database, user), last_pulse_name(database)];
        let found = self.found(names.to_vec(), None, deadline).await?.documents;
        let fields = names.map(|name| found.get(&name).map(|document| to_reader(&document.fields)));
        let [snapshot, sync, last_pulse] = &fields;
        let documents = Documents {
            snapshot: snapshot.as_ref(),
            sync: sync.as_ref().map_or(Lookup::Absent, Lookup::Found),
            last_pulse: last_pulse.as_ref().map_or(Lookup::Absent, Lookup::Found),
        };
        Ok(Snapshot::read(Source::User(user.as_str().to_owned()), documents))
    }

    /// A user's signals that may be pending, as far as they can be told by their status.
    pub(crate) async fn pending_signals(&self, user: &DocumentId) -> Result<Vec<SignalView>, StoreError> {
        let mut pages = Pages::of_pending_signals(self.database(), user);
        let mut signals = Vec::new();
        while let Some(page) = pages.next(self).await? {
            signals.extend(page);
        }
        Ok(signals)
    }
}

impl Pages<SignalView> {
    fn of_pending_signals(database: &Database, user: &DocumentId) -> Self {
        let query = Query {
            collection: COLLECTION,
            is_group: false,
            filter: Some(filter::one_of(STATUS, [PROPOSED, EXECUTING, EXECUTED].map(text).to_vec())),
            fields: &[ACTION, STATUS, EXPIRES_AT, NOTIONAL_USD, PROPOSED_BY],
            after: None,
            until: None,
            is_empty: false,
        };
        let pages =
            Self::new(database, query, PAGE_BUDGET, Box::new(|document| Some(SignalView::of(&document))));
        pages.below(user_name(database, user))
    }
}
