//! One user's sync as a person's own run, outside any pass.

use crate::firestore::StoreError;
use crate::limits::deadlines::USER_BUDGET;
use crate::limits::retry::Deadline;
use crate::model::ids::DocumentId;
use crate::model::outcome::{Code, Outcome};
use crate::model::recheck::RecheckSchedule;
use crate::pass::context::PassContext;
use crate::pass::plan::{LeftAlone, decide};
use crate::pass::set_aside::{Lap, TurnEnd};
use crate::pass::sync_outcome::SyncOutcome;
use crate::pass::sync_user::sync_user;
use crate::services::clients::Clients;
use crate::services::secret_manager::StoredKeys;
use std::sync::Arc;
use tokio::time::Instant;

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnRun {
    /// The snapshot is fresh.
    Synced,
    /// `sync_enabled` is not true.
    Paused,
    /// The account is not open yet, and has no figures.
    NotOpen,
    /// It failed, for this.
    Failed(Code),
}

/// Syncs the user as [`sync_user()`] does in a pass for named users: with these keys, else with the newest ones.
pub(crate) async fn sync_now(
    clients: &Arc<Clients>,
    user: &DocumentId,
    keys: Option<&Arc<StoredKeys>>,
) -> Result<OwnRun, StoreError> {
    let (now, start) = (clients.store.clock().now(), Instant::now());
    let schedule = RecheckSchedule { previous: None, now };
    let pass = PassContext::new(Arc::clone(clients), Arc::default(), schedule, (start, start));
    let Some(record) = pass.page_reader().named(std::slice::from_ref(user)).await?.pop() else {
        return Ok(OwnRun::Failed(Code::UserUnknown));
    };
    let plan = decide(&record, keys.map(Arc::downgrade), &pass.rules());
    clients.limits.allow_by(plan.permits(), Deadline::after(USER_BUDGET)).await?;
    match sync_user(Arc::new(pass), Box::new(record), plan, Lap::Last).await {
        TurnEnd::Outcome(outcome) => Ok(OwnRun::of(outcome)),
        // Only for want of a service that answers nobody, and the last lap has none.
        TurnEnd::SetAside(_) => Ok(OwnRun::Failed(Code::BrokerUnavailable)),
    }
}

impl OwnRun {
    fn of(outcome: SyncOutcome) -> Self {
        match (&outcome, outcome.counts_as()) {
            (SyncOutcome::LeftAlone(LeftAlone::Paused | LeftAlone::UnreadableSwitch), _) => Self::Paused,
            (_, Outcome::Synced) => Self::Synced,
            (_, Outcome::Failed(code)) => Self::Failed(code),
            (_, Outcome::NeedsReauth) => Self::Failed(Code::BrokerRejected),
            (_, Outcome::Skipped) => Self::NotOpen,
        }
    }
}
