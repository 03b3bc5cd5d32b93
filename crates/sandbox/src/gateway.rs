//! The way of every call through the sandbox: recognised, noted, judged, handled, answered.

use super::admin::Admin;
use super::alpaca::Alpaca;
use super::answer::{self, Answer};
use super::call::{Call, Service};
use super::control;
use super::faults::{self, Effect, Fault, Faults, GrpcFault, RestFault};
use super::firestore::Firestore;
use super::metadata::Metadata;
use super::requests::{Outcome, Requests};
use super::secret_manager::SecretManager;
use super::stray;
use super::telemetry::Telemetry;
use bytes::Bytes;
use http::header::LOCATION;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;
use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;
use tokio::sync::Notify;
use tonic::body::Body;

/// Largest request body; Firestore itself takes 10 MiB.
const MAX_REQUEST: usize = 16 * 1024 * 1024;

/// The services and what is common to them.
pub(super) struct Cloud {
    pub(super) firestore: Firestore,
    pub(super) secrets: SecretManager,
    pub(super) alpaca: Alpaca,
    pub(super) metadata: Metadata,
    pub(super) admin: Admin,
    pub(super) telemetry: Telemetry,
    pub(super) faults: Faults,
    pub(super) requests: Requests,
    /// How long every call takes at least.
    pub(super) latency: Duration,
}

/// The connection that a call came over: ends it, or sends more on it than an answer.
#[derive(Default)]
pub(super) struct HangUp {
    cut: Notify,
    farewell: Notify,
    stray: stray::Plan,
}

impl HangUp {
    /// Asks for the cut, and never returns: the connection takes its calls with it.
    async fn now(&self) -> Infallible {
        self.cut.notify_one();
        pending().await
    }

    /// Asks for an end once the calls that are on it are answered.
    fn once_idle(&self) {
        self.farewell.notify_one();
    }

    /// What follows the answer.
    pub(super) fn stray(&self) -> &stray::Plan {
        &self.stray
    }

    /// Returns once a call asks for the cut.
    pub(super) async fn requested(&self) {
        self.cut.notified().await;
    }

    /// Returns once a call asks for the end.
    pub(super) async fn announced(&self) {
        self.farewell.notified().await;
    }
}

