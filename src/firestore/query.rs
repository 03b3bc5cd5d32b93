//! Queries in pages by document name, each page resumed where it broke.

use crate::firestore::connection::{Store, attempt, in_time};
use crate::firestore::error::StoreError;
use crate::firestore::filter::field;
use crate::firestore::values::reference;
use crate::limits::retry::{Advice, Advise, Deadline, with_retries};
use crate::model::ids::{Database, DocumentId};
use futures::FutureExt;
use gcloud_sdk::GoogleAuthMiddleware;
use gcloud_sdk::google::firestore::v1::firestore_client::FirestoreClient;
use gcloud_sdk::google::firestore::v1::run_query_request::QueryType;
use gcloud_sdk::google::firestore::v1::structured_query::{
    CollectionSelector, Direction, Filter, Order, Projection,
};
use gcloud_sdk::google::firestore::v1::{Cursor, Document, RunQueryRequest, StructuredQuery};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Documents of one page.
const PAGE_SIZE: usize = 500;

/// Before a page is tried once more whose tries were used up, and nothing arrived: all of them take less than a second, and
/// everybody behind the page depends on it.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// Documents of a database, by their collection's id and in the order of their names.
pub(crate) struct Query {
    /// The collection's id.
    pub(crate) collection: &'static str,
    /// Whether it is looked for everywhere, and not only below the database's root.
    pub(crate) is_group: bool,
    /// Which of its documents; all without one.
    pub(crate) filter: Option<Filter>,
    /// The fields of them that are needed.
    pub(crate) fields: &'static [&'static str],
    /// Only documents after the one of this full name.
    pub(crate) after: Option<String>,
    /// Only documents up to and including the one of this full name.
    pub(crate) until: Option<String>,
    /// That there can be none: their pages are not asked for.
    pub(crate) is_empty: bool,
}

impl Query {
    /// As Firestore is asked, for documents after the one of that name, if not for all.
    fn to_structured(&self, after: Option<String>) -> StructuredQuery {
        let collection = self.collection.into();
        let cursor = |name: String| Cursor { values: vec![reference(name)], before: false };
        StructuredQuery {
            from: vec![CollectionSelector { collection_id: collection, all_descendants: self.is_group }],
            r#where: self.filter.clone(),
            order_by: vec![Order { field: Some(field("__name__")), direction: Direction::Ascending.into() }],
            start_at: after.or_else(|| self.after.clone()).map(cursor),
            end_at: self.until.clone().map(cursor),
            ..StructuredQuery::default()
        }
    }
}

/// What is made of each document that is found.
type Reduce<T> = Box<dyn Fn(Document) -> Option<T> + Send + Sync>;

/// A query that is read page by page.
///
/// Each document is reduced to what is needed of it as it arrives: users write theirs, and may write
/// up to 1 MiB into a field that the job reads.
pub(crate) struct Pages<T> {
    parent: String,
    query: Query,
    reduce: Reduce<T>,
    /// For one page, all tries together.
    budget: Duration,
    last: Option<String>,
    exhausted: bool,
    broken: Option<StoreError>,
}

impl<T> Pages<T> {
    /// The pages of a query, each to be read in `budget`.
    #[must_use]
    pub(crate) fn new(database: &Database, query: Query, budget: Duration, reduce: Reduce<T>) -> Self {
        Self {
            parent: format!("{}/documents", database.name()),
            exhausted: query.is_empty,
            query,
            reduce,
            budget,
            last: None,
            broken: None,
        }
    }

