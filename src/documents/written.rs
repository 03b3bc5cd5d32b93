//! Writes as Firestore reads them, for tests.

use crate::firestore::values::Fields;
use crate::firestore::write::Write;
use gcloud_sdk::google::firestore::v1;
use gcloud_sdk::google::firestore::v1::precondition::ConditionType;
use gcloud_sdk::google::firestore::v1::write::Operation;
use gcloud_sdk::prost::Message;

/// One write.
#[derive(Debug)]
pub(crate) struct Written {
    /// The document, from its collection on.
    pub(crate) path: String,
    /// The new values.
    pub(crate) fields: Fields,
    /// The fields that are replaced or, without a value, removed.
    pub(crate) mask: Vec<String>,
    /// The fields that get the server's time.
    pub(crate) server_times: Vec<String>,
    /// What the document has to be like.
    pub(crate) precondition: Option<ConditionType>,
}

impl Written {
    pub(crate) fn of(write: &Write) -> Self {
        let write = v1::Write::decode(write.as_bytes()).expect("a write");
        let Some(Operation::Update(document)) = write.operation else { panic!("no update: {write:?}") };
        Self {
            path: document.name.rsplit_once("/documents/").expect("a document's name").1.to_owned(),
            fields: document.fields,
            mask: write.update_mask.expect("a mask").field_paths,
            server_times: write.update_transforms.into_iter().map(|field| field.field_path).collect(),
            precondition: write.current_document.and_then(|condition| condition.condition_type),
        }
    }
}
