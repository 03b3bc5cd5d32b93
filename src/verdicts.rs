//! What the pass learns from its users' journeys: the counts, and what can only be judged at the end.

use crate::ids::DocumentId;
use crate::outcome::{Code, Counts, Outcome};
use crate::progress::{Finished, Rejections, Score};
use crate::secret_manager::KeyVersion;
use crate::trouble::{self, History, Trouble};
use jiff::Timestamp;
use tracing::error;

/// Rejections and panics kept for the end of the pass. More than this many new ones in one pass are
/// recorded at the next pulses, so that memory does not grow with the number of users.
const MAX_HELD: usize = 10_000;

/// Who a journey was about.
#[derive(Clone, Debug)]
pub struct Traveller {
    /// The user.
    pub id: DocumentId,
    /// What was known of their trouble.
    pub history: History,
}

/// How a journey ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// For the counts.
    pub outcome: Outcome,
    /// Whether Alpaca was asked.
    pub asked: bool,
    /// The version of the keys that Alpaca rejected, if it did.
    pub rejected: Option<KeyVersion>,
}

impl End {
    /// An end without a word from Alpaca.
    #[must_use]
    pub fn unasked(outcome: Outcome) -> Self {
        Self { outcome, asked: false, rejected: None }
    }
}

/// Everything learned so far.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// Every user once.
    pub counts: Counts,
    /// Of users in whose case it was open whether Alpaca takes their keys.
    pub rejections: Rejections,
    held: Vec<(Traveller, Open)>,
}

#[derive(Debug)]
enum Open {
    Rejected(KeyVersion),
    Panicked,
}

impl Verdicts {
    /// Goes on from what an earlier attempt has learned.
    #[must_use]
    pub fn after(finished: &Finished) -> Self {
        Self { counts: finished.counts.clone(), rejections: finished.rejections, held: Vec::new() }
    }

    /// Takes in how one journey ended, `None` when its task panicked, and says what of it counts.
    pub fn add(&mut self, traveller: Traveller, end: Option<End>) -> Score {
        let end = end.unwrap_or_else(|| {
            let (id, user_id, error) = (&traveller.id, traveller.id.as_str(), Code::Internal.as_str());
            error!(user_id, error, "Failed to sync Alpaca account for user {id}: its task panicked");
            self.hold(&traveller, Open::Panicked);
            End::unasked(Outcome::Failed(Code::Internal))
        });
        self.counts.add(end.outcome);
        // A user whose keys are known to be rejected, or may be, proves nothing about the provider by
        // being rejected again.
        let tells = !matches!(traveller.history, History::Unknown) && !traveller.history.needs_reauth();
        let rejections = Rejections {
            asked: u64::from(tells && end.asked),
            rejected: u64::from(tells && end.rejected.is_some()),
        };
        self.rejections += rejections;
        let score = Score { outcome: end.outcome, rejections };
        if let Some(version) = end.rejected {
            self.hold(&traveller, Open::Rejected(version));
        }
        score
    }

    /// Whether there is anything to be recorded, or refrained from, at the end of the pass.
    #[must_use]
    pub fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    fn hold(&mut self, traveller: &Traveller, open: Open) {
        if self.held.len() < MAX_HELD {
            self.held.push((traveller.clone(), open));
        }
    }

    /// The rejections of the whole pass, with what the other tasks have seen of it, when there are so many
    /// that it is the provider's fault or ours.
    #[must_use]
    pub fn fleet_wide(&self, of_others: Rejections) -> Option<Rejections> {
        let mut all = self.rejections;
        all += of_others;
        trouble::is_fleet_wide(all.rejected, all.asked).then_some(all)
    }

