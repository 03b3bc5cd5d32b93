//! `--soak`: many passes with all kinds of trouble at once, and nobody lost.

use crate::Result;
use crate::budgets::{Budget, at_most};
use crate::neighbours::small;
use crate::run::Bench;
use crate::town::{Neighbours, Pass, Town};

const PASSES: usize = 20;
const HEALTHY: u32 = 4_000;

/// Of each kind: with the healthy, 5,000 users.
const TROUBLED: u32 = 250;

/// Of one key, as the sandbox takes them.
const CALLS_A_MINUTE: u32 = 200;

/// In every pass.
const GOAWAYS: &str = "firestore/Commit:goaway,share=0.002";

/// In the middle of one pass after the other.
const EVENTS: [&str; 5] = [
    "alpaca:error=502,skip=1000,for=1s",
    "alpaca:stall,skip=1000,for=3s",
    "alpaca:drop-before,skip=1000,for=2s",
    "secret-manager:error=503,skip=1000,for=1s",
    "firestore:error=UNAVAILABLE,skip=1000,for=1s",
];

const ALL: [Neighbours; 4] =
    [Neighbours::Limited, Neighbours::SilentSecret, Neighbours::SilentAccount, Neighbours::Keyless];

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Budget>> {
    let town = Town::new(bench, HEALTHY)?;
    for neighbours in ALL {
        town.add(neighbours, TROUBLED)?;
    }
    let mut passes = Vec::new();
    for number in 0..PASSES {
        passes.push(pass(&town, number)?);
    }
    town.sandbox().faults().clear();
    let last = town.pass()?;
    let sum = |of: fn(&Pass) -> usize| small(passes.iter().map(of).sum());
    let most = |passes: &[Pass]| passes.iter().map(Pass::peak_mb).fold(0.0, f64::max);
    let (early, late) = passes.split_at(PASSES / 2);
    // All but those without keys, and, of those who share one key, as many as Alpaca takes in a minute.
    let everybody = usize::try_from(HEALTHY + 2 * TROUBLED + TROUBLED.min(CALLS_A_MINUTE))?;
    Ok(vec![
        at_most("20 passes: healthy users missed by one, in all", 0.0, "", Some(sum(|pass| pass.missed))),
        at_most("  healthy users no longer fresh at the end of one", 0.0, "", Some(sum(|pass| pass.stale))),
        at_most(
            "  missed by a pass without faults afterwards",
            0.0,
            "",
            Some(small(everybody.saturating_sub(last.synced))),
        ),
        at_most("  memory beyond that of the first half", 4.0, " MB", Some(most(late) - most(early))),
    ])
}

fn pass(town: &Town, number: usize) -> Result<Pass> {
    let faults = town.sandbox().faults();
    faults.clear();
    for neighbours in ALL {
        neighbours.fault().map(|fault| faults.inject(fault)).transpose()?;
    }
    let event = EVENTS[number % EVENTS.len()];
    let (event, _) = (faults.inject(event)?, faults.inject(GOAWAYS)?);
    let pass = town.pass()?;
    eprintln!(
        "pass {:>2}: {:>5.1} s, {} missed, {} stale, {:.1} MB, {} calls hit in {}",
        number + 1,
        pass.wall_s(),
        pass.missed,
        pass.stale,
        pass.peak_mb(),
        event.applied(),
        EVENTS[number % EVENTS.len()]
    );
    Ok(pass)
}
