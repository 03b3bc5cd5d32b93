//! What deleted users have left: the record of their trouble, which would be read in every pass for ever.

use crate::limits::retry::Deadline;
use crate::model::ids::DocumentId;
use crate::pass::state_records::commit_all_but_refused;
use crate::services::clients::Clients;
use crate::telemetry::Chain;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tracing::{info, warn};

/// So many are removed in one pass; those beyond are in the next ones.
const MOST: usize = 100;

/// Those whose record a pass met, but not themselves.
#[derive(Debug, Default)]
pub(crate) struct LeftOvers(Mutex<Vec<DocumentId>>);

impl LeftOvers {
    /// The pass met that record without its user. Whether there is room for another.
    pub(crate) fn note(&self, user: DocumentId) -> bool {
        let mut noted = self.noted();
        if noted.len() < MOST {
            noted.push(user);
        }
        noted.len() < MOST
    }

    /// Removes their records, if it is so that their users are gone: somebody may have signed up meanwhile.
    pub(crate) async fn remove(&self, clients: &Clients, deadline: Deadline) {
        let users = std::mem::take(&mut *self.noted());
        if users.is_empty() {
            return;
        }
        let failed = match clients.store.deletions_of_orphans(&users, deadline).await {
            Ok(deletions) if deletions.is_empty() => return,
            Ok(deletions) => {
                let failed = commit_all_but_refused(&clients.writer, &deletions, deadline).await;
                let removed = deletions.len() - failed.as_ref().map_or(0, |(number, _)| *number);
                info!("Removed alpacaAccounts/sync of {removed} users who are deleted");
                failed.map(|(_, err)| err)
            }
            Err(err) => Some(err),
        };
        if let Some(err) = failed {
            warn!(
                error = err.code().as_str(),
                "Could not remove alpacaAccounts/sync of users who are deleted: {}",
                Chain(&err)
            );
        }
    }

    fn noted(&self) -> MutexGuard<'_, Vec<DocumentId>> {
        // Whatever panics while it is locked leaves a list that is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_are_kept() {
        let left_overs = LeftOvers::default();
        let room = (0..MOST + 5).filter(|n| left_overs.note(DocumentId::of_existing(&format!("u{n}"))));
        assert_eq!(room.count(), MOST - 1);
        assert_eq!(left_overs.noted().len(), MOST);
    }
}
