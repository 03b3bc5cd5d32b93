//! The same work done by other programs, on the official clients of their languages. See `benches/peers/README.md`.

use crate::cells::Cell;
use crate::meter;
use crate::picture::{Bar, svg, with_commas};
use crate::report::{PerUser, Report, Row};
use crate::run::Bench;
use crate::{Result, progress};
use jiff::Timestamp;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// One way to run a peer.
struct Peer {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    concurrency: u32,
    /// Waits that only a program with some concurrency gets through in reasonable time.
    latencies_ms: &'static [u32],
    /// What there is once it is set up, and how to set it up.
    needs: PathBuf,
    set_up: &'static str,
}

fn all(folder: &Path) -> Vec<Peer> {
    let python = |name, concurrency: u32, latencies_ms| Peer {
        name,
        program: folder.join("../../target/peers/python/bin/python"),
        arguments: vec![
            folder.join("python/pulse.py").display().to_string(),
            "--threads".into(),
            concurrency.to_string(),
        ],
        concurrency,
        latencies_ms,
        needs: folder.join("../../target/peers/python/ready"),
        set_up: "benches/peers/python/setup",
    };
    vec![
        python("Python, sequential", 1, &[0]),
        python("Python, 10 threads", 10, &[0, 20]),
        Peer {
            name: "Node.js, BulkWriter",
            program: "node".into(),
            arguments: vec![
                folder.join("node/pulse.js").display().to_string(),
                "--concurrency".into(),
                "64".into(),
            ],
            concurrency: 64,
            latencies_ms: &[0, 20],
            needs: folder.join("node/node_modules/@google-cloud/firestore/package.json"),
            set_up: "npm ci --prefix benches/peers/node",
        },
    ]
}

/// Every peer that is set up, and the pulse on the same stores. Says which ones are not.
pub(crate) fn measure(bench: &Bench, users: u32) -> Result<(Vec<Row>, Vec<String>)> {
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    let peers = all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers"));
    let (ready, missing): (Vec<_>, Vec<_>) = peers.into_iter().partition(|peer| peer.needs.exists());
    for peer in missing {
        notes.push(format!("{} is not set up: run {}", peer.name, peer.set_up));
    }
    for latency_ms in [0, 20] {
        let cell = Cell { users, latency_ms, concurrency: 64 };
        if !ready.is_empty() {
            let row = bench.row("pulse", &cell, &*bench.cloud(users, latency_ms)?, &[], &[])?;
            progress(&row);
            rows.push(row);
        }
        for peer in ready.iter().filter(|peer| peer.latencies_ms.contains(&latency_ms)) {
            match run(bench, peer, users, latency_ms) {
                Ok(row) => {
                    progress(&row);
                    rows.push(row);
                }
                Err(err) => notes.push(format!("{}: {err}", peer.name)),
            }
        }
    }
    Ok((rows, notes))
}

fn run(bench: &Bench, peer: &Peer, users: u32, latency_ms: u32) -> Result<Row> {
    let cloud = bench.cloud(users, latency_ms)?;
    let before = cloud.counted()?;
    let into = bench.file("peer.json");
    let output = bench
        .command(&cloud, peer.program.as_os_str(), &into)?
        .args(&peer.arguments)
        // To find the interpreter.
        .env("PATH", std::env::var_os("PATH").as_deref().unwrap_or(OsStr::new("/usr/bin:/bin")))
        .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let used = meter::read(&into).map_err(|err| format!("{err}: {stderr}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    // Threads may write into each other's lines.
    let synced = stdout.matches("Successfully synced").count();
    // Some threads of some peers fail a user now and then; that is theirs to keep.
    if used.exit != Some(0) || synced * 100 < usize::try_from(users)? * 99 {
        let end = stderr.lines().rev().take(5).collect::<Vec<_>>().join(" / ");
        return Err(format!("{synced} of {users} users were synced, exit code {:?}: {end}", used.exit).into());
    }
    let cell = Cell { users, latency_ms, concurrency: peer.concurrency };
    let mut row = Row::new(peer.name, &cell, &used);
    row.per_user = Some(PerUser::new(&cloud.counted()?.since(&before), users));
    Ok(row)
}

/// Draws what was measured where no call takes any time: with waits, speed is decided by how many wait at once.
pub(crate) fn draw(report: &Report, into: &Path) -> Result<()> {
    let rows: Vec<_> = report.peers.iter().filter(|row| row.latency_ms == 0).collect();
    let users = match rows.as_slice() {
        [ours, _, ..] => ours.users,
        _ => return Err("no peer was measured".into()),
    };
    let bars: Vec<_> = rows.into_iter().map(bar).collect();
    let (day, cores, cpu) =
        (Timestamp::now().strftime("%Y-%m-%d"), report.machine.cores, &report.machine.cpu);
    let how = format!(
        "{day}, {cpu}, {cores} cores, which the sandbox shares; {} users",
        with_commas(f64::from(users))
    );
    let title = "Syncing users: pulse, and the same work on the official clients";
    Ok(fs::write(into, svg(title, &how, &bars))?)
}

fn bar(row: &Row) -> Bar {
    let is_ours = row.program == "pulse";
    let name = if is_ours { format!("pulse, {} at once", row.concurrency) } else { row.program.clone() };
    let (users_per_second, cpu_us_per_user) = (row.users_per_second, row.cpu_us_per_user);
    Bar { name, users_per_second, cpu_us_per_user, is_ours }
}
