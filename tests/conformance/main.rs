//! The sandbox's Firestore and Google's emulator, asked the same, answer the same.
//!
//! Each scenario is a sequence of raw calls. It asserts what it is about, and then all outcomes of both are compared
//! (documents, results, status codes; times by their order, messages not at all).
//!
//! Left out, because they must differ:
//! - Contention. The emulator locks what a transaction reads, and makes other writers wait; the sandbox aborts at the
//!   commit. `transactions::transactions_are_optimistic` tests that on the sandbox alone.
//! - Names of another database than the request's. The emulator takes them; the sandbox refuses, as Firestore does.
//! - Requests between 4 and 10 MiB, which reach the emulator only in part of its transports.
//! - `PartitionQuery`, which the emulator lacks as well, and the streams `Listen` and `Write`.
//! - A filtered collection group query below a document, which the emulator refuses and the sandbox serves.
//! - `BatchGetDocuments` of nothing in a new transaction: the emulator fails with UNKNOWN.
//! - Documents of a size close to 1 MiB: the emulator measures them in its own encoding.

#![cfg(feature = "sandbox")]
#![expect(clippy::expect_used, reason = "helpers of tests are test code as well")]

mod aggregation;
mod batch_writes;
mod collection_groups;
mod cursors;
mod documents;
#[path = "../support/emulator.rs"]
mod emulator;
mod filters;
mod listing;
mod ordering;
mod outcome;
mod preconditions;
mod session;
mod transactions;
mod transforms;
mod validation;
mod wire;

use emulator::emulator;
use pulse_sandbox::{Options, Sandbox};
use session::Session;

/// Runs a scenario against both, and compares.
async fn conform(project: &str, scenario: impl AsyncFn(&mut Session)) {
    let sandbox = Sandbox::start(Options::default()).await.expect("loopback has a free port");
    let ours = outcomes(&sandbox.address().to_string(), project, &scenario).await;
    if let Some(emulator) = emulator() {
        let theirs = outcomes(emulator, project, &scenario).await;
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "the sandbox (left) and the emulator (right) differ");
        }
        assert_eq!(ours.len(), theirs.len());
    }
}

async fn outcomes(host: &str, project: &str, scenario: &impl AsyncFn(&mut Session)) -> Vec<String> {
    let mut session = Session::open(host, project).await;
    scenario(&mut session).await;
    session.outcomes()
}
