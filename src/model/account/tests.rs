//! What is and what is not an account.

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
fn what_need_not_be_sent_is_kept_as_it_was() {
    let account = parse(&answer()).expect("the documented shape");
    assert_eq!((account.last_equity, account.flags), (None, Flags::default()));
    let mut whole = answer();
    whole["last_equity"] = json!("122011.09751111286868");
    whole["non_marginable_buying_power"] = json!("122086.50");
    for (flag, set) in [
        ("trading_blocked", true),
        ("account_blocked", false),
        ("trade_suspended_by_user", true),
        ("transfers_blocked", false),
        ("pattern_day_trader", true),
    ] {
        whole[flag] = json!(set);
    }
    let account = parse(&whole).expect("whole");
    let text = |figure: &Option<Figure>| figure.as_ref().map(|figure| figure.text().to_owned());
    assert_eq!(text(&account.last_equity).as_deref(), Some("122011.09751111286868"));
    assert_eq!(text(&account.non_marginable_buying_power).as_deref(), Some("122086.50"));
    let flags = Flags {
        trading_blocked: Some(true),
        account_blocked: Some(false),
        trade_suspended_by_user: Some(true),
        transfers_blocked: Some(false),
        pattern_day_trader: Some(true),
    };
    assert_eq!(account.flags, flags);
}

#[test]
fn what_need_not_be_sent_is_never_made_up() {
    for field in ["last_equity", "non_marginable_buying_power"] {
        for odd in [json!(""), json!("n/a"), json!("NaN"), json!("1e999"), json!(true), json!({})] {
            let refused = parse(&with(field, odd.clone()));
            assert!(matches!(refused, Err(AnswerError::Unusable(reason)) if reason.contains(field)), "{odd}");
        }
        let account = parse(&with(field, Value::Null)).expect("not sent");
        assert_eq!((account.last_equity, account.non_marginable_buying_power), (None, None));
    }
}

#[test]
fn nobody_who_may_be_blocked_passes_for_one_who_is_not() {
    for flag in ["trading_blocked", "account_blocked", "trade_suspended_by_user", "transfers_blocked"] {
        for odd in [json!("true"), json!("false"), json!(0), json!(1), json!({}), json!([])] {
            let refused = parse(&with(flag, odd.clone()));
            assert!(matches!(refused, Err(AnswerError::Unusable(reason)) if reason.contains(flag)), "{odd}");
        }
        assert_eq!(parse(&with(flag, Value::Null)).map(|account| account.flags), Ok(Flags::default()));
    }
}

#[test]
fn what_blocks_nothing_and_is_no_money_costs_nothing_where_it_is_odd() {
    for odd in [json!("true"), json!(1), json!(null), json!({})] {
        assert_eq!(
            parse(&with("pattern_day_trader", odd)).map(|account| account.flags),
            Ok(Flags::default())
        );
    }
    for (sent, kept) in [
        (json!("2"), Some("2")),
        (json!("four"), Some("four")),
        (json!(4), Some("4")),
        (json!(-1.50), Some("-1.5")),
        (json!(""), None),
        (json!(null), None),
        (json!(true), None),
        (json!(["2"]), None),
    ] {
        let account = parse(&with("multiplier", sent.clone())).expect("an account");
        assert_eq!(account.multiplier.as_deref(), kept, "{sent}");
    }
}

#[test]
fn a_status_nobody_has_heard_of_is_kept() {
    assert_eq!(parse(&with("status", json!("ON_HOLD"))).expect("figures are there").status, "ON_HOLD");
}

