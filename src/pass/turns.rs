//! How the turns of a pass's users end, and the other turns of those who are set aside.

use crate::config::choices::UserLines;
use crate::execution::checkpoint::Checkpointer;
use crate::execution::progress::{Slot, UserResult};
use crate::limits::slots::WorkSlot;
use crate::model::outcome::Counts;
use crate::pass::admission::Admission;
use crate::pass::context::PassContext;
use crate::pass::fan_out::{Panicked, fan_out};
use crate::pass::log_lines::{tell_left_alone, tell_no_snapshot, tell_panicked};
use crate::pass::plan::{LeftAlone, PassRules, SyncPlan, decide};
use crate::pass::set_aside::{Lap, Otherwise, Rank, SetAside, TurnEnd};
use crate::pass::sync_outcome::SyncOutcome;
use crate::pass::sync_user::sync_user;
use crate::pass::tally::Tally;
use crate::pass::user_record::{UserRecord, UserRef};
use crate::shutdown::Stop;
use futures::{StreamExt, stream};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Before the other turns of those who failed: what made them fail has time to pass, however short the first lap was.
const PAUSE: Duration = Duration::from_secs(2);

/// What is done for a user in the first lap: who is known to have had no keys is set aside, if there is a place.
#[must_use]
pub(crate) fn first_plan(pass: &PassContext, record: &UserRecord, rules: &PassRules<'_>) -> SyncPlan {
    match decide(record, pass.kept_keys(record), rules) {
        SyncPlan::Sync(_)
            if !rules.is_named && record.is_known_without_keys() && pass.places.take_untried() =>
        {
            SyncPlan::SetAside
        }
        plan => plan,
    }
}

/// A user's place among those that the cursor passes, and who it is.
pub(crate) struct Begun {
    /// Their place in the order in which the cursor passes users.
    pub(crate) slot: Slot,
    /// Who it is.
    pub(crate) user: UserRef,
    /// Since when.
    pub(crate) since: Instant,
}

/// A user whose other turn has not ended.
struct Waiting {
    begun: Begun,
    otherwise: Otherwise,
    /// As what the user counts until it does.
    counted: UserResult,
}

/// Takes in how the turns of a pass's users end.
pub(crate) struct Turns<'a> {
    checkpointer: &'a Checkpointer,
    tally: Tally,
    lines: UserLines,
    set_aside: Vec<(Rank, Box<UserRecord>, Waiting)>,
}

impl<'a> Turns<'a> {
    /// Nobody's turn has ended.
    #[must_use]
    pub(crate) fn new(checkpointer: &'a Checkpointer, tally: Tally, lines: UserLines) -> Self {
        Self { checkpointer, tally, lines, set_aside: Vec::new() }
    }

    /// What became of the users so far.
    #[must_use]
    pub(crate) fn counts(&self) -> &Counts {
        &self.tally.counts
    }

    /// A user's first turn has ended.
    pub(crate) fn end(&mut self, begun: Begun, end: Result<TurnEnd, Panicked>) {
        let Begun { slot, user, since } = begun;
        match end {
            Ok(TurnEnd::SetAside(set_aside)) => {
                let SetAside { user: record, otherwise } = *set_aside;
                let counted = self.tally.for_now(&user, otherwise.counts_as());
                self.checkpointer.end(slot, counted);
                let begun = Begun { slot, user, since };
                self.set_aside.push((
                    otherwise.rank(&record.previous),
                    record,
                    Waiting { begun, otherwise, counted },
                ));
            }
            Ok(TurnEnd::Outcome(outcome)) => {
                self.checkpointer.end(slot, self.tally.add(user, outcome, since.elapsed()));
            }
            Err(Panicked) => {
                let outcome = panicked(&user);
                self.checkpointer.end(slot, self.tally.add(user, outcome, since.elapsed()));
            }
        }
    }

    /// The other turns of those who were set aside, unless the pass is told to stop. Returns what it has learned.
    pub(crate) async fn end_all(
        mut self,
        pass: &Arc<PassContext>,
        admission: &Admission,
        stop: &Stop,
    ) -> Tally {
        let mut set_aside = std::mem::take(&mut self.set_aside);
        set_aside.sort_by_key(|(rank, ..)| *rank);
        let (records, mut waiting): (Vec<_>, Vec<_>) =
            set_aside.into_iter().map(|(_, record, waiting)| (record, Some(waiting))).unzip();
        let laps: Vec<_> = waiting.iter().flatten().map(|waiting| waiting.otherwise.lap()).collect();
        if laps.iter().any(|lap| matches!(lap, Lap::Second(_))) {
            let _ = stop.run_until_stopped(sleep(PAUSE)).await;
        }
        pass.clients.begin_lap();
        let rules = pass.rules();
        let users =
            stream::iter(records.into_iter().zip(laps).enumerate()).then(async |(n, (record, lap))| {
                let plan = decide(&record, pass.kept_keys(&record), &rules);
                let slot = admission.admit_again(plan.permits()).await;
                (n, (slot, record, plan, lap))
            });
        let sync = |(slot, record, plan, lap): (WorkSlot, _, _, _)| {
            slot.hold_during(sync_user(Arc::clone(pass), record, plan, lap))
        };
        fan_out(users, pass.slots.in_all(), stop, sync, |n: usize, end| {
            if let Some(waiting) = waiting[n].take() {
                self.end_again(waiting, end);
            }
        })
        .await;
        for Waiting { begun, otherwise, counted } in waiting.into_iter().flatten() {
            let outcome = end_without_turn(otherwise, &begun.user, self.lines);
            self.revise(begun, counted, outcome);
        }
        self.tally
    }

    fn end_again(&mut self, waiting: Waiting, end: Result<TurnEnd, Panicked>) {
        let Waiting { begun, counted, .. } = waiting;
        let outcome = match end {
            Ok(TurnEnd::Outcome(outcome)) => outcome,
            // Nobody has a third turn.
            Ok(TurnEnd::SetAside(set_aside)) => {
                end_without_turn(set_aside.otherwise, &begun.user, self.lines)
            }
            Err(Panicked) => panicked(&begun.user),
        };
        self.revise(begun, counted, outcome);
    }

    fn revise(&mut self, begun: Begun, counted: UserResult, outcome: SyncOutcome) {
        let result = self.tally.add(begun.user, outcome, begun.since.elapsed());
        self.checkpointer.revise(begun.slot, counted, result);
    }
}

/// A bug: the task of this user's sync panicked.
fn panicked(user: &UserRef) -> SyncOutcome {
    tell_panicked(&user.id);
    SyncOutcome::Panicked
}

/// The pass ends before the other turn. The log says so; nothing is recorded, which takes time.
fn end_without_turn(otherwise: Otherwise, user: &UserRef, lines: UserLines) -> SyncOutcome {
    match otherwise {
        Otherwise::Failed(failure, judged, start) => {
            tell_no_snapshot(user, &failure, judged.counts_as, start, lines);
            SyncOutcome::NoSnapshot(judged)
        }
        Otherwise::NotLookedAt => {
            tell_left_alone(user, LeftAlone::NotLookedAt, Instant::now(), lines);
            SyncOutcome::LeftAlone(LeftAlone::NotLookedAt)
        }
    }
}
