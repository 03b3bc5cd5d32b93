//! Sections 2, 5 and 5a: `users/{userId}/alpacaAccounts/sync`, what keeps a user from being synced.

use crate::answers::answer;
use crate::on_both;
use crate::traffic::watched;
use crate::world::{World, off, sandbox, secret_of, timestamp};
use alpaca_pulse::sandbox::alpaca::Profile;
use alpaca_pulse::sandbox::call::Service;
use alpaca_pulse::sandbox::secret_manager::VersionState;
use alpaca_pulse::secret_manager::KeyVersion;
use alpaca_pulse::store::values::{integer, null, text, timestamp as time};
use alpaca_pulse::trouble::{History, LookSchedule, Plan, State, Trouble, plan};
use gcloud_sdk::google::firestore::v1::Document;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Users with every failure that can be had without touching Firestore, each with the `state`, `error`,
/// `rejections` and `key_version` that it leaves behind.
const FAILURES: [(&str, &str, &str, i64, Option<&str>); 11] = [
    ("missing", "retrying", "keys_missing", 0, None),
    ("forbidden", "retrying", "keys_forbidden", 0, None),
    ("disabled", "retrying", "keys_disabled", 0, None),
    ("malformed", "retrying", "keys_malformed", 0, Some("2")),
    ("unreadable", "retrying", "keys_unavailable", 0, None),
    ("no.secret", "retrying", "user_id_invalid", 0, None),
    ("rejected", "retrying", "broker_rejected", 1, Some("1")),
    ("onboarding", "incomplete", "account_incomplete", 0, Some("1")),
    ("limited", "retrying", "broker_rate_limited", 0, Some("1")),
    ("failing", "retrying", "broker_unavailable", 0, Some("1")),
    ("garbled", "retrying", "broker_bad_answer", 0, Some("1")),
];

async fn everybody_fails(world: &World) {
    for (user, ..) in FAILURES {
        world.user(user).await;
    }
    let secrets = world.sandbox.secrets();
    secrets.delete(&secret_of("missing"));
    secrets.forbid(&secret_of("forbidden"), true);
    assert!(secrets.set_state(&secret_of("disabled"), "latest", VersionState::Disabled));
    world.store_payload("malformed", "{}");
    world.fault("secret-manager:error=503,user=unreadable");
    world.account("rejected", Profile::Revoked);
    world.account("onboarding", Profile::onboarding());
    world.fault("alpaca:error=429,user=limited");
    world.fault("alpaca:error=503,user=failing");
    world.account("garbled", status(200));
}

/// An answer with this status and nothing usable in it.
fn status(code: u16) -> Profile {
    answer(code, "no JSON")
}

async fn stored(world: &World, user: &str) -> Option<Document> {
    world.stored(&format!("users/{user}/alpacaAccounts/sync")).await
}

/// A user's record without its times, and those: `since` and `next_attempt_at`.
async fn record(world: &World, user: &str) -> (Json, Timestamp, Option<Timestamp>) {
    let mut record = world.trouble(user).await;
    let fields = record.as_object_mut().unwrap_or_else(|| panic!("{user} has a record"));
    let since = timestamp(&fields.remove("since").expect("a point in time"));
    let written = timestamp(&fields.remove("updated_at").expect("the server's time"));
    assert!(written >= since - MINUTE && written <= Timestamp::now() + MINUTE, "{written}");
    let next = fields.remove("next_attempt_at").expect("a field, if only null");
    let next = (!next.is_null()).then(|| timestamp(&next));
    (record, since, next)
}

/// What a record says besides its times.
fn says(state: &str, error: Option<&str>, rejections: i64, key_version: Option<&str>) -> Json {
    json!({"state": state, "error": error, "rejections": {"integer": rejections}, "key_version": key_version})
}

