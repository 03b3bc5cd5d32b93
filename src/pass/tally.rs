//! What the pass learns from its users: the counts, and what can only be judged when it closes.

use crate::execution::progress::{Late, UserResult};
use crate::model::durations::Durations;
use crate::model::failing::FailingLong;
use crate::model::fleet_guard::{AtHost, Guard, Rejections};
use crate::model::ids::DocumentId;
use crate::model::key_version::KeyVersion;
use crate::model::keys::Environment;
use crate::model::ledger::Finished;
use crate::model::measures::UserMeasures;
use crate::model::outcome::{Blame, Code, Counts, Outcome};
use crate::model::past::{LastSuccess, Past};
use crate::model::sync_state::{self, PreviousState, SyncState};
use crate::pass::plan::LeftAlone;
use crate::pass::sync_outcome::{KeyVerdict, SyncOutcome};
use crate::pass::user_record::UserRef;
use crate::pass::watched::Failed;
use jiff::Timestamp;
use std::collections::HashMap;
use std::time::Duration;

/// Rejections and panics kept until the pass closes. Those beyond are recorded in the next passes, if they happen
/// again, so that memory does not grow with the number of users.
const MAX_DEFERRED: usize = 10_000;

/// Records that are only to be completed can wait: they leave that room to the others.
const MAX_DEFERRED_UNFINISHED: usize = 1_000;

/// So few users asked about do not tell whether rejections are the provider's fault; until the other
/// tasks have finished theirs, it is better to wait a little.
const TELLING_NUMBER: u64 = 25;

/// What the pass has learned of its users so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Every user whose sync ended, wherever the cursor is: for the log. The ledger has those behind the cursor.
    pub(crate) counts: Counts,
    /// For the fleet guard, at each host: users whose keys it took, and users whose keys it took before and rejects.
    pub(crate) rejections: Rejections,
    /// How long the ways of those took who were synced.
    pub(crate) durations: Durations,
    /// Who has been failing for long, in this attempt of the pass.
    pub(crate) failing_long: FailingLong,
    /// Some of those who failed, for a person who watches.
    pub(crate) failed: Failed,
    deferred: Vec<Deferred>,
    /// When the pass started.
    now: Timestamp,
}

/// What is judged when the pass closes.
#[derive(Debug)]
struct Deferred {
    user: UserRef,
    open: Open,
    counts_as: Outcome,
    /// Since when the user fails and when they last succeeded, as far as it is known.
    past: Option<Past>,
}

#[derive(Debug)]
enum Open {
    Rejected(Environment, KeyVersion),
    Panicked,
    /// Nothing has happened, but the user's state lacks how it began.
    Unfinished,
}

impl Tally {
    /// Goes on from what an earlier attempt has learned, in a pass that started at `now`.
    #[must_use]
    pub(crate) fn after(finished: &Finished, now: Timestamp) -> Self {
        Self { counts: finished.counts.clone(), rejections: finished.rejections, now, ..Self::default() }
    }

    /// What counts, for a retry, of a user who has another turn in this pass.
    #[must_use]
    pub(crate) fn for_now(&self, user: &UserRef, counts_as: Outcome) -> UserResult {
        let blame = Blame::of(counts_as, user.previous.past().as_ref(), self.now);
        let (rejections, measures) = Default::default();
        UserResult { outcome: counts_as, blame, rejections, measures }
    }

