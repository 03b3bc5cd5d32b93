//! Being told to stop: Cloud Run sends SIGTERM, a person at a terminal SIGINT.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// For what is in flight when the signal comes. Cloud Run kills the process after 10 s.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(8);

/// For the records of the pass after that: with [`DRAIN_LIMIT`] it stays below those 10 s.
pub const CLOSING_LIMIT: Duration = Duration::from_millis(1500);

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

/// Whether the process was told to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    signal: Arc<OnceLock<StopSignal>>,
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

    /// Waits until the process is told to stop.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// The signal, once there was one.
    #[must_use]
    pub fn signal(&self) -> Option<StopSignal> {
        self.signal.get().copied()
    }
}
