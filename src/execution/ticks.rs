//! Passes repeated in one process (`--every`, `--for`): when each of them starts, and as which execution.

use crate::config::Execution;
use crate::config::repeat::Repeat;
use crate::execution::hand_over::LoopTick;
use crate::limits::clock::ServerClock;
use crate::model::ids::DocumentId;
use crate::model::loop_claim::LoopClaim;
use crate::model::outcome::PassStatus;
use crate::shutdown::Stop;
use jiff::{SignedDuration, Timestamp};
use std::convert::Infallible;
use std::mem::take;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

/// What became of a pass that was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TickOutcome {
    /// It ran, to its end or until the process was told to stop.
    Ran(PassStatus),
    /// Another execution was running, or has that point in time.
    Busy,
    /// Another loop has this point in time and all that follow.
    Left,
    /// An earlier attempt had done it; what it was worth.
    DoneBefore(PassStatus),
    /// No server had said how late it is, and one has by now: it is to be begun as a loop's.
    Unreckoned,
}

/// A pass that is due.
#[derive(Clone, Debug)]
pub(crate) struct Tick {
    /// The execution that it is.
    pub(crate) execution: Execution,
    /// When it was due.
    pub(crate) due: Instant,
    /// What the claim says of it; nothing while no server has said how late it is.
    pub(crate) looping: Option<LoopTick>,
}

/// How a loop begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beginning<'a> {
    /// When the process started.
    pub(crate) start: Instant,
    /// All loops go by the servers' clock.
    pub(crate) clock: &'a ServerClock,
    /// The number of the last execution that an earlier attempt has begun, else 1. Those before are done.
    pub(crate) number: u32,
}

/// Runs a pass for one execution after the other, the first at once and the others at whole multiples of `--every`, until
/// the time is over or the process is told to stop.
///
/// A number in the row of executions is used up by a pass that ran, not by one that was skipped: so a
/// retried attempt finds no gap in what the attempt before has done, passes over that without a pause,
/// and goes on from there. What it passes over counts as time, so that it ends about when the attempt
/// before would have, and not in the middle of the next execution.
///
/// Returns the status of the last pass that ran, in whichever attempt: a retry that finds nothing left to do must not
/// pass for a success of what had failed.
pub(crate) async fn run(
    repeat: &Repeat,
    first: &Execution,
    beginning: Beginning<'_>,
    stop: &Stop,
    run_pass: impl AsyncFn(Tick) -> TickOutcome,
) -> PassStatus {
    let mut ticks = Ticks::new(repeat, beginning);
    let mut row = Row { number: beginning.number, status: PassStatus::Ok };
    while let Some(Due { mut due, mut at }) = ticks.next_by(beginning.clock, stop).await {
        loop {
            let execution = first.nth(row.number);
            let tick = Tick { execution: execution.clone(), due, looping: ticks.claim(&first.id, at) };
            let outcome = tokio::select! {
                outcome = run_pass(tick) => outcome,
                never = ticks.skip(&execution, stop) => match never {},
            };
            if outcome == TickOutcome::Left {
                return row.status;
            }
            if outcome == TickOutcome::Unreckoned {
                Due { due, at } = ticks.reckon(beginning.clock);
                continue;
            }
            let goes_on = row.count(outcome) && stop.signal().is_none();
            if !goes_on || !ticks.has_time_after_one_more() {
                break;
            }
            due = Instant::now();
        }
        if stop.signal().is_some() {
            break;
        }
    }
    row.status
}

/// How far a loop has come in its row of executions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    /// Which execution is next, from 1.
    number: u32,
    /// Of the last pass that ran.
    status: PassStatus,
}

impl Row {
    /// Counts what became of the next execution. Whether the one after it is not to wait until it is due.
    fn count(&mut self, outcome: TickOutcome) -> bool {
        match outcome {
            TickOutcome::Ran(status) | TickOutcome::DoneBefore(status) => {
                *self = Self { number: self.number + 1, status };
            }
            TickOutcome::Busy | TickOutcome::Left | TickOutcome::Unreckoned => {}
        }
        matches!(outcome, TickOutcome::DoneBefore(_))
    }
}

