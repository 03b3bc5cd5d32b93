//! The floor: what the requests of a pulse cost a client that does nothing else.
//!
//! A bare `hyper` client sends the recorded requests of each user and waits for the answers. It reads no user
//! documents, looks into no answer but its status, and logs nothing. No pulse on this HTTP library can use less.

use crate::Result;
use crate::recording::{Recorded, Script};
use bytes::Bytes;
use clap::Args;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pulse_sandbox::alpaca::Alpaca;
use pulse_sandbox::seed::{key_id, secret_key, user_id};
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// As the pulse does it.
const CALLS_PER_HTTP2_CONNECTION: u32 = 100;
const MIN_HTTP2_CONNECTIONS: u32 = 2;

type Http1 = http1::SendRequest<Full<Bytes>>;
type Http2 = http2::SendRequest<Full<Bytes>>;

/// The part `floor`.
#[derive(Args, Debug)]
pub(crate) struct FloorArgs {
    #[arg(long)]
    recording: PathBuf,
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    users: u32,
    #[arg(long)]
    concurrency: u32,
}

/// What differs from user to user.
#[derive(Clone, Copy, Debug)]
enum Part {
    User,
    KeyId,
    SecretKey,
    AccountId,
}

/// Bytes with places where a part of the same length goes.
struct Template {
    bytes: Vec<u8>,
    places: Vec<(usize, Part)>,
}

/// A user's own parts.
struct Parts {
    user: String,
    key_id: String,
    secret_key: String,
    account_id: String,
}

/// One request of every user whose id has the same length.
struct Call {
    grpc: bool,
    method: Method,
    uri: Template,
    /// The headers that are the same for all.
    headers: HeaderMap,
    own_headers: Vec<(HeaderName, Template)>,
    body: Template,
}

/// What all workers share.
struct Plan {
    address: SocketAddr,
    users: u32,
    next: AtomicU32,
    /// By the length of the user's id.
    calls_of_a_user: Vec<(usize, Vec<Call>)>,
}

pub(crate) fn run(args: &FloorArgs) -> Result<ExitCode> {
    let scripts: Vec<Script> = serde_json::from_reader(File::open(&args.recording)?)?;
    let of = |script: &Script| {
        let calls = script.requests.iter().map(|request| Call::new(request, script, args.address));
        Ok((script.user.len(), calls.collect::<Result<_>>()?))
    };
    let calls_of_a_user = scripts.iter().map(of).collect::<Result<_>>()?;
    let plan = Plan { address: args.address, users: args.users, next: AtomicU32::new(1), calls_of_a_user };
    // As in src/main.rs.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(all(Arc::new(plan), args.concurrency))?;
    Ok(ExitCode::SUCCESS)
}

async fn all(plan: Arc<Plan>, concurrency: u32) -> Result<()> {
    let mut shared = Vec::new();
    for _ in 0..concurrency.div_ceil(CALLS_PER_HTTP2_CONNECTION).max(MIN_HTTP2_CONNECTIONS) {
        shared.push(http2(plan.address).await?);
    }
    let mut workers = JoinSet::new();
    for http2 in shared.into_iter().cycle().take(usize::try_from(concurrency)?) {
        workers.spawn(worker(Arc::clone(&plan), http2));
    }
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(())
}