on_both! {
    async fn every_failure_is_recorded_with_its_code(world) {
        everybody_fails(&world).await;
        world.user("fine").await;
        let before = Timestamp::now();
        let run = world.pulse().await;
        run.assert_completed("1 successful, 10 errors, 1 skipped", 0);
        for (user, state, code, rejections, version) in FAILURES {
            let (record, since, next) = record(&world, user).await;
            assert_eq!(record, says(state, Some(code), rejections, version), "{user}");
            assert!(before <= since && since <= Timestamp::now(), "{user}: {since}");
            assert_eq!(next, None, "{user} is tried again at every pulse");
            assert_eq!(run.error_of(user).as_deref(), Some(code));
            assert_eq!(world.snapshot(user).await, json!(null), "{user}");
        }
        assert_eq!(world.trouble("fine").await, json!(null), "who never had trouble has no record");
    }

    async fn a_failure_that_goes_on_is_not_written_again(world) {
        everybody_fails(&world).await;
        world.pulse().await.assert_completed("0 successful, 10 errors, 1 skipped", 1);
        let mut before = Vec::new();
        for (user, ..) in FAILURES {
            before.push((user, stored(&world, user).await));
        }
        world.pulse().await.assert_completed("0 successful, 10 errors, 1 skipped", 1);
        for (user, before) in before {
            let changes = user == "rejected"; // a second time, which makes a difference
            assert_eq!(stored(&world, user).await != before, changes, "{user}");
        }
    }

    async fn another_failure_is_written_and_the_state_still_dates_from_the_first(world) {
        world.user("ana").await;
        world.sandbox.secrets().delete(&secret_of("ana"));
        world.pulse().await.assert_completed("0 successful, 1 errors", 1);
        let (_, first, _) = record(&world, "ana").await;
        let written = timestamp(&world.trouble("ana").await["updated_at"]);

        world.connect("ana", status(200));
        world.pulse().await.assert_completed("0 successful, 1 errors", 1);
        let (now, since, _) = record(&world, "ana").await;
        assert_eq!(now, says("retrying", Some("broker_bad_answer"), 0, Some("1")));
        assert_eq!(since, first);
        assert!(timestamp(&world.trouble("ana").await["updated_at"]) > written);

        world.account("ana", Profile::onboarding());
        let run = world.pulse().await;
        run.assert_completed("0 successful, 0 errors, 1 skipped", 0);
        let (now, since, _) = record(&world, "ana").await;
        assert_eq!(now, says("incomplete", Some("account_incomplete"), 0, Some("1")));
        assert!(since > first, "another state");
        run.entry("Skipped Alpaca account for user ana: ");
    }

    async fn success_ends_the_trouble_and_then_nothing_more_is_written(world) {
        world.user("ana").await;
        world.account("ana", status(200));
        world.pulse().await.assert_completed("0 successful, 1 errors", 1);
        let (_, first, _) = record(&world, "ana").await;

        world.account("ana", Profile::active());
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        let (now, since, next) = record(&world, "ana").await;
        assert_eq!((now, next), (says("ok", None, 0, Some("1")), None));
        assert!(since > first);
        assert_eq!(world.trouble("ana").await["updated_at"], world.snapshot("ana").await["updated_at"]);

        let over = stored(&world, "ana").await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(stored(&world, "ana").await, over);
        world.account("ana", status(200));
        world.pulse().await.assert_completed("0 successful, 1 errors", 1);
        let (again, since_again, _) = record(&world, "ana").await;
        assert_eq!(again, says("retrying", Some("broker_bad_answer"), 0, Some("1")));
        assert!(since_again > since, "trouble that comes back is new trouble");
    }

    async fn records_that_belong_to_no_user_do_no_harm(world) {
        let strangers = ["alpacaAccounts/sync", "tenants/acme/alpacaAccounts/sync",
            "users/ghost/alpacaAccounts/sync", "users/ana/alpacaAccounts/other",
            "users/zoe/sub/doc/alpacaAccounts/sync"];
        for path in strangers {
            world.put(path, [("state", text("needs_reauth")), ("key_version", text("1"))]).await;
        }
        world.user("ana").await;
        world.user("zoe").await;
        world.account("zoe", status(200));
        world.pulse().await.assert_completed("1 successful, 1 errors", 0);
        let zoe = stored(&world, "zoe").await.expect("a record");
        world.pulse().await.assert_completed("1 successful, 1 errors", 0);
        assert_eq!(stored(&world, "zoe").await, Some(zoe), "the record is found behind the strangers");
        for path in strangers {
            let left = json!({"state": "needs_reauth", "key_version": "1"});
            assert_eq!(world.document(path).await, left, "{path}");
        }
        assert_eq!(world.trouble("ana").await, json!(null));
    }

    async fn everybody_in_trouble_is_found_whatever_the_order_of_their_ids(world) {
        // As texts, users/a-b/… comes before users/a/….
        let users = ["a", "a-b", "a_b", "a0", "A", "-", "b"];
        for user in users {
            world.user(user).await;
            world.account(user, if user == "a0" { Profile::active() } else { status(200) });
        }
        world.pulse().await.assert_completed("1 successful, 6 errors", 0);
        let mut before = Vec::new();
        for user in users {
            before.push(stored(&world, user).await);
        }
        world.pulse().await.assert_completed("1 successful, 6 errors", 0);
        for (user, before) in users.into_iter().zip(before) {
            assert_eq!(stored(&world, user).await, before, "{user}");
        }
    }
}

