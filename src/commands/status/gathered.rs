//! What all users together come to.

use crate::commands::standing::{Cause, Condition, Standing};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Users who are named: those who have been failing longest.
const NAMED: usize = 10;

/// What was seen of the users: counts, and a few names, however many they are.
#[derive(Debug)]
pub(super) struct Gathered {
    /// Users in trouble, by what it is.
    pub(super) trouble: BTreeMap<Kind, Group>,
    /// Those in trouble for a cause of ours who have been failing longest, longest first.
    pub(super) longest: Vec<Named>,
    /// For each cause of ours, whom to look at: of those whose figures are stale for it, if any are, who has been failing
    /// longest.
    examples: BTreeMap<Kind, Named>,
    /// Those whose figures are stale for a cause of ours.
    pub(super) stale: u64,
    /// How old everybody's figures are; only with `--all`.
    pub(super) ages: Option<Ages>,
}

/// A kind of trouble.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) cause: Cause,
    pub(super) state: Condition,
    pub(super) error: Option<&'static str>,
}

/// The users who have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) users: u64,
    /// Those of them whom readers call stale.
    pub(super) stale: u64,
    pub(super) failing_since: Option<Timestamp>,
}

/// One of those who have been failing longest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Named {
    pub(super) user_id: String,
    pub(super) error: Option<&'static str>,
    pub(super) failing_since: Option<Timestamp>,
    pub(super) snapshot: &'static str,
    pub(super) age_s: Option<i64>,
}

/// How old everybody's figures are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ages {
    seconds: Vec<i64>,
    pub(super) users: u64,
    pub(super) missing: u64,
    pub(super) malformed: u64,
    pub(super) stale: u64,
    pub(super) paused: u64,
}

impl Gathered {
    pub(super) fn new(with_ages: bool) -> Self {
        let ages = with_ages.then(Ages::default);
        Self { trouble: BTreeMap::new(), longest: Vec::new(), examples: BTreeMap::new(), stale: 0, ages }
    }

    /// Takes in one user.
    pub(super) fn add(&mut self, user: &Standing<'_>, now: Timestamp) {
        if let Some(ages) = &mut self.ages {
            ages.add(user);
        }
        self.stale += u64::from(user.is_stale_of_ours());
        let Some(cause) = user.cause.filter(|_| user.state != Condition::Paused) else { return };
        let kind = Kind { cause, state: user.state, error: user.error };
        let group =
            self.trouble.entry(kind.clone()).or_insert(Group { users: 0, stale: 0, failing_since: None });
        group.users += 1;
        group.stale += u64::from(user.snapshot == "stale");
        group.failing_since = [group.failing_since, user.failing_since].into_iter().flatten().min();
        if cause == Cause::Ours {
            self.name(kind, user, now);
        }
    }

    fn name(&mut self, kind: Kind, user: &Standing<'_>, now: Timestamp) {
        let own = rank(user.failing_since, user.snapshot, now);
        let is_before = |named: &Named| rank(named.failing_since, named.snapshot, now) <= own;
        let place = self.longest.partition_point(is_before);
        if place < NAMED {
            self.longest.insert(place, Named::of(user));
            self.longest.truncate(NAMED);
        }
        let by_staleness = |(since, is_not_stale)| (is_not_stale, since);
        let is_worse =
            |named: &Named| by_staleness(rank(named.failing_since, named.snapshot, now)) <= by_staleness(own);
        if !self.examples.get(&kind).is_some_and(is_worse) {
            self.examples.insert(kind, Named::of(user));
        }
    }

    /// Whether everybody was looked at, and there is somebody.
    pub(super) fn is_of_everybody(&self) -> bool {
        self.ages.as_ref().is_some_and(|ages| ages.users > 0)
    }

    /// The kinds of trouble whose cause is ours, by their size, the largest first; none of nobody.
    pub(super) fn of_ours(&self, size: fn(&Group) -> u64) -> Vec<(&Kind, &Group)> {
        let is_some = |(kind, group): &(&Kind, &Group)| kind.cause == Cause::Ours && size(group) > 0;
        let mut kinds: Vec<_> = self.trouble.iter().filter(is_some).collect();
        kinds.sort_by_key(|(_, group)| Reverse(size(group)));
        kinds
    }

    /// Who shows the cause that most users have, of those who are stale, if anybody is.
    pub(super) fn leads_on(&self) -> Option<&Named> {
        let stale = self.of_ours(|group| group.stale);
        let kinds = if stale.is_empty() { self.of_ours(|group| group.users) } else { stale };
        self.examples.get(kinds.first()?.0)
    }

    /// All kinds of trouble: first ours, and of each cause the largest first.
    pub(super) fn by_size(&self) -> Vec<(&Kind, &Group)> {
        let mut kinds: Vec<_> = self.trouble.iter().collect();
        kinds.sort_by_key(|(kind, group)| (kind.cause, Reverse(group.users)));
        kinds
    }

    /// Users in trouble for that cause.
    pub(super) fn users(&self, cause: Cause) -> u64 {
        self.trouble.iter().filter(|(kind, _)| kind.cause == cause).map(|(_, group)| group.users).sum()
    }

    /// Users in that state.
    pub(super) fn users_in(&self, state: Condition) -> u64 {
        self.trouble.iter().filter(|(kind, _)| kind.state == state).map(|(_, group)| group.users).sum()
    }
}

/// Who comes first: whoever has been failing for longer, whether they ever synced or not, and of those who came into
/// trouble together, those whose figures are too old. Last comes whom no pulse reaches: they do not fail.
fn rank(failing_since: Option<Timestamp>, snapshot: &str, now: Timestamp) -> (Timestamp, bool) {
    (failing_since.unwrap_or(now), snapshot != "stale")
}

