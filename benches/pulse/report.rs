//! The figures, as tables and as JSON.

use crate::budgets::Budget;
use crate::cells::Cell;
use crate::cloud::Counted;
use crate::counts::Counts;
use crate::log::Times;
use crate::meter::Used;
use crate::startup::Start;
use crate::vitals::VitalsRow;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use std::fmt;
use std::fs;
use std::thread::available_parallelism;

/// Pulses in a month of 30 days, one a minute.
const PULSES_A_MONTH: f64 = 60.0 * 24.0 * 30.0;
/// US dollars a document read, in `us-central1` as in docs/costs.md, "What it is made of". Prices differ by region and change.
const READ_PRICE: f64 = 0.03 / 100_000.0;
/// The same for a write.
const WRITE_PRICE: f64 = 0.09 / 100_000.0;
/// US dollars for an access to a secret.
const SECRET_PRICE: f64 = 0.03 / 10_000.0;
/// US dollars for a second of one vCPU.
const CPU_PRICE: f64 = 0.000_018;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
    pub(crate) start: Option<Start>,
    pub(crate) start_with_tls: Option<Start>,
    pub(crate) counts: Option<Counts>,
    pub(crate) operations: Vec<Operations>,
    pub(crate) tasks: Vec<Row>,
    pub(crate) peers: Vec<Row>,
    pub(crate) loops: Vec<LoopRow>,
    pub(crate) vitals: Vec<VitalsRow>,
    pub(crate) budgets: Vec<Budget>,
    pub(crate) notes: Vec<String>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gb: f64,
    pub(crate) kernel: String,
}

/// One program in one cell.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) program: String,
    pub(crate) users: u32,
    pub(crate) concurrency: u32,
    pub(crate) latency_ms: u32,
    /// From the start of the process to its end.
    pub(crate) wall_s: f64,
    pub(crate) users_per_second: f64,
    pub(crate) cpu_us_per_user: f64,
    /// The kernel's part of it.
    pub(crate) system_us_per_user: f64,
    pub(crate) peak_mb: f64,
    pub(crate) times: Option<Times>,
    pub(crate) over_ideal: Option<f64>,
    pub(crate) over_floor: Option<f64>,
    pub(crate) per_user: Option<PerUser>,
}

/// A loop; what is counted is for a user and a day of 1,440 ticks.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LoopRow {
    pub(crate) name: String,
    pub(crate) users: u32,
    pub(crate) reads: f64,
    pub(crate) secrets: f64,
    pub(crate) writes: f64,
    pub(crate) writes_at_rest: f64,
    pub(crate) lines: f64,
    /// Of a user and tick.
    pub(crate) cpu_us: f64,
    pub(crate) over_single: f64,
    pub(crate) over_floor: f64,
    pub(crate) peak_mb: f64,
    pub(crate) bytes_a_user: f64,
}

/// What the sandbox counted, for each user.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct PerUser {
    pub(crate) commits: f64,
    pub(crate) firestore_calls: f64,
    pub(crate) secret_manager_calls: f64,
    pub(crate) alpaca_calls: f64,
    pub(crate) documents_read: f64,
    pub(crate) documents_written: f64,
}

/// What a user and pulse are billed for under some flags.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Operations {
    pub(crate) flags: String,
    pub(crate) per_user: PerUser,
    pub(crate) cpu_us_per_user: f64,
    /// For a thousand users and a pulse a minute, in US dollars.
    pub(crate) month: Month,
}

/// A month's price, by what it is for.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Month {
    pub(crate) reads: f64,
    pub(crate) writes: f64,
    pub(crate) secrets: f64,
    pub(crate) cpu: f64,
}

impl PerUser {
    #[expect(clippy::cast_precision_loss, reason = "counts of a run fit a double")]
    pub(crate) fn new(counted: &Counted, users: u32) -> Self {
        let each = |count: u64| count as f64 / f64::from(users);
        Self {
            commits: each(counted.calls("firestore", "Commit")),
            firestore_calls: each(counted.all("firestore")),
            secret_manager_calls: each(counted.all("secret-manager")),
            alpaca_calls: each(counted.all("alpaca")),
            documents_read: each(counted.documents.read),
            documents_written: each(counted.documents.written),
        }
    }
}

