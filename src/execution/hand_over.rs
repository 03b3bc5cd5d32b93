//! How a loop takes over from another: between two pulses, so that none comes twice and none is missed. All loops go by
//! the same points in time, the whole multiples of `--every`. Those before the end that a loop has recorded are its own,
//! and those from there on the next one's.

use crate::execution::ledger::ALIVE_FOR;
use crate::firestore::StoreError;
use crate::limits::retry::Deadline;
use crate::model::ids::DocumentId;
use crate::model::loop_claim::LoopClaim;
use crate::services::clients::Clients;
use crate::shutdown::Stop;
use crate::telemetry::Chain;
use jiff::{SignedDuration, Timestamp};
use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;
use tracing::warn;

/// A loop that has no longer to go is waited for. So often the job is started, so one of the starts sees it.
const WAITED_FOR: SignedDuration = SignedDuration::from_mins(15);

/// A loop claims no point in time before that has come, but its clock may be so far ahead of Firestore's.
const AHEAD: SignedDuration = SignedDuration::from_secs(60);

/// For giving the pulse up: a process that was told to stop has little time.
const GIVE_UP_BUDGET: Duration = Duration::from_secs(2);

/// A pulse of a loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoopTick {
    /// The point in time that it is for.
    pub(crate) due_at: Timestamp,
    /// What its claim says of the loop.
    pub(crate) claim: LoopClaim,
}

/// What a loop is to do at one of its points in time about the loop that claimed last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HandOver {
    /// It has the pulse.
    Now,
    /// That point in time had its pulse.
    Done,
    /// The other loop has this pulse, and soon none any more.
    Wait(LoopClaim),
    /// The other loop has this pulse, and whether it is alive only its next one will show, soon: that is whoever's that
    /// claims it first.
    StandBy(LoopClaim),
    /// The other loop has this pulse and all that follow: there is nothing to take over.
    Leave(LoopClaim),
    /// It took itself for no loop's, as no server had said how late it is, and one has by now: it is to find its point in
    /// time.
    Reckon,
}

impl LoopTick {
    /// What to do; `is_at_work` is whether a pulse of the loop that claimed last is known to be running, or to have ended
    /// so late that the loop waits for its next one.
    #[must_use]
    pub(crate) fn hand_over(&self, last: Option<&LoopClaim>, is_at_work: bool, now: Timestamp) -> HandOver {
        let Some(last) = last.filter(|last| last.is_possible(now)) else { return HandOver::Now };
        let may_be_waiting = last.may_be_waiting(self, now);
        // By the point in time, not by the clock: who comes late for one has it all the same, and nobody else.
        let has_this = !last.gave_up() && self.due_at < last.ends_at && (is_at_work || may_be_waiting);
        if last.id != self.claim.id && has_this {
            return self.left_to(last, now);
        }
        match self.due_at <= last.due_at {
            true => HandOver::Done,
            false => HandOver::Now,
        }
    }

    /// What to do about a loop that has this pulse.
    fn left_to(&self, last: &LoopClaim, now: Timestamp) -> HandOver {
        let comes_soon = |at: Timestamp| at.duration_since(now) <= WAITED_FOR && at < self.claim.ends_at;
        let last = last.clone();
        match last.is_seldom_seen() && comes_soon(last.next_at) {
            _ if comes_soon(last.ends_at) => HandOver::Wait(last),
            true => HandOver::StandBy(last),
            false => HandOver::Leave(last),
        }
    }
}

impl LoopClaim {
    /// Whether a loop can have claimed that. What cannot be is not waited for: that would be for ever.
    #[must_use]
    pub(super) fn is_possible(&self, now: Timestamp) -> bool {
        self.due_at.duration_since(now) <= AHEAD
    }

    /// Whether the loop was told to stop, and has said so.
    fn gave_up(&self) -> bool {
        self.ends_at <= self.due_at
    }

    /// Whether the loop may be waiting for its next pulse, and have this one of another loop.
    fn may_be_waiting(&self, other: &LoopTick, now: Timestamp) -> bool {
        match self.is_seldom_seen() {
            // One with a shorter period has pulses in between, and does not wait to see whether this one is alive.
            true => other.due_at < self.next_at && other.claim.every() >= self.every(),
            false => now.duration_since(self.next_at) <= ALIVE_FOR,
        }
    }

    /// Whether it gives no sign of life for longer than a dead loop is to be believed.
    fn is_seldom_seen(&self) -> bool {
        self.every() > WAITED_FOR
    }

    fn every(&self) -> SignedDuration {
        self.next_at.duration_since(self.due_at)
    }

    /// Whether the loop waits for its next pulse, the last one having ended then: after a long one, that is a later one
    /// than it had claimed.
    #[must_use]
    pub(super) fn is_waiting_since(&self, ended_at: Timestamp, now: Timestamp) -> bool {
        let wait = self.every().min(WAITED_FOR);
        ended_at >= self.next_at && now.duration_since(ended_at) <= wait + ALIVE_FOR
    }
}

/// Runs that loop to its end, and once it is told to stop gives up the points in time that it has left: whoever comes next
/// need not wait to see that it is gone.
pub(crate) async fn until_given_up<T>(
    clients: &Clients,
    own: &DocumentId,
    stop: &Stop,
    passes: impl Future<Output = T>,
) -> T {
    giving_up(stop, passes, async || try_to_give_up(clients, own).await).await
}

async fn giving_up<T>(
    stop: &Stop,
    passes: impl Future<Output = T>,
    give_up: impl AsyncFn() -> Result<(), StoreError>,
) -> T {
    let give_up_at_once = async {
        stop.signalled().await;
        // Who comes while the last pulse still runs would leave all others to this loop. What fails is tried again.
        let _ = give_up().await;
        pending::<Infallible>().await
    };
    let outcome = tokio::select! {
        outcome = passes => outcome,
        never = give_up_at_once => match never {},
    };
    // Again, as a claim may have been on its way.
    if stop.signal().is_some()
        && let Err(err) = give_up().await
    {
        warn!(
            error = err.code().as_str(),
            "The pulse could not be given up, so the next loop may take two minutes to begin: {}",
            Chain(&err)
        );
    }
    outcome
}

async fn try_to_give_up(clients: &Clients, own: &DocumentId) -> Result<(), StoreError> {
    let (store, deadline) = (&clients.store, Deadline::after(GIVE_UP_BUDGET));
    let current = store.current_pulse(deadline).await?;
    let Some(given_up) = current.given_up_by(own, store.database()) else { return Ok(()) };
    match store.commit(&[given_up], deadline).await {
        // Another one has claimed meanwhile.
        Err(StoreError::Conflict(_)) => Ok(()),
        result => result.map(|_| ()),
    }
}

#[cfg(test)]
mod tests;
