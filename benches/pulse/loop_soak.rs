//! `--loop-soak`: a loop of many ticks with users in trouble, users who come and go, and faults: nobody is lost, nobody
//! stays stale, and nothing grows.
//!
//! A tick is a second and stands for a minute, so that a reader's 300 s are five ticks. What happens is the same in each
//! hundred ticks, in the middle between two of them.

use crate::Result;
use crate::budgets::{Budget, at_most};
use crate::neighbours::small;
use crate::residents::{Found, Residents, Told};
use crate::run::Bench;
use crate::running::{LoopTold, Running};
use crate::town::Town;
use crate::vitals::{History, Vitals, VitalsRow};
use jiff::{SignedDuration, Timestamp};
use std::thread::sleep;
use std::time::{Duration, Instant};

const HEALTHY: u32 = 300;

/// Ticks after which everything begins again.
const ROUND: u32 = 100;

/// Ticks after the last that is looked at.
const AFTERWARDS: u32 = 5;

/// Readers call a snapshot stale that is older, but for the time that it may stand unchanged.
const STALE_AFTER: SignedDuration = SignedDuration::from_secs(5);
const REFRESH_UNCHANGED: SignedDuration = SignedDuration::from_secs(15);

const FLAGS: [&str; 16] = [
    "--every",
    "1s",
    "--users-ttl",
    "7s",
    "--key-ttl",
    "25s",
    "--refresh-unchanged",
    "15s",
    "--readers",
    "fresh-until",
    "--legacy-tenant-path",
    "members",
    "--user-lines",
    "failed",
    "--concurrency",
    "64",
];

/// What growth of the second half is none: how many connections are open, and tasks with them, depends on how many calls
/// were last made at once. One more that stays open in each round would be ten.
const GROWTH_MB: f64 = 1.0;
const GROWTH: f64 = 8.0;

/// What happens in the middle of a round.
#[derive(Clone, Copy, Debug)]
enum Event {
    Fault(&'static str),
    /// All faults are over.
    Over,
    /// Whoever looks now finds everything in order again.
    Look(&'static str),
    Arrive,
    Pause,
    Resume,
    Vanish,
    Return,
    /// Another writes a tenant's document.
    Disturb,
    Leave,
}

/// After how many ticks of a round.
const EVENTS: [(u32, Event); 21] = [
    (2, Event::Arrive),
    (8, Event::Fault("firestore:error=UNAVAILABLE,for=5s")),
    (14, Event::Over),
    (26, Event::Look("Firestore unavailable for five ticks")),
    (27, Event::Pause),
    (27, Event::Vanish),
    (30, Event::Fault("firestore/RunQuery:error=PERMISSION_DENIED,for=5s")),
    (36, Event::Over),
    (48, Event::Look("pages that fail for five ticks")),
    (49, Event::Resume),
    (49, Event::Return),
    (52, Event::Fault("alpaca:error=502,for=5s")),
    (58, Event::Over),
    (70, Event::Look("Alpaca's 502 for five ticks")),
    (71, Event::Disturb),
    (71, Event::Fault("firestore/Commit:drop-after,times=3")),
    (74, Event::Over),
    (74, Event::Fault("secret-manager:error=503,for=5s")),
    (80, Event::Over),
    (92, Event::Look("Secret Manager's 503 for five ticks, and lost answers")),
    (93, Event::Leave),
];

/// The loop, those it is about, and what was seen.
struct Soak<'a> {
    town: &'a Town<'a>,
    residents: Residents<'a>,
    running: Running,
    history: History,
    looks: Vec<Found>,
}

pub(crate) fn measure(bench: &Bench) -> Result<(Vec<VitalsRow>, Vec<Budget>)> {
    let healthy = bench.args.users.first().copied().unwrap_or(HEALTHY);
    let ticks = bench.args.ticks.div_ceil(ROUND).max(1) * ROUND;
    let town = Town::new(bench, healthy)?;
    let oldest = (STALE_AFTER, REFRESH_UNCHANGED + STALE_AFTER);
    let residents = Residents::settle(&town, healthy, oldest)?;
    let mut command = town.unmetered();
    // It goes on until all is seen.
    command.args(FLAGS).args(["--for", &format!("{}s", ticks + AFTERWARDS)]);
    let running = Running::start(command)?;
    let mut soak = Soak { town: &town, residents, running, history: History::default(), looks: Vec::new() };
    soak.live(ticks)?;
    let Soak { residents, running, history, looks, .. } = soak;
    let (exit, told) = running.end()?;
    let last = residents.look();
    bench.note(said(ticks, told, residents.expected()));
    if exit != Some(0) {
        return Err(format!("the loop ended with {exit:?} after {} ticks", told.completed).into());
    }
    Ok((history.rows(), budgets(&looks, last, &history)))
}

impl Soak<'_> {
    /// What happens, and what the process has, tick by tick.
    fn live(&mut self, ticks: u32) -> Result<()> {
        let start = Instant::now() + to_the_middle(Timestamp::now());
        for tick in 0..ticks {
            let due = start + Duration::from_secs(1) * tick;
            sleep(due.saturating_duration_since(Instant::now()));
            let Some(vitals) = Vitals::of(self.running.pid(), self.running.told().tasks) else {
                return Err(format!("the loop ended in tick {tick}").into());
            };
            self.history.push(vitals);
            let (round, now) = (tick / ROUND, tick % ROUND);
            for (_, event) in EVENTS.iter().filter(|(after, _)| *after == now) {
                self.happen(event, round)?;
            }
        }
        Ok(())
    }

