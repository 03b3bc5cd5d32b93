//! What a process has while it runs: memory, sockets and threads as the kernel counts them, and tasks as it says itself.

use serde::Serialize;
use std::fs;

/// At one point in time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Vitals {
    memory_kib: u64,
    sockets: u64,
    threads: u64,
    tasks: u64,
}

/// At some point of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct VitalsRow {
    pub(crate) at: String,
    pub(crate) memory_mb: f64,
    pub(crate) sockets: f64,
    pub(crate) threads: f64,
    pub(crate) tasks: f64,
}

/// Of a whole run, from its beginning.
#[derive(Debug, Default)]
pub(crate) struct History(Vec<Vitals>);

impl Vitals {
    /// Of that process; nothing once it has ended.
    pub(crate) fn of(pid: u32, tasks: u64) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let number = |field: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(field))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        let targets = open.filter_map(|entry| fs::read_link(entry.path()).ok());
        let sockets = targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count();
        let sockets = u64::try_from(sockets).unwrap_or(u64::MAX);
        Some(Self { memory_kib: number("VmRSS:")?, sockets, threads: number("Threads:")?, tasks })
    }
}

impl History {
    pub(crate) fn push(&mut self, vitals: Vitals) {
        self.0.push(vitals);
    }

    /// At a tenth, a half and the end of the run, each the middle of the twentieth before; and the most of each.
    pub(crate) fn rows(&self) -> Vec<VitalsRow> {
        let mut rows: Vec<_> =
            [10, 50, 100].map(|percent| self.middle(&format!("{percent} %"), (percent - 5, percent))).into();
        rows.push(self.row("the most", |of| of.last().copied().unwrap_or_default()));
        rows
    }

    /// By how much the middle of the second half is above that of the first, but for its first fifth.
    pub(crate) fn growth(&self) -> VitalsRow {
        let (early, late) = (self.middle("", (10, 50)), self.middle("", (50, 100)));
        VitalsRow {
            at: "growth".to_owned(),
            memory_mb: late.memory_mb - early.memory_mb,
            sockets: late.sockets - early.sockets,
            threads: late.threads - early.threads,
            tasks: late.tasks - early.tasks,
        }
    }

    fn middle(&self, at: &str, (from, to): (usize, usize)) -> VitalsRow {
        let place = |percent: usize| self.0.len() * percent / 100;
        let part = Self(self.0.get(place(from)..place(to)).unwrap_or_default().to_vec());
        part.row(at, |of| of.get(of.len() / 2).copied().unwrap_or_default())
    }

    /// One of each that was seen, in the order of their size.
    #[expect(clippy::cast_precision_loss, reason = "what a process has fits a double")]
    fn row(&self, at: &str, chosen: impl Fn(&[u64]) -> u64) -> VitalsRow {
        let of = |figure: fn(&Vitals) -> u64| {
            let mut figures: Vec<_> = self.0.iter().map(figure).collect();
            figures.sort_unstable();
            chosen(&figures) as f64
        };
        VitalsRow {
            at: at.to_owned(),
            memory_mb: of(|vitals| vitals.memory_kib) * 1024.0 / 1e6,
            sockets: of(|vitals| vitals.sockets),
            threads: of(|vitals| vitals.threads),
            tasks: of(|vitals| vitals.tasks),
        }
    }
}
