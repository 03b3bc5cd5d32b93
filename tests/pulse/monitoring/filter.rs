//! Cloud Logging's query language, as far as our metrics use it, on lines that a pass has logged.

use regex::Regex;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::{Mutex, PoisonError};
use std::vec::IntoIter;

const SEVERITIES: [&str; 6] = ["DEFAULT", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];

/// Whether a line of the job is one that the filter lets through.
pub(super) fn matches(filter: &str, line: &Json) -> bool {
    let mut rest = Rest { tokens: tokens(filter).into_iter().peekable(), line };
    let is_match = rest.all();
    assert_eq!(rest.tokens.next(), None, "{filter}");
    is_match
}

/// Parentheses, operators and whole comparisons.
fn tokens(filter: &str) -> Vec<String> {
    let (mut tokens, mut is_quoted) = (vec![String::new()], false);
    for c in filter.chars() {
        is_quoted ^= c == '"';
        match (c, tokens.last_mut()) {
            (' ', _) if !is_quoted => tokens.push(String::new()),
            ('(' | ')', _) if !is_quoted => tokens.extend([c.to_string(), String::new()]),
            (_, Some(last)) => last.push(c),
            (_, None) => {}
        }
    }
    tokens.retain(|token| !token.is_empty());
    tokens
}

struct Rest<'a> {
    tokens: Peekable<IntoIter<String>>,
    line: &'a Json,
}

impl Rest<'_> {
    /// In this language `OR` binds more tightly than `AND`.
    fn all(&mut self) -> bool {
        let mut is_match = self.any();
        while self.tokens.next_if(|token| token == "AND").is_some() {
            is_match &= self.any();
        }
        is_match
    }

    fn any(&mut self) -> bool {
        let mut is_match = self.one();
        while self.tokens.next_if(|token| token == "OR").is_some() {
            is_match |= self.one();
        }
        is_match
    }

    fn one(&mut self) -> bool {
        let token = self.tokens.next().expect("a comparison");
        if token != "(" {
            return compare(&token, self.line);
        }
        let is_match = self.all();
        assert_eq!(self.tokens.next().as_deref(), Some(")"));
        is_match
    }
}

fn compare(comparison: &str, line: &Json) -> bool {
    let (field, rest) = comparison.split_at(comparison.find(['=', '>']).expect("an operator"));
    let (operator, value) = rest.split_at(rest.find(|c| !"=>~".contains(c)).expect("a value"));
    let value = value.trim_matches('"');
    let found = match field {
        "resource.type" => json!("cloud_run_job"),
        "resource.labels.job_name" => json!("pulse"),
        "severity" => line["severity"].clone(),
        _ => line[field.strip_prefix("jsonPayload.").expect("a field")].clone(),
    };
    let number = || value.parse::<f64>().expect("a number");
    match (operator, found.as_str()) {
        ("=", Some(text)) => text.eq_ignore_ascii_case(value),
        ("=", None) => found.as_f64().is_some_and(|found| found == number()),
        ("=~", text) => text.is_some_and(|text| pattern(value).is_match(text)),
        (">=", Some(severity)) => rank(severity) >= rank(value),
        (">", None) => found.as_f64().is_some_and(|found| found > number()),
        _ => panic!("{comparison} of {line}"),
    }
}

/// Each is read once: there are many lines.
fn pattern(pattern: &str) -> Regex {
    static KNOWN: Mutex<BTreeMap<String, Regex>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let read = || Regex::new(pattern).expect("a pattern");
    known.entry(pattern.to_owned()).or_insert_with(read).clone()
}

fn rank(severity: &str) -> usize {
    SEVERITIES.iter().position(|known| *known == severity).expect(severity)
}

#[test]
fn a_filter_lets_through_what_cloud_logging_would() {
    let line = json!({"severity": "ERROR", "message": "Completed (all): 0 successful", "n": 2});
    for (filter, is_match) in [
        (r#"severity>=ERROR AND jsonPayload.n>1"#, true),
        (r#"severity>=CRITICAL"#, false),
        (r#"resource.type="cloud_run_job" AND jsonPayload.n=3"#, false),
        (r#"jsonPayload.message=~"^Completed \(all\).*successful$""#, true),
        (r#"jsonPayload.message="completed (ALL): 0 successful""#, true),
        (r#"jsonPayload.missing>0 OR jsonPayload.n=2"#, true),
        (r#"jsonPayload.n=2 OR jsonPayload.n=2 AND jsonPayload.n=3"#, false),
        (r#"jsonPayload.n=2 OR (jsonPayload.n=2 AND jsonPayload.n=3)"#, true),
    ] {
        assert_eq!(matches(filter, &line), is_match, "{filter}");
    }
}
