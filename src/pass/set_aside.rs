//! Users who are set aside until all others had their turn: those who failed for something that passes, for one attempt
//! more, and those whose secret is known to have had no keys.
//!
//! The cursor does not wait for them, and they are few: for the memory that they need.

use crate::limits::deadlines::{RECORD_RESERVE, USER_BUDGET};
use crate::limits::retry::Deadline;
use crate::model::outcome::Outcome;
use crate::model::sync_state::PreviousState;
use crate::pass::failure::Failure;
use crate::pass::sync_outcome::{NoSnapshot, SyncOutcome};
use crate::pass::user_record::UserRecord;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Users of either kind who are set aside in a pass. Beyond, those who failed end as they are, and the others are synced
/// like everybody else.
const MOST_SET_ASIDE: usize = 10_000;

/// Of a user who failed already, for the one attempt more; recording why comes on top.
const SECOND_BUDGET: Duration = Duration::from_secs(10);

/// A first turn that took so long was most of the time without an answer, as the other one is then.
const SLOW: Duration = Duration::from_secs(5);

/// Which of a pass's laps a user's turn is in.
#[derive(Clone, Debug)]
pub(crate) enum Lap {
    /// Everybody's.
    First,
    /// Of those who failed in the first one, and why.
    Second(Arc<Failure>),
    /// The first time for users who were set aside untried.
    Last,
}

/// What ended a user's turn.
#[derive(Debug)]
pub(crate) enum TurnEnd {
    /// That is what became of the user.
    Outcome(SyncOutcome),
    /// The user has another turn.
    SetAside(Box<SetAside>),
}

/// A user who has another turn, and what becomes of them if the pass ends before.
#[derive(Debug)]
pub(crate) struct SetAside {
    /// Who it is.
    pub(crate) user: Box<UserRecord>,
    /// What becomes of them without another turn.
    pub(crate) otherwise: Otherwise,
}

/// What becomes of a user who has no other turn after all.
#[derive(Debug)]
pub(crate) enum Otherwise {
    /// The failure of the first turn.
    Failed(Arc<Failure>, NoSnapshot, Instant),
    /// The secret is not looked at in this pass.
    NotLookedAt,
}

/// Who has the other turn first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Those who failed, but soon had an answer.
    Answered,
    /// Those of whom nothing was heard, but who were in no trouble before: most likely, it is over.
    UsuallyWell,
    /// Those who were not tried.
    Untried,
    /// Those of whom nothing was heard, as it was before. Where they are many, they hold the slots until their time is
    /// over.
    Unanswered,
}

/// The places of those who are set aside; either kind has its own, so that neither takes the other's.
#[derive(Debug, Default)]
pub(crate) struct Places {
    failed: AtomicUsize,
    untried: AtomicUsize,
}

impl Places {
    /// Whether there was one left for a user who failed, which is taken then.
    pub(crate) fn take_failed(&self) -> bool {
        take(&self.failed)
    }

    /// Whether there was one left for a user who was not tried, which is taken then.
    pub(crate) fn take_untried(&self) -> bool {
        take(&self.untried)
    }
}

