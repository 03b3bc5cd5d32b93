//! The methods that list, page by page: the documents of a collection, the collections of a document.

use super::database::{Consistency, State};
use super::errors::invalid;
use super::fields::{FieldPath, parse_mask};
use super::names::{Path, check_collection_id, check_document_id, full_name, parse_parent};
use super::query::Query;
use super::store::Store;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use gcloud_sdk::google::firestore::v1::{
    Document, ListCollectionIdsRequest, ListCollectionIdsResponse, ListDocumentsRequest,
    ListDocumentsResponse, list_documents_request,
};
use std::sync::Arc;
use tonic::Status;

/// Documents in a page of `ListDocuments`, unless the client wants another number.
const DEFAULT_PAGE: usize = 30;
/// Most documents in a page of `ListDocuments`, whatever the client wants.
const MAX_PAGE: usize = 150;

impl State {
    /// Lists in name order only: an `order_by` other than the name is not served.
    pub(super) fn list_documents(
        &mut self,
        request: ListDocumentsRequest,
    ) -> Result<ListDocumentsResponse, Status> {
        parse_parent(&request.parent)?;
        check_collection_id(&request.collection_id)?;
        let mask = parse_mask(request.mask.as_ref())?;
        let size = page_size(request.page_size)?.map_or(DEFAULT_PAGE, |size| size.min(MAX_PAGE));
        let after = decode_token(&request.page_token, check_document_id)?;
        check_order(&request)?;
        let consistency = consistency(&request)?;
        let page = Page { mask: mask.as_deref(), size, after };
        let documents = match request.show_missing {
            true => self.with_missing(&request, page)?,
            false => self.present(&request, page, consistency)?,
        };
        let last_id = documents.last().and_then(|document| document.name.rsplit('/').next());
        let next_page_token =
            last_id.filter(|_| documents.len() == size).map(encode_token).unwrap_or_default();
        Ok(ListDocumentsResponse { documents, next_page_token })
    }

    fn present(
        &mut self,
        request: &ListDocumentsRequest,
        page: Page<'_>,
        consistency: Consistency,
    ) -> Result<Vec<Document>, Status> {
        let (database, parent) = parse_parent(&request.parent)?;
        let query = Arc::new(Query::page(parent, &request.collection_id, page.after.as_deref(), page.size));
        let found = self.view(database, consistency)?.query(&query)?;
        let shown =
            found.iter().map(|found| found.stored.to_document(full_name(database, &found.path), page.mask));
        Ok(shown.collect())
    }

    /// The documents there are, and those that are not but have some below them.
    fn with_missing(
        &mut self,
        request: &ListDocumentsRequest,
        page: Page<'_>,
    ) -> Result<Vec<Document>, Status> {
        let (database, parent) = parse_parent(&request.parent)?;
        let (_, opened) = self.open(database)?;
        let collection = parent.child(&request.collection_id);
        let paths = children(&opened.store, &collection, page.after).take(page.size);
        let shown = paths.map(|(_, path)| {
            let name = full_name(database, &path);
            match opened.store.get(&path) {
                Some(stored) => stored.to_document(name, page.mask),
                None => Document { name, ..Document::default() },
            }
        });
        Ok(shown.collect())
    }

    /// Lists the collections of a document, or the root's. All of them, unless the client wants fewer a page.
    pub(super) fn list_collection_ids(
        &mut self,
        request: ListCollectionIdsRequest,
    ) -> Result<ListCollectionIdsResponse, Status> {
        if request.consistency_selector.is_some() {
            return Err(Status::unimplemented("the sandbox lists collections as of now only"));
        }
        let (database, parent) = parse_parent(&request.parent)?;
        let size = page_size(request.page_size)?.unwrap_or(usize::MAX);
        let after = decode_token(&request.page_token, check_collection_id)?;
        let (_, opened) = self.open(database)?;
        let collection_ids: Vec<_> =
            children(&opened.store, &parent, after).map(|(id, _)| id).take(size).collect();
        let last_id = collection_ids.last().filter(|_| collection_ids.len() == size);
        let next_page_token = last_id.map(|id| encode_token(id)).unwrap_or_default();
        Ok(ListCollectionIdsResponse { collection_ids, next_page_token })
    }
}

/// Which documents of a collection are shown, and what of them.
struct Page<'a> {
    mask: Option<&'a [FieldPath]>,
    size: usize,
    /// The id of the last one before.
    after: Option<String>,
}

fn check_order(request: &ListDocumentsRequest) -> Result<(), Status> {
    match request.order_by.as_str() {
        "" => Ok(()),
        _ if request.show_missing => Err(invalid("show_missing cannot be combined with order_by.")),
        "__name__" | "__name__ asc" => Ok(()),
        _ => Err(Status::unimplemented("the sandbox's ListDocuments sorts by name only")),
    }
}

fn consistency(request: &ListDocumentsRequest) -> Result<Consistency, Status> {
    use list_documents_request::ConsistencySelector as Selector;
    match request.consistency_selector.clone() {
        None => Ok(Consistency::Latest),
        Some(_) if request.show_missing => {
            Err(Status::unimplemented("the sandbox's ListDocuments shows missing documents as of now only"))
        }
        Some(Selector::Transaction(id)) => Ok(Consistency::InTransaction(id)),
        Some(Selector::ReadTime(time)) => Ok(Consistency::At(time)),
    }
}

/// The ids below `parent` under which there is any document, behind `after`, with their paths.
fn children(store: &Store, parent: &Path, after: Option<String>) -> impl Iterator<Item = (String, Path)> {
    let mut after = after;
    std::iter::from_fn(move || {
        let id = store.next_child(parent, after.as_deref())?;
        after = Some(id.clone());
        let path = parent.child(&id);
        Some((id, path))
    })
}

/// The size of a page, or `None` where the client leaves it open.
fn page_size(wanted: i32) -> Result<Option<usize>, Status> {
    match usize::try_from(wanted) {
        Ok(0) => Ok(None),
        Ok(size) => Ok(Some(size)),
        Err(_) => Err(invalid("Page size must not be negative.")),
    }
}

/// A page token is the last id of the page before, so that pages neither overlap nor leave gaps when documents
/// come and go in between.
fn encode_token(last_id: &str) -> String {
    URL_SAFE.encode(last_id)
}

fn decode_token(token: &str, check: impl Fn(&str) -> Result<(), Status>) -> Result<Option<String>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let id = URL_SAFE.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    id.filter(|id| check(id).is_ok()).map(Some).ok_or_else(|| invalid("The page token is invalid."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_token_leads_back_to_its_id() {
        assert_eq!(decode_token(&encode_token("é 1"), check_document_id).unwrap().as_deref(), Some("é 1"));
        assert_eq!(decode_token("", check_document_id).unwrap(), None);
    }

    #[test]
    fn a_forged_page_token_is_refused() {
        for token in ["!!", "zzz", &encode_token("a/b"), &encode_token("..")] {
            assert!(decode_token(token, check_document_id).is_err(), "{token}");
        }
    }
}