    /// What is to be recorded at the end of the pass. Rejections are left out when they are
    /// fleet-wide: then nobody's state changes.
    #[must_use]
    pub fn records(&self, fleet_wide: bool, now: Timestamp) -> Vec<(DocumentId, Trouble)> {
        let record = |(traveller, open): &(Traveller, Open)| {
            let trouble = match open {
                Open::Rejected(_) if fleet_wide => None,
                Open::Rejected(version) => trouble::after_rejection(&traveller.history, version, now),
                Open::Panicked => trouble::after_failure(&traveller.history, Code::Internal, None, now),
            };
            Some((traveller.id.clone(), trouble?))
        };
        self.held.iter().filter_map(record).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trouble::State;

    fn version() -> KeyVersion {
        KeyVersion::parse("3").expect("a number")
    }

    fn traveller(n: u64, history: History) -> Traveller {
        Traveller { id: DocumentId::parse(&format!("user-{n}")).expect("legal"), history }
    }

    fn rejected() -> Option<End> {
        let outcome = Outcome::Failed(Code::BrokerRejected);
        Some(End { outcome, asked: true, rejected: Some(version()) })
    }

    fn synced() -> Option<End> {
        Some(End { outcome: Outcome::Synced, asked: true, rejected: None })
    }

    fn verdicts(rejections: u64, successes: u64) -> Verdicts {
        let mut verdicts = Verdicts::default();
        (0..rejections).for_each(|n| {
            verdicts.add(traveller(n, History::Clean), rejected());
        });
        (0..successes).for_each(|n| {
            verdicts.add(traveller(rejections + n, History::Clean), synced());
        });
        verdicts
    }

    /// Whether the rejections are fleet-wide, and how many are recorded.
    fn judged(verdicts: &Verdicts) -> (Option<Rejections>, usize) {
        let fleet_wide = verdicts.fleet_wide(Rejections::default());
        (fleet_wide, verdicts.records(fleet_wide.is_some(), Timestamp::UNIX_EPOCH).len())
    }

    #[test]
    fn other_tasks_rejections_count() {
        let verdicts = verdicts(4, 0);
        assert_eq!(judged(&verdicts), (None, 4), "four are too few to tell");
        let of_others = Rejections { asked: 20, rejected: 4 };
        assert_eq!(verdicts.fleet_wide(of_others), Some(Rejections { asked: 24, rejected: 8 }));
    }

    #[test]
    fn a_few_rejections_are_the_users_own() {
        let verdicts = verdicts(5, 20);
        assert_eq!(judged(&verdicts), (None, 5));
    }

    #[test]
    fn many_rejections_mark_nobody() {
        let verdicts = verdicts(6, 20);
        assert_eq!(judged(&verdicts), (Some(Rejections { asked: 26, rejected: 6 }), 0));
        assert_eq!(verdicts.counts.error(), 6, "they count as failed all the same");
    }

    #[test]
    fn users_known_to_be_rejected_do_not_make_it_fleet_wide() {
        let known = (0..2).fold(History::Clean, |history, _| {
            History::Troubled(
                trouble::after_rejection(&history, &version(), Timestamp::UNIX_EPOCH).expect("recorded"),
            )
        });
        let mut verdicts = verdicts(0, 10);
        (0..100).for_each(|n| {
            verdicts.add(traveller(n, known.clone()), rejected());
        });
        assert_eq!(judged(&verdicts), (None, 100));
    }

    #[test]
    fn a_panic_is_a_failure_and_is_recorded() {
        let mut verdicts = Verdicts::default();
        verdicts.add(traveller(1, History::Clean), None);
        assert_eq!(verdicts.counts.errors.get(&Code::Internal), Some(&1));
        let records = verdicts.records(false, Timestamp::UNIX_EPOCH);
        assert_eq!((records[0].1.state, records[0].1.error), (State::Retrying, Some(Code::Internal)));
    }

    #[test]
    fn what_is_held_for_the_end_is_bounded() {
        assert_eq!(verdicts(12_000, 100_000).records(false, Timestamp::UNIX_EPOCH).len(), MAX_HELD);
    }
}
