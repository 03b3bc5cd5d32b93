//! A rule: which calls have a fault, and which fault.

use crate::call::{Call, Method, Service};
use crate::secret_manager::Operation;
use http::{HeaderName, HeaderValue, StatusCode};
use std::time::Duration;
use tonic::Code;

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call takes this much longer, and then goes its way.
    Latency(Duration),
    /// No answer ever comes, and the connection stays open.
    Stall,
    /// The call is handled, and no answer ever comes.
    StallAfter,
    /// The connection is cut before the call is handled. Other calls on it are lost too.
    DropBefore,
    /// The call is handled, and the connection is cut instead of answering. Other calls on it are lost too.
    DropAfter,
    /// The call is handled and answered, and its connection takes no further calls: GOAWAY over HTTP/2. Calls that
    /// are on it already are answered.
    GoAway,
    /// A fault of a gRPC service, that is of Firestore.
    Grpc(GrpcFault),
    /// A fault of a REST service, that is of any but Firestore.
    Rest(RestFault),
}

/// What happens to a call of a gRPC service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GrpcFault {
    /// The call is not handled, and answered with this status (as trailers only).
    Error {
        code: Code,
        /// The message; without one, that of a fault rule.
        message: Option<String>,
        /// The reason of a `google.rpc.ErrorInfo` in the details, such as `SERVICE_DISABLED`.
        reason: Option<String>,
    },
    /// The answer ends with UNAVAILABLE after this many messages; one with fewer messages is left alone.
    BreakAfter(u32),
    /// The call is not handled, and answered with a message that is none of Firestore's.
    Garbage,
}

/// What happens to a call of a REST service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RestFault {
    /// The call is not handled, and answered with an error.
    Error {
        /// 400 to 599.
        status: StatusCode,
        /// Headers such as `Retry-After`; visible ASCII.
        headers: Vec<(HeaderName, HeaderValue)>,
        /// The body; without one, that of Alpaca's own 401 and 403, and an empty one for all others.
        body: Option<String>,
        /// The reason of a `google.rpc.ErrorInfo` in a body as Google's, such as `SERVICE_DISABLED`.
        reason: Option<String>,
    },
    /// The true answer's body comes byte by byte, with this pause before each.
    Slow(Duration),
    /// Half of the true answer's body comes, and then the connection is cut.
    Truncate,
    /// This many spaces follow the true answer's body, which stays the same JSON.
    Padding(usize),
    /// The call is not handled, and sent elsewhere with a 302.
    Redirect(HeaderValue),
    /// The checksum of an accessed secret does not fit its payload.
    WrongChecksum,
    /// The call is not handled, and answered with an account that belongs to nobody here.
    OtherAccount,
    /// The call is not handled, and answered with 200 and this body.
    Body(String),
    /// The call is not handled, and answered as one beyond Alpaca's rate limit, which ends so much later.
    RateLimit(Duration),
    /// The answer is about this secret instead of the one that was asked for.
    OtherSecret(String),
    /// `latest` is not the newest version yet, but the one before. Of calls for `latest` alone.
    OldLatest,
    /// The true answer, and so much later, on the same connection, once more: an answer that nobody asked for.
    Stray(Duration),
}

/// A fault, and the calls that have it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    pub(super) service: Service,
    pub(super) method: Option<Method>,
    /// With a `*` for any text.
    pub(super) user: Option<String>,
    pub(super) share: f64,
    pub(super) skip: u64,
    pub(super) times: Option<u64>,
    /// From the first call that has the fault.
    pub(super) lasts: Option<Duration>,
    pub(super) fault: Fault,
}

/// A rule that makes no sense, and why.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidRule(pub(super) String);

