//! What was asked of the sandbox: counts, the latest calls, and for tests everything about them.

use super::call::{Call, Method, Service};
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName};
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Calls kept for the control surface.
const RECENT: usize = 200;
/// Calls kept whole for tests.
const RECEIVED: usize = 1000;

/// The log of all calls.
pub struct Requests {
    /// By service and method, in the order of [`Service::ALL`] and [`Service::methods`].
    counts: [Box<[AtomicU64]>; Service::ALL.len()],
    recent: Mutex<VecDeque<Entry>>,
    keeps_received: AtomicBool,
    received: Mutex<VecDeque<Received>>,
}

/// One call as the control surface shows it: nothing in it is secret.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub service: Service,
    pub method: &'static str,
    /// The path, without the query.
    pub path: String,
    pub user: Option<String>,
    pub outcome: Outcome,
    /// The names of its headers; their values may be keys.
    #[serde(serialize_with = "header_names")]
    pub headers: Vec<HeaderName>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Answered with this HTTP status.
    Status(u16),
    /// Refused with this gRPC status.
    Grpc(&'static str),
    /// Left without an answer by a fault.
    Stalled,
    /// Cut off by a fault, before or after it was handled.
    Dropped,
}

/// One call with everything that was sent, keys included. It has no `Debug` for that reason.
#[derive(Clone)]
pub struct Received {
    pub method: Method,
    /// The path, percent-decoded.
    pub path: String,
    /// The query, as sent.
    pub query: Option<String>,
    pub user: Option<String>,
    pub headers: HeaderMap,
    /// The body; of a Firestore call the gRPC frame with its message.
    pub body: Bytes,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            counts: Service::ALL.map(|service| service.methods().iter().map(|_| AtomicU64::new(0)).collect()),
            recent: Mutex::default(),
            keeps_received: AtomicBool::new(false),
            received: Mutex::default(),
        }
    }

    /// How often a method was called, whatever became of the calls. A method unknown to the sandbox was never called.
    pub fn count(&self, service: Service, method: &str) -> u64 {
        Method::named(service, method).map_or(0, |method| self.counter(method).load(Ordering::Relaxed))
    }

    /// The methods called so far and how often, by service.
    pub fn counts(&self) -> BTreeMap<&'static str, BTreeMap<&'static str, u64>> {
        let of_service = |service: Service| {
            let methods = service.methods().iter().map(|method| (*method, self.count(service, method)));
            (service.name(), methods.filter(|(_, count)| *count > 0).collect())
        };
        Service::ALL.into_iter().map(of_service).collect()
    }

    /// The latest calls that came to an end, oldest first.
    pub fn recent(&self) -> Vec<Entry> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Keeps everything about the calls from now on, for [`Requests::received`]; off until then, as it costs memory.
    pub fn keep_received(&self) {
        self.keeps_received.store(true, Ordering::Relaxed);
    }

    /// The latest calls with everything that was sent, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Takes note of a call before anything happens to it.
    pub(super) fn arrived(&self, call: &Call) {
        self.counter(call.method).fetch_add(1, Ordering::Relaxed);
        if self.keeps_received.load(Ordering::Relaxed) {
            let received = Received {
                method: call.method,
                path: call.path.clone(),
                query: call.request.uri().query().map(str::to_owned),
                user: call.user().map(str::to_owned),
                headers: call.request.headers().clone(),
                body: call.request.body().clone(),
            };
            push(&self.received, received, RECEIVED);
        }
    }

    /// Takes note of what became of a call.
    pub(super) fn ended(&self, call: &Call, outcome: Outcome) {
        let entry = Entry {
            service: call.method.service(),
            method: call.method.name(),
            path: call.path.clone(),
            user: call.user().map(str::to_owned),
            outcome,
            headers: call.request.headers().keys().cloned().collect(),
        };
        push(&self.recent, entry, RECENT);
    }

    fn counter(&self, method: Method) -> &AtomicU64 {
        let service = match method.service() {
            Service::Firestore => 0,
            Service::SecretManager => 1,
            Service::Alpaca => 2,
            Service::Metadata => 3,
            Service::Admin => 4,
            Service::Telemetry => 5,
        };
        &self.counts[service][method.index()]
    }
}

/// Adds to a ring of at most `capacity`.
fn push<T>(ring: &Mutex<VecDeque<T>>, item: T, capacity: usize) {
    let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
    if ring.len() == capacity {
        ring.pop_front();
    }
    ring.push_back(item);
}

fn header_names<S: Serializer>(names: &[HeaderName], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().map(HeaderName::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn call(number: usize) -> Call {
        let request = Request::get(format!("/v2/account?n={number}"))
            .header("APCA-API-SECRET-KEY", "not-a-real-secret")
            .body(Bytes::new())
            .unwrap();
        Call::recognise(request, |_| None).unwrap()
    }

    #[test]
    fn calls_are_counted_by_method() {
        let requests = Requests::new();
        requests.arrived(&call(1));
        requests.arrived(&call(2));
        assert_eq!(requests.count(Service::Alpaca, "GetAccount"), 2);
        assert_eq!(requests.count(Service::Firestore, "Commit"), 0);
        assert_eq!(requests.counts()["alpaca"], BTreeMap::from([("GetAccount", 2)]));
    }

    #[test]
    fn entries_show_the_names_of_headers_and_never_their_values() {
        let requests = Requests::new();
        requests.ended(&call(1), Outcome::Status(200));
        let shown = serde_json::to_string(&requests.recent()).unwrap();
        assert!(shown.contains("apca-api-secret-key"), "{shown}");
        assert!(!shown.contains("not-a-real-secret"), "{shown}");
    }

    #[test]
    fn everything_is_kept_only_on_demand_and_only_the_latest() {
        let requests = Requests::new();
        requests.arrived(&call(0));
        assert!(requests.received().is_empty());
        requests.keep_received();
        for number in 0..=RECEIVED {
            requests.arrived(&call(number));
            requests.ended(&call(number), Outcome::Stalled);
        }
        let received = requests.received();
        assert_eq!((received.len(), received[0].query.as_deref()), (RECEIVED, Some("n=1")));
        assert_eq!(received[0].headers["apca-api-secret-key"], "not-a-real-secret");
        assert_eq!(requests.recent().len(), RECENT);
    }
}
