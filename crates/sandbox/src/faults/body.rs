//! Answers whose body is spoilt.

use crate::answer::Answer;
use bytes::{Buf, Bytes, BytesMut};
use futures::stream::{self, Stream};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::Value;
use std::io;
use std::time::Duration;
use tonic::body::Body;

/// A gRPC message is preceded by a flag and its length in four bytes.
const MESSAGE_HEAD: usize = 5;

/// The answer with its body one byte at a time, and a pause before each.
pub(crate) fn slow(answer: Answer, pause: Duration) -> Response<Body> {
    with_length(answer, |body| {
        stream::unfold(body, move |mut rest| async move {
            if rest.is_empty() {
                return None;
            }
            tokio::time::sleep(pause).await;
            Some((Ok(Frame::data(rest.split_to(1))), rest))
        })
    })
}

/// The answer with the first half of its body, after which the connection breaks.
pub(crate) fn truncated(answer: Answer) -> Response<Body> {
    with_length(answer, |body| {
        let half = body.slice(..body.len() / 2);
        stream::unfold(Some(half), |half| async move {
            match half {
                Some(half) => Some((Ok(Frame::data(half)), None)),
                None => {
                    // hyper sends what it has only once the body makes it wait.
                    tokio::task::yield_now().await;
                    Some((Err(io::Error::other("cut off by a fault rule")), None))
                }
            }
        })
    })
}

/// The answer with `spaces` spaces behind its body.
pub(crate) fn padded(answer: Answer, spaces: usize) -> Answer {
    answer.map(|body| {
        let mut padded = BytesMut::from(&body[..]);
        padded.resize(body.len().saturating_add(spaces), b' ');
        padded.freeze()
    })
}

/// The answer with the next number instead of the payload's checksum; one without a checksum stays as it is.
pub(crate) fn corrupt_checksum(answer: Answer) -> Answer {
    answer.map(|body| {
        let corrupted = || {
            let mut value: Value = serde_json::from_slice(&body).ok()?;
            let checksum = value.pointer_mut("/payload/dataCrc32c")?;
            let right: u32 = checksum.as_str()?.parse().ok()?;
            *checksum = right.wrapping_add(1).to_string().into();
            Some(value.to_string().into())
        };
        corrupted().unwrap_or_else(|| body.clone())
    })
}

/// The gRPC answer with its first `messages` messages, and UNAVAILABLE right after.
///
/// An answer with fewer messages is left alone.
pub(crate) fn broken_after(answer: Response<Body>, messages: u32) -> Response<Body> {
    answer.map(|body| {
        let start = Messages { body, pending: BytesMut::new(), left: messages };
        Body::new(StreamBody::new(stream::try_unfold(Some(start), |messages| async move {
            match messages {
                Some(messages) => messages.next().await,
                None => Ok(None),
            }
        })))
    })
}

/// A gRPC answer of one message that no protocol has.
pub(crate) fn garbage() -> Response<Body> {
    // Its field has the number 0, which none has.
    let message = Bytes::from_static(b"\0\0\0\0\x04\x02\xff\xff\xff");
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Frame::data(message), Frame::trailers(trailers)].map(Ok::<_, io::Error>);
    let mut answer = Response::new(Body::new(StreamBody::new(stream::iter(frames))));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    answer
}

/// A gRPC body that is cut up into its messages.
struct Messages {
    body: Body,
    pending: BytesMut,
    left: u32,
}

impl Messages {
    /// The next frame, with what follows it if anything does.
    async fn next(mut self) -> Result<Option<(Frame<Bytes>, Option<Self>)>, tonic::Status> {
        loop {
            if self.left == 0 {
                return Ok(Some((Frame::trailers(unavailable()), None)));
            }
            if let Some(message) = self.take_message() {
                self.left -= 1;
                return Ok(Some((Frame::data(message), Some(self))));
            }
            match self.body.frame().await.transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => self.pending.extend_from_slice(&data),
                Some(Err(trailers)) => return Ok(Some((trailers, None))),
                None => return Ok(None),
            }
        }
    }

    /// The first pending message with its head, once it is complete.
    fn take_message(&mut self) -> Option<Bytes> {
        let mut length = self.pending.get(1..MESSAGE_HEAD)?;
        let size = MESSAGE_HEAD + usize::try_from(length.get_u32()).ok()?;
        (self.pending.len() >= size).then(|| self.pending.split_to(size).freeze())
    }
}

