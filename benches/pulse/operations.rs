//! What a user and pulse are billed for, counted at the sandbox.

use crate::Result;
use crate::cells::Cell;
use crate::report::Operations;
use crate::run::Bench;

/// Ways to run a pulse that are billed differently.
const FLAGS: [&[&str]; 2] = [&[], &["--legacy-tenant-path", "off"]];

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Operations>> {
    let users = bench.args.users.iter().copied().max().unwrap_or(10_000).min(10_000);
    let cell = Cell { users, latency_ms: 0, concurrency: 64 };
    let cloud = bench.cloud(users, 0)?;
    let mut all = Vec::new();
    for flags in FLAGS {
        let row = bench.row("pulse", &cell, &cloud, flags, &[])?;
        let per_user = row.per_user.ok_or("nothing was counted")?;
        let name = if flags.is_empty() { "(default)".to_owned() } else { flags.join(" ") };
        all.push(Operations::new(&name, &row, per_user));
    }
    Ok(all)
}
