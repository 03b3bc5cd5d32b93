//! Users who are set aside until all others had their turn: those who failed for something that passes, for one attempt
//! more, and those whose secret is known to have had no keys.
//!
//! The cursor does not wait for them, and they are few: for the memory that they need.

use crate::limits::deadlines::{RECORD_RESERVE, USER_BUDGET};
use crate::limits::retry::Deadline;
use crate::model::outcome::Outcome;
use crate::pass::failure::Failure;
use crate::pass::sync_outcome::{NoSnapshot, SyncOutcome};
use crate::pass::user_record::UserRecord;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Users who are set aside in a pass. Beyond, they end as they are.
const MOST_SET_ASIDE: usize = 10_000;

/// Of a user who failed already, for the one attempt more; recording why comes on top.
const SECOND_BUDGET: Duration = Duration::from_secs(10);

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

/// The places of those who are set aside.
#[derive(Debug, Default)]
pub(crate) struct Places(AtomicUsize);

impl Places {
    /// Whether there was one left, which is taken then.
    pub(crate) fn take(&self) -> bool {
        let more = |taken| (taken < MOST_SET_ASIDE).then_some(taken + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
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

    /// What the user counts as until the other turn ends.
    #[must_use]
    pub(crate) fn counts_as(&self) -> Outcome {
        match self {
            Self::Failed(_, judged, _) => judged.counts_as,
            Self::NotLookedAt => Outcome::Skipped,
        }
    }
}
