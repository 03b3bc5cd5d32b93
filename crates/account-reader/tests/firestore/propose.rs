//! Proposing, by several programs at once.

use crate::world::{Stored, World, policy, proposal};
use account_reader::decimal::parse;
use account_reader::documents::InvalidId;
use account_reader::firestore::{Error, Signals};
use account_reader::jiff::{SignedDuration, Timestamp};
use account_reader::{Action, Decision, DenyCode, Outcome, Proposal};
use firestore::FirestoreTimestamp;
use futures::future::join_all;

/// So many programs propose at the same time.
const PROGRAMS: usize = 2;
const PROPOSALS: usize = 50;
const RUNS: usize = 20;

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

fn is_accepted(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Create { decision: Decision::Allow { .. }, .. })
}

/// What a proposal was denied for.
fn denied(outcome: &Outcome) -> Option<DenyCode> {
    match outcome {
        Outcome::Create { decision: Decision::Deny { code, .. }, .. } => Some(*code),
        _ => None,
    }
}

/// Proposes, and again for as long as others come first.
async fn outcome(signals: &Signals, key: &str, proposal: &Proposal) -> Outcome {
    loop {
        match signals.propose(key, proposal, &policy()).await {
            Err(Error::Contended(_)) => {}
            result => return result.expect("an outcome"),
        }
    }
}

