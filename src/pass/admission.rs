//! When a user may be started: in their turn of the spread, once their calls may be made, and when a slot is free.
//!
//! Users wait here, before their own time begins: none of it is used up, and a stop leaves them unstarted.

use crate::limits::rate::{Permits, RateLimits};
use crate::limits::slots::{Slots, WorkSlot};
use crate::model::ids::DocumentId;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Starts spread evenly over a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spread {
    /// When the window begins.
    pub(crate) start: Instant,
    /// How long it is.
    pub(crate) window: Duration,
    /// The users that are expected in it.
    pub(crate) users: u64,
}

impl Spread {
    /// When the user with that number (from 0) is to be started. Those beyond the expected number are
    /// started at the window's end.
    fn turn(&self, number: u64) -> Instant {
        let users = self.users.max(1);
        let share = number.min(users) as f64 / users as f64;
        self.start + self.window.mul_f64(share)
    }
}

/// Who has been let in, whatever became of them: a stop may have given them up in flight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// How many users.
    pub(crate) users: u64,
    /// The last one of them.
    pub(crate) last: Option<DocumentId>,
}

/// Lets users in, one after the other.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Arc<RateLimits>,
    slots: Slots,
    spread: Option<Spread>,
    reached: RefCell<Reached>,
}

impl Admission {
    /// With everybody still outside.
    #[must_use]
    pub(crate) fn new(limits: &Arc<RateLimits>, slots: &Slots, spread: Option<Spread>) -> Self {
        Self { limits: Arc::clone(limits), slots: slots.clone(), spread, reached: RefCell::default() }
    }

    /// Waits until the next user may be started, who needs these calls. One who needs none, because
    /// there is nothing to do for them, does not wait. The legacy account, which is no user, has no turn.
    pub(crate) async fn admit(&self, user: Option<&DocumentId>, calls: Permits) -> WorkSlot {
        let Some(user) = user else { return self.admit_again(calls).await };
        let number = self.reached.borrow().users;
        if let Some(spread) = self.spread.filter(|_| calls != Permits::NONE) {
            tokio::time::sleep_until(spread.turn(number)).await;
        }
        let slot = self.admit_again(calls).await;
        *self.reached.borrow_mut() = Reached { users: number + 1, last: Some(user.clone()) };
        slot
    }

    /// The same for one who has been let in before.
    pub(crate) async fn admit_again(&self, calls: Permits) -> WorkSlot {
        self.limits.allow(calls).await;
        self.slots.take().await
    }

    /// Who has been let in so far.
    #[must_use]
    pub(crate) fn reached(&self) -> Reached {
        self.reached.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::rate::{Budgets, Share};
    use jiff::Timestamp;
    use std::num::NonZeroUsize;

    fn user(id: &str) -> DocumentId {
        DocumentId::parse(id).expect("legal")
    }

    fn admission(spread: Option<Spread>) -> Admission {
        let limits = RateLimits::new(&Budgets::default(), Share::ALL, Timestamp::UNIX_EPOCH);
        Admission::new(&Arc::new(limits), &Slots::new(NonZeroUsize::MIN), spread)
    }

    /// Seconds from the start at which each user is let in, those with a `false` having nothing to do.
    async fn starts(expected: u64, users: &[bool]) -> Vec<u64> {
        let start = Instant::now();
        let admission = admission(Some(Spread { start, window: Duration::from_secs(40), users: expected }));
        let mut starts = Vec::new();
        for has_to_do in users {
            let calls = if *has_to_do { Permits::SECRET_ACCESS } else { Permits::NONE };
            admission.admit(Some(&user("ana")), calls).await;
            starts.push(start.elapsed().as_millis().div_euclid(1000) as u64);
        }
        starts
    }

    #[tokio::test(start_paused = true)]
    async fn a_spread_starts_users_evenly() {
        assert_eq!(starts(4, &[true; 4]).await, [0, 10, 20, 30]);
    }

    #[tokio::test(start_paused = true)]
    async fn more_users_than_expected_do_not_make_it_longer() {
        assert_eq!(starts(2, &[true; 5]).await, [0, 20, 40, 40, 40]);
        assert_eq!(starts(0, &[true; 2]).await, [0, 40]);
    }

    #[tokio::test(start_paused = true)]
    async fn users_with_nothing_to_do_take_their_turn_but_no_time() {
        assert_eq!(starts(4, &[false, false, true, false]).await, [0, 0, 20, 20]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_who_was_let_in_is_reached() {
        let spread = Spread { start: Instant::now(), window: Duration::from_secs(40), users: 2 };
        let admission = admission(Some(spread));
        assert_eq!(admission.reached(), Reached::default());
        admission.admit(Some(&user("ana")), Permits::SECRET_ACCESS).await;
        let ben = user("ben");
        let waiting = admission.admit(Some(&ben), Permits::SECRET_ACCESS);
        assert!(tokio::time::timeout(Duration::from_secs(5), waiting).await.is_err());
        assert_eq!(admission.reached(), Reached { users: 1, last: Some(user("ana")) });
    }

    #[tokio::test(start_paused = true)]
    async fn without_spread_and_limits_nobody_waits() {
        let (admission, start) = (admission(None), Instant::now());
        for _ in 0..10_000 {
            let calls = Permits { secret_accesses: 1, alpaca_calls: 1, writes: 3 };
            admission.admit(Some(&user("ana")), calls).await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
