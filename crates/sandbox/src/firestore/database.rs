//! All databases behind one clock, and what a read in one of them sees.

use super::clock::{Clock, Micros, micros};
use super::errors::invalid;
use super::names::{Path, parse_database};
use super::query::Query;
use super::store::{Found, Store, Stored};
use super::transactions::Transactions;
use gcloud_sdk::google::firestore::v1::TransactionOptions;
use prost_types::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;
use tonic::Status;

/// How far back reads may go, as in Firestore without point-in-time recovery.
const MAX_READ_AGE: Micros = 60 * 60 * 1_000_000;

/// Everything that the sandbox's Firestore knows.
#[derive(Debug, Default)]
pub(super) struct State {
    clock: Clock,
    databases: HashMap<String, Database>,
}

/// One database. Any name names one: it is made by its first use.
#[derive(Debug, Default)]
pub(super) struct Database {
    pub(super) store: Store,
    pub(super) transactions: Transactions,
}

/// Which version of the documents a request asks for.
#[derive(Debug)]
pub(super) enum Consistency {
    Latest,
    InTransaction(Vec<u8>),
    InNewTransaction(TransactionOptions),
    At(Timestamp),
}

impl State {
    /// The database of that name, with the clock.
    pub(super) fn open(&mut self, name: &str) -> Result<(&mut Clock, &mut Database), Status> {
        parse_database(name)?;
        let database = self.databases.entry(name.to_owned()).or_default();
        Ok((&mut self.clock, database))
    }

    /// The database of that name, if it was ever used.
    pub(super) fn existing(&self, name: &str) -> Option<&Database> {
        self.databases.get(name)
    }

    /// Prepares a read of the database of that name.
    pub(super) fn view(&mut self, name: &str, consistency: Consistency) -> Result<View<'_>, Status> {
        let (clock, database) = self.open(name)?;
        let now = clock.now();
        let view = |database, at: Option<Micros>| View {
            database,
            at,
            read_time: at.unwrap_or(now),
            transaction: Vec::new(),
            begun: false,
        };
        let (transaction, begun) = match consistency {
            Consistency::Latest => return Ok(view(database, None)),
            Consistency::At(time) => {
                let at = check_read_time(&database.store, &time, now)?;
                return Ok(view(database, Some(at)));
            }
            Consistency::InTransaction(id) => (id, false),
            Consistency::InNewTransaction(options) => (database.begin(Some(options), now)?, true),
        };
        let at = database.transactions.get(&transaction)?.snapshot(now);
        if at.is_some_and(|at| !database.store.remembers(at)) {
            return Err(too_old());
        }
        Ok(View { transaction, begun, ..view(database, at) })
    }
}

impl Database {
    pub(super) fn begin(
        &mut self,
        options: Option<TransactionOptions>,
        now: Micros,
    ) -> Result<Vec<u8>, Status> {
        let Self { store, transactions } = self;
        transactions.begin(options, |time| check_read_time(store, time, now))
    }
}

fn check_read_time(store: &Store, time: &Timestamp, now: Micros) -> Result<Micros, Status> {
    let at = micros(time);
    if at > now {
        return Err(invalid("The requested read_time cannot be in the future."));
    }
    if at < now - MAX_READ_AGE || !store.remembers(at) {
        return Err(too_old());
    }
    Ok(at)
}

fn too_old() -> Status {
    Status::failed_precondition("The requested read_time is too old.")
}

/// A database as one read sees it.
#[derive(Debug)]
pub(super) struct View<'a> {
    database: &'a mut Database,
    /// The time in the past that is read, if it is not the present.
    at: Option<Micros>,
    pub(super) read_time: Micros,
    /// The transaction that the read belongs to, if any.
    transaction: Vec<u8>,
    begun: bool,
}

impl View<'_> {
    /// The id of the transaction that this read began, which the client must be told.
    pub(super) fn new_transaction(&self) -> Option<Vec<u8>> {
        self.begun.then(|| self.transaction.clone())
    }

    pub(super) fn document(&mut self, path: &Path) -> Result<Option<Arc<Stored>>, Status> {
        let Database { store, transactions } = &mut *self.database;
        let found = match self.at {
            Some(at) => store.get_at(path, at),
            None => store.get(path),
        };
        if !self.transaction.is_empty() {
            let version = found.map(|stored| stored.update_time);
            transactions.get(&self.transaction)?.saw_document(path, version);
        }
        Ok(found.cloned())
    }

    pub(super) fn query(&mut self, query: &Arc<Query>) -> Result<Vec<Found>, Status> {
        let Database { store, transactions } = &mut *self.database;
        let found = query.run(store, self.at);
        if !self.transaction.is_empty() {
            transactions.get(&self.transaction)?.saw_query(query, &found);
        }
        Ok(found)
    }
}
