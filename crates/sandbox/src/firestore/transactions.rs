//! Optimistic transactions: what was read is remembered, and must still hold at the commit.

use super::clock::Micros;
use super::errors::{closed_transaction, contention, invalid, unknown_transaction};
use super::names::Path;
use super::query::Query;
use super::store::{Found, Store};
use gcloud_sdk::google::firestore::v1::TransactionOptions;
use gcloud_sdk::google::firestore::v1::transaction_options::Mode as RequestedMode;
use gcloud_sdk::google::firestore::v1::transaction_options::read_only::ConsistencySelector;
use prost_types::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::Status;

/// How long a transaction may stay open; one that its client forgot is dropped then.
const MAX_AGE: Duration = Duration::from_secs(270);

/// The open transactions of one database.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// In the order they were begun, which is the order of their ids.
    open: BTreeMap<u64, Transaction>,
    begun: u64,
}

#[derive(Debug)]
pub(super) struct Transaction {
    begun: Instant,
    mode: Mode,
}

#[derive(Debug)]
enum Mode {
    ReadWrite {
        documents: HashMap<Path, Option<Micros>>,
        queries: Vec<(Arc<Query>, Vec<Version>)>,
    },
    /// Reads the database as it was at one time: the first read's, unless the client chose.
    ReadOnly {
        at: Option<Micros>,
    },
}

/// A document and when it was last changed.
type Version = (Path, Micros);

impl Transactions {
    /// Opens a transaction. `check_read_time` judges the time a read-only one asks for.
    pub(super) fn begin(
        &mut self,
        options: Option<TransactionOptions>,
        check_read_time: impl FnOnce(&Timestamp) -> Result<Micros, Status>,
    ) -> Result<Vec<u8>, Status> {
        let mode = match options.and_then(|options| options.mode) {
            // `retry_transaction` only asks for fairness among contenders.
            None | Some(RequestedMode::ReadWrite(_)) => {
                Mode::ReadWrite { documents: HashMap::new(), queries: Vec::new() }
            }
            Some(RequestedMode::ReadOnly(options)) => {
                let chosen = options.consistency_selector.map(|ConsistencySelector::ReadTime(time)| time);
                Mode::ReadOnly { at: chosen.as_ref().map(check_read_time).transpose()? }
            }
        };
        while let Some(oldest) = self.open.first_entry()
            && oldest.get().begun.elapsed() > MAX_AGE
        {
            oldest.remove();
        }
        self.begun += 1;
        self.open.insert(self.begun, Transaction { begun: Instant::now(), mode });
        Ok(self.begun.to_be_bytes().to_vec())
    }

    pub(super) fn get(&mut self, id: &[u8]) -> Result<&mut Transaction, Status> {
        let number = self.number(id)?;
        self.open.get_mut(&number).ok_or_else(closed_transaction)
    }

    /// Closes a transaction, to commit it.
    pub(super) fn take(&mut self, id: &[u8]) -> Result<Transaction, Status> {
        let number = self.number(id)?;
        self.open.remove(&number).ok_or_else(closed_transaction)
    }

    /// Closes a transaction without committing it; closing one twice does no harm.
    pub(super) fn rollback(&mut self, id: &[u8]) -> Result<(), Status> {
        let number = self.number(id)?;
        self.open.remove(&number);
        Ok(())
    }

    fn number(&self, id: &[u8]) -> Result<u64, Status> {
        let number = id.try_into().map(u64::from_be_bytes).map_err(|_| unknown_transaction())?;
        if (1..=self.begun).contains(&number) { Ok(number) } else { Err(unknown_transaction()) }
    }
}

impl Transaction {
    /// The time at which this transaction reads, if it reads the past. `now` is taken for its first read.
    pub(super) fn snapshot(&mut self, now: Micros) -> Option<Micros> {
        match &mut self.mode {
            Mode::ReadWrite { .. } => None,
            Mode::ReadOnly { at } => Some(*at.get_or_insert(now)),
        }
    }

    /// Remembers a document that was read, or found missing.
    pub(super) fn saw_document(&mut self, path: &Path, version: Option<Micros>) {
        if let Mode::ReadWrite { documents, .. } = &mut self.mode {
            // The first read counts: a second one that differs is contention already.
            documents.entry(path.clone()).or_insert(version);
        }
    }

    /// Remembers a query and what it found.
    pub(super) fn saw_query(&mut self, query: &Arc<Query>, found: &[Found]) {
        if let Mode::ReadWrite { queries, .. } = &mut self.mode {
            queries.push((Arc::clone(query), versions(found)));
        }
    }

    /// Whether all that was read still holds, so that the transaction may write.
    pub(super) fn check(self, store: &Store, writes: bool) -> Result<(), Status> {
        let (documents, queries) = match self.mode {
            Mode::ReadOnly { .. } if writes => {
                return Err(invalid("Cannot modify documents in a read-only transaction."));
            }
            Mode::ReadOnly { .. } => return Ok(()),
            Mode::ReadWrite { documents, queries } => (documents, queries),
        };
        if !writes {
            return Ok(());
        }
        for (path, version) in documents {
            if store.get(&path).map(|stored| stored.update_time) != version {
                return Err(contention(&path.as_str()));
            }
        }
        for (query, before) in queries {
            if versions(&query.run(store, None)) != before {
                return Err(contention("the result of a query"));
            }
        }
        Ok(())
    }
}

fn versions(found: &[Found]) -> Vec<Version> {
    found.iter().map(|found| (found.path.clone(), found.stored.update_time)).collect()
}
