use super::*;
use crate::config::Execution;
use crate::config::choices::Readers;
use crate::config::repeat::Repeat;
use crate::execution::examples::{at, id};
use crate::execution::ticks::{self, Beginning, Tick, TickOutcome};
use crate::limits::clock::ServerClock;
use crate::model::outcome::PassStatus;
use crate::shutdown::{Stop, StopSignal};
use futures::future::join_all;
use std::cell::RefCell;
use std::collections::BTreeSet;
use tokio::time::{Instant, sleep, timeout};

const MINUTE: i64 = 60;
const DAY: i64 = 24 * 60 * MINUTE;

/// How often the job is started, and how long a loop runs.
const EVERY_QUARTER: i64 = 15 * MINUTE;
const LENGTH: i64 = DAY - EVERY_QUARTER;

fn claim(name: &str, next: i64, end: i64) -> LoopClaim {
    LoopClaim { id: id(name), due_at: at(next - MINUTE), next_at: at(next), ends_at: at(end) }
}

#[test]
fn a_point_in_time_belongs_to_the_loop_that_has_claimed_it_until_that_ends_or_dies() {
    use HandOver::{Done, Leave, Now, Wait};
    let tick = LoopTick { due_at: at(600), claim: claim("pulse-x", 660, 3_600) };
    let met = |last: Option<&LoopClaim>, is_at_work, now| tick.hand_over(last, is_at_work, at(now));
    assert_eq!(met(None, false, 600), Now);
    for (name, next, end, is_at_work, now, expected) in [
        ("pulse-x", 600, 3_600, false, 600, Now),
        ("pulse-x", 660, 3_600, false, 601, Done),
        // It goes on for longer than this one.
        ("pulse-y", 600, 3_600, false, 600, Leave(claim("pulse-y", 600, 3_600))),
        ("pulse-y", 600, 9_000, true, 600, Leave(claim("pulse-y", 600, 9_000))),
        // It ends within 15 minutes, or not yet.
        ("pulse-y", 600, 1_500, false, 600, Wait(claim("pulse-y", 600, 1_500))),
        ("pulse-y", 660, 660, false, 600, Wait(claim("pulse-y", 660, 660))),
        ("pulse-y", 600, 1_501, false, 600, Leave(claim("pulse-y", 600, 1_501))),
        // From its end on the points in time are another's, whatever the clocks say.
        ("pulse-y", 600, 600, false, 600, Now),
        ("pulse-y", 600, 600, true, 600, Now),
        ("pulse-y", 600, 600, false, 599, Now),
        // It should have claimed long ago, unless its last pulse is still running.
        ("pulse-y", 540, 9_000, false, 600, Leave(claim("pulse-y", 540, 9_000))),
        ("pulse-y", 540, 9_000, false, 601, Now),
        ("pulse-y", 300, 9_000, true, 601, Leave(claim("pulse-y", 300, 9_000))),
        // No loop claims what is yet to come, but for what clocks differ by; that is not waited for.
        ("pulse-y", 720, 9_000, false, 600, Leave(claim("pulse-y", 720, 9_000))),
        ("pulse-y", 721, 9_000, false, 600, Now),
        ("pulse-y", 600 + 5 * 3_600, 9 * 3_600, true, 600, Now),
        ("pulse-x", 721, 9_000, false, 600, Now),
        // It is gone, but this one was still its own: who comes very late does not repeat it.
        ("pulse-y", 660, 660, false, 721, Done),
    ] {
        let last = claim(name, next, end);
        assert_eq!(met(Some(&last), is_at_work, now), expected, "{last:?} {is_at_work} {now}");
    }
    let short = LoopTick { claim: claim("pulse-x", 660, 1_200), ..tick };
    let last = claim("pulse-y", 600, 1_200);
    assert_eq!(
        short.hand_over(Some(&last), false, at(600)),
        Leave(last),
        "nothing would be left to take over"
    );
}

