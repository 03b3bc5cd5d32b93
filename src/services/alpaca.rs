//! Alpaca's Trading API, of which the job needs one call: `GET /v2/account`.

use crate::limits::patience::Patience;
use crate::limits::rate::{Permits, RateLimits, UsedUp};
use crate::limits::retry::{Advice, Advise, Deadline, asked_wait, with_numbered_retries};
use crate::limits::slots::answer_within;
use crate::limits::usage::Usage;
use crate::model::account::{Account, AnswerError, is_object};
use crate::model::keys::{AlpacaKeys, Environment};
use crate::model::outcome::Code;
use crate::network::http;
use crate::network::names::Names;
use crate::services::authorization::authorization;
use crate::services::host_watch::{BrokerWatch, Silent};
use crate::services::key_turns::{KeyTurn, KeyTurns, NoTurn};
use crate::services::request_id::RequestId;
use futures::TryFutureExt;
use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::value::{Map, RawValue, Value};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Longest one call may take, connection and body included.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A timer that goes off so late went off in a process that stood still.
const LATE_TIMER: Duration = Duration::from_secs(2);

/// Largest answer that is read. A real one has about 1 KiB.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Why Alpaca gave no account. One variant for each reaction of the caller.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AlpacaError {
    /// 401 or 403 with Alpaca's own error. One proves little: valid keys have been refused during incidents.
    #[error(
        "Alpaca refused the keys with status {status}{request}: if it goes on, the user has to reconnect"
    )]
    Rejected {
        /// 401 or 403.
        status: u16,
        /// For Alpaca's support.
        request: RequestId,
    },
    /// 401 or 403 without Alpaca's own error: nobody has looked at the keys, as far as is known.
    #[error(
        "something between the job and Alpaca refused the call with status {status}, without Alpaca's own error: this \
         says nothing about the keys{request}"
    )]
    Intercepted {
        /// 401 or 403.
        status: u16,
        /// When to come back, as told.
        wait: Option<Duration>,
        /// For Alpaca's support.
        request: RequestId,
    },
    /// 429. Only its own words tell what it is that is limited.
    #[error(
        "Alpaca limits the rate{}{request}",
        if *.is_of_keys { " of these keys" } else { ": of these keys, or of the job's address, which it does not say" }
    )]
    RateLimited {
        /// Whether it spoke of a limit of keys.
        is_of_keys: bool,
        /// When to come back, as told.
        wait: Option<Duration>,
        /// For Alpaca's support.
        request: RequestId,
    },
    /// 5xx or 408.
    #[error("Alpaca answered with status {status}{request}")]
    Failing {
        /// The status.
        status: u16,
        /// When to come back, as told.
        wait: Option<Duration>,
        /// For Alpaca's support.
        request: RequestId,
    },
    /// No connection in time, or an answer that broke off.
    #[error("{}", if .0.is_connect() { "Alpaca could not be reached" } else { "the connection to Alpaca broke" })]
    Unreachable(#[source] reqwest::Error),
    /// No whole answer within the time for one call.
    #[error("Alpaca did not answer within {0:.1?}")]
    TooLate(Duration),
    /// No whole answer within what was left of the user's time.
    #[error("Alpaca did not answer within the {0:.1?} that were left for it")]
    OutOfTime(Duration),
    /// In a process that stands still no limit does: an answer waits in the socket until it goes on, and nobody knows
    /// how old its figures are then.
    #[error(
        "whatever Alpaca answered was not read for {0:.1?}, as this process stood still meanwhile: it may be old, so it \
         is dropped"
    )]
    StoodStill(Duration),
    /// Alpaca was not asked: the job's own budget of calls was used up.
    #[error("Alpaca was not asked")]
    OutOfBudget(#[from] UsedUp),
    /// Alpaca was not asked: it limits the keys, as it told these or other users of them, or those are too many.
    #[error("Alpaca was not asked")]
    NoTurn(#[from] NoTurn),
    /// Alpaca was not asked: it answers nobody.
    #[error("Alpaca was not asked: it has answered nobody for 10 s or more")]
    Silent,
    /// The account is not open and lacks figures: normal for a new one.
    #[error("the account is not open and lacks figures (status {0})")]
    Incomplete(&'static str),
    /// An answer that is no JSON: asked for once more, because it may be from somebody else.
    #[error("Alpaca's answer cannot be used{request}: it is no JSON from line {line} column {column} on")]
    NoJson {
        /// Where it ends being JSON.
        line: usize,
        /// Where in that line.
        column: usize,
        /// Whether it is worth another try.
        again: bool,
        /// For Alpaca's support.
        request: RequestId,
    },
    /// An answer that makes no snapshot, and would be the same again.
    #[error("Alpaca's answer cannot be used{request}: {reason}")]
    BadAnswer {
        /// What is wrong with it, without quoting it.
        reason: String,
        /// For Alpaca's support.
        request: RequestId,
    },
}

impl AlpacaError {
    /// The code that logs and documents use for it.
    #[must_use]
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Rejected { .. } => Code::BrokerRejected,
            Self::RateLimited { .. } => Code::BrokerRateLimited,
            Self::NoTurn(why) => why.code(),
            Self::Failing { .. }
            | Self::Intercepted { .. }
            | Self::Unreachable(_)
            | Self::TooLate(_)
            | Self::OutOfTime(_)
            | Self::Silent
            | Self::StoodStill(_)
            | Self::OutOfBudget(_) => Code::BrokerUnavailable,
            Self::Incomplete(_) => Code::AccountIncomplete,
            Self::NoJson { .. } | Self::BadAnswer { .. } => Code::BrokerBadAnswer,
        }
    }
}