fn unavailable() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(i32::from(tonic::Code::Unavailable)));
    trailers.insert("grpc-message", HeaderValue::from_static("broken%20by%20a%20fault%20rule"));
    trailers
}

/// The answer with its body streamed by `stream`, under the length of the whole.
fn with_length<S>(answer: Answer, stream: impl FnOnce(Bytes) -> S) -> Response<Body>
where
    S: Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static,
{
    let length = HeaderValue::from(answer.body().len());
    let mut answer = answer.map(|body| Body::new(StreamBody::new(stream(body))));
    answer.headers_mut().insert(CONTENT_LENGTH, length);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use tokio::time::Instant;

    fn answer(body: &'static str) -> Answer {
        Response::new(Bytes::from_static(body.as_bytes()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_pauses_before_each_byte() {
        let pause = Duration::from_secs(60);
        let mut slow = slow(answer("abc"), pause);
        assert_eq!(slow.headers()[CONTENT_LENGTH], "3");
        let start = Instant::now();
        for (byte, pauses) in [("a", 1), ("b", 2), ("c", 3)] {
            let frame = slow.body_mut().frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), byte);
            assert_eq!(start.elapsed().as_secs(), pause.as_secs() * pauses);
        }
        assert!(slow.body_mut().frame().await.is_none());
    }

    #[tokio::test]
    async fn a_truncated_body_announces_more_than_it_sends() {
        let mut truncated = truncated(answer("abcd"));
        assert_eq!(truncated.headers()[CONTENT_LENGTH], "4");
        let frame = truncated.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "ab");
        assert!(truncated.body_mut().frame().await.unwrap().is_err());
    }

    #[test]
    fn padding_keeps_the_json() {
        let padded = padded(answer("{\"a\":1}"), 70_000);
        assert_eq!(padded.body().len(), 70_007);
        assert_eq!(serde_json::from_slice::<Value>(padded.body()).unwrap()["a"], 1);
    }

    #[test]
    fn only_the_checksum_is_corrupted() {
        let corrupted = corrupt_checksum(answer(r#"{"payload":{"data":"eA==","dataCrc32c":"4294967295"}}"#));
        assert_eq!(corrupted.body(), r#"{"payload":{"data":"eA==","dataCrc32c":"0"}}"#);
        assert_eq!(corrupt_checksum(answer("{}")).body(), "{}");
    }

    /// A gRPC answer of three one-byte messages, cut into frames at odd places.
    fn three_messages() -> Response<Body> {
        let frames = [&b"\0\0\0\0\x01a\0\0"[..], b"\0\0\x01b\0\0\0\0\x01c"]
            .map(|data| Ok(Frame::data(Bytes::from_static(data))));
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let frames = frames.into_iter().chain([Ok::<_, io::Error>(Frame::trailers(trailers))]);
        Response::new(Body::new(StreamBody::new(stream::iter(frames))))
    }

    async fn read(answer: Response<Body>) -> (Bytes, HeaderMap) {
        let whole = answer.into_body().collect().await.unwrap();
        let trailers = whole.trailers().cloned().unwrap();
        (whole.to_bytes(), trailers)
    }

    #[tokio::test]
    async fn a_broken_stream_ends_with_unavailable_after_its_messages() {
        for (messages, sent) in [
            (0, &b""[..]),
            (2, b"\0\0\0\0\x01a\0\0\0\0\x01b"),
            (3, b"\0\0\0\0\x01a\0\0\0\0\x01b\0\0\0\0\x01c"),
        ] {
            let (data, trailers) = read(broken_after(three_messages(), messages)).await;
            assert_eq!((&data[..], trailers["grpc-status"].as_bytes()), (sent, &b"14"[..]));
        }
    }

    #[tokio::test]
    async fn garbage_is_a_whole_message_that_says_nothing() {
        let (data, trailers) = read(garbage()).await;
        assert_eq!((&data[..5], trailers["grpc-status"].as_bytes()), (&b"\0\0\0\0\x04"[..], &b"0"[..]));
        assert_eq!(data.len(), 9);
        assert!(<() as prost::Message>::decode(&data[5..]).is_err());
    }

    #[tokio::test]
    async fn a_stream_with_fewer_messages_is_left_alone() {
        let (data, trailers) = read(broken_after(three_messages(), 4)).await;
        assert_eq!((data.len(), trailers["grpc-status"].as_bytes()), (18, &b"0"[..]));
        let empty = Response::new(Body::new(Full::new(Bytes::new())));
        assert!(broken_after(empty, 1).into_body().frame().await.is_none());
    }
}