/// Somebody whose secret is not looked at within the next minute: their five minutes do not turn.
fn nobody_looks_at() -> String {
    let now = Timestamp::now();
    let schedule = LookSchedule { previous: Some(now), now: now + MINUTE };
    let rejected = History::Troubled(Trouble {
        state: State::NeedsReauth,
        error: None,
        since: now,
        rejections: 2,
        key_version: KeyVersion::parse("1"),
        next_attempt_at: Some(now + HOUR),
    });
    let mut users = (0..1000).map(|number| format!("user-{number}"));
    let waits = |user: &String| plan(&rejected, user, &schedule) == Plan::Wait;
    users.find(waits).expect("four in five users wait in any minute")
}

/// A user whose first keys Alpaca rejected twice, and asks to leave alone for that much longer.
async fn needs_reauth(world: &World, user: &str, rest: SignedDuration) {
    world.user(user).await;
    world.account(user, Profile::Revoked);
    let now = Timestamp::now();
    let fields = [
        ("state", text("needs_reauth")),
        ("error", text("broker_rejected")),
        ("since", time(now - HOUR)),
        ("rejections", integer(2)),
        ("key_version", text("1")),
        ("next_attempt_at", time(now + rest)),
        ("updated_at", time(now - HOUR)),
    ];
    world.put(&format!("users/{user}/alpacaAccounts/sync"), fields).await;
}

/// The next attempt is due.
async fn due(world: &World, user: &str) {
    let past = [("next_attempt_at", time(Timestamp::now() - MINUTE))];
    world.patch(&format!("users/{user}/alpacaAccounts/sync"), past).await;
}

/// The last pulse started that long ago: after ten minutes everybody's secret is looked at.
async fn last_pulse_was(world: &World, ago: SignedDuration) {
    world.put("ops/last_pulse", [("started_at", time(Timestamp::now() - ago))]).await;
}

/// Secrets accessed and accounts asked for so far.
fn asked(world: &World) -> (u64, u64) {
    (world.calls(Service::SecretManager, "AccessSecretVersion"), world.calls(Service::Alpaca, "GetAccount"))
}

const ONE_SKIPPED: &str = "0 successful, 0 errors, 1 skipped";

