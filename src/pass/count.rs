//! How many users a pass is about, and how many of them it did not reach.

use crate::config::Config;
use crate::config::filter::UserFilter;
use crate::firestore::query::Pages;
use crate::firestore::{Store, StoreError};
use crate::limits::deadlines::{COUNT_BUDGET, LEAST_COUNT_BUDGET};
use crate::limits::retry::Deadline;
use crate::model::outcome::Counts;
use crate::model::selection::{Round, Selection};
use crate::pass::admission::{Reached, Spread};
use crate::pass::context::PassContext;
use crate::services::clients::Clients;
use crate::shutdown::{DRAIN_LIMIT, Stop};
use crate::telemetry::{Chain, Progress, SILENCE};
use std::fmt;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tracing::warn;

/// The users who were not done before the deadline: not started, or given up in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreached {
    /// So many users.
    Users(u64),
    /// They could not be counted.
    Unknown,
}

impl Unreached {
    /// With those who were given up in flight.
    #[must_use]
    pub(crate) fn and(self, given_up: u64) -> Self {
        match self {
            Self::Users(count) => Self::Users(count + given_up),
            Self::Unknown => Self::Unknown,
        }
    }

    /// How many, if that is known.
    #[must_use]
    pub(crate) fn count(self) -> Option<u64> {
        match self {
            Self::Users(count) => Some(count),
            Self::Unknown => None,
        }
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Users(count) => write!(f, "{count}")?,
            Self::Unknown => write!(f, "the other")?,
        }
        write!(f, " users were not reached before the deadline")
    }
}

/// Spreads the users of a round over the time that `--spread` gives, from the start of the pass; nobody who was named
/// is kept waiting.
pub(crate) async fn spread(pass: &PassContext, selection: &Selection) -> Option<Spread> {
    let Config { spread: window, filter, .. } = &pass.clients.config;
    let (Some(window), Selection::Round(round)) = (*window, selection) else { return None };
    match count(&pass.clients.store, round, filter, Deadline::after(COUNT_BUDGET)).await {
        Ok(users) => Some(Spread { start: pass.start, window, users }),
        Err(err) => {
            warn!(
                error = err.code().as_str(),
                "Could not count the users, so their starts are not spread: {}",
                Chain(&err)
            );
            None
        }
    }
}

/// A pass's line of progress; once it is dropped, nobody draws it.
pub(crate) struct Told {
    progress: Progress,
    counting: Option<JoinHandle<()>>,
}

impl Told {
    /// How far the pass is.
    pub(crate) fn tell(&self, counts: &Counts) {
        self.progress.set(counts.users(), counts.error());
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.progress.end();
        if let Some(counting) = &self.counting {
            counting.abort();
        }
    }
}

/// Shows the progress of a pass to whoever watches. The users are counted only for a pass that takes long.
pub(crate) fn progress(pass: &Arc<PassContext>, selection: &Selection) -> Option<Told> {
    let progress = Progress::begin()?;
    let round = match selection {
        Selection::Named(users) => {
            progress.set_total(users.len() as u64);
            return Some(Told { progress, counting: None });
        }
        Selection::Round(round) => round.clone(),
    };
    let (pass, shared) = (Arc::clone(pass), progress.share());
    let counting = tokio::spawn(async move {
        tokio::time::sleep(SILENCE).await;
        let Clients { store, config, .. } = &*pass.clients;
        // Without a total the line says less.
        if let Ok(users) = count(store, &round, &config.filter, Deadline::after(COUNT_BUDGET)).await {
            shared.set_total(users);
        }
    });
    Some(Told { progress, counting: Some(counting) })
}

/// Counts the users who come after those that were reached, where it was the deadline that stopped the pass: in what
/// the drain has left of its time since then. Those who were reached and given up in flight are not among them.
pub(crate) async fn unreached(
    clients: &Clients,
    selection: &Selection,
    reached: Reached,
    stop: &Stop,
) -> Option<Unreached> {
    let told = stop.deadline()?;
    let round = match selection {
        Selection::Named(users) => {
            return Some(Unreached::Users((users.len() as u64).saturating_sub(reached.users)));
        }
        Selection::Round(round) => round,
    };
    let rest = round.rest(reached.last.as_ref());
    let budget = DRAIN_LIMIT.saturating_sub(told.elapsed()).max(LEAST_COUNT_BUDGET);
    let count = count(&clients.store, &rest, &clients.config.filter, Deadline::after(budget));
    Some(match count.await {
        Ok(users) => Unreached::Users(users),
        Err(err) => {
            warn!(
                error = err.code().as_str(),
                "Could not count the users who were not reached: {}",
                Chain(&err)
            );
            Unreached::Unknown
        }
    })
}

async fn count(
    store: &Store,
    round: &Round,
    filter: &UserFilter,
    deadline: Deadline,
) -> Result<u64, StoreError> {
    let mut users = 0;
    for range in round.ranges() {
        users += Pages::of_users(store.database(), range, filter).count(store, deadline).await?;
    }
    Ok(users)
}
