//! How a loop takes over from another: between two pulses, so that none comes twice and none is missed. All loops go by
//! the same points in time, the whole multiples of `--every`. Those before the end that a loop has recorded are its own,
//! and those from there on the next one's.

use crate::execution::ledger::ALIVE_FOR;
use crate::firestore::StoreError;
use crate::limits::retry::Deadline;
use crate::model::ids::DocumentId;
use crate::model::loop_claim::LoopClaim;
use crate::services::clients::Clients;
use crate::telemetry::Chain;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use tracing::warn;

/// A loop that has no longer to go is waited for.
const WAITED_FOR: SignedDuration = SignedDuration::from_mins(15);

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
    /// The other loop has this pulse and all that follow: there is nothing to take over.
    Leave(LoopClaim),
}

impl LoopTick {
    /// What to do; `is_at_work` is whether a pulse of the loop that claimed last is known to be running, or to have ended
    /// so late that the loop waits for its next one.
    #[must_use]
    pub(crate) fn hand_over(&self, last: Option<&LoopClaim>, is_at_work: bool, now: Timestamp) -> HandOver {
        let Some(last) = last else { return HandOver::Now };
        let may_be_waiting = now.duration_since(last.next_at) <= ALIVE_FOR;
        // By the point in time, not by the clock: who comes late for one has it all the same, and nobody else.
        let gave_up = last.ends_at <= last.due_at;
        let has_this = !gave_up && self.due_at < last.ends_at && (is_at_work || may_be_waiting);
        if last.id != self.claim.id && has_this {
            let ends_soon = last.ends_at.duration_since(now) <= WAITED_FOR;
            return match ends_soon && last.ends_at < self.claim.ends_at {
                true => HandOver::Wait(last.clone()),
                false => HandOver::Leave(last.clone()),
            };
        }
        match self.due_at <= last.due_at {
            true => HandOver::Done,
            false => HandOver::Now,
        }
    }
}

impl LoopClaim {
    /// Whether the loop waits for its next pulse, the last one having ended then: after a long one, that is a later one
    /// than it had claimed.
    #[must_use]
    pub(super) fn is_waiting_since(&self, ended_at: Timestamp, now: Timestamp) -> bool {
        let every = self.next_at.duration_since(self.due_at);
        ended_at >= self.next_at && now.duration_since(ended_at) <= every + ALIVE_FOR
    }
}

/// Gives up the points in time that a loop has left which was told to stop: whoever comes next need not wait to see that
/// it is gone.
pub(crate) async fn give_up(clients: &Clients, own: &DocumentId) {
    if let Err(err) = try_to_give_up(clients, own).await {
        warn!(
            error = err.code().as_str(),
            "The pulse could not be given up, so the next loop may take two minutes to begin: {}",
            Chain(&err)
        );
    }
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
