//! One token for everybody, asked for as patiently as any other service.

use super::failure::{NoToken, TokenFailure, TokenServer};
use crate::limits::retry::Deadline;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use google_cloud_auth::credentials::{CacheableResource, Credentials, CredentialsProvider, EntityTag};
use google_cloud_auth::errors::CredentialsError;
use http::Extensions;
use reqwest::header::HeaderMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::warn;

/// Longest one question may take, its repetitions included: less than any call that waits for its answer.
const QUESTION_LIMIT: Duration = Duration::from_secs(3);

/// The same for a server that has shown to need longer, when nothing else is left to be done than to wait for it.
const LONGEST_QUESTION: Duration = Duration::from_secs(12);

/// Longest pause between two attempts. With a question after it, it is still shorter than a call may take.
const MAX_PAUSE: Duration = Duration::from_millis(800);

/// Upper bound of the pause after a first failure; it doubles from failure to failure.
const BASE_PAUSE: Duration = Duration::from_millis(200);

/// How long before its end a token is replaced, while it still serves. The metadata server itself hands out the same
/// one until then.
const REFRESH_SLACK: Duration = Duration::from_secs(240);

/// A token is used for so long, whatever is said of its lifetime, or every call would be a question.
const MIN_LIFETIME: Duration = Duration::from_secs(1);

/// A token that was given so recently is not asked for anew because a service did not take it.
const MIN_AGE_OF_DOUBT: Duration = Duration::from_secs(10);

/// What gives tokens.
pub(super) trait Source: fmt::Debug + Send + Sync {
    /// Asks for a token once.
    fn ask(&self) -> BoxFuture<'_, Result<Token, NoToken>>;

    /// Who is asked.
    fn server(&self) -> TokenServer;
}

/// Proof of who the job is.
#[derive(Debug)]
pub(super) enum Token {
    /// Headers that are good for a while.
    Lasting { tag: EntityTag, headers: HeaderMap, refresh_at: Instant, ends_at: Instant },
    /// A library's credentials, which get themselves another one in time, as long as nothing goes wrong.
    Renewing(Credentials),
}

impl Token {
    pub(super) fn lasting(headers: HeaderMap, lifetime: Duration) -> Self {
        let now = Instant::now();
        // No token lasts for a century, and one that does would be more than an `Instant` can hold.
        let lifetime = lifetime.clamp(MIN_LIFETIME, Duration::from_secs(24 * 3600));
        let slack = REFRESH_SLACK.min(lifetime / 2);
        let ends_at = now + lifetime;
        Self::Lasting { tag: EntityTag::new(), headers, refresh_at: ends_at - slack, ends_at }
    }

    /// The headers, unless they are `known`; nothing once the token is over.
    fn answer(&self, known: Extensions, now: Instant) -> Option<CacheableResource<HeaderMap>> {
        match self {
            Self::Lasting { ends_at, .. } if *ends_at <= now => None,
            Self::Lasting { tag, .. } if known.get::<EntityTag>() == Some(tag) => {
                Some(CacheableResource::NotModified)
            }
            Self::Lasting { tag, headers, .. } => {
                Some(CacheableResource::New { entity_tag: tag.clone(), data: headers.clone() })
            }
            // They have it at once, or are waiting for a server without a time limit.
            Self::Renewing(credentials) => unconstrained(credentials.headers(known)).now_or_never()?.ok(),
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        matches!(self, Self::Lasting { refresh_at, .. } if *refresh_at <= now)
    }
}

/// A question that is under way, for whoever needs the answer.
type Question = Shared<BoxFuture<'static, Result<Arc<Token>, NoToken>>>;

/// Keeps one token. Clones keep the same.
#[derive(Clone, Debug)]
pub(crate) struct TokenKeeper(Arc<Shelf>);

#[derive(Debug)]
struct Shelf {
    source: Box<dyn Source>,
    state: Mutex<State>,
}

struct State {
    token: Option<(Arc<Token>, Instant)>,
    question: Option<Question>,
    /// What one question may take.
    limit: Duration,
    failures: u32,
    /// When the next question may be asked.
    not_before: Instant,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("failures", &self.failures).finish_non_exhaustive()
    }
}

