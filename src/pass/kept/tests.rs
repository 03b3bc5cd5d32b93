//! What is kept is what was read, whoever it is about, and for how long.

use super::*;
use crate::model::ids::TenantId;
use crate::model::outcome::Code;
use crate::model::sync_state::{PreviousState, State, SyncState};
use crate::model::tenancy::Revision;
use crate::model::user::{Switch, TenantClaim};
use crate::pass::user_record::PageLookup;

const TTL: Duration = Duration::from_secs(600);

fn id(id: &str) -> DocumentId {
    DocumentId::of_existing(id)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_623_400 + second).expect("in range")
}

fn user(name: &str, tenant: TenantClaim) -> User {
    User { id: id(name), tenant, sync: Switch::On, keys_updated_at: Some(at(-5)), created_at: None }
}

fn primary(owner: Option<&str>, revision: Option<Revision>) -> Primary {
    let owner = owner.map(str::to_owned);
    Primary { owner, account: Some("a1".into()), updated_at: Some(at(-60)), revision }
}

fn revision(seconds: i64) -> Option<Revision> {
    Some(Revision { seconds, nanos: 123_456_000 })
}

fn record(name: &str, tenant: TenantClaim, lookup: Option<TenantLookup>) -> UserRecord {
    let mut record = UserRecord::new(user(name, tenant), PreviousState::Clean);
    record.lookup = lookup.map(|lookup| PageLookup::read(lookup, Instant::now()));
    record
}

fn of(tenant: &str) -> TenantClaim {
    TenantClaim::Of(TenantId::parse(tenant).expect("legal"))
}

fn lookup(is_member: bool, primary: Option<Primary>) -> Option<TenantLookup> {
    Some(TenantLookup { is_member, primary })
}

/// All of these, read in one range.
fn kept(records: &[UserRecord]) -> KeptUsers {
    let kept = KeptUsers::new(TTL, 10);
    assert!(kept.begin(&Round::default(), (Instant::now(), at(0))));
    kept.begin_range();
    kept.extend(records);
    kept.complete();
    kept
}

fn everybody(kept: &KeptUsers) -> Vec<UserRecord> {
    kept.page(&IdRange::default(), None, 100)
}

