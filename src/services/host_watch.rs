//! Whether a host answers anybody.

use crate::limits::retry::Deadline;
use crate::limits::slots::{Crowded, wait_aside};
use crate::model::keys::Environment;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

/// A host that has answered nobody for so long is asked by one probe at a time.
const SILENCE: Duration = Duration::from_secs(10);

/// Longest a probe may take: those who wait for it have little time.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Longest a user waits for others' probes: more than one of them, as that one's call may have a trouble of its own.
const PATIENCE: Duration = Duration::from_secs(7);

/// Watches one host, for all users' tasks.
#[derive(Debug)]
pub(crate) struct HostWatch {
    start: Instant,
    /// When the first call was made since the last answer: milliseconds after the start, plus 1; 0 when there is none.
    unanswered_since: AtomicU64,
    probe: Semaphore,
    /// A probe was answered. Whoever waits for it does not wait until it is over: it may be waiting for their slots.
    open_again: Notify,
    /// When the first probe was made, in this lap and since the last answer; 0 when there is none.
    probed_since: AtomicU64,
}

/// A call may be made.
#[derive(Debug)]
pub(crate) enum Entry<'a> {
    /// The host answers, as far as is known.
    Open,
    /// It answers nobody, and this call finds out whether it does again. The next probe waits until this one is over.
    Probe(#[expect(dead_code, reason = "it is held, not used")] SemaphorePermit<'a>),
}

/// The host has answered nobody for a while, and a probe is on its way or was in vain: it is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Silent;

impl Default for HostWatch {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            unanswered_since: AtomicU64::new(0),
            probe: Semaphore::new(1),
            open_again: Notify::new(),
            probed_since: AtomicU64::new(0),
        }
    }
}

impl Entry<'_> {
    /// Time for this call, one of which may take `limit`.
    #[must_use]
    pub(crate) fn limit(&self, limit: Duration) -> Duration {
        match self {
            Self::Open => limit,
            Self::Probe(_) => limit.min(PROBE_TIMEOUT),
        }
    }
}

impl HostWatch {
    /// Waits, while a probe is on its way, until it is known whether the host answers, or until it is this user's turn to
    /// find out. `attempt` is how often this user has asked before: each probe is another user's, as one user's call may
    /// have a trouble of its own.
    ///
    /// # Errors
    /// When the host is not to be asked.
    pub(crate) async fn enter(&self, attempt: u32, deadline: Deadline) -> Result<Entry<'_>, Silent> {
        if !self.is_silent() {
            self.asked();
            return Ok(Entry::Open);
        }
        if attempt > 0 {
            return Err(Silent);
        }
        let turn = match wait_aside(self.turn_to_probe(deadline, PATIENCE)).await {
            Ok(turn) => turn,
            // The silence may be that of those alone who asked last. Who waits for the first probe may keep the slot:
            // there is nothing to do with the host until it is over.
            Err(Crowded) => self.turn_to_probe(deadline, self.left_for_first_probe()).await,
        };
        match (turn, self.is_silent()) {
            (_, false) => Ok(Entry::Open),
            (Some(probe), true) => {
                let _ =
                    self.probed_since.compare_exchange(0, self.now(), Ordering::Relaxed, Ordering::Relaxed);
                Ok(Entry::Probe(probe))
            }
            (None, true) => Err(Silent),
        }
    }

    async fn turn_to_probe(&self, deadline: Deadline, patience: Duration) -> Option<SemaphorePermit<'_>> {
        let turn = async {
            tokio::select! {
                biased;
                () = self.open_again.notified() => None,
                only = self.probe.acquire() => only.ok(),
            }
        };
        timeout(deadline.left().min(patience), turn).await.ok()?
    }

    /// The host has answered, whatever it said.
    pub(crate) fn answered(&self) {
        if self.unanswered_since.load(Ordering::Relaxed) != 0 {
            self.unanswered_since.store(0, Ordering::Relaxed);
            self.probed_since.store(0, Ordering::Relaxed);
        }
        if self.probe.available_permits() == 0 {
            self.open_again.notify_waiters();
        }
    }

    /// The users who were set aside come: probes of the lap before say nothing of now.
    pub(crate) fn begin_lap(&self) {
        self.probed_since.store(0, Ordering::Relaxed);
    }

    /// A pass begins, and is to find out by itself: the last one asked before may have been the only one without an
    /// answer, and nobody was asked since.
    pub(crate) fn begin_pass(&self) {
        self.answered();
        self.begin_lap();
    }

    fn asked(&self) {
        if self.unanswered_since.load(Ordering::Relaxed) == 0 {
            self.unanswered_since.store(self.now(), Ordering::Relaxed);
        }
    }

    fn is_silent(&self) -> bool {
        let since = self.unanswered_since.load(Ordering::Relaxed);
        since != 0 && self.now().saturating_sub(since) >= SILENCE.as_millis() as u64
    }

    /// Nothing once it was in vain.
    fn left_for_first_probe(&self) -> Duration {
        match self.probed_since.load(Ordering::Relaxed) {
            0 => PROBE_TIMEOUT,
            since => PROBE_TIMEOUT.saturating_sub(Duration::from_millis(self.now().saturating_sub(since))),
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64 + 1
    }
}

