//! Commits: all or none of some writes.

use crate::firestore::connection::Store;
use crate::firestore::error::StoreError;
use crate::firestore::protobuf::Message;
use crate::firestore::write::Write;
use crate::limits::rate::Permits;
use crate::limits::retry::{Deadline, with_numbered_retries};
use crate::limits::slots::answer_within;
use crate::model::ids::Database;
use bytes::{BufMut, Bytes};
use gcloud_sdk::google::firestore::v1::CommitResponse;
use gcloud_sdk::prost::Message as _;
use gcloud_sdk::tonic::client::Grpc;
use gcloud_sdk::tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use gcloud_sdk::tonic::{Request, Status};
use http::uri::PathAndQuery;
use std::time::Duration;

/// Longest a commit may take. Three of them fit in a user's budget.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

const COMMIT: PathAndQuery = PathAndQuery::from_static("/google.firestore.v1.Firestore/Commit");

/// Tags of `google.firestore.v1.CommitRequest`.
const DATABASE: u32 = 1;
const WRITES: u32 = 2;

/// The most that one of these tags and a length take.
const LENGTH_BYTES: usize = 11;

/// What gRPC puts in front of a message: a flag for compression, and its length.
const GRPC_PREFIX: usize = 5;

/// An answer has some dozen bytes for each write.
const ANSWER_BUFFER: usize = 256;

impl Store {
    /// All or none of the writes. Sent again when it is unclear whether they were applied, so each of
    /// them must be right when applied twice. Waits until the limits allow them.
    pub(crate) async fn commit(&self, writes: &[Write], deadline: Deadline) -> Result<(), StoreError> {
        self.commit_after(0, writes, deadline).await
    }

    /// The same for writes that the limits have already allowed, once.
    pub(crate) async fn commit_allowed(
        &self,
        writes: &[Write],
        deadline: Deadline,
    ) -> Result<(), StoreError> {
        self.commit_after(1, writes, deadline).await
    }

    /// A commit of which so many attempts are already allowed.
    async fn commit_after(
        &self,
        allowed: u32,
        writes: &[Write],
        deadline: Deadline,
    ) -> Result<(), StoreError> {
        let request = commit_request(&self.database, writes);
        let mut connections = self.connections();
        with_numbered_retries(deadline, |attempt| {
            let (connection, request) = (connections(), request.clone());
            async move {
                let calls = Permits::writes(writes.len());
                if attempt >= allowed {
                    self.limits.allow_by(calls, deadline).await?;
                }
                let mut firestore = connection.client().get_with(Grpc::new);
                let sending = async {
                    let ready = firestore.ready().await;
                    ready.map_err(|err| Status::unknown(format!("the connection is not ready: {err}")))?;
                    let codec = CommitCodec { length: request.len() };
                    firestore.unary(Request::new(request), COMMIT, codec).await
                };
                match answer_within(deadline.for_call(COMMIT_TIMEOUT), &self.patience, sending).await {
                    Ok(answer) => self.heed(answer.map_err(StoreError::of_commit))?,
                    Err(_) => return Err(StoreError::late(deadline)),
                };
                self.usage.firestore_writes.add(writes.len() as u64);
                Ok(())
            }
        })
        .await
    }
}

fn commit_request(database: &Database, writes: &[Write]) -> Bytes {
    let database = database.name();
    let written: usize = writes.iter().map(|write| LENGTH_BYTES + write.as_bytes().len()).sum();
    let mut request = Message::with_capacity(LENGTH_BYTES + database.len() + written);
    request.bytes(DATABASE, database.as_bytes());
    for write in writes {
        request.bytes(WRITES, write.as_bytes());
    }
    request.into_bytes().into()
}

/// Sends what is encoded already.
struct CommitCodec {
    length: usize,
}

impl Codec for CommitCodec {
    type Encode = Bytes;
    type Decode = CommitResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self { length: self.length }
    }

    fn decoder(&mut self) -> Self {
        Self { length: self.length }
    }
}

impl Encoder for CommitCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, request: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(request);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        let size = GRPC_PREFIX + self.length;
        BufferSettings::new(size, size)
    }
}

impl Decoder for CommitCodec {
    type Item = CommitResponse;
    type Error = Status;

    fn decode(&mut self, answer: &mut DecodeBuf<'_>) -> Result<Option<CommitResponse>, Status> {
        // What cannot be read may be from somebody else than Firestore: nobody knows whether the commit was applied.
        CommitResponse::decode(answer).map(Some).map_err(|err| Status::internal(err.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(ANSWER_BUFFER, ANSWER_BUFFER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::write::{Precondition, merge};
    use gcloud_sdk::google::firestore::v1;

    #[test]
    fn a_request_is_the_database_and_the_writes_in_their_order() {
        let database = Database::parse("p", "(default)").expect("legal");
        let long = "x".repeat(70_000);
        let writes = [
            merge("a", &[("f", Some(long.as_str().into()))], &Precondition::Nothing),
            merge("b", &[], &Precondition::Absent),
        ];
        let request = v1::CommitRequest::decode(commit_request(&database, &writes)).expect("a commit");
        let decoded = |write: &Write| v1::Write::decode(write.as_bytes()).expect("a write");
        let expected = v1::CommitRequest {
            database: "projects/p/databases/(default)".into(),
            writes: writes.iter().map(decoded).collect(),
            ..v1::CommitRequest::default()
        };
        assert_eq!(request, expected);
    }
}
