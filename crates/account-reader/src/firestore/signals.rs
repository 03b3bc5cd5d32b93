//! Proposing: one transaction that reads, decides and creates.

use super::convert::{fields, time, to_fields};
use super::error::Error;
use super::pace::Pace;
use super::read::{judged, limited, lookup, place, read_last_pulse, siblings};
use crate::account::Source;
use crate::decision::Policy;
use crate::documents::{signal, snapshot, sync};
use crate::proposal::{Desk, Outcome, Proposal, propose};
use crate::signal::Signal;
use crate::snapshot::Snapshot;
use crate::value::Fields;
use ::firestore::errors::{FirestoreError, FirestoreErrorPublicGenericDetails, FirestoreSystemError};
use ::firestore::gcloud_sdk::google::firestore::v1::precondition::ConditionType;
use ::firestore::gcloud_sdk::google::firestore::v1::write::Operation;
use ::firestore::gcloud_sdk::google::firestore::v1::{Document, Precondition, Write};
use ::firestore::{
    FirestoreConsistencySelector, FirestoreDb, FirestoreQueryFilter, FirestoreTimestamp,
    FirestoreTransaction, FirestoreTransactionMode, FirestoreTransactionOps, FirestoreTransactionOptions,
};
use futures::{TryStreamExt, try_join};
use jiff::{SignedDuration, Timestamp};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// So long before the figures a `proposed` or `executed` signal may have ended and still be read: executing begins before
/// that end, and the executor says within this time that it is over. What it says later is not seen, as no query can
/// ask when a document was written.
const LATEST_EXECUTION: SignedDuration = SignedDuration::from_hours(24);

/// Proposals at the same time, for users whose ids fall together.
const LANES: usize = 64;

/// Proposes signals. Cheap to clone; one for a program, as its clones wait for one another instead of undoing one
/// another's transactions.
///
/// ```no_run
/// # async fn propose(proposal: &account_reader::Proposal, policy: &account_reader::Policy)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// use account_reader::firestore::{FirestoreDb, Signals};
/// use account_reader::{Decision, Outcome};
///
/// let signals = Signals::new(&FirestoreDb::new("my-project").await?);
/// match signals.propose("trend-2026-01-05-SPY", proposal, policy).await? {
///     Outcome::Create { decision: Decision::Allow { .. }, .. } => println!("proposed"),
///     Outcome::Create { decision: Decision::Deny { code, reason }, .. } => println!("{code}: {reason}"),
///     Outcome::Existing { status, .. } => println!("proposed before, now {status}"),
///     Outcome::KeyTaken => println!("the user has a signal of their own under that key"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Signals {
    db: FirestoreDb,
    lanes: Arc<[Mutex<Pace>; LANES]>,
    hasher: RandomState,
}

impl Signals {
    /// Proposes with that client, and no longer than 10 s for each request.
    #[must_use]
    pub fn new(db: &FirestoreDb) -> Self {
        let lanes = Arc::new(std::array::from_fn(|_| Mutex::default()));
        Self { db: limited(db), lanes, hasher: RandomState::new() }
    }

    /// Records a proposal under a key, as `users/{user}/tradingSignals/{key}`, and says what became of it. In one
    /// transaction it reads the user's snapshot and what is pending, decides, and creates the signal: `proposed`, or
    /// `rejected` with the code. Two proposals at once, from wherever, never spend the same money. What is fresh and what
    /// has expired is judged by Firestore's clock, and never by this machine's.
    ///
    /// Of what is pending the query finds what is `executing`, and what is `proposed` or `executed` with an `expires_at`
    /// that is less than 24 h before the figures: an executor says by then what became of a signal. One that it closes
    /// later, one without `expires_at` that is not `executing`, and one with a status of nobody's are not found.
    ///
    /// Proposals for one user wait for one another, and where other programs propose for that user too, for a random
    /// moment each time. From the call on it is tried again for 30 s.
    ///
    /// The key names the proposal: the same key twice is one signal, so whoever is not sure whether a proposal arrived
    /// proposes again. [`Outcome::Create`] says that the document was created.
    ///
    /// Needs the index on `proposed_by`, `status` and `expires_at` of `firestore.indexes.json`.
    ///
    /// # Errors
    ///
    /// Any [`Error`].
    pub async fn propose(&self, key: &str, proposal: &Proposal, policy: &Policy) -> Result<Outcome, Error> {
        let path = signal::path(&proposal.user, key)?;
        let called = Instant::now();
        let lane = self.hasher.hash_one(&proposal.user) % LANES as u64;
        #[expect(clippy::cast_possible_truncation, reason = "below 64")]
        let mut pace = self.lanes[lane as usize].lock().await;
        let mut mode = FirestoreTransactionMode::ReadWrite;
        let attempt = async || {
            let transaction = self.begin(mode.clone()).await?;
            // Firestore prefers who has tried for long.
            mode = FirestoreTransactionMode::ReadWriteRetry(transaction.transaction_id().clone());
            Attempt { db: &self.db, path: &path, proposal, policy }.run(transaction).await
        };
        pace.try_for(called, attempt).await
    }

    async fn begin(&self, mode: FirestoreTransactionMode) -> Result<FirestoreTransaction<'_>, Error> {
        let options = FirestoreTransactionOptions::new().with_mode(mode);
        Ok(self.db.begin_transaction_with_options(options).await?)
    }
}

/// One try of one proposal.
struct Attempt<'a> {
    db: &'a FirestoreDb,
    path: &'a str,
    proposal: &'a Proposal,
    policy: &'a Policy,
}