fn ids(records: &[UserRecord]) -> Vec<&str> {
    records.iter().map(|record| record.id().as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_user_is_kept_as_they_were_read_but_for_the_account_which_is_known_otherwise() {
    let troubled = PreviousState::Troubled(SyncState {
        state: State::Retrying,
        error: Some(Code::KeysMissing),
        since: at(-9),
        failing_since: None,
        last_success: None,
        rejections: 1,
        key_version: None,
        next_attempt_at: Some(at(9)),
    });
    let records = [
        record("ana", TenantClaim::Own, lookup(false, Some(primary(Some("ana"), revision(7))))),
        record("ben", of("acme"), lookup(true, Some(primary(Some("cy"), revision(-7))))),
        record("cy", of("acme"), lookup(true, Some(primary(Some("cy"), revision(-7))))),
        record("dee", TenantClaim::Own, lookup(false, None)),
        record("eve", TenantClaim::Unusable, lookup(false, None)),
        record("fay", TenantClaim::Own, None),
        UserRecord { previous: troubled, ..record("gus", of("other"), lookup(false, None)) },
        record("hal", TenantClaim::Own, lookup(false, Some(primary(None, None)))),
    ];
    let read = everybody(&kept(&records));
    assert_eq!(ids(&read), ids(&records));
    for (read, record) in read.iter().zip(&records) {
        let expected = record.fresh_lookup().cloned().map(|mut lookup| {
            lookup.primary = lookup.primary.map(|primary| Primary { account: None, ..primary });
            lookup
        });
        assert_eq!((&read.user, &read.previous), (&record.user, &record.previous));
        assert_eq!(read.fresh_lookup(), expected.as_ref(), "{}", record.id());
        assert_eq!(read.is_lookup_kept(), expected.is_some(), "{}", record.id());
    }
    tokio::time::sleep(TTL).await;
    assert!(read[0].fresh_lookup().is_some(), "they are kept as long as the users are");
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_cannot_be_kept_is_read_again() {
    for strange in [Revision { seconds: -1, nanos: -1 }, Revision { seconds: i64::MAX, nanos: 0 }] {
        let found = lookup(false, Some(primary(Some("ana"), Some(strange))));
        let read = everybody(&kept(&[record("ana", TenantClaim::Own, found)]));
        assert_eq!(read[0].fresh_lookup(), None, "{strange:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_commit_has_made_of_a_tenants_document_all_its_members_know() {
    let found = || lookup(true, Some(primary(Some("ben"), revision(7))));
    let own = record("ana", TenantClaim::Own, lookup(false, None));
    let kept = kept(&[own, record("ben", of("acme"), found()), record("cy", of("acme"), found())]);
    let written = |owner: &str, revision| Primary {
        account: None,
        updated_at: Some(at(60)),
        ..primary(Some(owner), revision)
    };
    kept.note_written(&id("ana"), Some(&written("ana", revision(8))));
    kept.note_written(&id("ben"), Some(&written("ben", revision(9))));
    kept.note_written(&id("nobody"), Some(&written("ana", revision(10))));
    let read = everybody(&kept);
    let known = |n: usize| read[n].fresh_lookup().and_then(|lookup| lookup.primary.clone());
    assert_eq!(known(0), Some(written("ana", revision(8))));
    assert_eq!((known(1), known(2)), (Some(written("ben", revision(9))), Some(written("ben", revision(9)))));
    assert_eq!(read.iter().map(|user| user.has_snapshot).collect::<Vec<_>>(), [true, true, false]);
}

#[tokio::test(start_paused = true)]
async fn users_are_kept_for_their_time_and_only_when_all_were_read() {
    let start = Instant::now();
    let kept = KeptUsers::new(TTL, 10);
    assert_eq!(kept.question(start), None);
    assert!(kept.begin(&Round::default(), (start, at(0))));
    kept.begin_range();
    kept.extend(&[record("ana", TenantClaim::Own, None)]);
    assert_eq!(kept.question(start), None, "the pages broke off");
    kept.complete();
    let question = |doubted: &[&str]| {
        let doubted = doubted.iter().map(|doubted| id(doubted)).collect();
        Some(Question { after: at(-60), doubted })
    };
    kept.doubt(&id("ana"));
    assert_eq!(kept.question(start), question(&["ana"]));
    assert_eq!(kept.question(start + TTL - Duration::from_secs(1)), question(&[]));
    assert_eq!(kept.question(start + TTL), None);
    let rest = Round::default().rest(Some(&id("ana")));
    assert!(!kept.begin(&rest, (start, at(0))) && everybody(&kept).is_empty(), "not all of them");
}

#[tokio::test(start_paused = true)]
async fn a_round_that_begins_in_the_middle_is_kept_in_the_order_of_ids() {
    let round = Round::around(IdRange::default(), Some(&id("m")));
    let kept = KeptUsers::new(TTL, 10);
    assert!(kept.begin(&round, (Instant::now(), at(0))));
    for range in [["x", "y"], ["b", "m"]] {
        kept.begin_range();
        kept.extend(&range.map(|name| record(name, TenantClaim::Own, None)));
        // What is written while others are still read.
        kept.note_written(&id(range[1]), None);
    }
    kept.complete();
    assert_eq!(ids(&everybody(&kept)), ["b", "m", "x", "y"]);
    let written = everybody(&kept).iter().filter(|user| user.has_snapshot).count();
    assert_eq!(written, 2);
    let pages = round.ranges().iter().map(|range| kept.page(range, None, 100));
    assert_eq!(pages.map(|page| ids(&page).join(" ")).collect::<Vec<_>>(), ["x y", "b m"]);
    let next = kept.page(&IdRange::default(), Some(&id("b")), 2);
    assert_eq!(ids(&next), ["m", "x"]);
}

#[tokio::test(start_paused = true)]
async fn who_was_read_by_name_is_replaced_added_or_gone() {
    let kept = kept(&["b", "d", "f"].map(|name| record(name, TenantClaim::Own, None)));
    let changed = User { sync: Switch::Off, ..user("d", TenantClaim::Own) };
    let asked = vec![user("b", TenantClaim::Own), changed.clone(), user("a", TenantClaim::Own)];
    assert_eq!(kept.other_than(asked), [id("d"), id("a")]);
    let read = [
        record("a", TenantClaim::Own, None),
        UserRecord::new(changed, PreviousState::Clean),
        UserRecord::missing(id("f")),
        UserRecord::missing(id("g")),
        record("h", TenantClaim::Own, None),
    ];
    assert!(kept.fold(&read, at(60)));
    let all = everybody(&kept);
    assert_eq!(ids(&all), ["a", "b", "d", "h"]);
    assert!(all[2].user.is_paused());
    assert_eq!(kept.question(Instant::now()).map(|question| question.after), Some(at(0)));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_kept_where_they_are_too_many_or_their_trouble_is_unknown() {
    let many: Vec<_> = (0..11).map(|n| record(&format!("u{n:02}"), TenantClaim::Own, None)).collect();
    let too_many = kept(&many);
    assert!(everybody(&too_many).is_empty() && too_many.question(Instant::now()).is_none());
    assert!(!too_many.begin(&Round::default(), (Instant::now(), at(0))), "nor are they collected again");
    let unknown = UserRecord { previous: PreviousState::Unknown, ..record("ana", TenantClaim::Own, None) };
    assert_eq!(kept(&[unknown]).question(Instant::now()), None);
    let ten = kept(&many[..10]);
    assert!(!ten.fold(&many[10..], at(0)), "one more than there is room for");
    let doubting = kept(&many[..1]);
    (0..=MOST_BY_NAME).for_each(|n| doubting.doubt(&id(&format!("u{n}"))));
    assert_eq!(doubting.question(Instant::now()), None, "all are read at once");
}