/// The watches of Alpaca's two hosts.
#[derive(Clone, Debug, Default)]
pub(crate) struct BrokerWatch {
    paper: Arc<HostWatch>,
    live: Arc<HostWatch>,
}

impl BrokerWatch {
    /// The watch of the host where such accounts are.
    #[must_use]
    pub(crate) fn of(&self, environment: Environment) -> &HostWatch {
        match environment {
            Environment::Paper => &self.paper,
            Environment::Live => &self.live,
        }
    }

    /// A pass begins.
    pub(crate) fn begin_pass(&self) {
        self.paper.begin_pass();
        self.live.begin_pass();
    }

    /// The users who were set aside come.
    pub(crate) fn begin_lap(&self) {
        self.paper.begin_lap();
        self.live.begin_lap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::deadlines::USER_BUDGET;
    use tokio::time::sleep;

    fn deadline() -> Deadline {
        Deadline::after(USER_BUDGET)
    }

    /// A host that was asked and has not answered for so long.
    async fn silent_for(silence: Duration) -> HostWatch {
        let watch = HostWatch::default();
        assert!(matches!(watch.enter(0, deadline()).await, Ok(Entry::Open)));
        sleep(silence).await;
        watch
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_was_not_asked_is_not_silent() {
        let watch = HostWatch::default();
        sleep(SILENCE * 9).await;
        assert!(matches!(watch.enter(0, deadline()).await, Ok(Entry::Open)));
        watch.answered();
        sleep(SILENCE * 9).await;
        assert!(matches!(watch.enter(0, deadline()).await, Ok(Entry::Open)));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_silent_after_ten_seconds_without_any_answer() {
        let watch = silent_for(SILENCE - Duration::from_millis(1)).await;
        assert!(matches!(watch.enter(2, deadline()).await, Ok(Entry::Open)));
        let watch = silent_for(SILENCE).await;
        assert_eq!(watch.enter(1, deadline()).await.err(), Some(Silent), "who asked before makes no probe");
        let probe = watch.enter(0, deadline()).await.expect("a probe");
        assert_eq!(probe.limit(Duration::from_secs(10)), PROBE_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_finds_out_by_itself() {
        let watch = silent_for(SILENCE).await;
        watch.begin_pass();
        assert!(matches!(watch.enter(0, deadline()).await, Ok(Entry::Open)));
        sleep(SILENCE).await;
        assert!(matches!(watch.enter(0, deadline()).await, Ok(Entry::Probe(_))));
    }

    /// What becomes of a user who comes while a probe is on its way, and when.
    async fn enters(watch: &HostWatch, probe_takes: Duration) -> (&'static str, Duration) {
        let start = Instant::now();
        let entered = match watch.enter(0, deadline()).await {
            Ok(Entry::Open) => "open",
            Err(Silent) => "silent",
            Ok(probe @ Entry::Probe(_)) => {
                let began = start.elapsed();
                sleep(probe_takes).await;
                drop(probe);
                return ("probe", began);
            }
        };
        (entered, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn others_wait_for_the_probe_and_are_the_next_ones_if_it_was_in_vain() {
        let (watch, probe_takes) = (silent_for(SILENCE).await, Duration::from_secs(3));
        let users = futures::future::join_all((0..5).map(|_| enters(&watch, probe_takes)));
        let seconds = |(entered, after): (&'static str, Duration)| (entered, after.as_secs());
        let ends: Vec<_> = users.await.into_iter().map(seconds).collect();
        assert_eq!(ends, [("probe", 0), ("probe", 3), ("probe", 6), ("silent", 7), ("silent", 7)]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_the_probe_lets_all_of_them_ask() {
        let watch = silent_for(SILENCE).await;
        let _probe =
            watch.enter(0, deadline()).await.expect("a probe, which is not over when its answer is there");
        let waiting = futures::future::join_all((0..5).map(|_| enters(&watch, Duration::ZERO)));
        let probing = async {
            sleep(Duration::from_secs(2)).await;
            watch.answered();
        };
        let (entered, ()) = futures::join!(waiting, probing);
        assert_eq!(entered, [("open", Duration::from_secs(2)); 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_probe_beyond_their_time() {
        let watch = silent_for(SILENCE).await;
        let _probe = watch.enter(0, deadline()).await.expect("a probe");
        let start = Instant::now();
        assert_eq!(watch.enter(0, Deadline::after(Duration::from_secs(1))).await.err(), Some(Silent));
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }
}
