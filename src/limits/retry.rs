//! The one retry policy of the job: at most three attempts for a call, exponential backoff with full
//! jitter, the server's own word on when to come back, and never past the user's time budget.

use crate::limits::slots::wait_aside;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// Attempts for one call, the first included.
pub(crate) const MAX_ATTEMPTS: u32 = 3;

/// Upper bound of the first wait; it doubles from attempt to attempt.
const BASE_DELAY: Duration = Duration::from_millis(200);

/// Upper bound of every wait.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Kept back from a wait that the server asks for, so that the call after it still has time.
const CALL_RESERVE: Duration = Duration::from_secs(2);

/// A reset further away is none.
const FURTHEST_RESET: Duration = Duration::from_secs(3600);

/// What to do about a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// The same call would fail again.
    GiveUp,
    /// It may work in a moment.
    BackOff,
    /// The server said when.
    After(Duration),
}

/// A failure that knows whether trying again makes sense.
pub(crate) trait Advise {
    /// What to do about it.
    fn advice(&self) -> Advice;

    /// Whether it only says that nothing was asked: an attempt before tells more.
    fn was_not_asked(&self) -> bool {
        false
    }
}

/// How long, and how often, something is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    /// Past it nothing is tried any more.
    at: Instant,
    /// Attempts for one call, the first included.
    attempts: u32,
}

impl Deadline {
    /// A budget that starts now.
    #[must_use]
    pub(crate) fn after(budget: Duration) -> Self {
        Self { at: Instant::now() + budget, attempts: MAX_ATTEMPTS }
    }

    /// The same, with one attempt for each call.
    #[must_use]
    pub(crate) fn tried_once(self) -> Self {
        Self { attempts: 1, ..self }
    }

    /// The same, with the usual attempts for each call.
    #[must_use]
    pub(crate) fn tried_as_usual(self) -> Self {
        Self { attempts: MAX_ATTEMPTS, ..self }
    }

    /// The same, with attempts until it is over: for what has nobody who waits for it.
    #[must_use]
    pub(crate) fn tried_to_the_end(self) -> Self {
        Self { attempts: u32::MAX, ..self }
    }

    /// The same deadline, with something kept back for afterwards.
    #[must_use]
    pub(crate) fn less(self, reserve: Duration) -> Self {
        Self { at: self.at.checked_sub(reserve).unwrap_or(self.at), ..self }
    }

    /// The same budget, begun that much later.
    #[must_use]
    pub(crate) fn later_by(self, wait: Duration) -> Self {
        Self { at: self.at + wait, ..self }
    }

    /// What is left of the budget.
    #[must_use]
    pub(crate) fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Whether nothing is left of it.
    #[must_use]
    pub(crate) fn is_over(self) -> bool {
        self.left().is_zero()
    }

    /// Whether a call that begins then still has time.
    #[must_use]
    pub(crate) fn allows_call_at(self, begin: Instant) -> bool {
        begin + CALL_RESERVE <= self.at
    }

    /// Time for one call that should take `limit` at most.
    #[must_use]
    pub(crate) fn for_call(self, limit: Duration) -> Duration {
        limit.min(self.left())
    }
}

/// The wait after failed attempt number `attempt` (from 0), if there is to be another. Drawn down to a random share of
/// its upper bound (full jitter), so that users who failed together do not come back together.
fn backoff(attempt: u32, deadline: Deadline) -> Option<Duration> {
    (attempt + 1 < deadline.attempts).then(|| delay(attempt, fastrand::f64()))
}

/// Wait after failed attempt number `attempt` (from 0), `share` in `0.0..=1.0` of its upper bound.
fn delay(attempt: u32, share: f64) -> Duration {
    BASE_DELAY.saturating_mul(2_u32.saturating_pow(attempt)).min(LONGEST_DELAY).mul_f64(share)
}

/// The wait before the next attempt, or `None` when there shall be none.
///
/// A wait that the server asks for and that does not fit in what is left of the budget ends the
/// tries at once: asking before it is over would only be refused again, and the next pulse comes in a minute.
fn wait(advice: Advice, backoff: Option<Duration>, left: Duration) -> Option<Duration> {
    let wait = match advice {
        Advice::GiveUp => None,
        Advice::BackOff => backoff,
        Advice::After(asked) => backoff.map(|backoff| asked.max(backoff)),
    }?;
    (wait + CALL_RESERVE <= left).then_some(wait)
}

