//! `cargo bench --bench pulse`: what a pulse costs, measured from outside.
//!
//! A sandbox runs in a process of its own, and the release build of `pulse` in another. Nothing in here asserts, but for
//! [`neighbours`], [`soak`] and [`loop_soak`]: it prints tables, and with `--json` one object with the same figures. What is compared
//! with what:
//!
//! - [`floor`]: the same requests, sent by a bare HTTP client that neither reads nor logs anything;
//! - [`peers`]: the same work done by programs on Google's and Alpaca's own Python and Node.js clients, and [`picture`]
//!   draws it;
//! - [`neighbours`]: healthy users beside others who keep a pass waiting, and alone;
//! - [`budgets`]: what the figures ought to be.

mod budgets;
mod cells;
mod cloud;
mod counts;
mod floor;
mod log;
mod loop_soak;
mod loops;
mod meter;
mod neighbours;
mod operations;
mod peers;
mod picture;
mod recording;
mod report;
mod residents;
mod run;
mod running;
mod soak;
mod startup;
mod tasks;
mod tls;
mod town;
mod vitals;

use clap::{Parser, Subcommand};
use report::{Report, Row};
use run::Bench;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Errors are for the person who runs the benchmark: a text will do.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measure what a pulse costs.
#[derive(Parser, Debug)]
#[command(name = "cargo bench --bench pulse --")]
pub(crate) struct Args {
    #[command(subcommand)]
    part: Option<Part>,

    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,

    /// Users in the store
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    users: Vec<u32>,

    /// Users synced at the same time
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    concurrency: Vec<u32>,

    /// How long every call takes at least
    #[arg(long, value_delimiter = ',', value_name = "MS,...")]
    latency: Vec<u32>,

    /// Leave out what would take longer than this even for an ideal program
    #[arg(long, value_name = "SECONDS", default_value_t = 12)]
    longest: u64,

    /// Measure everything so often, and keep the run with the middle CPU time
    #[arg(long, value_name = "N", default_value_t = 1)]
    rounds: usize,

    /// Also with a million users
    #[arg(long)]
    big: bool,

    /// Also instructions and bytes allocated, counted by valgrind (much slower, so apart from all timing)
    #[arg(long)]
    counts: bool,

    /// Also the peers that are set up, see benches/peers
    #[arg(long)]
    peers: bool,

    /// Draw the pulse and the peers into this file, as SVG
    #[arg(long, value_name = "FILE", requires = "peers")]
    picture: Option<PathBuf>,

    /// Users for the peers
    #[arg(long, value_name = "N", default_value_t = 2000)]
    peer_users: u32,

    /// Also as so many tasks of one execution on the same store
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    tasks: Vec<u32>,

    /// Users for the tasks
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    task_users: u32,

    /// Only what users who keep a pass waiting cost the others; exits 1 if a goal is not met
    #[arg(long)]
    neighbours: bool,

    /// Only twenty passes with trouble of all kinds, which must lose nobody; exits 1 if they do
    #[arg(long)]
    soak: bool,

    /// Only a loop with faults and users who come and go, which must lose nobody and not grow; exits 1 if it does
    #[arg(long)]
    loop_soak: bool,

    /// Ticks of that loop, a second each, in whole hundreds
    #[arg(long, value_name = "N", default_value_t = 2000)]
    ticks: u32,

    /// Only a loop of an hour's ticks, for the first of `--users`; exits 1 if a goal is not met
    #[arg(long = "loop")]
    is_loop: bool,

    /// Another build of pulse to measure
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_pulse"))]
    pulse: PathBuf,

    /// What cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// Parts of the benchmark that run as processes of their own.
#[derive(Subcommand, Debug)]
#[command(disable_help_subcommand = true)]
enum Part {
    /// Runs a program and writes what it used to a file
    #[command(hide = true)]
    Meter {
        into: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<OsString>,
    },
    /// Sends a recording's requests for each user
    #[command(hide = true)]
    Floor(floor::FloorArgs),
    /// Terminates TLS in front of a sandbox
    #[command(hide = true)]
    TlsProxy(tls::ProxyArgs),
}

fn main() -> ExitCode {
    let mut args = Args::parse();
    let done = match args.part.take() {
        Some(Part::Meter { into, program }) => meter::run(&into, &program),
        Some(Part::Floor(args)) => floor::run(&args),
        Some(Part::TlsProxy(args)) => tls::run(&args),
        None => measure(&args),
    };
    done.unwrap_or_else(|err| {
        eprintln!("bench: {err}");
        ExitCode::FAILURE
    })
}

/// Everything that was asked for, one after the other.
fn measure(args: &Args) -> Result<ExitCode> {
    let bench = Bench::new(args)?;
    let mut report = Report::new();
    if args.neighbours || args.soak || args.loop_soak || args.is_loop {
        return with_trouble(&bench, report);
    }
    for cell in cells::chosen(args) {
        report.rows.extend(bench.cell(&cell)?);
    }
    report.start = Some(startup::measure(&bench)?);
    report.operations = operations::measure(&bench)?;
    match tls::measure(&bench) {
        Ok(rows) => report.rows.extend(rows),
        Err(err) => report.note(format!("TLS was not measured: {err}")),
    }
    report.start_with_tls = tls::start(&bench).ok();
    if args.counts {
        match counts::measure(&bench) {
            Ok(counts) => report.counts = Some(counts),
            Err(err) => report.note(format!("nothing was counted: {err}")),
        }
    }
    report.tasks = tasks::measure(&bench, &args.tasks, args.task_users);
    if args.peers {
        let (rows, notes) = peers::measure(&bench, args.peer_users)?;
        report.peers = rows;
        report.notes.extend(notes);
        if let Some(file) = &args.picture
            && let Err(err) = peers::draw(&report, file)
        {
            report.note(format!("nothing was drawn: {err}"));
        }
    }
    report.notes.extend(bench.notes());
    report.budgets = budgets::all(&report);
    print(&report, args.json)?;
    Ok(ExitCode::SUCCESS)
}

/// What trouble costs, and whether all goals are met.
fn with_trouble(bench: &Bench, mut report: Report) -> Result<ExitCode> {
    if bench.args.neighbours {
        report.budgets.extend(neighbours::measure(bench)?);
    }
    if bench.args.soak {
        report.budgets.extend(soak::measure(bench)?);
    }
    if bench.args.loop_soak {
        let (rows, budgets) = loop_soak::measure(bench)?;
        report.vitals = rows;
        report.budgets.extend(budgets);
    }
    if bench.args.is_loop {
        let (rows, budgets) = loops::measure(bench)?;
        report.loops = rows;
        report.budgets.extend(budgets);
    }
    report.notes.extend(bench.notes());
    print(&report, bench.args.json)?;
    let is_missed = report.budgets.iter().any(|budget| budget.met == Some(false));
    Ok(if is_missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(report: &Report, json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(report)?)?;
    } else {
        writeln!(out, "{report}")?;
    }
    Ok(())
}

/// What is going on, for whoever waits. Not part of the result.
pub(crate) fn progress(row: &Row) {
    eprintln!(
        "{:<28} {:>8} users, concurrency {:>3}, {:>3} ms: {:>8.0} users/s, {:>6.0} µs of CPU each",
        row.program, row.users, row.concurrency, row.latency_ms, row.users_per_second, row.cpu_us_per_user
    );
}
