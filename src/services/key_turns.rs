//! Several users may have stored the same keys, and Alpaca limits keys, not users: what it tells one of them counts for
//! all. Keys are known here by a hash with a key of its own, never by themselves.

use crate::limits::retry::Deadline;
use crate::limits::slots::{Crowded, wait_aside};
use crate::model::keys::AlpacaKeys;
use crate::model::outcome::Code;
use secrecy::ExposeSecret;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout};

/// Calls with the same keys at the same time. As long as their rate is known to be limited, one call takes all of them.
const CALLS_AT_ONCE: usize = 16;

/// The least that a limit is waited for, where Alpaca says less or nothing: its users would find out one by one.
const LEAST_WAIT: Duration = Duration::from_secs(1);

/// Limited keys that are remembered. Beyond, every user finds out alone.
const MOST_LIMITED: usize = 10_000;

/// The turns of all keys.
#[derive(Debug, Default)]
pub(crate) struct KeyTurns {
    hasher: RandomState,
    keys: Mutex<HashMap<u64, Arc<Turns>>>,
}

/// The turns of some keys.
#[derive(Debug)]
struct Turns {
    calls: Semaphore,
    limit: Mutex<Limit>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Limit {
    /// Until when Alpaca said to wait.
    until: Option<Instant>,
    /// Whether only one call at a time is made: since the last 429, until another answer.
    is_careful: bool,
}

/// A user's access to the turns of their keys. When the last one is dropped, the keys are forgotten, unless they are
/// limited.
#[derive(Debug)]
pub(crate) struct KeyTurn<'a> {
    all: &'a KeyTurns,
    hash: u64,
    turns: Arc<Turns>,
}

/// Why there is no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoTurn {
    /// For longer than the user's time.
    #[error("it limits the rate of these keys for longer than the call could wait")]
    TooLong,
    /// Whoever waits needs memory.
    #[error("it limits the rate of these keys, and too many users wait already")]
    Crowded,
    /// It limits nothing, as far as is known.
    #[error("the calls of other users with the same keys were not over in time")]
    Busy,
}

impl NoTurn {
    /// The code that logs and documents use for it.
    #[must_use]
    pub(crate) fn code(self) -> Code {
        match self {
            Self::TooLong | Self::Crowded => Code::BrokerRateLimited,
            Self::Busy => Code::BrokerUnavailable,
        }
    }
}

impl KeyTurns {
    /// The turns of these keys.
    pub(crate) fn of(&self, keys: &AlpacaKeys) -> KeyTurn<'_> {
        self.of_hash(self.hasher.hash_one(keys.id().expose_secret()))
    }

    fn of_hash(&self, hash: u64) -> KeyTurn<'_> {
        let turns = Arc::clone(lock(&self.keys).entry(hash).or_default());
        KeyTurn { all: self, hash, turns }
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self { calls: Semaphore::new(CALLS_AT_ONCE), limit: Mutex::default() }
    }
}

impl KeyTurn<'_> {
    /// Waits for a turn to call, at most until the deadline.
    ///
    /// # Errors
    /// When there is none in time; at once, if that is known.
    pub(crate) async fn wait(&self, deadline: Deadline) -> Result<SemaphorePermit<'_>, NoTurn> {
        loop {
            let mut call = self.call(deadline).await?;
            let limit = self.turns.limit();
            match limit.until.filter(|until| *until > Instant::now()) {
                Some(until) if !deadline.allows_call_at(until) => return Err(NoTurn::TooLong),
                Some(until) => {
                    drop(call);
                    wait_aside(sleep_until(until)).await.map_err(|Crowded| NoTurn::Crowded)?;
                }
                None if limit.is_careful && call.num_permits() < CALLS_AT_ONCE => {}
                None if limit.is_careful => return Ok(call),
                None => {
                    // They may be used freely again.
                    drop(call.split(call.num_permits() - 1));
                    return Ok(call);
                }
            }
        }
    }

    async fn call(&self, deadline: Deadline) -> Result<SemaphorePermit<'_>, NoTurn> {
        let share = if self.turns.limit().is_careful { CALLS_AT_ONCE as u32 } else { 1 };
        if let Ok(call) = self.turns.calls.try_acquire_many(share) {
            return Ok(call);
        }
        let turn = timeout(deadline.left(), self.turns.calls.acquire_many(share));
        match (wait_aside(turn).await, self.turns.limit().is_careful) {
            (Ok(Ok(Ok(call))), _) => Ok(call),
            (_, false) => Err(NoTurn::Busy),
            (Ok(_), true) => Err(NoTurn::TooLong),
            (Err(Crowded), true) => Err(NoTurn::Crowded),
        }
    }

    /// Alpaca limits the rate of the keys, and said for how long, or did not.
    pub(crate) fn limited(&self, wait: Option<Duration>) {
        let until = Instant::now().checked_add(wait.unwrap_or_default().max(LEAST_WAIT));
        let mut limit = lock(&self.turns.limit);
        *limit = Limit { until: limit.until.max(until), is_careful: true };
    }

    /// Alpaca answered something else to a call of then. One that was made before it limited the keys says nothing.
    pub(crate) fn unlimited(&self, asked_at: Instant) {
        let mut limit = lock(&self.turns.limit);
        if limit.until.is_some_and(|until| until <= asked_at) {
            *limit = Limit::default();
        }
    }
}

