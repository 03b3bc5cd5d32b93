//! The cases in `vectors/`, which the readers in other languages run too.

mod case;

use self::case::{Case, File, PolicyCase};
use crate::decimal::{parse, plain};
use crate::{
    Account, Decision, DenyCode, Environment, Funds, Order, Policy, Side, Signal, Snapshot, Sync, SyncState,
    Verdict, decide, pending_sum,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::collections::BTreeMap;

/// At least so many cases a file, so that none is lost unnoticed.
const LEAST: usize = 60;

fn figures(account: &Account) -> BTreeMap<&'static str, String> {
    let figures = &account.figures;
    let all = [
        ("equity", Some(&figures.equity)),
        ("buying_power", Some(&figures.buying_power)),
        ("cash", Some(&figures.cash)),
        ("last_equity", figures.last_equity.as_ref()),
        ("non_marginable_buying_power", figures.non_marginable_buying_power.as_ref()),
    ];
    all.into_iter().filter_map(|(name, figure)| Some((name, plain(figure?)))).collect()
}

/// What is said of the documents, in the words of the cases.
fn verdict(file: &File, case: &Case) -> serde_json::Value {
    assert!(case.order.is_none() && case.policy.is_none() && case.signals.is_empty(), "{}", case.name);
    let snapshot = file.snapshot(case);
    let verdict = snapshot.verdict(case.now());
    let mut said = json!({
        "verdict": verdict.as_str(),
        "source": snapshot.source().as_str(),
        "sync": snapshot.sync().state.as_str(),
    });
    match verdict {
        Verdict::Fresh { age, account } | Verdict::Stale { age, account } => {
            said["age_ms"] = i64::try_from(age.as_millis()).expect("not ages ago").into();
            said["figures"] = json!(figures(account));
        }
        Verdict::Malformed { field } => said["field"] = field.into(),
        Verdict::Missing => {}
    }
    said
}

fn policy(case: &PolicyCase) -> Policy {
    let funds = [Funds::BuyingPower, Funds::NonMarginableBuyingPower, Funds::Cash];
    Policy {
        environment: Environment::parse(&case.environment).expect("an environment"),
        currency: case.currency.clone(),
        funds: funds.into_iter().find(|funds| funds.as_str() == case.funds).expect("a figure's name"),
        reserve: parse(&case.reserve).expect("a decimal"),
    }
}

fn order(file: &File, case: &Case, snapshot: &Snapshot) -> Order {
    let documents: Vec<_> =
        case.signals.iter().map(|signal| (signal.id.as_str(), file.signal(signal))).collect();
    let signals =
        documents.iter().map(|(id, (fields, update_time))| Signal { id, fields, update_time: *update_time });
    let order = case.order.as_ref().expect("an order");
    Order {
        user: order.user.clone(),
        side: match order.side.as_str() {
            "buy" => Side::Buy,
            "sell" => Side::Sell,
            other => panic!("no side: {other}"),
        },
        notional: parse(&order.notional).expect("a decimal"),
        closes: order.closes,
        pending: pending_sum(signals, snapshot, case.now()),
    }
}

/// What is decided, in the words of the cases.
fn decision(file: &File, case: &Case) -> serde_json::Value {
    let snapshot = file.snapshot(case);
    let policy = policy(case.policy.as_ref().expect("a policy"));
    match decide(&order(file, case, &snapshot), &snapshot, &policy, case.now()) {
        Decision::Allow { max_notional } => json!({"allow": {"max_notional": plain(&max_notional)}}),
        Decision::Deny { code, reason } => {
            assert!(!reason.is_empty() && !reason.contains("1000.1"), "no amount belongs into {reason:?}");
            json!({"deny": code.as_str()})
        }
    }
}