impl Advise for AlpacaError {
    fn advice(&self) -> Advice {
        match self {
            Self::RateLimited { wait: Some(wait), .. }
            | Self::Failing { wait: Some(wait), .. }
            | Self::Intercepted { wait: Some(wait), .. } => Advice::After(*wait),
            Self::RateLimited { .. }
            | Self::Failing { .. }
            | Self::Intercepted { .. }
            | Self::Unreachable(_)
            | Self::TooLate(_)
            | Self::StoodStill(_)
            | Self::NoJson { again: true, .. } => Advice::BackOff,
            Self::Rejected { .. }
            | Self::OutOfTime(_)
            | Self::OutOfBudget(_)
            | Self::NoTurn(_)
            | Self::Silent
            | Self::Incomplete(_)
            | Self::NoJson { again: false, .. }
            | Self::BadAnswer { .. } => Advice::GiveUp,
        }
    }

    fn was_not_asked(&self) -> bool {
        matches!(self, Self::Silent)
    }
}

/// An account, and when Alpaca answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The checked account.
    pub(crate) account: Account,
    /// When the answer began to arrive: the figures are no newer.
    pub(crate) answered_at: Instant,
    body: Vec<u8>,
}

impl Answer {
    /// The whole answer (`--store-raw`). More has to be right of it than of the account alone.
    pub(crate) fn raw(&self) -> Result<Map<String, Value>, Unstorable> {
        serde_json::from_slice(&self.body).map_err(|err| Unstorable(err.line(), err.column()))
    }
}

/// Why an answer, though an account was read from it, cannot be stored as a whole. Its place is enough to find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Alpaca's answer has something at line {0} column {1} that no document can hold, such as a number out of range, half \
     a character, or nesting beyond 127 levels"
)]
pub(crate) struct Unstorable(usize, usize);

/// The client, shared by all users' tasks.
#[derive(Clone, Debug)]
pub(crate) struct Alpaca {
    http: reqwest::Client,
    /// The same, but every call has a connection of its own. Made when it is first needed, which takes
    /// milliseconds and is rare.
    unshared: Arc<OnceLock<reqwest::Client>>,
    plain_http: bool,
    names: Names,
    /// Where the account of paper keys is.
    paper: Url,
    /// Where the account of live keys is.
    live: Url,
    usage: Arc<Usage>,
    limits: Arc<RateLimits>,
    watch: BrokerWatch,
    turns: Arc<KeyTurns>,
    patience: Arc<Patience>,
}

