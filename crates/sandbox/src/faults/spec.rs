//! Rules as text and as JSON.
//!
//! Both write a rule as its target (service and method) and a list of words, each with a value or without, so that
//! one reader and one writer serve both.
//!
//! ```text
//! SPEC   = SERVICE [ "/" METHOD ] ":" WORD { "," WORD }
//! WORD   = NAME | NAME "=" VALUE      a comma in a value is written "\,", a backslash "\\"
//! ```

use super::rule::{Fault, GrpcFault, InvalidRule, RestFault, Rule, refuse};
use crate::call::Service;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use tonic::Code;

const CODES: [(&str, Code); 16] = [
    ("CANCELLED", Code::Cancelled),
    ("UNKNOWN", Code::Unknown),
    ("INVALID_ARGUMENT", Code::InvalidArgument),
    ("DEADLINE_EXCEEDED", Code::DeadlineExceeded),
    ("NOT_FOUND", Code::NotFound),
    ("ALREADY_EXISTS", Code::AlreadyExists),
    ("PERMISSION_DENIED", Code::PermissionDenied),
    ("RESOURCE_EXHAUSTED", Code::ResourceExhausted),
    ("FAILED_PRECONDITION", Code::FailedPrecondition),
    ("ABORTED", Code::Aborted),
    ("OUT_OF_RANGE", Code::OutOfRange),
    ("UNIMPLEMENTED", Code::Unimplemented),
    ("INTERNAL", Code::Internal),
    ("UNAVAILABLE", Code::Unavailable),
    ("DATA_LOSS", Code::DataLoss),
    ("UNAUTHENTICATED", Code::Unauthenticated),
];

const FAULTS: &str = "the faults are latency, stall, stall-after, drop-before, drop-after, goaway, error, \
                      break-after, garbage, slow, truncate, padding, redirect, wrong-checksum, \
                      other-secret, old-latest, other-account, rate-limit, stray and body";

/// A name, and the value behind it if there is one.
type Word = (String, Option<String>);

impl FromStr for Rule {
    type Err = InvalidRule;

    fn from_str(spec: &str) -> Result<Self, InvalidRule> {
        let Some((target, words)) = spec.split_once(':') else {
            return refuse(format!("`{spec}` is not SERVICE:FAULT, such as alpaca:error=503"));
        };
        let (service, method) = match target.split_once('/') {
            Some((service, method)) => (service, Some(method)),
            None => (target, None),
        };
        from_words(service, method, split_words(words)?)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.service)?;
        if let Some(method) = self.method {
            write!(f, "/{}", method.name())?;
        }
        for (index, (name, value)) in words(self).into_iter().enumerate() {
            f.write_str(if index == 0 { ":" } else { "," })?;
            f.write_str(&name)?;
            if let Some(value) = value {
                write!(f, "={}", value.replace('\\', "\\\\").replace(',', "\\,"))?;
            }
        }
        Ok(())
    }
}

impl Rule {
    /// Reads a rule from JSON: a spec as a string, or an object of the same words with `service` and `method`.
    pub(crate) fn from_json(json: &Value) -> Result<Self, InvalidRule> {
        match json {
            Value::String(spec) => spec.parse(),
            Value::Object(fields) => from_object(fields),
            _ => refuse("a rule is a string or an object"),
        }
    }

    /// The rule as a JSON object that [`Rule::from_json`] reads back.
    pub(crate) fn to_json(&self) -> Value {
        let mut fields = Map::new();
        fields.insert("service".into(), self.service.name().into());
        if let Some(method) = self.method {
            fields.insert("method".into(), method.name().into());
        }
        for (name, value) in words(self) {
            match (name.as_str(), value) {
                ("header", Some(header)) => {
                    let headers = fields.entry("header").or_insert_with(|| Value::Array(Vec::new()));
                    if let Value::Array(headers) = headers {
                        headers.push(header.into());
                    }
                }
                (_, Some(value)) => drop(fields.insert(name, value.into())),
                (_, None) => drop(fields.insert(name, true.into())),
            }
        }
        Value::Object(fields)
    }
}

