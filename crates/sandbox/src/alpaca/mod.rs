//! An Alpaca that answers `GET /v2/account` as the Trading API does.

mod account;
mod figures;
mod meter;

use super::answer::{self, Answer};
use super::seed::{self, Population, Trouble};
use account::{OpenAccount, PendingAccount, account_id};
use bytes::Bytes;
pub(super) use figures::scramble;
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use meter::{CALLS_A_MINUTE, Meter};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

const KEY_ID: HeaderName = HeaderName::from_static("apca-api-key-id");
const SECRET_KEY: HeaderName = HeaderName::from_static("apca-api-secret-key");
const RATE_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const RATE_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RATE_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A key pair. It has no `Debug`, as no real one should.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Sent as `APCA-API-KEY-ID`.
    pub key_id: String,
    /// Sent as `APCA-API-SECRET-KEY`.
    pub secret_key: String,
}

/// How an account answers.
#[derive(Clone, Debug)]
pub enum Profile {
    /// All the figures, under this status (`ACTIVE` for most).
    Open { status: String },
    /// Hardly a figure, under this status (`ONBOARDING`, `SUBMITTED`, ...).
    Pending { status: String },
    /// Exactly this answer.
    Fixed { status: StatusCode, body: Bytes },
    /// 401, as for keys that were revoked.
    Revoked,
}

impl Profile {
    /// An open account in good order.
    pub fn active() -> Self {
        Self::Open { status: "ACTIVE".to_owned() }
    }

    /// An account that is still being opened.
    pub fn onboarding() -> Self {
        Self::Pending { status: "ONBOARDING".to_owned() }
    }
}

/// The accounts of all users.
pub struct Alpaca {
    population: Population,
    /// One for each seeded user, in the order of their numbers.
    meters: Box<[Meter]>,
    /// Accounts that were registered by hand, by key id or token; they go before the seeded ones.
    registered: RwLock<HashMap<String, Arc<Registered>>>,
    requests: AtomicU64,
}

struct Registered {
    user: String,
    /// Empty for a token, which is all in one.
    secret_key: String,
    profile: Profile,
    seed: u64,
    meter: Meter,
}

impl Alpaca {
    pub(super) fn new(population: Population) -> Self {
        Self {
            population,
            meters: (0..population.len()).map(|_| Meter::default()).collect(),
            registered: RwLock::default(),
            requests: AtomicU64::new(0),
        }
    }

    /// Registers an account, or replaces the one with the same key id, seeded ones included.
    pub fn register(&self, user: &str, keys: Keys, profile: Profile) {
        self.insert(user, keys, profile);
    }

    /// Registers an account that an OAuth token opens, or replaces the one with the same token.
    pub fn register_token(&self, user: &str, token: &str, profile: Profile) {
        self.insert(user, Keys { key_id: token.to_owned(), secret_key: String::new() }, profile);
    }

    fn insert(&self, user: &str, keys: Keys, profile: Profile) {
        let Keys { key_id, secret_key } = keys;
        let seed = scramble(u64::from(crc32c::crc32c(user.as_bytes())));
        let account =
            Registered { user: user.to_owned(), secret_key, profile, seed, meter: Meter::default() };
        self.registered.write().unwrap_or_else(PoisonError::into_inner).insert(key_id, Arc::new(account));
    }

    /// The keys that the seed gave to the user with this number, counted from 1.
    pub fn seeded_keys(number: u32) -> Keys {
        Keys { key_id: seed::key_id(number), secret_key: seed::secret_key(number) }
    }

    /// The OAuth token that opens the account of the user with this number too.
    pub fn seeded_token(number: u32) -> String {
        seed::token(number)
    }

    /// The id of the account that the seed gave to the user with this number.
    pub fn seeded_account_id(number: u32) -> String {
        account_id(scramble(u64::from(number)))
    }

    /// The user behind a key id or a token.
    pub(super) fn owner(&self, id: &str) -> Option<String> {
        match self.find(id)? {
            Found::Registered(account) => Some(account.user.clone()),
            Found::Seeded { number, .. } => Some(seed::user_id(number)),
        }
    }

