//! The times of a pass and of a loop, which have to fit in each other.

use crate::config::args::SyncArgs;
use crate::shutdown::last_start;

const SPREAD_PAST_DEADLINE: &str = "--spread must end when the last users are started, 10s before --deadline or at half \
                                    of it, where that is later";
const SPREAD_PAST_NEXT: &str = "--spread must be shorter than --every: the next pulse would be skipped";
const DEADLINE_IN_LOOP: &str = "--deadline is about the whole process, and would end the loop before --for does: set it \
                                above --for";

/// Why these times do not fit, if they do not.
pub(super) fn misfits(args: &SyncArgs) -> impl Iterator<Item = &'static str> {
    let SyncArgs { spread, deadline, every, length, .. } = args;
    let is_past_deadline =
        spread.zip(*deadline).is_some_and(|(spread, deadline)| spread > last_start(deadline));
    let is_past_next = spread.zip(*every).is_some_and(|(spread, every)| spread >= every);
    let is_in_loop = length.zip(*deadline).is_some_and(|(length, deadline)| deadline < length);
    let misfits = [
        (is_past_deadline, SPREAD_PAST_DEADLINE),
        (is_past_next, SPREAD_PAST_NEXT),
        (is_in_loop, DEADLINE_IN_LOOP),
    ];
    misfits.into_iter().filter(|(is_so, _)| *is_so).map(|(_, reason)| reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_spread_and_a_deadline_must_fit_in_what_is_around_them() {
        let seconds = |time: Option<u64>| time.map(Duration::from_secs);
        for (spread, deadline, every, length, expected) in [
            (Some(40), Some(50), None, None, None),
            (Some(41), Some(50), None, None, Some(SPREAD_PAST_DEADLINE)),
            (Some(59), None, Some(60), Some(840), None),
            (Some(60), None, Some(60), Some(840), Some(SPREAD_PAST_NEXT)),
            (None, Some(840), Some(60), Some(840), None),
            (None, Some(839), Some(60), Some(840), Some(DEADLINE_IN_LOOP)),
            (None, Some(50), Some(60), Some(840), Some(DEADLINE_IN_LOOP)),
            (Some(3600), None, None, None, None),
        ] {
            let args = SyncArgs {
                spread: seconds(spread),
                deadline: seconds(deadline),
                every: seconds(every),
                length: seconds(length),
                ..SyncArgs::default()
            };
            assert_eq!(misfits(&args).next(), expected, "{spread:?} {deadline:?} {every:?} {length:?}");
            assert!(misfits(&args).count() <= 1);
        }
    }
}
