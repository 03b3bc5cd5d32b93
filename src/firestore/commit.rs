//! Commits: all or none of some writes.

use crate::firestore::connection::{Store, attempt};
use crate::firestore::error::StoreError;
use crate::firestore::protobuf::Message;
use crate::firestore::write::Write;
use crate::limits::rate::Permits;
use crate::limits::retry::{Deadline, with_numbered_retries};
use crate::limits::slots::answer_within;
use crate::model::ids::Database;
use crate::model::tenancy::Revision;
use bytes::{BufMut, Bytes};
use gcloud_sdk::GoogleAuthMiddleware;
use gcloud_sdk::google::firestore::v1::CommitResponse;
use gcloud_sdk::prost::Message as _;
use gcloud_sdk::tonic::client::Grpc;
use gcloud_sdk::tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use gcloud_sdk::tonic::{Request, Response, Status};
use http::uri::PathAndQuery;
use jiff::Timestamp;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

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

/// What Firestore said of a commit that it made.
#[derive(Debug, Default)]
pub(crate) struct Committed(CommitResponse);

impl Committed {
    /// Which revision the document of that write is now. A write that changes nothing leaves it as it was.
    #[must_use]
    pub(crate) fn revision(&self, write: usize) -> Option<Revision> {
        let time = self.0.write_results.get(write)?.update_time?;
        Some(Revision { seconds: time.seconds, nanos: time.nanos })
    }

    /// When it was made.
    #[must_use]
    pub(crate) fn at(&self) -> Option<Timestamp> {
        self.0.commit_time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok())
    }
}

impl Store {
    /// All or none of the writes. Sent again when it is unclear whether they were applied, so each of
    /// them must be right when applied twice. Waits until the limits allow them.
    pub(crate) async fn commit(&self, writes: &[Write], deadline: Deadline) -> Result<(), StoreError> {
        self.commit_after(0, writes, deadline).await.map(drop)
    }

    /// The same, of which the limits have already allowed so many attempts.
    pub(crate) async fn commit_after(
        &self,
        allowed: u32,
        writes: &[Write],
        deadline: Deadline,
    ) -> Result<Committed, StoreError> {
        let request = commit_request(&self.database, writes);
        let connections = self.connections();
        with_numbered_retries(deadline, |tried| {
            let (connections, request) = (&connections, &request);
            async move {
                if tried >= allowed {
                    self.limits.allow_by(Permits::writes(writes.len()), deadline).await?;
                }
                // Whoever stood still until now holds what may be old by now: a call without time would still be sent.
                if deadline.is_over() {
                    return Err(StoreError::OutOfTime);
                }
                let sent = Instant::now();
                let sending = pin!(attempt(|| send(connections(), request.clone())));
                let answer = answer_within(deadline.for_call(COMMIT_TIMEOUT), &self.patience, sending).await;
                let Ok(answer) = answer else { return Err(StoreError::late(deadline)) };
                let committed = self.heed(answer)?;
                self.learn(sent, committed.commit_time);
                self.usage.firestore_writes.add(writes.len() as u64);
                Ok(Committed(committed))
            }
        })
        .await
    }
}

async fn send(connection: &GoogleAuthMiddleware, request: Bytes) -> Result<CommitResponse, StoreError> {
    let mut firestore = Grpc::new(connection.clone());
    firestore.ready().await.map_err(|err| {
        let mut status = Status::unknown(format!("the connection is not ready: {err}"));
        status.set_source(Arc::from(err));
        status
    })?;
    let codec = CommitCodec { length: request.len() };
    let answer = firestore.unary(Request::new(request), COMMIT, codec).await;
    answer.map(Response::into_inner).map_err(StoreError::of_commit)
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
    use crate::firestore::write::{Precondition, merge_at};
    use gcloud_sdk::google::firestore::v1;

    #[test]
    fn a_request_is_the_database_and_the_writes_in_their_order() {
        let database = Database::parse("p", "(default)").expect("legal");
        let long = "x".repeat(70_000);
        let writes = [
            merge_at("a", &[("f", Some(long.as_str().into()))], "t", &Precondition::Nothing),
            merge_at("b", &[], "t", &Precondition::Absent),
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
