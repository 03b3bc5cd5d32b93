//! What the pass writes through, and what alone knows in it whether this is a dry run.

use crate::firestore::write::Write;
use crate::firestore::{Committed, Store, StoreError};
use crate::limits::rate::RateLimits;
use crate::limits::retry::Deadline;
use std::sync::Arc;

/// Commits writes, or only says that it would.
#[derive(Clone, Debug)]
pub(crate) enum Writer {
    /// Commits them.
    Commits { store: Arc<Store>, limits: Arc<RateLimits> },
    /// Leaves everything as it is, and takes all writes for made: a dry run.
    DryRun,
}

impl Writer {
    /// The one for this run.
    #[must_use]
    pub(crate) fn new(is_dry_run: bool, store: &Arc<Store>, limits: &Arc<RateLimits>) -> Self {
        match is_dry_run {
            true => Self::DryRun,
            false => Self::Commits { store: Arc::clone(store), limits: Arc::clone(limits) },
        }
    }

    /// Whether it commits at all. What is read only to be written over need not be read for a dry run.
    #[must_use]
    pub(crate) fn commits(&self) -> bool {
        matches!(self, Self::Commits { .. })
    }

    /// Whether writes have to be allowed before they are committed.
    #[must_use]
    pub(crate) fn needs_permits(&self) -> bool {
        matches!(self, Self::Commits { limits, .. } if limits.limits_writes())
    }

    /// All or none of the writes, once the limits allow them.
    pub(crate) async fn commit(&self, writes: &[Write], deadline: Deadline) -> Result<(), StoreError> {
        match self {
            Self::Commits { store, .. } => store.commit(writes, deadline).await,
            Self::DryRun => Ok(()),
        }
    }

    /// The same, of which the limits have already allowed so many attempts. Tells what the documents have become.
    pub(crate) async fn commit_after(
        &self,
        allowed: u32,
        writes: &[Write],
        deadline: Deadline,
    ) -> Result<Committed, StoreError> {
        match self {
            Self::Commits { store, .. } => store.commit_after(allowed, writes, deadline).await,
            Self::DryRun => Ok(Committed::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_dry_run_takes_everything_for_written_and_needs_no_permits() {
        let (writer, deadline) = (Writer::DryRun, Deadline::after(Duration::ZERO));
        assert!(!writer.commits() && !writer.needs_permits());
        assert!(writer.commit(&[], deadline).await.is_ok());
        assert!(writer.commit_after(1, &[], deadline).await.is_ok());
    }
}