#[test]
fn an_account_that_is_not_open_is_incomplete_when_any_figure_is_absent() {
    for status in NOT_OPEN {
        for absent in [
            &["equity", "buying_power", "cash", "currency"][..],
            &["equity", "cash"],
            &["cash"],
            &["currency"],
        ] {
            let mut unopened = without(absent);
            unopened["status"] = json!(status);
            assert_eq!(parse(&unopened), Err(AnswerError::Incomplete(status)), "{absent:?}");
            for field in absent {
                unopened[*field] = Value::Null;
            }
            assert_eq!(parse(&unopened), Err(AnswerError::Incomplete(status)), "{absent:?} null");
        }
    }
    let newcomer = json!({"id": "a", "status": "ONBOARDING", "currency": "USD", "buying_power": "0"});
    assert_eq!(parse(&newcomer), Err(AnswerError::Incomplete("ONBOARDING")), "as Alpaca sends it");
}

#[test]
fn an_account_that_is_not_open_and_has_all_its_figures_is_read() {
    assert_eq!(parse(&with("status", json!("ACCOUNT_CLOSED"))).expect("whole").status, "ACCOUNT_CLOSED");
}

#[test]
fn a_figure_of_an_account_that_is_not_open_has_to_be_one() {
    for figure in [json!(""), json!("n/a"), json!("NaN"), json!(false), json!({}), json!("1e-400")] {
        let newcomer = json!({"id": "a", "status": "ONBOARDING", "buying_power": figure});
        assert!(matches!(parse(&newcomer), Err(AnswerError::Unusable(_))), "{newcomer}");
    }
}

#[test]
fn a_status_that_nobody_knows_to_be_of_an_account_that_is_not_open_is_no_excuse() {
    for status in
        ["ACTIVE", "ACCOUNT_UPDATED", "LIMITED", "MAINTENANCE", "onboarding", "ONBOARDING ", "PK1 hush"]
    {
        let refused = parse(&json!({"id": "x", "status": status})).expect_err(status);
        assert!(matches!(refused, AnswerError::Unusable(_)), "{status}: {refused}");
        assert!(!refused.to_string().contains("hush"), "{refused}");
    }
}

#[test]
fn an_array_in_the_order_of_the_fields_is_no_account() {
    for body in [
        r#"["a1","ACTIVE","USD","1","2","3"]"#,
        r#" ["a1","ACTIVE","USD",1,2,3] "#,
        r#"["a1","ONBOARDING",null,null,null,null]"#,
        r#"[{"id":"a1","status":"ACTIVE","currency":"USD","equity":"1","buying_power":"2","cash":"3"}]"#,
        "\"a1\"",
        "null",
        "1",
        "true",
    ] {
        let refused = Account::from_answer(body.as_bytes());
        assert_eq!(refused, Err(AnswerError::Unusable("it is no JSON object".into())), "{body}");
    }
}

#[test]
fn what_is_no_json_is_told_from_what_is_no_account() {
    for body in
        ["", " ", "<html></html>", "Access denied", "{\"id\": \"a", "[1,", "{'id': 1}", "{} {}", "\u{feff}{}"]
    {
        let refused = Account::from_answer(body.as_bytes());
        assert!(matches!(refused, Err(AnswerError::NoJson { .. })), "{body}: {refused:?}");
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
    for figure in [
        json!("NaN"),
        json!("Infinity"),
        json!("1,000"),
        json!("abc"),
        json!(true),
        json!(["1"]),
        json!("1e999"),
        json!("1e-400"),
    ] {
        let refused = parse(&with("cash", figure.clone()));
        assert!(matches!(refused, Err(AnswerError::Unusable(reason)) if reason.contains("cash")), "{figure}");
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
        assert!(!format!("{err} {err:?}").contains("hush"), "{body}: {err}");
    }
}

proptest! {
    #[test]
    fn no_answer_panics(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Account::from_answer(&body);
    }

    #[test]
    fn only_an_object_is_an_account_whatever_stands_around_it(
        before in "[ \\t\\r\\n\\[\"{]{0,3}", after in "[ \\t\\r\\n\\]\"},]{0,3}",
    ) {
        let body = format!("{before}{}{after}", answer());
        let blank = |text: &str| text.chars().all(|c| " \t\r\n".contains(c));
        prop_assert_eq!(Account::from_answer(body.as_bytes()).is_ok(), blank(&before) && blank(&after));
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