    /// Answers one request for the account.
    pub(super) fn answer(&self, headers: &HeaderMap, now: Timestamp) -> Answer {
        let mut answer = self.account(headers, now);
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let request_id = format!("{:016x}{:016x}", scramble(number), scramble(!number));
        if let Ok(request_id) = HeaderValue::try_from(request_id) {
            answer.headers_mut().insert(REQUEST_ID, request_id);
        }
        answer
    }

    /// An answer about an account that is nobody's here, as if another call's had come.
    pub(super) fn anothers_answer(&self, now: Timestamp) -> Answer {
        Profile::active().answer(scramble(u64::MAX), 0, now)
    }

    /// An answer to a call too many, of keys whose limit ends so much later.
    pub(super) fn beyond_rate_limit(now: Timestamp, ends_in: Duration) -> Answer {
        let now = u64::try_from(now.as_second()).unwrap_or(0);
        limited(call_too_many(), 0, now.saturating_add(ends_in.as_secs()))
    }

    /// Answers one request for anything else.
    pub(super) fn unknown_endpoint() -> Answer {
        answer::json_text(StatusCode::NOT_FOUND, "{\"message\": \"endpoint not found.\"}\n")
    }

    /// An error as Alpaca itself sends it, where its words are known.
    pub(super) fn refusal(status: StatusCode) -> Answer {
        answer::json_text(
            status,
            match status {
                StatusCode::UNAUTHORIZED => r#"{"code":40110000,"message":"request is not authorized"}"#,
                StatusCode::FORBIDDEN => "{\"message\": \"forbidden.\"}\n",
                _ => "",
            },
        )
    }

    fn account(&self, headers: &HeaderMap, now: Timestamp) -> Answer {
        let (id, proof) = match (text(headers, &KEY_ID), text(headers, &SECRET_KEY), token(headers)) {
            (Some(key_id), Some(secret_key), _) => (key_id, secret_key),
            (_, _, Some(token)) => (token, ""),
            _ => return Self::refusal(StatusCode::FORBIDDEN),
        };
        match self.find(id) {
            Some(Found::Registered(account)) if account.secret_key == proof => {
                metered(&account.meter, now, |call| account.profile.answer(account.seed, call, now))
            }
            Some(Found::Seeded { number, secret_key }) if secret_key == proof => {
                self.seeded_account(number, now)
            }
            _ => unauthorized(),
        }
    }

    fn seeded_account(&self, number: u32, now: Timestamp) -> Answer {
        let profile = match self.population.trouble(number) {
            Some(Trouble::RevokedKeys) => return unauthorized(),
            Some(Trouble::Onboarding) => Profile::onboarding(),
            _ => Profile::active(),
        };
        let meter = usize::try_from(number).ok().and_then(|number| self.meters.get(number.checked_sub(1)?));
        meter.map_or_else(unauthorized, |meter| {
            metered(meter, now, |call| profile.answer(scramble(u64::from(number)), call, now))
        })
    }

    fn find(&self, id: &str) -> Option<Found> {
        let registered = self.registered.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        registered.map(Found::Registered).or_else(|| self.seeded(id))
    }

    fn seeded(&self, id: &str) -> Option<Found> {
        let of_key = self.population.number_of_key(id);
        let of_key = of_key.map(|number| Found::Seeded { number, secret_key: seed::secret_key(number) });
        let of_token = || self.population.number_of_token(id);
        of_key.or_else(|| Some(Found::Seeded { number: of_token()?, secret_key: String::new() }))
    }
}

enum Found {
    Registered(Arc<Registered>),
    /// Of a token the secret key is empty.
    Seeded {
        number: u32,
        secret_key: String,
    },
}

impl Profile {
    fn answer(&self, seed: u64, call: u32, now: Timestamp) -> Answer {
        match self {
            Self::Open { status } => answer::json(StatusCode::OK, &OpenAccount::at(seed, status, call, now)),
            Self::Pending { status } => answer::json(StatusCode::OK, &PendingAccount::new(seed, status)),
            Self::Fixed { status, body } => answer::json_text(*status, body.clone()),
            Self::Revoked => unauthorized(),
        }
    }
}