impl Operations {
    pub(crate) fn new(flags: &str, row: &Row, per_user: PerUser) -> Self {
        let month = PULSES_A_MONTH * 1000.0;
        Self {
            flags: flags.to_owned(),
            per_user,
            cpu_us_per_user: row.cpu_us_per_user,
            month: Month {
                reads: per_user.documents_read * READ_PRICE * month,
                writes: per_user.documents_written * WRITE_PRICE * month,
                secrets: per_user.secret_manager_calls * SECRET_PRICE * month,
                cpu: row.cpu_us_per_user / 1e6 * CPU_PRICE * month,
            },
        }
    }
}

impl Row {
    pub(crate) fn new(program: &str, cell: &Cell, used: &Used) -> Self {
        let users = f64::from(cell.users);
        let ideal = cell.ideal().as_secs_f64();
        let wall_s = used.wall_us / 1e6;
        Self {
            program: program.to_owned(),
            users: cell.users,
            concurrency: cell.concurrency,
            latency_ms: cell.latency_ms,
            wall_s,
            users_per_second: users / wall_s,
            cpu_us_per_user: used.cpu_us() / users,
            system_us_per_user: used.system_us / users,
            peak_mb: used.peak_kib * 1024.0 / 1e6,
            times: None,
            over_ideal: (ideal > 0.0).then(|| wall_s / ideal),
            over_floor: None,
            per_user: None,
        }
    }

    pub(crate) fn is(&self, program: &str, cell: Cell) -> bool {
        let this = Cell { users: self.users, latency_ms: self.latency_ms, concurrency: self.concurrency };
        self.program == program && this == cell
    }
}

impl Machine {
    fn here() -> Self {
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let value =
                text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
            value.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = field("/proc/meminfo", "MemTotal");
        let kib: f64 = memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpu: field("/proc/cpuinfo", "model name"),
            cores: available_parallelism().map_or(0, usize::from),
            memory_gb: (kib * 1024.0 / 1e9).round(),
            kernel: kernel.trim().to_owned(),
        }
    }
}

impl Report {
    pub(crate) fn new() -> Self {
        Self {
            machine: Machine::here(),
            rows: Vec::new(),
            start: None,
            start_with_tls: None,
            counts: None,
            operations: Vec::new(),
            tasks: Vec::new(),
            peers: Vec::new(),
            loops: Vec::new(),
            vitals: Vec::new(),
            budgets: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, cores, memory_gb, kernel } = &self.machine;
        writeln!(f, "{cpu}, {cores} cores, {memory_gb} GB, Linux {kernel}")?;
        if !self.rows.is_empty() {
            writeln!(f, "{}", rows(&self.rows))?;
        }
        if !self.tasks.is_empty() {
            writeln!(
                f,
                "\nTasks of one execution (CPU of all, memory of the largest)\n{}",
                rows(&self.tasks)
            )?;
        }
        if !self.peers.is_empty() {
            writeln!(f, "\nPeers\n{}", rows(&self.peers))?;
        }
        for (what, start) in [("plain HTTP", self.start), ("TLS", self.start_with_tls)] {
            if let Some(Start { middle_ms, slowest_ms }) = start {
                writeln!(
                    f,
                    "\nStart to first request, {what}: {middle_ms:.1} ms (median), {slowest_ms:.1} ms (slowest)"
                )?;
            }
        }
        if let Some(counts) = self.counts {
            let Counts { instructions, instructions_of_the_floor, bytes_allocated, blocks_allocated } =
                counts;
            writeln!(
                f,
                "\nFor each user: {instructions:.0} instructions, {:.2} × the floor's {instructions_of_the_floor:.0}; \
                 {bytes_allocated:.0} bytes allocated in {blocks_allocated:.0} blocks",
                instructions / instructions_of_the_floor
            )?;
        }
        if !self.operations.is_empty() {
            writeln!(
                f,
                "\nBilled for each user and pulse, and in US dollars a month for 1,000 users with a pulse a minute\n{}",
                operations(&self.operations)
            )?;
        }
        if !self.loops.is_empty() {
            writeln!(
                f,
                "\nA loop: for a user and day of 1,440 ticks; CPU for a user and tick\n{}",
                loops(&self.loops)
            )?;
        }
        if !self.vitals.is_empty() {
            writeln!(
                f,
                "\nA loop's process, each figure the middle of the twentieth of the run before\n{}",
                vitals(&self.vitals)
            )?;
        }
        if !self.budgets.is_empty() {
            writeln!(f, "\nBudgets\n{}", budgets(&self.budgets))?;
        }
        for note in &self.notes {
            writeln!(f, "\nNote: {note}")?;
        }
        Ok(())
    }
}