/// Calls until it works, the error is final, the attempts are used up, or the budget is.
pub(crate) async fn with_retries<T, E, F>(deadline: Deadline, mut call: impl FnMut() -> F) -> Result<T, E>
where
    E: Advise,
    F: Future<Output = Result<T, E>>,
{
    with_numbered_retries(deadline, |_| call()).await
}

/// The same for a call that is to know how many attempts there were before: 0 for the first.
pub(crate) async fn with_numbered_retries<T, E, F>(
    deadline: Deadline,
    mut call: impl FnMut(u32) -> F,
) -> Result<T, E>
where
    E: Advise,
    F: Future<Output = Result<T, E>>,
{
    let (mut attempt, mut before) = (0, None);
    loop {
        // In a box, because it is large, and whatever holds it is moved: each user's task several times.
        let failure = match Box::pin(call(attempt)).await {
            Ok(answer) => return Ok(answer),
            Err(failure) if failure.was_not_asked() => return Err(before.unwrap_or(failure)),
            Err(failure) => failure,
        };
        let pause = wait(failure.advice(), backoff(attempt, deadline), deadline.left());
        let Some(pause) = pause else { return Err(failure) };
        if wait_aside(tokio::time::sleep(pause)).await.is_err() {
            return Err(failure);
        }
        before = Some(failure);
        attempt += 1;
    }
}