#[test]
fn a_loop_that_is_not_seen_for_long_is_stood_by_for_from_15_minutes_before_its_next_point_in_time() {
    use HandOver::{Done, Leave, Now, StandBy, Wait};
    let every = |due, next, end| LoopClaim { due_at: at(due), ..claim("pulse-y", next, end) };
    for (last, due, now, expected) in [
        (every(0, 3_600, DAY), 1_800, 1_800, Leave(every(0, 3_600, DAY))),
        (every(0, 3_600, DAY), 2_640, 2_699, Leave(every(0, 3_600, DAY))),
        (every(0, 3_600, DAY), 2_700, 2_700, StandBy(every(0, 3_600, DAY))),
        // By the point in time: who is a little early by the clock has it all the same.
        (every(0, 3_600, DAY), 3_600, 3_599, Now),
        (every(3_600, 7_200, DAY), 3_600, 3_601, Leave(every(3_600, 7_200, DAY))),
        (every(0, 3_600, 3_600), 2_700, 2_700, Wait(every(0, 3_600, 3_600))),
        (every(0, 3_600, 0), 2_700, 2_700, Now),
        (every(0, 3_600, 0), 0, 2_700, Done),
        // That one will be seen, or not, in time for the start after this one.
        (every(0, 900, DAY), 600, 600, Leave(every(0, 900, DAY))),
    ] {
        let own = LoopClaim { due_at: at(due), ..claim("pulse-x", due + 3_600, DAY) };
        let tick = LoopTick { due_at: at(due), claim: own };
        assert_eq!(tick.hand_over(Some(&last), false, at(now)), expected, "{last:?} {due} {now}");
    }
    // One that comes more often need not wait for it, nor take its pulse again.
    let (last, more_often) = (every(0, 3_600, DAY), |due| claim("pulse-x", due + MINUTE, DAY));
    for (due, is_at_work, expected) in [
        (60, false, Now),
        (0, false, Done),
        (60, true, Leave(last.clone())),
        (3_540, true, StandBy(last.clone())),
    ] {
        let tick = LoopTick { due_at: at(due), claim: more_often(due) };
        assert_eq!(tick.hand_over(Some(&last), is_at_work, at(due)), expected, "{due} {is_at_work}");
    }
}

#[test]
fn a_loop_that_gave_up_is_in_nobodys_way_however_long_its_period_was() {
    let tick = LoopTick { due_at: at(600), claim: claim("pulse-x", 660, 3_600) };
    for (due, expected) in
        [(0, HandOver::Now), (599, HandOver::Now), (600, HandOver::Done), (601, HandOver::Done)]
    {
        let last = LoopClaim { due_at: at(due), ..claim("pulse-y", due + 3_600, due) };
        assert_eq!(tick.hand_over(Some(&last), false, at(605)), expected, "{due}");
    }
}

#[test]
fn a_loop_whose_pulse_took_longer_than_its_period_waits_for_the_next_point_in_time() {
    let last = claim("pulse-y", 600, 9_000);
    for (ended, now, expected) in [
        (700, 701, true),
        (700, 820, true),
        (700, 821, false),
        (600, 720, true),
        // It claims when it said.
        (599, 600, false),
    ] {
        assert_eq!(last.is_waiting_since(at(ended), at(now)), expected, "{ended} {now}");
    }
    let hourly = LoopClaim { due_at: at(0), ..claim("pulse-y", 3_600, DAY) };
    for (now, expected) in [(4_000 + 16 * MINUTE, true), (4_000 + 16 * MINUTE + 1, false)] {
        assert_eq!(hourly.is_waiting_since(at(4_000), at(now)), expected, "{now}");
    }
}

/// What all loops of a simulation see, and what they have done.
#[derive(Default)]
struct Seen {
    claim: Option<LoopClaim>,
    /// Whose pulse is running, and since when.
    running: Option<(DocumentId, Timestamp)>,
    /// Each pulse's point in time, in minutes, and whose it was.
    pulses: Vec<(i64, DocumentId)>,
    waited: BTreeSet<DocumentId>,
}

struct Simulation {
    start: Instant,
    seen: RefCell<Seen>,
}

impl Simulation {
    fn new() -> Self {
        Self { start: Instant::now(), seen: RefCell::default() }
    }

    fn now(&self) -> Timestamp {
        at(0) + SignedDuration::try_from(self.start.elapsed()).expect("in range")
    }

    /// A loop that begins now; what it takes the clock for is off by so many milliseconds.
    async fn run(&self, name: &str, off: i64, stop: &Stop) -> PassStatus {
        self.run_every(MINUTE, (name, off), stop).await
    }

    async fn run_every(&self, every: i64, (name, off): (&str, i64), stop: &Stop) -> PassStatus {
        let now = self.now() + SignedDuration::from_millis(off);
        let clock = ServerClock::told(now);
        let from = Beginning { start: Instant::now(), clock: &clock, number: 1 };
        let pass = async |tick| self.pass(&tick, seconds(20)).await;
        let repeat = Repeat { every: seconds(every), ..repeat() };
        let (execution, give_up) = (named(name), async || {
            self.give_up(name);
            Ok(())
        });
        giving_up(stop, ticks::run(&repeat, &execution, from, stop, pass), give_up).await
    }