impl Alpaca {
    /// `base_url` replaces Alpaca's hosts for all keys (`APCA_API_BASE_URL`).
    pub(crate) fn new(
        base_url: Option<Url>,
        names: Names,
        usage: Arc<Usage>,
        limits: Arc<RateLimits>,
    ) -> Result<Self, reqwest::Error> {
        let plain_http = base_url.as_ref().is_some_and(|url| url.scheme() == "http");
        let http = client(&names, plain_http).build()?;
        let url = |environment: Environment| {
            let base = base_url.as_ref().map_or(environment.base_url(), Url::as_str);
            // Alpaca's own tools take the variable with and without the version.
            let base = base.trim_end_matches('/').trim_end_matches("/v2");
            Ok(http.get(format!("{base}/v2/account")).build()?.url().clone())
        };
        let (paper, live) = (url(Environment::Paper)?, url(Environment::Live)?);
        Ok(Self {
            http,
            unshared: Arc::default(),
            plain_http,
            names,
            paper,
            live,
            usage,
            limits,
            watch: BrokerWatch::default(),
            turns: Arc::default(),
            patience: Arc::default(),
        })
    }

    /// The account that the keys belong to. The limits must have allowed the call; further attempts wait
    /// for it.
    pub(crate) async fn account(&self, keys: &AlpacaKeys, deadline: Deadline) -> Result<Answer, AlpacaError> {
        self.account_over(&self.http, keys, deadline).await
    }

    /// The same over new connections: nothing that was meant for another call can be waiting there.
    pub(crate) async fn account_over_new_connection(
        &self,
        keys: &AlpacaKeys,
        deadline: Deadline,
    ) -> Result<Answer, AlpacaError> {
        self.account_over(self.unshared()?, keys, deadline).await
    }

    fn unshared(&self) -> Result<&reqwest::Client, AlpacaError> {
        if let Some(http) = self.unshared.get() {
            return Ok(http);
        }
        let http =
            client(&self.names, self.plain_http).pool_max_idle_per_host(0).build().map_err(unreachable)?;
        Ok(self.unshared.get_or_init(|| http))
    }

    /// A pass begins.
    pub(crate) fn begin_pass(&self) {
        self.watch.begin_pass();
    }

    /// The users who were set aside come.
    pub(crate) fn begin_lap(&self) {
        self.watch.begin_lap();
    }

    /// Where calls go.
    pub(crate) fn urls(&self) -> [&Url; 2] {
        [&self.paper, &self.live]
    }

    async fn account_over(
        &self,
        http: &reqwest::Client,
        keys: &AlpacaKeys,
        deadline: Deadline,
    ) -> Result<Answer, AlpacaError> {
        let asked_again = AtomicBool::new(false);
        let turn = self.turns.of(keys);
        with_numbered_retries(deadline, |attempt| {
            let asking = self.ask_in_turn(http, (attempt, keys), &turn, deadline);
            asking.map_err(|err| once_more(err, &asked_again))
        })
        .await
    }

    /// One call, when the keys may be used and the host is asked, and what follows from it for other users.
    async fn ask_in_turn(
        &self,
        http: &reqwest::Client,
        (attempt, keys): (u32, &AlpacaKeys),
        turn: &KeyTurn<'_>,
        deadline: Deadline,
    ) -> Result<Answer, AlpacaError> {
        let _call = turn.wait(deadline).await?;
        let watch = self.watch.of(keys.environment());
        let entry = watch.enter(attempt, deadline).await.map_err(|Silent| AlpacaError::Silent)?;
        if attempt > 0 {
            self.limits.allow_by(Permits::ALPACA_CALL, deadline).await?;
        }
        let asked_at = Instant::now();
        let answer = self.ask(http, keys, entry.limit(CALL_TIMEOUT), deadline).await;
        match &answer {
            Err(AlpacaError::RateLimited { wait, .. }) => turn.limited(*wait),
            Err(_) => {}
            Ok(_) => turn.unlimited(asked_at),
        }
        answer
    }

    async fn ask(
        &self,
        http: &reqwest::Client,
        keys: &AlpacaKeys,
        limit: Duration,
        deadline: Deadline,
    ) -> Result<Answer, AlpacaError> {
        self.usage.alpaca_calls.add(1);
        let (limit, asked_at) = (deadline.for_call(limit), Instant::now());
        let answer = answer_within(limit, &self.patience, pin!(self.call(http, keys))).await;
        match (answer, asked_at.elapsed()) {
            (Ok(end), took) if took > CALL_TIMEOUT && is_answer(&end) => Err(AlpacaError::StoodStill(took)),
            (Ok(end), _) => end,
            (Err(_), took) if took > limit + LATE_TIMER => Err(AlpacaError::StoodStill(took)),
            (Err(_), _) => Err(late(limit, deadline)),
        }
    }