/// Counts the call against the rate limit and answers it, or refuses one too many.
fn metered(meter: &Meter, now: Timestamp, respond: impl FnOnce(u32) -> Answer) -> Answer {
    let reading = meter.count(u64::try_from(now.as_second()).unwrap_or(0));
    let answer = match reading.remaining {
        Some(_) => respond(meter.next_answer()),
        None => call_too_many(),
    };
    limited(answer, reading.remaining.unwrap_or(0), reading.reset)
}

fn call_too_many() -> Answer {
    answer::json_text(StatusCode::TOO_MANY_REQUESTS, r#"{"code":42910000,"message":"rate limit exceeded"}"#)
}

/// The answer with what it says of the rate limit.
fn limited(mut answer: Answer, remaining: u32, reset: u64) -> Answer {
    let headers = answer.headers_mut();
    headers.insert(RATE_LIMIT, CALLS_A_MINUTE.into());
    headers.insert(RATE_REMAINING, remaining.into());
    headers.insert(RATE_RESET, reset.into());
    answer
}

fn unauthorized() -> Answer {
    Alpaca::refusal(StatusCode::UNAUTHORIZED)
}

/// What a request says whose account it is about by: a key id or a token.
pub(super) fn account_of(headers: &HeaderMap) -> Option<&str> {
    text(headers, &KEY_ID).or_else(|| token(headers))
}

fn token(headers: &HeaderMap) -> Option<&str> {
    text(headers, &AUTHORIZATION)?.strip_prefix("Bearer ").filter(|token| !token.is_empty())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn headers(keys: &Keys) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(KEY_ID, keys.key_id.parse().unwrap());
        headers.insert(SECRET_KEY, keys.secret_key.parse().unwrap());
        headers
    }

    fn keys() -> Keys {
        Keys { key_id: "PKSANDBOXANA".into(), secret_key: "not-a-real-secret".into() }
    }

    fn ask(alpaca: &Alpaca, keys: &Keys) -> (u16, Value) {
        let answer = alpaca.answer(&headers(keys), Timestamp::UNIX_EPOCH);
        (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap())
    }

    fn unauthorized() -> (u16, Value) {
        (401, json!({"code": 40_110_000, "message": "request is not authorized"}))
    }

    #[test]
    fn the_right_keys_open_the_account_and_no_others_do() {
        let alpaca = Alpaca::new(Population::default());
        alpaca.register("ana", keys(), Profile::active());
        assert_eq!(ask(&alpaca, &keys()).1["status"], "ACTIVE");
        assert_eq!(alpaca.owner("PKSANDBOXANA").as_deref(), Some("ana"));
        let wrong_secret = Keys { secret_key: "wrong".into(), ..keys() };
        assert_eq!(ask(&alpaca, &wrong_secret), unauthorized());
        let unknown = Keys { key_id: "PKSANDBOXBOB".into(), ..keys() };
        assert_eq!(ask(&alpaca, &unknown), unauthorized());
    }

    #[test]
    fn a_token_opens_its_account_and_is_no_key() {
        let bearer = |text: &str| HeaderMap::from_iter([(AUTHORIZATION, text.parse().unwrap())]);
        let alpaca = Alpaca::new(Population::new(3, true));
        alpaca.register_token("ana", "hush", Profile::active());
        alpaca.register("ben", keys(), Profile::active());
        let status = |headers: &HeaderMap| alpaca.answer(headers, Timestamp::UNIX_EPOCH).status().as_u16();
        let seeded = |number| format!("Bearer {}", Alpaca::seeded_token(number));
        for (sent, expected) in [
            ("Bearer hush", 200),
            (seeded(1).as_str(), 200),
            (&seeded(3), 401),
            (&seeded(4), 401),
            ("Bearer hush2", 401),
            ("Bearer PKSANDBOXANA", 401),
            (&format!("Bearer {}", seed::key_id(1)), 401),
            ("Bearer ", 403),
            ("hush", 403),
            ("Basic hush", 403),
        ] {
            assert_eq!(status(&bearer(sent)), expected, "{sent}");
        }
        let as_key = Keys { key_id: "hush".into(), secret_key: "hush".into() };
        assert_eq!(status(&headers(&as_key)), 401);
        assert_eq!(
            account_of(&bearer("Bearer hush")).and_then(|id| alpaca.owner(id)).as_deref(),
            Some("ana")
        );
        assert_eq!(alpaca.owner(&Alpaca::seeded_token(2)).as_deref(), Some("user-0002"));
    }

    #[test]
    fn missing_headers_are_forbidden() {
        let answer = Alpaca::new(Population::new(1, false)).answer(&HeaderMap::new(), Timestamp::UNIX_EPOCH);
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        assert_eq!(answer.body(), "{\"message\": \"forbidden.\"}\n");
        assert_eq!(answer.body().len(), 26);
    }

    #[test]
    fn the_two_hundred_and_first_call_of_a_minute_is_refused() {
        let alpaca = Alpaca::new(Population::new(1, false));
        let headers = headers(&Alpaca::seeded_keys(1));
        for left in (0..200_u32).rev() {
            let answer = alpaca.answer(&headers, Timestamp::UNIX_EPOCH);
            assert_eq!(answer.headers()[RATE_REMAINING], HeaderValue::from(left));
            assert_eq!(answer.status(), StatusCode::OK);
        }
        let refused = alpaca.answer(&headers, Timestamp::UNIX_EPOCH);
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.body(), r#"{"code":42910000,"message":"rate limit exceeded"}"#);
        assert_eq!(refused.headers()[RATE_RESET], "60");
        assert_eq!(refused.headers()[RATE_LIMIT], "200");
    }

    #[test]
    fn a_limit_on_demand_ends_when_it_is_said_to() {
        let refused = Alpaca::beyond_rate_limit(Timestamp::UNIX_EPOCH, Duration::from_secs(14));
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(
            (&refused.headers()[RATE_REMAINING], &refused.headers()[RATE_RESET]),
            (&"0".parse().unwrap(), &"14".parse().unwrap())
        );
    }

    #[test]
    fn every_answer_has_a_request_id_of_its_own() {
        let alpaca = Alpaca::new(Population::default());
        let id = || alpaca.answer(&HeaderMap::new(), Timestamp::UNIX_EPOCH).headers()[REQUEST_ID].clone();
        let (first, second) = (id(), id());
        assert_ne!(first, second);
        assert!(first.len() == 32 && first.as_bytes().iter().all(u8::is_ascii_hexdigit), "{first:?}");
    }

    #[test]
    fn a_profile_decides_the_answer() {
        let alpaca = Alpaca::new(Population::default());
        let body = Bytes::from_static(b"{\"odd\":1}");
        for (profile, expected) in [
            (Profile::onboarding(), "ONBOARDING"),
            (Profile::Open { status: "ACCOUNT_UPDATED".into() }, "ACCOUNT_UPDATED"),
        ] {
            alpaca.register("ana", keys(), profile);
            assert_eq!(ask(&alpaca, &keys()).1["status"], expected);
        }
        alpaca.register("ana", keys(), Profile::Fixed { status: StatusCode::IM_A_TEAPOT, body });
        assert_eq!(ask(&alpaca, &keys()), (418, json!({"odd": 1})));
        alpaca.register("ana", keys(), Profile::Revoked);
        assert_eq!(ask(&alpaca, &keys()), unauthorized());
    }

    #[test]
    fn seeded_trouble_shows_and_can_be_replaced() {
        let alpaca = Alpaca::new(Population::new(8, true));
        assert_eq!(ask(&alpaca, &Alpaca::seeded_keys(1)).1["status"], "ACTIVE");
        assert_eq!(ask(&alpaca, &Alpaca::seeded_keys(3)), unauthorized());
        assert_eq!(ask(&alpaca, &Alpaca::seeded_keys(6)).1["status"], "ONBOARDING");
        alpaca.register("user-0003", Alpaca::seeded_keys(3), Profile::active());
        assert_eq!(ask(&alpaca, &Alpaca::seeded_keys(3)).1["status"], "ACTIVE");
    }
}
