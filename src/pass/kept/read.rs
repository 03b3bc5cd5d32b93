//! How the kept users are read and brought up to date, and how they come in place of pages.

use crate::firestore::StoreError;
use crate::limits::deadlines::USER_BUDGET;
use crate::limits::retry::Deadline;
use crate::model::ids::DocumentId;
use crate::model::selection::Round;
use crate::pass::kept::{KeptUsers, MOST_BY_NAME, Question};
use crate::pass::user_pages::{PageReader, Sender};
use crate::pass::user_record::{KeysAt, UserRecord};
use crate::telemetry::Chain;
use std::collections::BTreeSet;
use tracing::warn;

/// Users of one page.
const PAGE_SIZE: usize = 500;

impl PageReader {
    /// The users of a round: those that are kept, with what has changed since, or else all as they are read.
    pub(in crate::pass) async fn read_round(&self, round: &Round, pages: &Sender) -> Result<(), StoreError> {
        let Some(kept) = &self.memory.kept else { return self.read_ranges(round, pages, None).await };
        if self.update(kept).await {
            send_kept(kept, round, pages).await;
            return Ok(());
        }
        let keeps = kept.begin(round, (self.due, self.schedule.now));
        self.read_ranges(round, pages, Some(kept).filter(|_| keeps)).await
    }

    /// Whether the kept users are as they are now, those read who changed.
    async fn update(&self, kept: &KeptUsers) -> bool {
        let Some(question) = kept.question(self.due) else { return false };
        match self.changes(kept, question).await {
            Ok(is_known) => is_known,
            Err(err) => {
                warn!(
                    error = err.code().as_str(),
                    "Could not read which users have changed, so all are read: {}",
                    Chain(&err)
                );
                false
            }
        }
    }

    /// Reads who changed. Whether that is all there is to know: not if they are too many.
    async fn changes(&self, kept: &KeptUsers, question: Question) -> Result<bool, StoreError> {
        let Question { after, doubted: mut read } = question;
        let until = self.store.clock().now().max(self.schedule.now);
        let most = i32::try_from(MOST_BY_NAME).unwrap_or(i32::MAX);
        let deadline = Deadline::after(USER_BUDGET);
        let changed = self.store.changed_users((after, until), most, deadline).await?;
        let are_all = changed.len() < MOST_BY_NAME;
        read.extend(kept.other_than(changed));
        if !are_all || read.len() > MOST_BY_NAME {
            return Ok(false);
        }
        let read = self.by_name(read).await?;
        // As of a page: what is kept of a tenant's document is not the account.
        self.memory.remember_shown(&read);
        let gone = read.iter().filter(|record| matches!(record.keys, KeysAt::NoSuchUser));
        gone.for_each(|record| self.clients.forget_keys(record.id()));
        Ok(kept.fold(&read, until))
    }

    async fn by_name(&self, users: BTreeSet<DocumentId>) -> Result<Vec<UserRecord>, StoreError> {
        let (users, mut read) = (Vec::from_iter(users), Vec::new());
        for some in users.chunks(PAGE_SIZE) {
            read.extend(self.named(some).await?);
        }
        Ok(read)
    }
}

/// Sends the users as they are kept, in the order of the round.
async fn send_kept(kept: &KeptUsers, round: &Round, pages: &Sender) {
    for range in round.ranges() {
        let mut last: Option<DocumentId> = None;
        // Without a receiver there is never room.
        while let Ok(room) = pages.reserve().await {
            let page = kept.page(range, last.as_ref(), PAGE_SIZE);
            let Some(record) = page.last() else { break };
            last = Some(record.id().clone());
            room.send(Ok(page));
        }
    }
}
