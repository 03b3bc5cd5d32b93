//! Documents in memory, ordered by name within each collection group.

use super::clock::{Micros, timestamp};
use super::fields::{FieldPath, project};
use super::names::Path;
use super::values::Fields;
use gcloud_sdk::google::firestore::v1::Document;
use gcloud_sdk::google::firestore::v1::value::ValueType;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::iter;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// The string fields that are indexed, with the id of their collection group. As in Firestore, whoever queries a
/// whole collection group declares the index; other filters visit every document of their collection.
const INDEXED: [(&str, &str); 1] = [("alpacaAccounts", "state")];

/// Overwritten versions kept for reads in the past. The oldest are dropped first.
const MAX_HISTORY: usize = 10_000;

/// One version of a document.
///
/// Fields are kept encoded: a million users fit in memory, and reading a document by name decodes just that one.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) create_time: Micros,
    pub(super) update_time: Micros,
    encoded: Box<[u8]>,
}

impl Stored {
    fn new(fields: Fields, create_time: Micros, update_time: Micros) -> Self {
        let encoded = Document { fields, ..Document::default() }.encode_to_vec().into_boxed_slice();
        Self { create_time, update_time, encoded }
    }

    pub(super) fn fields(&self) -> Fields {
        #[expect(clippy::expect_used, reason = "`new` is the only writer, and it encodes a document")]
        Document::decode(&*self.encoded).expect("a stored document decodes").fields
    }

    /// The document as a client sees it, cut to the fields that `mask` picks.
    pub(super) fn to_document(&self, name: String, mask: Option<&[FieldPath]>) -> Document {
        let names_only = mask.is_some_and(|mask| mask.iter().all(FieldPath::is_name));
        let fields = if names_only { Fields::new() } else { project(self.fields(), mask) };
        Document {
            name,
            fields,
            create_time: Some(timestamp(self.create_time)),
            update_time: Some(timestamp(self.update_time)),
        }
    }
}

/// A document that a read found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) path: Path,
    pub(super) stored: Arc<Stored>,
}

/// The names that a read may touch.
#[derive(Clone, Debug)]
pub(super) struct NameRange {
    lower: Bound<Path>,
    upper: Bound<Path>,
}

impl NameRange {
    /// Everything below a document or collection, itself excluded.
    pub(super) fn below(ancestor: &Path) -> Self {
        Self {
            lower: Bound::Excluded(ancestor.clone()),
            upper: Bound::Excluded(ancestor.after_descendants()),
        }
    }

    /// Narrows the range to names at or behind `bound`.
    pub(super) fn start(&mut self, bound: Bound<Path>) {
        let tighter = match (&self.lower, &bound) {
            (_, Bound::Unbounded) => false,
            (Bound::Unbounded, _) => true,
            (Bound::Included(old), Bound::Excluded(new)) => new >= old,
            (Bound::Included(old) | Bound::Excluded(old), Bound::Included(new) | Bound::Excluded(new)) => {
                new > old
            }
        };
        if tighter {
            self.lower = bound;
        }
    }

    /// Narrows the range to names at or before `bound`.
    pub(super) fn end(&mut self, bound: Bound<Path>) {
        let tighter = match (&self.upper, &bound) {
            (_, Bound::Unbounded) => false,
            (Bound::Unbounded, _) => true,
            (Bound::Included(old), Bound::Excluded(new)) => new <= old,
            (Bound::Included(old) | Bound::Excluded(old), Bound::Included(new) | Bound::Excluded(new)) => {
                new < old
            }
        };
        if tighter {
            self.upper = bound;
        }
    }

    /// The bounds for a map or set, or `None` where nothing lies between them (which `range` would panic on).
    fn bounds(&self) -> Option<(Bound<&Path>, Bound<&Path>)> {
        let empty = match (&self.lower, &self.upper) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
            (
                Bound::Included(lower) | Bound::Excluded(lower),
                Bound::Included(upper) | Bound::Excluded(upper),
            ) => lower >= upper,
        };
        (!empty).then_some((self.lower.as_ref(), self.upper.as_ref()))
    }

    /// Whether a document of that name lies in the range.
    pub(super) fn contains(&self, path: &Path) -> bool {
        (self.lower.as_ref(), self.upper.as_ref()).contains(path)
    }
}

/// Which documents to visit.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    /// The collection id, or `None` for all.
    pub(super) collection: Option<&'a str>,
    pub(super) range: &'a NameRange,
    /// Visit only documents in which this field is one of these strings.
    pub(super) among: Option<(&'a FieldPath, Vec<&'a str>)>,
}

/// All documents of one database.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// By collection id. Within `users`, subcollections of a user lie in other groups, out of the way.
    groups: BTreeMap<Box<[u8]>, Group>,
    history: History,
}