impl Attempt<'_> {
    async fn run(&self, mut transaction: FirestoreTransaction<'_>) -> Result<Outcome, Error> {
        match self.decide(transaction.transaction_id()).await {
            Ok(outcome) => {
                if let Outcome::Create { fields, .. } = &outcome {
                    transaction.add(self.creation(fields.clone()))?;
                }
                transaction.commit().await?;
                Ok(outcome)
            }
            Err(error) => {
                // What it read stays locked otherwise, until the transaction times out. If this fails, that is so.
                let _ = transaction.rollback().await;
                Err(error)
            }
        }
    }

    /// All is read in the transaction but `ops/last_pulse`, which is everybody's: its lock would be in the job's way.
    async fn decide(&self, transaction: &[u8]) -> Result<Outcome, Error> {
        let selector = FirestoreConsistencySelector::Transaction(transaction.to_vec());
        let db = self.db.clone_with_consistency_selector(selector);
        let user = &self.proposal.user;
        let account = siblings(&db, [snapshot::path(user)?, sync::path(user)?]);
        let existing = siblings(&db, [self.path.to_owned()]);
        let (account, existing, pulse) = try_join!(account, existing, read_last_pulse(self.db))?;
        let [snapshot, sync] = account;
        let source = Source::User(user.clone());
        let snapshot = judged(source, snapshot.as_ref(), lookup(sync.as_ref()), pulse.as_ref());
        let Found { signals, read_at: now } = self.pending(&db, &snapshot).await?;
        let signals: Vec<Signal<'_>> = signals.iter().map(Stored::as_signal).collect();
        let desk = Desk { existing: existing[0].as_ref(), snapshot: &snapshot, signals: &signals };
        Ok(propose(self.proposal, desk, self.policy, now))
    }

    /// The backend's signals of the user that may be pending. These are the transaction's last reads, so their time is that
    /// of the decision, by Firestore's clock: this program's may be wrong.
    async fn pending(&self, db: &FirestoreDb, snapshot: &Snapshot) -> Result<Found, Error> {
        let executing = self.of_backend(db, &[signal::EXECUTING], None);
        let others = async {
            match snapshot.account() {
                Some(account) => {
                    let ends_after = FirestoreTimestamp(account.updated_at - LATEST_EXECUTION);
                    let statuses = [signal::PROPOSED, signal::EXECUTED];
                    self.of_backend(db, &statuses, Some(ends_after)).await.map(Some)
                }
                // Without figures nothing is spent, whatever is pending.
                None => Ok(None),
            }
        };
        let (executing, others) = try_join!(executing, others)?;
        Ok(others.into_iter().fold(executing, Found::with))
    }

    async fn of_backend(
        &self,
        db: &FirestoreDb,
        statuses: &[&str],
        ends_after: Option<FirestoreTimestamp>,
    ) -> Result<Found, Error> {
        let (parent, collection, _) = place(self.path);
        let parent = [db.get_documents_path(), parent].join("/");
        let query = db.fluent().select().from(collection).parent(parent).filter(|filter| {
            let conditions: [Option<FirestoreQueryFilter>; 3] = [
                filter.field(signal::PROPOSED_BY).eq(signal::BACKEND),
                filter.field(signal::STATUS).is_in(statuses),
                ends_after.and_then(|end| filter.field(signal::EXPIRES_AT).greater_than(end)),
            ];
            filter.for_all(conditions)
        });
        let answers: Vec<_> = query.stream_query_with_metadata().await?.try_collect().await?;
        // Every answer has the time, also the only one of a query that finds nothing.
        let read_at = answers.iter().filter_map(|answer| answer.metadata.read_time).max();
        let signals = answers.into_iter().filter_map(|answer| answer.document).map(Stored::from);
        Ok(Found { signals: signals.collect(), read_at: read_at.ok_or_else(timeless)? })
    }

    fn creation(&self, fields: Fields) -> Creation {
        let name = [self.db.get_documents_path(), self.path].join("/");
        let document = Document { name, fields: to_fields(fields), ..Document::default() };
        let absent = Precondition { condition_type: Some(ConditionType::Exists(false)) };
        Creation(Write {
            operation: Some(Operation::Update(document)),
            current_document: Some(absent),
            ..Write::default()
        })
    }
}

/// No answer of Firestore's: it would say when it read.
fn timeless() -> FirestoreError {
    let public = FirestoreErrorPublicGenericDetails::new("NO_READ_TIME".to_owned());
    FirestoreError::SystemError(FirestoreSystemError::new(public, "a query's answer has no time".to_owned()))
}

/// Signals that were read, and when, by Firestore's clock.
struct Found {
    signals: Vec<Stored>,
    read_at: Timestamp,
}

impl Found {
    fn with(self, other: Self) -> Self {
        let signals = self.signals.into_iter().chain(other.signals).collect();
        Self { signals, read_at: self.read_at.max(other.read_at) }
    }
}

/// A write as the transaction takes it.
struct Creation(Write);

impl TryFrom<Creation> for Write {
    type Error = FirestoreError;

    fn try_from(Creation(write): Creation) -> Result<Self, FirestoreError> {
        Ok(write)
    }
}

/// A signal that was read.
struct Stored {
    id: String,
    fields: Fields,
    update_time: Option<Timestamp>,
}

impl From<Document> for Stored {
    fn from(document: Document) -> Self {
        let id = place(&document.name).2.to_owned();
        Self { id, update_time: document.update_time.and_then(time), fields: fields(document) }
    }
}

impl Stored {
    fn as_signal(&self) -> Signal<'_> {
        Signal { id: &self.id, fields: &self.fields, update_time: self.update_time }
    }
}