/// One user after the other. The connections for HTTP/1.1 are its own, one for each such call of a user.
async fn worker(plan: Arc<Plan>, mut http2: Http2) -> Result<()> {
    let mut http1 = Vec::new();
    loop {
        let number = plan.next.fetch_add(1, Ordering::Relaxed);
        if number > plan.users {
            return Ok(());
        }
        let parts = Parts {
            user: user_id(number),
            key_id: key_id(number),
            secret_key: secret_key(number),
            account_id: Alpaca::seeded_account_id(number),
        };
        let calls = plan.calls_of_a_user.iter().find(|(length, _)| *length == parts.user.len());
        let (_, calls) = calls.ok_or("no recording for so long an id")?;
        for (index, call) in calls.iter().enumerate() {
            let request = call.request(&parts)?;
            if call.grpc {
                http2.ready().await?;
                check_grpc(http2.send_request(request).await?).await?;
            } else {
                if http1.len() <= index {
                    http1.push(self::http1(plan.address).await?);
                }
                let connection: &mut Http1 = &mut http1[index];
                connection.ready().await?;
                check(connection.send_request(request).await?).await?;
            }
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TokioIo<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(stream))
}

async fn http1(address: SocketAddr) -> Result<Http1> {
    let (sender, connection) = http1::handshake(connect(address).await?).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn http2(address: SocketAddr) -> Result<Http2> {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), connect(address).await?).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Waits for the whole answer.
async fn check(answer: Response<Incoming>) -> Result<()> {
    let status = answer.status();
    drain(answer.into_body()).await?;
    if status == StatusCode::OK { Ok(()) } else { Err(format!("answered with {status}").into()) }
}

async fn check_grpc(answer: Response<Incoming>) -> Result<()> {
    let mut status = answer.headers().get("grpc-status").cloned();
    if let Some(trailers) = drain(answer.into_body()).await? {
        status = trailers.get("grpc-status").cloned();
    }
    if status.as_ref().is_some_and(|status| status == "0") {
        Ok(())
    } else {
        Err(format!("answered with gRPC status {status:?}").into())
    }
}

async fn drain(mut body: Incoming) -> Result<Option<HeaderMap>> {
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        trailers = frame?.into_trailers().ok().or(trailers);
    }
    Ok(trailers)
}

impl Call {
    fn new(recorded: &Recorded, script: &Script, address: SocketAddr) -> Result<Self> {
        let template = |text: &[u8]| Template::new(text, script);
        let (mut headers, mut own_headers) = (HeaderMap::new(), Vec::new());
        for (name, value) in &recorded.headers {
            let (name, value_template) = (HeaderName::try_from(name)?, template(value.as_bytes()));
            if value_template.places.is_empty() {
                headers.append(name, HeaderValue::try_from(value)?);
            } else {
                own_headers.push((name, value_template));
            }
        }
        let mut origin = String::new();
        if recorded.grpc {
            origin = format!("http://{address}");
            headers.remove(CONTENT_LENGTH);
        } else {
            headers.insert(HOST, HeaderValue::try_from(address.to_string())?);
        }
        Ok(Self {
            grpc: recorded.grpc,
            method: if recorded.body.is_empty() { Method::GET } else { Method::POST },
            uri: template(format!("{origin}{}", recorded.path).as_bytes()),
            headers,
            own_headers,
            body: template(&recorded.body),
        })
    }

    fn request(&self, parts: &Parts) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::new(Full::new(self.body.fill(parts)));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from_maybe_shared(self.uri.fill(parts))?;
        *request.headers_mut() = self.headers.clone();
        for (name, value) in &self.own_headers {
            let value = HeaderValue::from_maybe_shared(value.fill(parts))?;
            request.headers_mut().insert(name.clone(), value);
        }
        Ok(request)
    }
}

impl Template {
    fn new(text: &[u8], script: &Script) -> Self {
        let find = |part: &str, kind| {
            let at = |(place, window): (usize, &[u8])| (window == part.as_bytes()).then_some((place, kind));
            text.windows(part.len()).enumerate().filter_map(at).collect::<Vec<_>>()
        };
        let mut places = find(&script.user, Part::User);
        places.extend(find(&script.key_id, Part::KeyId));
        places.extend(find(&script.secret_key, Part::SecretKey));
        places.extend(find(&script.account_id, Part::AccountId));
        Self { bytes: text.to_vec(), places }
    }

    fn fill(&self, parts: &Parts) -> Bytes {
        if self.bytes.is_empty() {
            return Bytes::new();
        }
        let mut bytes = self.bytes.clone();
        for &(place, part) in &self.places {
            let part = match part {
                Part::User => &parts.user,
                Part::KeyId => &parts.key_id,
                Part::SecretKey => &parts.secret_key,
                Part::AccountId => &parts.account_id,
            };
            bytes[place..place + part.len()].copy_from_slice(part.as_bytes());
        }
        bytes.into()
    }
}