/// All documents whose collection has one id, wherever they are.
#[derive(Debug)]
struct Group {
    documents: BTreeMap<Path, Arc<Stored>>,
    index: Option<StringIndex>,
}

/// Which documents hold which string in one field, kept up to date by every write: a query for the few accounts in
/// trouble does not visit the million that are not.
#[derive(Debug)]
struct StringIndex {
    field: &'static str,
    paths: HashMap<String, BTreeSet<Path>>,
}

impl Store {
    /// The current version of a document.
    pub(super) fn get(&self, path: &Path) -> Option<&Arc<Stored>> {
        self.groups.get(path.collection_id())?.documents.get(path)
    }

    /// The version of a document that was current at a time.
    pub(super) fn get_at(&self, path: &Path, at: Micros) -> Option<&Arc<Stored>> {
        match self.history.changes_after(at).filter(|change| change.path == *path).last() {
            Some(earliest) => earliest.before.as_ref(),
            None => self.get(path),
        }
    }

    /// Gives a document its next version, or its first.
    pub(super) fn put(&mut self, path: Path, fields: Fields, create_time: Micros, time: Micros) {
        let group = self.group(&path);
        let indexed = group.index.as_ref().and_then(|index| index.text_in(&fields));
        let stored = Arc::new(Stored::new(fields, create_time, time));
        let before = group.documents.insert(path.clone(), stored);
        group.reindex(&path, before.as_deref(), indexed);
        self.history.push(Change { time, path, before });
    }

    pub(super) fn remove(&mut self, path: Path, time: Micros) {
        let group = self.group(&path);
        let before = group.documents.remove(&path);
        group.reindex(&path, before.as_deref(), None);
        self.history.push(Change { time, path, before });
    }

    fn group(&mut self, path: &Path) -> &mut Group {
        let id = path.collection_id();
        self.groups.entry(id.into()).or_insert_with(|| Group::new(id))
    }

    /// Whether the versions that were current at a time are all still known.
    pub(super) fn remembers(&self, at: Micros) -> bool {
        self.history.forgotten.is_none_or(|forgotten| forgotten <= at)
    }

    /// Visits documents in name order.
    pub(super) fn scan<'a>(
        &'a self,
        scan: &Scan<'a>,
    ) -> Box<dyn Iterator<Item = (&'a Path, &'a Arc<Stored>)> + 'a> {
        let Some(bounds) = scan.range.bounds() else {
            return Box::new(iter::empty());
        };
        let Some(collection) = scan.collection else {
            let of_groups = self.groups.values().map(|group| group.documents.range(bounds)).collect();
            return Box::new(merged(of_groups, |(path, _)| *path));
        };
        let Some(group) = self.groups.get(collection.as_bytes()) else {
            return Box::new(iter::empty());
        };
        let (Some(index), Some((field, among))) = (&group.index, &scan.among) else {
            return Box::new(group.documents.range(bounds));
        };
        if !field.is(index.field) {
            return Box::new(group.documents.range(bounds));
        }
        let paths = index.among(among, bounds);
        Box::new(paths.filter_map(|path| group.documents.get_key_value(path)))
    }

    /// As [`Store::scan`], in the versions that were current at a time. Visits no more than is taken.
    pub(super) fn scan_at<'a>(
        &'a self,
        scan: &Scan<'a>,
        at: Micros,
    ) -> impl Iterator<Item = (&'a Path, &'a Arc<Stored>)> + use<'a> {
        let (range, collection) = (scan.range, scan.collection);
        let in_scan = |path: &Path| {
            range.contains(path) && collection.is_none_or(|id| path.collection_id() == id.as_bytes())
        };
        // From the latest change back: what is inserted last, and stays, is the earliest.
        let changed: BTreeMap<&'a Path, &'a Option<Arc<Stored>>> =
            self.history.changes_after(at).map(|change| (&change.path, &change.before)).collect();
        let earlier = changed.iter().filter_map(|(path, before)| Some((*path, before.as_ref()?)));
        let earlier: Vec<_> = earlier.filter(|(path, _)| in_scan(path)).collect();
        // An index knows only current versions.
        let unindexed = Scan { among: None, range, collection };
        let unchanged = self.scan(&unindexed).filter(move |(path, _)| !changed.contains_key(path));
        let (mut unchanged, mut earlier) = (unchanged.peekable(), earlier.into_iter().peekable());
        iter::from_fn(move || match (unchanged.peek(), earlier.peek()) {
            (Some((one, _)), Some((other, _))) if other < one => earlier.next(),
            (None, _) => earlier.next(),
            (Some(_), _) => unchanged.next(),
        })
    }

    /// The first id below `parent`, behind `after`, under which there is any document. Called again and again, it
    /// lists the ids of collections (below a document) or of documents, missing ones included (below a
    /// collection), and skips all that lies deeper.
    pub(super) fn next_child(&self, parent: &Path, after: Option<&str>) -> Option<String> {
        let mut range = NameRange::below(parent);
        if let Some(after) = after {
            range.start(Bound::Excluded(parent.child(after).after_descendants()));
        }
        let bounds = range.bounds()?;
        let first = self.groups.values().filter_map(|group| group.documents.range(bounds).next());
        first.map(|(path, _)| path).min()?.child_of(parent).map(|id| id.into_owned())
    }
}

