//! `--loop`: what a user and tick of a loop cost, against a single pass, against a floor that sends what the ticks send,
//! and against the goals.
//!
//! A tick stands for a minute, and all times are as much shorter as it is: two ticks of `--refresh-unchanged 120s` are
//! two ticks here. Three of ten users have other figures at every tick, every eighth is a member of a tenant.

use crate::budgets::{Budget, at_most};
use crate::cloud::Counted;
use crate::meter::{self, Used};
use crate::recording::record_with;
use crate::report::LoopRow;
use crate::run::Bench;
use crate::town::Town;
use crate::{Args, Result};
use alpaca_pulse::firestore::values::null;
use http::StatusCode;
use jiff::Timestamp;
use pulse_sandbox::alpaca::{Alpaca, Profile};
use pulse_sandbox::seed::user_id;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

/// Ticks of a run: an hour of them, so that keys are read once.
const TICKS: u32 = 60;
const TICKS_A_DAY: f64 = 1_440.0;

/// Users whose figures move, of ten.
const MOVERS: u32 = 3;

/// So many users come with a second of a tick; less would leave none for the sandbox.
const USERS_A_SECOND: u32 = 2_500;

/// What a loop may use beside its users, in MB.
const BESIDE_USERS: f64 = 40.0;

/// A loop that is measured.
struct Way {
    name: &'static str,
    flags: &'static [&'static str],
    /// Flags whose times are in ticks.
    times: &'static [(&'static str, u32)],
    /// What a user and day may take, where that is asked.
    goals: Option<Goals>,
}

/// For a user and day.
struct Goals {
    writes: f64,
    lines: f64,
}

/// How a loop was before users were kept, and how it is now.
const WAYS: [Way; 3] = [
    Way {
        name: "users read at every tick",
        flags: &[],
        times: &[("--users-ttl", 0), ("--key-ttl", 10), ("--refresh-unchanged", 2)],
        goals: None,
    },
    Way {
        name: "kept, --readers 300s",
        flags: &["--legacy-tenant-path", "members", "--user-lines", "failed"],
        times: &[("--users-ttl", 10), ("--key-ttl", 60), ("--refresh-unchanged", 3)],
        goals: Some(Goals { writes: 480.0, lines: 0.0 }),
    },
    Way {
        name: "kept, --readers fresh-until",
        flags: &["--legacy-tenant-path", "members", "--readers", "fresh-until", "--user-lines", "failed"],
        times: &[("--users-ttl", 10), ("--key-ttl", 60), ("--refresh-unchanged", 15)],
        goals: Some(Goals { writes: 96.0, lines: 0.0 }),
    },
];

/// What one run of a loop came to.
struct Run {
    used: Used,
    counted: Counted,
    /// Log lines about users.
    lines: u64,
    /// Ticks that ran to their end.
    ticks: u64,
    /// How often a snapshot was written of a user whose figures do not move.
    rewritten: u64,
}

/// Each of the ways, and the goals.
pub(crate) fn measure(bench: &Bench) -> Result<(Vec<LoopRow>, Vec<Budget>)> {
    let users = users(bench.args);
    let town = town(bench, users)?;
    let single = single_pass(&town, users)?;
    let (mut rows, mut budgets) = (Vec::new(), Vec::new());
    for way in &WAYS {
        eprintln!("{}, {users} users: {TICKS} ticks", way.name);
        let run = run(&town, way, users)?;
        let floor = floor(&town, way, &run, users)?;
        let row = row(way, &run, (single, floor), users);
        budgets.extend(way.goals.as_ref().map(|goals| against(&row, goals)).unwrap_or_default());
        rows.push(row);
    }
    Ok((rows, budgets))
}

fn users(args: &Args) -> u32 {
    args.users.first().copied().unwrap_or(10_000)
}