    /// The same of a collection below that document, by its full name, instead of the database's root.
    #[must_use]
    pub(crate) fn below(self, document: String) -> Self {
        Self { parent: document, ..self }
    }

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
        let clients = store.clients();
        let (mut arrived, mut tries, mut pauses) = (0, deadline, PAUSES.into_iter());
        let ended = loop {
            let read = || self.read((store, clients()), &page, deadline).map(|read| store.heed(read));
            let ended = with_retries(tries, || attempt(&read)).await;
            let Err(err) = &ended else { break ended };
            let count = lock(&page).count;
            if count > arrived {
                (arrived, tries, pauses) = (count, deadline, PAUSES.into_iter());
                continue;
            }
            let may_pass = |pause: &Duration| {
                err.advice() == Advice::BackOff && deadline.allows_call_at(Instant::now() + *pause)
            };
            let Some(pause) = pauses.next().filter(may_pass) else { break ended };
            tokio::time::sleep(pause).await;
            tries = deadline.tried_once();
        };
        let Page { items, last, count } = page.into_inner().unwrap_or_else(PoisonError::into_inner);
        // An empty answer is billed as one read.
        store.usage.firestore_reads.add(count.max(1) as u64);
        self.last = last.or(self.last.take());
        match ended {
            Ok(()) => self.exhausted = count < PAGE_SIZE,
            Err(err) if count == 0 => return Err(err),
            Err(err) => self.broken = Some(err),
        }
        Ok(Some(items))
    }

    async fn read(
        &self,
        (store, mut client): (&Store, FirestoreClient<GoogleAuthMiddleware>),
        page: &Mutex<Page<T>>,
        deadline: Deadline,
    ) -> Result<(), StoreError> {
        let request = RunQueryRequest {
            parent: self.parent.clone(),
            query_type: Some(QueryType::StructuredQuery(self.of_page(&lock(page)))),
            ..RunQueryRequest::default()
        };
        let sent = Instant::now();
        let reading = async {
            let mut answers = in_time(client.run_query(request)).await?.into_inner();
            while let Some(answer) = in_time(answers.message()).await? {
                store.learn(sent, answer.read_time);
                if let Some(document) = answer.document {
                    lock(page).take(document, &self.reduce);
                }
            }
            Ok(())
        };
        tokio::time::timeout(deadline.left(), reading).await.unwrap_or(Err(StoreError::OutOfTime))
    }

    fn of_page(&self, page: &Page<T>) -> StructuredQuery {
        StructuredQuery {
            select: Some(Projection { fields: self.query.fields.iter().copied().map(field).collect() }),
            limit: i32::try_from(PAGE_SIZE - page.count).ok(),
            ..self.query.to_structured(page.last.clone().or_else(|| self.last.clone()))
        }
    }

    /// Where to ask, and for all that is left to read, without a limit.
    pub(super) fn rest(&self) -> (&str, StructuredQuery) {
        (&self.parent, self.query.to_structured(self.last.clone()))
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
    /// The ids of some documents, `most` at most, of a collection directly below `parent`.
    pub(crate) async fn some_ids(
        &self,
        parent: String,
        collection: &str,
        most: i32,
        deadline: Deadline,
    ) -> Result<Vec<DocumentId>, StoreError> {
        let query = StructuredQuery {
            select: Some(Projection { fields: vec![field("__name__")] }),
            from: vec![CollectionSelector { collection_id: collection.into(), all_descendants: false }],
            limit: Some(most),
            ..StructuredQuery::default()
        };
        let query_type = Some(QueryType::StructuredQuery(query));
        let request = RunQueryRequest { parent, query_type, ..RunQueryRequest::default() };
        let clients = self.clients();
        let call = || self.ids_of(clients(), request.clone(), deadline);
        with_retries(deadline, || attempt(&call)).await
    }

    async fn ids_of(
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
        tokio::time::timeout(deadline.left(), reading).await.unwrap_or(Err(StoreError::OutOfTime))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(after: Option<&str>, until: Option<&str>) -> Pages<()> {
        let name = |id: &str| format!("d/users/{id}");
        let query = Query {
            collection: "users",
            is_group: false,
            filter: None,
            fields: &["a"],
            after: after.map(name),
            until: until.map(name),
            is_empty: false,
        };
        let database = Database::parse("p", "(default)").expect("legal");
        Pages::new(&database, query, Duration::ZERO, Box::new(|_| None))
    }

    fn cursor(id: &str) -> Option<Cursor> {
        Some(Cursor { values: vec![reference(format!("d/users/{id}"))], before: false })
    }

    #[test]
    fn a_range_becomes_exclusive_and_inclusive_cursors() {
        let query = pages(Some("a"), Some("m")).of_page(&Page::new());
        assert_eq!((query.start_at, query.end_at, query.limit), (cursor("a"), cursor("m"), Some(500)));
    }

    #[test]
    fn a_broken_page_goes_on_after_the_last_document_that_arrived() {
        let mut page = Page::new();
        for _ in 0..120 {
            page.take(Document { name: "d/users/k".into(), ..Document::default() }, |_| None);
        }
        let query = pages(None, None).of_page(&page);
        assert_eq!((query.start_at, query.limit), (cursor("k"), Some(380)));
    }

    #[test]
    fn what_is_left_to_read_begins_where_the_pages_are() {
        let mut pages = pages(Some("a"), Some("m"));
        assert_eq!(pages.rest().1.start_at, cursor("a"));
        pages.last = Some("d/users/k".into());
        let (parent, query) = pages.rest();
        assert_eq!(parent, "projects/p/databases/(default)/documents");
        assert_eq!((query.start_at, query.end_at, query.limit), (cursor("k"), cursor("m"), None));
    }
}