/// Walks along several at once that are in the order of a key, no two of which have the same one. Nothing is visited
/// that is not taken.
fn merged<I: Iterator, K: Ord>(all: Vec<I>, key: fn(&I::Item) -> K) -> impl Iterator<Item = I::Item> {
    // By what comes next in each.
    let begin = |mut rest: I| rest.next().map(|next| (key(&next), (next, rest)));
    let mut rest_by_next: BTreeMap<K, (I::Item, I)> = all.into_iter().filter_map(begin).collect();
    iter::from_fn(move || {
        let (_, (item, mut rest)) = rest_by_next.pop_first()?;
        if let Some(next) = rest.next() {
            rest_by_next.insert(key(&next), (next, rest));
        }
        Some(item)
    })
}

impl Group {
    fn new(id: &[u8]) -> Self {
        let indexed = INDEXED.iter().find(|(group, _)| group.as_bytes() == id);
        Self {
            documents: BTreeMap::new(),
            index: indexed.map(|(_, field)| StringIndex { field, paths: HashMap::new() }),
        }
    }

    /// Moves a document in the index from where its last version was to `after`.
    fn reindex(&mut self, path: &Path, before: Option<&Stored>, after: Option<String>) {
        let Some(index) = &mut self.index else {
            return;
        };
        let before = before.and_then(|stored| index.text_in(&stored.fields()));
        if before == after {
            return;
        }
        if let Some(text) = before {
            index.remove(path, &text);
        }
        if let Some(text) = after {
            index.add(path, text);
        }
    }
}

impl StringIndex {
    /// The documents that hold one of these strings, in name order. Walks along all their sets at once, so that a
    /// page of many results costs no more than the page.
    fn among<'a>(
        &'a self,
        texts: &[&str],
        bounds: (Bound<&'a Path>, Bound<&'a Path>),
    ) -> impl Iterator<Item = &'a Path> + use<'a> {
        // A document holds one string, so that no two sets share a path.
        let sets = texts.iter().filter_map(|text| self.paths.get(*text));
        merged(sets.map(|paths| paths.range(bounds)).collect(), |path| *path)
    }

    fn text_in(&self, fields: &Fields) -> Option<String> {
        match &fields.get(self.field)?.value_type {
            Some(ValueType::StringValue(text)) => Some(text.clone()),
            _ => None,
        }
    }

    fn add(&mut self, path: &Path, text: String) {
        self.paths.entry(text).or_default().insert(path.clone());
    }

    fn remove(&mut self, path: &Path, text: &str) {
        if let Some(paths) = self.paths.get_mut(text) {
            paths.remove(path);
            if paths.is_empty() {
                self.paths.remove(text);
            }
        }
    }
}

/// The latest changes, for reads in the past.
#[derive(Debug, Default)]
struct History {
    changes: VecDeque<Change>,
    /// When the newest change was made that is no longer among them.
    forgotten: Option<Micros>,
}

#[derive(Debug)]
struct Change {
    time: Micros,
    path: Path,
    before: Option<Arc<Stored>>,
}

impl History {
    fn push(&mut self, change: Change) {
        if self.changes.len() == MAX_HISTORY {
            self.forgotten = self.changes.pop_front().map(|change| change.time);
        }
        self.changes.push_back(change);
    }