impl Turns {
    fn limit(&self) -> Limit {
        *lock(&self.limit)
    }

    fn is_limited(&self) -> bool {
        self.limit().until.is_some_and(|until| until > Instant::now())
    }
}

impl Drop for KeyTurn<'_> {
    fn drop(&mut self) {
        let mut keys = lock(&self.all.keys);
        // The other one is the map's.
        let is_last = Arc::strong_count(&self.turns) == 2;
        if is_last && (keys.len() > MOST_LIMITED || !self.turns.is_limited()) {
            keys.remove(&self.hash);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whatever panics while it is locked leaves a value that is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::deadlines::USER_BUDGET;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const SECOND: Duration = Duration::from_secs(1);

    /// Users with the same keys who ask at once, each up to three times, of a broker that answers each call after a
    /// second so. Says how many calls were made, and how many users were served.
    async fn ask(users: usize, answer: impl Fn(usize) -> Option<Duration>) -> (usize, usize) {
        let (turns, calls, served) = (KeyTurns::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        let deadline = Deadline::after(USER_BUDGET);
        let user = async || {
            let turn = turns.of_hash(7);
            for _ in 0..3 {
                let Ok(call) = turn.wait(deadline).await else { return };
                let asked_at = Instant::now();
                tokio::time::sleep(SECOND).await;
                match answer(calls.fetch_add(1, Ordering::SeqCst)) {
                    None => {
                        turn.unlimited(asked_at);
                        served.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    Some(wait) => turn.limited(Some(wait)),
                }
                drop(call);
            }
        };
        futures::future::join_all((0..users).map(|_| user())).await;
        assert!(lock(&turns.keys).len() <= 1);
        (calls.into_inner(), served.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_user_is_told_counts_for_all_of_the_keys() {
        assert_eq!(
            ask(300, |_| Some(14 * SECOND)).await,
            (17, 0),
            "sixteen at first, and one after the wait"
        );
        assert_eq!(ask(16, |call| (call < 4).then_some(2 * SECOND)).await.1, 16);
        let (calls, served) = ask(300, |_| Some(Duration::ZERO)).await;
        assert!(calls <= 30 && served == 0, "a wait of nothing is one of a second: {calls}");
        assert_eq!(ask(50, |_| None).await, (50, 50));
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_beyond_the_users_time_is_known_at_once() {
        let turns = KeyTurns::default();
        turns.of_hash(7).limited(Some(19 * SECOND));
        let start = Instant::now();
        assert_eq!(turns.of_hash(7).wait(Deadline::after(USER_BUDGET)).await.err(), Some(NoTurn::TooLong));
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert!(turns.of_hash(8).wait(Deadline::after(USER_BUDGET)).await.is_ok(), "other keys");
        tokio::time::advance(19 * SECOND).await;
        drop(turns.of_hash(7));
        assert!(lock(&turns.keys).is_empty(), "its time is over");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_a_call_from_before_does_not_end_a_limit() {
        let turns = KeyTurns::default();
        let (turn, start) = (turns.of_hash(7), Instant::now());
        turn.limited(Some(2 * SECOND));
        for (asked_at, waited) in [(start, 2 * SECOND), (start + 2 * SECOND, Duration::ZERO)] {
            turn.unlimited(asked_at);
            let begin = Instant::now();
            assert!(turn.wait(Deadline::after(USER_BUDGET)).await.is_ok());
            assert_eq!(begin.elapsed(), waited);
        }
        assert!(!turn.turns.limit().is_careful);
    }

    #[tokio::test(start_paused = true)]
    async fn whose_turn_does_not_come_is_not_told_of_a_limit_that_there_is_not() {
        let turns = KeyTurns::default();
        let (turn, start) = (turns.of_hash(7), Instant::now());
        let calls =
            futures::future::join_all((0..CALLS_AT_ONCE).map(|_| turn.wait(Deadline::after(USER_BUDGET))));
        let calls = calls.await;
        assert_eq!(turn.wait(Deadline::after(SECOND)).await.err(), Some(NoTurn::Busy));
        assert_eq!(start.elapsed(), SECOND);
        turn.limited(Some(SECOND));
        assert_eq!(turn.wait(Deadline::after(SECOND)).await.err(), Some(NoTurn::TooLong));
        drop(calls);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_nobody_uses_and_nothing_limits_are_forgotten() {
        let turns = KeyTurns::default();
        let (one, other) = (turns.of_hash(7), turns.of_hash(7));
        drop(one);
        assert_eq!(lock(&turns.keys).len(), 1);
        drop(other);
        assert!(lock(&turns.keys).is_empty());
    }
}