impl Rule {
    /// Gives `fault` to every call of `service`; refused when the service cannot have that fault.
    pub(crate) fn new(service: Service, fault: Fault) -> Result<Self, InvalidRule> {
        match (&fault, service) {
            (Fault::Grpc(_), service) if service != Service::Firestore => {
                return refuse(
                    "only firestore speaks gRPC: no gRPC code, broken stream or message elsewhere",
                );
            }
            (Fault::Rest(_), Service::Firestore) => {
                return refuse("firestore speaks gRPC: it has no HTTP status, body, redirect or checksum");
            }
            (Fault::Rest(RestFault::WrongChecksum), service) if service != Service::SecretManager => {
                return refuse("only secret-manager sends checksums");
            }
            (Fault::Rest(RestFault::OtherSecret(_)), Service::Alpaca) => {
                return refuse("only secret-manager has secrets");
            }
            (Fault::Rest(RestFault::OldLatest), service) if service != Service::SecretManager => {
                return refuse("only secret-manager has versions");
            }
            (Fault::Rest(RestFault::OtherAccount), service) if service != Service::Alpaca => {
                return refuse("only alpaca has accounts");
            }
            (Fault::Rest(RestFault::RateLimit(_)), service) if service != Service::Alpaca => {
                return refuse("only alpaca says when its rate limit ends");
            }
            (Fault::Rest(RestFault::Error { reason: Some(_), .. }), Service::Alpaca) => {
                return refuse("only Google's services give a reason");
            }
            (Fault::Rest(RestFault::Error { reason: Some(_), body: Some(_), .. }), _) => {
                return refuse("a reason makes a body of its own");
            }
            (Fault::Grpc(GrpcFault::Error { code: Code::Ok, .. }), _) => return refuse("OK is not an error"),
            (Fault::Rest(RestFault::Error { status, headers, .. }), _) => check_error(*status, headers)?,
            (Fault::Rest(RestFault::Redirect(location)), _) if location.to_str().is_err() => {
                return refuse("a location is visible ASCII");
            }
            _ => {}
        }
        let (method, user, times, lasts) = (None, None, None, None);
        Ok(Self { service, method, user, share: 1.0, skip: 0, times, lasts, fault })
    }

    /// Only for the calls of this method, such as `Commit`.
    pub(crate) fn method(mut self, name: &str) -> Result<Self, InvalidRule> {
        let Some(method) = Method::named(self.service, name) else {
            let known = self.service.methods().join(", ");
            return refuse(format!("{} has no method `{name}`, only {known}", self.service));
        };
        let is_about_access =
            matches!(self.fault, Fault::Rest(RestFault::WrongChecksum | RestFault::OtherSecret(_)));
        if is_about_access && name != "AccessSecretVersion" {
            return refuse("only AccessSecretVersion answers with a secret and its checksum");
        }
        self.method = Some(method);
        Ok(self)
    }

    /// Only for this share of the calls, from 0 (none) to 1 (all). Which ones follows from a fixed seed.
    pub(crate) fn share(mut self, share: f64) -> Result<Self, InvalidRule> {
        if !(0.0..=1.0).contains(&share) {
            return refuse(format!("share={share} is not from 0 to 1"));
        }
        self.share = share.abs(); // no negative zero, which would read back differently
        Ok(self)
    }

    /// Leaves the first `calls` matching calls alone.
    pub(crate) fn skip(mut self, calls: u64) -> Self {
        self.skip = calls;
        self
    }

    /// Whether the rule is about this call; share, skip and times come on top.
    pub(super) fn matches(&self, call: &Call) -> bool {
        let is_about_latest = || call.operation.as_ref().is_some_and(Operation::is_about_latest);
        self.service == call.method.service()
            && self.method.is_none_or(|method| method == call.method)
            && (self.fault != Fault::Rest(RestFault::OldLatest) || is_about_latest())
            && self.user.as_deref().is_none_or(|users| call.concerns(|user| is_one_of(users, user)))
    }
}

/// Whether the user is one of those that are meant; a `*` stands for any text.
fn is_one_of(users: &str, user: &str) -> bool {
    let Some((start, end)) = users.split_once('*') else { return users == user };
    user.strip_prefix(start).is_some_and(|rest| rest.ends_with(end))
}

fn check_error(status: StatusCode, headers: &[(HeaderName, HeaderValue)]) -> Result<(), InvalidRule> {
    if !(400..=599).contains(&status.as_u16()) {
        return refuse(format!("an error has a status from 400 to 599, not {}", status.as_u16()));
    }
    let is_plain = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.trim() == text);
    match headers.iter().find(|(_, value)| !is_plain(value)) {
        Some((name, _)) => refuse(format!("the value of the header {name} is not plain visible ASCII")),
        None => Ok(()),
    }
}

pub(super) fn refuse<T>(reason: impl Into<String>) -> Result<T, InvalidRule> {
    Err(InvalidRule(reason.into()))
}