/// Three of ten move, and every eighth is the only member of a tenant.
fn town<'a>(bench: &'a Bench<'a>, users: u32) -> Result<Town<'a>> {
    Town::prepared(bench, users, |town| {
        for number in (1..=users).filter(|number| !moves(*number)) {
            let figures = json!({
                "id": Alpaca::seeded_account_id(number), "status": "ACTIVE", "currency": "USD", "multiplier": "2",
                "equity": "100000.12", "buying_power": "200000.24", "cash": "5000.01", "last_equity": "99999.99",
            });
            let profile = Profile::Fixed { status: StatusCode::OK, body: figures.to_string().into() };
            town.sandbox().alpaca().register(&user_id(number), Alpaca::seeded_keys(number), profile);
        }
        // Before the first pass: a document that the second member owned would be asked about for as long as it is there.
        let second_members = (1..=users).filter(|number| number % 8 == 4).map(user_id);
        town.patch_users(second_members, [("tenant_id", null())])
    })
}

fn moves(number: u32) -> bool {
    number % 10 < MOVERS
}

/// CPU of a single pass, in µs a user.
fn single_pass(town: &Town, users: u32) -> Result<f64> {
    let pass = town.pass()?;
    match pass.missed {
        0 => Ok(pass.used.cpu_us() / f64::from(users)),
        missed => Err(format!("a single pass missed {missed} users").into()),
    }
}

fn run(town: &Town, way: &Way, users: u32) -> Result<Run> {
    let tick = users.div_ceil(USERS_A_SECOND).max(1);
    let into = town.bench().file("loop.json");
    let mut command = town.command(&into)?;
    command.args(["--every", &format!("{tick}s"), "--for", &format!("{}s", tick * TICKS)]).args(way.flags);
    for (flag, ticks) in way.times {
        command.args([*flag, &format!("{}s", tick * ticks)]);
    }
    // A loop that begins late in a tick has less than one for its first, in which everything is read.
    sleep_until_whole(tick);
    let before = town.counted()?;
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut resting = Resting::new(town);
    let (lines, ticks) = lines(child.stdout.take().ok_or("no stdout")?, || resting.look())?;
    child.wait()?;
    let used = meter::read(&into)?;
    if used.exit != Some(0) || ticks == 0 {
        return Err(format!("{}: {ticks} of {TICKS} ticks, exit code {:?}", way.name, used.exit).into());
    }
    if ticks < u64::from(TICKS) {
        let name = way.name;
        town.bench().note(format!(
            "{name}: only {ticks} of {TICKS} ticks had their turn, so all figures of it are too high"
        ));
    }
    Ok(Run { used, counted: town.counted()?.since(&before), lines, ticks, rewritten: resting.rewritten })
}

/// The snapshots of users whose figures do not move.
struct Resting<'a> {
    town: &'a Town<'a>,
    written: HashMap<String, Timestamp>,
    /// How often one of them was written again.
    rewritten: u64,
}

impl<'a> Resting<'a> {
    fn new(town: &'a Town<'a>) -> Self {
        Self { town, written: town.written(), rewritten: 0 }
    }

    /// To be called once a tick.
    fn look(&mut self) {
        let before = std::mem::replace(&mut self.written, self.town.written());
        let movers: HashSet<String> =
            (1..=self.town.healthy()).filter(|number| moves(*number)).map(user_id).collect();
        let again =
            self.written.iter().filter(|(user, at)| !movers.contains(*user) && before.get(*user) != Some(at));
        self.rewritten += again.count() as u64;
    }
}

/// Until the time since 1970 is a multiple of so many seconds.
fn sleep_until_whole(seconds: u32) {
    let now = Timestamp::now().as_nanosecond();
    let left = i128::from(seconds) * 1_000_000_000 - now.rem_euclid(i128::from(seconds) * 1_000_000_000);
    thread::sleep(Duration::from_nanos(u64::try_from(left).unwrap_or_default()));
}