    /// A pulse that takes so long, if it takes place.
    async fn pass(&self, tick: &Tick, takes: Duration) -> TickOutcome {
        // What is read before the decision.
        sleep(Duration::from_millis(90)).await;
        let looping = tick.looping.as_ref().expect("the clock is known");
        let own = &looping.claim.id;
        match self.met(looping) {
            HandOver::Now => {
                let mut seen = self.seen.borrow_mut();
                seen.claim = Some(looping.claim.clone());
                seen.running = Some((own.clone(), self.now()));
                let minute = looping.due_at.duration_since(at(0)).as_secs() / MINUTE;
                seen.pulses.push((minute, own.clone()));
            }
            HandOver::Leave(_) => return TickOutcome::Left,
            HandOver::Reckon => panic!("the clock is known"),
            HandOver::Wait(_) | HandOver::StandBy(_) => {
                self.seen.borrow_mut().waited.insert(own.clone());
                return TickOutcome::Busy;
            }
            HandOver::Done => return TickOutcome::Busy,
        }
        sleep(takes).await;
        let running = &mut self.seen.borrow_mut().running;
        if running.as_ref().is_some_and(|(id, _)| id == own) {
            *running = None;
        }
        TickOutcome::Ran(PassStatus::Ok)
    }

    fn met(&self, looping: &LoopTick) -> HandOver {
        let (seen, now) = (self.seen.borrow(), self.now());
        let is_at_work = seen.running.as_ref().is_some_and(|(id, since)| {
            seen.claim.as_ref().is_some_and(|claim| claim.id == *id)
                && now.duration_since(*since) <= ALIVE_FOR
        });
        looping.hand_over(seen.claim.as_ref(), is_at_work, now)
    }

    /// What a loop does that was told to stop.
    fn give_up(&self, name: &str) {
        let mut seen = self.seen.borrow_mut();
        if let Some(claim) = seen.claim.as_mut().filter(|claim| claim.id.as_str() == name) {
            claim.ends_at = claim.due_at;
        }
    }

    /// The minutes that had a pulse, in the order in which they had it, and how many loops they were of.
    fn minutes(&self) -> (Vec<i64>, usize) {
        let seen = self.seen.borrow();
        let loops: BTreeSet<_> = seen.pulses.iter().map(|(_, id)| id).collect();
        (seen.pulses.iter().map(|(minute, _)| *minute).collect(), loops.len())
    }

    /// Starts the job every quarter of an hour from then on, until that time is over. Each start takes a while, another
    /// one each time, and the clocks differ.
    async fn scheduled(&self, from: i64, until: i64) {
        self.scheduled_every(MINUTE, from, until).await;
    }

    async fn scheduled_every(&self, every: i64, from: i64, until: i64) {
        let starts = (from / EVERY_QUARTER)..(until / EVERY_QUARTER);
        let loops = starts.map(async |number| {
            let begins = number * EVERY_QUARTER + 4 + (number * 37) % 30;
            sleep(seconds(begins).saturating_sub(self.start.elapsed())).await;
            let (name, off) = (format!("pulse-{number}x"), (number * 13 % 9 - 4) * 100);
            self.run_every(every, (&name, off), &Stop::default()).await
        });
        let left = seconds(until).saturating_sub(self.start.elapsed());
        // Whoever is still running then is cut off.
        let _ = timeout(left, join_all(loops)).await;
    }
}

fn named(execution: &str) -> Execution {
    let lookup = |variable: &str| (variable == "CLOUD_RUN_EXECUTION").then(|| execution.to_owned());
    Execution::from_lookup(lookup, at(0)).expect("usable")
}

fn repeat() -> Repeat {
    Repeat {
        every: seconds(MINUTE),
        length: seconds(LENGTH),
        key_ttl: Duration::ZERO,
        refresh_unchanged: Duration::ZERO,
        readers: Readers::Age,
        users_ttl: Duration::ZERO,
        kept_users: 0,
    }
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).expect("no negative time"))
}

fn assert_each_once(minutes: &[i64]) {
    let gap = minutes.windows(2).find(|two| two[1] != two[0] + 1);
    assert_eq!(gap, None, "each minute has one pulse");
}