    /// Takes in what became of one user whose way took so long, and says what of it counts.
    pub(crate) fn add(&mut self, user: UserRef, outcome: SyncOutcome, took: Duration) -> UserResult {
        let (counts_as, has_panicked) = (outcome.counts_as(), outcome == SyncOutcome::Panicked);
        if let Outcome::Failed(code) = counts_as {
            self.failed.add((code, user.previous.needs_reauth()), &user.id, outcome.why());
        }
        if let SyncOutcome::LeftAlone(LeftAlone::Paused | LeftAlone::UnreadableSwitch) = outcome {
            self.failed.add_paused(&user.id);
        }
        let (key_verdict, past) = outcome.into_findings();
        let past = past.or_else(|| user.previous.past());
        let blame = Blame::of(counts_as, past.as_ref(), self.now);
        let failing_since = self.failing_long.add(blame, past.as_ref(), self.now);
        // Only who is synced has gone the whole way.
        let took = (counts_as == Outcome::Synced).then_some(took);
        if let Some(took) = took {
            self.durations.add(took);
        }
        let open = match &key_verdict {
            Some(KeyVerdict::Rejected(host, version)) => Some(Open::Rejected(*host, version.clone())),
            _ if has_panicked => Some(Open::Panicked),
            _ => is_unfinished(counts_as, &user.previous, past.as_ref()).then_some(Open::Unfinished),
        };
        let mut rejections = Rejections::default();
        if let Some(KeyVerdict::Accepted(host)) = key_verdict {
            rejections = Rejections::accepted_at(host);
        }
        // Without the previous state nothing is recorded, and a rejection may be one that is long known.
        if let Some(open) = open.filter(|_| user.previous != PreviousState::Unknown) {
            rejections += self.defer(Deferred { user, open, counts_as, past });
        }
        self.counts.add(counts_as);
        self.counts.add_blame(blame);
        self.rejections += rejections;
        UserResult { outcome: counts_as, blame, rejections, measures: UserMeasures { took, failing_since } }
    }

    /// Keeps it until the pass closes, if there is room; else it is not recorded in this pass. Returns what of it
    /// counts at once.
    fn defer(&mut self, deferred: Deferred) -> Rejections {
        // Who cannot be kept is not looked up either.
        let is_full = self.deferred.len() >= deferred.room();
        let counts_now = is_full || deferred.past.is_some();
        let rejections = if counts_now { deferred.rejection() } else { Rejections::default() };
        if !is_full {
            self.deferred.push(deferred);
        }
        rejections
    }

    /// The users whose snapshots have to be read before anything is judged.
    pub(crate) fn unread(&self) -> impl Iterator<Item = &DocumentId> {
        self.deferred.iter().filter(|deferred| deferred.past.is_none()).map(|deferred| &deferred.user.id)
    }

    /// Takes in what their snapshots say; a user whose snapshot could not be read is not among them. Says
    /// what of it counts.
    pub(crate) fn learn(&mut self, read: &HashMap<DocumentId, Option<LastSuccess>>, now: Timestamp) -> Late {
        let mut late = Late::default();
        for deferred in self.deferred.iter_mut().filter(|deferred| deferred.past.is_none()) {
            let last_success = read.get(&deferred.user.id);
            deferred.past = last_success.map(|last| deferred.user.previous.past_with(last.clone(), now));
            late.rejections += deferred.rejection();
            let blame = Blame::of(deferred.counts_as, deferred.past.as_ref(), self.now);
            let failing_since = self.failing_long.add(blame, deferred.past.as_ref(), self.now);
            late.measures.add(UserMeasures { took: None, failing_since });
            late.stale += u64::from(blame.is_stale);
        }
        self.rejections += late.rejections;
        self.counts.stale += late.stale;
        late
    }

    /// Whether it depends on what other tasks have seen how the rejections are judged: there are some, and
    /// with what is `known` of the others they are too few to tell.
    #[must_use]
    pub(crate) fn need_others(&self, known: &Rejections) -> bool {
        let users = |host| self.rejections.at(host).users() + known.at(host).users();
        let counted = |deferred: &Deferred| deferred.rejected_at().filter(|_| deferred.counts());
        self.deferred.iter().filter_map(counted).any(|host| users(host) < TELLING_NUMBER)
    }

    /// The hosts at which so many were rejected that nobody is marked for it, with what the other tasks
    /// have seen.
    #[must_use]
    pub(crate) fn fleet_wide(&self, of_others: Rejections) -> Vec<(Environment, AtHost)> {
        self.with(of_others).fleet_wide().collect()
    }

    /// What is to be recorded at the end of the pass.
    #[must_use]
    pub(crate) fn records(&self, of_others: Rejections, now: Timestamp) -> Vec<(DocumentId, SyncState)> {
        let all = self.with(of_others);
        let record = |deferred: &Deferred| Some((deferred.user.id.clone(), deferred.record(&all, now)?));
        self.deferred.iter().filter_map(record).collect()
    }

    fn with(&self, of_others: Rejections) -> Rejections {
        let mut all = self.rejections;
        all += of_others;
        all
    }
}

