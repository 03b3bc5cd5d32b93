//! Worlds with more users than one would write one by one: straight into the sandbox's Firestore.

use crate::world::World;
use alpaca_pulse::firestore::values::Fields;
use gcloud_sdk::google::firestore::v1::write::Operation;
use gcloud_sdk::google::firestore::v1::{Document, Write};
use pulse_sandbox::alpaca::Profile;
use tokio::sync::{Mutex, MutexGuard};

/// Held by a test with a crowd that keeps the machine busy by itself: two of them at once would only take each
/// other's time, and that of those who count seconds.
pub(crate) async fn turn_of_a_crowd() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

impl World {
    /// Documents of the sandbox's Firestore, all at once and past its request log.
    pub(crate) fn put_all(&self, database: &str, documents: impl IntoIterator<Item = (String, Fields)>) {
        let database = format!("projects/{}/databases/{database}", self.project);
        let write = |(path, fields)| Write {
            operation: Some(Operation::Update(Document {
                name: format!("{database}/documents/{path}"),
                fields,
                ..Document::default()
            })),
            ..Write::default()
        };
        let writes: Vec<_> = documents.into_iter().map(write).collect();
        self.sandbox.firestore().commit(&database, writes).expect("the test's own writes");
    }

    /// `user-0001`, `user-0002`, … with keys and accounts in good order; returns their ids.
    pub(crate) fn crowd(&self, size: usize) -> Vec<String> {
        let ids: Vec<_> = (1..=size).map(|number| format!("user-{number:04}")).collect();
        self.put_all("(default)", ids.iter().map(|id| (format!("users/{id}"), Fields::new())));
        for id in &ids {
            self.connect(id, Profile::active());
        }
        ids
    }

    /// The same for users with these ids, in either Firestore.
    pub(crate) async fn many(&self, ids: &[String]) {
        for part in ids.chunks(400) {
            let write = |id| Write {
                operation: Some(Operation::Update(Document {
                    name: self.name(&format!("users/{id}")),
                    ..Document::default()
                })),
                ..Write::default()
            };
            self.commit(part.iter().map(write).collect()).await;
        }
        for id in ids {
            self.connect(id, Profile::active());
        }
    }

    /// Whether a document of the sandbox's Firestore exists.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.sandbox.firestore().document(&self.name(path)).is_some()
    }
}