    fn happen(&mut self, event: &Event, round: u32) -> Result<()> {
        let faults = self.town.sandbox().faults();
        let [loud, quiet] = ["loud", "quiet"].map(|kind| format!("visitor-{round}-{kind}"));
        match event {
            Event::Fault(rule) => drop(faults.inject(rule)?),
            Event::Over => faults.clear(),
            Event::Look(after) => self.look(after, round),
            Event::Arrive => {
                self.residents.arrive(&loud, Told::AtOnce)?;
                self.residents.arrive(&quiet, Told::Never)?;
            }
            Event::Pause => self.residents.pause(&loud, Told::AtOnce)?,
            Event::Resume => self.residents.resume(&loud, Told::AtOnce)?,
            Event::Vanish => self.residents.leave(&quiet)?,
            Event::Return => self.residents.arrive(&quiet, Told::Never)?,
            Event::Disturb => self.residents.disturb_tenant("tenant-0001")?,
            Event::Leave => {
                self.residents.leave(&loud)?;
                self.residents.leave(&quiet)?;
            }
        }
        Ok(())
    }

    fn look(&mut self, after: &str, round: u32) {
        let found = self.residents.look();
        let LoopTold { completed, failed, skipped, tasks } = self.running.told();
        eprintln!(
            "round {:>2}, after {after}: {} stale, {} lost, {} risen; {completed} ticks completed, {failed} failed, \
             {skipped} skipped, {tasks} tasks",
            round + 1,
            found.stale,
            found.lost,
            found.risen
        );
        self.looks.push(found);
    }
}

/// How long it is until the middle between two whole seconds, at which a pass begins.
fn to_the_middle(now: Timestamp) -> Duration {
    let millis = now.as_millisecond().rem_euclid(1_000).unsigned_abs();
    Duration::from_millis(1_500 - millis)
}

fn said(ticks: u32, told: LoopTold, expected: usize) -> String {
    let LoopTold { completed, failed, skipped, .. } = told;
    format!(
        "of {ticks} ticks with faults in every fifth {completed} completed, {failed} failed and {skipped} were \
         skipped; at the end {expected} users were to be synced"
    )
}

fn budgets(looks: &[Found], last: Found, history: &History) -> Vec<Budget> {
    let sum = |of: fn(&Found) -> usize| small(looks.iter().map(of).sum());
    let growth = history.growth();
    let none = |figure: &str, measured: f64| at_most(figure, 0.0, "", Some(measured));
    let little = |figure: &str, measured: f64| at_most(figure, GROWTH, "", Some(measured));
    vec![
        none("a loop: stale 12 ticks after a fault's end, in all", sum(|found| found.stale)),
        none("  lost, as they have no snapshot", sum(|found| found.lost)),
        none("  gone, and written again", sum(|found| found.risen)),
        none("  stale at the end", small(last.stale)),
        none("  lost at the end", small(last.lost)),
        none("  gone and written again at the end", small(last.risen)),
        at_most("  growth of the second half, memory", GROWTH_MB, " MB", Some(growth.memory_mb)),
        little("  growth of the second half, sockets", growth.sockets),
        none("  growth of the second half, threads", growth.threads),
        little("  growth of the second half, tasks", growth.tasks),
    ]
}
