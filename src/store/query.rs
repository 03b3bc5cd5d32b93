//! Queries in pages by document name, each page resumed where it broke.

use super::{READ_TIMEOUT, Store, StoreError};
use crate::ids::{Database, DocumentId};
use crate::retry::{Deadline, with_retries};
use crate::store::values::{array, reference, text};
use crate::trouble::{State, Trouble};
use crate::user::User;
use gcloud_sdk::google::firestore::v1::run_query_request::QueryType;
use gcloud_sdk::google::firestore::v1::structured_query::{
    CollectionSelector, Direction, FieldFilter, FieldReference, Filter, Order, Projection,
    field_filter::Operator, filter::FilterType,
};
use gcloud_sdk::google::firestore::v1::{Cursor, Document, RunQueryRequest, StructuredQuery};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Documents of one page.
const PAGE_SIZE: usize = 500;

/// For one page, all tries together.
const PAGE_BUDGET: Duration = Duration::from_secs(60);

/// A range of user ids in Firestore's order (by their UTF-8 bytes): one task's share of all users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdRange {
    /// Only ids after this one.
    pub after: Option<DocumentId>,
    /// Only ids up to and including this one.
    pub until: Option<DocumentId>,
}

/// A query that is read page by page, in the order of the documents' names.
#[derive(Debug)]
pub struct Pages {
    parent: String,
    collection: CollectionSelector,
    filter: Option<Filter>,
    fields: &'static [&'static str],
    after: Option<String>,
    until: Option<String>,
    exhausted: bool,
}

impl Pages {
    /// The users of a range, with the fields that the job reads.
    #[must_use]
    pub fn of_users(database: &Database, range: &IdRange) -> Self {
        let name = |id: &DocumentId| database.document(format_args!("users/{}", id.as_str()));
        Self {
            parent: format!("{}/documents", database.name()),
            collection: CollectionSelector {
                collection_id: "users".into(),
                all_descendants: false,
            },
            filter: None,
            fields: &User::FIELDS,
            after: range.after.as_ref().map(name),
            until: range.until.as_ref().map(name),
            exhausted: false,
        }
    }

    /// The troubled users of a range: one query over all users' `alpacaAccounts`, in the users' order.
    #[must_use]
    pub fn of_trouble(database: &Database, range: &IdRange) -> Self {
        let name = |id: &DocumentId| trouble_name(database, id);
        let states = State::IN_TROUBLE.map(|state| text(state.as_str()));
        let filter = FieldFilter {
            field: Some(field("state")),
            op: Operator::In.into(),
            value: Some(array(states.to_vec())),
        };
        Self {
            parent: format!("{}/documents", database.name()),
            collection: CollectionSelector {
                collection_id: "alpacaAccounts".into(),
                all_descendants: true,
            },
            filter: Some(Filter {
                filter_type: Some(FilterType::FieldFilter(filter)),
            }),
            fields: &Trouble::FIELDS,
            after: range.after.as_ref().map(name),
            until: range.until.as_ref().map(name),
            exhausted: false,
        }
    }

    /// The next documents; none when there are no more.
    ///
    /// A page that breaks keeps what has arrived and goes on after it, so that no document is read
    /// twice.
    pub async fn next(&mut self, store: &Store) -> Result<Vec<Document>, StoreError> {
        if self.exhausted {
            return Ok(Vec::new());
        }
        let deadline = Deadline::after(PAGE_BUDGET);
        let page = Page(Mutex::new(Vec::new()));
        with_retries(deadline, || self.read(store, &page, deadline)).await?;
        let documents = page.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.exhausted = documents.len() < PAGE_SIZE;
        self.after = documents.last().map(|document| document.name.clone());
        // An empty answer is billed as one read.
        store.usage.firestore_reads.add(documents.len().max(1) as u64);
        Ok(documents)
    }

    async fn read(&self, store: &Store, page: &Page, deadline: Deadline) -> Result<(), StoreError> {
        let request = RunQueryRequest {
            parent: self.parent.clone(),
            query_type: Some(QueryType::StructuredQuery(self.query(page))),
            ..RunQueryRequest::default()
        };
        let reading = async {
            let mut answers = store.client().run_query(request).await?.into_inner();
            while let Some(answer) = answers.message().await? {
                page.documents().extend(answer.document);
            }
            Ok(())
        };
        tokio::time::timeout(deadline.for_call(READ_TIMEOUT), reading)
            .await
            .unwrap_or(Err(StoreError::Timeout))
    }

    fn query(&self, page: &Page) -> StructuredQuery {
        let (last, read) = {
            let documents = page.documents();
            (
                documents.last().map(|document| document.name.clone()),
                documents.len(),
            )
        };
        let cursor = |name: String| Cursor {
            values: vec![reference(name)],
            before: false,
        };
        StructuredQuery {
            select: Some(Projection {
                fields: self.fields.iter().copied().map(field).collect(),
            }),
            from: vec![self.collection.clone()],
            r#where: self.filter.clone(),
            order_by: vec![Order {
                field: Some(field("__name__")),
                direction: Direction::Ascending.into(),
            }],
            start_at: last.or_else(|| self.after.clone()).map(cursor),
            end_at: self.until.clone().map(cursor),
            limit: i32::try_from(PAGE_SIZE - read).ok(),
            ..StructuredQuery::default()
        }
    }
}

/// What has arrived of a page.
struct Page(Mutex<Vec<Document>>);

impl Page {
    fn documents(&self) -> MutexGuard<'_, Vec<Document>> {
        // A push that panicked leaves a vector that is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn field(path: &str) -> FieldReference {
    FieldReference {
        field_path: path.to_owned(),
    }
}

/// Full name of the document that holds a user's trouble.
#[must_use]
pub fn trouble_name(database: &Database, user: &DocumentId) -> String {
    database.document(format_args!("users/{}/alpacaAccounts/sync", user.as_str()))
}

/// The user whose trouble a document of that full name holds, if it is one.
#[must_use]
pub fn user_of_trouble(database: &Database, name: &str) -> Option<DocumentId> {
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
        assert_eq!(
            user_of_trouble(&database(), &trouble_name(&database(), &ana)),
            Some(ana)
        );
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
        let range = IdRange {
            after: DocumentId::parse("a").ok(),
            until: DocumentId::parse("m").ok(),
        };
        let query = Pages::of_users(&database(), &range).query(&Page(Mutex::new(Vec::new())));
        let cursor = |id: &str| {
            Some(Cursor {
                values: vec![reference(database().document(format_args!("users/{id}")))],
                before: false,
            })
        };
        assert_eq!(
            (query.start_at, query.end_at, query.limit),
            (cursor("a"), cursor("m"), Some(500))
        );
    }

    #[test]
    fn a_broken_page_goes_on_after_the_last_document_that_arrived() {
        let name = database().document(format_args!("users/k"));
        let page = Page(Mutex::new(vec![
            Document {
                name: name.clone(),
                ..Document::default()
            };
            120
        ]));
        let query = Pages::of_users(&database(), &IdRange::default()).query(&page);
        assert_eq!(
            query.start_at,
            Some(Cursor {
                values: vec![reference(name)],
                before: false
            })
        );
        assert_eq!(query.limit, Some(380));
    }
}