fn table<const N: usize>(header: [&str; N], texts: usize) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(header);
    for index in texts..N {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn rows(rows: &[Row]) -> Table {
    let mut table = table(
        [
            "program",
            "users",
            "at once",
            "latency",
            "users/s",
            "µs CPU/user",
            "÷ floor",
            "peak MB",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "÷ ideal",
            "Firestore/user",
            "secrets/user",
            "Alpaca/user",
        ],
        1,
    );
    let ratio = |ratio: Option<f64>| ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
    for row in rows {
        let time = |of: fn(&Times) -> f64| row.times.as_ref().map(of).map(|ms| format!("{ms:.1}"));
        let calls =
            |of: fn(&PerUser) -> f64| row.per_user.as_ref().map(of).map(|calls| format!("{calls:.2}"));
        table.add_row([
            row.program.clone(),
            row.users.to_string(),
            row.concurrency.to_string(),
            format!("{} ms", row.latency_ms),
            format!("{:.0}", row.users_per_second),
            format!("{:.0}", row.cpu_us_per_user),
            ratio(row.over_floor),
            format!("{:.1}", row.peak_mb),
            time(|times| times.p50_ms).unwrap_or_default(),
            time(|times| times.p95_ms).unwrap_or_default(),
            time(|times| times.p99_ms).unwrap_or_default(),
            ratio(row.over_ideal),
            calls(|calls| calls.firestore_calls).unwrap_or_default(),
            calls(|calls| calls.secret_manager_calls).unwrap_or_default(),
            calls(|calls| calls.alpaca_calls).unwrap_or_default(),
        ]);
    }
    table
}

fn operations(all: &[Operations]) -> Table {
    let header =
        ["flags", "reads", "writes", "secrets", "$ reads", "$ writes", "$ secrets", "$ vCPU", "$ sum"];
    let mut table = table(header, 1);
    for Operations { flags, per_user, month, cpu_us_per_user: _ } in all {
        let Month { reads, writes, secrets, cpu } = month;
        let mut cells = vec![flags.clone()];
        let counts = [per_user.documents_read, per_user.documents_written, per_user.secret_manager_calls];
        cells.extend(counts.map(|count| format!("{count:.3}")));
        cells.extend([*reads, *writes, *secrets].map(|dollars| format!("{dollars:.0}")));
        cells.push(format!("{cpu:.2}"));
        cells.push(format!("{:.0}", reads + writes + secrets + cpu));
        table.add_row(cells);
    }
    table
}

fn loops(all: &[LoopRow]) -> Table {
    let header = [
        "loop",
        "users",
        "reads",
        "secrets",
        "writes",
        "at rest",
        "lines",
        "µs CPU",
        "÷ single",
        "÷ floor",
        "peak MB",
        "bytes/user",
    ];
    let mut table = table(header, 1);
    for row in all {
        let whole = [row.reads, row.secrets, row.writes, row.writes_at_rest, row.lines, row.cpu_us];
        let mut cells = vec![row.name.clone(), row.users.to_string()];
        cells.extend(whole.map(|figure| format!("{figure:.0}")));
        cells.extend([row.over_single, row.over_floor].map(|ratio| format!("{ratio:.2}")));
        cells.extend([format!("{:.1}", row.peak_mb), format!("{:.0}", row.bytes_a_user)]);
        table.add_row(cells);
    }
    table
}

fn vitals(all: &[VitalsRow]) -> Table {
    let mut table = table(["at", "memory MB", "sockets", "threads", "tasks"], 1);
    for VitalsRow { at, memory_mb, sockets, threads, tasks } in all {
        let mut cells = vec![at.clone(), format!("{memory_mb:.1}")];
        cells.extend([sockets, threads, tasks].map(|figure| format!("{figure:.0}")));
        table.add_row(cells);
    }
    table
}

fn budgets(all: &[Budget]) -> Table {
    let mut table = table(["figure", "goal", "measured", ""], 3);
    for Budget { figure, goal, measured, met } in all {
        let verdict = match met {
            Some(true) => "met",
            Some(false) => "not met",
            None => "not measured",
        };
        table.add_row([figure, goal, measured, verdict]);
    }
    table
}
