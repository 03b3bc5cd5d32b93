//! Queries in pages by document name, each page resumed where it broke.

use super::{Store, StoreError, in_time};
use crate::config::filter::UserFilter;
use crate::firestore::values::{array, reference, text, whole_number};
use crate::limits::retry::{Deadline, with_retries};
use crate::model::ids::{Database, DocumentId, TenantId};
use crate::model::selection::IdRange;
use crate::model::sync_state::{State, SyncState};
use crate::model::user::User;
use futures::FutureExt;
use gcloud_sdk::GoogleAuthMiddleware;
use gcloud_sdk::google::firestore::v1::firestore_client::FirestoreClient;
use gcloud_sdk::google::firestore::v1::run_aggregation_query_request::QueryType as AggregationType;
use gcloud_sdk::google::firestore::v1::run_query_request::QueryType;
use gcloud_sdk::google::firestore::v1::structured_aggregation_query::aggregation::{
    Count, Operator as Measure,
};
use gcloud_sdk::google::firestore::v1::structured_aggregation_query::{Aggregation, QueryType as Counted};
use gcloud_sdk::google::firestore::v1::structured_query::{
    CollectionSelector, Direction, FieldFilter, FieldReference, Filter, Order, Projection,
    field_filter::Operator, filter::FilterType,
};
use gcloud_sdk::google::firestore::v1::{
    Cursor, Document, RunAggregationQueryRequest, RunQueryRequest, StructuredAggregationQuery,
    StructuredQuery,
};
use gcloud_sdk::tonic::Status;
use jiff::Timestamp;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Documents of one page.
const PAGE_SIZE: usize = 500;

/// Documents that are counted at the price of one read.
pub(crate) const COUNTED_PER_READ: u64 = 1000;

/// What the count is called in the answer.
const COUNT: &str = "count";

/// Without the users there is no pass, so a page of them may take long.
const USER_PAGE_BUDGET: Duration = Duration::from_secs(60);

/// Everybody waits for the trouble, and the pass can do without.
const TROUBLE_PAGE_BUDGET: Duration = Duration::from_secs(14);

/// A query that is read page by page, in the order of the documents' names.
///
/// Each document is reduced to what is needed of it as it arrives: users write theirs, and may write
/// up to 1 MiB into a field that the job reads.
pub(crate) struct Pages<T> {
    parent: String,
    collection: CollectionSelector,
    filter: Option<Filter>,
    fields: &'static [&'static str],
    reduce: Box<dyn Fn(Document) -> Option<T> + Send + Sync>,
    /// For one page, all tries together.
    budget: Duration,
    after: Option<String>,
    until: Option<String>,
    exhausted: bool,
    broken: Option<StoreError>,
}

impl Pages<User> {
    /// The users of a range that a filter lets through.
    #[must_use]
    pub(crate) fn of_users(database: &Database, range: &IdRange, filter: &UserFilter) -> Self {
        let name = |id: &DocumentId| user_name(database, id);
        Self {
            parent: format!("{}/documents", database.name()),
            collection: CollectionSelector { collection_id: "users".into(), all_descendants: false },
            filter: filter.to_query(),
            fields: &User::FIELDS,
            reduce: Box::new(|document| {
                Some(User::from_fields(DocumentId::of_existing(&document.name), &document.fields))
            }),
            budget: USER_PAGE_BUDGET,
            after: range.after.as_ref().map(name),
            until: range.until.as_ref().map(name),
            exhausted: range.is_empty(),
            broken: None,
        }
    }

    /// How many users there are, without reading them: billed as one read for each
    /// [`COUNTED_PER_READ`] of them.
    pub(crate) async fn count(&self, store: &Store, deadline: Deadline) -> Result<u64, StoreError> {
        let query = StructuredQuery { limit: None, select: None, ..self.query(&Page::new()) };
        let mut clients = store.clients();
        let ask = || self.ask_for_count(clients(), query.clone(), deadline).map(|count| store.heed(count));
        let counted = with_retries(deadline, ask).await?;
        store.usage.firestore_reads.add(counted.div_ceil(COUNTED_PER_READ).max(1));
        Ok(counted)
    }

    async fn ask_for_count(
        &self,
        mut client: FirestoreClient<GoogleAuthMiddleware>,
        query: StructuredQuery,
        deadline: Deadline,
    ) -> Result<u64, StoreError> {
        let count = Aggregation { alias: COUNT.into(), operator: Some(Measure::Count(Count::default())) };
        let counting = StructuredAggregationQuery {
            aggregations: vec![count],
            query_type: Some(Counted::StructuredQuery(query)),
        };
        let request = RunAggregationQueryRequest {
            parent: self.parent.clone(),
            query_type: Some(AggregationType::StructuredAggregationQuery(counting)),
            ..RunAggregationQueryRequest::default()
        };
        let asking = async {
            // One answer, which takes as long as the counting does.
            let mut answers = client.run_aggregation_query(request).await?.into_inner();
            let result = answers.message().await?.and_then(|answer| answer.result).unwrap_or_default();
            let count = result.aggregate_fields.get(COUNT).and_then(whole_number);
            let count = count.and_then(|count| u64::try_from(count).ok());
            count.ok_or_else(|| Status::unknown("the answer has no count").into())
        };
        tokio::time::timeout(deadline.left(), asking).await.unwrap_or(Err(StoreError::Timeout))
    }
}

