//! An Alpaca that answers only when the test says so: whatever the test does in between happens while the
//! users' journeys are under way, after what decides about their tenants was read.

use crate::world::{Run, World, keys_of};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;

/// Longest wait for a call before the test gives up on it.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// A pass that is waiting for Alpaca.
pub(crate) struct HeldPass {
    pulse: Child,
    calls: Vec<HeldCall>,
}

struct HeldCall {
    key_id: String,
    connection: BufReader<TcpStream>,
}

impl HeldPass {
    /// Starts a pass and waits until it has asked for the accounts of that many users.
    pub(crate) async fn of(world: &World, users: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let mut command = world.command(&[]);
        command.env("APCA_API_BASE_URL", format!("http://{address}"));
        let pulse = command.spawn().expect("pulse starts");
        let mut calls = Vec::new();
        while calls.len() < users {
            let call = tokio::time::timeout(CALL_LIMIT, HeldCall::next(&listener)).await;
            calls.push(call.expect("Alpaca is asked for every user"));
        }
        Self { pulse, calls }
    }

    /// Answers for one user: an open account with that much equity.
    pub(crate) async fn answer(&mut self, user: &str, equity: &str) {
        self.take(user).answer(&account(equity)).await;
    }

    fn take(&mut self, user: &str) -> HeldCall {
        let (key_id, _) = keys_of(user);
        let found = self.calls.iter().position(|call| call.key_id == key_id);
        self.calls.swap_remove(found.expect("that user's account was asked for"))
    }

    /// Answers for these users at the same time, and waits for the end of the pass.
    pub(crate) async fn answer_all<const N: usize>(mut self, equities: [(&str, &str); N]) -> Run {
        let answers = equities.map(|(user, equity)| {
            let call = self.take(user);
            async move { call.answer(&account(equity)).await }
        });
        futures::future::join_all(answers).await;
        self.end().await
    }

    pub(crate) async fn end(self) -> Run {
        Run::of(self.pulse).await
    }
}

impl HeldCall {
    async fn next(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut connection = BufReader::new(stream);
        let mut key_id = String::new();
        loop {
            let mut line = String::new();
            connection.read_line(&mut line).await.expect("a request");
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("apca-api-key-id") => key_id = value.into(),
                None if line.trim_end().is_empty() => return Self { key_id, connection },
                _ => {}
            }
        }
    }

    async fn answer(mut self, body: &str) {
        let length = body.len();
        let answer =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        let sent = self.connection.write_all(answer.as_bytes()).await;
        sent.expect("the job waits for its answer");
    }
}

/// An open account with so much equity, and as much of everything else.
pub(crate) fn account(equity: &str) -> String {
    serde_json::json!({
        "id": "1d9eed04-be39-4e01-9b84-a48ac5bbafcf", "status": "ACTIVE", "currency": "USD",
        "equity": equity, "buying_power": equity, "cash": equity,
    })
    .to_string()
}