/// Whether the state of a user who waits was written by an older version, or without their snapshot.
fn is_unfinished(counts_as: Outcome, previous: &PreviousState, past: Option<&Past>) -> bool {
    counts_as == Outcome::NeedsReauth && previous.lacks_past() && past.is_none()
}

impl Deferred {
    /// How many others may be kept before it.
    fn room(&self) -> usize {
        match &self.open {
            Open::Rejected(..) | Open::Panicked => MAX_DEFERRED,
            Open::Unfinished => MAX_DEFERRED_UNFINISHED,
        }
    }

    fn rejected_at(&self) -> Option<Environment> {
        match &self.open {
            Open::Rejected(host, _) => Some(*host),
            Open::Panicked | Open::Unfinished => None,
        }
    }

    /// Whether the rejection says something about its host. Keys that it never took say nothing, nor do
    /// those that are known to be rejected. What could not be read may well have been taken.
    fn counts(&self) -> bool {
        self.has_worked() && !self.user.previous.needs_reauth()
    }

    fn has_worked(&self) -> bool {
        match &self.open {
            Open::Rejected(_, version) => self.past.as_ref().is_none_or(|past| past.has_worked(version)),
            Open::Panicked | Open::Unfinished => false,
        }
    }

    /// What the fleet guard counts of it.
    fn rejection(&self) -> Rejections {
        let host = self.rejected_at().filter(|_| self.counts());
        host.map(Rejections::rejected_at).unwrap_or_default()
    }

    fn record(&self, all: &Rejections, now: Timestamp) -> Option<SyncState> {
        let (previous, past) = (&self.user.previous, self.past.as_ref());
        match &self.open {
            Open::Rejected(host, version) => {
                let guard = match self.has_worked() {
                    true => all.at(*host).guard(past, now),
                    false => Guard::Off,
                };
                sync_state::after_rejection(previous, past, version, guard, now)
            }
            Open::Panicked => sync_state::after_failure(previous, past, Code::Internal, None, now),
            Open::Unfinished => sync_state::completed(previous, past),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::Code;
    use crate::model::sync_state::State;
    use crate::pass::sync_outcome::NoSnapshot;

    const PAPER: Environment = Environment::Paper;
    const LIVE: Environment = Environment::Live;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + 60 * minute).expect("in range")
    }

    fn version() -> KeyVersion {
        KeyVersion::parse("3").expect("a number")
    }

    fn worked() -> Option<LastSuccess> {
        Some(LastSuccess { at: at(0), key_version: Some(version()) })
    }

    fn id(n: usize) -> DocumentId {
        DocumentId::parse(&format!("user-{n}")).expect("legal")
    }

    fn rejected_as(counts_as: Outcome, host: Environment) -> SyncOutcome {
        let key_verdict = Some(KeyVerdict::Rejected(host, version()));
        SyncOutcome::NoSnapshot(NoSnapshot { counts_as, key_verdict, past: None, why: None })
    }

    fn rejected(host: Environment) -> SyncOutcome {
        rejected_as(Outcome::Failed(Code::BrokerRejected), host)
    }

    fn accepted(host: Environment) -> SyncOutcome {
        SyncOutcome::Synced(host)
    }

    /// What a snapshot says; `None` when it cannot be read.
    type Read = Option<Option<LastSuccess>>;

    /// A pass over users without a state who end so.
    fn pass(ends: &[(SyncOutcome, Read)]) -> (Tally, Late) {
        let mut tally = Tally::after(&Finished::default(), at(1));
        let mut read = HashMap::new();
        for (n, (end, snapshot)) in ends.iter().enumerate() {
            tally.add(UserRef { id: id(n), previous: PreviousState::Clean }, end.clone(), Duration::ZERO);
            read.extend(snapshot.clone().map(|snapshot| (id(n), snapshot)));
        }
        let late = tally.learn(&read, at(1));
        (tally, late)
    }

    /// So many of each, one after the other.
    fn ends(of: &[(usize, SyncOutcome, Read)]) -> Vec<(SyncOutcome, Read)> {
        of.iter().flat_map(|(times, end, snapshot)| vec![(end.clone(), snapshot.clone()); *times]).collect()
    }

