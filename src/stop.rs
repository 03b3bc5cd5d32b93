//! Being told to stop: Cloud Run sends SIGTERM, a person at a terminal SIGINT, and `--deadline` nears.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// For what is in flight when the signal comes. Cloud Run kills the process after 10 s.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(8);

/// For the records of the pass after that: with [`DRAIN_LIMIT`] it stays below those 10 s.
pub const CLOSING_LIMIT: Duration = Duration::from_millis(1500);

/// From the last start of a user to `--deadline`: for both of those, and a little more.
const DEADLINE_RESERVE: Duration = Duration::from_secs(10);

/// Which signal it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// From Cloud Run, or `kill`.
    Terminate,
    /// Ctrl-C.
    Interrupt,
}

impl StopSignal {
    /// What a shell reports for a process that ended by it.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Terminate => 143,
            Self::Interrupt => 130,
        }
    }
}

/// When the last user is started who is to be finished by a deadline: 10 s before it, which is what a stop
/// may take, or after half of the time where that is more.
#[must_use]
pub fn last_start(deadline: Duration) -> Duration {
    deadline.saturating_sub(DEADLINE_RESERVE).max(deadline / 2)
}

/// Whether the process was told to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    signal: Arc<OnceLock<StopSignal>>,
    deadline: Arc<OnceLock<Instant>>,
}

impl Stop {
    /// One that heeds SIGTERM and SIGINT from now on; a second one ends the process at once. Must be
    /// called within a runtime.
    pub fn on_signals() -> io::Result<Self> {
        let stop = Self::default();
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let told = stop.clone();
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! {
                    _ = terminate.recv() => StopSignal::Terminate,
                    _ = interrupt.recv() => StopSignal::Interrupt,
                }
            };
            told.request(next().await);
            warn!("Told to stop: starting no new user, finishing what is in flight");
            let again = next().await;
            warn!("Told to stop again: giving up what is in flight");
            std::process::exit(i32::from(again.exit_code()));
        });
        Ok(stop)
    }

    /// Stops as that signal does.
    pub fn request(&self, which: StopSignal) {
        // The first signal counts.
        let _ = self.signal.set(which);
        self.token.cancel();
    }

    /// Stops in time for a deadline that counts from `begun`, see [`last_start`]. Must be called within a
    /// runtime.
    pub fn by_deadline(&self, deadline: Duration, begun: Instant) {
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
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.get().copied()
    }

    /// Waits until the process is told to stop.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// Waits until the process is told to stop, and then for that long.
    pub async fn requested_for(&self, time: Duration) {
        self.requested().await;
        tokio::time::sleep(time).await;
    }

    /// The signal, once there was one.
    #[must_use]
    pub fn signal(&self) -> Option<StopSignal> {
        self.signal.get().copied()
    }
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
    async fn after_a_signal_the_deadline_is_of_no_concern() {
        let stop = Stop::default();
        stop.by_deadline(Duration::from_secs(50), Instant::now());
        stop.request(StopSignal::Terminate);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!((stop.deadline(), stop.signal()), (None, Some(StopSignal::Terminate)));
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
