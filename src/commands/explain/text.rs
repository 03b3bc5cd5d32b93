//! How one user's way is told: from the document to what a reader decides.

use crate::commands::explain::ask::Asked;
use crate::commands::explain::known::{Known, Shown, TenantLine};
use crate::commands::explain::next::attempt;
use crate::commands::frame::{Page, Report, in_words, point};
use crate::model::outcome::Code;
use crate::model::sync_state::SyncState;
use crate::model::user::{Switch, User};
use account_reader::Verdict;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

/// Both forms of it.
pub(super) fn tell(report: &mut Report, known: &Known<'_>) {
    report.field("document", &document_json(known.view.user.as_ref()));
    report.field("tenant", &tenant_json(&known.tenant));
    report.field("secret", &secret_json(known));
    report.field("sync", &sync_json(known));
    report.field("last_pulse", &pulse_json(known));
    report.field("snapshot", &snapshot_json(known));
    if let Some(asked) = &known.asked {
        report.field("asked", &asked_json(asked));
    }
    report.text(|page| write(page, known));
}

fn write(page: &mut Page, known: &Known<'_>) {
    let now = known.looked.now;
    page.pair("document", &document(known.view.user.as_ref(), now));
    page.pair("tenant", &known.tenant.words(known.user, now));
    page.pair("secret", &secret(known));
    if let Some(asked) = &known.asked {
        page.pair("asked now", &asked_words(asked));
    }
    page.pair("sync", &known.view.trouble.as_ref().map_or("ok".into(), |trouble| sync(trouble, known)));
    page.pair("next attempt", &attempt(known.view.user.as_ref(), known.view.trouble.as_ref(), now));
    page.pair("last pulse", &pulse(known));
    page.pair("snapshot", &snapshot(known));
    page.pair("readers", known.verdict().as_str());
}

fn ago(time: Timestamp, now: Timestamp) -> String {
    format!("{} ago, at {}", in_words(now.duration_since(time)), point(time))
}

fn document(user: Option<&User>, now: Timestamp) -> String {
    let Some(user) = user else { return "none in users".into() };
    let switch = match user.sync {
        Switch::On => "to be synced",
        Switch::Off => "paused: sync_enabled is false",
        Switch::Unreadable => "paused: sync_enabled is neither true nor false",
    };
    let changed = user.keys_updated_at.map(|at| format!("; keys_updated_at {}", ago(at, now)));
    format!("{switch}{}", changed.unwrap_or_default())
}

fn document_json(user: Option<&User>) -> Json {
    let switch = user.map(|user| match user.sync {
        Switch::On => "on",
        Switch::Off => "off",
        Switch::Unreadable => "unreadable",
    });
    json!({
        "exists": user.is_some(),
        "sync_enabled": switch,
        "keys_updated_at": user.and_then(|user| user.keys_updated_at),
    })
}

fn tenant_json(tenant: &TenantLine) -> Json {
    let (state, id, shown) = match tenant {
        TenantLine::Nobodys => ("none", None, None),
        TenantLine::Member { tenant, shows } => ("member", Some(tenant), shows.as_ref()),
        TenantLine::NoMember { tenant } => ("no_member", Some(tenant), None),
        TenantLine::Unusable => ("unusable", None, None),
        TenantLine::Unread(_) => ("unknown", None, None),
    };
    let shown = shown.map(|Shown { owner, updated_at }| json!({"user_id": owner, "updated_at": updated_at}));
    json!({"membership": state, "tenant_id": id, "shows": shown})
}

/// The versions that documents tell of: the last that worked, and that of the failure.
fn secret(known: &Known<'_>) -> String {
    let worked =
        known.view.key_version.as_deref().map(|version| format!(", version {version} in the snapshot"));
    let failed = known.view.trouble.as_ref().and_then(|trouble| trouble.key_version.as_ref());
    let failed = failed.map(|version| format!(", version {} in trouble", version.as_str()));
    format!("alpaca-keys-{}{}{}", known.user, worked.unwrap_or_default(), failed.unwrap_or_default())
}