impl TokenKeeper {
    pub(super) fn new(source: Box<dyn Source>) -> Self {
        let state = State {
            token: None,
            question: None,
            limit: QUESTION_LIMIT,
            failures: 0,
            not_before: Instant::now(),
        };
        Self(Arc::new(Shelf { source, state: Mutex::new(state) }))
    }

    /// Returns once there is a token, as long as there is time to go on asking. Each question after one that
    /// failed may take longer: a server that is slow gives a token too.
    ///
    /// # Errors
    /// The last failure.
    pub(crate) async fn ready(&self, deadline: Deadline) -> Result<(), NoToken> {
        let mut last = None;
        loop {
            let failure = match timeout(deadline.left(), self.token()).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(failure)) => failure,
                Err(_) => return Err(last.unwrap_or(self.silence())),
            };
            if failure.is_final() {
                return Err(failure);
            }
            self.be_patient();
            if last.replace(failure).is_none() {
                warn!("Google's credentials gave no token yet: {failure}; asking again");
            }
        }
    }

    fn be_patient(&self) {
        let mut state = self.lock();
        state.limit = (2 * state.limit).min(LONGEST_QUESTION);
    }

    /// A service did not take the token: asks for another one, unless it is a new one already.
    pub(crate) fn distrust(&self) {
        let mut state = self.lock();
        if state.token.as_ref().is_some_and(|(_, given_at)| given_at.elapsed() >= MIN_AGE_OF_DOUBT) {
            state.token = None;
        }
    }

    async fn token(&self) -> Result<(), NoToken> {
        let question = {
            let mut state = self.lock();
            match state.answer(Extensions::new()) {
                Some(_) => return Ok(()),
                None => self.question(&mut state),
            }
        };
        question.await.map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whatever panics while it is locked leaves whole values.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The question that is under way, or a new one. It goes on if nobody waits for it any more.
    fn question(&self, state: &mut State) -> Question {
        if let Some(question) = &state.question {
            return question.clone();
        }
        let (keeper, not_before) = (self.clone(), state.not_before);
        let asking = tokio::spawn(async move {
            sleep_until(not_before).await;
            let answer = keeper.ask().await;
            keeper.settle(answer)
        });
        let keeper = self.clone();
        let question = async move {
            // It panicked, in a library.
            asking.await.unwrap_or_else(|_| keeper.settle(Err(keeper.refused(TokenFailure::Other))))
        };
        state.question.insert(question.boxed().shared()).clone()
    }

    /// Asks until there is a token, or the time for one question is over.
    async fn ask(&self) -> Result<Token, NoToken> {
        let end = Instant::now() + self.lock().limit;
        let (mut last, mut failures) = (self.silence(), 0);
        while let Ok(answer) = timeout_at(end, self.0.source.ask()).await {
            match answer {
                Err(failure) if !failure.is_final() => last = failure,
                answer => return answer,
            }
            let next = Instant::now() + pause(failures, fastrand::f64());
            if next >= end {
                break;
            }
            sleep_until(next).await;
            failures += 1;
        }
        Err(last)
    }

    /// Takes note of an answer.
    fn settle(&self, answer: Result<Token, NoToken>) -> Result<Arc<Token>, NoToken> {
        let mut state = self.lock();
        let now = Instant::now();
        state.question = None;
        match answer {
            Ok(token) => {
                let token = Arc::new(token);
                state.failures = 0;
                state.token = Some((Arc::clone(&token), now));
                Ok(token)
            }
            Err(failure) => {
                state.not_before = now + pause(state.failures, fastrand::f64());
                state.failures = state.failures.saturating_add(1);
                Err(failure)
            }
        }
    }

    fn refused(&self, failure: TokenFailure) -> NoToken {
        NoToken::Refused { server: self.0.source.server(), failure }
    }

    fn silence(&self) -> NoToken {
        self.refused(TokenFailure::Silent)
    }
}

impl State {
    /// What the token says to whoever knows `known`, if it still serves, and whether it is time for another one.
    fn answer(&self, known: Extensions) -> Option<(CacheableResource<HeaderMap>, bool)> {
        let ((token, _), now) = (self.token.as_ref()?, Instant::now());
        Some((token.answer(known, now)?, token.is_due(now)))
    }
}

