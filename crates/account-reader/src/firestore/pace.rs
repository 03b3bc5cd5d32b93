//! How programs that propose for the same user get out of one another's way.

use super::error::Error;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// For how long a contended proposal is tried again, from the call on.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest pause before the second try, and before any. Who had to give way pauses for any part of it, so that the
/// same ones do not meet again. To meet costs more than to pause: Firestore lets both wait before it sends one away.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(6);

/// The longest pause before each try of a lane. None while nobody is met, three times as long when somebody is, and a
/// quarter less after each try at which nobody is: who proposes next in the lane has the same others around.
#[derive(Debug, Default)]
pub(super) struct Pace {
    longest: Duration,
}

impl Pace {
    /// Tries until nobody else comes first, or patience is over; once in any case.
    pub(super) async fn try_for<T>(
        &mut self,
        called: Instant,
        mut attempt: impl AsyncFnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        loop {
            self.pause(called).await;
            let result = attempt().await;
            let is_contended = matches!(result, Err(Error::Contended(_)));
            self.adapt(is_contended);
            if !is_contended || called.elapsed() >= PATIENCE {
                return result;
            }
        }
    }

    async fn pause(&self, called: Instant) {
        let pause = self.longest.mul_f64(fastrand::f64());
        let pause = pause.min(PATIENCE.saturating_sub(called.elapsed()));
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }

    fn adapt(&mut self, is_contended: bool) {
        let shorter = self.longest * 3 / 4;
        self.longest = match is_contended {
            true => (self.longest * 3).clamp(FIRST_PAUSE, LONGEST_PAUSE),
            false if shorter < FIRST_PAUSE / 2 => Duration::ZERO,
            false => shorter,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::firestore::errors::{FirestoreError, FirestoreErrorPublicGenericDetails, FirestoreSystemError};

    fn contended() -> Error {
        let public = FirestoreErrorPublicGenericDetails::new("Aborted".to_owned());
        Error::Contended(FirestoreError::SystemError(FirestoreSystemError::new(public, String::new())))
    }

    /// How often it is tried, and for how long, by who called that long ago and takes a second for each try.
    async fn tries(pace: &mut Pace, waited: Duration, contended_tries: usize) -> (usize, Duration, bool) {
        let begin = Instant::now();
        let mut count = 0;
        let tried = pace.try_for(begin - waited, async || {
            sleep(Duration::from_secs(1)).await;
            count += 1;
            if count > contended_tries { Ok(()) } else { Err(contended()) }
        });
        let is_done = tried.await.is_ok();
        (count, begin.elapsed(), is_done)
    }

    #[tokio::test(start_paused = true)]
    async fn patience_is_counted_from_the_call() {
        for waited in [0, 10, 25].map(Duration::from_secs) {
            let (count, took, is_done) = tries(&mut Pace::default(), waited, usize::MAX).await;
            assert!(!is_done && count > 1, "{waited:?}: {count}");
            let most = PATIENCE - waited + Duration::from_secs(2);
            assert!(PATIENCE - waited <= took && took <= most, "{waited:?}: {took:?}");
        }
        let (count, ..) = tries(&mut Pace::default(), Duration::from_secs(31), usize::MAX).await;
        assert_eq!(count, 1, "whoever waited for longer than that is tried once");
        let (count, _, is_done) = tries(&mut Pace::default(), Duration::from_secs(31), 0).await;
        assert!(count == 1 && is_done);
    }

    #[tokio::test(start_paused = true)]
    async fn who_meets_nobody_never_pauses() {
        let mut pace = Pace::default();
        for _ in 0..3 {
            assert_eq!(tries(&mut pace, Duration::ZERO, 0).await.1.as_secs(), 1);
        }
        assert!(pace.longest.is_zero());
    }

    #[test]
    fn a_lane_keeps_its_distance_for_a_while() {
        let mut pace = Pace::default();
        let mut longest = |is_contended| {
            pace.adapt(is_contended);
            pace.longest.as_millis()
        };
        assert_eq!([(); 5].map(|()| longest(true)), [500, 1500, 4500, 6000, 6000]);
        assert_eq!([(); 4].map(|()| longest(false)), [4500, 3375, 2531, 1898]);
        let rest = [(); 9].map(|()| longest(false));
        assert_eq!(rest[6..], [253, 0, 0]);
    }
}
