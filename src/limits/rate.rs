//! How fast the services may be called: the budgets for Secret Manager, Alpaca and Firestore.
//!
//! A budget limits and never shapes: a pass that stays within it is not slowed.

use crate::limits::retry::Deadline;
use crate::limits::slots::wait_aside;
use crate::model::ramp::Ramp;
use jiff::{SignedDuration, Timestamp};
use leaky_bucket::RateLimiter;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::warn;

/// What Secret Manager counts its quota by.
const MINUTE: Duration = Duration::from_secs(60);

/// Parts of a second's worth that may go at once where calls are to be spread: a burst is what a limit
/// is there to avoid, and waking up for every single call would cost too much.
const BURSTS_PER_SECOND: u32 = 10;

/// To wake up more often would be work for nothing.
const MOST_REFILLS_A_MINUTE: u32 = 600;

/// Writes in one commit of many: Firestore takes more, but one that is refused takes all with it.
const WRITES_PER_COMMIT: u32 = 500;

/// The budgets of an execution, for all of its tasks together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budgets {
    /// Secret versions accessed a minute. `--secret-accesses-per-minute`.
    pub(crate) secret_accesses_per_minute: NonZeroU32,
    /// Lists of secrets or versions a minute, and as many changes. `--secret-calls-per-minute`.
    pub(crate) secret_calls_per_minute: NonZeroU32,
    /// Requests to Alpaca a second, over all users. `--alpaca-calls-per-second`.
    pub(crate) alpaca_calls_per_second: Option<NonZeroU32>,
    /// Documents written to Firestore a second. `--max-writes-per-second`.
    pub(crate) max_writes_per_second: Option<NonZeroU32>,
    /// Whether writes follow the 500/50/5 rule. `--ramp-writes`.
    pub(crate) ramp_writes: bool,
}

/// Google's quota is 90,000 for a project: the rest is for others, and for minutes that begin elsewhere.
pub(crate) const SECRET_ACCESSES_PER_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(80_000 - 1);

/// Google's quota is 600 for a project, of what reads no payload and of what changes something.
pub(crate) const SECRET_CALLS_PER_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(540 - 1);

impl Default for Budgets {
    /// What the services themselves demand.
    fn default() -> Self {
        Self {
            secret_accesses_per_minute: SECRET_ACCESSES_PER_MINUTE,
            secret_calls_per_minute: SECRET_CALLS_PER_MINUTE,
            alpaca_calls_per_second: None,
            max_writes_per_second: None,
            ramp_writes: false,
        }
    }
}

/// One task's part of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Which of the tasks it is, from 0.
    pub(crate) task_index: u32,
    /// How many there are.
    pub(crate) task_count: NonZeroU32,
}

impl Share {
    /// The whole of it: an execution of one task.
    #[cfg(test)]
    pub(crate) const ALL: Self = Self { task_index: 0, task_count: NonZeroU32::MIN };

    /// What the task gets of a limit: as much as every other task, and the first ones what is left
    /// over. Never nothing, so that each can work; only with more tasks than the limit has units is
    /// it exceeded for that.
    #[must_use]
    pub(crate) fn of(self, limit: NonZeroU32) -> NonZeroU32 {
        let (even, left_over) = (limit.get() / self.task_count, limit.get() % self.task_count);
        let share = even + u32::from(self.task_index < left_over);
        NonZeroU32::new(share).unwrap_or(NonZeroU32::MIN)
    }
}

/// Calls that are going to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Permits {
    /// Secret versions to access.
    pub(crate) secret_accesses: u32,
    /// Requests to Alpaca.
    pub(crate) alpaca_calls: u32,
    /// Documents to write.
    pub(crate) writes: u32,
}

