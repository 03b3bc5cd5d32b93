//! The budgets of time of a user and of a pass, by name: how long all calls of one kind may take together, and what
//! is kept back for later. They are here together because each takes from another; any other time stands in the file
//! that uses it.

use std::time::Duration;

/// All of one user's calls and waits together: a user who takes longer is late anyway, and holds a
/// slot that others could use.
pub(crate) const USER_BUDGET: Duration = Duration::from_secs(20);

/// The part of a user's budget that is kept for recording why there is no snapshot.
pub(crate) const RECORD_RESERVE: Duration = Duration::from_secs(3);

/// The part of a user's budget that is kept for the snapshot when more is read about a tenant: half of what is left, if
/// that is less.
pub(crate) const COMMIT_RESERVE: Duration = Duration::from_secs(6);

/// The part of a user's budget that is kept for the snapshot alone, when it cannot be committed with the
/// other documents: as long as one commit may take.
pub(crate) const ALONE_RESERVE: Duration = Duration::from_secs(5);

/// For counting users before they are started. A pass that has to do without the count is as good,
/// only not spread.
pub(crate) const COUNT_BUDGET: Duration = Duration::from_secs(8);

/// The least for counting those who were not reached, when the drain has taken all of its time.
pub(crate) const LEAST_COUNT_BUDGET: Duration = Duration::from_millis(500);

/// For reading, at the end of a pass, when those last succeeded who came into trouble in it. What could not be
/// read by then is taken for the worst.
pub(crate) const LOOK_BACK_BUDGET: Duration = Duration::from_secs(5);

/// The same from the moment the process is told to stop: a third of what the closing may take then.
pub(crate) const LOOK_BACK_LIMIT: Duration = Duration::from_millis(500);

/// The part of the end of a pass that is kept for `ops/last_pulse`.
pub(crate) const PUBLISH_RESERVE: Duration = Duration::from_secs(8);
