//! Being told to stop: Cloud Run sends SIGTERM, a person at a terminal SIGINT, a terminal that closes SIGHUP, and
//! `--deadline` nears.

use crate::telemetry::output::{self, Hurry};
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// For what is in flight when the signal comes. Cloud Run kills the process after 10 s.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(8);

/// For the records of the pass after that: with [`DRAIN_LIMIT`] it stays below those 10 s.
pub(crate) const CLOSING_LIMIT: Duration = Duration::from_millis(1500);

/// From the signal to the end of the process, for the log's reader too.
const STOP_LIMIT: Duration = Duration::from_millis(9700);

/// For the log's reader when a second signal ends the process at once.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// SIGXFSZ, wherever this runs.
const FILE_TOO_LARGE: i32 = 25;

/// From the last start of a user to `--deadline`: for both of those, and a little more.
const DEADLINE_RESERVE: Duration = Duration::from_secs(10);

/// Which signal it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopSignal {
    /// From Cloud Run, `kill`, or a terminal that was closed: SIGHUP asks for the same.
    Terminate,
    /// Ctrl-C.
    Interrupt,
}

impl StopSignal {
    /// What a shell reports for a process that ended by it.
    #[must_use]
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Terminate => 143,
            Self::Interrupt => 130,
        }
    }
}

/// When the last user is started who is to be finished by a deadline: 10 s before it, which is what a stop
/// may take, or after half of the time where that is more.
#[must_use]
pub(crate) fn last_start(deadline: Duration) -> Duration {
    deadline.saturating_sub(DEADLINE_RESERVE).max(deadline / 2)
}

/// Whether the process was told to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    token: CancellationToken,
    signal: Arc<OnceLock<(StopSignal, Instant)>>,
    signalled: CancellationToken,
    /// When it stopped for the deadline.
    deadline: Arc<OnceLock<Instant>>,
    /// The deadline itself.
    ends: Arc<OnceLock<Instant>>,
}

impl Stop {
    /// One that heeds SIGTERM, SIGINT and SIGHUP from now on; a second one ends the process at once. Must be
    /// called within a runtime.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let stop = Self::default();
        let mut signals = Signals::new()?;
        let told = stop.clone();
        tokio::spawn(async move {
            told.request(signals.next().await);
            warn!("Told to stop: starting no new user, finishing what is in flight");
            let again = signals.next_of_a_person().await;
            warn!("Told to stop again: giving up what is in flight");
            output::flush_for(LAST_WORDS).await;
            std::process::exit(i32::from(again.exit_code()));
        });
        Ok(stop)
    }

    /// Stops as that signal does.
    pub(crate) fn request(&self, which: StopSignal) {
        // The first signal counts.
        let _ = self.signal.set((which, Instant::now()));
        self.signalled.cancel();
        self.token.cancel();
    }

    /// Stops in time for a deadline that counts from `begun`, see [`last_start`]. Must be called within a
    /// runtime.
    pub(crate) fn by_deadline(&self, deadline: Duration, begun: Instant) {
        let _ = self.ends.set(begun + deadline);
        let told = self.clone();
        let last_start = begun + last_start(deadline);
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep_until(last_start) => told.reach_deadline(),
                () = told.requested() => {}
            }
        });
    }

    fn reach_deadline(&self) {
        warn!("The deadline is near: starting no new user, finishing what is in flight");
        let _ = self.deadline.set(Instant::now());
        self.token.cancel();
    }

    /// When it stopped for the deadline, if it did. A signal may have come since.
    #[must_use]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline.get().copied()
    }

    /// Waits until the process is told to stop.
    pub(crate) async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// Waits for a signal, whatever the deadline does.
    pub(crate) async fn signalled(&self) {
        self.signalled.cancelled().await;
    }

    /// Waits until the process is told to stop, and then for that long.
    pub(crate) async fn requested_for(&self, time: Duration) {
        self.requested().await;
        tokio::time::sleep(time).await;
    }

    /// What comes of `work`; nothing when the process is told to stop before it is done.
    pub(crate) async fn run_until_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.requested() => None,
        }
    }

    /// The same for work that may take that long from then on.
    pub(crate) async fn run_until_stopped_for<T>(
        &self,
        time: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.requested_for(time) => None,
        }
    }

    /// The signal, once there was one.
    #[must_use]
    pub(crate) fn signal(&self) -> Option<StopSignal> {
        self.signal.get().map(|(signal, _)| *signal)
    }

    /// When the process has to have ended, if it was told to stop or has a deadline.
    #[must_use]
    pub(crate) fn latest_end(&self) -> Option<Instant> {
        let told = self.signal.get().map(|(_, told)| *told + STOP_LIMIT);
        told.into_iter().chain(self.ends.get().copied()).min()
    }

    /// Waits at the end of the process until the log is written, as long as there is time for that.
    pub(crate) async fn flush_log(&self) {
        output::flush(|| Hurry { is_told: self.signal().is_some(), latest_end: self.latest_end() }).await;
    }
}

