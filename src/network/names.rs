//! Names and their addresses: one lookup for each name at a time, shared by all connections, and kept.
//!
//! Without it each new connection is a lookup of its own, within the time that the connection may take: a name server
//! that is silent for seconds, while the next one would answer, fails everybody.

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use gcloud_sdk::tonic::codegen::Service;
use hyper_util::client::legacy::connect::dns;
use reqwest::dns::{Addrs, Resolve, Resolving};
use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// Longest a lookup may take: longer than the five seconds after which a machine asks its next name server.
pub(crate) const LOOKUP_LIMIT: Duration = Duration::from_secs(10);

/// Longest a connection waits for a name that has no address yet. Less than a connection may take, which would otherwise
/// be blamed; the lookup itself goes on.
const PATIENCE: Duration = Duration::from_millis(2500);

/// How long addresses are taken for the newest. Older ones are still used while they are looked up again.
const FRESH: Duration = Duration::from_secs(120);

/// Between two lookups of a name that has addresses: its name server may be why connections fail.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAddress {
    /// No name server has answered by then.
    #[error("the name {0} could not be looked up within {limit} s: no name server answered", limit = .1.as_secs_f32())]
    Silence(String, Duration),
    /// What the machine says.
    #[error("the name {0} could not be looked up: {1}")]
    Failed(String, String),
}

type Addresses = Arc<[IpAddr]>;
type Lookup = Shared<BoxFuture<'static, Result<Addresses, NoAddress>>>;
type Ask = dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync;

/// The addresses of all names. Clones are the same.
#[derive(Clone)]
pub(crate) struct Names {
    ask: Arc<Ask>,
    known: Arc<Mutex<HashMap<String, Known>>>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

/// What is known of a name.
#[derive(Default)]
struct Known {
    addresses: Option<Addresses>,
    /// When its addresses were last found.
    found: Option<Instant>,
    /// When it was last looked up.
    asked: Option<Instant>,
    /// A connection failed since.
    is_doubted: bool,
    under_way: Option<Lookup>,
}

impl Known {
    /// Whether it is time to look it up.
    fn is_due(&self, now: Instant) -> bool {
        let since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        let is_old = self.is_doubted || since(self.found).is_none_or(|age| age > FRESH);
        let may_be_asked = self.addresses.is_none() || since(self.asked).is_none_or(|pause| pause >= PAUSE);
        self.under_way.is_none() && is_old && may_be_asked
    }
}

impl Names {
    /// As the machine looks names up: `/etc/hosts`, its name servers, their order and time limits.
    pub(crate) fn of_the_machine() -> Self {
        Self::looked_up_by(Arc::new(|name| {
            let lookup = async move {
                let found = tokio::net::lookup_host((name, 0)).await?;
                Ok(found.map(|address| address.ip()).collect())
            };
            lookup.boxed()
        }))
    }

    fn looked_up_by(ask: Arc<Ask>) -> Self {
        Self { ask, known: Arc::default() }
    }

    /// The addresses of a name: those that are known, or what comes of the lookup.
    pub(crate) async fn addresses(&self, name: &str) -> Result<Addresses, NoAddress> {
        let lookup = {
            let mut all = self.lock();
            let known = all.entry(name.to_owned()).or_default();
            if known.is_due(Instant::now()) {
                known.asked = Some(Instant::now());
                known.under_way = Some(self.look_up(name.to_owned()));
            }
            match (&known.addresses, &known.under_way) {
                (Some(addresses), _) => return Ok(Arc::clone(addresses)),
                (None, lookup) => lookup.clone(),
            }
        };
        match lookup {
            Some(lookup) => lookup.await,
            None => Err(NoAddress::Failed(name.to_owned(), "it was not asked for".to_owned())),
        }
    }

    /// A connection to what the name stands for could not be made: it may have other addresses by now.
    pub(crate) fn doubt(&self, name: &str) {
        if let Some(known) = self.lock().get_mut(name) {
            known.is_doubted = true;
        }
    }

    /// A lookup that goes on whether or not somebody waits for it.
    fn look_up(&self, name: String) -> Lookup {
        let (names, asked) = (self.clone(), name.clone());
        let lookup = tokio::spawn(async move {
            let answer = tokio::time::timeout(LOOKUP_LIMIT, (names.ask)(asked.clone())).await;
            names.take_in(
                &asked,
                answer.map_or_else(|_| Err(silence(&asked, LOOKUP_LIMIT)), |found| told(&asked, found)),
            )
        });
        let lookup =
            async move { lookup.await.unwrap_or_else(|err| Err(NoAddress::Failed(name, err.to_string()))) };
        lookup.boxed().shared()
    }

    /// Keeps what was found. Old addresses stay if nothing was.
    fn take_in(&self, name: &str, answer: Result<Addresses, NoAddress>) -> Result<Addresses, NoAddress> {
        if let Some(known) = self.lock().get_mut(name) {
            known.under_way = None;
            if let Ok(addresses) = &answer {
                known.addresses = Some(Arc::clone(addresses));
                known.found = Some(Instant::now());
                known.is_doubted = false;
            }
        }
        answer
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a connection, which has no more time than that.
    async fn addresses_for_connection(self, name: String) -> Result<Vec<SocketAddr>, NoAddress> {
        let addresses = tokio::time::timeout(PATIENCE, self.addresses(&name)).await;
        let addresses = addresses.unwrap_or_else(|_| Err(silence(&name, PATIENCE)))?;
        Ok(addresses.iter().map(|address| SocketAddr::new(*address, 0)).collect())
    }
}

fn silence(name: &str, limit: Duration) -> NoAddress {
    NoAddress::Silence(name.to_owned(), limit)
}

/// What comes of a lookup that failed, behind a client's own errors.
pub(crate) fn no_address<'a>(err: &'a (dyn Error + 'static)) -> Option<&'a NoAddress> {
    std::iter::successors(Some(err), |&err| err.source()).find_map(<dyn Error>::downcast_ref)
}

/// What the machine's answer says.
fn told(name: &str, answer: io::Result<Vec<IpAddr>>) -> Result<Addresses, NoAddress> {
    match answer {
        Ok(found) if found.is_empty() => {
            Err(NoAddress::Failed(name.to_owned(), "it has no address".to_owned()))
        }
        Ok(found) => Ok(found.into()),
        Err(err) => Err(NoAddress::Failed(name.to_owned(), err.to_string())),
    }
}

impl Resolve for Names {
    fn resolve(&self, name: reqwest::dns::Name) -> Resolving {
        let lookup = self.clone().addresses_for_connection(name.as_str().to_owned());
        Box::pin(async move { Ok(Box::new(lookup.await?.into_iter()) as Addrs) })
    }
}

impl Service<dns::Name> for Names {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = NoAddress;
    type Future = BoxFuture<'static, Result<Self::Response, NoAddress>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NoAddress>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: dns::Name) -> Self::Future {
        let lookup = self.clone().addresses_for_connection(name.as_str().to_owned());
        async move { Ok(lookup.await?.into_iter()) }.boxed()
    }
}

#[cfg(test)]
mod tests;
