//! An in-memory Firestore that speaks `google.firestore.v1` over gRPC.

use bytes::Bytes;
use gcloud_sdk::google::firestore::v1::{CommitResponse, Document, Write};
use http_body_util::Full;
use tonic::Status;
use tonic::body::Body;

/// A Firestore that keeps its documents in memory.
#[derive(Clone, Default)]
pub struct Firestore {}

impl Firestore {
    /// Answers one gRPC call.
    pub async fn serve(&self, _request: http::Request<Full<Bytes>>) -> http::Response<Body> {
        Status::unimplemented("no engine").into_http()
    }

    /// Applies `writes` atomically.
    pub fn commit(&self, _database: &str, _writes: Vec<Write>) -> Result<CommitResponse, Status> {
        Ok(CommitResponse::default())
    }

    /// The document called `name`.
    pub fn document(&self, _name: &str) -> Option<Document> {
        None
    }

    /// Every document of `database`.
    pub fn documents(&self, _database: &str) -> Vec<Document> {
        Vec::new()
    }
}
