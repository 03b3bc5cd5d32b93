//! How many files the process may have open, and so how many connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::num::NonZeroUsize;
use tracing::warn;

/// Open files that are no users': the log, the runtime, connections to Firestore, lookups of names.
const RESERVE: u64 = 24;

/// Connections that one user at work may cost: a call under way, some that are waited for without a slot, and those that
/// are kept for the next user.
const FILES_PER_USER: u64 = 6;

/// As many users at once as there can be connections for, but no more than asked for. The limit is raised first as far
/// as the system lets it.
pub(crate) fn affordable(concurrency: NonZeroUsize) -> NonZeroUsize {
    let Some(limit) = raised() else { return concurrency };
    let bounded = bounded(concurrency, limit);
    if bounded < concurrency {
        warn!(
            "{bounded} users at once instead of {concurrency}: the process may have {limit} files open (ulimit -n), \
             and each user takes up to {FILES_PER_USER}"
        );
    }
    bounded
}

/// The limit; `None` when there is none.
fn raised() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}

fn bounded(concurrency: NonZeroUsize, limit: u64) -> NonZeroUsize {
    let users = limit.saturating_sub(RESERVE) / FILES_PER_USER;
    let users = usize::try_from(users).unwrap_or(usize::MAX);
    concurrency.min(NonZeroUsize::new(users).unwrap_or(NonZeroUsize::MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_decide_how_many_users_are_at_work() {
        for (limit, users) in [(0, 1), (24, 1), (35, 1), (64, 6), (256, 38), (1024, 64), (u64::MAX, 64)] {
            let asked = NonZeroUsize::new(64).expect("above 0");
            assert_eq!(bounded(asked, limit).get(), users, "{limit}");
        }
    }
}