fn from_object(fields: &Map<String, Value>) -> Result<Rule, InvalidRule> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let Some(service) = text("service") else {
        return refuse("a rule names its `service`");
    };
    let mut words = Vec::new();
    for (name, value) in fields.iter().filter(|(name, _)| !["service", "method"].contains(&name.as_str())) {
        match value {
            Value::Bool(true) => words.push((name.clone(), None)),
            Value::String(text) => words.push((name.clone(), Some(text.clone()))),
            Value::Number(number) => words.push((name.clone(), Some(number.to_string()))),
            Value::Array(items) if items.iter().all(Value::is_string) => {
                words.extend(items.iter().map(|item| (name.clone(), item.as_str().map(str::to_owned))));
            }
            _ => {
                return refuse(format!("`{name}` is neither true, a string, a number nor a list of strings"));
            }
        }
    }
    from_words(service, text("method"), words)
}

/// Splits at the commas that no backslash precedes.
fn split_words(text: &str) -> Result<Vec<Word>, InvalidRule> {
    let mut words = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let literal = match character {
            ',' => {
                words.push(String::new());
                continue;
            }
            '\\' => match characters.next() {
                Some(escaped @ (',' | '\\')) => escaped,
                _ => return refuse("a backslash stands before a comma or another backslash"),
            },
            other => other,
        };
        if let Some(word) = words.last_mut() {
            word.push(literal);
        }
    }
    Ok(words.into_iter().map(|word| split_word(&word)).collect())
}

fn split_word(word: &str) -> Word {
    match word.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (word.to_owned(), None),
    }
}

/// The words of a rule while they are picked out one by one.
struct Words(Vec<Word>);

impl Words {
    /// Takes out the word with this name; at most one is allowed.
    fn take(&mut self, name: &str) -> Result<Option<Option<String>>, InvalidRule> {
        let mut found = self.0.extract_if(.., |(word, _)| word == name).map(|(_, value)| value);
        let first = found.next();
        if found.next().is_some() {
            return refuse(format!("`{name}` is given twice"));
        }
        Ok(first)
    }

    /// Takes out the word with this name and reads its value.
    fn value<T, E: fmt::Display>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, InvalidRule> {
        match self.take(name)? {
            None => Ok(None),
            Some(None) => refuse(format!("`{name}` needs a value")),
            Some(Some(value)) => match read(&value) {
                Ok(value) => Ok(Some(value)),
                Err(reason) => refuse(format!("{name}={value}: {reason}")),
            },
        }
    }

