//! The users of a pass, page by page, each with what has to be known before their journey.

use crate::ids::DocumentId;
use crate::retry::{Deadline, USER_BUDGET};
use crate::store::query::{IdRange, Pages, trouble_name, user_of_trouble};
use crate::store::{Store, StoreError};
use crate::telemetry::Chain;
use crate::tenancy::TenantFacts;
use crate::trouble::{History, Trouble};
use crate::user::User;
use futures::future::try_join;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::mpsc;
use tracing::error;

/// One user and what is known of them.
#[derive(Clone, Debug)]
pub struct Member {
    /// The user document.
    pub user: User,
    /// What decides about the tenant's document; nothing is known when the job does not write it.
    pub facts: Result<TenantFacts, Arc<StoreError>>,
    /// What kept the user from being synced before.
    pub history: History,
}

/// Who takes part in a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All users of a range.
    Range(IdRange),
    /// These, named by a person.
    Named(Vec<DocumentId>),
}

/// One entry of the roster.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A user.
    Member(Box<Member>),
    /// A named user without a document.
    Nobody(DocumentId),
}

/// Reads the roster.
#[derive(Debug)]
pub struct RosterReader {
    store: Arc<Store>,
    with_tenants: bool,
    now: Timestamp,
}

impl RosterReader {
    /// A reader for a pass that started at `now`. What decides about tenants' documents is read
    /// only for a pass that writes them.
    #[must_use]
    pub fn new(store: &Arc<Store>, with_tenants: bool, now: Timestamp) -> Self {
        Self {
            store: Arc::clone(store),
            with_tenants,
            now,
        }
    }

    /// Reads in the background: one page waits while another is worked on, so that memory does not
    /// grow with the number of users. An error ends the roster.
    #[must_use]
    pub fn start(self, selection: Selection) -> mpsc::Receiver<Result<Vec<Entry>, StoreError>> {
        let (pages, roster) = mpsc::channel(1);
        tokio::spawn(async move {
            if let Err(err) = self.read(selection, &pages).await {
                // Nobody is left to tell when the receiver is gone.
                let _ = pages.send(Err(err)).await;
            }
        });
        roster
    }