impl CredentialsProvider for TokenKeeper {
    async fn headers(&self, known: Extensions) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        let question = {
            let mut state = self.lock();
            match state.answer(known) {
                Some((answer, is_due)) => {
                    if is_due {
                        let _goes_on_by_itself = self.question(&mut state);
                    }
                    return Ok(answer);
                }
                None => self.question(&mut state),
            }
        };
        let given = |failure| CredentialsError::from_source(true, failure);
        let token = question.await.map_err(given)?;
        let answer = token.answer(Extensions::new(), Instant::now());
        answer.ok_or_else(|| given(self.silence()))
    }

    async fn universe_domain(&self) -> Option<String> {
        Some("googleapis.com".to_owned())
    }
}

/// The pause after so many failures and one more: between a half and the whole of what it has doubled to.
fn pause(failures: u32, share: f64) -> Duration {
    let bound = BASE_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(MAX_PAUSE);
    bound.mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;
    use reqwest::header::{AUTHORIZATION, HeaderValue};
    use std::collections::VecDeque;

    /// What a source does, question for question; then it gives tokens of an hour.
    #[derive(Debug, Default)]
    struct Script {
        does: Mutex<VecDeque<Does>>,
        asked: Mutex<Vec<Instant>>,
    }

    #[derive(Clone, Copy, Debug)]
    enum Does {
        Give(u64),
        Refuse(u16),
        Hang,
        /// After so many seconds.
        GiveAfter(u64),
        Panic,
    }

    #[derive(Debug)]
    struct Scripted(Arc<Script>);

    impl Source for Scripted {
        fn ask(&self) -> BoxFuture<'_, Result<Token, NoToken>> {
            let number = {
                let mut asked = self.0.asked.lock().expect("not poisoned");
                asked.push(Instant::now());
                asked.len()
            };
            let does = self.0.does.lock().expect("not poisoned").pop_front().unwrap_or(Does::Give(3600));
            async move {
                let bearer = HeaderValue::from_str(&number.to_string()).expect("a number");
                match does {
                    Does::Give(seconds) => {
                        let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer)]);
                        Ok(Token::lasting(headers, Duration::from_secs(seconds)))
                    }
                    Does::GiveAfter(seconds) => {
                        sleep_until(Instant::now() + Duration::from_secs(seconds)).await;
                        let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer)]);
                        Ok(Token::lasting(headers, Duration::from_secs(3600)))
                    }
                    Does::Refuse(status) => Err(refused(TokenFailure::Answered(status))),
                    Does::Hang => std::future::pending().await,
                    Does::Panic => panic!("a bug of a library"),
                }
            }
            .boxed()
        }

        fn server(&self) -> TokenServer {
            TokenServer::Metadata
        }
    }

    fn refused(failure: TokenFailure) -> NoToken {
        NoToken::Refused { server: TokenServer::Metadata, failure }
    }

    fn keeper(does: &[Does]) -> (TokenKeeper, Arc<Script>) {
        let script =
            Arc::new(Script { does: Mutex::new(does.iter().copied().collect()), ..Script::default() });
        (TokenKeeper::new(Box::new(Scripted(Arc::clone(&script)))), script)
    }

    impl Script {
        fn asked(&self) -> usize {
            self.asked.lock().expect("not poisoned").len()
        }
    }

    /// Which token is given: the number of its question; nothing, if none is.
    async fn given(keeper: &TokenKeeper) -> Option<String> {
        match keeper.headers(Extensions::new()).await.ok()? {
            CacheableResource::New { data, .. } => {
                Some(data[AUTHORIZATION].to_str().expect("ASCII").to_owned())
            }
            CacheableResource::NotModified => panic!("nothing was known"),
        }
    }

    async fn pass(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_at_once_is_one_question() {
        let (keeper, script) = keeper(&[Does::Hang, Does::Refuse(503)]);
        let first = join_all((0..100).map(|_| given(&keeper))).await;
        assert!(first.iter().all(Option::is_none));
        let second = join_all((0..100).map(|_| given(&keeper))).await;
        assert!(second.iter().all(|token| token.as_deref() == Some("3")));
        assert_eq!(script.asked(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_knows_the_token_gets_nothing_new() {
        let (keeper, script) = keeper(&[]);
        let Ok(CacheableResource::New { entity_tag, .. }) = keeper.headers(Extensions::new()).await else {
            panic!("a token")
        };
        let mut known = Extensions::new();
        known.insert(entity_tag);
        assert_eq!(keeper.headers(known).await.expect("a token"), CacheableResource::NotModified);
        assert_eq!(script.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_serves_on_while_the_next_one_is_asked_for() {
        let (keeper, script) = keeper(&[Does::Give(600), Does::Hang, Does::Refuse(404), Does::Give(600)]);
        assert_eq!(given(&keeper).await.as_deref(), Some("1"));
        pass(360).await;
        for _ in 0..6 {
            assert!(given(&keeper).await.is_some(), "nobody waits");
            pass(4).await;
        }
        assert_eq!(given(&keeper).await.as_deref(), Some("4"));
        assert_eq!(script.asked(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn after_whatever_failure_it_is_asked_again() {
        let fails = [Does::Hang, Does::Panic, Does::Hang];
        let passing = [Does::Refuse(404), Does::Refuse(500)];
        let (keeper, script) = keeper(&[&[Does::Give(1)], &fails[..], &passing].concat());
        assert!(given(&keeper).await.is_some());
        pass(2).await;
        for _ in fails {
            let start = Instant::now();
            assert_eq!(given(&keeper).await, None);
            assert!(start.elapsed() <= QUESTION_LIMIT + MAX_PAUSE, "shorter than a call may take");
        }
        assert_eq!(given(&keeper).await.as_deref(), Some("7"));
        assert_eq!(script.asked(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn the_start_waits_for_a_server_that_is_slow() {
        for seconds in [2, 4, 6, 8] {
            let (keeper, _) = keeper(&[Does::GiveAfter(seconds); 10]);
            assert_eq!(keeper.ready(Deadline::after(Duration::from_secs(20))).await, Ok(()), "{seconds} s");
            assert!(given(&keeper).await.is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_start_asks_until_its_time_is_over() {
        let (keeper, script) = keeper(&[Does::Refuse(503); 1000]);
        let start = Instant::now();
        let ended = keeper.ready(Deadline::after(Duration::from_secs(20))).await;
        assert_eq!(ended, Err(refused(TokenFailure::Answered(503))));
        assert_eq!(start.elapsed().as_secs(), 20);
        assert!((20..60).contains(&script.asked()), "{}", script.asked());
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_answers_is_said_to_be_silent() {
        let (keeper, _) = keeper(&[Does::Hang; 100]);
        let short = keeper.ready(Deadline::after(Duration::from_secs(1))).await;
        assert_eq!(short, Err(refused(TokenFailure::Silent)));
        assert_eq!(
            keeper.ready(Deadline::after(Duration::from_secs(20))).await,
            Err(refused(TokenFailure::Silent))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_token_that_is_not_taken_is_replaced_once() {
        let (keeper, script) = keeper(&[]);
        assert_eq!(given(&keeper).await.as_deref(), Some("1"));
        keeper.distrust();
        assert_eq!(given(&keeper).await.as_deref(), Some("1"), "it is new");
        pass(11).await;
        keeper.distrust();
        assert_eq!(given(&keeper).await.as_deref(), Some("2"));
        keeper.distrust();
        assert_eq!(given(&keeper).await.as_deref(), Some("2"), "others doubted the first one");
        assert_eq!(script.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_lifetime_is_told_is_survived() {
        for seconds in [0, 1, 3600, u64::MAX] {
            let (keeper, _) = keeper(&[Does::Give(seconds)]);
            assert_eq!(given(&keeper).await.as_deref(), Some("1"), "{seconds}");
        }
    }

    #[test]
    fn pauses_grow_to_their_bound() {
        let millis = |failures, share| pause(failures, share).as_millis();
        assert_eq!([0, 1, 2, 3, 1000].map(|failures| millis(failures, 1.0)), [200, 400, 800, 800, 800]);
        assert_eq!(millis(0, 0.0), 100);
    }
}