    /// Where the guard trips, and the rejections that each record counts.
    fn judged(tally: &Tally) -> (Vec<(Environment, AtHost)>, Vec<u32>) {
        let none = Rejections::default();
        let records = tally.records(none, at(1));
        (tally.fleet_wide(none), records.iter().map(|(_, record)| record.rejections).collect())
    }

    #[test]
    fn newcomers_with_made_up_keys_are_their_own_fault() {
        let (tally, late) = pass(&ends(&[(5, rejected(PAPER), Some(None)), (19, accepted(PAPER), None)]));
        assert_eq!((judged(&tally), late), ((vec![], vec![1; 5]), Late::default()));
    }

    #[test]
    fn keys_that_worked_and_are_rejected_in_numbers_mark_nobody_at_that_host() {
        let all = ends(&[
            (5, rejected(LIVE), Some(worked())),
            (20, accepted(PAPER), None),
            (1, rejected(PAPER), Some(worked())),
            (2, rejected(LIVE), Some(None)),
        ]);
        let (tally, late) = pass(&all);
        let live = AtHost { accepted: 0, rejected: 5 };
        // Held back at the one host; counted at the other, and of keys that never worked.
        assert_eq!(judged(&tally), (vec![(LIVE, live)], vec![0, 0, 0, 0, 0, 1, 1, 1]));
        assert_eq!(late.rejections.at(LIVE), live);
        assert_eq!(tally.counts.error(), 8, "they count as failed all the same");
    }

    #[test]
    fn newcomers_with_made_up_keys_do_not_hold_the_guard_down() {
        let (tally, _) = pass(&ends(&[
            (100, rejected(PAPER), Some(None)),
            (3, rejected(PAPER), Some(worked())),
            (11, accepted(PAPER), None),
        ]));
        assert_eq!(judged(&tally).0, [(PAPER, AtHost { accepted: 11, rejected: 3 })]);
    }

    #[test]
    fn who_could_not_be_looked_up_may_have_worked_before() {
        let (tally, _) = pass(&ends(&[(3, rejected(PAPER), None), (11, accepted(PAPER), None)]));
        let records = tally.records(Rejections::default(), at(1));
        assert_eq!(judged(&tally).0, [(PAPER, AtHost { accepted: 11, rejected: 3 })]);
        assert!(records.iter().all(|(_, record)| record.failing_since.is_none() && record.rejections == 0));
    }

    #[test]
    fn other_tasks_rejections_count() {
        let (tally, _) = pass(&ends(&[(2, rejected(PAPER), Some(worked()))]));
        assert_eq!(judged(&tally), (vec![], vec![1; 2]), "two are too few to tell");
        let mut of_others = Rejections::accepted_at(PAPER);
        (0..2).for_each(|_| of_others += Rejections::rejected_at(PAPER));
        assert_eq!(tally.fleet_wide(of_others), [(PAPER, AtHost { accepted: 1, rejected: 4 })]);
        assert!(tally.records(of_others, at(1)).iter().all(|(_, record)| record.rejections == 0));
        assert!(tally.need_others(&of_others));
        (0..20).for_each(|_| of_others += Rejections::accepted_at(LIVE));
        assert!(tally.need_others(&of_others), "those of another host do not tell");
        (0..20).for_each(|_| of_others += Rejections::accepted_at(PAPER));
        assert!(!tally.need_others(&of_others));
        let (newcomers, _) = pass(&ends(&[(2, rejected(PAPER), Some(None))]));
        assert!(!newcomers.need_others(&Rejections::default()), "nothing depends on it");
    }

    #[test]
    fn users_known_to_be_rejected_prove_nothing() {
        let past = Past { failing_since: at(0), last_success: worked() };
        let known = (0..2).fold(PreviousState::Clean, |previous, _| {
            let record = sync_state::after_rejection(&previous, Some(&past), &version(), Guard::Off, at(0));
            PreviousState::Troubled(record.expect("recorded"))
        });
        let mut tally = Tally::after(&Finished::default(), at(1));
        (0..100).for_each(|n| {
            let user = UserRef { id: id(n), previous: known.clone() };
            tally.add(user, rejected_as(Outcome::NeedsReauth, PAPER), Duration::ZERO);
        });
        assert_eq!(judged(&tally), (vec![], vec![3; 100]));
        assert_eq!((tally.counts.ours, tally.counts.stale), (0, 0));
    }

