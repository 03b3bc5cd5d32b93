//! `--neighbours`: what users who keep a pass waiting cost the healthy ones beside them.

use crate::Result;
use crate::budgets::{Budget, at_most};
use crate::run::Bench;
use crate::town::{Neighbours, Pass, Town};
use jiff::SignedDuration;
use std::thread::sleep;
use std::time::{Duration, Instant};

const HEALTHY: u32 = 1_000;
const TROUBLED: u32 = 300;
const KEYLESS: u32 = 5_000;

/// Each is measured so often at least, in turn with the healthy users alone; the middle one counts.
const LEAST_ROUNDS: usize = 3;

const MEGABYTES: f64 = 8.0;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Budget>> {
    let alone = Town::new(bench, HEALTHY)?;
    let mut all = beside_limited(bench, &alone)?;
    for (what, neighbours) in [("secret", Neighbours::SilentSecret), ("account", Neighbours::SilentAccount)] {
        let town = town_with(bench, neighbours, TROUBLED)?;
        let figure = format!("beside {TROUBLED} whose {what} never answers");
        all.extend(compare(&figure, 1.3, &alone, &town)?);
    }
    all.extend(beside_keyless(bench, &alone)?);
    all.extend(silent_broker(bench)?);
    all.extend(bad_gateway(bench)?);
    Ok(all)
}

fn town_with<'a>(bench: &'a Bench<'a>, neighbours: Neighbours, count: u32) -> Result<Town<'a>> {
    let town = Town::new(bench, HEALTHY)?;
    town.add(neighbours, count)?;
    if let Some(fault) = neighbours.fault() {
        town.sandbox().faults().inject(fault)?;
    }
    Ok(town)
}

fn beside_limited(bench: &Bench, alone: &Town) -> Result<Vec<Budget>> {
    let town = town_with(bench, Neighbours::Limited, TROUBLED)?;
    let figure = format!("beside {TROUBLED} with one rate-limited key");
    let mut all = compare(&figure, 1.1, alone, &town)?;
    let passes = rounds(bench);
    let calls: u64 = town.sandbox().faults().rules().iter().map(|rule| rule.applied()).sum();
    #[expect(clippy::cast_precision_loss, reason = "few calls")]
    all.push(at_most("  calls with that key in a pass", 30.0, "", Some(calls as f64 / passes as f64)));
    Ok(all)
}

fn beside_keyless(bench: &Bench, alone: &Town) -> Result<Vec<Budget>> {
    let town = Town::new(bench, HEALTHY)?;
    town.add(Neighbours::Keyless, KEYLESS)?;
    let beside = format!("beside {KEYLESS} without keys");
    let first = town.pass()?;
    let mut all = vec![Budget {
        figure: format!("{beside}, the pass that meets them first"),
        goal: String::new(),
        measured: format!("{:.2} ×", first.healthy_s / alone.pass()?.healthy_s),
        met: None,
    }];
    all.extend(compare(&format!("{beside}, in the first hour"), 1.5, alone, &town)?);
    town.age(Neighbours::Keyless, KEYLESS, SignedDuration::from_hours(2))?;
    all.extend(compare(&format!("{beside}, after it"), 1.1, alone, &town)?);
    Ok(all)
}

/// Time and memory beside them, in multiples of and beyond the same users alone.
fn compare(figure: &str, goal: f64, alone: &Town, beside: &Town) -> Result<Vec<Budget>> {
    let (mut usual, mut passes) = (Vec::new(), Vec::new());
    for _ in 0..rounds(alone.bench()) {
        usual.push(alone.pass()?);
        passes.push(beside.pass()?);
    }
    let (usual_s, took_s) = (middle(&usual), middle(&passes));
    eprintln!("{figure}: {took_s:.3} s, alone {usual_s:.3} s; the whole pass {:.1} s", passes[0].wall_s());
    let missed = passes.iter().map(|pass| pass.missed).sum::<usize>();
    let memory = most(&passes) - most(&usual);
    Ok(vec![
        at_most(figure, goal, " ×", Some(took_s / usual_s)),
        at_most("  healthy users missed", 0.0, "", Some(small(missed))),
        at_most("  memory beyond the pass alone", MEGABYTES, " MB", Some(memory)),
    ])
}

/// A broker that answers nobody, and comes back.
fn silent_broker(bench: &Bench) -> Result<Vec<Budget>> {
    let town = Town::new(bench, 2_000)?;
    let usual = town.pass()?;
    let silence = town.sandbox().faults().inject("alpaca:stall")?;
    let mut early = 0;
    let pass = town.watched_pass(|| {
        let start = Instant::now();
        while silence.applied() == 0 && start.elapsed() < Duration::from_secs(10) {
            sleep(Duration::from_millis(1));
        }
        sleep(Duration::from_secs(10));
        early = silence.applied();
    })?;
    let late = silence.applied() - early;
    town.sandbox().faults().clear();
    let after = town.pass()?;
    eprintln!("a silent broker: {early} calls, then {late}, {:.1} s", pass.wall_s());
    let late = usize::try_from(late)?;
    Ok(vec![
        at_most("a broker that answers nobody, 2,000 users", 40.0, " s", Some(pass.wall_s())),
        at_most("  calls after the first 10 s", 100.0, "", Some(small(late))),
        at_most("  missed by the first pass after it", 0.0, "", Some(small(after.missed))),
        at_most("  memory beyond the pass alone", MEGABYTES, " MB", Some(pass.peak_mb() - usual.peak_mb())),
    ])
}

/// An edge that refuses everybody for a second, in the middle of a pass.
fn bad_gateway(bench: &Bench) -> Result<Vec<Budget>> {
    let town = Town::new(bench, 10_000)?;
    let usual = town.pass()?;
    let fault = town.sandbox().faults().inject("alpaca:error=502,skip=5000,for=1s")?;
    let pass = town.pass()?;
    let refused = fault.applied();
    eprintln!("a second of 502s: {refused} calls, {:.1} s, alone {:.1} s", pass.wall_s(), usual.wall_s());
    if refused == 0 {
        return Err("nobody was refused".into());
    }
    Ok(vec![
        at_most("a second of 502s, 10,000 users: missed", 0.0, "", Some(small(pass.missed))),
        at_most("  memory beyond the pass alone", MEGABYTES, " MB", Some(pass.peak_mb() - usual.peak_mb())),
    ])
}

fn rounds(bench: &Bench) -> usize {
    bench.args.rounds.max(LEAST_ROUNDS)
}

/// The middle time.
fn middle(passes: &[Pass]) -> f64 {
    let mut times: Vec<_> = passes.iter().map(|pass| pass.healthy_s).collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn most(passes: &[Pass]) -> f64 {
    passes.iter().map(Pass::peak_mb).fold(0.0, f64::max)
}

#[expect(clippy::cast_precision_loss, reason = "users of a run fit a double")]
pub(crate) fn small(count: usize) -> f64 {
    count as f64
}