    async fn call(&self, http: &reqwest::Client, keys: &AlpacaKeys) -> Result<Answer, AlpacaError> {
        let request = http.get(self.account_url(keys).clone()).headers(authorization(keys.credentials()));
        let answer =
            request.send().await.inspect_err(|err| http::heed(&self.names, err)).map_err(unreachable)?;
        self.watch.of(keys.environment()).answered();
        let answered_at = Instant::now();
        let request = RequestId::of(answer.headers());
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(rejection(answer, request).await),
            status => return Err(refusal(status, answer.headers(), request)),
        }
        let body = read_body(answer, &request).await?;
        match Account::from_answer(&body) {
            Ok(account) => Ok(Answer { account, answered_at, body }),
            Err(AnswerError::Incomplete(status)) => Err(AlpacaError::Incomplete(status)),
            Err(AnswerError::NoJson { line, column }) => {
                Err(AlpacaError::NoJson { line, column, again: true, request })
            }
            Err(AnswerError::Unusable(reason)) => Err(AlpacaError::BadAnswer { reason, request }),
        }
    }

    fn account_url(&self, keys: &AlpacaKeys) -> &Url {
        match keys.environment() {
            Environment::Paper => &self.paper,
            Environment::Live => &self.live,
        }
    }
}

/// Whether a call has had an answer, whatever it says.
fn is_answer(end: &Result<Answer, AlpacaError>) -> bool {
    !matches!(end, Err(AlpacaError::Unreachable(_)))
}

/// No whole answer before a call ran into its own limit, or into the deadline.
fn late(limit: Duration, deadline: Deadline) -> AlpacaError {
    if deadline.is_over() { AlpacaError::OutOfTime(limit) } else { AlpacaError::TooLate(limit) }
}

/// How calls are made.
fn client(names: &Names, plain_http: bool) -> reqwest::ClientBuilder {
    let http = http::client(names, plain_http);
    // A proxy would see the keys of a call without TLS.
    if plain_http { http.no_proxy() } else { http }
}

fn unreachable(err: reqwest::Error) -> AlpacaError {
    AlpacaError::Unreachable(err.without_url())
}

/// An answer without JSON is asked for only once more.
fn once_more(err: AlpacaError, asked_again: &AtomicBool) -> AlpacaError {
    match err {
        AlpacaError::NoJson { line, column, request, .. } => {
            let again = !asked_again.swap(true, Ordering::Relaxed);
            AlpacaError::NoJson { line, column, again, request }
        }
        other => other,
    }
}

/// What a 401 or 403 means: that the keys are rejected only if Alpaca itself says so.
async fn rejection(answer: Response, request: RequestId) -> AlpacaError {
    let (status, wait) = (answer.status().as_u16(), retry_after(answer.headers()));
    match read_body(answer, &request).await {
        Ok(body) if is_alpacas_error(&body) => AlpacaError::Rejected { status, request },
        Ok(_) | Err(AlpacaError::BadAnswer { .. }) => AlpacaError::Intercepted { status, wait, request },
        Err(broken) => broken,
    }
}

