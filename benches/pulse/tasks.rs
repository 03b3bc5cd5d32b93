//! One execution as several tasks at the same time, on the same store.

use crate::cells::Cell;
use crate::meter::{self, Used};
use crate::report::Row;
use crate::run::Bench;
use crate::{Result, log, progress};
use std::process::Stdio;
use std::thread;
use std::time::Instant;

/// The pulse's default.
const CONCURRENCY: u32 = 64;

pub(crate) fn measure(bench: &Bench, counts: &[u32], users: u32) -> Vec<Row> {
    let cell = Cell { users, latency_ms: 0, concurrency: CONCURRENCY };
    let mut rows = Vec::new();
    for &count in counts {
        // The first execution leaves behind what the second splits the users by.
        let second =
            execution(bench, &cell, count, "first").and_then(|_| execution(bench, &cell, count, "second"));
        let used = match second {
            Ok(used) => used,
            Err(err) => {
                bench.note(format!("{count} tasks were not measured: {err}"));
                continue;
            }
        };
        let row = Row::new(&format!("pulse, tasks: {count}"), &cell, &used);
        progress(&row);
        rows.push(row);
    }
    rows
}

/// Time from the first start to the last end, CPU of all together, and the largest one's memory.
fn execution(bench: &Bench, cell: &Cell, count: u32, name: &str) -> Result<Used> {
    let cloud = bench.cloud(cell.users, cell.latency_ms)?;
    let start = Instant::now();
    let mut running = Vec::new();
    for index in 0..count {
        let into = bench.file(&format!("task-{index}.json"));
        let mut child = bench
            .command(&cloud, bench.args.pulse.as_os_str(), &into)?
            .args(["sync", "--log-format", "json", "--concurrency", &CONCURRENCY.to_string()])
            .env("CLOUD_RUN_EXECUTION", format!("bench-{count}-{name}"))
            .env("CLOUD_RUN_TASK_COUNT", count.to_string())
            .env("CLOUD_RUN_TASK_INDEX", index.to_string())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        running.push((child, into, thread::spawn(move || log::read(stdout))));
    }
    let (mut sum, mut synced) =
        (Used { wall_us: 0.0, user_us: 0.0, system_us: 0.0, peak_kib: 0.0, exit: Some(0) }, 0);
    for (mut child, into, reader) in running {
        let told = reader.join().map_err(|_| "reading a log panicked")??;
        child.wait()?;
        let used = meter::read(&into)?;
        if used.exit != Some(0) {
            return Err(format!("a task of {count} ended with {:?}: {:?}", used.exit, told.trouble).into());
        }
        synced += told.synced();
        sum.user_us += used.user_us;
        sum.system_us += used.system_us;
        sum.peak_kib = sum.peak_kib.max(used.peak_kib);
    }
    sum.wall_us = start.elapsed().as_secs_f64() * 1e6;
    if synced != usize::try_from(cell.users)? {
        return Err(format!("{count} tasks synced {synced} of {} users", cell.users).into());
    }
    Ok(sum)
}