impl Pages<(DocumentId, SyncState)> {
    /// The troubled users of a range: one query over all users' `alpacaAccounts`, in the users' order.
    #[must_use]
    pub(crate) fn of_trouble(database: &Database, range: &IdRange, now: Timestamp) -> Self {
        let name = |id: &DocumentId| trouble_name(database, id);
        let states = State::IN_TROUBLE.map(|state| text(state.as_str()));
        let filter = FieldFilter {
            field: Some(field("state")),
            op: Operator::In.into(),
            value: Some(array(states.to_vec())),
        };
        let of = database.clone();
        Self {
            parent: format!("{}/documents", database.name()),
            collection: CollectionSelector { collection_id: "alpacaAccounts".into(), all_descendants: true },
            filter: Some(Filter { filter_type: Some(FilterType::FieldFilter(filter)) }),
            fields: &SyncState::FIELDS,
            reduce: Box::new(move |document| {
                let user = user_of_trouble(&of, &document.name)?;
                Some((user, SyncState::from_fields(&document.fields, now)?))
            }),
            budget: TROUBLE_PAGE_BUDGET,
            after: range.after.as_ref().map(name),
            until: range.until.as_ref().map(name),
            exhausted: range.is_empty(),
            broken: None,
        }
    }
}

impl<T> Pages<T> {
    /// The next part of the result; `None` when there is no more.
    ///
    /// A page that breaks keeps what has arrived and goes on after it, so that no document is read
    /// twice, and is given up only when nothing arrives any more. What had arrived until then is
    /// returned first, and the error at the next call.
    pub(crate) async fn next(&mut self, store: &Store) -> Result<Option<Vec<T>>, StoreError> {
        if let Some(err) = self.broken.take() {
            return Err(err);
        }
        if self.exhausted {
            return Ok(None);
        }
        let deadline = Deadline::after(self.budget);
        let page = Mutex::new(Page::new());
        let mut clients = store.clients();
        let mut arrived = 0;
        let ended = loop {
            let read = || self.read(clients(), &page, deadline).map(|read| store.heed(read));
            let ended = with_retries(deadline, read).await;
            let count = lock(&page).count;
            if ended.is_ok() || count == arrived {
                break ended;
            }
            arrived = count;
        };
        let Page { items, last, count } = page.into_inner().unwrap_or_else(PoisonError::into_inner);
        // An empty answer is billed as one read.
        store.usage.firestore_reads.add(count.max(1) as u64);
        self.after = last.or(self.after.take());
        match ended {
            Ok(()) => self.exhausted = count < PAGE_SIZE,
            Err(err) if count == 0 => return Err(err),
            Err(err) => self.broken = Some(err),
        }
        Ok(Some(items))
    }

    async fn read(
        &self,
        mut client: FirestoreClient<GoogleAuthMiddleware>,
        page: &Mutex<Page<T>>,
        deadline: Deadline,
    ) -> Result<(), StoreError> {
        let request = RunQueryRequest {
            parent: self.parent.clone(),
            query_type: Some(QueryType::StructuredQuery(self.query(&lock(page)))),
            ..RunQueryRequest::default()
        };
        let reading = async {
            let mut answers = in_time(client.run_query(request)).await?.into_inner();
            while let Some(answer) = in_time(answers.message()).await? {
                if let Some(document) = answer.document {
                    lock(page).take(document, &self.reduce);
                }
            }
            Ok(())
        };
        tokio::time::timeout(deadline.left(), reading).await.unwrap_or(Err(StoreError::Timeout))
    }

    fn query(&self, page: &Page<T>) -> StructuredQuery {
        let cursor = |name: String| Cursor { values: vec![reference(name)], before: false };
        StructuredQuery {
            select: Some(Projection { fields: self.fields.iter().copied().map(field).collect() }),
            from: vec![self.collection.clone()],
            r#where: self.filter.clone(),
            order_by: vec![Order { field: Some(field("__name__")), direction: Direction::Ascending.into() }],
            start_at: page.last.clone().or_else(|| self.after.clone()).map(cursor),
            end_at: self.until.clone().map(cursor),
            limit: i32::try_from(PAGE_SIZE - page.count).ok(),
            ..StructuredQuery::default()
        }
    }
}

/// What has arrived of a page.
struct Page<T> {
    items: Vec<T>,
    last: Option<String>,
    count: usize,
}

impl<T> Page<T> {
    fn new() -> Self {
        Self { items: Vec::new(), last: None, count: 0 }
    }

