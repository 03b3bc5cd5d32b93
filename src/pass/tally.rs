//! What the pass learns from its users' journeys: the counts, and what can only be judged at the end.

use crate::execution::progress::{Late, UserResult};
use crate::model::fleet_guard::{AtHost, Guard, Rejections};
use crate::model::ids::DocumentId;
use crate::model::key_version::KeyVersion;
use crate::model::keys::Environment;
use crate::model::ledger::Finished;
use crate::model::outcome::{Blame, Code, Counts, Outcome};
use crate::model::past::{LastSuccess, Past};
use crate::model::sync_state::{self as trouble, PreviousState, SyncState};
use jiff::Timestamp;
use std::collections::HashMap;
use tracing::error;

/// Rejections and panics kept for the end of the pass. More than this many new ones in one pass are
/// recorded at the next pulses, so that memory does not grow with the number of users.
const MAX_HELD: usize = 10_000;

/// Records that are only to be completed can wait: they leave that room to the others.
const MAX_HELD_UNFINISHED: usize = 1_000;

/// So few users asked about do not tell whether rejections are the provider's fault; until the other
/// tasks have finished theirs, it is better to wait a little.
const TELLING_NUMBER: u64 = 25;

/// Who a journey was about.
#[derive(Clone, Debug)]
pub(crate) struct UserRef {
    /// The user.
    pub(crate) id: DocumentId,
    /// What was known of their trouble.
    pub(crate) history: PreviousState,
}

/// What Alpaca said of a user's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// This host took them.
    Accepted(Environment),
    /// This host rejected those of this version.
    Rejected(Environment, KeyVersion),
}

/// How a journey ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyncOutcome {
    /// For the counts.
    pub(crate) outcome: Outcome,
    /// What Alpaca said of the keys, if it did.
    pub(crate) word: Option<Word>,
    /// How the user came into trouble, where that was found out on the way.
    pub(crate) past: Option<Past>,
}

impl SyncOutcome {
    /// An end without a word from Alpaca.
    #[must_use]
    pub(crate) fn unasked(outcome: Outcome) -> Self {
        Self { outcome, word: None, past: None }
    }
}

/// Everything learned so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Every user once.
    pub(crate) counts: Counts,
    /// Users whose keys Alpaca took, now or before.
    pub(crate) rejections: Rejections,
    held: Vec<Held>,
    /// When the pass started.
    now: Timestamp,
}

/// A journey's end that is judged when all have ended.
#[derive(Debug)]
struct Held {
    traveller: UserRef,
    open: Open,
    outcome: Outcome,
    /// As far as it is known.
    past: Option<Past>,
}

#[derive(Debug)]
enum Open {
    Rejected(Environment, KeyVersion),
    Panicked,
    /// Nothing has happened, but the record lacks how it came to that.
    Unfinished,
}

impl Tally {
    /// Goes on from what an earlier attempt has learned, in a pass that started at `now`.
    #[must_use]
    pub(crate) fn after(finished: &Finished, now: Timestamp) -> Self {
        Self { counts: finished.counts.clone(), rejections: finished.rejections, held: Vec::new(), now }
    }

    /// Takes in how one journey ended, `None` when its task panicked, and says what of it counts.
    pub(crate) fn add(&mut self, traveller: UserRef, end: Option<SyncOutcome>) -> UserResult {
        let has_panicked = end.is_none();
        let SyncOutcome { outcome, word, past } = end.unwrap_or_else(|| panicked(&traveller.id));
        let past = past.or_else(|| traveller.history.past());
        let blame = Blame::of(outcome, past.as_ref(), self.now);
        let open = match &word {
            Some(Word::Rejected(host, version)) => Some(Open::Rejected(*host, version.clone())),
            _ if has_panicked => Some(Open::Panicked),
            _ => is_unfinished(outcome, &traveller.history, past.as_ref()).then_some(Open::Unfinished),
        };
        let mut rejections = Rejections::default();
        if let Some(Word::Accepted(host)) = word {
            rejections = Rejections::accepted_at(host);
        }
        if let Some(open) = open.filter(|_| traveller.history != PreviousState::Unknown) {
            let held = Held { traveller, open, outcome, past };
            // Who cannot be held is not looked up either.
            let is_full = self.held.len() >= held.room();
            if is_full || held.past.is_some() {
                rejections += held.rejection();
            }
            if !is_full {
                self.held.push(held);
            }
        }
        self.counts.add(outcome);
        self.counts.add_blame(blame);
        self.rejections += rejections;
        UserResult { outcome, blame, rejections }
    }