async fn programs(world: &World, count: usize) -> Vec<Signals> {
    let clients = join_all((0..count).map(|_| world.client())).await;
    clients.iter().map(Signals::new).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_proposals_at_once_exactly_as_many_are_accepted_as_the_money_allows() {
    let Some(world) = World::new() else { return };
    let programs = programs(&world, PROGRAMS).await;
    for run in 0..RUNS {
        // Between programs the transaction alone decides. The emulator lets who meets another wait for two seconds.
        let programs = if run % 10 == 0 { &programs[..] } else { &programs[..1] };
        check_one_run(&world, programs, format!("user-{run}")).await;
    }
}

async fn check_one_run(world: &World, programs: &[Signals], user: String) {
    world.put_snapshot(&user, seconds(1)).await;
    let proposal = proposal(&user);
    let all = (0..PROPOSALS).map(async |number| {
        outcome(&programs[number % programs.len()], &format!("k{number}"), &proposal).await
    });
    let outcomes = join_all(all).await;
    // 14 × 70 = 980 of 1000.
    assert_eq!(outcomes.iter().filter(|outcome| is_accepted(outcome)).count(), 14, "{user}");
    let short = outcomes.iter().filter(|outcome| denied(outcome) == Some(DenyCode::InsufficientFunds));
    assert_eq!(short.count(), PROPOSALS - 14, "{user}");
    let stored = world.statuses(&user).await;
    assert_eq!(stored.iter().filter(|status| *status == "proposed").count(), 14, "{user}");
    assert_eq!(stored.len(), PROPOSALS, "{user}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_programs_at_once_do_not_spend_the_same_money() {
    let Some(world) = World::new() else { return };
    let programs = programs(&world, 10).await;
    world.put_snapshot("ana", seconds(1)).await;
    let mut proposal = proposal("ana");
    proposal.notional_usd = Some(parse("300").expect("a number"));
    let all = programs
        .iter()
        .enumerate()
        .map(async |(number, signals)| outcome(signals, &format!("k{number}"), &proposal).await);
    let outcomes = join_all(all).await;
    assert_eq!(outcomes.iter().filter(|outcome| is_accepted(outcome)).count(), 3, "{outcomes:?}");
    assert_eq!(world.statuses("ana").await.len(), programs.len());
}

/// Each of two has money enough alone.
#[tokio::test(flavor = "multi_thread")]
async fn two_programs_at_once_do_not_spend_the_same_money() {
    let Some(world) = World::new() else { return };
    let programs = programs(&world, PROGRAMS).await;
    for user in ["user-1", "user-2", "user-3", "user-4"] {
        world.put_snapshot(user, seconds(1)).await;
        let mut proposal = proposal(user);
        proposal.notional_usd = Some(parse("700").expect("a number"));
        let both = [outcome(&programs[0], "k0", &proposal), outcome(&programs[1], "k1", &proposal)];
        let outcomes = join_all(both).await;
        assert_eq!(outcomes.iter().filter(|outcome| is_accepted(outcome)).count(), 1, "{user}: {outcomes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_one_signal_however_often_and_from_wherever_it_comes() {
    let Some(world) = World::new() else { return };
    let programs = programs(&world, PROGRAMS).await;
    world.put_snapshot("ana", seconds(1)).await;
    let (proposal, policy) = (proposal("ana"), policy());
    let all = programs.iter().map(|signals| signals.propose("k1", &proposal, &policy));
    let outcomes: Vec<Outcome> =
        join_all(all).await.into_iter().map(|one| one.expect("an outcome")).collect();
    assert_eq!(outcomes.iter().filter(|outcome| is_accepted(outcome)).count(), 1, "{outcomes:?}");
    let same = Outcome::Existing { status: "proposed".to_owned(), differs: false };
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == same).count(), PROGRAMS - 1, "{outcomes:?}");
    assert_eq!(world.statuses("ana").await, ["proposed"]);

    let mut other = proposal.clone();
    other.notional_usd = Some(parse("71").expect("a number"));
    let outcome = programs[0].propose("k1", &other, &policy).await.expect("an outcome");
    assert_eq!(outcome, Outcome::Existing { status: "proposed".to_owned(), differs: true });
}

/// What is in the user's collection before a proposal for 70 of 1000 dollars, and whether that is then allowed.
#[tokio::test]
async fn what_is_pending_is_spoken_for_and_nothing_else() {
    let backend = Some("backend");
    let cases = [
        ("proposed", seconds(600), backend, false),
        ("proposed", seconds(-1), backend, true),
        ("executing", seconds(600), backend, false),
        // Long expired, but still on its way.
        ("executing", SignedDuration::from_hours(-1000), backend, false),
        // After the snapshot, which cannot show it.
        ("executed", seconds(600), backend, false),
        ("executed", seconds(-3600), backend, false),
        ("failed", seconds(600), backend, true),
        ("cancelled", seconds(600), backend, true),
        ("rejected", seconds(600), backend, true),
        // Written by the user.
        ("proposed", seconds(600), None, true),
        ("executing", seconds(600), None, true),
    ];
    let Some(world) = World::new() else { return };
    let signals = Signals::new(&world.client().await);
    for (number, (status, ends_in, proposed_by, is_allowed)) in cases.into_iter().enumerate() {
        let user = format!("user-{number}");
        world.put_snapshot(&user, seconds(1)).await;
        let expires_at = FirestoreTimestamp(Timestamp::now() + ends_in);
        let stored =
            Stored { symbol: "QQQ", action: "buy", notional_usd: 950.0, status, expires_at, proposed_by };
        world.put(&format!("users/{user}/tradingSignals/before"), &stored).await;
        let outcome = signals.propose("k1", &proposal(&user), &policy()).await.expect("an outcome");
        let expected = (!is_allowed).then_some(DenyCode::InsufficientFunds);
        assert_eq!(denied(&outcome), expected, "{status} {ends_in:?} {proposed_by:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn the_document_says_what_was_decided() {
    let Some(world) = World::new() else { return };
    let signals = Signals::new(&world.client().await);
    world.put_snapshot("ana", seconds(1)).await;
    let Outcome::Create { fields, .. } =
        signals.propose("k1", &proposal("ana"), &policy()).await.expect("an outcome")
    else {
        panic!("nothing is there yet")
    };
    let stored = signals.propose("k1", &proposal("ana"), &policy()).await.expect("an outcome");
    assert_eq!(stored, Outcome::Existing { status: "proposed".to_owned(), differs: false });
    assert_eq!(fields["proposed_by"], account_reader::Value::String("backend".to_owned()));
    // Nobody has synced.
    let outcome = signals.propose("k1", &proposal("bob"), &policy()).await.expect("an outcome");
    assert_eq!(denied(&outcome), Some(DenyCode::SnapshotMissing));
    assert_eq!(world.statuses("bob").await, ["rejected"]);
}

#[tokio::test]
async fn old_money_is_not_spent_but_a_position_is_closed() {
    let Some(world) = World::new() else { return };
    let signals = Signals::new(&world.client().await);
    world.put_snapshot("ana", seconds(3600)).await;
    let outcome = signals.propose("k1", &proposal("ana"), &policy()).await.expect("an outcome");
    assert_eq!(denied(&outcome), Some(DenyCode::SnapshotStale));
    let mut flat = proposal("ana");
    (flat.action, flat.notional_usd) = (Action::Flat, None);
    assert!(is_accepted(&signals.propose("k2", &flat, &policy()).await.expect("an outcome")));
}

#[tokio::test]
async fn a_users_own_document_under_the_key_is_left_alone() {
    let Some(world) = World::new() else { return };
    let signals = Signals::new(&world.client().await);
    world.put_snapshot("ana", seconds(1)).await;
    let expires_at = FirestoreTimestamp(Timestamp::now() + seconds(600));
    let own = Stored {
        symbol: "SPY",
        action: "buy",
        notional_usd: 70.0,
        status: "proposed",
        expires_at,
        proposed_by: None,
    };
    world.put("users/ana/tradingSignals/k1", &own).await;
    let outcome = signals.propose("k1", &proposal("ana"), &policy()).await.expect("an outcome");
    assert_eq!(outcome, Outcome::KeyTaken);
    assert_eq!(world.statuses("ana").await, ["proposed"]);
}

#[tokio::test]
async fn an_id_that_would_be_a_path_is_refused() {
    let Some(world) = World::new() else { return };
    let signals = Signals::new(&world.client().await);
    for (user, key) in [("ana/alpacaAccounts/snapshot", "k1"), ("ana", "../k1"), ("", "k1"), ("ana", "__k__")]
    {
        let refused = signals.propose(key, &proposal(user), &policy()).await;
        assert!(matches!(refused, Err(Error::InvalidId(InvalidId))), "{user} {key}: {refused:?}");
    }
}