    fn take(&mut self, document: Document, reduce: impl Fn(Document) -> Option<T>) {
        self.count += 1;
        self.last = Some(document.name.clone());
        self.items.extend(reduce(document));
    }
}

fn lock<T>(page: &Mutex<Page<T>>) -> MutexGuard<'_, Page<T>> {
    // Whatever panics while it is locked leaves a page that is whole.
    page.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Members of a tenant, two at most: enough to know whether there is another than a given one.
    pub(crate) async fn some_members(
        &self,
        tenant: &TenantId,
        deadline: Deadline,
    ) -> Result<Vec<DocumentId>, StoreError> {
        let query = StructuredQuery {
            select: Some(Projection { fields: vec![field("__name__")] }),
            from: vec![CollectionSelector { collection_id: "users".into(), all_descendants: false }],
            limit: Some(2),
            ..StructuredQuery::default()
        };
        let request = RunQueryRequest {
            parent: self.database.document(format_args!("tenants/{}", tenant.as_str())),
            query_type: Some(QueryType::StructuredQuery(query)),
            ..RunQueryRequest::default()
        };
        let mut clients = self.clients();
        with_retries(deadline, || self.names_of(clients(), request.clone(), deadline)).await
    }

    async fn names_of(
        &self,
        mut client: FirestoreClient<GoogleAuthMiddleware>,
        request: RunQueryRequest,
        deadline: Deadline,
    ) -> Result<Vec<DocumentId>, StoreError> {
        let reading = async {
            let mut answers = in_time(client.run_query(request)).await?.into_inner();
            let mut ids = Vec::new();
            while let Some(answer) = in_time(answers.message()).await? {
                self.usage.firestore_reads.add(u64::from(answer.document.is_some()));
                ids.extend(answer.document.map(|document| DocumentId::of_existing(&document.name)));
            }
            // An empty answer is billed as one read.
            self.usage.firestore_reads.add(u64::from(ids.is_empty()));
            Ok(ids)
        };
        tokio::time::timeout(deadline.left(), reading).await.unwrap_or(Err(StoreError::Timeout))
    }
}

fn field(path: &str) -> FieldReference {
    FieldReference { field_path: path.to_owned() }
}

/// Full name of a user's document.
#[must_use]
pub(crate) fn user_name(database: &Database, user: &DocumentId) -> String {
    database.document(format_args!("users/{}", user.as_str()))
}

/// Full name of the document that holds a user's trouble.
#[must_use]
pub(crate) fn trouble_name(database: &Database, user: &DocumentId) -> String {
    database.document(format_args!("users/{}/alpacaAccounts/sync", user.as_str()))
}

/// Full name of a user's snapshot.
#[must_use]
pub(crate) fn snapshot_name(database: &Database, user: &DocumentId) -> String {
    database.document(format_args!("users/{}/alpacaAccounts/snapshot", user.as_str()))
}

/// The user whose trouble a document of that full name holds, if it is one.
#[must_use]
pub(crate) fn user_of_trouble(database: &Database, name: &str) -> Option<DocumentId> {
    let path = name.strip_prefix(&database.document(format_args!("users/")))?;
    DocumentId::parse(path.strip_suffix("/alpacaAccounts/sync")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Database {
        Database::parse("p", "(default)").expect("legal")
    }

    #[test]
    fn only_a_users_own_sync_document_is_their_trouble() {
        let ana = DocumentId::parse("ana").expect("legal");
        assert_eq!(user_of_trouble(&database(), &trouble_name(&database(), &ana)), Some(ana));
        for path in [
            "alpacaAccounts/sync",
            "users/ana/alpacaAccounts/other",
            "users/a/b/c/alpacaAccounts/sync",
            "tenants/ana/alpacaAccounts/sync",
        ] {
            assert_eq!(
                user_of_trouble(&database(), &database().document(format_args!("{path}"))),
                None,
                "{path}"
            );
        }
    }

    #[test]
    fn a_range_becomes_exclusive_and_inclusive_cursors() {
        let range = IdRange { after: DocumentId::parse("a").ok(), until: DocumentId::parse("m").ok() };
        let query = Pages::of_users(&database(), &range, &UserFilter::default()).query(&Page::new());
        let cursor = |id: &str| {
            Some(Cursor {
                values: vec![reference(database().document(format_args!("users/{id}")))],
                before: false,
            })
        };
        assert_eq!((query.start_at, query.end_at, query.limit), (cursor("a"), cursor("m"), Some(500)));
    }

    #[test]
    fn a_broken_page_goes_on_after_the_last_document_that_arrived() {
        let name = database().document(format_args!("users/k"));
        let mut page = Page::new();
        for _ in 0..120 {
            page.take(Document { name: name.clone(), ..Document::default() }, |_| None);
        }
        let query = Pages::of_users(&database(), &IdRange::default(), &UserFilter::default()).query(&page);
        assert_eq!(query.start_at, Some(Cursor { values: vec![reference(name)], before: false }));
        assert_eq!(query.limit, Some(380));
    }
}