impl Named {
    fn of(user: &Standing<'_>) -> Self {
        let Standing { user_id, error, failing_since, snapshot, age_s, .. } = *user;
        Self { user_id: user_id.to_owned(), error, failing_since, snapshot, age_s }
    }
}

impl Ages {
    fn add(&mut self, user: &Standing<'_>) {
        self.users += 1;
        self.paused += u64::from(user.state == Condition::Paused);
        match (user.snapshot, user.age_s) {
            ("missing", _) => self.missing += 1,
            (_, Some(age)) => self.seconds.push(age),
            (_, None) => self.malformed += 1,
        }
        self.stale += u64::from(user.snapshot == "stale");
    }

    /// The age that so many of 100 snapshots have at most; none without snapshots.
    pub(super) fn percentile(&mut self, of_hundred: usize) -> Option<SignedDuration> {
        let last = self.seconds.len().checked_sub(1)?;
        let place = (self.seconds.len() * of_hundred).div_ceil(100).saturating_sub(1).min(last);
        let (_, age, _) = self.seconds.select_nth_unstable(place);
        Some(SignedDuration::from_secs(*age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn user(id: &str) -> Standing<'_> {
        Standing {
            user_id: id,
            state: Condition::Ok,
            error: None,
            cause: None,
            failing_since: None,
            next_attempt_at: None,
            snapshot: "fresh",
            age_s: Some(10),
            environment: Some("paper"),
            tenant_id: None,
        }
    }

    fn failing(id: &str, cause: Cause, since: i64) -> Standing<'_> {
        let (state, error, failing_since) =
            (Condition::Retrying, Some("broker_unavailable"), Some(at(since)));
        Standing {
            state,
            error,
            cause: Some(cause),
            failing_since,
            snapshot: "stale",
            age_s: Some(400),
            ..user(id)
        }
    }

    #[test]
    fn the_longest_failing_are_named_and_no_more_than_a_few() {
        let ids: Vec<String> = (0..40).map(|n| format!("u{n}")).collect();
        let mut gathered = Gathered::new(false);
        for (n, id) in ids.iter().enumerate() {
            // In no order: 0, 7, 14, … around 40.
            gathered.add(&failing(id, Cause::Ours, (n as i64 * 7) % 40), at(1000));
        }
        gathered.add(&failing("theirs", Cause::User, -5), at(1000));
        let since: Vec<_> = gathered.longest.iter().filter_map(|named| named.failing_since).collect();
        assert_eq!(since, (0..10).map(at).collect::<Vec<_>>());
        assert_eq!((gathered.users(Cause::Ours), gathered.users(Cause::User), gathered.stale), (40, 1, 40));
    }

    #[test]
    fn whoever_never_synced_comes_where_their_trouble_began() {
        let never = |id: &'static str, since| Standing {
            snapshot: "missing",
            age_s: None,
            ..failing(id, Cause::Ours, since)
        };
        let fresh = |id: &'static str, since| Standing {
            snapshot: "fresh",
            age_s: Some(30),
            ..failing(id, Cause::Ours, since)
        };
        let unseen = Standing { failing_since: None, ..failing("unseen", Cause::Ours, 0) };
        for (users, order, example) in [
            (
                vec![never("a", 30), failing("b", Cause::Ours, 10), never("c", 20)],
                &["b", "c", "a"][..],
                Some("b"),
            ),
            (vec![never("a", 10), failing("b", Cause::Ours, 20)], &["a", "b"], Some("b")),
            // An outage: all of them at once.
            (
                vec![
                    never("a", 10),
                    fresh("b", 10),
                    failing("c", Cause::Ours, 10),
                    failing("d", Cause::Ours, 10),
                ],
                &["c", "d", "a", "b"],
                Some("c"),
            ),
            (vec![unseen, never("a", 10)], &["a", "unseen"], Some("unseen")),
            (vec![never("a", 10)], &["a"], Some("a")),
        ] {
            let mut gathered = Gathered::new(false);
            users.iter().for_each(|user| gathered.add(user, at(1000)));
            let named: Vec<_> = gathered.longest.iter().map(|named| named.user_id.as_str()).collect();
            assert_eq!(named, order);
            assert_eq!(gathered.leads_on().map(|named| named.user_id.as_str()), example, "{order:?}");
        }
    }

    #[test]
    fn groups_count_their_users_and_know_the_first() {
        let mut gathered = Gathered::new(false);
        for since in [30, 10, 20] {
            gathered.add(&failing("u", Cause::Ours, since), at(1000));
        }
        gathered.add(&user("well"), at(1000));
        gathered.add(
            &Standing { state: Condition::Paused, cause: Some(Cause::User), ..user("paused") },
            at(1000),
        );
        let groups: Vec<_> = gathered.by_size().into_iter().map(|(_, group)| *group).collect();
        assert_eq!(groups, [Group { users: 3, stale: 3, failing_since: Some(at(10)) }]);
    }

    #[test]
    fn ages_are_told_by_percentiles() {
        let mut ages = Ages::default();
        assert_eq!(ages.percentile(50), None);
        for age in (1..=200).rev() {
            ages.add(&Standing { age_s: Some(age), ..user("u") });
        }
        ages.add(&Standing { age_s: None, snapshot: "missing", ..user("u") });
        ages.add(&Standing { age_s: None, snapshot: "malformed", ..user("u") });
        for (of_hundred, expected) in [(50, 100), (95, 190), (99, 198), (100, 200), (0, 1)] {
            assert_eq!(
                ages.percentile(of_hundred),
                Some(SignedDuration::from_secs(expected)),
                "{of_hundred}"
            );
        }
        assert_eq!((ages.users, ages.missing, ages.malformed), (202, 1, 1));
    }
}