fn secret_json(known: &Known<'_>) -> Json {
    let failed = known.view.trouble.as_ref().and_then(|trouble| trouble.key_version.as_ref());
    json!({
        "name": format!("projects/{}/secrets/alpaca-keys-{}", known.looked.place.database.project, known.user.as_str()),
        "snapshot_version": known.view.key_version,
        "trouble_version": failed.map(|version| version.as_str()),
    })
}

fn sync(trouble: &SyncState, known: &Known<'_>) -> String {
    let now = known.looked.now;
    let error = trouble.error.map_or("no code", Code::as_str);
    let failing = trouble.failing_since.unwrap_or(trouble.since);
    let success = trouble.last_success.as_ref().map(|last| format!("; last success {}", ago(last.at, now)));
    let state = trouble.state.as_str();
    format!("{state}, {error}, failing since {}{}", point(failing), success.unwrap_or_default())
}

fn sync_json(known: &Known<'_>) -> Json {
    let standing = known.standing();
    let trouble = known.view.trouble.as_ref();
    let success = trouble.and_then(|trouble| trouble.last_success.as_ref());
    json!({
        "state": standing.state,
        "error": standing.error,
        "cause": standing.cause,
        "since": trouble.map(|trouble| trouble.since),
        "failing_since": standing.failing_since,
        "last_success_at": success.map(|last| last.at),
        "rejections": trouble.map(|trouble| trouble.rejections),
        "next_attempt_at": standing.next_attempt_at,
    })
}

fn pulse(known: &Known<'_>) -> String {
    let pulse = known.pulse.as_ref().and_then(|pulse| Some((pulse, pulse.at?)));
    let Some((pulse, at)) = pulse else { return "none".into() };
    let status = pulse.status.map_or("unknown", |status| status.as_str());
    format!("{status}, {}", ago(at, known.looked.now))
}

fn pulse_json(known: &Known<'_>) -> Json {
    known.pulse.as_ref().map_or(
        Json::Null,
        |pulse| json!({"timestamp": pulse.at, "status": pulse.status.map(|status| status.as_str())}),
    )
}

fn snapshot(known: &Known<'_>) -> String {
    match known.verdict() {
        Verdict::Missing => "none: the user never synced".into(),
        Verdict::Malformed { field } => format!("not as pulse writes it: {field} is wrong"),
        Verdict::Fresh { age, account } | Verdict::Stale { age, account } => {
            let blocks = account.blocks();
            let blocks = if blocks.is_empty() { String::new() } else { format!(", {}", blocks.join(", ")) };
            let (environment, status) = (account.environment().as_str(), &account.status);
            format!("{} old, {environment}, {status}{blocks}", in_words(age))
        }
    }
}

fn snapshot_json(known: &Known<'_>) -> Json {
    let verdict = known.verdict();
    let mut json = json!({"verdict": verdict.as_str()});
    match verdict {
        Verdict::Missing => {}
        Verdict::Malformed { field } => json["field"] = field.into(),
        Verdict::Fresh { age, account } | Verdict::Stale { age, account } => {
            json["age_s"] = age.as_secs().into();
            json["updated_at"] = account.updated_at.to_string().into();
            json["environment"] = account.environment().as_str().into();
            json["external_account_id"] = account.external_account_id.as_str().into();
            json["status"] = account.status.as_str().into();
            json["blocks"] = account.blocks().into();
        }
    }
    json
}

fn asked_words(asked: &Asked) -> String {
    match asked {
        Asked::Took { version, environment, account, status, .. } => {
            format!("version {version} is taken: {}, account {account}, {status}", environment.as_str())
        }
        Asked::Refused { sentence, .. } => sentence.clone(),
        Asked::Unheard { sentence } => format!("could not be tried: {sentence}"),
    }
}

fn asked_json(asked: &Asked) -> Json {
    match asked {
        Asked::Took { version, environment, account, status, is_other } => json!({
            "outcome": "taken", "key_version": version, "environment": environment.as_str(),
            "external_account_id": account, "status": status, "is_other_account": is_other,
        }),
        Asked::Refused { code, version, sentence } => {
            json!({"outcome": "refused", "error": code.as_str(), "key_version": version, "sentence": sentence})
        }
        Asked::Unheard { sentence } => json!({"outcome": "unknown", "sentence": sentence}),
    }
}