on_both! {
    async fn after_the_second_rejection_in_a_row_the_user_has_to_reconnect(world) {
        let user = nobody_looks_at();
        world.user(&user).await;
        world.account(&user, Profile::Revoked);
        world.pulse().await.assert_completed("0 successful, 1 errors", 1);
        let (first, _, next) = record(&world, &user).await;
        assert_eq!((first, next), (says("retrying", Some("broker_rejected"), 1, Some("1")), None));

        let before = Timestamp::now();
        world.pulse().await.assert_completed("0 successful, 1 errors", 1);
        let (second, since, next) = record(&world, &user).await;
        assert_eq!(second, says("needs_reauth", Some("broker_rejected"), 2, Some("1")));
        let rest = SignedDuration::from_mins(15);
        let next = next.expect("the keys rest");
        assert!(before + rest <= next && next <= Timestamp::now() + rest, "{next}");
        assert!(before <= since, "another state");
        assert_eq!(asked(&world), (2, 2));

        let left = stored(&world, &user).await;
        let run = world.pulse().await;
        run.assert_completed(ONE_SKIPPED, 0);
        run.entry(&format!("Skipped Alpaca account for user {user}: "));
        assert_eq!(asked(&world), (2, 2), "neither the secret nor Alpaca is asked");
        assert_eq!(stored(&world, &user).await, left);
        assert_eq!(world.document("ops/last_pulse").await["needs_reauth_count"], json!({"integer": 1}));
    }

    async fn the_secret_is_looked_at_once_in_five_minutes_and_alpaca_not_asked(world) {
        let user = nobody_looks_at();
        needs_reauth(&world, &user, HOUR).await;
        let left = stored(&world, &user).await;
        last_pulse_was(&world, SignedDuration::from_mins(10)).await;
        for _ in 0..3 {
            let run = world.pulse().await;
            run.assert_completed(ONE_SKIPPED, 0);
            run.entry(&format!("Skipped Alpaca account for user {user}: "));
            assert_eq!(asked(&world), (1, 0));
        }
        assert_eq!(stored(&world, &user).await, left);
    }

    async fn rejected_keys_that_are_due_are_asked_about_again_and_rest_longer_each_time(world) {
        let user = nobody_looks_at();
        needs_reauth(&world, &user, HOUR).await;
        let (_, since, _) = record(&world, &user).await;
        for (n, (rejections, hours)) in [(3, 1), (4, 6), (5, 24), (6, 24)].into_iter().enumerate() {
            due(&world, &user).await;
            let before = Timestamp::now();
            world.pulse().await.assert_completed(ONE_SKIPPED, 0);
            let (now, still_since, next) = record(&world, &user).await;
            assert_eq!(now, says("needs_reauth", Some("broker_rejected"), rejections, Some("1")));
            let (next, rest) = (next.expect("they rest"), HOUR * hours);
            assert!(before + rest <= next && next <= Timestamp::now() + rest, "{rejections}: {next}");
            assert_eq!((still_since, asked(&world).1), (since, n as u64 + 1));
        }
    }

    async fn a_newer_key_version_is_found_at_the_next_look(world) {
        let user = nobody_looks_at();
        needs_reauth(&world, &user, HOUR).await;
        let left = stored(&world, &user).await;
        world.connect(&user, Profile::active());
        last_pulse_was(&world, SignedDuration::ZERO).await;
        world.pulse().await.assert_completed(ONE_SKIPPED, 0);
        assert_eq!((asked(&world), stored(&world, &user).await), ((0, 0), left), "no look was due");

        last_pulse_was(&world, SignedDuration::from_mins(10)).await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        let (now, _, next) = record(&world, &user).await;
        assert_eq!((now, next), (says("ok", None, 0, Some("2")), None));
        assert_eq!(world.snapshot(&user).await["key_version"], "2");
    }

    async fn who_names_the_user_need_not_wait_for_the_look(world) {
        let user = nobody_looks_at();
        needs_reauth(&world, &user, HOUR).await;
        world.connect(&user, Profile::active());
        last_pulse_was(&world, SignedDuration::ZERO).await;
        world.pulse_with(&["--user", &user]).await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(record(&world, &user).await.0, says("ok", None, 0, Some("2")));
    }

    async fn the_same_keys_end_it_too_once_alpaca_takes_them(world) {
        let user = nobody_looks_at();
        needs_reauth(&world, &user, HOUR).await;
        world.account(&user, Profile::active());
        due(&world, &user).await;
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        let (now, _, next) = record(&world, &user).await;
        assert_eq!((now, next), (says("ok", None, 0, Some("1")), None));
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    }

    async fn a_newer_version_that_is_rejected_starts_over(world) {
        let user = nobody_looks_at();
        needs_reauth(&world, &user, HOUR).await;
        world.connect(&user, Profile::Revoked);
        last_pulse_was(&world, SignedDuration::from_mins(10)).await;
        for (state, rejections) in [("retrying", 1), ("needs_reauth", 2)] {
            world.pulse().await.assert_completed("0 successful, 1 errors", 1);
            let (now, _, next) = record(&world, &user).await;
            assert_eq!(now, says(state, Some("broker_rejected"), rejections, Some("2")));
            assert_eq!(next.is_some(), rejections == 2);
        }
    }

    async fn another_failure_between_two_rejections_breaks_the_row(world) {
        world.user("ana").await;
        for (answer, error, rejections) in [
            (Profile::Revoked, "broker_rejected", 1), (status(200), "broker_bad_answer", 0),
            (Profile::Revoked, "broker_rejected", 1), (status(503), "broker_unavailable", 0),
            (Profile::Revoked, "broker_rejected", 1),
        ] {
            world.account("ana", answer);
            world.pulse().await.assert_completed("0 successful, 1 errors", 1);
            let (now, _, next) = record(&world, "ana").await;
            assert_eq!((now, next), (says("retrying", Some(error), rejections, Some("1")), None));
        }
    }

    async fn a_success_between_two_rejections_breaks_the_row(world) {
        world.user("ana").await;
        for answer in [Profile::Revoked, Profile::active(), Profile::Revoked] {
            world.account("ana", answer);
            world.pulse().await;
        }
        assert_eq!(record(&world, "ana").await.0, says("retrying", Some("broker_rejected"), 1, Some("1")));
    }

    async fn a_passing_failure_proves_nothing_about_rejected_keys(world) {
        let user = nobody_looks_at();
        needs_reauth(&world, &user, HOUR).await;
        due(&world, &user).await;
        let left = stored(&world, &user).await;
        for (code, error) in [(503, "broker_unavailable"), (429, "broker_rate_limited")] {
            world.account(&user, status(code));
            let run = world.pulse().await;
            run.assert_completed(ONE_SKIPPED, 0);
            assert_eq!(run.error_of(&user).as_deref(), Some(error));
            assert_eq!(stored(&world, &user).await, left, "after {code}");
        }
        world.fault(&format!("secret-manager:error=503,user={user}"));
        let run = world.pulse().await;
        assert_eq!(run.error_of(&user).as_deref(), Some("keys_unavailable"));
        assert_eq!(stored(&world, &user).await, left);
    }
}

