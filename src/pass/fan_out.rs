//! Many users at the same time, but never more than allowed, and none able to take the others down.

use crate::shutdown::{DRAIN_LIMIT, Stop};
use futures::{Stream, StreamExt, stream};
use std::cell::Cell;
use std::future::Future;
use std::num::NonZeroUsize;
use std::task::Poll;
use tokio_util::task::AbortOnDropHandle;

/// A user's task panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

/// How a fan-out ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FanOutEnd {
    /// Every item was worked on.
    Complete,
    /// Told to stop; what was in flight is finished.
    Stopped,
    /// Told to stop; what was in flight took too long and was given up: those users count as not reached. A retry syncs
    /// them.
    CutOff,
}

impl FanOutEnd {
    /// Whether every item was worked on.
    #[must_use]
    pub(crate) fn is_complete(self) -> bool {
        self == Self::Complete
    }
}

/// Runs `task` for every item, each in a task of its own so that a panic is nobody else's, at most
/// `concurrency` at a time. Results arrive at `done` with the item's key, in the order they end.
pub(crate) async fn fan_out<K, T, R, F>(
    items: impl Stream<Item = (K, T)>,
    concurrency: NonZeroUsize,
    stop: &Stop,
    task: impl Fn(T) -> F,
    mut done: impl FnMut(K, Result<R, Panicked>),
) -> FanOutEnd
where
    F: Future<Output = R> + Send + 'static,
    R: Send + 'static,
{
    let exhausted = Cell::new(false);
    let end = stream::poll_fn(|_| {
        exhausted.set(true);
        Poll::Ready(None)
    });
    let work = until(stop, items.chain(end))
        .map(|(key, item)| {
            let running = AbortOnDropHandle::new(tokio::spawn(task(item)));
            async move { (key, running.await.map_err(|_| Panicked)) }
        })
        .buffer_unordered(concurrency.get())
        .for_each(|(key, result)| {
            done(key, result);
            std::future::ready(())
        });
    let patience = async {
        stop.requested().await;
        tokio::time::sleep(DRAIN_LIMIT).await;
    };
    tokio::select! {
        () = work => if exhausted.get() { FanOutEnd::Complete } else { FanOutEnd::Stopped },
        () = patience => FanOutEnd::CutOff,
    }
}

/// The items until it is told to stop. Whoever waits to be one then is dropped: in a queue, they are in nobody's way.
fn until<T>(stop: &Stop, items: impl Stream<Item = T>) -> impl Stream<Item = T> {
    let mut told = Box::pin(stop.requested());
    let mut items = Some(Box::pin(items));
    stream::poll_fn(move |context| {
        if items.is_some() && told.as_mut().poll(context).is_ready() {
            items = None;
        }
        items.as_mut().map_or(Poll::Ready(None), |items| items.as_mut().poll_next(context))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown::StopSignal;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::sync::{Barrier, OwnedSemaphorePermit, Semaphore};

    fn at_most(concurrency: usize) -> NonZeroUsize {
        NonZeroUsize::new(concurrency).expect("above 0")
    }

    fn numbers(count: usize) -> impl Stream<Item = (usize, usize)> {
        stream::iter((0..count).map(|n| (n, n)))
    }

    #[tokio::test]
    async fn a_panic_is_that_items_result_and_nobody_elses() {
        let mut results = BTreeMap::new();
        let task = |n| async move { if n == 2 { panic!("a bug") } else { n * 10 } };
        let ended = fan_out(numbers(5), at_most(2), &Stop::default(), task, |n, result| {
            results.extend([(n, result)])
        })
        .await;
        assert_eq!(ended, FanOutEnd::Complete);
        let expected = [(0, Ok(0)), (1, Ok(10)), (2, Err(Panicked)), (3, Ok(30)), (4, Ok(40))];
        assert_eq!(results, BTreeMap::from(expected));
    }

    #[tokio::test]
    async fn as_many_run_at_once_as_allowed_and_no_more() {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        // Nobody passes the barrier unless four are at it together.
        let barrier = Arc::new(Barrier::new(4));
        let task = |_| {
            let (running, most, barrier) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&barrier));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                barrier.wait().await;
                running.fetch_sub(1, Ordering::SeqCst);
            }
        };
        fan_out(numbers(40), at_most(4), &Stop::default(), task, |_, _| ()).await;
        assert_eq!(most.load(Ordering::SeqCst), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_starts_nothing_new_and_finishes_what_is_in_flight() {
        let stop = Stop::default();
        let mut finished = Vec::new();
        let task = |n: usize| {
            let stop = stop.clone();
            async move {
                stop.request(StopSignal::Terminate);
                tokio::time::sleep(Duration::from_secs(5)).await;
                n
            }
        };
        let ended = fan_out(numbers(100), at_most(3), &stop, task, |n, _| finished.push(n)).await;
        assert_eq!(ended, FanOutEnd::Stopped);
        assert!((1..=3).contains(&finished.len()), "{finished:?}");
    }

    /// Who is at work may give their place up for a while, and take one again: also when the next one waits for it.
    #[tokio::test(start_paused = true)]
    async fn who_waits_to_be_begun_at_a_stop_takes_no_place() {
        let (stop, places, mut finished) = (Stop::default(), Arc::new(Semaphore::new(1)), Vec::new());
        let take = || Arc::clone(&places).acquire_owned();
        let items = numbers(9).then(async |(n, _)| (n, take().await));
        let task = |place: Result<OwnedSemaphorePermit, _>| {
            let (stop, another) = (stop.clone(), take());
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                stop.request(StopSignal::Terminate);
                tokio::time::sleep(Duration::from_secs(1)).await;
                drop(place);
                another.await.is_ok()
            }
        };
        let ended = fan_out(items, at_most(3), &stop, task, |n, result| finished.push((n, result))).await;
        assert_eq!((ended, finished), (FanOutEnd::Stopped, vec![(0, Ok(true))]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_still_in_flight_at_the_limit_is_cut_off() {
        let (stop, start) = (Stop::default(), tokio::time::Instant::now());
        let task = |_| {
            stop.request(StopSignal::Interrupt);
            std::future::pending::<()>()
        };
        let ended = fan_out(numbers(1), at_most(3), &stop, task, |_, _| ()).await;
        assert_eq!((ended, start.elapsed()), (FanOutEnd::CutOff, DRAIN_LIMIT));
    }
}