/// Reads a wait from `Retry-After` (seconds or an HTTP date) or `X-RateLimit-Reset` (epoch seconds): the longest that
/// can be believed. A reset that is past, or more than an hour ahead, as one in milliseconds is, says nothing; nor does
/// a text that is neither.
#[must_use]
pub(crate) fn asked_wait(
    reset: Option<&str>,
    retry_after: Option<&str>,
    now: std::time::SystemTime,
) -> Option<Duration> {
    let until = |time: std::time::SystemTime| time.duration_since(now).ok();
    let reset = reset
        .and_then(|text| text.trim().parse::<u64>().ok())
        .and_then(|seconds| std::time::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).and_then(until))
        .filter(|wait| !wait.is_zero() && *wait <= FURTHEST_RESET);
    let retry_after = retry_after.map(str::trim).and_then(|text| {
        let seconds = text.parse::<u64>().ok().map(Duration::from_secs);
        seconds.or_else(|| httpdate::parse_http_date(text).ok().map(|time| until(time).unwrap_or_default()))
    });
    reset.max(retry_after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::deadlines::USER_BUDGET;
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[derive(Debug, PartialEq)]
    struct Failure(Advice);

    impl Advise for Failure {
        fn advice(&self) -> Advice {
            self.0
        }
    }

    /// Attempts made and time waited when every attempt fails with `advice`.
    async fn exhaust(advice: Advice, budget: Duration) -> (u32, Duration) {
        let (calls, start) = (Cell::new(0), Instant::now());
        let result: Result<(), _> = with_retries(Deadline::after(budget), || {
            calls.set(calls.get() + 1);
            async { Err(Failure(advice)) }
        })
        .await;
        assert_eq!(result, Err(Failure(advice)));
        (calls.get(), start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_keeps_failing_is_tried_three_times() {
        assert_eq!(exhaust(Advice::BackOff, USER_BUDGET).await.0, 3);
        assert_eq!(exhaust(Advice::GiveUp, USER_BUDGET).await, (1, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_tried_once_is_tried_once() {
        let calls = Cell::new(0);
        let result: Result<(), _> = with_retries(Deadline::after(USER_BUDGET).tried_once(), || {
            calls.set(calls.get() + 1);
            async { Err(Failure(Advice::BackOff)) }
        })
        .await;
        assert_eq!((result, calls.get()), (Err(Failure(Advice::BackOff)), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_servers_own_wait_is_waited_for() {
        let (calls, waited) = exhaust(Advice::After(Duration::from_secs(5)), USER_BUDGET).await;
        assert_eq!((calls, waited.as_secs()), (3, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn no_wait_goes_past_the_budget() {
        let (calls, waited) = exhaust(Advice::After(Duration::from_secs(15)), USER_BUDGET).await;
        assert_eq!((calls, waited.as_secs()), (2, 15), "a second wait of 15 s would end after 30 s");
        assert_eq!(exhaust(Advice::After(Duration::from_secs(3600)), USER_BUDGET).await, (1, Duration::ZERO));
        assert_eq!(exhaust(Advice::BackOff, Duration::ZERO).await, (1, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_recovers_returns_its_value() {
        let calls = Cell::new(0);
        let result = with_retries(Deadline::after(USER_BUDGET), || {
            calls.set(calls.get() + 1);
            let answer = if calls.get() < 3 { Err(Failure(Advice::BackOff)) } else { Ok(calls.get()) };
            async move { answer }
        });
        assert_eq!(result.await, Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn the_attempts_are_numbered_from_0() {
        let mut numbers = Vec::new();
        let result: Result<(), _> = with_numbered_retries(Deadline::after(USER_BUDGET), |attempt| {
            numbers.push(attempt);
            async { Err(Failure(Advice::BackOff)) }
        })
        .await;
        assert!(result.is_err());
        assert_eq!(numbers, [0, 1, 2]);
    }

    #[test]
    fn the_wait_is_read_from_either_header() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let wait = |reset, retry_after| asked_wait(reset, retry_after, now).map(|wait| wait.as_secs());
        assert_eq!(wait(None, None), None);
        assert_eq!(wait(None, Some("7")), Some(7));
        assert_eq!(wait(None, Some("Sun, 09 Sep 2001 01:46:50 GMT")), Some(10));
        assert_eq!(wait(None, Some("Sun, 09 Sep 2001 01:46:30 GMT")), Some(0));
        assert_eq!(wait(Some("1000000012"), Some("7")), Some(12));
        assert_eq!(wait(Some("soon"), Some("7")), Some(7));
        assert_eq!(wait(Some("18446744073709551615"), Some("soon")), None);
        for nonsense in ["", "-1", "1.5", "soon", "18446744073709551616"] {
            assert_eq!(wait(None, Some(nonsense)), None, "{nonsense:?}");
        }
    }

    #[test]
    fn the_longest_believable_hint_counts() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let wait = |reset, retry_after| asked_wait(Some(reset), retry_after, now).map(|wait| wait.as_secs());
        for (reset, alone) in [
            ("1000000012", Some(12)),
            ("1000003600", Some(3600)),
            ("1000000000", None),
            ("999999997", None),
            ("1000003601", None),
            ("1000000012000", None),
            ("18446744073709551615", None),
        ] {
            assert_eq!(wait(reset, None), alone, "{reset}");
            assert_eq!(wait(reset, Some("2")), Some(alone.map_or(2, |alone| alone.max(2))), "{reset}");
            assert_eq!(wait(reset, Some("7200")), Some(7200), "{reset}");
        }
    }

    proptest! {
        #[test]
        fn the_jitter_stays_below_its_doubling_bound(attempt in 0_u32..2, share in 0.0..=1.0) {
            let bound = BASE_DELAY * 2_u32.pow(attempt);
            prop_assert!(delay(attempt, share) <= bound);
        }

        #[test]
        fn no_accepted_wait_leaves_too_little_for_the_call(asked in 0_u64..100, left in 0_u64..30) {
            let (asked, left) = (Duration::from_secs(asked), Duration::from_secs(left));
            if let Some(wait) = wait(Advice::After(asked), Some(BASE_DELAY), left) {
                prop_assert!(wait >= asked && wait + CALL_RESERVE <= left);
            }
        }

        #[test]
        fn a_wait_until_any_point_in_time_is_the_time_until_then(now in 0_u64..4_000_000_000, then in 0_u64..4_000_000_000) {
            let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
            let expected = Some(Duration::from_secs(then.saturating_sub(now)));
            let believable = expected.filter(|wait| (1..=3600).contains(&wait.as_secs()));
            prop_assert_eq!(asked_wait(Some(&then.to_string()), None, at(now)), believable);
            prop_assert_eq!(asked_wait(None, Some(&httpdate::fmt_http_date(at(then))), at(now)), expected);
            prop_assert_eq!(asked_wait(None, Some(&then.to_string()), at(now)), Some(Duration::from_secs(then)));
        }

        #[test]
        fn no_header_panics(reset in "\\PC{0,24}|[0-9]{0,24}", after in "\\PC{0,40}|[0-9]{0,24}") {
            let _ = asked_wait(Some(&reset), Some(&after), SystemTime::now());
        }
    }
}
