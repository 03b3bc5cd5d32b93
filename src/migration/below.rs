//! What lies below legacy documents in collections that nobody listed. It has no use without them, and goes with them.

use crate::documents::legacy::Legacy;
use crate::firestore::StoreError;
use crate::firestore::reader::{Collection, Reader};
use crate::migration::stored::Stored;

/// All documents of a database, whatever their collections are called.
const EVERYTHING: Collection<'static> = Collection { parent: "", id: "", is_group: true, fields: None };

/// Legacy documents of one collection, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Siblings(Vec<String>);

/// A part of what lies below siblings.
#[derive(Debug)]
pub(crate) struct Page {
    /// Each with the path of the sibling that it lies below.
    pub(crate) found: Vec<(String, Stored)>,
    /// The full name behind which there may be more.
    pub(crate) next: Option<String>,
}

/// The paths of legacy documents, which are in the order of their names, by their collections.
#[must_use]
pub(crate) fn siblings<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<Siblings> {
    let mut all: Vec<Siblings> = Vec::new();
    for path in paths {
        match all.last_mut().filter(|siblings| siblings.collection() == collection(path)) {
            Some(Siblings(of_collection)) => of_collection.push(path.to_owned()),
            None => all.push(Siblings(vec![path.to_owned()])),
        }
    }
    all
}

fn collection(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(collection, _)| collection)
}

/// What a document is to siblings.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    Below(&'a str),
    /// Among them or below one that is not of them.
    Between,
    /// Behind all of them.
    Behind,
}

impl Siblings {
    fn collection(&self) -> &str {
        self.0.first().map_or("", |path| collection(path))
    }

    fn place(&self, path: &str) -> Place<'_> {
        let Some(within) = path.strip_prefix(self.collection()).and_then(|rest| rest.strip_prefix('/'))
        else {
            return Place::Behind;
        };
        let id_ends = within.find('/').unwrap_or(within.len());
        let sibling = &path[..path.len() - within.len() + id_ends];
        match self.0.iter().find(|known| *known == sibling) {
            Some(known) if sibling.len() < path.len() => Place::Below(known),
            _ => Place::Between,
        }
    }

    /// Reads the next that lie below them: behind a document of that full name, or all.
    ///
    /// As many documents are asked for as there are siblings, which are read on the way: if nothing is below them, that
    /// ends with the first that is behind them.
    pub(crate) async fn page(&self, reader: &Reader, after: Option<&str>) -> Result<Page, StoreError> {
        let name = |path: &str| reader.database().document(format_args!("{path}"));
        let first = self.0.first().map(|path| name(path));
        let last = self.0.last().map(|path| name(path)).unwrap_or_default();
        let chunk = reader.chunk(&EVERYTHING, after.or(first.as_deref()), Some(self.0.len())).await?;
        let mut page = Page { found: Vec::new(), next: None };
        let mut has_passed_last =
            after.is_some_and(|after| is_at_or_below(after, &last)) || self.0.len() == 1;
        let next = chunk.documents.last().filter(|_| !chunk.is_last).map(|document| document.name.clone());
        for document in chunk.documents {
            has_passed_last |= is_at_or_below(&document.name, &last);
            if has_passed_last && !is_at_or_below(&document.name, &last) {
                return Ok(page);
            }
            let Some(document) = Stored::of(document) else { continue };
            match self.place(&document.path) {
                Place::Below(sibling) if Legacy::at(&document.path).is_none() => {
                    page.found.push((sibling.to_owned(), document));
                }
                Place::Below(_) | Place::Between => {}
                Place::Behind => return Ok(page),
            }
        }
        Ok(Page { next, ..page })
    }
}

fn is_at_or_below(name: &str, document: &str) -> bool {
    name.strip_prefix(document).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legacy_documents_are_read_below_by_their_collections() {
        let paths = ["users/ana/signals/a", "users/ana/signals/b", "users/ben/signals/a", "t/a"];
        let found = siblings(paths.into_iter());
        let of = |paths: &[&str]| Siblings(paths.iter().map(|path| (*path).to_owned()).collect());
        assert_eq!(found, [of(&paths[..2]), of(&paths[2..3]), of(&paths[3..])]);
        assert_eq!(siblings([].into_iter()), []);
    }

    #[test]
    fn only_what_is_below_one_of_them_is_theirs() {
        let siblings = siblings(["users/ana/signals/a", "users/ana/signals/é 1"].into_iter()).remove(0);
        for (path, expected) in [
            ("users/ana/signals/a/notes/1", Place::Below("users/ana/signals/a")),
            ("users/ana/signals/a/notes/1/more/2", Place::Below("users/ana/signals/a")),
            ("users/ana/signals/é 1/notes/1", Place::Below("users/ana/signals/é 1")),
            ("users/ana/signals/a", Place::Between),
            ("users/ana/signals/b", Place::Between),
            ("users/ana/signals/aa/notes/1", Place::Between),
            ("users/ana/signalsx/a/notes/1", Place::Behind),
            ("users/ana/tradingSignals/a", Place::Behind),
            ("users/anaa/signals/a/notes/1", Place::Behind),
        ] {
            assert_eq!(siblings.place(path), expected, "{path}");
        }
    }
}