impl Permits {
    /// None at all.
    pub(crate) const NONE: Self = Self { secret_accesses: 0, alpaca_calls: 0, writes: 0 };
    /// One access to a secret.
    pub(crate) const SECRET_ACCESS: Self = Self { secret_accesses: 1, ..Self::NONE };
    /// One request to Alpaca.
    pub(crate) const ALPACA_CALL: Self = Self { alpaca_calls: 1, ..Self::NONE };

    /// A commit of so many writes.
    #[must_use]
    pub(crate) fn writes(writes: usize) -> Self {
        Self { writes: u32::try_from(writes).unwrap_or(u32::MAX), ..Self::NONE }
    }
}

/// What an operator's command asks Secret Manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecretCall {
    /// For a payload.
    Access,
    /// What secrets or versions there are.
    Look,
    /// To create, add, disable, destroy or delete.
    Change,
}

/// A budget of the job's own that was used up for longer than a call could wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the job's own budget of {flag} was used up for longer than the call could wait")]
pub(crate) struct UsedUp {
    flag: &'static str,
}

/// What a task may call, and when. Shared by all users' tasks.
#[derive(Debug)]
pub(crate) struct RateLimits {
    secret_accesses: RateLimiter,
    secret_looks: RateLimiter,
    secret_changes: RateLimiter,
    alpaca_calls: Option<RateLimiter>,
    writes: Writes,
}

impl RateLimits {
    /// The limits of one task from `now` on. A ramp starts at its beginning, until
    /// [`RateLimits::resume_ramp`] says better.
    #[must_use]
    pub(crate) fn new(budgets: &Budgets, share: Share, now: Timestamp) -> Self {
        let per_second = |limit| each_second(share.of(limit), true);
        let limit = budgets.max_writes_per_second;
        let writes = match (budgets.ramp_writes, limit) {
            (true, limit) => Writes::Ramping(Mutex::new(Ramping::new(Ramp::first(now), limit, share, now))),
            (false, Some(limit)) => Writes::Limited(per_second(limit)),
            (false, None) => Writes::Unlimited,
        };
        Self {
            secret_accesses: each_minute(share.of(budgets.secret_accesses_per_minute)),
            secret_looks: over_a_minute(budgets.secret_calls_per_minute),
            secret_changes: over_a_minute(budgets.secret_calls_per_minute),
            alpaca_calls: budgets.alpaca_calls_per_second.map(per_second),
            writes,
        }
    }

    /// Waits until these calls may be made, however long that takes. To be given up by dropping it.
    pub(crate) async fn allow(&self, calls: Permits) {
        let Permits { secret_accesses, alpaca_calls, writes } = calls;
        if secret_accesses > 0 {
            self.secret_accesses.acquire(secret_accesses as usize).await;
        }
        if let Some(limiter) = self.alpaca_calls.as_ref().filter(|_| alpaca_calls > 0) {
            limiter.acquire(alpaca_calls as usize).await;
        }
        if writes > 0 {
            self.writes.allow(writes).await;
        }
    }

    /// Waits until an operator's command may make that call, and adds the wait to its deadline: it is no part of a call's
    /// time.
    pub(crate) async fn allow_before(&self, call: SecretCall, deadline: Deadline) -> Deadline {
        let limiter = match call {
            SecretCall::Access => &self.secret_accesses,
            SecretCall::Look => &self.secret_looks,
            SecretCall::Change => &self.secret_changes,
        };
        let begin = Instant::now();
        limiter.acquire_one().await;
        deadline.later_by(begin.elapsed())
    }

    /// Waits for calls that come up in a user's sync, at most until its deadline.
    pub(crate) async fn allow_by(&self, calls: Permits, deadline: Deadline) -> Result<(), UsedUp> {
        let Permits { secret_accesses, alpaca_calls, writes } = calls;
        let secret_accesses = Permits { secret_accesses, ..Permits::NONE };
        self.allow_of(secret_accesses, "--secret-accesses-per-minute", deadline).await?;
        let alpaca_calls = Permits { alpaca_calls, ..Permits::NONE };
        self.allow_of(alpaca_calls, "--alpaca-calls-per-second", deadline).await?;
        self.allow_of(Permits { writes, ..Permits::NONE }, self.writes.flag(), deadline).await
    }