    /// The users whose snapshots have to be read before anything is judged.
    pub(crate) fn unread(&self) -> impl Iterator<Item = &DocumentId> {
        self.held.iter().filter(|held| held.past.is_none()).map(|held| &held.traveller.id)
    }

    /// Takes in what their snapshots say; a user whose snapshot could not be read is not among them. Says
    /// what of it counts.
    pub(crate) fn learn(&mut self, read: &HashMap<DocumentId, Option<LastSuccess>>, now: Timestamp) -> Late {
        let mut late = Late::default();
        for held in self.held.iter_mut().filter(|held| held.past.is_none()) {
            let last_success = read.get(&held.traveller.id);
            held.past = last_success.map(|last| held.traveller.history.past_with(last.clone(), now));
            late.rejections += held.rejection();
            late.stale += u64::from(Blame::of(held.outcome, held.past.as_ref(), self.now).is_stale);
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
        let counted = |held: &Held| held.rejected_at().filter(|_| held.counts());
        self.held.iter().filter_map(counted).any(|host| users(host) < TELLING_NUMBER)
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
        let record = |held: &Held| Some((held.traveller.id.clone(), held.record(&all, now)?));
        self.held.iter().filter_map(record).collect()
    }

    fn with(&self, of_others: Rejections) -> Rejections {
        let mut all = self.rejections;
        all += of_others;
        all
    }
}

fn panicked(id: &DocumentId) -> SyncOutcome {
    let (user_id, error) = (id.as_str(), Code::Internal.as_str());
    error!(user_id, error, "Failed to sync Alpaca account for user {id}: its task panicked");
    SyncOutcome::unasked(Outcome::Failed(Code::Internal))
}

/// Whether the record of a user who waits was written by an older version, or without their snapshot.
fn is_unfinished(outcome: Outcome, history: &PreviousState, past: Option<&Past>) -> bool {
    outcome == Outcome::NeedsReauth && history.lacks_past() && past.is_none()
}

impl Held {
    /// How many there may be before it.
    fn room(&self) -> usize {
        match &self.open {
            Open::Rejected(..) | Open::Panicked => MAX_HELD,
            Open::Unfinished => MAX_HELD_UNFINISHED,
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
        self.has_worked() && !self.traveller.history.needs_reauth()
    }

    fn has_worked(&self) -> bool {
        match &self.open {
            Open::Rejected(_, version) => self.past.as_ref().is_none_or(|past| past.has_worked(version)),
            Open::Panicked | Open::Unfinished => false,
        }
    }

    /// For the fleet guard.
    fn rejection(&self) -> Rejections {
        let host = self.rejected_at().filter(|_| self.counts());
        host.map(Rejections::rejected_at).unwrap_or_default()
    }

    fn record(&self, all: &Rejections, now: Timestamp) -> Option<SyncState> {
        let (history, past) = (&self.traveller.history, self.past.as_ref());
        match &self.open {
            Open::Rejected(host, version) => {
                let guard = match self.has_worked() {
                    true => all.at(*host).guard(past, now),
                    false => Guard::Off,
                };
                trouble::after_rejection(history, past, version, guard, now)
            }
            Open::Panicked => trouble::after_failure(history, past, Code::Internal, None, now),
            Open::Unfinished => trouble::completed(history, past),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sync_state::State;

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

    fn rejected(host: Environment) -> Option<SyncOutcome> {
        let word = Some(Word::Rejected(host, version()));
        Some(SyncOutcome { outcome: Outcome::Failed(Code::BrokerRejected), word, past: None })
    }

    fn accepted(host: Environment) -> Option<SyncOutcome> {
        Some(SyncOutcome { outcome: Outcome::Synced, word: Some(Word::Accepted(host)), past: None })
    }

    /// What a snapshot says; `None` when it cannot be read.
    type Read = Option<Option<LastSuccess>>;

    /// A pass over users without trouble who end so.
    fn pass(ends: &[(Option<SyncOutcome>, Read)]) -> (Tally, Late) {
        let mut verdicts = Tally::after(&Finished::default(), at(1));
        let mut read = HashMap::new();
        for (n, (end, snapshot)) in ends.iter().enumerate() {
            verdicts.add(UserRef { id: id(n), history: PreviousState::Clean }, end.clone());
            read.extend(snapshot.clone().map(|snapshot| (id(n), snapshot)));
        }
        let late = verdicts.learn(&read, at(1));
        (verdicts, late)
    }

    /// So many of each, one after the other.
    fn ends(of: &[(usize, Option<SyncOutcome>, Read)]) -> Vec<(Option<SyncOutcome>, Read)> {
        of.iter().flat_map(|(times, end, snapshot)| vec![(end.clone(), snapshot.clone()); *times]).collect()
    }

    /// Where the guard trips, and the rejections that each record counts.
    fn judged(verdicts: &Tally) -> (Vec<(Environment, AtHost)>, Vec<u32>) {
        let none = Rejections::default();
        let records = verdicts.records(none, at(1));
        (verdicts.fleet_wide(none), records.iter().map(|(_, record)| record.rejections).collect())
    }

    #[test]
    fn newcomers_with_made_up_keys_are_their_own_fault() {
        let (verdicts, late) = pass(&ends(&[(5, rejected(PAPER), Some(None)), (19, accepted(PAPER), None)]));
        assert_eq!((judged(&verdicts), late), ((vec![], vec![1; 5]), Late::default()));
    }

    #[test]
    fn keys_that_worked_and_are_rejected_in_numbers_mark_nobody_at_that_host() {
        let all = ends(&[
            (5, rejected(LIVE), Some(worked())),
            (20, accepted(PAPER), None),
            (1, rejected(PAPER), Some(worked())),
            (2, rejected(LIVE), Some(None)),
        ]);
        let (verdicts, late) = pass(&all);
        let live = AtHost { accepted: 0, rejected: 5 };
        // Held back at the one host; counted at the other, and of keys that never worked.
        assert_eq!(judged(&verdicts), (vec![(LIVE, live)], vec![0, 0, 0, 0, 0, 1, 1, 1]));
        assert_eq!(late.rejections.at(LIVE), live);
        assert_eq!(verdicts.counts.error(), 8, "they count as failed all the same");
    }

    #[test]
    fn newcomers_with_made_up_keys_do_not_hold_the_guard_down() {
        let (verdicts, _) = pass(&ends(&[
            (100, rejected(PAPER), Some(None)),
            (3, rejected(PAPER), Some(worked())),
            (11, accepted(PAPER), None),
        ]));
        assert_eq!(judged(&verdicts).0, [(PAPER, AtHost { accepted: 11, rejected: 3 })]);
    }

    #[test]
    fn who_could_not_be_looked_up_may_have_worked_before() {
        let (verdicts, _) = pass(&ends(&[(3, rejected(PAPER), None), (11, accepted(PAPER), None)]));
        let records = verdicts.records(Rejections::default(), at(1));
        assert_eq!(judged(&verdicts).0, [(PAPER, AtHost { accepted: 11, rejected: 3 })]);
        assert!(records.iter().all(|(_, record)| record.failing_since.is_none() && record.rejections == 0));
    }

    #[test]
    fn other_tasks_rejections_count() {
        let (verdicts, _) = pass(&ends(&[(2, rejected(PAPER), Some(worked()))]));
        assert_eq!(judged(&verdicts), (vec![], vec![1; 2]), "two are too few to tell");
        let mut of_others = Rejections::accepted_at(PAPER);
        (0..2).for_each(|_| of_others += Rejections::rejected_at(PAPER));
        assert_eq!(verdicts.fleet_wide(of_others), [(PAPER, AtHost { accepted: 1, rejected: 4 })]);
        assert!(verdicts.records(of_others, at(1)).iter().all(|(_, record)| record.rejections == 0));
        assert!(verdicts.need_others(&of_others));
        (0..20).for_each(|_| of_others += Rejections::accepted_at(LIVE));
        assert!(verdicts.need_others(&of_others), "those of another host do not tell");
        (0..20).for_each(|_| of_others += Rejections::accepted_at(PAPER));
        assert!(!verdicts.need_others(&of_others));
        let (newcomers, _) = pass(&ends(&[(2, rejected(PAPER), Some(None))]));
        assert!(!newcomers.need_others(&Rejections::default()), "nothing depends on it");
    }

    #[test]
    fn users_known_to_be_rejected_prove_nothing() {
        let past = Past { failing_since: at(0), last_success: worked() };
        let known = (0..2).fold(PreviousState::Clean, |history, _| {
            let record = trouble::after_rejection(&history, Some(&past), &version(), Guard::Off, at(0));
            PreviousState::Troubled(record.expect("recorded"))
        });
        let mut verdicts = Tally::after(&Finished::default(), at(1));
        (0..100).for_each(|n| {
            let traveller = UserRef { id: id(n), history: known.clone() };
            let outcome = Outcome::NeedsReauth;
            verdicts.add(traveller, rejected(PAPER).map(|end| SyncOutcome { outcome, ..end }));
        });
        assert_eq!(judged(&verdicts), (vec![], vec![3; 100]));
        assert_eq!((verdicts.counts.ours, verdicts.counts.stale), (0, 0));
    }

    #[test]
    fn a_history_that_could_not_be_read_proves_nothing_of_a_rejection_and_something_of_an_acceptance() {
        let mut verdicts = Tally::after(&Finished::default(), at(1));
        for (n, end) in
            [rejected(PAPER), rejected(PAPER), rejected(PAPER), accepted(PAPER)].into_iter().enumerate()
        {
            verdicts.add(UserRef { id: id(n), history: PreviousState::Unknown }, end);
        }
        assert_eq!(verdicts.unread().count(), 0);
        assert_eq!(verdicts.rejections.at(PAPER), AtHost { accepted: 1, rejected: 0 });
        assert_eq!(judged(&verdicts), (vec![], vec![]));
    }

    #[test]
    fn a_panic_is_a_failure_of_ours_and_is_recorded() {
        let old = LastSuccess { at: at(-9), key_version: None };
        let (verdicts, late) = pass(&[(None, Some(Some(old)))]);
        assert_eq!(verdicts.counts.errors.get(&Code::Internal), Some(&1));
        assert_eq!((verdicts.counts.ours, verdicts.counts.stale, late.stale), (1, 1, 1));
        let records = verdicts.records(Rejections::default(), at(1));
        assert_eq!((records[0].1.state, records[0].1.error), (State::Retrying, Some(Code::Internal)));
    }

    #[test]
    fn what_was_found_out_on_the_way_counts_at_once() {
        let old =
            Past { failing_since: at(0), last_success: Some(LastSuccess { at: at(-9), key_version: None }) };
        let mut verdicts = Tally::after(&Finished::default(), at(1));
        let end =
            SyncOutcome { past: Some(old), ..SyncOutcome::unasked(Outcome::Failed(Code::BrokerUnavailable)) };
        let score = verdicts.add(UserRef { id: id(0), history: PreviousState::Clean }, Some(end));
        assert_eq!(score.blame, Blame { is_ours: true, is_stale: true });
        assert_eq!((verdicts.counts.ours, verdicts.counts.stale), (1, 1));
        assert_eq!(verdicts.unread().count(), 0);
    }

    #[test]
    fn records_that_are_only_to_be_completed_leave_room_for_rejections() {
        let past = Past { failing_since: at(0), last_success: None };
        let known = (0..2).fold(PreviousState::Clean, |history, _| {
            let record = trouble::after_rejection(&history, Some(&past), &version(), Guard::Off, at(0));
            PreviousState::Troubled(SyncState { failing_since: None, ..record.expect("recorded") })
        });
        let mut verdicts = Tally::after(&Finished::default(), at(1));
        (0..MAX_HELD).for_each(|n| {
            let waiting = UserRef { id: id(n), history: known.clone() };
            verdicts.add(waiting, Some(SyncOutcome::unasked(Outcome::NeedsReauth)));
        });
        assert_eq!(verdicts.unread().count(), MAX_HELD_UNFINISHED);
        verdicts.add(UserRef { id: id(MAX_HELD), history: PreviousState::Clean }, rejected(PAPER));
        assert_eq!(verdicts.unread().count(), MAX_HELD_UNFINISHED + 1);
        let read = verdicts.unread().map(|user| (user.clone(), None)).collect();
        assert_eq!(verdicts.learn(&read, at(1)), Late::default());
        let records = verdicts.records(Rejections::default(), at(1));
        assert_eq!(records.len(), MAX_HELD_UNFINISHED + 1);
        assert!(records.iter().all(|(_, record)| record.failing_since.is_some()));
    }

    #[test]
    fn what_is_held_for_the_end_is_bounded_and_what_is_not_held_still_counts() {
        let many = MAX_HELD + 2_000;
        let (verdicts, _) =
            pass(&ends(&[(many, rejected(PAPER), Some(worked())), (30_000, accepted(PAPER), None)]));
        assert_eq!(verdicts.records(Rejections::default(), at(1)).len(), MAX_HELD);
        let expected = AtHost { accepted: 30_000, rejected: many as u64 };
        assert_eq!(verdicts.fleet_wide(Rejections::default()), [(PAPER, expected)]);
    }
}
