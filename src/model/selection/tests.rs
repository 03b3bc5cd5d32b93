use super::*;
use proptest::prelude::*;

fn id(text: &str) -> DocumentId {
    DocumentId::of_existing(text)
}

/// `(after, until)`.
type Ends<'a> = (Option<&'a str>, Option<&'a str>);

fn range((after, until): Ends<'_>) -> IdRange {
    IdRange { after: after.map(id), until: until.map(id) }
}

fn ranges(ends: &[Ends<'_>]) -> Vec<IdRange> {
    ends.iter().map(|ends| range(*ends)).collect()
}

const ALL: Ends<'_> = (None, None);
const MIDDLE: Ends<'_> = (Some("c"), Some("p"));

#[test]
fn a_range_is_empty_where_it_ends_before_it_begins() {
    for (after, until, expected) in [
        (None, None, false),
        (Some("a"), None, false),
        (None, Some("a"), false),
        (Some("a"), Some("b"), false),
        (Some("a"), Some("a"), true),
        (Some("b"), Some("a"), true),
        (Some("__id10__"), Some("__id9__"), true),
        (Some("__id9__"), Some("__id10__"), false),
    ] {
        assert_eq!(range((after, until)).is_empty(), expected, "{after:?} {until:?}");
    }
}

#[test]
fn two_ranges_overlap_in_what_is_in_both() {
    for (one, other, expected) in [
        (ALL, ALL, ALL),
        (ALL, MIDDLE, MIDDLE),
        ((None, Some("f")), MIDDLE, (Some("c"), Some("f"))),
        ((Some("f"), None), MIDDLE, (Some("f"), Some("p"))),
        ((Some("a"), Some("z")), MIDDLE, MIDDLE),
    ] {
        assert_eq!(range(one).overlap(&range(other)), range(expected), "{one:?} {other:?}");
        assert_eq!(range(other).overlap(&range(one)), range(expected), "{other:?} {one:?}");
    }
    for other in [(None, Some("c")), (Some("p"), None), (Some("x"), Some("z"))] {
        assert!(range(MIDDLE).overlap(&range(other)).is_empty(), "{other:?}");
    }
}

#[test]
fn a_round_of_everybody_may_begin_anywhere_but_lacks_nobody() {
    let around = |of, behind: Option<&str>| Round::around(range(of), behind.map(id).as_ref());
    assert!(around(ALL, None).has_everybody() && around(ALL, Some("k")).has_everybody());
    assert!(!around(MIDDLE, None).has_everybody() && !around(MIDDLE, Some("k")).has_everybody());
    assert!(!around(ALL, None).rest(Some(&id("a"))).has_everybody());
    assert!(!around(ALL, Some("k")).rest(Some(&id("p"))).has_everybody());
    assert!(!around(ALL, Some("k")).rest(Some(&id("a"))).has_everybody());
}

#[test]
fn a_lap_goes_once_round_its_range() {
    for (of, behind, expected) in [
        (ALL, None, &[ALL][..]),
        (ALL, Some("k"), &[(Some("k"), None), (None, Some("k"))]),
        (MIDDLE, None, &[MIDDLE]),
        (MIDDLE, Some("k"), &[(Some("k"), Some("p")), (Some("c"), Some("k"))]),
        // Nobody comes after the last one.
        (MIDDLE, Some("p"), &[MIDDLE]),
        // Not in it.
        (MIDDLE, Some("c"), &[MIDDLE]),
        (MIDDLE, Some("a"), &[MIDDLE]),
        (MIDDLE, Some("z"), &[MIDDLE]),
        ((Some("p"), Some("c")), None, &[]),
        ((Some("p"), Some("c")), Some("k"), &[]),
    ] {
        let round = Round::around(range(of), behind.map(id).as_ref());
        assert_eq!(round.ranges(), ranges(expected), "{of:?} {behind:?}");
    }
}

#[test]
fn what_is_left_of_a_lap_comes_after_the_last_one_in_its_order() {
    let back = (Some("c"), Some("k"));
    for (behind, last, expected) in [
        (None, None, &[MIDDLE][..]),
        (None, Some("k"), &[(Some("k"), Some("p"))]),
        (None, Some("p"), &[]),
        (Some("k"), None, &[(Some("k"), Some("p")), back]),
        (Some("k"), Some("m"), &[(Some("m"), Some("p")), back]),
        (Some("k"), Some("p"), &[back]),
        (Some("k"), Some("d"), &[(Some("d"), Some("k"))]),
        (Some("k"), Some("k"), &[]),
        // Whoever is not in it has passed nobody.
        (None, Some("z"), &[MIDDLE]),
        (None, Some("c"), &[MIDDLE]),
        (Some("k"), Some("a"), &[(Some("k"), Some("p")), back]),
    ] {
        let round = Round::around(range(MIDDLE), behind.map(id).as_ref());
        assert_eq!(round.rest(last.map(id).as_ref()).ranges(), ranges(expected), "{behind:?} {last:?}");
    }
}

#[test]
fn the_cursor_passes_users_in_the_order_in_which_they_are_served() {
    let named = Selection::Named(["m", "d", "k"].map(id).to_vec());
    let round =
        |behind: Option<&str>| Selection::Round(Round::around(range(MIDDLE), behind.map(id).as_ref()));
    for (selection, cursor, passed) in [
        (round(None), "k", &["d", "k"][..]),
        (round(None), "n", &["d", "k", "m"]),
        // Of an attempt before, which this one has not come beyond.
        (round(None), "c", &[]),
        (round(Some("e")), "k", &["k"]),
        (round(Some("e")), "n", &["k", "m"]),
        (round(Some("e")), "d", &["d", "k", "m"]),
        (named.clone(), "m", &["m"]),
        (named.clone(), "d", &["d", "m"]),
        (named, "z", &[]),
    ] {
        let is_passed = |user: &&str| selection.has_passed(&id(cursor), &id(user));
        let users: Vec<_> = ["d", "k", "m"].into_iter().filter(is_passed).collect();
        assert_eq!(users, passed, "{selection:?} {cursor}");
    }
}

proptest! {
    #[test]
    fn whatever_was_passed_and_what_is_left_are_everybody_once(
        ends in proptest::array::uniform2(proptest::option::of("[a-d]{1,3}")),
        behind in proptest::option::of("[a-d]{1,3}"),
        last in proptest::option::of("[a-d]{1,3}"),
        users in proptest::collection::btree_set("[a-d]{1,3}", 0..60),
    ) {
        let [after, until] = ends.map(|end| end.map(|end| id(&end)));
        let range = IdRange { after, until };
        let users: Vec<_> = users.iter().map(|user| id(user)).collect();
        let within = |ranges: &[IdRange]| -> Vec<DocumentId> {
            ranges.iter().flat_map(|range| users.iter().filter(|user| range.contains(user)).cloned()).collect()
        };
        let round = Round::around(range.clone(), behind.map(|behind| id(&behind)).as_ref());
        let mut served = within(round.ranges());
        let last = last.map(|last| id(&last)).filter(|last| served.contains(last));
        let left = within(round.rest(last.as_ref()).ranges());
        prop_assert!(served.ends_with(&left));
        prop_assert_eq!(last.as_ref(), served[..served.len() - left.len()].last());
        if let Some(last) = last {
            let round = Selection::Round(round);
            let has_passed = |user: &&DocumentId| round.has_passed(&last, user);
            prop_assert_eq!(served.iter().filter(has_passed).count(), served.len() - left.len());
        }
        served.sort();
        prop_assert_eq!(served, within(&[range]));
    }
}