    /// The changes behind a time, latest first.
    fn changes_after(&self, at: Micros) -> impl Iterator<Item = &Change> {
        self.changes.iter().rev().take_while(move |change| change.time > at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{any_document, document, int, text, to_fields};
    use super::*;
    use proptest::prelude::*;

    fn everything() -> NameRange {
        NameRange::below(&Path::root())
    }

    fn paths<'a>(found: impl Iterator<Item = (&'a Path, &'a Arc<Stored>)>) -> Vec<String> {
        found.map(|(path, _)| path.to_string()).collect()
    }

    #[test]
    fn the_next_child_skips_all_that_lies_deeper() {
        let mut store = Store::default();
        for path in ["u/a/s/x", "u/a/t/y", "u/b", "v/c"] {
            store.put(document(path), Fields::new(), 1, 1);
        }
        let children = |parent: &Path| {
            let next = |after: &String| store.next_child(parent, Some(after));
            iter::successors(store.next_child(parent, None), next).collect::<Vec<_>>()
        };
        assert_eq!(children(&Path::root()), ["u", "v"]);
        assert_eq!(children(&Path::root().child("u")), ["a", "b"]);
        assert_eq!(children(&document("u/a")), ["s", "t"]);
        assert!(children(&document("u/b")).is_empty());
    }

    #[test]
    fn only_so_many_versions_are_remembered() {
        let mut store = Store::default();
        let path = document("u/a");
        for time in 0..=10_000 {
            store.put(path.clone(), Fields::new(), 0, time);
        }
        assert!(store.remembers(0), "only the version before the first write is forgotten");
        store.remove(path, 10_001);
        assert!(!store.remembers(0) && store.remembers(1));
    }

    /// Writes of the documents of an indexed and another collection group, some of them deletions.
    fn any_writes() -> impl Strategy<Value = Vec<(Path, Option<Fields>)>> {
        let path = ("[ab]", prop::sample::select(vec!["alpacaAccounts", "other"]), "[ab]")
            .prop_map(|(user, group, id)| document(&format!("users/{user}/{group}/{id}")));
        let state =
            prop_oneof![prop::sample::select(vec!["ok", "failing", "revoked"]).prop_map(text), Just(int(1)),];
        let fields = prop::option::of(state)
            .prop_map(|state| state.map_or_else(Fields::new, |state| to_fields(&[("state", state)])));
        prop::collection::vec((path, prop::option::of(fields)), 0..40)
    }

    fn written(writes: &[(Path, Option<Fields>)]) -> Store {
        let mut store = Store::default();
        for (time, (path, fields)) in (1..).zip(writes) {
            match fields.clone() {
                Some(fields) => store.put(path.clone(), fields, time, time),
                None => store.remove(path.clone(), time),
            }
        }
        store
    }

    proptest! {
        #[test]
        fn an_index_finds_what_visiting_all_would(writes in any_writes()) {
            let store = written(&writes);
            let (state, range) = (FieldPath::parse("state").unwrap(), everything());
            let all = Scan { collection: Some("alpacaAccounts"), range: &range, among: None };
            let among = Scan { among: Some((&state, vec!["failing", "revoked", "none", "failing"])), ..all };
            let wanted = [text("failing"), text("revoked")];
            let visited = store
                .scan(&all)
                .filter(|(_, stored)| stored.fields().get("state").is_some_and(|state| wanted.contains(state)));
            prop_assert_eq!(paths(store.scan(&among)), paths(visited));
        }

        #[test]
        fn the_past_is_what_the_present_was(writes in any_writes(), at in 0_usize..40) {
            let at = at.min(writes.len());
            let (before, after) = (written(&writes[..at]), written(&writes));
            let at = Micros::try_from(at).unwrap();
            let range = everything();
            for collection in [None, Some("other")] {
                let scan = Scan { collection, range: &range, among: None };
                let past: Vec<_> = after.scan_at(&scan, at).collect();
                prop_assert_eq!(paths(past.iter().copied()), paths(before.scan(&scan)));
                for (found, stored) in past {
                    let now = before.get(found).map(|stored| stored.update_time);
                    let then = after.get_at(found, at).map(|stored| stored.update_time);
                    prop_assert_eq!((now, then), (Some(stored.update_time), now));
                }
            }
        }

        #[test]
        fn a_range_holds_what_lies_between_all_its_bounds(
            starts in prop::collection::vec((any::<bool>(), any_document()), 0..3),
            ends in prop::collection::vec((any::<bool>(), any_document()), 0..3),
            names in prop::collection::btree_set(any_document(), 0..20),
        ) {
            let bound = |(included, path): &(bool, String)| match included {
                true => Bound::Included(document(path)),
                false => Bound::Excluded(document(path)),
            };
            let (starts, ends): (Vec<_>, Vec<_>) =
                (starts.iter().map(bound).collect(), ends.iter().map(bound).collect());
            let mut range = everything();
            starts.iter().for_each(|start| range.start(start.clone()));
            ends.iter().for_each(|end| range.end(end.clone()));

            let names: BTreeSet<_> = names.iter().map(|name| document(name)).collect();
            let is_inside = |name: &&Path| {
                starts.iter().all(|start| (start.clone(), Bound::Unbounded).contains(*name))
                    && ends.iter().all(|end| (Bound::Unbounded, end.clone()).contains(*name))
            };
            let expected: Vec<_> = names.iter().filter(is_inside).collect();
            let ranged: Vec<_> = range.bounds().map(|bounds| names.range(bounds)).into_iter().flatten().collect();
            prop_assert_eq!(&ranged, &expected);
            prop_assert_eq!(names.iter().filter(|name| range.contains(name)).collect::<Vec<_>>(), expected);
        }
    }
}