fn take(taken: &AtomicUsize) -> bool {
    let more = |taken| (taken < MOST_SET_ASIDE).then_some(taken + 1);
    taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

impl Lap {
    /// A user's time, and attempts, in this lap.
    #[must_use]
    pub(crate) fn deadline(&self) -> Deadline {
        match self {
            Self::First | Self::Last => Deadline::after(USER_BUDGET),
            Self::Second(_) => Deadline::after(SECOND_BUDGET + RECORD_RESERVE).tried_once(),
        }
    }

    /// Of two failures the one that tells more: that a silent host was not asked again says nothing of why.
    #[must_use]
    pub(crate) fn telling(self, failure: Arc<Failure>) -> Arc<Failure> {
        match self {
            Self::Second(first) if failure.is_of_silent_host() => first,
            _ => failure,
        }
    }
}

impl SetAside {
    /// A user who failed, for something that may pass.
    #[must_use]
    pub(crate) fn failed(
        user: Box<UserRecord>,
        failure: Failure,
        judged: NoSnapshot,
        start: Instant,
    ) -> Self {
        Self { user, otherwise: Otherwise::Failed(Arc::new(failure), judged, start) }
    }

    /// A user whose secret had no keys when it was last looked at.
    #[must_use]
    pub(crate) fn untried(user: Box<UserRecord>) -> Self {
        Self { user, otherwise: Otherwise::NotLookedAt }
    }
}

impl Otherwise {
    /// Which lap the other turn is in.
    #[must_use]
    pub(crate) fn lap(&self) -> Lap {
        match self {
            Self::Failed(failure, ..) => Lap::Second(Arc::clone(failure)),
            Self::NotLookedAt => Lap::Last,
        }
    }

    /// When the other turn comes, for a user whose first one has just ended.
    #[must_use]
    pub(crate) fn rank(&self, previous: &PreviousState) -> Rank {
        match self {
            Self::Failed(_, _, start) if start.elapsed() < SLOW => Rank::Answered,
            Self::Failed(..) if previous.record().is_none() => Rank::UsuallyWell,
            Self::Failed(..) => Rank::Unanswered,
            Self::NotLookedAt => Rank::Untried,
        }
    }

    /// What the user counts as until the other turn ends.
    #[must_use]
    pub(crate) fn counts_as(&self) -> Outcome {
        match self {
            Self::Failed(_, judged, _) => judged.counts_as,
            Self::NotLookedAt => Outcome::Skipped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::InvalidId;
    use crate::model::outcome::Code;
    use crate::model::sync_state::{State, SyncState};
    use crate::pass::failure::Cause;
    use jiff::Timestamp;

    #[test]
    fn those_who_were_not_tried_take_no_place_of_those_who_failed() {
        let places = Places::default();
        let untried = (0..MOST_SET_ASIDE * 2).filter(|_| places.take_untried()).count();
        let failed = (0..MOST_SET_ASIDE * 2).filter(|_| places.take_failed()).count();
        assert_eq!((untried, failed), (10_000, 10_000));
    }

    #[tokio::test(start_paused = true)]
    async fn the_other_turn_of_who_failed_is_one_attempt_of_ten_seconds() {
        let failure = Failure::NotAsked(Cause::Id(InvalidId::Empty));
        let second = Lap::Second(Arc::new(failure)).deadline();
        assert_eq!(second.less(RECORD_RESERVE).left(), Duration::from_secs(10));
        assert_eq!(Lap::First.deadline().left(), USER_BUDGET);
        assert_eq!(Lap::Last.deadline().left(), USER_BUDGET);
    }

    fn failed() -> Otherwise {
        let failure = Failure::NotAsked(Cause::Store(crate::firestore::StoreError::Timeout));
        let counts_as = Outcome::Failed(failure.code());
        let judged = NoSnapshot { counts_as, key_verdict: None, past: None, why: None };
        Otherwise::Failed(Arc::new(failure), judged, Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_likely_to_be_well_comes_before_those_of_whom_nothing_was_heard_before() {
        let trouble = PreviousState::Troubled(example());
        let slow = failed();
        tokio::time::sleep(SLOW).await;
        let turns = [
            (&slow, &trouble, Rank::Unanswered),
            (&Otherwise::NotLookedAt, &trouble, Rank::Untried),
            (&slow, &PreviousState::Clean, Rank::UsuallyWell),
            (&slow, &PreviousState::Unknown, Rank::UsuallyWell),
            (&failed(), &trouble, Rank::Answered),
            (&failed(), &PreviousState::Clean, Rank::Answered),
        ];
        for (otherwise, previous, rank) in turns {
            assert_eq!(otherwise.rank(previous), rank, "{previous:?}");
        }
        assert!(turns.map(|(.., rank)| rank).is_sorted_by(|later, sooner| later >= sooner));
    }

    fn example() -> SyncState {
        let since = Timestamp::UNIX_EPOCH;
        let (failing_since, error) = (Some(since), Some(Code::BrokerUnavailable));
        SyncState {
            state: State::Retrying,
            error,
            since,
            failing_since,
            last_success: None,
            rejections: 0,
            key_version: None,
            next_attempt_at: None,
        }
    }
}