/// Whether a body is the error that Alpaca itself sends: an object with a `message`, a `code`, or both.
pub(super) fn is_alpacas_error(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Refusal<'a> {
        #[serde(borrow)]
        message: Option<&'a RawValue>,
        #[serde(borrow)]
        code: Option<&'a RawValue>,
    }
    let starts = |value: Option<&RawValue>, allowed: fn(u8) -> bool| {
        value.and_then(|json| json.get().bytes().next()).is_some_and(allowed)
    };
    let refusal = Some(body).filter(|body| is_object(body)).map(serde_json::from_slice::<Refusal<'_>>);
    refusal.and_then(Result::ok).is_some_and(|Refusal { message, code }| {
        starts(message, |byte| byte == b'"')
            || starts(code, |byte| byte == b'"' || byte == b'-' || byte.is_ascii_digit())
    })
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    asked_wait(None, text(headers, "retry-after"), SystemTime::now())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// What a status other than 200, 401 and 403 means.
fn refusal(status: StatusCode, headers: &HeaderMap, request: RequestId) -> AlpacaError {
    match status.as_u16() {
        429 => {
            let wait = asked_wait(
                text(headers, "x-ratelimit-reset"),
                text(headers, "retry-after"),
                SystemTime::now(),
            );
            let is_of_keys =
                headers.contains_key("x-ratelimit-limit") || headers.contains_key("x-ratelimit-reset");
            AlpacaError::RateLimited { is_of_keys, wait, request }
        }
        status @ (408 | 500..) => AlpacaError::Failing { status, wait: retry_after(headers), request },
        status @ 300..=399 => AlpacaError::BadAnswer {
            reason: format!("it is a redirect (status {status}), which is not followed"),
            request,
        },
        status => AlpacaError::BadAnswer { reason: format!("its status is {status}"), request },
    }
}

/// The body, as long as it is of a believable size.
async fn read_body(mut answer: Response, request: &RequestId) -> Result<Vec<u8>, AlpacaError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            let reason = format!("it is larger than {MAX_ANSWER_BYTES} bytes");
            return Err(AlpacaError::BadAnswer { reason, request: request.clone() });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::rate::{Budgets, Share};
    use jiff::Timestamp;

    fn keys(payload: &str) -> AlpacaKeys {
        AlpacaKeys::from_payload(payload.as_bytes()).expect("well-formed")
    }

    #[test]
    fn the_keys_choose_the_host_unless_it_is_overridden() {
        let limits = Arc::new(RateLimits::new(&Budgets::default(), Share::ALL, Timestamp::UNIX_EPOCH));
        let url = |base: Option<&str>, payload| {
            let base = base.map(|base| base.parse().expect("a URL"));
            Alpaca::new(base, Names::of_the_machine(), Arc::default(), Arc::clone(&limits))
                .expect("a client")
                .account_url(&keys(payload))
                .to_string()
        };
        let paper = r#"{"key_id":"PKTEST","secret_key":"s"}"#;
        let live = r#"{"key_id":"AKTEST","secret_key":"s"}"#;
        assert_eq!(url(None, paper), "https://paper-api.alpaca.markets/v2/account");
        assert_eq!(url(None, live), "https://api.alpaca.markets/v2/account");
        for base in
            ["http://127.0.0.1:9", "http://127.0.0.1:9/", "http://127.0.0.1:9/v2", "http://127.0.0.1:9/v2/"]
        {
            assert_eq!(url(Some(base), live), "http://127.0.0.1:9/v2/account", "{base}");
        }
    }

    #[test]
    fn only_alpacas_own_error_rejects_keys() {
        for (body, own) in [
            (r#"{"code":40110000,"message":"request is not authorized"}"#, true),
            ("{\"message\": \"forbidden.\"}\n", true),
            (r#" {"message":"","request_id":"\ud800"}"#, true),
            (r#"{"code":40310000}"#, true),
            ("", false),
            ("Access denied", false),
            ("<html><body>403 Forbidden</body></html>", false),
            ("\"forbidden.\"", false),
            ("null", false),
            (r#"["forbidden.",40310000]"#, false),
            (r#"[{"message":"forbidden."}]"#, false),
            ("{}", false),
            (r#"{"error":"forbidden"}"#, false),
            (r#"{"message":null,"code":null}"#, false),
            (r#"{"message":{"text":"no"}}"#, false),
            (r#"{"message":"forbid"#, false),
            (r#"{"message":"forbidden."}<html>"#, false),
        ] {
            assert_eq!(is_alpacas_error(body.as_bytes()), own, "{body}");
        }
        assert!(!is_alpacas_error(b"{\"message\":\"\xff\"}"), "no UTF-8");
    }

    #[tokio::test(start_paused = true)]
    async fn the_jobs_own_time_is_not_alpacas() {
        let (limit, deadline) = (CALL_TIMEOUT, Deadline::after(Duration::from_secs(1)));
        let early = late(limit, deadline);
        assert_eq!(
            (early.to_string().as_str(), early.advice()),
            ("Alpaca did not answer within 10.0s", Advice::BackOff)
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        let over = late(Duration::from_millis(2_500), deadline);
        let text = "Alpaca did not answer within the 2.5s that were left for it";
        assert_eq!((over.to_string().as_str(), over.advice()), (text, Advice::GiveUp));
        assert_eq!([early.code(), over.code()], [Code::BrokerUnavailable; 2]);
    }
}