/// When a pass is due, and the point in time that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due {
    due: Instant,
    at: Timestamp,
}

/// The points in time at which passes are due.
struct Ticks {
    next: Due,
    /// How long ago the next one's point in time was when it is due: only the first one comes late by itself.
    late: Duration,
    every: Duration,
    until: Instant,
    ends_at: Timestamp,
    /// Whether all points in time are by the servers' clock, and not by this machine's.
    are_sure: bool,
}

impl Ticks {
    fn new(repeat: &Repeat, Beginning { start, clock, number }: Beginning<'_>) -> Self {
        let (every, now) = (repeat.every, clock.at(start));
        let late = since_multiple(now, every);
        let at = after(now, late, -1);
        // What is done counts as time; but what the last one was worth is looked at in any case.
        let left = repeat.pulses().saturating_sub(number.saturating_sub(1)).max(1);
        let length = every.saturating_mul(left);
        Self {
            next: Due { due: start, at },
            late,
            every,
            // One is longer than what the first is late by.
            until: start + length.saturating_sub(late),
            ends_at: after(at, length, 1),
            are_sure: clock.is_known(),
        }
    }

    /// Waits for the next one, unless the process is told to stop. What was not known of the servers' clock before may be
    /// known by now.
    async fn next_by(&mut self, clock: &ServerClock, stop: &Stop) -> Option<Due> {
        if !self.are_sure && clock.is_known() {
            self.set_by(clock);
        }
        self.next_unless_stopped(stop).await
    }

    /// Puts the next one, and the end with it, on the whole multiples that follow by the servers' clock.
    fn set_by(&mut self, clock: &ServerClock) {
        let (now, every) = (Instant::now(), self.every);
        let wait = every - since_multiple(clock.at(now), every);
        let (due, at) = (now + wait, after(clock.at(now), wait, 1));
        let left = self.until.saturating_duration_since(due).as_nanos().div_ceil(every.as_nanos());
        let left = every.saturating_mul(u32::try_from(left).unwrap_or(u32::MAX));
        (self.next, self.late, self.ends_at) = (Due { due, at }, Duration::ZERO, after(at, left, 1));
        self.are_sure = true;
    }

    /// The point in time of now, as the first one of a loop has it, and with it those that follow.
    fn reckon(&mut self, clock: &ServerClock) -> Due {
        let (due, now) = (Instant::now(), clock.now());
        self.set_by(clock);
        Due { due, at: after(now, since_multiple(now, self.every), -1) }
    }

    /// What the claim of the pass for that point in time says.
    fn claim(&self, id: &DocumentId, at: Timestamp) -> Option<LoopTick> {
        let (next_at, ends_at) = (after(at, self.every, 1), self.ends_at);
        let claim = || LoopClaim { id: id.clone(), due_at: at, next_at, ends_at };
        self.are_sure.then(|| LoopTick { due_at: at, claim: claim() })
    }

    /// Waits for the next one, unless the process is told to stop.
    async fn next_unless_stopped(&mut self, stop: &Stop) -> Option<Due> {
        tokio::select! {
            biased;
            () = stop.requested() => {
                info!("Stopped between two pulses: nothing was in flight");
                None
            }
            due = self.next() => due,
        }
    }

    /// Waits for the next one; there is none once the time is over. Nothing is lost when it is not waited
    /// for to the end.
    async fn next(&mut self) -> Option<Due> {
        let next = self.next;
        if next.due >= self.until {
            return None;
        }
        sleep_until(next.due).await;
        let late = take(&mut self.late);
        // Those that a suspended process slept through are not made up for.
        let passed = (next.due.elapsed() + late).as_nanos() / self.every.as_nanos();
        let step = self.every.saturating_mul(u32::try_from(passed).unwrap_or(u32::MAX).saturating_add(1));
        self.next = Due { due: next.due + step.saturating_sub(late), at: after(next.at, step, 1) };
        Some(next)
    }