#[tokio::test(start_paused = true)]
async fn loops_of_a_day_hand_over_so_that_no_minute_has_two_pulses_or_none() {
    let simulation = Simulation::new();
    simulation.scheduled(0, 4 * DAY).await;
    let (minutes, loops) = simulation.minutes();
    assert_each_once(&minutes);
    assert_eq!((minutes[0], *minutes.last().expect("some")), (0, 4 * DAY / MINUTE - 1));
    assert!((4..=6).contains(&loops) && simulation.seen.borrow().waited.len() >= 3, "{loops}");
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_is_killed_is_replaced_by_a_start_of_the_next_quarters() {
    // During a pulse, and between two; shortly before a start, and shortly after one.
    for killed_at in [3_605, 3_630, 3_661, 3_905, 4_400, 4_470, 4_480, 4_499, 4_519, 4_540] {
        let (simulation, stop) = (Simulation::new(), Stop::default());
        let running = simulation.run("pulse-killed", 0, &stop);
        let killed = timeout(seconds(killed_at), running);
        let (killed, ()) = tokio::join!(killed, simulation.scheduled(EVERY_QUARTER, 4 * 3_600));
        assert!(killed.is_err(), "it would go on for longer");
        let (minutes, loops) = simulation.minutes();
        let (own, after) = minutes.split_at(usize::try_from(killed_at / MINUTE).expect("small") + 1);
        assert_each_once(own);
        assert_each_once(after);
        // The start that found a pulse of less than two minutes ago took it for alive.
        let gap = after[0] - own.last().expect("some");
        assert!((2..=18).contains(&gap) && loops == 2, "{killed_at}: {gap} {loops}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_is_told_to_stop_is_followed_at_once_by_the_next_start() {
    for told_at in [3_605, 3_630, 3_659] {
        let (simulation, stop) = (Simulation::new(), Stop::default());
        let first = simulation.run("pulse-first", 0, &stop);
        let second = async {
            sleep(seconds(told_at)).await;
            stop.request(StopSignal::Terminate);
            // The first one finishes what is in flight.
            sleep(seconds(1)).await;
            simulation.run("pulse-second", 0, &Stop::default()).await
        };
        let _ = timeout(seconds(2 * 3_600), async { tokio::join!(first, second) }).await;
        let (minutes, loops) = simulation.minutes();
        assert_each_once(&minutes);
        assert_eq!(loops, 2, "{told_at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_loop_gives_up_as_soon_as_it_is_told_to_stop_and_again_at_its_end() {
    let (stop, start) = (Stop::default(), Instant::now());
    let given_up = RefCell::new(Vec::new());
    let give_up = async || {
        given_up.borrow_mut().push(start.elapsed());
        Ok(())
    };
    giving_up(&stop, sleep(seconds(5)), give_up).await;
    assert!(given_up.borrow().is_empty(), "it was not told to stop");
    let passes = async {
        stop.request(StopSignal::Terminate);
        sleep(seconds(8)).await;
    };
    giving_up(&stop, passes, give_up).await;
    assert_eq!(*given_up.borrow(), [seconds(5), seconds(13)]);
}

#[tokio::test(start_paused = true)]
async fn no_point_in_time_of_loops_by_the_hour_has_two_pulses_or_none_whether_one_is_killed_or_not() {
    const HOUR: i64 = 3_600;
    // The simulation begins at half past.
    for killed_at in [1_805, 2_000, 4_400, 4_490, 4_520, 5_300, 5_399, DAY] {
        let simulation = Simulation::new();
        let stop = Stop::default();
        let first = timeout(seconds(killed_at), simulation.run_every(HOUR, ("pulse-first", 0), &stop));
        let others = simulation.scheduled_every(HOUR, EVERY_QUARTER, 2 * DAY);
        let _ = tokio::join!(first, others);
        let (minutes, _) = simulation.minutes();
        assert_eq!(minutes, (0..49).map(|hour| hour * 60 - 30).collect::<Vec<_>>(), "{killed_at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_was_frozen_ends_when_it_finds_that_another_has_taken_over() {
    let simulation = Simulation::new();
    let frozen = async {
        let pass = async |tick: Tick| {
            let is_third = tick.execution.id.as_str() == "pulse-frozen-3";
            simulation.pass(&tick, if is_third { seconds(2_000) } else { seconds(20) }).await
        };
        let clock = ServerClock::told(at(0));
        let from = Beginning { start: Instant::now(), clock: &clock, number: 1 };
        let first = named("pulse-frozen");
        ticks::run(&repeat(), &first, from, &Stop::default(), pass).await;
        simulation.start.elapsed()
    };
    let others = simulation.scheduled(EVERY_QUARTER, 3 * 3_600);
    let (ended, ()) = tokio::join!(frozen, others);
    let (minutes, loops) = simulation.minutes();
    assert_eq!((minutes[..3].to_vec(), loops), (vec![0, 1, 2], 2));
    assert_each_once(&minutes[3..]);
    assert_eq!(minutes[3], 15, "the first start after it");
    assert!((seconds(2_120)..seconds(2_200)).contains(&ended), "with its next pulse: {ended:?}");
}
