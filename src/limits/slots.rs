//! How many users are at work at the same time (`--concurrency`).
//!
//! Who only waits is not at work: a user who was told to wait, whose budget is used up, or who gets no answer gives the
//! slot up to another and takes one again afterwards. So one user's wait is nobody else's. Those who wait are bounded
//! as well, for the memory that they need.

use std::cell::RefCell;
use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

use crate::limits::patience::Patience;

/// Calls without an answer beside the users at work, in multiples of these.
const SILENT_CALLS: usize = 4;

/// Users who wait beside those at work, in multiples of these.
const WAITING: usize = 8;

/// How often it is looked whether a call has been waited for long enough, while it is being learned how long that is.
const LOOK_EVERY: Duration = Duration::from_millis(100);

tokio::task_local! {
    /// Of the user whose task it is. It goes with the task and not through arguments, as waits happen in every client.
    static OWN: Own;
}

/// The slots of a pass. A clone hands out the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    at_work: Arc<Semaphore>,
    silent: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    in_all: NonZeroUsize,
}

/// The right of one user to be at work.
#[derive(Debug)]
pub(crate) struct WorkSlot {
    slots: Slots,
    permit: OwnedSemaphorePermit,
}

/// Too many users wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded;

#[derive(Debug)]
struct Own {
    slots: Slots,
    /// Nothing while the user waits.
    permit: RefCell<Option<OwnedSemaphorePermit>>,
}

impl Slots {
    /// So many users at work.
    #[must_use]
    pub(crate) fn new(concurrency: NonZeroUsize) -> Self {
        let of = |times: usize| Arc::new(Semaphore::new(concurrency.get() * times));
        Self {
            at_work: of(1),
            silent: of(SILENT_CALLS),
            waiting: of(WAITING),
            in_all: concurrency.saturating_mul(NonZeroUsize::MIN.saturating_add(SILENT_CALLS + WAITING)),
        }
    }

    /// The most users who can be begun and not ended: at work, without an answer, waiting.
    #[must_use]
    pub(crate) fn in_all(&self) -> NonZeroUsize {
        self.in_all
    }

    /// Waits for a slot. Those who come back from a wait and those who begin take turns as they come.
    pub(crate) async fn take(&self) -> WorkSlot {
        WorkSlot { slots: self.clone(), permit: open(Arc::clone(&self.at_work).acquire_owned().await) }
    }
}

#[expect(clippy::expect_used, reason = "nothing ever closes the semaphores")]
fn open<T>(permit: Result<T, AcquireError>) -> T {
    permit.expect("open")
}

impl WorkSlot {
    /// Does a user's work with the slot. While it waits ([`wait_aside`], [`answer_within`]), the slot is free.
    ///
    /// No `async fn`, which would have room for the work twice: every user's task is that large.
    pub(crate) fn hold_during<T>(self, work: impl Future<Output = T>) -> impl Future<Output = T> {
        let Self { slots, permit } = self;
        OWN.scope(Own { slots, permit: RefCell::new(Some(permit)) }, work)
    }
}

/// Waits without holding a slot. A wait that is over at once gives nothing up; nor does one outside of a user's task.
///
/// # Errors
/// [`Crowded`], at once, when too many users wait already.
pub(crate) async fn wait_aside<T>(wait: impl Future<Output = T>) -> Result<T, Crowded> {
    let mut wait = pin!(wait);
    if let std::task::Poll::Ready(over) = futures::poll!(wait.as_mut()) {
        return Ok(over);
    }
    let aside = Aside::step()?;
    let over = wait.await;
    if let Some(aside) = aside {
        aside.back().await;
    }
    Ok(over)
}

/// Waits for an answer, at most `limit`. After the patience that such answers need, the slot is given up, as soon as not
/// too many wait like that. The answer is pinned by the caller, as a future that it is moved into has room for it twice.
///
/// # Errors
/// When there is no answer within the limit.
pub(crate) async fn answer_within<T>(
    limit: Duration,
    patience: &Patience,
    mut answer: impl Future<Output = T> + Unpin,
) -> Result<T, Elapsed> {
    let start = Instant::now();
    loop {
        let waited = start.elapsed();
        let left = patience.limit().min(limit).saturating_sub(waited);
        if left.is_zero() {
            break;
        }
        if let Ok(answer) = timeout(left.min(LOOK_EVERY), &mut answer).await {
            patience.learn(start.elapsed());
            return Ok(answer);
        }
    }
    let answer = aside_until(timeout(limit.saturating_sub(start.elapsed()), answer)).await;
    if answer.is_ok() {
        patience.learn(start.elapsed());
    }
    answer
}

/// Waits for an answer, from when there is room without a slot.
async fn aside_until<T>(answer: impl Future<Output = T>) -> T {
    let mut answer = pin!(answer);
    let aside = tokio::select! {
        biased;
        answer = &mut answer => return answer,
        aside = Aside::step_once_there_is_room() => aside,
    };
    let answer = answer.await;
    if let Some(aside) = aside {
        aside.back().await;
    }
    answer
}

/// A user who has given up the slot.
struct Aside {
    slots: Slots,
    place: OwnedSemaphorePermit,
}

impl Aside {
    /// Gives up the task's slot for a place among those who wait. Nothing is given up outside of a user's task, nor
    /// where another of the user's calls at the same time has given it up already.
    fn step() -> Result<Option<Self>, Crowded> {
        let Some(slots) = slots_of_holder() else { return Ok(None) };
        let place = Arc::clone(&slots.waiting).try_acquire_owned().map_err(|_| Crowded)?;
        Ok(Self::give_up(slots, place))
    }

    /// The same for a place among the calls without an answer, once one is free.
    async fn step_once_there_is_room() -> Option<Self> {
        let slots = slots_of_holder()?;
        let place = open(Arc::clone(&slots.silent).acquire_owned().await);
        Self::give_up(slots, place)
    }

    fn give_up(slots: Slots, place: OwnedSemaphorePermit) -> Option<Self> {
        let permit = OWN.try_with(|own| own.permit.take()).ok().flatten();
        permit.map(|_| Self { slots, place })
    }

    /// Takes a slot again. The place is another's from now on: who holds a slot may be waiting for it.
    async fn back(self) {
        drop(self.place);
        let WorkSlot { permit, .. } = self.slots.take().await;
        // Whoever stepped aside is in the task that owns the slot.
        let _ = OWN.try_with(|own| own.permit.borrow_mut().replace(permit));
    }
}

/// The slots of which the task holds one.
fn slots_of_holder() -> Option<Slots> {
    let holds = |own: &Own| own.permit.borrow().is_some().then(|| own.slots.clone());
    OWN.try_with(holds).ok().flatten()
}

#[cfg(test)]
mod tests;
