//! Several users may have stored the same keys, and Alpaca limits keys, not users: what it tells one of them counts for
//! all. Keys are known here by a hash with a key of its own, never by themselves.

use crate::limits::retry::Deadline;
use crate::limits::slots::{Crowded, wait_aside};
use crate::model::keys::AlpacaKeys;
use secrecy::ExposeSecret;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout};

/// Calls with the same keys at the same time. As long as their rate is known to be limited, one call takes all of them.
const CALLS_AT_ONCE: usize = 4;

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

/// There is no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StillLimited {
    /// For longer than the user's time.
    #[error("it limits the rate of these keys for longer than the call could wait")]
    TooLong,
    /// Whoever waits needs memory.
    #[error("it limits the rate of these keys, and too many users wait already")]
    Crowded,
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
    pub(crate) async fn wait(&self, deadline: Deadline) -> Result<SemaphorePermit<'_>, StillLimited> {
        loop {
            let mut call = self.call(deadline).await?;
            let limit = self.turns.limit();
            match limit.until.filter(|until| *until > Instant::now()) {
                Some(until) if !deadline.allows_call_at(until) => return Err(StillLimited::TooLong),
                Some(until) => {
                    drop(call);
                    wait_aside(sleep_until(until)).await.map_err(|Crowded| StillLimited::Crowded)?;
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

    async fn call(&self, deadline: Deadline) -> Result<SemaphorePermit<'_>, StillLimited> {
        let share = if self.turns.limit().is_careful { CALLS_AT_ONCE as u32 } else { 1 };
        if let Ok(call) = self.turns.calls.try_acquire_many(share) {
            return Ok(call);
        }
        let turn = timeout(deadline.left(), self.turns.calls.acquire_many(share));
        match wait_aside(turn).await {
            Ok(Ok(Ok(call))) => Ok(call),
            Ok(_) => Err(StillLimited::TooLong),
            Err(Crowded) => Err(StillLimited::Crowded),
        }
    }

    /// Alpaca limits the rate of the keys, and said for how long, or did not.
    pub(crate) fn limited(&self, wait: Option<Duration>) {
        let until = wait.and_then(|wait| Instant::now().checked_add(wait));
        let mut limit = lock(&self.turns.limit);
        *limit = Limit { until: limit.until.max(until), is_careful: true };
    }

    /// Alpaca answered something else.
    pub(crate) fn unlimited(&self) {
        let mut limit = lock(&self.turns.limit);
        if limit.is_careful {
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
                tokio::time::sleep(SECOND).await;
                match answer(calls.fetch_add(1, Ordering::SeqCst)) {
                    None => {
                        turn.unlimited();
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
        assert_eq!(ask(300, |_| Some(14 * SECOND)).await, (5, 0), "four at first, and one after the wait");
        assert_eq!(ask(16, |call| (call < 4).then_some(2 * SECOND)).await.1, 16);
        assert_eq!(ask(50, |_| None).await, (50, 50));
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_beyond_the_users_time_is_known_at_once() {
        let turns = KeyTurns::default();
        turns.of_hash(7).limited(Some(19 * SECOND));
        let start = Instant::now();
        assert_eq!(
            turns.of_hash(7).wait(Deadline::after(USER_BUDGET)).await.err(),
            Some(StillLimited::TooLong)
        );
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert!(turns.of_hash(8).wait(Deadline::after(USER_BUDGET)).await.is_ok(), "other keys");
        tokio::time::advance(19 * SECOND).await;
        drop(turns.of_hash(7));
        assert!(lock(&turns.keys).is_empty(), "its time is over");
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