    /// Calls of one kind, whose budget has this flag.
    async fn allow_of(&self, calls: Permits, flag: &'static str, deadline: Deadline) -> Result<(), UsedUp> {
        let allowed = wait_aside(tokio::time::timeout(deadline.left(), self.allow(calls))).await;
        if let Ok(Ok(())) = allowed {
            return Ok(());
        }
        warn!("A call was not made: its budget was used up for longer than it could wait ({flag})");
        Err(UsedUp { flag })
    }

    /// Whether writes have to be allowed at all.
    #[must_use]
    pub(crate) fn limits_writes(&self) -> bool {
        !matches!(self.writes, Writes::Unlimited)
    }

    /// Writes to put in one commit when there are many: no more than a second's worth, so that a commit
    /// need not wait for longer than its deadline.
    #[must_use]
    pub(crate) fn writes_per_commit(&self) -> usize {
        let limit = match &self.writes {
            Writes::Unlimited => WRITES_PER_COMMIT,
            Writes::Limited(limiter) => a_seconds_worth(limiter),
            Writes::Ramping(ramping) => a_seconds_worth(&lock(ramping).limiter),
        };
        limit.clamp(1, WRITES_PER_COMMIT) as usize
    }

    /// Goes on with the ramp that an earlier execution left behind, and that was last seen at so many
    /// writes a second from all tasks. Does nothing without `--ramp-writes`.
    pub(crate) fn resume_ramp(&self, previous: Ramp, shown_rate: f64) {
        if let Writes::Ramping(ramping) = &self.writes {
            let mut ramping = lock(ramping);
            let ramp = previous.after(shown_rate, ramping.clock.now());
            ramping.turn_to(ramp);
        }
    }

    /// How far the database is ramped up by now, and how many writes this task has made in its busiest
    /// second at that limit: for the executions to come. Nothing without `--ramp-writes`.
    #[must_use]
    pub(crate) fn ramp(&self) -> Option<(Ramp, u32)> {
        match &self.writes {
            Writes::Ramping(ramping) => {
                let ramping = lock(ramping);
                Some((ramping.ramp, ramping.shown.most))
            }
            Writes::Unlimited | Writes::Limited(_) => None,
        }
    }
}

/// The whole limit at once, and whole again after a minute: a pass wants all of it at its start.
///
/// A bucket that holds a minute's worth but fills up steadily would let twice that through in its first
/// minute, beyond Google's quota. This one cannot do so to a pass, which goes on without a break; after
/// one, the end of a minute and the beginning of the next may come together.
fn each_minute(limit: NonZeroU32) -> RateLimiter {
    let limit = limit.get() as usize;
    RateLimiter::builder().max(limit).initial(limit).refill(limit).interval(MINUTE).build()
}

/// A tenth of the limit at once, and the rest one by one over the minute: whoever waits does so for a moment.
fn over_a_minute(limit: NonZeroU32) -> RateLimiter {
    let at_once = (limit.get() / 10).max(1);
    let rest = limit.get().saturating_sub(at_once).max(1);
    let each = rest.div_ceil(MOST_REFILLS_A_MINUTE);
    RateLimiter::builder()
        .max(at_once.max(each) as usize)
        .initial(at_once as usize)
        .refill(each as usize)
        .interval(MINUTE * each / rest)
        .build()
}

/// The limit in equal parts over each second, with one of them at the start if it is to be `full`.
fn each_second(limit: NonZeroU32, full: bool) -> RateLimiter {
    let burst = (limit.get() / BURSTS_PER_SECOND).max(1);
    // Rounded up to the timer's milliseconds, so that the limit is never exceeded for it.
    let interval = (u64::from(burst) * 1000).div_ceil(u64::from(limit.get()));
    RateLimiter::builder()
        .max(burst as usize)
        .initial(if full { burst as usize } else { 0 })
        .refill(burst as usize)
        .interval(Duration::from_millis(interval))
        .build()
}

