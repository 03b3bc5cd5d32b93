use super::*;
use crate::firestore::testing::any_document;
use proptest::prelude::*;

fn path(text: &str) -> Path {
    Path(text.as_bytes().into())
}

#[test]
fn paths_sort_segment_by_segment() {
    let mut paths =
        ["u/ab", "u/a", "u/a/c/d", "u/a b", "u/a\0", "u/é", "u/Z", "u/10", "ua/a", "u/9"].map(path);
    paths.sort();
    let sorted = paths.each_ref().map(|path| path.as_str().into_owned());
    assert_eq!(sorted, ["u/10", "u/9", "u/Z", "u/a", "u/a/c/d", "u/a\0", "u/a b", "u/ab", "u/é", "ua/a"]);
}

#[test]
fn numeric_ids_sort_first_and_by_number() {
    let mut paths = ["n/_", "n/__id10__", "n/__id7__", "n/10", "n/__id-3__", "n/__idx"].map(path);
    paths.sort();
    let sorted = paths.each_ref().map(|path| path.as_str().into_owned());
    assert_eq!(sorted, ["n/__id-3__", "n/__id7__", "n/__id10__", "n/10", "n/_", "n/__idx"]);
}

#[test]
fn the_bound_behind_descendants_separates_them_from_the_next_sibling() {
    let bound = path("u/a").after_descendants();
    assert!(path("u/a") < bound && path("u/a/\u{10FFFF}/x") < bound);
    assert!(bound < path("u/a\0") && bound < path("u/b"));
}

#[test]
fn ids_are_limited_in_bytes_not_characters() {
    assert!(check_document_id(&"é".repeat(750)).is_ok());
    assert!(check_document_id(&"é".repeat(751)).is_err());
}

#[test]
fn ids_that_could_be_mistaken_for_something_else_are_refused() {
    for id in ["", ".", "..", "a/b", "__x__", "____"] {
        assert!(check_document_id(id).is_err(), "{id}");
        assert!(check_collection_id(id).is_err(), "{id}");
    }
    assert!(check_document_id("__id7__").is_ok());
    assert!(check_collection_id("__id7__").is_err());
    assert!(check_document_id("__x").is_ok());
}

#[test]
fn a_name_is_split_into_database_and_path() {
    let (database, path) = parse_document("projects/p/databases/(default)/documents/u/a").unwrap();
    assert_eq!((database, &*path.as_str()), ("projects/p/databases/(default)", "u/a"));
    assert_eq!((path.collection_id(), path.child_of(&Path::root()).as_deref()), (&b"u"[..], Some("u")));
    assert!(path.is_grandchild_of(&Path::root()));
}

#[test]
fn a_collection_is_neither_a_document_nor_a_parent() {
    let name = "projects/p/databases/d/documents/u";
    assert!(parse_document(name).is_err() && parse_parent(name).is_err());
    assert!(parse_parent("projects/p/databases/d/documents").is_ok());
    assert!(parse_document("projects/p/databases/d/documents").is_err());
}

proptest! {
    #[test]
    fn names_compare_as_the_lists_of_their_segments(left in any_document(), right in any_document()) {
        let segments = |name: &str| -> Vec<_> {
            let rank = |id: &str| { let number = numeric_id(id.as_bytes()); (number.is_none(), number, id.to_owned()) };
            name.split('/').map(rank).collect()
        };
        prop_assert_eq!(path(&left).cmp(&path(&right)), segments(&left).cmp(&segments(&right)));
    }

    #[test]
    fn exactly_the_descendants_lie_between_a_name_and_its_bound(name in any_document(), other in any_document()) {
        let (name, other) = (path(&name), path(&other));
        let is_between = name < other && other < name.after_descendants();
        prop_assert_eq!(is_between, other.below(&name).is_some());
    }
}
