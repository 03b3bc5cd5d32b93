//! Alpaca's answer to `GET /v2/account`, checked before anyone's money depends on it.

use crate::figure::Figure;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// An account with every figure a reader relies on.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Alpaca's own id of the account.
    pub external_account_id: String,
    /// Alpaca's account status, as sent. An open set of words: unknown ones are kept.
    pub status: String,
    /// ISO code of the currency of all figures, as sent.
    pub currency: String,
    /// Cash plus the market value of all positions.
    pub equity: Figure,
    /// What the account can still buy for, margin included.
    pub buying_power: Figure,
    /// Cash, negative when borrowed.
    pub cash: Figure,
}

/// Why an answer makes no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The account is not open and has no figures (code `account_incomplete`).
    #[error("the account is not open and has no figures (status {0})")]
    Incomplete(String),
    /// Nothing that can be trusted (code `broker_bad_answer`). Says which field, never its value.
    #[error("Alpaca's answer cannot be used: {0}")]
    Unusable(String),
}

/// Statuses of accounts that can trade, and so have figures.
const OPEN: [&str; 3] = ["ACTIVE", "ACCOUNT_UPDATED", "LIMITED"];

/// Field by field what is read. `RawValue` keeps numbers as text, because Alpaca documents decimals
/// as strings and has sent both.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow)]
    currency: Option<Cow<'a, str>>,
    #[serde(borrow)]
    equity: Option<&'a RawValue>,
    #[serde(borrow)]
    buying_power: Option<&'a RawValue>,
    #[serde(borrow)]
    cash: Option<&'a RawValue>,
}

impl Account {
    /// Reads the body of a 200 answer. Fields other than those above may be absent or unknown.
    pub fn from_answer(body: &[u8]) -> Result<Self, AnswerError> {
        let answer: Answer<'_> = serde_json::from_slice(body).map_err(|err| {
            // The message of serde would quote the answer: its place is enough to find it.
            unusable(format!("not the expected JSON at line {} column {}", err.line(), err.column()))
        })?;
        let external_account_id = text(answer.id, "id")?;
        let status = text(answer.status, "status")?;
        let has_no_figures = [answer.equity, answer.buying_power, answer.cash].iter().all(Option::is_none);
        if has_no_figures && !OPEN.contains(&status.as_str()) {
            return Err(AnswerError::Incomplete(as_word(status)));
        }
        Ok(Self {
            external_account_id,
            status,
            currency: text(answer.currency, "currency")?,
            equity: figure(answer.equity, "equity")?,
            buying_power: figure(answer.buying_power, "buying_power")?,
            cash: figure(answer.cash, "cash")?,
        })
    }
}

/// Only what looks like a status goes to the log: the account's side could answer anything.
fn as_word(status: String) -> String {
    let is_word = status.len() <= 40 && status.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    if is_word { status } else { "unknown".to_owned() }
}

fn unusable(reason: impl Into<String>) -> AnswerError {
    AnswerError::Unusable(reason.into())
}

fn text(value: Option<Cow<'_, str>>, field: &str) -> Result<String, AnswerError> {
    match value {
        Some(text) if !text.is_empty() => Ok(text.into_owned()),
        _ => Err(unusable(format!("{field} is missing"))),
    }
}

