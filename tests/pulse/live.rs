//! A run of the binary that is watched, and told things, while it goes on.

use crate::world::Run;
use serde_json::Value as Json;
use std::future::Future;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// Longest anything that a test waits for may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pause between two looks at something that cannot be awaited.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(5);

pub(crate) struct Live {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    stdout: String,
}

impl Live {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("pulse starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        Self { child, lines: BufReader::new(stdout).lines(), stdout: String::new() }
    }

    /// Reads the log until so many more lines have a message that starts so.
    pub(crate) async fn until(&mut self, message: &str, times: usize) {
        for _ in 0..times {
            loop {
                let line = self.line().await;
                let line = line.unwrap_or_else(|| panic!("{message:?} is not in:\n{}", self.stdout));
                let entry: Json = serde_json::from_str(&line).expect("a JSON object a line");
                if entry["message"].as_str().is_some_and(|text| text.starts_with(message)) {
                    break;
                }
            }
        }
    }

    async fn line(&mut self) -> Option<String> {
        let line = in_time(self.lines.next_line()).await.expect("UTF-8")?;
        self.stdout.push_str(&line);
        self.stdout.push('\n');
        Some(line)
    }

    /// The log as far as it was read.
    pub(crate) fn log(&self) -> &str {
        &self.stdout
    }

    /// Sends a signal: `TERM`, `INT` or `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().expect("still running").to_string();
        let sent: ExitStatus = std::process::Command::new("kill")
            .args(["-s", name, &pid])
            .stdin(Stdio::null())
            .status()
            .expect("kill runs");
        assert!(sent.success(), "{name} is sent to {pid}");
    }

    /// Waits for the end.
    pub(crate) async fn end(mut self) -> Run {
        while self.line().await.is_some() {}
        Run { stdout: self.stdout, ..Run::end_of(self.child).await }
    }
}

/// Waits until something is so that cannot be awaited, such as a count.
pub(crate) async fn wait_until(is_so: impl Fn() -> bool) {
    in_time(async {
        while !is_so() {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    })
    .await;
}

/// Waits for something that is bound to happen.
pub(crate) async fn in_time<T>(happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, happens).await.expect("it happens in time")
}