/// The first signal that comes from now on. For commands that end by themselves once they were told. Must be called within
/// a runtime.
pub(crate) fn first_signal() -> io::Result<impl Future<Output = StopSignal>> {
    let mut signals = Signals::new()?;
    Ok(async move { signals.next().await })
}

/// The signals that are heeded.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Unless the process was started to outlive its terminal, as by `nohup`.
    hangup: Option<Signal>,
}

impl Signals {
    fn new() -> io::Result<Self> {
        // A file that may not grow any more is no reason to die, and a write that fails is one to go on.
        let _ = signal(SignalKind::from_raw(FILE_TOO_LARGE))?;
        let ignores_hangup =
            std::fs::read_to_string("/proc/self/status").is_ok_and(|own| ignores_hangup(&own));
        let hangup = if ignores_hangup { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup,
        })
    }

    async fn next(&mut self) -> StopSignal {
        let Some(mut hangup) = self.hangup.take() else { return self.next_of_a_person().await };
        tokio::select! {
            biased;
            _ = hangup.recv() => StopSignal::Terminate,
            signal = self.next_of_a_person() => signal,
        }
    }

    /// Of a terminal that closes, its shell and the kernel both tell: that is no second wish.
    async fn next_of_a_person(&mut self) -> StopSignal {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => StopSignal::Terminate,
            _ = self.interrupt.recv() => StopSignal::Interrupt,
        }
    }
}

/// Whether the process was started with SIGHUP ignored, by what Linux says of it.
fn ignores_hangup(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let signals = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    signals.is_some_and(|signals| signals & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until it stops for such a deadline.
    async fn stops_after(deadline: u64) -> f64 {
        let (stop, begun) = (Stop::default(), Instant::now());
        stop.by_deadline(Duration::from_secs(deadline), begun);
        stop.requested().await;
        assert_eq!((stop.deadline(), stop.signal()), (Some(Instant::now()), None));
        begun.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_stops_early_enough_to_be_kept() {
        for (deadline, expected) in [(50, 40.0), (21, 11.0), (20, 10.0), (15, 7.5), (1, 0.5)] {
            assert!((stops_after(deadline).await - expected).abs() < 0.01, "{deadline}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_given_up_when_told_to_stop_or_some_time_after() {
        let (stop, begun) = (Stop::default(), Instant::now());
        let second = || tokio::time::sleep(Duration::from_secs(1));
        assert_eq!(stop.run_until_stopped(second()).await, Some(()));
        stop.request(StopSignal::Terminate);
        assert_eq!(stop.run_until_stopped(second()).await, None);
        assert_eq!(begun.elapsed().as_secs(), 1);
        assert_eq!(stop.run_until_stopped_for(Duration::from_millis(500), second()).await, None);
        assert_eq!(stop.run_until_stopped_for(Duration::from_secs(2), second()).await, Some(()));
        assert_eq!(begun.elapsed(), Duration::from_millis(2500));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_signal_the_deadline_is_of_no_concern() {
        let stop = Stop::default();
        stop.by_deadline(Duration::from_secs(50), Instant::now());
        stop.request(StopSignal::Terminate);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!((stop.deadline(), stop.signal()), (None, Some(StopSignal::Terminate)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_process_ends_in_time_for_the_signal_and_the_deadline() {
        let (stop, begun) = (Stop::default(), Instant::now());
        assert_eq!(stop.latest_end(), None);
        stop.by_deadline(Duration::from_secs(50), begun);
        assert_eq!(stop.latest_end(), Some(begun + Duration::from_secs(50)));
        stop.request(StopSignal::Terminate);
        assert_eq!(stop.latest_end(), Some(begun + STOP_LIMIT));
        assert!(DRAIN_LIMIT + CLOSING_LIMIT < STOP_LIMIT && STOP_LIMIT < Duration::from_secs(10));
    }

    #[test]
    fn a_process_that_is_to_outlive_its_terminal_is_told_by_its_signals() {
        for (status, ignores) in [
            ("Name:\tpulse\nSigIgn:\t0000000000000001\nSigCgt:\t0000000000000000\n", true),
            ("Name:\tpulse\nSigIgn:\t0000000000001001\n", true),
            ("SigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n", false),
            ("SigIgn:\tmany\n", false),
            ("", false),
        ] {
            assert_eq!(ignores_hangup(status), ignores, "{status:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_signal_after_the_deadline_is_told() {
        let stop = Stop::default();
        stop.by_deadline(Duration::from_secs(20), Instant::now());
        stop.requested().await;
        stop.request(StopSignal::Interrupt);
        assert!(stop.deadline().is_some());
        assert_eq!(stop.signal(), Some(StopSignal::Interrupt));
    }
}