fn a_seconds_worth(limiter: &RateLimiter) -> u32 {
    let per_second = limiter.refill() as u128 * 1000 / limiter.interval().as_millis().max(1);
    u32::try_from(per_second).unwrap_or(u32::MAX)
}

#[derive(Debug)]
enum Writes {
    Unlimited,
    Limited(RateLimiter),
    Ramping(Mutex<Ramping>),
}

impl Writes {
    /// The flag that sets the limit.
    fn flag(&self) -> &'static str {
        match self {
            Self::Unlimited | Self::Limited(_) => "--max-writes-per-second",
            Self::Ramping(_) => "--ramp-writes",
        }
    }

    async fn allow(&self, writes: u32) {
        match self {
            Self::Unlimited => {}
            Self::Limited(limiter) => limiter.acquire(writes as usize).await,
            Self::Ramping(ramping) => {
                let limiter = lock(ramping).limiter();
                limiter.acquire(writes as usize).await;
                lock(ramping).show(writes);
            }
        }
    }
}

/// A limit on writes that grows as a process goes on.
#[derive(Debug)]
struct Ramping {
    ramp: Ramp,
    /// What it never grows beyond.
    limit: Option<NonZeroU32>,
    share: Share,
    limiter: Arc<RateLimiter>,
    clock: Clock,
    shown: Shown,
}

impl Ramping {
    fn new(ramp: Ramp, limit: Option<NonZeroU32>, share: Share, now: Timestamp) -> Self {
        Self {
            ramp,
            limit,
            share,
            limiter: Arc::new(each_second(share.of(smaller(ramp.limit, limit)), true)),
            clock: Clock { start: now, started: Instant::now() },
            shown: Shown { second: 0, writes: 0, most: 0 },
        }
    }

    fn turn_to(&mut self, ramp: Ramp) {
        if ramp.limit != self.ramp.limit {
            // Those who wait at the old one go on waiting there, so nothing is given out twice.
            self.limiter = Arc::new(each_second(self.share.of(smaller(ramp.limit, self.limit)), false));
            self.shown = Shown { most: 0, ..self.shown };
        }
        self.ramp = ramp;
    }

    /// The limiter of the step that it is time for.
    fn limiter(&mut self) -> Arc<RateLimiter> {
        // The tasks have even shares of the users, so each has seen its part of the rate.
        let shown_rate = f64::from(self.shown.most) * f64::from(self.share.task_count.get());
        self.turn_to(self.ramp.after(shown_rate, self.clock.now()));
        Arc::clone(&self.limiter)
    }

    fn show(&mut self, writes: u32) {
        let second = self.clock.started.elapsed().as_secs();
        let before = if second == self.shown.second { self.shown.writes } else { 0 };
        let writes = before.saturating_add(writes);
        self.shown = Shown { second, writes, most: self.shown.most.max(writes) };
    }
}

fn smaller(ramped: u32, limit: Option<NonZeroU32>) -> NonZeroU32 {
    let ramped = NonZeroU32::new(ramped).unwrap_or(NonZeroU32::MIN);
    limit.map_or(ramped, |limit| limit.min(ramped))
}

/// The writes that were let through in the busiest second at the present limit.
#[derive(Clone, Copy, Debug)]
struct Shown {
    /// The second that is being counted, from the start.
    second: u64,
    writes: u32,
    most: u32,
}

/// Wall-clock time that goes on steadily from its start.
#[derive(Debug)]
struct Clock {
    start: Timestamp,
    started: Instant,
}

impl Clock {
    fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.started.elapsed()).unwrap_or(SignedDuration::MAX);
        self.start.saturating_add(elapsed).unwrap_or(self.start)
    }
}