    #[test]
    fn a_state_that_could_not_be_read_proves_nothing_of_a_rejection_and_something_of_an_acceptance() {
        let mut tally = Tally::after(&Finished::default(), at(1));
        for (n, end) in
            [rejected(PAPER), rejected(PAPER), rejected(PAPER), accepted(PAPER)].into_iter().enumerate()
        {
            tally.add(UserRef { id: id(n), previous: PreviousState::Unknown }, end, Duration::ZERO);
        }
        assert_eq!(tally.unread().count(), 0);
        assert_eq!(tally.rejections.at(PAPER), AtHost { accepted: 1, rejected: 0 });
        assert_eq!(judged(&tally), (vec![], vec![]));
    }

    #[test]
    fn a_panic_is_a_failure_of_ours_and_is_recorded() {
        let old = LastSuccess { at: at(-9), key_version: None };
        let (tally, late) = pass(&[(SyncOutcome::Panicked, Some(Some(old)))]);
        assert_eq!(tally.counts.errors.get(&Code::Internal), Some(&1));
        assert_eq!((tally.counts.ours, tally.counts.stale, late.stale), (1, 1, 1));
        let records = tally.records(Rejections::default(), at(1));
        assert_eq!((records[0].1.state, records[0].1.error), (State::Retrying, Some(Code::Internal)));
    }

    #[test]
    fn what_was_read_when_it_failed_counts_at_once() {
        let old =
            Past { failing_since: at(0), last_success: Some(LastSuccess { at: at(-9), key_version: None }) };
        let mut tally = Tally::after(&Finished::default(), at(1));
        let counts_as = Outcome::Failed(Code::BrokerUnavailable);
        let failed = NoSnapshot { counts_as, key_verdict: None, past: Some(old), why: None };
        let failed = SyncOutcome::NoSnapshot(failed);
        let result = tally.add(UserRef { id: id(0), previous: PreviousState::Clean }, failed, Duration::ZERO);
        assert_eq!(result.blame, Blame { is_ours: true, is_stale: true });
        assert_eq!((tally.counts.ours, tally.counts.stale), (1, 1));
        assert_eq!(tally.unread().count(), 0);
    }

    #[test]
    fn records_that_are_only_to_be_completed_leave_room_for_rejections() {
        let past = Past { failing_since: at(0), last_success: None };
        let known = (0..2).fold(PreviousState::Clean, |previous, _| {
            let record = sync_state::after_rejection(&previous, Some(&past), &version(), Guard::Off, at(0));
            PreviousState::Troubled(SyncState { failing_since: None, ..record.expect("recorded") })
        });
        let mut tally = Tally::after(&Finished::default(), at(1));
        (0..MAX_DEFERRED).for_each(|n| {
            let waiting = UserRef { id: id(n), previous: known.clone() };
            tally.add(waiting, SyncOutcome::LeftAlone(LeftAlone::WaitsForReauth), Duration::ZERO);
        });
        assert_eq!(tally.unread().count(), MAX_DEFERRED_UNFINISHED);
        tally.add(
            UserRef { id: id(MAX_DEFERRED), previous: PreviousState::Clean },
            rejected(PAPER),
            Duration::ZERO,
        );
        assert_eq!(tally.unread().count(), MAX_DEFERRED_UNFINISHED + 1);
        let read = tally.unread().map(|user| (user.clone(), None)).collect();
        assert_eq!(tally.learn(&read, at(1)), Late::default());
        let records = tally.records(Rejections::default(), at(1));
        assert_eq!(records.len(), MAX_DEFERRED_UNFINISHED + 1);
        assert!(records.iter().all(|(_, record)| record.failing_since.is_some()));
    }

    #[test]
    fn what_is_held_for_the_end_is_bounded_and_what_is_not_held_still_counts() {
        let many = MAX_DEFERRED + 2_000;
        let (tally, _) =
            pass(&ends(&[(many, rejected(PAPER), Some(worked())), (30_000, accepted(PAPER), None)]));
        assert_eq!(tally.records(Rejections::default(), at(1)).len(), MAX_DEFERRED);
        let expected = AtHost { accepted: 30_000, rejected: many as u64 };
        assert_eq!(tally.fleet_wide(Rejections::default()), [(PAPER, expected)]);
    }
}
