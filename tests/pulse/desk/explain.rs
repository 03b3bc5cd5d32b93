//! `pulse explain`: for every fault the right cause, who has to act, and the exit code.

use super::{TEN_MINUTES, findings};
use crate::world::{World, off, sandbox, secret_of};
use alpaca_pulse::firestore::values::{text, timestamp};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::Profile;
use pulse_sandbox::secret_manager::VersionState;
use serde_json::json;

/// What breaks a user's sync.
#[derive(Clone, Copy)]
enum Break {
    /// A fault of the sandbox, for that user.
    Fault(&'static str),
    NoSecret,
    Forbidden,
    Disabled,
    Destroyed,
    Payload(&'static str),
    Account(fn() -> Profile),
    Paused,
    UnreadableSwitch,
}

/// The user (who is named after what is wrong), what breaks their sync, the reason that is told, and who has to act.
type Row = (&'static str, Break, &'static str, &'static str);

const ROWS: [Row; 29] = [
    ("no-secret", Break::NoSecret, "KeysMissing", "user"),
    ("bare-404", Break::Fault("secret-manager/AccessSecretVersion:error=404"), "KeysMissing", "user"),
    ("forbidden", Break::Forbidden, "KeysForbidden", "operator"),
    ("bare-403", Break::Fault("secret-manager:error=403"), "KeysForbidden", "operator"),
    ("disabled", Break::Disabled, "KeysDisabled", "user"),
    ("destroyed", Break::Destroyed, "KeysDisabled", "user"),
    ("no-json", Break::Payload("key_id=PK1"), "KeysMalformed", "user"),
    ("secrets-503", Break::Fault("secret-manager:error=503"), "KeysUnavailable", "nobody"),
    ("secrets-cut", Break::Fault("secret-manager:drop-before"), "KeysUnavailable", "nobody"),
    ("secrets-lost", Break::Fault("secret-manager:drop-after"), "KeysUnavailable", "nobody"),
    ("secrets-half", Break::Fault("secret-manager:truncate"), "KeysUnavailable", "nobody"),
    (
        "checksum",
        Break::Fault("secret-manager/AccessSecretVersion:wrong-checksum"),
        "KeysUnavailable",
        "nobody",
    ),
    (
        "other-secret",
        Break::Fault("secret-manager/AccessSecretVersion:other-secret=alpaca-keys-zoe"),
        "KeysUnavailable",
        "nobody",
    ),
    ("revoked", Break::Account(|| Profile::Revoked), "NeedsReauth", "user"),
    ("onboarding", Break::Account(Profile::onboarding), "AccountIncomplete", "user"),
    ("limited", Break::Fault("alpaca:error=429,header=Retry-After: 3600"), "BrokerRateLimited", "operator"),
    ("broker-503", Break::Fault("alpaca:error=503"), "BrokerUnavailable", "nobody"),
    (
        "edge",
        Break::Fault("alpaca:error=403,header=Content-Type: text/html,body=<html>no</html>"),
        "BrokerUnavailable",
        "nobody",
    ),
    ("broker-cut", Break::Fault("alpaca:drop-before"), "BrokerUnavailable", "nobody"),
    ("broker-lost", Break::Fault("alpaca:drop-after"), "BrokerUnavailable", "nobody"),
    ("broker-half", Break::Fault("alpaca:truncate"), "BrokerUnavailable", "nobody"),
    ("redirect", Break::Fault("alpaca:redirect=https://example.com"), "BrokerBadAnswer", "operator"),
    ("no-object", Break::Fault("alpaca:body=[1]"), "BrokerBadAnswer", "operator"),
    ("vast", Break::Fault("alpaca:padding=100000"), "BrokerBadAnswer", "operator"),
    ("other-account", Break::Fault("alpaca:other-account"), "BrokerOtherAccount", "operator"),
    ("no-writes", Break::Fault("firestore/Commit:error=PERMISSION_DENIED"), "NotReached", "operator"),
    ("paused", Break::Paused, "Paused", "operator"),
    ("unreadable", Break::UnreadableSwitch, "SwitchUnreadable", "operator"),
    ("dotted.id", Break::NoSecret, "UserIdInvalid", "operator"),
];

impl World {
    async fn broken(&self, user: &str, what: Break) {
        let secrets = self.sandbox.secrets();
        let state = |state| assert!(secrets.set_state(&secret_of(user), "latest", state));
        match what {
            Break::Fault(fault) => self.fault(&format!("{fault},user={user}")),
            Break::NoSecret => secrets.delete(&secret_of(user)),
            Break::Forbidden => secrets.forbid(&secret_of(user), true),
            Break::Disabled => state(VersionState::Disabled),
            Break::Destroyed => state(VersionState::Destroyed),
            Break::Payload(payload) => drop(self.store_payload(user, payload)),
            Break::Account(profile) => self.account(user, profile()),
            Break::Paused => self.patch(&format!("users/{user}"), [("sync_enabled", off())]).await,
            Break::UnreadableSwitch => {
                self.patch(&format!("users/{user}"), [("sync_enabled", text("false"))]).await;
            }
        }
    }

    /// All of them, who synced once, ten minutes ago, and have been failing in two pulses since.
    async fn in_trouble(&self) {
        for (user, ..) in ROWS {
            self.user(user).await;
        }
        self.user("zoe").await;
        self.pulse().await;
        for (user, what, ..) in ROWS {
            if user != "dotted.id" {
                self.age_snapshot(user, TEN_MINUTES).await;
            }
            self.broken(user, what).await;
        }
        for _ in 0..2 {
            self.pulse_with(&["--pin-accounts"]).await;
        }
    }
}

/// Users whose figures never were any.
const NEVER_SYNCED: [&str; 1] = ["dotted.id"];

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_explained_by_its_cause_and_by_who_has_to_act() {
    let world = sandbox().await;
    world.in_trouble().await;
    for (user, _, reason, who) in ROWS {
        let (object, exit) = world.look(&["explain", user]).await;
        let (told, conclusion) = (object["conclusion"].to_string(), &object["conclusion"]);
        assert_eq!(
            (&conclusion["reason"], &conclusion["who"]),
            (&reason.into(), &who.into()),
            "{user}: {told}"
        );
        let verdict = if NEVER_SYNCED.contains(&user) { "missing" } else { "stale" };
        assert_eq!(object["snapshot"]["verdict"], verdict, "{user}");
        assert_eq!(exit, Some(3), "{user}: {told}");
        let findings = findings(&object);
        let last = findings.last().expect("a conclusion");
        assert_eq!((last.0.as_str(), last.1.as_str()), (reason, "failed"), "{user}");
        let written = world.told(&["explain", user]).await;
        assert_eq!(written.exit, exit, "the same as text");
        assert!(written.stdout.contains(&format!("failed        {reason}: ")), "{}", written.stdout);
    }
    let (object, exit) = world.look(&["explain", "zoe"]).await;
    assert_eq!((&object["conclusion"]["reason"], exit), (&"Fresh".into(), Some(0)));
    let (object, exit) = world.look(&["explain", "nobody"]).await;
    assert_eq!((&object["conclusion"]["reason"], exit), (&"UserUnknown".into(), Some(3)));
    causes_in_the_status(&world).await;
}

/// The same world: whose cause each kind of trouble is.
async fn causes_in_the_status(world: &World) {
    let (object, exit) = world.look(&["status"]).await;
    assert_eq!(exit, Some(3), "users are stale for causes of ours");
    for (error, cause) in [
        ("keys_missing", "user"),
        ("keys_forbidden", "ours"),
        ("keys_disabled", "user"),
        ("keys_malformed", "user"),
        ("keys_unavailable", "ours"),
        ("broker_rejected", "user"),
        ("account_incomplete", "user"),
        ("broker_rate_limited", "ours"),
        ("broker_unavailable", "ours"),
        ("broker_bad_answer", "ours"),
        ("broker_other_account", "ours"),
        ("user_id_invalid", "user"),
    ] {
        let trouble = object["trouble"].as_array().expect("a list");
        let found: Vec<_> = trouble.iter().filter(|group| group["error"] == error).collect();
        assert_eq!(found.len(), 1, "{error}: {trouble:?}");
        assert_eq!(found[0]["cause"], cause, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_fails_and_is_still_fresh_is_a_warning_and_no_failure() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await;
    world.fault("alpaca:error=503");
    world.user("zoe").await;
    world.pulse().await;
    let (object, exit) = world.look(&["explain", "ana"]).await;
    let conclusion = &object["conclusion"];
    assert_eq!((&conclusion["reason"], exit), (&"BrokerUnavailable".into(), Some(0)), "{conclusion}");
    assert_eq!((&object["state"], &object["snapshot"]["verdict"]), (&"warning".into(), &"fresh".into()));
}

/// That it passes by itself is no answer for ever, and what is one user's is no outage.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_passed_for_half_an_hour_has_somebody_who_has_to_act() {
    let world = sandbox().await;
    world.user("ana").await;
    world.user("zoe").await;
    world.pulse().await;
    world.fault("alpaca:error=503,user=ana");
    world.pulse().await;
    let since = [("failing_since", timestamp(Timestamp::now() - SignedDuration::from_mins(31)))];
    world.patch("users/ana/alpacaAccounts/sync", since).await;
    for args in [&["explain", "ana"][..], &["explain", "ana", "--ask"]] {
        let (object, _) = world.look(args).await;
        let conclusion = &object["conclusion"];
        assert_eq!(
            (&conclusion["reason"], &conclusion["who"]),
            (&"BrokerUnavailable".into(), &"operator".into())
        );
        let (sentence, mend) = (conclusion["sentence"].to_string(), conclusion["mend"].to_string());
        assert!(sentence.contains("the request id that the log has"), "{sentence}");
        assert!(mend.contains("gcloud logging read") && mend.contains("ana"), "{mend}");
    }
}

/// Figures of now are no promise that the account may trade.
#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_account_is_told_however_fresh_its_figures_are() {
    let world = sandbox().await;
    for (user, status, is_blocked) in [("ana", "ACTIVE", true), ("ben", "ACCOUNT_CLOSED", false)] {
        world.user(user).await;
        let body = json!({
            "id": format!("account-of-{user}"), "status": status, "currency": "USD", "equity": "101.5",
            "buying_power": "200", "cash": "50", "trading_blocked": is_blocked, "account_blocked": false,
        });
        let (status, body) = (StatusCode::OK, body.to_string().into());
        world.account(user, Profile::Fixed { status, body });
    }
    world.pulse().await;
    for (user, what) in [("ana", "trading_blocked"), ("ben", "ACCOUNT_CLOSED")] {
        let (object, exit) = world.look(&["explain", user]).await;
        let conclusion = &object["conclusion"];
        assert_eq!(
            (&conclusion["reason"], &conclusion["who"]),
            (&"AccountBlocked".into(), &"user".into()),
            "{conclusion}"
        );
        assert!(conclusion["sentence"].to_string().contains(what), "{conclusion}");
        assert_eq!((&object["state"], exit), (&"warning".into(), Some(0)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_stopped_is_the_cause_unless_the_user_has_one_of_their_own() {
    let world = sandbox().await;
    for user in ["ana", "ben", "cy"] {
        world.user(user).await;
    }
    world.pulse().await;
    world.broken("ben", Break::NoSecret).await;
    world.fault("alpaca:error=503,user=cy");
    world.pulse().await;
    for user in ["ana", "ben", "cy"] {
        world.age_snapshot(user, TEN_MINUTES).await;
    }
    world.age_pulse(TEN_MINUTES).await;
    for (user, reason) in [("ana", "PulseLate"), ("ben", "KeysMissing"), ("cy", "PulseLate")] {
        let (object, exit) = world.look(&["explain", user]).await;
        let conclusion = &object["conclusion"];
        assert_eq!((&conclusion["reason"], exit), (&reason.into(), Some(3)), "{user}");
        let next = conclusion["next"].as_str().expect("a text");
        assert!(next.ends_with("once that is mended"), "{next}");
        let late: Vec<_> =
            findings(&object).into_iter().filter(|(reason, _)| reason == "PulseLate").collect();
        assert_eq!(late.len(), 1, "told once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_firestore_does_not_give_is_unknown_and_never_fine_or_broken() {
    for fault in [
        "firestore:error=PERMISSION_DENIED",
        "firestore:error=PERMISSION_DENIED,reason=SERVICE_DISABLED",
        "firestore:error=UNAVAILABLE",
        "firestore:error=NOT_FOUND,message=The database (default) does not exist for project p",
        "firestore:drop-before",
        "firestore:drop-after",
        "firestore/BatchGetDocuments:garbage",
    ] {
        let world = sandbox().await;
        world.user("ana").await;
        world.pulse().await;
        world.fault(fault);
        for command in [&["explain", "ana"][..], &["status"], &["users"]] {
            let (object, exit) = world.look(command).await;
            assert_eq!((&object["state"], exit), (&"unknown".into(), Some(1)), "{fault}: {object}");
            assert!(
                findings(&object).iter().all(|(_, state)| state == "unknown" || state == "skipped"),
                "{object}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_only_the_user_names_is_told_beside_it() {
    let world = sandbox().await;
    world.user_of_tenant("ana", text("acme")).await;
    world.user_of_tenant("ben", text("acme")).await;
    world.membership("acme", "ben").await;
    world.pulse().await;
    let (object, exit) = world.look(&["explain", "ana"]).await;
    assert_eq!((exit, &object["tenant"]["membership"]), (Some(0), &"no_member".into()));
    assert!(findings(&object).contains(&("TenantWithoutMembership".to_owned(), "warning".to_owned())));
    let (object, _) = world.look(&["explain", "ben"]).await;
    assert_eq!(object["tenant"]["shows"]["user_id"], "ben");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_none_is_bad_usage() {
    let world = sandbox().await;
    for args in [&["explain", "a/b"][..], &["explain"], &["status", "--stale=soon"], &["users", "--state=x"]]
    {
        let run = world.told(args).await;
        assert_eq!(run.exit, Some(2), "{args:?}: {}{}", run.stdout, run.stderr);
        assert!(!run.stderr.is_empty());
    }
}