    /// Uses up those that come due meanwhile. Once told to stop, there are none that could be missed.
    async fn skip(&mut self, running: &Execution, stop: &Stop) -> Infallible {
        while self.next().await.is_some() && stop.signal().is_none() {
            warn!("Skipped pulse: execution {} is still running", running.id);
        }
        std::future::pending().await
    }

    /// Takes the time of a pass that was done before. Whether any is left.
    fn has_time_after_one_more(&mut self) -> bool {
        let now = Instant::now();
        self.until = self.until.checked_sub(self.every).unwrap_or(now);
        self.ends_at = after(self.ends_at, self.every, -1);
        now < self.until
    }
}

/// How long ago the last whole multiple of `every` was.
fn since_multiple(now: Timestamp, every: Duration) -> Duration {
    let every = i128::try_from(every.as_nanos()).unwrap_or(i128::MAX).max(1);
    let nanos = u64::try_from(now.as_nanosecond().rem_euclid(every));
    Duration::from_nanos(nanos.unwrap_or_default())
}

/// So long after, or before.
fn after(at: Timestamp, time: Duration, direction: i32) -> Timestamp {
    let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
    at.saturating_add(time.saturating_mul(direction)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::choices::Readers;
    use crate::model::ids::DocumentId;
    use crate::shutdown::StopSignal;
    use jiff::Timestamp;
    use std::cell::RefCell;
    use tokio::time::sleep;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn execution(tasks: &str) -> Execution {
        let lookup = |name: &str| match name {
            "CLOUD_RUN_EXECUTION" => Some("pulse-x".to_owned()),
            "CLOUD_RUN_TASK_COUNT" => Some(tasks.to_owned()),
            _ => None,
        };
        Execution::from_lookup(lookup, Timestamp::UNIX_EPOCH).expect("usable")
    }

    fn every_minute(length: u64) -> Repeat {
        Repeat {
            every: seconds(60),
            length: seconds(length),
            key_ttl: seconds(600),
            refresh_unchanged: seconds(120),
            readers: Readers::Age,
            users_ttl: seconds(600),
            kept_users: 500_000,
        }
    }

    /// The executions that were begun and after how many seconds, and the status at the end. `outcome` says how
    /// long each takes and what becomes of it.
    async fn repeated(
        length: u64,
        stop: &Stop,
        outcome: impl Fn(&str, usize) -> (u64, TickOutcome),
    ) -> (Vec<(String, u64)>, PassStatus) {
        let (start, begun) = (Instant::now(), RefCell::new(Vec::new()));
        let run_pass = |tick: Tick| {
            let id = tick.execution.id.to_string();
            let (takes, outcome) = outcome(&id, begun.borrow().len());
            begun.borrow_mut().push((id, start.elapsed().as_secs()));
            async move {
                sleep(seconds(takes)).await;
                outcome
            }
        };
        let clock = ServerClock::told(Timestamp::UNIX_EPOCH);
        let from = Beginning { start, clock: &clock, number: 1 };
        let status = run(&every_minute(length), &execution("1"), from, stop, run_pass).await;
        (begun.into_inner(), status)
    }

    fn begun(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
        expected.iter().map(|(id, second)| ((*id).to_owned(), *second)).collect()
    }

    const OK: TickOutcome = TickOutcome::Ran(PassStatus::Ok);

    #[test]
    fn a_number_is_used_up_by_a_pass_that_ran_and_only_what_was_done_before_is_followed_at_once() {
        use PassStatus::{Degraded, Failed};
        for (outcome, number, status, goes_on) in [
            (TickOutcome::Ran(Failed), 4, Failed, false),
            (TickOutcome::DoneBefore(Failed), 4, Failed, true),
            (TickOutcome::DoneBefore(PassStatus::Ok), 4, PassStatus::Ok, true),
            (TickOutcome::Busy, 3, Degraded, false),
            (TickOutcome::Left, 3, Degraded, false),
        ] {
            let mut row = Row { number: 3, status: Degraded };
            assert_eq!(row.count(outcome), goes_on, "{outcome:?}");
            assert_eq!(row, Row { number, status }, "{outcome:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pulses_start_evenly_until_the_time_is_over() {
        let (start, takes) = (Instant::now(), |_: &str, n| (10 + n as u64, OK));
        let (ran, _) = repeated(180, &Stop::default(), takes).await;
        assert_eq!(ran, begun(&[("pulse-x", 0), ("pulse-x-2", 60), ("pulse-x-3", 120)]));
        assert_eq!(start.elapsed(), seconds(132), "it does not wait for a pulse that would be too late");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pulse_that_gets_to_know_how_late_it_is_is_begun_again_at_once_for_its_point_in_time() {
        let (start, clock) = (Instant::now(), ServerClock::new(Timestamp::UNIX_EPOCH));
        let begun = RefCell::new(Vec::new());
        let at = |second| Timestamp::from_second(second).expect("in range");
        let run_pass = async |tick: Tick| {
            let point = tick.looping.map(|looping| (looping.due_at, looping.claim.ends_at));
            begun.borrow_mut().push((start.elapsed().as_secs(), tick.execution.id.to_string(), point));
            if point.is_some() {
                return OK;
            }
            sleep(seconds(4)).await;
            clock.learn(Instant::now(), at(7_230));
            TickOutcome::Unreckoned
        };
        let from = Beginning { start, clock: &clock, number: 1 };
        run(&every_minute(120), &execution("1"), from, &Stop::default(), run_pass).await;
        let point = |second| Some((at(second), at(7_380)));
        let expected = [
            (0, "pulse-x", None),
            (4, "pulse-x", point(7_200)),
            (34, "pulse-x-2", point(7_260)),
            (94, "pulse-x-3", point(7_320)),
        ];
        assert_eq!(*begun.borrow(), expected.map(|(second, id, point)| (second, id.to_owned(), point)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pulse_that_is_due_while_the_last_one_runs_is_skipped() {
        let takes = |_: &str, n| (if n == 0 { 130 } else { 1 }, OK);
        let (ran, _) = repeated(300, &Stop::default(), takes).await;
        assert_eq!(ran, begun(&[("pulse-x", 0), ("pulse-x-2", 180), ("pulse-x-3", 240)]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_earlier_attempt_has_done_is_passed_over_without_waiting() {
        let done =
            |_: &str, n| if n < 3 { (1, TickOutcome::DoneBefore(PassStatus::Failed)) } else { (1, OK) };
        let (ran, _) = repeated(300, &Stop::default(), done).await;
        let all = [("pulse-x", 0), ("pulse-x-2", 1), ("pulse-x-3", 2), ("pulse-x-4", 3), ("pulse-x-5", 60)];
        assert_eq!(ran, begun(&all), "as many as without the break");
        let start = Instant::now();
        for outcome in [PassStatus::Ok, PassStatus::Failed] {
            let (ran, status) =
                repeated(180, &Stop::default(), |_, _| (1, TickOutcome::DoneBefore(outcome))).await;
            assert_eq!((ran.len(), status), (3, outcome), "nothing is left to do");
        }
        assert_eq!(start.elapsed(), seconds(6));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pulse_that_finds_another_execution_is_tried_again_when_the_next_is_due() {
        let busy = |_: &str, n| (0, if n == 0 { TickOutcome::Busy } else { OK });
        let (ran, _) = repeated(130, &Stop::default(), busy).await;
        assert_eq!(ran, begun(&[("pulse-x", 0), ("pulse-x", 60), ("pulse-x-2", 120)]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_pulse_that_ran_has_the_say() {
        for (outcomes, expected) in [
            ([TickOutcome::Ran(PassStatus::Failed), OK], PassStatus::Ok),
            ([OK, TickOutcome::Ran(PassStatus::Failed)], PassStatus::Failed),
            ([TickOutcome::Ran(PassStatus::Degraded), TickOutcome::Busy], PassStatus::Degraded),
            ([TickOutcome::Busy, TickOutcome::Busy], PassStatus::Ok),
        ] {
            let (_, status) = repeated(120, &Stop::default(), |_, n| (1, outcomes[n])).await;
            assert_eq!(status, expected, "{outcomes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_it_between_two_pulses_at_once_and_after_the_one_that_runs() {
        for (told_after, ends_after) in [(30, 30), (65, 70)] {
            let (stop, start) = (Stop::default(), Instant::now());
            let telling = async {
                sleep(seconds(told_after)).await;
                stop.request(StopSignal::Terminate);
            };
            let ((ran, _), ()) = tokio::join!(repeated(600, &stop, |_, _| (10, OK)), telling);
            assert_eq!((start.elapsed(), ran.len()), (seconds(ends_after), 1 + usize::from(told_after > 60)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_suspended_process_slept_through_is_not_made_up_for() {
        let start = Instant::now();
        let beginning = Beginning { start, clock: &ServerClock::told(at(0)), number: 1 };
        let mut ticks = Ticks::new(&every_minute(600), beginning);
        assert_eq!(ticks.next().await, Some(Due { due: start, at: at(0) }));
        tokio::time::advance(seconds(200)).await;
        assert_eq!(ticks.next().await, Some(Due { due: start + seconds(60), at: at(60) }));
        assert_eq!(ticks.next, Due { due: start + seconds(240), at: at(240) });
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    /// What a loop that starts then claims for each of its passes: after how many seconds, for which point in time, until
    /// which.
    async fn claims(second: i64, length: u64) -> Vec<(u64, i64, i64, i64)> {
        let (start, claims) = (Instant::now(), RefCell::new(Vec::new()));
        let run_pass = |Tick { due, looping, .. }: Tick| {
            let LoopTick { due_at, claim } = looping.expect("the clock is known");
            assert_eq!(claim.id.as_str(), "pulse-x");
            let times = [due_at, claim.next_at, claim.ends_at].map(Timestamp::as_second);
            claims.borrow_mut().push((due.duration_since(start).as_secs(), times[0], times[1], times[2]));
            async { OK }
        };
        let from = Beginning { start, clock: &ServerClock::told(at(second)), number: 1 };
        run(&every_minute(length), &execution("1"), from, &Stop::default(), run_pass).await;
        claims.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_comes_at_once_and_the_others_at_whole_multiples() {
        assert_eq!(
            claims(6_017, 130).await,
            [(0, 6_000, 6_060, 6_180), (43, 6_060, 6_120, 6_180), (103, 6_120, 6_180, 6_180)]
        );
        assert_eq!(claims(6_000, 60).await, [(0, 6_000, 6_060, 6_060)]);
        assert_eq!(claims(6_059, 61).await, [(0, 6_000, 6_060, 6_120), (1, 6_060, 6_120, 6_120)]);
        let day = claims(6_017, 24 * 3_600 - 900).await;
        assert_eq!((day.len(), day[0].3), (24 * 60 - 15, 6_000 + 24 * 3_600 - 900));
        assert!(
            day.windows(2).all(|two| two[1].1 == two[0].1 + 60 && two[1].1 == two[0].2),
            "none is left out"
        );
    }

    /// By this machine's clock it is 6,017 when the loop starts, and in truth as late as is said. Firestore says so in the
    /// second pulse.
    #[tokio::test(start_paused = true)]
    async fn who_learns_late_how_late_it_is_claims_nothing_before_and_goes_by_it_from_the_next_pulse_on() {
        for (truth, expected) in [
            (5_000, [(0, None), (43, None), (100, Some((5_100, 5_340))), (160, Some((5_160, 5_340)))]),
            (9_001, [(0, None), (43, None), (59, Some((9_060, 9_300))), (119, Some((9_120, 9_300)))]),
            (6_017, [(0, None), (43, None), (103, Some((6_120, 6_300))), (163, Some((6_180, 6_300)))]),
        ] {
            let (start, begun, clock) =
                (Instant::now(), RefCell::new(Vec::new()), ServerClock::new(at(6_017)));
            let run_pass = |Tick { due, looping, .. }: Tick| {
                let second = due.duration_since(start).as_secs();
                let claim = looping.map(|tick| (tick.due_at.as_second(), tick.claim.ends_at.as_second()));
                if begun.borrow().len() == 1 {
                    clock.learn(Instant::now(), after(at(truth), start.elapsed(), 1));
                }
                begun.borrow_mut().push((second, claim));
                async { OK }
            };
            let beginning = Beginning { start, clock: &clock, number: 1 };
            run(&every_minute(300), &execution("1"), beginning, &Stop::default(), run_pass).await;
            assert_eq!(begun.into_inner()[..4], expected, "{truth}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_retried_attempt_goes_on_with_the_last_that_was_begun_and_ends_when_the_one_before_would_have()
    {
        for (number, expected, ends_after) in [
            (1, vec!["pulse-x", "pulse-x-2", "pulse-x-3"], 180),
            (2, vec!["pulse-x-2", "pulse-x-3"], 120),
            (3, vec!["pulse-x-3"], 60),
            // Nothing is left, but for what it was worth.
            (9, vec!["pulse-x-9"], 60),
        ] {
            let (start, begun) = (Instant::now(), RefCell::new(Vec::new()));
            let run_pass = |tick: Tick| {
                let claim = tick.looping.expect("the clock is known").claim;
                begun.borrow_mut().push((tick.execution.id.to_string(), claim.ends_at));
                async { TickOutcome::Ran(PassStatus::Degraded) }
            };
            let clock = ServerClock::told(at(6_000));
            let beginning = Beginning { start, clock: &clock, number };
            let stop = Stop::default();
            let status = run(&every_minute(180), &execution("1"), beginning, &stop, run_pass).await;
            let (ids, ends): (Vec<_>, Vec<_>) = begun.into_inner().into_iter().unzip();
            assert_eq!(
                (ids, status),
                (expected.into_iter().map(str::to_owned).collect(), PassStatus::Degraded)
            );
            assert!(ends.iter().all(|end| *end == at(6_000 + ends_after)), "{number}: {ends:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_another_loop_that_goes_on_ends_at_once_with_what_it_was_worth() {
        for (number, expected) in [(0, PassStatus::Ok), (2, PassStatus::Degraded)] {
            let start = Instant::now();
            let outcome = |_: &str, n| match n == number {
                true => (0, TickOutcome::Left),
                false => (1, TickOutcome::Ran(PassStatus::Degraded)),
            };
            let (ran, status) = repeated(600, &Stop::default(), outcome).await;
            assert_eq!(
                (ran.len(), status, start.elapsed()),
                (number + 1, expected, seconds(60 * number as u64))
            );
        }
    }

    #[test]
    fn the_executions_of_a_loop_know_each_other() {
        let first = execution("1");
        let third = first.nth(3);
        assert_eq!((first.nth(1).id.as_str(), third.id.as_str()), ("pulse-x", "pulse-x-3"));
        let id = |text| DocumentId::parse(text).expect("legal");
        for (other, is_own) in [
            ("pulse-x", true),
            ("pulse-x-2", true),
            ("pulse-x-14", true),
            ("pulse-x-", false),
            ("pulse-x-2b", false),
            ("pulse-xy", false),
            ("pulse-y", false),
        ] {
            assert_eq!(first.is_of_same_loop(&id(other)), is_own, "{other}");
            assert_eq!(third.is_of_same_loop(&id(other)), is_own, "{other}");
        }
    }
}