/// Fails with all cases that went wrong.
fn run(name: &str, judge: fn(&File, &Case) -> serde_json::Value) {
    let file = File::read(name);
    let wrong = file.cases.iter().filter_map(|case| {
        let said = judge(&file, case);
        let fault = format!("{} ({}): {said}, not {}", case.name, case.why, case.expected);
        (said != case.expected).then_some(fault)
    });
    let wrong: Vec<_> = wrong.collect();
    let count = file.cases.len();
    assert!(wrong.is_empty(), "{name}: {} of {count} cases\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= LEAST, "{name}: {count} cases");
}

#[test]
fn snapshots_are_judged_as_the_cases_say() {
    run("snapshots.json", verdict);
}

#[test]
fn orders_are_decided_as_the_cases_say() {
    run("decisions.json", decision);
}

/// A word that no case expects would be one that other languages need not know.
#[test]
fn every_word_is_expected_somewhere() {
    let mut expected: Vec<String> = Vec::new();
    for case in ["snapshots.json", "decisions.json"].into_iter().flat_map(|name| File::read(name).cases) {
        let words = ["deny", "verdict", "source", "sync"].map(|word| case.expected[word].as_str());
        expected.extend(words.into_iter().flatten().map(str::to_owned));
    }
    let codes = DenyCode::ALL.map(DenyCode::as_str);
    let others = ["fresh", "stale", "missing", "malformed", "user", "tenant", "legacy"];
    let states = ["ok", "retrying", "needs_reauth", "incomplete", "unknown"];
    for word in codes.iter().chain(&others).chain(&states) {
        assert!(expected.iter().any(|said| said == word), "no case expects {word}");
    }
}

#[test]
fn each_case_has_a_name_of_its_own_and_a_reason() {
    for name in ["snapshots.json", "decisions.json"] {
        let cases = File::read(name).cases;
        let names: std::collections::BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
        assert_eq!(names.len(), cases.len(), "{name}: two cases of one name");
        assert!(cases.iter().all(|case| !case.name.is_empty() && !case.why.is_empty()), "{name}");
    }
}

/// The case of that name, with the snapshot that it is about.
fn case(file: &File, name: &str) -> (Snapshot, Timestamp) {
    let case = file.cases.iter().find(|case| case.name == name).expect(name);
    (file.snapshot(case), case.now())
}

#[test]
fn an_account_says_whose_it_is_and_what_blocks_it() {
    let (snapshot, now) = case(&File::read("snapshots.json"), "a blocked account");
    let Verdict::Fresh { account, .. } = snapshot.verdict(now) else { panic!("not fresh") };
    assert_eq!((account.user_id(), account.environment()), ("ana", Environment::Paper));
    assert_eq!(account.blocks(), ["account_blocked"]);
    assert_eq!((account.multiplier.as_deref(), account.pattern_day_trader), (Some("2"), None));
    assert_eq!(account.external_account_id, "1d9eed04-be39-4e01-9b84-a48ac5bbafcf");
}

#[test]
fn a_sync_says_what_is_wrong_since_when_and_until_when() {
    let (snapshot, _) = case(&File::read("snapshots.json"), "never synced, keys rejected");
    let time = |text: &str| Some(text.parse().expect(text));
    let expected = Sync {
        state: SyncState::NeedsReauth,
        error: Some("broker_rejected".to_owned()),
        since: time("2026-01-05T14:32:00Z"),
        failing_since: time("2026-01-05T14:31:00Z"),
        next_attempt_at: time("2026-01-05T14:46:00Z"),
    };
    assert_eq!(*snapshot.sync(), expected);
}

/// Amounts that no text of a case can have gone wrong with.
#[test]
fn a_negative_pending_sum_lends_nothing() {
    let file = File::read("decisions.json");
    let (snapshot, now) = case(&file, "a purchase that fits");
    let policy = policy(file.cases[0].policy.as_ref().expect("a policy"));
    let order = |pending: &str| Order {
        pending: Ok(parse(pending).expect("a decimal")),
        ..order(&file, &file.cases[0], &snapshot)
    };
    assert!(decide(&order("0"), &snapshot, &policy, now).is_allowed());
    let Decision::Deny { code, .. } = decide(&order("-0.01"), &snapshot, &policy, now) else {
        panic!("allowed")
    };
    assert_eq!(code, DenyCode::InvalidOrder);
}

#[test]
fn a_reason_says_how_old_and_a_code_is_its_word() {
    let file = File::read("decisions.json");
    let stale = file.cases.iter().find(|case| case.name == "stale by a second").expect("that case");
    let (snapshot, now) = case(&file, &stale.name);
    let policy = policy(stale.policy.as_ref().expect("a policy"));
    let decision = decide(&order(&file, stale, &snapshot), &snapshot, &policy, now);
    let Decision::Deny { code, reason } = decision else { panic!("allowed") };
    assert_eq!((code.to_string().as_str(), reason.as_str()), ("snapshot_stale", "the figures are 301 s old"));
}

/// What was fresh when it was read is not so for ever.
#[test]
fn a_snapshot_that_is_kept_grows_old() {
    let (snapshot, now) = case(&File::read("snapshots.json"), "stands until fresh_until");
    assert_eq!(snapshot.verdict(now).as_str(), "fresh");
    assert_eq!(snapshot.verdict(now + SignedDuration::from_secs(271)).as_str(), "stale");
}
