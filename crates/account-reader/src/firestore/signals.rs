//! Proposing: one transaction that reads, decides and creates.

use super::convert::{fields, time, to_fields};
use super::error::Error;
use super::read::{judged, limited, lookup, place, read_last_pulse, siblings};
use crate::account::Source;
use crate::decision::Policy;
use crate::documents::{signal, snapshot, sync};
use crate::proposal::{Desk, Outcome, Proposal, propose};
use crate::signal::Signal;
use crate::snapshot::Snapshot;
use crate::value::Fields;
use ::firestore::gcloud_sdk::google::firestore::v1::precondition::ConditionType;
use ::firestore::gcloud_sdk::google::firestore::v1::write::Operation;
use ::firestore::gcloud_sdk::google::firestore::v1::{Document, Precondition, Write};
use ::firestore::{
    FirestoreConsistencySelector, FirestoreDb, FirestoreQueryFilter, FirestoreTimestamp,
    FirestoreTransaction, FirestoreTransactionMode, FirestoreTransactionOps, FirestoreTransactionOptions,
    errors::FirestoreError,
};
use futures::try_join;
use jiff::{SignedDuration, Timestamp};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// For how long a contended proposal is tried again.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest pause before the second try, which is twice as long before each one after that. Who had to give way
/// pauses for any part of it, so that the same ones do not meet again.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// How long after its end a signal may become `executed` and still count. Executing begins before that end.
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
    lanes: Arc<[Mutex<()>; LANES]>,
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
    /// `rejected` with the code. Two proposals at once, from wherever, never spend the same money.
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
        let lane = self.hasher.hash_one(&proposal.user) % LANES as u64;
        #[expect(clippy::cast_possible_truncation, reason = "below 64")]
        let _turn = self.lanes[lane as usize].lock().await;
        let started = Instant::now();
        let mut mode = FirestoreTransactionMode::ReadWrite;
        let mut longest = FIRST_PAUSE;
        loop {
            let transaction = self.begin(mode).await?;
            // Firestore prefers who has tried for long.
            mode = FirestoreTransactionMode::ReadWriteRetry(transaction.transaction_id().clone());
            let attempt = Attempt { db: &self.db, path: &path, proposal, policy };
            match attempt.run(transaction).await {
                Err(Error::Contended(_)) if started.elapsed() < PATIENCE => {
                    sleep(longest.mul_f64(fastrand::f64())).await;
                    longest = (longest * 2).min(LONGEST_PAUSE);
                }
                result => return result,
            }
        }
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
        let now = Timestamp::now();
        let signals = self.pending(&db, &snapshot, now).await?;
        let signals: Vec<Signal<'_>> = signals.iter().map(Stored::as_signal).collect();
        let desk = Desk { existing: existing[0].as_ref(), snapshot: &snapshot, signals: &signals };
        Ok(propose(self.proposal, desk, self.policy, now))
    }

    /// The backend's signals of the user that may be pending.
    async fn pending(
        &self,
        db: &FirestoreDb,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<Vec<Stored>, Error> {
        let since = snapshot.account().map_or(now, |account| account.updated_at.min(now));
        let ends_after = FirestoreTimestamp(since - LATEST_EXECUTION);
        let executing = self.of_backend(db, &[signal::EXECUTING], None);
        let others = self.of_backend(db, &[signal::PROPOSED, signal::EXECUTED], Some(ends_after));
        let (executing, others) = try_join!(executing, others)?;
        Ok([executing, others].concat())
    }

    async fn of_backend(
        &self,
        db: &FirestoreDb,
        statuses: &[&str],
        ends_after: Option<FirestoreTimestamp>,
    ) -> Result<Vec<Stored>, Error> {
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
        Ok(query.query().await?.into_iter().map(Stored::from).collect())
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

/// A write as the transaction takes it.
struct Creation(Write);

impl TryFrom<Creation> for Write {
    type Error = FirestoreError;

    fn try_from(Creation(write): Creation) -> Result<Self, FirestoreError> {
        Ok(write)
    }
}

/// A signal that was read.
#[derive(Clone)]
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
