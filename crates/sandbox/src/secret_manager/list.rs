//! Lists in pages, with as much of Google's filter language as is typed: `name:TEXT`, `state:STATE`, `state=STATE`,
//! `NOT` before one of them, and `AND` between.

use super::operation::Page;
use super::rest::Refusal;
use crate::answer::{self, Answer};
use http::StatusCode;
use serde_json::{Map, Value, json};

/// Google's own: what is asked for beyond it is cut.
const MOST: usize = 25_000;

/// One page of those that the filter lets through.
pub(super) fn answer(name: &str, all: impl Iterator<Item = Value>, page: &Page) -> Result<Answer, Refusal> {
    let start = number(&page.token, "page_token")?;
    let size = match number(&page.size, "page_size")? {
        0 => MOST,
        size => size.min(MOST),
    };
    let conditions = conditions(&page.filter)?;
    let found: Vec<Value> =
        all.filter(|item| conditions.iter().all(|condition| condition.holds(item))).collect();
    let end = start.saturating_add(size).min(found.len());
    let mut body = Map::new();
    if let Some(items) = found.get(start..end).filter(|items| !items.is_empty()) {
        body.insert(name.to_owned(), items.into());
    }
    body.insert("totalSize".to_owned(), found.len().into());
    if end < found.len() {
        body.insert("nextPageToken".to_owned(), end.to_string().into());
    }
    Ok(answer::json(StatusCode::OK, &json!(body)))
}

fn number(text: &str, field: &str) -> Result<usize, Refusal> {
    let invalid = |_| Refusal::invalid_argument(format!("Invalid {field}."));
    if text.is_empty() { Ok(0) } else { text.parse().map_err(invalid) }
}

struct Condition<'a> {
    is_negated: bool,
    field: &'a str,
    is_exact: bool,
    value: &'a str,
}

impl Condition<'_> {
    fn holds(&self, item: &Value) -> bool {
        let found = item[self.field].as_str().unwrap_or_default();
        let fits = if self.is_exact { found == self.value } else { found.contains(self.value) };
        fits != self.is_negated
    }
}

fn conditions(filter: &str) -> Result<Vec<Condition<'_>>, Refusal> {
    let parts = filter.split(" AND ").map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| condition(part).ok_or_else(|| Refusal::invalid_argument("Invalid filter."))).collect()
}

fn condition(part: &str) -> Option<Condition<'_>> {
    let bare = part.strip_prefix("NOT ");
    let (is_negated, bare) = (bare.is_some(), bare.unwrap_or(part));
    let at = bare.find([':', '='])?;
    let (field, value) = (&bare[..at], bare[at + 1..].trim_matches('"'));
    let is_known = matches!(field, "name" | "state") && !value.contains([' ', '(', ')']);
    is_known.then_some(Condition { is_negated, field, is_exact: bare[at..].starts_with('='), value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(size: &str, token: &str, filter: &str) -> Result<Value, Refusal> {
        let items = ["a", "ab", "c"].map(|name| json!({"name": name, "state": "ENABLED"}));
        let page = Page { size: size.into(), token: token.into(), filter: filter.into() };
        Ok(serde_json::from_slice(answer("things", items.into_iter(), &page)?.body()).unwrap())
    }

    fn names(answered: &Value) -> Vec<&str> {
        let things = answered["things"].as_array().into_iter().flatten();
        things.filter_map(|thing| thing["name"].as_str()).collect()
    }

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let first = ask("2", "", "").unwrap();
        assert_eq!((names(&first), &first["totalSize"]), (vec!["a", "ab"], &json!(3)));
        let last = ask("2", first["nextPageToken"].as_str().unwrap(), "").unwrap();
        assert_eq!((names(&last), &last["nextPageToken"]), (vec!["c"], &Value::Null));
        assert_eq!(names(&ask("0", "", "").unwrap()), ["a", "ab", "c"]);
        assert_eq!(names(&ask("", "9", "").unwrap()), [""; 0]);
    }

    #[test]
    fn a_filter_is_obeyed_or_refused() {
        for (filter, expected) in [
            ("name:a", &["a", "ab"][..]),
            ("name=a", &["a"]),
            ("NOT name:a", &["c"]),
            ("name:a AND NOT name:b", &["a"]),
            ("state=ENABLED", &["a", "ab", "c"]),
            ("NOT state=ENABLED", &[]),
        ] {
            assert_eq!(names(&ask("", "", filter).unwrap()), expected, "{filter}");
        }
        for filter in ["name", "labels.a=b", "name:a OR name:c", "(name:a)"] {
            assert!(ask("", "", filter).is_err(), "{filter}");
        }
        assert!(ask("-1", "", "").is_err() && ask("", "x", "").is_err());
    }
}