    /// Takes out the word with this name, which has no value.
    fn flag(&mut self, name: &str) -> Result<bool, InvalidRule> {
        match self.take(name)? {
            None => Ok(false),
            Some(None) => Ok(true),
            Some(Some(_)) => refuse(format!("`{name}` takes no value")),
        }
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, InvalidRule> {
        self.value(name, |text| Ok::<_, InvalidRule>(text.to_owned()))
    }

    fn headers(&mut self) -> Result<Vec<(HeaderName, HeaderValue)>, InvalidRule> {
        let words: Vec<Word> = self.0.extract_if(.., |(name, _)| name == "header").collect();
        words.into_iter().map(|(_, value)| read_header(value.as_deref().unwrap_or_default())).collect()
    }
}

fn from_words(service: &str, method: Option<&str>, words: Vec<Word>) -> Result<Rule, InvalidRule> {
    let service: Service = service.parse().or_else(|unknown| refuse(format!("{unknown}")))?;
    let mut words = Words(words);
    let user = words.text("user")?;
    let share = words.value("share", str::parse::<f64>)?;
    let skip = words.value("skip", str::parse)?;
    let times = words.value("times", str::parse)?;
    let lasts = words.value("for", humantime::parse_duration)?;
    let fault = take_fault(service, &mut words)?;
    if let Some((name, _)) = words.0.first() {
        return refuse(format!("`{name}` is not a fault or an option here"));
    }
    let mut rule = Rule::new(service, fault)?.share(share.unwrap_or(1.0))?.skip(skip.unwrap_or(0));
    if let Some(method) = method {
        rule = rule.method(method)?;
    }
    Ok(Rule { user, times, lasts, ..rule })
}

/// The one fault among the words.
fn take_fault(service: Service, words: &mut Words) -> Result<Fault, InvalidRule> {
    let mut faults = Vec::new();
    if let Some(error) = words.text("error")? {
        faults.push(read_error(service, &error, words)?);
    }
    faults.extend(take_timed(words)?);
    faults.extend(
        words.value("break-after", str::parse)?.map(|after| Fault::Grpc(GrpcFault::BreakAfter(after))),
    );
    faults.extend(words.value("padding", str::parse)?.map(|bytes| Fault::Rest(RestFault::Padding(bytes))));
    faults.extend(
        words.value("redirect", str::parse)?.map(|location| Fault::Rest(RestFault::Redirect(location))),
    );
    faults.extend(words.text("body")?.map(|body| Fault::Rest(RestFault::Body(body))));
    faults.extend(words.text("other-secret")?.map(|secret| Fault::Rest(RestFault::OtherSecret(secret))));
    for (name, fault) in without_value() {
        if words.flag(name)? {
            faults.push(fault);
        }
    }
    if faults.len() > 1 {
        return refuse("a rule has one fault; use two rules for two");
    }
    faults.pop().ok_or_else(|| {
        let unknown = words.0.first();
        let unknown = unknown.map(|(name, _)| format!("`{name}` is not a fault: "));
        InvalidRule(format!("{}{FAULTS}", unknown.unwrap_or_default()))
    })
}

/// The faults among them that are a time.
fn take_timed(words: &mut Words) -> Result<Vec<Fault>, InvalidRule> {
    type Timed = fn(Duration) -> Fault;
    let kinds: [(&str, Timed); 4] = [
        ("latency", Fault::Latency),
        ("slow", |pause| Fault::Rest(RestFault::Slow(pause))),
        ("stray", |after| Fault::Rest(RestFault::Stray(after))),
        ("rate-limit", |ends_in| Fault::Rest(RestFault::RateLimit(ends_in))),
    ];
    let mut faults = Vec::new();
    for (name, fault) in kinds {
        faults.extend(words.value(name, humantime::parse_duration)?.map(fault));
    }
    Ok(faults)
}

fn without_value() -> [(&'static str, Fault); 10] {
    [
        ("stall", Fault::Stall),
        ("stall-after", Fault::StallAfter),
        ("drop-before", Fault::DropBefore),
        ("drop-after", Fault::DropAfter),
        ("goaway", Fault::GoAway),
        ("garbage", Fault::Grpc(GrpcFault::Garbage)),
        ("truncate", Fault::Rest(RestFault::Truncate)),
        ("wrong-checksum", Fault::Rest(RestFault::WrongChecksum)),
        ("old-latest", Fault::Rest(RestFault::OldLatest)),
        ("other-account", Fault::Rest(RestFault::OtherAccount)),
    ]
}

fn read_error(service: Service, error: &str, words: &mut Words) -> Result<Fault, InvalidRule> {
    if service == Service::Firestore {
        let Some((_, code)) = CODES.into_iter().find(|(name, _)| *name == error) else {
            return refuse(format!("error={error} is not a gRPC code such as UNAVAILABLE"));
        };
        let (message, reason) = (words.text("message")?, words.text("reason")?);
        return Ok(Fault::Grpc(GrpcFault::Error { code, message, reason }));
    }
    let Ok(status) = error.parse::<StatusCode>() else {
        return refuse(format!("error={error} is not an HTTP status such as 503"));
    };
    let headers = words.headers()?;
    let (body, reason) = (words.text("body")?, words.text("reason")?);
    Ok(Fault::Rest(RestFault::Error { status, headers, body, reason }))
}

fn read_header(text: &str) -> Result<(HeaderName, HeaderValue), InvalidRule> {
    let header = text
        .split_once(':')
        .and_then(|(name, value)| Some((name.trim().parse().ok()?, value.trim().parse().ok()?)));
    header.ok_or_else(|| InvalidRule(format!("header={text} is not NAME: VALUE")))
}

/// The words that [`from_words`] reads back, the fault first.
fn words(rule: &Rule) -> Vec<Word> {
    let mut words = words_of_fault(&rule.fault);
    words.extend(rule.user.clone().map(|user| word("user", user)));
    words.extend((rule.share < 1.0).then(|| word("share", rule.share)));
    words.extend((rule.skip > 0).then(|| word("skip", rule.skip)));
    words.extend(rule.times.map(|times| word("times", times)));
    words.extend(rule.lasts.map(|lasts| word("for", humantime::format_duration(lasts))));
    words
}

fn words_of_fault(fault: &Fault) -> Vec<Word> {
    match fault {
        Fault::Latency(latency) => vec![word("latency", humantime::format_duration(*latency))],
        Fault::Stall => vec![flag("stall")],
        Fault::StallAfter => vec![flag("stall-after")],
        Fault::DropBefore => vec![flag("drop-before")],
        Fault::DropAfter => vec![flag("drop-after")],
        Fault::GoAway => vec![flag("goaway")],
        Fault::Grpc(fault) => words_of_grpc(fault),
        Fault::Rest(fault) => words_of_rest(fault),
    }
}

fn words_of_grpc(fault: &GrpcFault) -> Vec<Word> {
    match fault {
        GrpcFault::Error { code, message, reason } => {
            let mut words = vec![word("error", code_name(*code))];
            words.extend(message.as_ref().map(|message| word("message", message)));
            words.extend(reason.as_ref().map(|reason| word("reason", reason)));
            words
        }
        GrpcFault::BreakAfter(messages) => vec![word("break-after", messages)],
        GrpcFault::Garbage => vec![flag("garbage")],
    }
}

fn words_of_rest(fault: &RestFault) -> Vec<Word> {
    match fault {
        RestFault::Error { status, headers, body, reason } => {
            let mut words = vec![word("error", status.as_u16())];
            words.extend(headers.iter().map(|(name, value)| {
                // Rule::new accepts only values that are text.
                word("header", format!("{name}: {}", value.to_str().unwrap_or_default()))
            }));
            words.extend(body.as_ref().map(|body| word("body", body)));
            words.extend(reason.as_ref().map(|reason| word("reason", reason)));
            words
        }
        RestFault::Slow(pause) => vec![word("slow", humantime::format_duration(*pause))],
        RestFault::Truncate => vec![flag("truncate")],
        RestFault::Padding(bytes) => vec![word("padding", bytes)],
        RestFault::Redirect(to) => vec![word("redirect", to.to_str().unwrap_or_default())],
        RestFault::WrongChecksum => vec![flag("wrong-checksum")],
        RestFault::OldLatest => vec![flag("old-latest")],
        RestFault::OtherAccount => vec![flag("other-account")],
        RestFault::Body(body) => vec![word("body", body)],
        RestFault::OtherSecret(secret) => vec![word("other-secret", secret)],
        RestFault::RateLimit(ends_in) => vec![word("rate-limit", humantime::format_duration(*ends_in))],
        RestFault::Stray(after) => vec![word("stray", humantime::format_duration(*after))],
    }
}

fn flag(name: &str) -> Word {
    (name.to_owned(), None)
}

fn word(name: &str, value: impl ToString) -> Word {
    (name.to_owned(), Some(value.to_string()))
}

/// The name of a code as gRPC spells it.
pub(crate) fn code_name(code: Code) -> &'static str {
    CODES.into_iter().find(|(_, known)| *known == code).map_or("OK", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(spec: &str) -> String {
        spec.parse::<Rule>().expect_err(spec).to_string()
    }

    #[test]
    fn a_spec_says_which_calls_and_what_happens() {
        let rule: Rule =
            "secret-manager/AccessSecretVersion:latency=200ms,user=user-0003,share=0.5,skip=1,times=2"
                .parse()
                .unwrap();
        let built = Rule::new(Service::SecretManager, Fault::Latency(Duration::from_millis(200))).unwrap();
        let mut built = built.method("AccessSecretVersion").unwrap().share(0.5).unwrap().skip(1);
        (built.user, built.times) = (Some("user-0003".into()), Some(2));
        assert_eq!(rule, built);
    }

    #[test]
    fn an_error_takes_headers_and_a_body_with_commas() {
        let rule: Rule =
            r#"alpaca:error=429,header=Retry-After: 1,body={"code":1\,"message":"a\\b"}"#.parse().unwrap();
        let headers = vec![(HeaderName::from_static("retry-after"), HeaderValue::from_static("1"))];
        let body = Some(r#"{"code":1,"message":"a\b"}"#.to_owned());
        let status = StatusCode::TOO_MANY_REQUESTS;
        assert_eq!(rule.fault, Fault::Rest(RestFault::Error { status, headers, body, reason: None }));
    }

    #[test]
    fn json_says_the_same_as_a_spec() {
        let spec = "alpaca/GetAccount:error=503,header=Retry-After: 1,header=X-Why: fault,times=1";
        let json = serde_json::json!({
            "service": "alpaca", "method": "GetAccount", "error": 503, "times": 1,
            "header": ["Retry-After: 1", "X-Why: fault"],
        });
        let rule: Rule = spec.parse().unwrap();
        assert_eq!(Rule::from_json(&json), Ok(rule.clone()));
        assert_eq!(Rule::from_json(&spec.into()), Ok(rule));
        let stall = serde_json::json!({"service": "firestore", "stall": true});
        assert_eq!(Rule::from_json(&stall), "firestore:stall".parse());
    }

    #[test]
    fn impossible_combinations_are_refused_with_a_reason() {
        for (spec, reason) in [
            ("alpaca", "SERVICE:FAULT"),
            ("s3:stall", "no service `s3`"),
            ("firestore:error=503", "not a gRPC code"),
            ("firestore:error=OK", "not a gRPC code"),
            ("firestore:truncate", "firestore speaks gRPC"),
            ("firestore:error=ABORTED,body=x", "one fault"),
            ("alpaca:error=UNAVAILABLE", "not an HTTP status"),
            ("alpaca:error=200", "400 to 599"),
            ("alpaca:break-after=1", "only firestore speaks gRPC"),
            ("alpaca:garbage", "only firestore speaks gRPC"),
            ("alpaca:wrong-checksum", "only secret-manager"),
            ("alpaca:other-secret=x", "only secret-manager"),
            ("metadata:old-latest", "only secret-manager"),
            ("alpaca:error=403,reason=SERVICE_DISABLED", "only Google's"),
            ("secret-manager:error=403,reason=X,body=x", "a body of its own"),
            ("secret-manager:stall,reason=X", "`reason` is not"),
            ("secret-manager:error=403,message=x", "`message` is not"),
            ("secret-manager/GetSecret:other-secret=x", "only AccessSecretVersion"),
            ("firestore:stray=1ms", "firestore speaks gRPC"),
            ("alpaca:stray=soon", "expected number"),
            ("secret-manager:other-account", "only alpaca"),
            ("secret-manager:rate-limit=1s", "only alpaca"),
            ("alpaca:stall,for=ever", "for=ever"),
            ("secret-manager/AddSecretVersion:wrong-checksum", "only AccessSecretVersion"),
            ("alpaca/Commit:stall", "alpaca has no method `Commit`"),
            ("alpaca:", "is not a fault"),
            ("alpaca:share=1", "the faults are"),
            ("alpaca:dance", "`dance` is not a fault"),
            ("alpaca:stall,dance", "`dance` is not a fault or an option"),
            ("alpaca:stall,drop-before", "one fault"),
            ("alpaca:stall=1", "takes no value"),
            ("alpaca:latency", "needs a value"),
            ("alpaca:latency=fast", "expected number"),
            ("alpaca:stall,share=1.5", "not from 0 to 1"),
            ("alpaca:stall,share=NaN", "not from 0 to 1"),
            ("alpaca:stall,times=-1", "times=-1"),
            ("alpaca:stall,times=1,times=2", "given twice"),
            ("alpaca:stall,header=a: b", "`header` is not"),
            ("alpaca:error=503,header=Retry-After", "not NAME: VALUE"),
            (r"alpaca:body=a\b", "backslash"),
        ] {
            let message = refused(spec);
            assert!(message.contains(reason), "{spec}: {message}");
        }
        for json in [
            serde_json::json!({}),
            serde_json::json!(1),
            serde_json::json!({"service": "alpaca", "stall": null}),
        ] {
            assert!(Rule::from_json(&json).is_err(), "{json}");
        }
    }

    fn durations() -> impl Strategy<Value = Duration> {
        (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
    }

    fn common_faults() -> impl Strategy<Value = Fault> {
        prop_oneof![
            durations().prop_map(Fault::Latency),
            Just(Fault::Stall),
            Just(Fault::StallAfter),
            Just(Fault::DropBefore),
            Just(Fault::DropAfter),
            Just(Fault::GoAway),
        ]
    }

    fn grpc_faults() -> impl Strategy<Value = Fault> {
        prop_oneof![
            (proptest::sample::select(&CODES[..]), any::<Option<String>>(), any::<Option<String>>())
                .prop_map(|((_, code), message, reason)| GrpcFault::Error { code, message, reason }),
            any::<u32>().prop_map(GrpcFault::BreakAfter),
            Just(GrpcFault::Garbage),
        ]
        .prop_map(Fault::Grpc)
    }

    fn headers() -> impl Strategy<Value = Vec<(HeaderName, HeaderValue)>> {
        let header = ("[a-z][a-z-]{0,8}", "([!-~]([ -~]{0,8}[!-~])?)?")
            .prop_map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        proptest::collection::vec(header, 0..3)
    }

    fn rest_faults() -> impl Strategy<Value = Fault> {
        prop_oneof![
            (400..600_u16, headers(), any::<Option<String>>()).prop_map(|(status, headers, body)| {
                let status = StatusCode::from_u16(status).unwrap();
                RestFault::Error { status, headers, body, reason: None }
            }),
            durations().prop_map(RestFault::Slow),
            durations().prop_map(RestFault::Stray),
            Just(RestFault::Truncate),
            any::<usize>().prop_map(RestFault::Padding),
            "[!-~]{1,40}".prop_map(|location| RestFault::Redirect(location.parse().unwrap())),
            any::<String>().prop_map(RestFault::Body),
        ]
        .prop_map(Fault::Rest)
    }

    fn targets_and_faults() -> impl Strategy<Value = (Service, Fault)> {
        prop_oneof![
            (proptest::sample::select(&Service::ALL[..]), common_faults()),
            (Just(Service::Firestore), grpc_faults()),
            (proptest::sample::select(&Service::ALL[1..]), rest_faults()),
            Just((Service::SecretManager, Fault::Rest(RestFault::WrongChecksum))),
            Just((Service::SecretManager, Fault::Rest(RestFault::OldLatest))),
            any::<String>()
                .prop_map(|secret| (Service::SecretManager, Fault::Rest(RestFault::OtherSecret(secret)))),
            (400..600_u16, headers(), any::<String>()).prop_map(|(status, headers, reason)| {
                let status = StatusCode::from_u16(status).unwrap();
                let error = RestFault::Error { status, headers, body: None, reason: Some(reason) };
                (Service::SecretManager, Fault::Rest(error))
            }),
            Just((Service::Alpaca, Fault::Rest(RestFault::OtherAccount))),
            (
                Just(Service::Alpaca),
                durations().prop_map(|ends_in| Fault::Rest(RestFault::RateLimit(ends_in)))
            ),
        ]
    }

    fn rules() -> impl Strategy<Value = Rule> {
        let options = (
            any::<Option<String>>(),
            0.0..=1.0_f64,
            any::<u64>(),
            any::<Option<u64>>(),
            proptest::option::of(durations()),
            any::<Option<proptest::sample::Index>>(),
        );
        (targets_and_faults(), options).prop_map(|((service, fault), options)| {
            let (user, share, skip, times, lasts, method) = options;
            let mut rule = Rule::new(service, fault).unwrap().share(share).unwrap().skip(skip);
            if let Some(method) = method
                && !matches!(rule.fault, Fault::Rest(RestFault::WrongChecksum | RestFault::OtherSecret(_)))
            {
                rule = rule.method(method.get::<&str>(service.methods())).unwrap();
            }
            Rule { user, times, lasts, ..rule }
        })
    }

    proptest! {
        #[test]
        fn every_rule_reads_back_from_its_spec(rule in rules()) {
            prop_assert_eq!(rule.to_string().parse(), Ok(rule));
        }

        #[test]
        fn every_rule_reads_back_from_its_json(rule in rules()) {
            prop_assert_eq!(Rule::from_json(&rule.to_json()), Ok(rule));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _either = text.parse::<Rule>();
        }
    }
}