fn lock(ramping: &Mutex<Ramping>) -> MutexGuard<'_, Ramping> {
    // Whatever panics while it is locked leaves a state that is whole.
    ramping.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limit(limit: u32) -> NonZeroU32 {
        NonZeroU32::new(limit).expect("above 0")
    }

    fn limits_of(budgets: Budgets) -> RateLimits {
        RateLimits::new(&budgets, Share::ALL, Timestamp::UNIX_EPOCH)
    }

    /// Milliseconds from now at which each of so many calls is allowed, all wanted at once.
    async fn times(limits: &RateLimits, calls: Permits, times: usize) -> Vec<u64> {
        let start = Instant::now();
        let mut allowed = Vec::with_capacity(times);
        for _ in 0..times {
            limits.allow(calls).await;
            allowed.push(start.elapsed().as_millis() as u64);
        }
        allowed
    }

    /// The most calls within any time of that length.
    fn most_within(times: &[u64], millis: u64) -> usize {
        let from =
            |first: usize| times[first..].iter().take_while(|time| **time < times[first] + millis).count();
        (0..times.len()).map(from).max().unwrap_or_default()
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_minutes_secrets_may_be_accessed_at_once_and_no_more_in_any_minute() {
        let limits = limits_of(Budgets { secret_accesses_per_minute: limit(1000), ..Budgets::default() });
        let times = times(&limits, Permits::SECRET_ACCESS, 3500).await;
        assert_eq!((times[999], times[1000], times[1999], times[2000]), (0, 60_000, 60_000, 120_000));
        assert_eq!(most_within(&times, 60_000), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn operators_calls_are_a_few_at_once_and_never_more_than_allowed_in_any_minute() {
        for (per_minute, at_once) in [(1, 1), (3, 1), (540, 54), (2_000, 200)] {
            let limits =
                limits_of(Budgets { secret_calls_per_minute: limit(per_minute), ..Budgets::default() });
            let (start, mut times) = (Instant::now(), Vec::new());
            for _ in 0..per_minute + at_once {
                limits.allow_before(SecretCall::Look, Deadline::after(MINUTE)).await;
                times.push(start.elapsed().as_millis() as u64);
            }
            assert!(times[at_once as usize - 1] == 0 && times[at_once as usize] > 0, "{per_minute}");
            let most = most_within(&times, 60_000);
            assert!(most <= per_minute as usize + 1, "{most} of {per_minute}");
            assert!(*times.last().expect("some") <= 125_000, "{per_minute}: {:?}", times.last());
        }
        let limits = limits_of(Budgets::default());
        for call in [SecretCall::Look, SecretCall::Change, SecretCall::Access] {
            assert_eq!(
                limits.allow_before(call, Deadline::after(MINUTE)).await.left(),
                MINUTE,
                "each has its own"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waited_for_a_call_has_as_much_time_for_it() {
        let limits = limits_of(Budgets { secret_calls_per_minute: limit(1), ..Budgets::default() });
        let second = Duration::from_secs(1);
        limits.allow_before(SecretCall::Change, Deadline::after(second)).await;
        let deadline = limits.allow_before(SecretCall::Change, Deadline::after(second)).await;
        assert!(deadline.left() == second && Instant::now().elapsed() < second);
    }

    /// A pass that takes the secrets as fast as it can work, which is not all at once.
    #[tokio::test(start_paused = true)]
    async fn no_minute_of_a_steady_pass_has_more_accesses_than_allowed() {
        for per_second in [10, 20, 50, 1000] {
            let limits = limits_of(Budgets { secret_accesses_per_minute: limit(1000), ..Budgets::default() });
            let (start, mut times) = (Instant::now(), Vec::new());
            for _ in 0..3000 {
                limits.allow(Permits::SECRET_ACCESS).await;
                times.push(start.elapsed().as_millis() as u64);
                tokio::time::sleep(Duration::from_millis(1000 / per_second)).await;
            }
            assert!(most_within(&times, 60_000) <= 1000, "{per_second} a second");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_to_alpaca_are_smoothed() {
        for (per_second, burst) in [(1, 1), (3, 1), (7, 1), (25, 2), (100, 10), (509, 50)] {
            let limits =
                limits_of(Budgets { alpaca_calls_per_second: Some(limit(per_second)), ..Budgets::default() });
            let times = times(&limits, Permits::ALPACA_CALL, 10 * per_second as usize).await;
            assert!(most_within(&times, 1) <= burst, "{per_second}");
            for seconds in 1..=5 {
                let most = most_within(&times, 1000 * seconds);
                assert!(most <= per_second as usize * seconds as usize + burst, "{most} at {per_second}");
            }
            let took = times.last().copied().unwrap_or_default();
            assert!((8_800..=10_200).contains(&took), "{per_second} a second: {took} ms for 10 s of calls");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn writes_of_one_commit_count_one_by_one() {
        let limits = limits_of(Budgets { max_writes_per_second: Some(limit(100)), ..Budgets::default() });
        let times = times(&limits, Permits::writes(50), 5).await;
        assert_eq!(times, [400, 900, 1400, 1900, 2400], "the first ten go at once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_within_its_budgets_is_not_slowed() {
        let budgets = Budgets {
            alpaca_calls_per_second: Some(limit(100_000)),
            max_writes_per_second: Some(limit(200_000)),
            ..Budgets::default()
        };
        let (limits, start) = (limits_of(budgets), Instant::now());
        for _ in 0..10_000 {
            limits.allow(Permits { secret_accesses: 1, alpaca_calls: 1, writes: 2 }).await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    /// The first half of a pass at half of its limit says nothing about the second.
    #[tokio::test(start_paused = true)]
    async fn a_steady_pass_below_its_limit_is_not_slowed() {
        let (limits, start) = (
            limits_of(Budgets { alpaca_calls_per_second: Some(limit(100)), ..Budgets::default() }),
            Instant::now(),
        );
        for _ in 0..500 {
            limits.allow(Permits::ALPACA_CALL).await;
            tokio::time::sleep(Duration::from_millis(11)).await;
        }
        assert_eq!(start.elapsed(), Duration::from_millis(500 * 11));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_allowed_in_time_is_refused_and_takes_nothing() {
        let limits = limits_of(Budgets { secret_accesses_per_minute: limit(1), ..Budgets::default() });
        let within = |seconds| Deadline::after(Duration::from_secs(seconds));
        let used_up = Err(UsedUp { flag: "--secret-accesses-per-minute" });
        assert_eq!(limits.allow_by(Permits::SECRET_ACCESS, within(20)).await, Ok(()));
        assert_eq!(limits.allow_by(Permits::SECRET_ACCESS, within(20)).await, used_up);
        assert_eq!(
            limits.allow_by(Permits::SECRET_ACCESS, within(45)).await,
            Ok(()),
            "40 s later there is one again"
        );
        let unlimited = Permits { alpaca_calls: 9, ..Permits::writes(9) };
        assert_eq!(limits.allow_by(unlimited, within(0)).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_that_is_used_up_is_named_by_its_flag() {
        let one = Some(limit(1));
        let limits = limits_of(Budgets {
            alpaca_calls_per_second: one,
            max_writes_per_second: one,
            ..Budgets::default()
        });
        let now = Deadline::after(Duration::ZERO);
        for (calls, flag) in [
            (Permits::ALPACA_CALL, "--alpaca-calls-per-second"),
            (Permits::writes(1), "--max-writes-per-second"),
        ] {
            assert_eq!(limits.allow_by(calls, now).await, Ok(()));
            let refused = limits.allow_by(calls, now).await.expect_err("used up");
            assert!(refused.to_string().contains(flag), "{refused}");
        }
        let ramping = ramping(None);
        while ramping.allow_by(Permits::writes(10), now).await.is_ok() {}
        let refused = ramping.allow_by(Permits::writes(10), now).await.expect_err("used up");
        assert!(refused.to_string().contains("--ramp-writes"), "{refused}");
    }

    #[test]
    fn a_commit_is_no_larger_than_a_seconds_worth() {
        let commit = |max_writes_per_second: Option<u32>, ramp_writes| {
            let max_writes_per_second = max_writes_per_second.map(limit);
            limits_of(Budgets { max_writes_per_second, ramp_writes, ..Budgets::default() })
                .writes_per_commit()
        };
        assert_eq!((commit(None, false), commit(None, true)), (500, 500));
        assert_eq!([1, 7, 25, 400, 9000].map(|limit| commit(Some(limit), false)), [1, 6, 25, 400, 500]);
        assert_eq!(commit(Some(30), true), 30);
    }

    async fn writes_in(limits: &RateLimits, seconds: u64) -> u32 {
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut writes = 0;
        while tokio::time::timeout_at(end, limits.allow(Permits::writes(10))).await.is_ok() {
            writes += 10;
        }
        writes
    }

    fn ramping(max_writes_per_second: Option<u32>) -> RateLimits {
        let max_writes_per_second = max_writes_per_second.map(limit);
        limits_of(Budgets { max_writes_per_second, ramp_writes: true, ..Budgets::default() })
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_process_ramps_up_every_five_minutes() {
        let limits = ramping(None);
        for expected in [500, 750, 1125] {
            let writes = writes_in(&limits, 295).await;
            let most = expected * 295;
            assert!((most * 9 / 10..=most + expected / 5).contains(&writes), "{writes} at {expected}");
            let shown = limits.ramp().map(|(_, shown)| shown).expect("a ramp");
            assert!((expected * 9 / 10..=expected * 11 / 10).contains(&shown), "{shown} at {expected}");
            writes_in(&limits, 5).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ramp_that_is_not_used_does_not_grow() {
        let limits = ramping(None);
        for _ in 0..20 {
            limits.allow(Permits::writes(300)).await;
            tokio::time::sleep(MINUTE).await;
        }
        assert_eq!(limits.ramp(), Some((Ramp::first(Timestamp::UNIX_EPOCH), 300)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_smaller_of_the_ramp_and_the_limit_wins() {
        assert!(writes_in(&ramping(Some(100)), 10).await <= 1010);
        assert!(writes_in(&ramping(Some(9000)), 10).await <= 5050);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ramp_goes_on_where_the_last_execution_left_it() {
        let ramping = ramping(None);
        let previous = Ramp { limit: 2000, since: at(-400) };
        ramping.resume_ramp(previous, 100.0);
        assert_eq!(ramping.ramp(), Some((previous, 0)));
        ramping.resume_ramp(previous, 1900.0);
        assert_eq!(ramping.ramp(), Some((Ramp { limit: 3000, since: at(0) }, 0)));
        assert!(writes_in(&ramping, 10).await > 20_000);
        let unramped = limits_of(Budgets::default());
        unramped.resume_ramp(previous, 1900.0);
        assert_eq!(unramped.ramp(), None);
    }

    proptest! {
        #[test]
        fn the_shares_of_all_tasks_are_even_and_never_exceed_the_limit(whole in 1_u32.., tasks in 1_u32..200) {
            let share = |task_index| {
                let task_count = NonZeroU32::new(tasks).expect("above 0");
                Share { task_index, task_count }.of(limit(whole)).get()
            };
            let shares: Vec<_> = (0..tasks).map(share).collect();
            let sum: u64 = shares.iter().copied().map(u64::from).sum();
            if whole >= tasks {
                prop_assert_eq!(sum, u64::from(whole));
            } else {
                prop_assert_eq!(sum, u64::from(tasks));
            }
            prop_assert!(shares[0] - shares[shares.len() - 1] <= 1);
        }
    }
}
