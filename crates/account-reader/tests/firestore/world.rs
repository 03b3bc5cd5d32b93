//! A project of the emulator, and the documents in it.

use crate::emulator::emulator;
use account_reader::decimal::parse;
use account_reader::firestore::{FirestoreDb, FirestoreDbOptions};
use account_reader::jiff::{SignedDuration, Timestamp};
use account_reader::{Action, Environment, Funds, Policy, Proposal, time};
use firestore::{FirestoreTimestamp, gcloud_sdk};
use gcloud_sdk::google_cloud_auth::credentials::anonymous;
use serde::Serialize;
use serde_json::{Value, json};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// An empty project of its own.
pub(crate) struct World {
    host: &'static str,
    project: String,
}

/// A signal as the backend or its user left it.
#[derive(Serialize)]
pub(crate) struct Stored {
    pub(crate) symbol: &'static str,
    pub(crate) action: &'static str,
    pub(crate) notional_usd: f64,
    pub(crate) status: &'static str,
    pub(crate) expires_at: FirestoreTimestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proposed_by: Option<&'static str>,
}

impl World {
    /// `None` where there is no emulator.
    pub(crate) fn new() -> Option<Self> {
        static PROJECTS: AtomicU32 = AtomicU32::new(0);
        let host = emulator()?;
        let number = PROJECTS.fetch_add(1, Ordering::Relaxed);
        Some(Self { host, project: format!("reader-{}-{number}", process::id()) })
    }

    /// A client of its own, as another process would have.
    pub(crate) async fn client(&self) -> FirestoreDb {
        let options = FirestoreDbOptions::new(self.project.clone())
            .with_firebase_api_url(format!("http://{}", self.host));
        // No rules are in force in a project that was given none.
        let nobody = anonymous::Builder::new().build();
        FirestoreDb::with_options_auth(options, nobody).await.expect("a client of the emulator")
    }

    pub(crate) async fn put(&self, path: &str, document: &(impl Serialize + Sync + Send)) {
        let db = self.client().await;
        let name = format!("{}/{path}", db.get_documents_path());
        let document = FirestoreDb::serialize_to_doc(name, document).expect("fields");
        let (collection, _) = path.rsplit_once('/').expect("a document's path");
        db.fluent().update().in_col(collection).document(document).execute().await.expect("a write");
    }

    /// A user's snapshot of that age, with 1000 dollars to spend.
    pub(crate) async fn put_snapshot(&self, user: &str, age: SignedDuration) {
        let document = snapshot(user, Timestamp::now() - age);
        self.put(&format!("users/{user}/alpacaAccounts/snapshot"), &document).await;
    }

    /// The statuses of a user's signals.
    pub(crate) async fn statuses(&self, user: &str) -> Vec<String> {
        let db = self.client().await;
        let parent = format!("{}/users/{user}", db.get_documents_path());
        let query = db.fluent().select().from("tradingSignals").parent(parent).obj();
        let found: Vec<Value> = query.query().await.expect("a list");
        let status = |signal: &Value| signal["status"].as_str().expect("a status").to_owned();
        found.iter().map(status).collect()
    }
}

pub(crate) fn snapshot(user: &str, updated_at: Timestamp) -> Value {
    json!({
        "broker": "alpaca",
        "user_id": user,
        "external_account_id": "1d9eed04-be39-4e01-9b84-a48ac5bbafcf",
        "status": "ACTIVE",
        "environment": "paper",
        "currency": "USD",
        "equity": 5000.5,
        "buying_power": 2000.25,
        "cash": 1000.0,
        "exact": {"equity": "5000.50", "buying_power": "2000.25", "cash": "1000.00"},
        "updated_at_iso": time::iso(updated_at),
    })
}

/// To buy for 70 dollars: of 1000 that is possible 14 times.
pub(crate) fn proposal(user: &str) -> Proposal {
    Proposal {
        user: user.to_owned(),
        symbol: "SPY".to_owned(),
        action: Action::Buy,
        notional_usd: Some(parse("70").expect("a number")),
        closes: false,
        reason: "trend".to_owned(),
        strategy_id: "s1".to_owned(),
        expires_at: Timestamp::now() + SignedDuration::from_mins(10),
    }
}

/// Orders are paid from cash.
pub(crate) fn policy() -> Policy {
    Policy {
        environment: Environment::Paper,
        currency: "USD".to_owned(),
        funds: Funds::Cash,
        reserve: parse("0").expect("a number"),
    }
}
