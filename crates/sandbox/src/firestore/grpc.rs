//! gRPC on the wire: messages behind a five byte prefix, and a status in the trailers.

use super::errors::invalid;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::stream::{self, StreamExt};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::StreamBody;
use hyper::body::Frame;
use prost::Message;
use tonic::body::Body;
use tonic::{Code, Status};

/// A flag for compression, and the length in four bytes.
const PREFIX_BYTES: usize = 5;
/// Largest request, as Firestore documents it.
const MAX_REQUEST_BYTES: usize = 10 * 1024 * 1024;

/// The one message of a request.
pub(super) fn decode<M: Message + Default>(mut body: Bytes) -> Result<M, Status> {
    if body.len() < PREFIX_BYTES {
        return Err(Status::internal("the request's message prefix is cut short"));
    }
    let compressed = body.get_u8() != 0;
    let length = body.get_u32() as usize;
    if compressed {
        return Err(Status::unimplemented("the sandbox's Firestore does not take compressed messages"));
    }
    if length != body.len() {
        return Err(Status::internal("the request is not one whole message"));
    }
    if length > MAX_REQUEST_BYTES {
        return Err(invalid(format!("Request payload size exceeds the limit: {MAX_REQUEST_BYTES} bytes.")));
    }
    M::decode(body)
        .map_err(|malformed| Status::internal(format!("the request cannot be decoded: {malformed}")))
}

/// A response of one message.
pub(super) fn unary<M: Message + 'static>(answer: Result<M, Status>) -> Response<Body> {
    streaming(answer.map(std::iter::once))
}

/// A response of many messages. Each is encoded when it is sent, so a long result is never in memory twice.
pub(super) fn streaming<I>(answer: Result<I, Status>) -> Response<Body>
where
    I: Iterator<Item: Message> + Send + 'static,
{
    let messages = match answer {
        Ok(messages) => messages,
        Err(status) => return status.into_http(),
    };
    let data = messages.map(|message| Frame::data(frame(&message)));
    let end = std::iter::once_with(|| Frame::trailers(ok_trailers()));
    let frames = stream::iter(data.chain(end)).map(Ok::<_, Status>);
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    // A message of 4 GiB cannot be expressed; documents of 1 MiB do not get there.
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    frame.extend_from_slice(&message.encode_to_vec());
    frame.freeze()
}

fn ok_trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from(Code::Ok as i32))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use gcloud_sdk::google::firestore::v1::BeginTransactionResponse;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_response_is_one_frame_a_message_and_a_status() {
        let messages = [1_u8, 2].map(|id| BeginTransactionResponse { transaction: vec![id] });
        let response = streaming(Ok(messages.clone().into_iter()));
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
        let bytes = collected.to_bytes();
        let (first, second) = bytes.split_at(bytes.len() / 2);
        assert_eq!(decode::<BeginTransactionResponse>(first.to_vec().into()).unwrap(), messages[0]);
        assert_eq!(decode::<BeginTransactionResponse>(second.to_vec().into()).unwrap(), messages[1]);
    }

    #[test]
    fn a_refusal_is_told_in_the_headers() {
        let response = unary::<BeginTransactionResponse>(Err(invalid("no")));
        assert_eq!(response.headers()["grpc-status"], "3");
    }

    #[test]
    fn requests_that_are_not_one_plain_message_are_refused() {
        for body in [&[][..], &[0, 0, 0, 0], &[0, 0, 0, 0, 1], &[0, 0, 0, 0, 0, 7], &[1, 0, 0, 0, 0]] {
            assert!(decode::<BeginTransactionResponse>(Bytes::copy_from_slice(body)).is_err(), "{body:?}");
        }
    }

    #[test]
    fn a_request_above_ten_mebibytes_is_an_invalid_argument() {
        let transaction = vec![7; MAX_REQUEST_BYTES];
        let refusal = decode::<BeginTransactionResponse>(frame(&BeginTransactionResponse { transaction }));
        assert_eq!(refusal.map_err(|status| status.code()), Err(Code::InvalidArgument));
    }
}
