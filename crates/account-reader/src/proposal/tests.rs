use super::*;
use crate::account::{Environment, Source};
use crate::decision::Funds;
use crate::snapshot::Documents;
use crate::sync::Lookup;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_623_400 + seconds).expect("in range")
}

fn string(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn amount(text: &str) -> BigDecimal {
    decimal::parse(text).expect(text)
}

/// A snapshot of that moment with 1000 dollars to spend.
fn snapshot() -> Snapshot {
    use crate::documents::snapshot as field;
    let mut fields: Fields = [
        (field::BROKER, "alpaca"),
        (field::USER_ID, "ana"),
        (field::EXTERNAL_ACCOUNT_ID, "1d9eed04"),
        (field::STATUS, "ACTIVE"),
        (field::ENVIRONMENT, "paper"),
        (field::CURRENCY, "USD"),
    ]
    .map(|(name, text)| (name.to_owned(), string(text)))
    .into();
    let figures = [field::EQUITY, field::BUYING_POWER, field::CASH];
    fields.extend(figures.map(|name| (name.to_owned(), Value::Integer(1000))));
    let exact = figures.map(|name| (name.to_owned(), string("1000")));
    fields.insert(field::EXACT.to_owned(), Value::Map(exact.into()));
    fields.insert(field::UPDATED_AT_ISO.to_owned(), string(&time::iso(at(0))));
    let documents = Documents { snapshot: Some(&fields), sync: Lookup::Absent, last_pulse: Lookup::Unread };
    Snapshot::read(Source::User("ana".to_owned()), documents)
}

fn policy() -> Policy {
    let currency = "USD".to_owned();
    Policy { environment: Environment::Paper, currency, funds: Funds::Cash, reserve: amount("0") }
}

fn proposal(dollars: &str) -> Proposal {
    Proposal {
        user: "ana".to_owned(),
        symbol: "SPY".to_owned(),
        action: Action::Buy,
        notional_usd: Some(amount(dollars)),
        closes: false,
        reason: "trend".to_owned(),
        strategy_id: "s1".to_owned(),
        expires_at: at(60),
    }
}

/// What becomes of proposals, one after the other, each under a key of its own.
fn one_after_the_other(proposals: &[Proposal]) -> Vec<Outcome> {
    let (snapshot, mut outcomes) = (snapshot(), Vec::new());
    let mut stored: Vec<Fields> = Vec::new();
    for proposal in proposals {
        let signals: Vec<_> =
            stored.iter().map(|fields| Signal { id: "s", fields, update_time: Some(at(1)) }).collect();
        let desk = Desk { existing: None, snapshot: &snapshot, signals: &signals };
        let outcome = propose(proposal, desk, &policy(), at(1));
        if let Outcome::Create { fields, .. } = &outcome {
            stored.push(fields.clone());
        }
        outcomes.push(outcome);
    }
    outcomes
}

fn decide_alone(proposal: &Proposal, signals: &[Signal<'_>]) -> (Fields, Decision) {
    let snapshot = snapshot();
    let desk = Desk { existing: None, snapshot: &snapshot, signals };
    match propose(proposal, desk, &policy(), at(1)) {
        Outcome::Create { fields, decision } => (fields, decision),
        other => panic!("not decided: {other:?}"),
    }
}

fn with_existing(existing: &Fields, proposal: &Proposal) -> Outcome {
    let snapshot = snapshot();
    propose(proposal, Desk { existing: Some(existing), snapshot: &snapshot, signals: &[] }, &policy(), at(1))
}

fn code_of(decision: &Decision) -> Option<DenyCode> {
    match decision {
        Decision::Allow { .. } => None,
        Decision::Deny { code, .. } => Some(*code),
    }
}

#[test]
fn an_allowed_proposal_becomes_a_signal() {
    let (fields, decision) = decide_alone(&proposal("400.25"), &[]);
    assert_eq!(decision, Decision::Allow { max_notional: amount("1000") });
    let expected: Fields = [
        ("symbol", string("SPY")),
        ("action", string("buy")),
        ("notional_usd", Value::Double(400.25)),
        ("reason", string("trend")),
        ("status", string("proposed")),
        ("strategy_id", string("s1")),
        ("created_at", Value::Timestamp(at(1))),
        ("expires_at", Value::Timestamp(at(60))),
        ("snapshot_updated_at_iso", string("2026-01-05T14:30:00.000Z")),
        ("proposed_by", string("backend")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    assert_eq!(fields, expected);
}

#[test]
fn a_denied_proposal_is_recorded_with_its_code() {
    let (fields, decision) = decide_alone(&proposal("1000.01"), &[]);
    assert_eq!(code_of(&decision), Some(DenyCode::InsufficientFunds));
    assert_eq!(fields["status"], string("rejected"));
    assert_eq!(fields["denied_code"], string("insufficient_funds"));
    assert_eq!(fields["proposed_by"], string("backend"));
}

#[test]
fn as_many_are_accepted_as_the_money_allows() {
    let outcomes = one_after_the_other(&vec![proposal("300"); 50]);
    let is_allowed = |outcome: &Outcome| match outcome {
        Outcome::Create { decision, .. } => decision.is_allowed(),
        _ => false,
    };
    let allowed: Vec<bool> = outcomes.iter().map(is_allowed).collect();
    assert_eq!(allowed, [vec![true; 3], vec![false; 47]].concat());
}

#[test]
fn the_same_key_twice_is_one_signal() {
    let (stored, _) = decide_alone(&proposal("400"), &[]);
    let same = Outcome::Existing { status: "proposed".to_owned(), differs: false };
    assert_eq!(with_existing(&stored, &proposal("400.00")), same);
    let others = [
        Proposal { symbol: "QQQ".to_owned(), ..proposal("400") },
        Proposal { action: Action::Sell, ..proposal("400") },
        Proposal { notional_usd: None, ..proposal("400") },
        proposal("401"),
    ];
    let other = Outcome::Existing { status: "proposed".to_owned(), differs: true };
    for proposal in others {
        assert_eq!(with_existing(&stored, &proposal), other, "{proposal:?}");
    }
}

#[test]
fn a_denied_key_stays_denied() {
    let (stored, _) = decide_alone(&proposal("4000"), &[]);
    let same = Outcome::Existing { status: "rejected".to_owned(), differs: false };
    assert_eq!(with_existing(&stored, &proposal("4000")), same);
}

#[test]
fn a_clients_document_takes_the_key() {
    let (mut stored, _) = decide_alone(&proposal("400"), &[]);
    for forged in [None, Some(string("user")), Some(Value::Bool(true)), Some(Value::Null)] {
        stored.remove("proposed_by");
        stored.extend(forged.map(|value| ("proposed_by".to_owned(), value)));
        assert_eq!(with_existing(&stored, &proposal("400")), Outcome::KeyTaken);
    }
}

#[test]
fn what_is_no_order_is_denied_as_that() {
    let wrong = [
        proposal("0"),
        proposal("-5"),
        proposal("0.1000000000000000055511151231257827"),
        Proposal { notional_usd: None, ..proposal("1") },
        Proposal { symbol: String::new(), ..proposal("1") },
        Proposal { expires_at: at(1), ..proposal("1") },
    ];
    for proposal in wrong {
        let (_, decision) = decide_alone(&proposal, &[]);
        assert_eq!(code_of(&decision), Some(DenyCode::InvalidOrder), "{proposal:?}");
    }
    let snapshot = snapshot();
    let desk = Desk { existing: None, snapshot: &snapshot, signals: &[] };
    let euros = Policy { currency: "EUR".to_owned(), ..policy() };
    let Outcome::Create { decision, .. } = propose(&proposal("1"), desk, &euros, at(1)) else {
        panic!("decided")
    };
    assert_eq!(code_of(&decision), Some(DenyCode::InvalidOrder));
}

#[test]
fn an_unreadable_pending_amount_stops_spending_and_no_closing() {
    let (mut stored, _) = decide_alone(&proposal("400"), &[]);
    for wrong in [string("400"), Value::Null, Value::Double(f64::NAN), Value::Double(-1.0), Value::Bool(true)]
    {
        stored.insert("notional_usd".to_owned(), wrong);
        let signals = [Signal { id: "k7", fields: &stored, update_time: Some(at(1)) }];
        let (_, decision) = decide_alone(&proposal("1"), &signals);
        let Decision::Deny { code: DenyCode::PendingUnknown, reason } = decision else {
            panic!("not denied: {decision:?}")
        };
        assert_eq!(reason, "the amount of signal k7 cannot be read");
        for closing in [
            Proposal { closes: true, action: Action::Sell, ..proposal("5000") },
            Proposal { action: Action::Flat, notional_usd: None, ..proposal("1") },
        ] {
            assert!(decide_alone(&closing, &signals).1.is_allowed(), "{closing:?}");
        }
    }
}

/// It is paid too, and no field of a signal says that it closes.
#[test]
fn a_pending_purchase_that_closes_counts_like_any_other() {
    let covering = |notional_usd| Proposal { closes: true, notional_usd, ..proposal("1") };
    let next = |covering: &Proposal| {
        let (stored, _) = decide_alone(covering, &[]);
        assert_eq!(stored["status"], string("proposed"), "never denied for money");
        let signals = [Signal { id: "k7", fields: &stored, update_time: Some(at(1)) }];
        let buy = decide_alone(&proposal("400"), &signals).1;
        assert!(decide_alone(covering, &signals).1.is_allowed(), "one position more is closed");
        code_of(&buy)
    };
    assert_eq!(next(&covering(Some(amount("600")))), None);
    assert_eq!(next(&covering(Some(amount("601")))), Some(DenyCode::InsufficientFunds));
    assert_eq!(next(&covering(None)), Some(DenyCode::PendingUnknown));
    assert_eq!(next(&Proposal { action: Action::Flat, ..covering(None) }), None);
}

#[test]
fn people_read_what_became_of_it() {
    let reason = "the figures are 420 s old".to_owned();
    let allowed = Decision::Allow { max_notional: amount("800.10") };
    let denied = Decision::Deny { code: DenyCode::SnapshotStale, reason };
    let create = |decision| Outcome::Create { fields: Fields::new(), decision };
    let existing = |differs| Outcome::Existing { status: "executing".to_owned(), differs };
    for (outcome, expected) in [
        (create(allowed), "allowed, up to 800.1"),
        (create(denied), "denied, snapshot_stale: the figures are 420 s old"),
        (existing(false), "proposed before, now executing"),
        (existing(true), "denied, the key is another proposal's"),
        (Outcome::KeyTaken, "denied, key_taken: the key is of a signal of the user's own"),
    ] {
        assert_eq!(outcome.to_string(), expected);
    }
}