    async fn read(
        &self,
        selection: Selection,
        pages: &mpsc::Sender<Result<Vec<Entry>, StoreError>>,
    ) -> Result<(), StoreError> {
        let range = match selection {
            Selection::Named(users) => {
                let page = self.named(&users).await?;
                let _ = pages.send(Ok(page)).await;
                return Ok(());
            }
            Selection::Range(range) => range,
        };
        let mut users = Pages::of_users(self.store.database(), &range);
        let mut trouble = TroubleFeed::new(Pages::of_trouble(self.store.database(), &range), self.now);
        loop {
            let (documents, ()) = try_join(users.next(&self.store), async {
                trouble.prefetch(&self.store).await;
                Ok(())
            })
            .await?;
            if documents.is_empty() {
                return Ok(());
            }
            let mut page = Vec::with_capacity(documents.len());
            for document in &documents {
                let user = User::from_fields(DocumentId::of_existing(&document.name), &document.fields);
                let history = trouble.history(&user.id, &self.store).await;
                page.push((user, history));
            }
            if pages.send(Ok(self.with_facts(page).await)).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn named(&self, ids: &[DocumentId]) -> Result<Vec<Entry>, StoreError> {
        let database = self.store.database();
        let user_name = |id: &DocumentId| database.document(format_args!("users/{}", id.as_str()));
        let names = ids
            .iter()
            .flat_map(|id| [user_name(id), trouble_name(database, id)])
            .collect();
        let fields: Vec<&str> = User::FIELDS.into_iter().chain(Trouble::FIELDS).collect();
        let found = self
            .store
            .documents(names, &fields, Deadline::after(USER_BUDGET))
            .await?;
        let mut members = Vec::new();
        let mut entries = Vec::new();
        for id in ids {
            let trouble = found.get(&trouble_name(database, id));
            let trouble = trouble.and_then(|document| Trouble::from_fields(&document.fields, self.now));
            match found.get(&user_name(id)) {
                Some(document) => {
                    members.push((User::from_fields(id.clone(), &document.fields), history(trouble)));
                }
                None => entries.push(Entry::Nobody(id.clone())),
            }
        }
        entries.extend(self.with_facts(members).await);
        Ok(entries)
    }

    async fn with_facts(&self, page: Vec<(User, History)>) -> Vec<Entry> {
        let facts = match self.with_tenants {
            true => self.facts(&page).await,
            false => vec![Ok(TenantFacts::default()); page.len()],
        };
        let member = |((user, history), facts)| Entry::Member(Box::new(Member { user, facts, history }));
        page.into_iter().zip(facts).map(member).collect()
    }

    /// What decides about the tenants' documents of a page's users, from one request.
    ///
    /// When it cannot be read, it is the failure of these users, not of the pass: their money could end
    /// up in the wrong document. A request that Firestore finds invalid is split until the users whose
    /// `tenant_id` makes it so stand alone, because anybody can write their own.
    async fn facts(&self, page: &[(User, History)]) -> Vec<Result<TenantFacts, Arc<StoreError>>> {
        let mut facts = Vec::with_capacity(page.len());
        let mut parts = vec![page];
        while let Some(part) = parts.pop() {
            let questions: Vec<_> = part
                .iter()
                .map(|(user, _)| (user.id.as_str(), &user.tenant))
                .collect();
            match self
                .store
                .tenant_facts(&questions, Deadline::after(USER_BUDGET))
                .await
            {
                Ok(answers) => facts.extend(answers.into_iter().map(Ok)),
                Err(err) if err.is_invalid_argument() && part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Err(err) => facts.extend(vec![Err(Arc::new(err)); part.len()]),
            }
        }
        facts
    }
}

fn history(trouble: Option<Trouble>) -> History {
    trouble.map_or(History::Clean, History::Troubled)
}

/// The troubled users, read along with all users: both come in the order of their ids, so only the
/// part between two pages is ever held.
struct TroubleFeed {
    pages: Pages,
    now: Timestamp,
    ahead: VecDeque<(DocumentId, Trouble)>,
    state: Feed,
}

#[derive(PartialEq, Eq)]
enum Feed {
    Flowing,
    Ended,
    Broken,
}

impl TroubleFeed {
    fn new(pages: Pages, now: Timestamp) -> Self {
        Self {
            pages,
            now,
            ahead: VecDeque::new(),
            state: Feed::Flowing,
        }
    }

    /// Makes sure that the next troubled user is known, if there is one.
    async fn prefetch(&mut self, store: &Store) {
        while self.ahead.is_empty() && self.state == Feed::Flowing {
            match self.pages.next(store).await {
                Ok(documents) if documents.is_empty() => self.state = Feed::Ended,
                Ok(documents) => self.ahead.extend(documents.iter().filter_map(|document| {
                    let user = user_of_trouble(store.database(), &document.name)?;
                    Some((user, Trouble::from_fields(&document.fields, self.now)?))
                })),
                Err(err) => {
                    self.state = Feed::Broken;
                    // Fresh money matters more than the trouble's record: the pass goes on without.
                    error!(
                        error = err.code().as_str(),
                        "Could not read who is in trouble, so alpacaAccounts/sync stays as it is in this pass: {}",
                        Chain(&err)
                    );
                }
            }
        }
    }

    /// The history of the next user. Must be asked in the order of the users' ids.
    async fn history(&mut self, user: &DocumentId, store: &Store) -> History {
        loop {
            self.prefetch(store).await;
            match self.ahead.front() {
                Some((troubled, _)) if troubled.as_str() < user.as_str() => {
                    // A record without a user: the account was deleted, its record was not.
                    self.ahead.pop_front();
                }
                Some((troubled, _)) if troubled == user => {
                    return history(self.ahead.pop_front().map(|(_, trouble)| trouble));
                }
                None if self.state == Feed::Broken => return History::Unknown,
                Some(_) | None => return History::Clean,
            }
        }
    }
}