fn figure(value: Option<&RawValue>, field: &str) -> Result<Figure, AnswerError> {
    let json = value.ok_or_else(|| unusable(format!("{field} is missing")))?.get();
    let decimal = match json.starts_with('"') {
        true => serde_json::from_str::<Cow<'_, str>>(json)
            .map_err(|_| unusable(format!("{field} is not a text")))?,
        false => Cow::Borrowed(json),
    };
    Figure::parse(&decimal).map_err(|err| unusable(format!("{field} {err}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn answer() -> Value {
        json!({
            "id": "1d9eed04-be39-4e01-9b84-a48ac5bbafcf", "status": "ACTIVE", "currency": "USD",
            "equity": "123346.11", "buying_power": "245432.61", "cash": "-122086.5",
            "account_number": "PA0000000000", "user_configurations": null, "multiplier": "2",
        })
    }

    fn with(field: &str, value: Value) -> Value {
        let mut answer = answer();
        answer[field] = value;
        answer
    }

    fn without(fields: &[&str]) -> Value {
        let mut answer = answer();
        for field in fields {
            answer.as_object_mut().expect("an object").remove(*field);
        }
        answer
    }

    fn parse(answer: &Value) -> Result<Account, AnswerError> {
        Account::from_answer(answer.to_string().as_bytes())
    }

    #[test]
    fn the_documented_answer_is_read_exactly() {
        let account = parse(&answer()).expect("the documented shape");
        assert_eq!(account.external_account_id, "1d9eed04-be39-4e01-9b84-a48ac5bbafcf");
        assert_eq!((account.status.as_str(), account.currency.as_str()), ("ACTIVE", "USD"));
        assert_eq!(account.equity.text(), "123346.11");
        assert_eq!(account.buying_power.text(), "245432.61");
        assert_eq!(account.cash.text(), "-122086.5");
    }

    #[test]
    fn a_figure_sent_as_a_json_number_keeps_its_digits() {
        let body = answer().to_string().replace("\"123346.11\"", "123346.110000000000000000001");
        let account = Account::from_answer(body.as_bytes()).expect("a number is a figure too");
        assert_eq!(account.equity.text(), "123346.110000000000000000001");
    }

    #[test]
    fn a_status_nobody_has_heard_of_is_kept() {
        assert_eq!(parse(&with("status", json!("ON_HOLD"))).expect("figures are there").status, "ON_HOLD");
    }

    #[test]
    fn an_account_that_is_not_open_yet_is_incomplete_only_without_any_figure() {
        for status in ["ONBOARDING", "SUBMITTED", "APPROVAL_PENDING"] {
            let mut unopened = without(&["equity", "buying_power", "cash", "currency"]);
            unopened["status"] = json!(status);
            assert_eq!(parse(&unopened), Err(AnswerError::Incomplete(status.into())));
            unopened["cash"] = Value::Null;
            assert_eq!(parse(&unopened), Err(AnswerError::Incomplete(status.into())));
            unopened["cash"] = json!("0");
            assert!(
                matches!(parse(&unopened), Err(AnswerError::Unusable(_))),
                "half the figures are no snapshot"
            );
        }
    }

    #[test]
    fn only_a_status_that_looks_like_one_is_named() {
        for (status, named) in
            [("KYC_SUBMITTED", "KYC_SUBMITTED"), ("PK1 hush", "unknown"), ("line\nbreak", "unknown")]
        {
            let unopened = json!({"id": "1", "status": status});
            assert_eq!(parse(&unopened), Err(AnswerError::Incomplete(named.into())), "{status:?}");
        }
    }

    #[test]
    fn a_required_field_that_is_absent_null_or_wrong_is_never_a_zero() {
        for field in ["id", "status", "currency", "equity", "buying_power", "cash"] {
            for broken in
                [without(&[field]), with(field, Value::Null), with(field, json!("")), with(field, json!({}))]
            {
                assert!(matches!(parse(&broken), Err(AnswerError::Unusable(_))), "{field}: {broken}");
            }
        }
        for status in OPEN {
            let mut without_figures = without(&["equity", "buying_power", "cash"]);
            without_figures["status"] = json!(status);
            assert!(matches!(parse(&without_figures), Err(AnswerError::Unusable(_))), "{status}");
        }
        for figure in [
            json!("NaN"),
            json!("Infinity"),
            json!("1,000"),
            json!("abc"),
            json!(true),
            json!(["1"]),
            json!("1e999"),
        ] {
            let refused = parse(&with("cash", figure.clone()));
            assert!(
                matches!(refused, Err(AnswerError::Unusable(reason)) if reason.contains("cash")),
                "{figure}"
            );
        }
    }

    #[test]
    fn a_body_that_is_not_the_account_is_refused_without_quoting_it() {
        for body in [
            "",
            "<html>hush</html>",
            "[]",
            "null",
            "{\"id\": \"hush",
            "{\"id\":\"hush\",\"id\":\"hush\"}",
            "{\"id\":{\"hush\":1}}",
        ] {
            let err = Account::from_answer(body.as_bytes()).expect_err(body);
            assert!(
                matches!(&err, AnswerError::Unusable(_)) && !err.to_string().contains("hush"),
                "{body}: {err}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Account::from_answer(&body);
        }

        #[test]
        fn a_damaged_answer_is_refused_or_all_its_figures_are_numbers(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            insert in prop::option::of((any::<prop::sample::Index>(), "[\\[\\]{}\",:0-9eE.+ -]{1,6}")),
        ) {
            let mut body = answer().to_string().into_bytes();
            for (place, byte) in damage {
                *place.get_mut(&mut body) = byte;
            }
            if let Some((place, text)) = insert {
                let place = place.index(body.len());
                body.splice(place..place, text.bytes());
            }
            if let Ok(account) = Account::from_answer(&body) {
                prop_assert!(!account.external_account_id.is_empty() && !account.currency.is_empty());
                for figure in [&account.equity, &account.buying_power, &account.cash] {
                    prop_assert!(figure.to_double().is_finite());
                    let text = figure.text().as_bytes();
                    prop_assert!(body.windows(text.len()).any(|part| part == text), "no figure of its own making");
                }
            }
        }

        #[test]
        fn any_figure_is_kept_to_the_letter_or_refused(figure in "\\PC{0,30}|[0-9eE+.-]{0,20}", quoted: bool) {
            let json = if quoted { json!(figure).to_string() } else { figure.clone() };
            let body = answer().to_string().replace("\"123346.11\"", &json);
            if let Ok(account) = Account::from_answer(body.as_bytes()) {
                prop_assert!(account.equity.text() == figure.trim() || account.equity.text() == "123346.11");
            }
        }

        #[test]
        fn a_truncated_answer_is_never_an_account(cut in 0_usize..200) {
            let body = answer().to_string();
            prop_assume!(cut < body.len());
            prop_assert!(Account::from_answer(&body.as_bytes()[..cut]).is_err());
        }
    }
}