/// The lines about users, and the ticks that ended well, after each of which that is to be called.
fn lines(log: impl Read, mut after_tick: impl FnMut()) -> Result<(u64, u64)> {
    let mut log = BufReader::with_capacity(1 << 18, log);
    let (mut lines, mut ticks, mut line) = (0, 0, String::new());
    while log.read_line(&mut line)? > 0 {
        lines += u64::from(line.contains("\"user_id\""));
        if line.contains("\"Completed multi-tenant sync: ") {
            ticks += 1;
            after_tick();
        }
        line.clear();
    }
    Ok((lines, ticks))
}

/// CPU of a client that only sends what the ticks sent, in µs a user and tick: each kind of call, sent once for each
/// user, and as often as it was sent.
fn floor(town: &Town, way: &Way, run: &Run, users: u32) -> Result<f64> {
    let scripts = record_with(&town.bench().args.pulse, users, way.flags)?;
    let mut sum = 0.0;
    for (method, service, part) in [
        ("AccessSecretVersion", "secret-manager", 0),
        ("GetAccount", "alpaca", 1),
        ("Commit", "firestore", 2),
    ] {
        let of_part: Vec<_> = scripts.iter().map(|script| script.only(part)).collect();
        let file = town.bench().file("part.json");
        serde_json::to_writer(File::create(&file)?, &of_part)?;
        let into = town.bench().file("floor.json");
        let mut command = meter::metered(std::env::current_exe()?.as_os_str(), &into)?;
        let (address, number) = (town.sandbox().address().to_string(), users.to_string());
        command.args([
            "floor",
            "--concurrency",
            "64",
            "--address",
            &address,
            "--users",
            &number,
            "--recording",
        ]);
        if !command.arg(&file).status()?.success() {
            return Err("the floor failed".into());
        }
        let calls = run.counted.calls(service, method);
        sum += meter::read(&into)?.cpu_us() / f64::from(users) * share(calls, users, run.ticks);
    }
    Ok(sum)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run fit a double")]
fn share(count: u64, users: u32, ticks: u64) -> f64 {
    count as f64 / f64::from(users) / ticks as f64
}

fn row(way: &Way, run: &Run, (single, floor): (f64, f64), users: u32) -> LoopRow {
    let a_day = |count| share(count, users, run.ticks) * TICKS_A_DAY;
    let cpu_us = run.used.cpu_us() * share(1, users, run.ticks);
    let peak_mb = run.used.peak_kib * 1024.0 / 1e6;
    LoopRow {
        name: way.name.to_owned(),
        users,
        reads: a_day(run.counted.documents.read),
        secrets: a_day(run.counted.calls("secret-manager", "AccessSecretVersion")),
        writes: a_day(run.counted.documents.written),
        writes_at_rest: at_rest(run, users),
        lines: a_day(run.lines),
        cpu_us,
        over_single: cpu_us / single,
        over_floor: cpu_us / floor,
        peak_mb,
        bytes_a_user: (peak_mb - BESIDE_USERS) * 1e6 / f64::from(users),
    }
}

/// Snapshots written a day of a user whose figures do not move.
fn at_rest(run: &Run, users: u32) -> f64 {
    let resting = (1..=users).filter(|number| !moves(*number)).count();
    share(run.rewritten, u32::try_from(resting).unwrap_or(u32::MAX), run.ticks) * TICKS_A_DAY
}

fn against(row: &LoopRow, goals: &Goals) -> Vec<Budget> {
    let figure = |what: &str| format!("{}: {what}", row.name);
    vec![
        at_most(&figure("reads a user and day"), 150.0 + 290.0 / 8.0, "", Some(row.reads)),
        at_most(&figure("secret accesses"), 24.0, "", Some(row.secrets)),
        at_most(&figure("writes of a user at rest"), goals.writes, "", Some(row.writes_at_rest)),
        at_most(&figure("CPU a user and tick ÷ a single pass's"), 0.6, "", Some(row.over_single)),
        at_most(&figure("CPU ÷ floor"), 1.5, "", Some(row.over_floor)),
        at_most(&figure("memory a user beyond 40 MB"), 400.0, " bytes", Some(row.bytes_a_user)),
        at_most(&figure("log lines"), goals.lines, "", Some(row.lines)),
    ]
}
