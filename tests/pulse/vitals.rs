//! What a process takes while it runs, as the kernel counts it.

use crate::world::Run;
use std::fs;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Pause between two looks. The kernel keeps the peak of memory itself.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The most that a process ever had of each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peak {
    pub memory_kib: u64,
    pub threads: u64,
    pub sockets: u64,
}

impl Peak {
    fn look(&mut self, pid: u32) {
        // A process that has ended has no status any more.
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let number = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let targets = open.filter_map(|entry| fs::read_link(entry.path()).ok());
        let sockets = targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count() as u64;
        self.memory_kib = self.memory_kib.max(number("VmHWM:"));
        self.threads = self.threads.max(number("Threads:"));
        self.sockets = self.sockets.max(sockets);
    }
}

/// Runs a command to its end without its log.
pub(crate) async fn watched_run(command: &mut Command) -> (Run, Peak) {
    let child = command.stdout(Stdio::null()).spawn().expect("pulse starts");
    let pid = child.id().expect("it is running");
    let mut peak = Peak::default();
    let mut run = std::pin::pin!(Run::end_of(child));
    loop {
        tokio::select! {
            run = &mut run => return (run, peak),
            () = tokio::time::sleep(LOOK_INTERVAL) => peak.look(pid),
        }
    }
}
