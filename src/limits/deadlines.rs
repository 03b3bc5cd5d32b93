//! The budgets of time, each with its name and what it is for.

use std::time::Duration;

/// For joining an execution, all tries together.
pub(crate) const JOIN_BUDGET: Duration = Duration::from_secs(20);

/// For finding out whether anything is left to do: where that takes long, it is better to begin.
pub(crate) const DONE_BUDGET: Duration = Duration::from_secs(3);

/// A task's cursor is saved at least this often.
pub(crate) const SAVE_EVERY: Duration = Duration::from_secs(10);

/// For one save of the cursor, and for one look at the others' ledger, all tries together.
pub(crate) const SAVE_BUDGET: Duration = Duration::from_secs(8);

/// For a save that is under way when the process is told to stop.
pub(crate) const LAST_SAVE_WAIT: Duration = Duration::from_millis(500);

/// How long the other tasks are waited for where the few users of this one do not tell whose fault their
/// rejections are.
pub(crate) const WAIT_FOR_OTHERS: Duration = Duration::from_secs(5);

/// How often the ledger is read meanwhile.
pub(crate) const LOOK_AT_OTHERS_EVERY: Duration = Duration::from_millis(250);