/// Users `good-0`, ... with an account in good order, and `bad-0`, ... whom Alpaca rejects.
async fn fleet(world: &World, rejected: usize, good: usize) {
    for number in 0..good {
        world.user(&format!("good-{number}")).await;
    }
    for number in 0..rejected {
        let user = format!("bad-{number}");
        world.user(&user).await;
        world.account(&user, Profile::Revoked);
    }
}

fn fleet_wide(rejected: usize, asked: usize) -> String {
    format!("Alpaca rejected {rejected} of {asked} users: not marking anyone for re-authentication")
}

on_both! {
    async fn when_more_than_a_fifth_is_rejected_nobodys_state_changes(world) {
        fleet(&world, 5, 15).await;
        let known = [("state", text("retrying")), ("error", text("broker_rejected")),
            ("key_version", text("1")), ("rejections", integer(1)),
            ("since", time(Timestamp::now())), ("next_attempt_at", null())];
        world.put("users/bad-0/alpacaAccounts/sync", known).await;
        let before = stored(&world, "bad-0").await;
        for _ in 0..2 {
            let run = world.pulse().await;
            run.assert_completed("15 successful, 5 errors", 0);
            assert_eq!(run.severity_of(&fleet_wide(5, 20)).as_deref(), Some("CRITICAL"), "{}", run.stdout);
            assert_eq!(stored(&world, "bad-0").await, before);
            for number in 1..5 {
                assert_eq!(world.trouble(&format!("bad-{number}")).await, json!(null));
            }
        }
    }

    async fn four_rejected_users_are_their_own_fault_however_few_there_are(world) {
        fleet(&world, 4, 6).await;
        let run = world.pulse().await;
        run.assert_completed("6 successful, 4 errors", 0);
        assert!(!run.stdout.contains("not marking anyone"), "{}", run.stdout);
        for number in 0..4 {
            let (marked, ..) = record(&world, &format!("bad-{number}")).await;
            assert_eq!(marked, says("retrying", Some("broker_rejected"), 1, Some("1")));
        }
    }

    async fn exactly_a_fifth_is_their_own_fault(world) {
        fleet(&world, 5, 20).await;
        let run = world.pulse().await;
        run.assert_completed("20 successful, 5 errors", 0);
        assert!(!run.stdout.contains("not marking anyone"), "{}", run.stdout);
        for number in 0..5 {
            let (marked, ..) = record(&world, &format!("bad-{number}")).await;
            assert_eq!(marked, says("retrying", Some("broker_rejected"), 1, Some("1")));
        }
    }

    async fn only_users_who_were_asked_about_count_for_the_fifth(world) {
        fleet(&world, 5, 19).await;
        for user in ["off-0", "off-1"] {
            world.put(&format!("users/{user}"), [("sync_enabled", off())]).await;
            world.put(&format!("users/keyless-{user}"), []).await;
        }
        let run = world.pulse().await;
        run.assert_completed("19 successful, 7 errors, 2 skipped", 0);
        assert_eq!(run.severity_of(&fleet_wide(5, 24)).as_deref(), Some("CRITICAL"), "{}", run.stdout);
        assert_eq!(world.trouble("bad-0").await, json!(null));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_trouble_is_learned_from_one_query() {
    let world = sandbox().await;
    fleet(&world, 3, 5).await;
    for _ in 0..2 {
        let (run, traffic) = watched(&world, &[]).await;
        run.assert_completed("5 successful, 3 errors", 0);
        let queries = traffic.queries();
        let mut collections: Vec<_> = queries
            .iter()
            .flat_map(|query| &query.from)
            .map(|from| (from.collection_id.as_str(), from.all_descendants))
            .collect();
        collections.sort_unstable();
        assert_eq!(collections, [("alpacaAccounts", true), ("users", false)]);
        let read: Vec<String> = traffic.lookups().into_iter().flatten().collect();
        assert!(!read.iter().any(|path| path.starts_with("users/")), "{read:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_trouble_is_in_the_commit_of_the_snapshot() {
    let world = sandbox().await;
    world.user("ana").await;
    world.account("ana", status(200));
    world.pulse().await.assert_completed("0 successful, 1 errors", 1);
    world.account("ana", Profile::active());
    let (run, traffic) = watched(&world, &[]).await;
    run.assert_completed("1 successful, 0 errors", 0);
    let commits = traffic.commits_to("users/ana/alpacaAccounts/sync");
    assert_eq!(commits.len(), 1);
    let mut paths: Vec<String> = commits[0].writes.iter().map(|write| traffic.path(write)).collect();
    paths.sort_unstable();
    let expected = [
        "tenants/ana/accounts/primary",
        "users/ana/alpacaAccounts/snapshot",
        "users/ana/alpacaAccounts/sync",
    ];
    assert_eq!(paths, expected);
    assert_eq!(traffic.commits().len(), 2, "and one for ops/last_pulse");
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_ongoing_trouble_nor_its_absence_is_committed_again() {
    let world = sandbox().await;
    world.user("ana").await;
    world.user("ben").await;
    world.sandbox.secrets().delete(&secret_of("ben"));
    needs_reauth(&world, &nobody_looks_at(), HOUR).await;
    world.pulse().await.assert_completed("1 successful, 1 errors, 1 skipped", 0);
    let (run, traffic) = watched(&world, &[]).await;
    run.assert_completed("1 successful, 1 errors, 1 skipped", 0);
    assert!(traffic.commits_to("/alpacaAccounts/sync").is_empty());
    assert_eq!(traffic.commits().len(), 2, "one for ana's snapshot, one for ops/last_pulse");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_firestore_does_not_take_is_recorded_once_it_takes_anything() {
    for (fault, code) in
        [("UNAVAILABLE,times=3", "store_unavailable"), ("PERMISSION_DENIED,times=1", "store_rejected")]
    {
        let world = sandbox().await;
        world.user("ana").await;
        world.fault(&format!("firestore/Commit:error={fault},user=ana"));
        world.pulse().await.assert_completed("0 successful, 1 errors", 1);
        let (record, ..) = record(&world, "ana").await;
        assert_eq!(record, says("retrying", Some(code), 0, Some("1")));
        assert_eq!(world.snapshot("ana").await, json!(null));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_records_no_trouble() {
    let world = sandbox().await;
    fleet(&world, 1, 1).await;
    world.put("users/keyless", []).await;
    let (run, traffic) = watched(&world, &["--dry-run"]).await;
    run.assert_completed("1 successful, 2 errors", 0);
    assert!(traffic.commits().is_empty());
}
