//! What the figures ought to be.

use crate::cells::Cell;
use crate::report::{Report, Row};
use serde::Serialize;

/// One figure, its goal, and what was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Budget {
    pub(crate) figure: String,
    pub(crate) goal: String,
    pub(crate) measured: String,
    /// `None` if it was not measured.
    pub(crate) met: Option<bool>,
}

const AT_ONCE: Cell = Cell { users: 20_000, latency_ms: 0, concurrency: 64 };
const WITH_LATENCY: Cell = Cell { users: 20_000, latency_ms: 20, concurrency: 256 };
const TEN_THREADS: &str = "Python, 10 threads";

pub(crate) fn all(report: &Report) -> Vec<Budget> {
    let of = |cell| report.rows.iter().find(|row| row.is("pulse", cell));
    let at_once = of(AT_ONCE);
    let sizes = || {
        let large = |row: &&Row| row.program == "pulse" && row.concurrency == 256 && row.users >= 10_000;
        report.rows.iter().filter(large)
    };
    let largest = sizes().map(|row| row.peak_mb).max_by(f64::total_cmp);
    let immediate = || sizes().filter(|row| row.latency_ms == 0).map(|row| row.peak_mb);
    let growth = immediate().max_by(f64::total_cmp).zip(immediate().min_by(f64::total_cmp));
    let growth = growth.filter(|_| immediate().count() > 1).map(|(most, least)| (most - least) / 2.0);
    let (speed, cpu) = python(report).unzip();
    let per_user = |default: bool| {
        let operations =
            report.operations.iter().find(|operations| operations.flags.starts_with('(') == default);
        operations.map(|operations| operations.per_user)
    };
    vec![
        at_most("CPU per user ÷ floor", 1.6, "", at_once.and_then(|row| row.over_floor)),
        at_most("CPU per user, concurrency 64", 90.0, " µs", at_once.map(|row| row.cpu_us_per_user)),
        at_most(
            "wall ÷ ideal, 20 ms, concurrency 256",
            1.15,
            "",
            of(WITH_LATENCY).and_then(|row| row.over_ideal),
        ),
        at_least("speed ÷ Python with 10 threads, 0 ms", 25.0, " ×", speed),
        at_least("CPU of Python with 10 threads ÷ ours, 0 ms", 45.0, " ×", cpu),
        at_most("peak memory, concurrency 256", 40.0, " MB", largest),
        at_most("  its spread from 10k users on, ±", 4.0, " MB", growth),
        at_most("start to first request", 15.0, " ms", report.start.map(|start| start.middle_ms)),
        at_most(
            "reads per user, no tenant, legacy path off",
            1.01,
            "",
            per_user(false).map(|calls| calls.documents_read),
        ),
        at_most("commits per user", 1.01, "", per_user(true).map(|calls| calls.commits)),
        at_most(
            "other Firestore calls per user (pages)",
            0.02,
            "",
            per_user(true).map(|calls| calls.firestore_calls - calls.commits),
        ),
    ]
}

/// Speed and CPU against Python on the same store. Without latency: with it, speed is decided by how many wait at once.
fn python(report: &Report) -> Option<(f64, f64)> {
    let of = |program| report.peers.iter().find(|row| row.program == program && row.latency_ms == 0);
    let (ours, peer): (&Row, &Row) = of("pulse").zip(of(TEN_THREADS))?;
    Some((ours.users_per_second / peer.users_per_second, peer.cpu_us_per_user / ours.cpu_us_per_user))
}

pub(crate) fn at_most(figure: &str, goal: f64, unit: &str, measured: Option<f64>) -> Budget {
    budget(figure, format!("≤ {goal}{unit}"), unit, measured, measured.map(|measured| measured <= goal))
}

fn at_least(figure: &str, goal: f64, unit: &str, measured: Option<f64>) -> Budget {
    budget(figure, format!("≥ {goal}{unit}"), unit, measured, measured.map(|measured| measured >= goal))
}

fn budget(figure: &str, goal: String, unit: &str, measured: Option<f64>, met: Option<bool>) -> Budget {
    let measured = measured.map(|measured| format!("{measured:.2}{unit}")).unwrap_or_default();
    Budget { figure: figure.to_owned(), goal, measured, met }
}