impl Cloud {
    pub(super) async fn answer(&self, request: Request<Incoming>, hang_up: &HangUp) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let Ok(body) = Limited::new(body, MAX_REQUEST).collect().await else {
            return answer::whole(answer::json_text(StatusCode::PAYLOAD_TOO_LARGE, ""));
        };
        let request = Request::from_parts(parts, body.to_bytes());
        if request.uri().path().starts_with(control::PREFIX) {
            return answer::whole(control::answer(
                &request,
                &self.faults,
                &self.requests,
                self.firestore.billed(),
            ));
        }
        let Some(call) = Call::recognise(request, |id| self.alpaca.owner(id)) else {
            return answer::whole(answer::json_text(StatusCode::NOT_FOUND, "{}"));
        };
        self.requests.arrived(&call);
        let Effect { latency, fault } = self.faults.judge(&call);
        let latency = latency.saturating_add(self.latency);
        // Even a sleep of nothing would wait for the timer's next tick.
        if latency > Duration::ZERO {
            tokio::time::sleep(latency).await;
        }
        let response = match fault {
            None => self.handle(&call),
            Some(fault) => self.spoil(&call, fault, hang_up).await,
        };
        self.requests.ended(&call, outcome(&response));
        response
    }

    fn handle(&self, call: &Call) -> Response<Body> {
        match call.method.service() {
            Service::Firestore => self.firestore.answer(&call.path, call.request.body().clone()),
            Service::SecretManager
            | Service::Alpaca
            | Service::Metadata
            | Service::Admin
            | Service::Telemetry => answer::whole(self.handle_rest(call)),
        }
    }

    fn handle_rest(&self, call: &Call) -> Answer {
        match call.method.service() {
            Service::Alpaca if call.method.name() == "GetAccount" => {
                self.alpaca.answer(call.request.headers(), Timestamp::now())
            }
            Service::Alpaca => Alpaca::unknown_endpoint(),
            Service::Metadata => self.metadata.answer(&call.path, call.request.headers()),
            Service::Admin => self.admin.answer(call.method.name(), &call.path),
            Service::Telemetry if call.method.name() == "ExportMetrics" => {
                self.telemetry.answer(call.request.headers(), call.request.body())
            }
            Service::Telemetry => answer::json_text(StatusCode::METHOD_NOT_ALLOWED, ""),
            _ => self.secrets.answer(call.operation.as_ref(), call.request.body()),
        }
    }

    async fn spoil(&self, call: &Call, fault: Fault, hang_up: &HangUp) -> Response<Body> {
        match fault {
            Fault::Latency(_) => self.handle(call), // already waited for
            Fault::Stall => {
                self.requests.ended(call, Outcome::Stalled);
                pending().await
            }
            Fault::StallAfter => {
                self.handle_to_its_end(call).await;
                self.requests.ended(call, Outcome::Stalled);
                pending().await
            }
            Fault::DropBefore => {
                self.requests.ended(call, Outcome::Dropped);
                match hang_up.now().await {}
            }
            Fault::DropAfter => {
                self.handle_to_its_end(call).await;
                self.requests.ended(call, Outcome::Dropped);
                match hang_up.now().await {}
            }
            Fault::GoAway => {
                hang_up.once_idle();
                self.handle(call)
            }
            Fault::Grpc(GrpcFault::Garbage) => faults::garbage(),
            Fault::Grpc(GrpcFault::Error { code, message, reason }) => {
                faults::grpc_error(code, message.as_deref(), reason.as_deref())
            }
            Fault::Grpc(GrpcFault::BreakAfter(messages)) => faults::broken_after(self.handle(call), messages),
            Fault::Rest(RestFault::Stray(after)) => {
                let answer = self.handle_rest(call);
                hang_up.stray.make(after, stray::on_the_wire(&answer));
                answer::whole(answer)
            }
            Fault::Rest(fault) => self.spoil_rest(call, fault),
        }
    }

    /// Reading the answer to its end is what makes sure that the work behind it is done; what it says, even an error,
    /// is lost.
    async fn handle_to_its_end(&self, call: &Call) {
        let _lost = self.handle(call).into_body().collect().await;
    }

    fn spoil_rest(&self, call: &Call, fault: RestFault) -> Response<Body> {
        let answer = match fault {
            RestFault::Slow(pause) => return faults::slow(self.handle_rest(call), pause),
            RestFault::Truncate => return faults::truncated(self.handle_rest(call)),
            RestFault::Padding(spaces) => faults::padded(self.handle_rest(call), spaces),
            RestFault::WrongChecksum => faults::corrupt_checksum(self.handle_rest(call)),
            RestFault::OtherAccount => self.alpaca.anothers_answer(Timestamp::now()),
            RestFault::RateLimit(ends_in) => Alpaca::beyond_rate_limit(Timestamp::now(), ends_in),
            RestFault::Body(body) => answer::json_text(StatusCode::OK, body),
            RestFault::Redirect(location) => {
                let mut answer = answer::json_text(StatusCode::FOUND, Bytes::new());
                answer.headers_mut().insert(LOCATION, location);
                answer
            }
            RestFault::Error { status, headers, body, reason } => {
                faults::rest_error(call.method.service(), status, headers, body, reason.as_deref())
            }
            RestFault::OtherSecret(secret) => {
                let operation = call.operation.clone().map(|asked| asked.of_secret(secret));
                self.secrets.answer(operation.as_ref(), call.request.body())
            }
            RestFault::OldLatest => match &call.operation {
                Some(operation) => self.secrets.answer_late(operation, call.request.body()),
                None => self.handle_rest(call),
            },
            // The connection sends the rest.
            RestFault::Stray(_) => self.handle_rest(call),
        };
        answer::whole(answer)
    }
}

/// A gRPC call that failed at once says so in its headers.
fn outcome(response: &Response<Body>) -> Outcome {
    let code = response.headers().get("grpc-status").map(|code| tonic::Code::from_bytes(code.as_bytes()));
    code.map_or(Outcome::Status(response.status().as_u16()), |code| Outcome::Grpc(faults::code_name(code)))
}
