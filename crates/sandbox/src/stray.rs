//! Bytes that nobody asked for, on a connection that stays open.

use super::answer::Answer;
use bytes::{Buf, Bytes, BytesMut};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// What is to be sent on a connection behind the answer that is being made, if anything.
#[derive(Clone, Default)]
pub(super) struct Plan(Arc<Mutex<Option<Planned>>>);

struct Planned {
    after: Duration,
    bytes: Bytes,
}

impl Plan {
    /// Sends these bytes so long after the answer that is being made.
    pub(super) fn make(&self, after: Duration, bytes: Bytes) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Planned { after, bytes });
    }

    fn take(&self) -> Option<Planned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// An answer as it goes over HTTP/1.1.
pub(super) fn on_the_wire(answer: &Answer) -> Bytes {
    let mut wire = BytesMut::new();
    let mut line = |text: String| wire.extend_from_slice(text.as_bytes());
    line(format!("HTTP/1.1 {}\r\n", answer.status()));
    for (name, value) in answer.headers() {
        line(format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
    }
    line(format!("content-length: {}\r\n\r\n", answer.body().len()));
    wire.extend_from_slice(answer.body());
    wire.freeze()
}

/// A connection on which a plan is carried out.
pub(super) struct Straying<T> {
    connection: T,
    plan: Plan,
    state: State,
}

enum State {
    Quiet,
    /// The answer is being sent.
    Answering(Planned),
    Waiting(Pin<Box<Sleep>>, Bytes),
    Sending(Bytes),
}

impl<T: AsyncWrite + Unpin> Straying<T> {
    pub(super) fn new(connection: T, plan: Plan) -> Self {
        Self { connection, plan, state: State::Quiet }
    }

    fn answering(&mut self) {
        if let Some(planned) = self.plan.take() {
            self.state = State::Answering(planned);
        }
    }

    fn answered(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Quiet) {
            State::Answering(Planned { after: Duration::ZERO, bytes }) => State::Sending(bytes),
            State::Answering(Planned { after, bytes }) => State::Waiting(Box::pin(sleep(after)), bytes),
            other => other,
        };
    }

    /// Goes on with the plan as far as it goes by now. A connection that ended has none any more.
    fn go_on(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.state {
                State::Quiet | State::Answering(_) => return Poll::Ready(()),
                State::Waiting(pause, bytes) => {
                    ready!(pause.as_mut().poll(cx));
                    self.state = State::Sending(std::mem::take(bytes));
                }
                State::Sending(bytes) => match ready!(Pin::new(&mut self.connection).poll_write(cx, bytes)) {
                    Ok(sent @ 1..) if sent < bytes.len() => bytes.advance(sent),
                    _ => self.state = State::Quiet,
                },
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Straying<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Whether there is more to send does not hold up what is received.
        let _more = self.go_on(cx);
        Pin::new(&mut self.connection).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Straying<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.answering();
        Pin::new(&mut self.connection).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.answering();
        Pin::new(&mut self.connection).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.connection).poll_flush(cx))?;
        self.answered();
        // So that the connection is woken when the pause is over.
        let _more = self.go_on(cx);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    #[test]
    fn an_answer_on_the_wire_can_be_parsed() {
        let answer = crate::answer::json_text(StatusCode::OK, "{}");
        let wire = on_the_wire(&answer);
        let wire = std::str::from_utf8(&wire).unwrap();
        assert!(wire.starts_with("HTTP/1.1 200 OK\r\ncontent-type: application/json"), "{wire}");
        assert!(wire.ends_with("content-length: 2\r\n\r\n{}"), "{wire}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_planned_follows_the_answer_after_its_pause_and_once() {
        for pause in [Duration::ZERO, Duration::from_secs(5)] {
            let (mut client, server) = duplex(1024);
            let plan = Plan::default();
            let mut server = Straying::new(server, plan.clone());
            plan.make(pause, Bytes::from_static(b"stray"));
            let start = Instant::now();
            server.write_all(b"answer").await.unwrap();
            server.flush().await.unwrap();
            let reading = tokio::spawn(async move { server.read_u8().await.is_ok() });
            let mut received = [0; 11];
            client.read_exact(&mut received).await.unwrap();
            assert_eq!((&received[..], start.elapsed().as_secs()), (&b"answerstray"[..], pause.as_secs()));
            client.write_u8(1).await.unwrap();
            assert!(reading.await.unwrap());
            assert_eq!(client.read(&mut received).await.unwrap(), 0, "nothing more");
        }
    }
}
