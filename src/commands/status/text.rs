//! How a status is told.

use crate::commands::frame::{Column, GLUE, Page, Report, Table, brief, grouped, in_words, point};
use crate::commands::status::at_work::AtWork;
use crate::commands::status::gathered::{Ages, Gathered, Group, Kind, Named};
use crate::documents::pulse_view::PulseView;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};

const TROUBLE: [Column; 6] = [
    Column { title: "USERS", rank: 0 },
    Column { title: "STATE", rank: 0 },
    Column { title: "ERROR", rank: 0 },
    Column { title: "CAUSE", rank: 0 },
    Column { title: "STALE", rank: 0 },
    Column { title: "LONGEST", rank: 0 },
];

const LONGEST: [Column; 4] = [
    Column { title: "USER", rank: 0 },
    Column { title: "ERROR", rank: 0 },
    Column { title: "FAILING", rank: 0 },
    Column { title: "SNAPSHOT", rank: 0 },
];

/// The last pulse.
pub(super) fn pulse(report: &mut Report, pulse: Option<&PulseView>, now: Timestamp) {
    report.field("last_pulse", &pulse.map(pulse_json));
    report.text(|page| match pulse {
        None => page.pair("last pulse", "none"),
        Some(pulse) => pulse_text(page, pulse, now),
    });
}

/// The one that has not ended, if there is one.
pub(super) fn at_work(report: &mut Report, found: Option<&AtWork>, now: Timestamp) {
    report.field("current_pulse", &found);
    let Some(AtWork { execution, claimed_at }) = found else { return };
    let age = in_words(now.duration_since(*claimed_at));
    let text = format!("execution {execution} began {age} ago, and has not ended yet");
    report.text(|page| page.pair("at work", &text));
}

fn pulse_json(pulse: &PulseView) -> Json {
    json!({
        "timestamp": pulse.at,
        "started_at": pulse.started_at,
        "duration_ms": u64::try_from(pulse.duration.as_millis()).unwrap_or(u64::MAX),
        "status": pulse.status.map(|status| status.as_str()),
        "counts": pulse.counts,
        "errors": pulse.errors,
        "last_synced_at": pulse.last_synced_at,
        "execution": pulse.execution,
        "version": pulse.version,
    })
}

fn pulse_text(page: &mut Page, pulse: &PulseView, now: Timestamp) {
    let age = pulse.at.map(|at| format!("{} ago, at {}", in_words(now.duration_since(at)), point(at)));
    let status = pulse.status.map_or("unknown", |status| status.as_str());
    let took = format!("took {:.1} s", pulse.duration.as_secs_f64());
    page.pair("last pulse", &format!("{status}, {}, {took}", age.as_deref().unwrap_or("nobody knows when")));
    let counts = &pulse.counts;
    let users = [
        (counts.success_count, "synced"),
        (counts.error_count, "failed"),
        (counts.skipped_count, "skipped"),
        (counts.unreached_count, "not reached"),
    ];
    let users = users.iter().filter(|(count, word)| *count > 0 || *word == "synced");
    let users: Vec<_> = users.map(|(count, word)| format!("{}{GLUE}{word}", grouped(*count))).collect();
    let found = counts.users_count + counts.unreached_count;
    page.pair("users", &format!("{}: {}", grouped(found), users.join(", ")));
    if !pulse.errors.is_empty() {
        let errors: Vec<_> =
            pulse.errors.iter().map(|(code, count)| format!("{code}{GLUE}{}", grouped(*count))).collect();
        page.pair("errors", &errors.join(", "));
    }
    if let Some(execution) = &pulse.execution {
        let version = pulse.version.as_deref().map(|version| format!(", version {version}"));
        page.pair("execution", &format!("{execution}{}", version.unwrap_or_default()));
    }
}

/// The users.
pub(super) fn users(report: &mut Report, gathered: &mut Gathered, now: Timestamp) {
    report.field("trouble", &gathered.by_size().into_iter().map(group_json).collect::<Vec<_>>());
    report.field("longest_failing", &gathered.longest);
    report.field("stale_users", &gathered.stale);
    if let Some(ages) = &mut gathered.ages {
        report.field("ages", &ages_json(ages));
        let ages = ages_text(ages);
        report.text(|page| page.pair("figures", &ages));
    }
    report.text(|page| {
        if !gathered.trouble.is_empty() {
            page.gap();
            page.heading("In trouble");
            let rows: Vec<_> =
                gathered.by_size().into_iter().map(|(kind, group)| group_row(kind, group, now)).collect();
            Table::new(&TROUBLE).rows(page, &rows);
        }
        if !gathered.longest.is_empty() {
            page.gap();
            page.heading("Failing longest, for a cause of ours");
            let rows: Vec<_> = gathered.longest.iter().map(|named| named_row(named, now)).collect();
            Table::new(&LONGEST).rows(page, &rows);
        }
    });
}

fn group_json((kind, group): (&Kind, &Group)) -> Json {
    json!({
        "state": kind.state,
        "error": kind.error,
        "cause": kind.cause,
        "users": group.users,
        "stale": group.stale,
        "failing_since": group.failing_since,
    })
}

fn group_row(kind: &Kind, group: &Group, now: Timestamp) -> Vec<String> {
    vec![
        grouped(group.users),
        kind.state.as_str().to_owned(),
        kind.error.unwrap_or_default().to_owned(),
        kind.cause.in_words().to_owned(),
        grouped(group.stale),
        since(group.failing_since, now),
    ]
}

fn named_row(named: &Named, now: Timestamp) -> Vec<String> {
    let age = named.age_s.map(|age| brief(SignedDuration::from_secs(age)));
    vec![
        named.user_id.clone(),
        named.error.unwrap_or_default().to_owned(),
        since(named.failing_since, now),
        age.unwrap_or_else(|| named.snapshot.to_owned()),
    ]
}

fn since(since: Option<Timestamp>, now: Timestamp) -> String {
    since.map(|since| brief(now.duration_since(since))).unwrap_or_default()
}

fn ages_json(ages: &mut Ages) -> Json {
    let mut seconds = |of_hundred| ages.percentile(of_hundred).map(|age| age.as_secs());
    let (p50, p95, p99, oldest) = (seconds(50), seconds(95), seconds(99), seconds(100));
    json!({
        "p50_s": p50, "p95_s": p95, "p99_s": p99, "oldest_s": oldest, "users": ages.users, "stale": ages.stale,
        "missing": ages.missing, "malformed": ages.malformed, "paused": ages.paused,
    })
}

fn ages_text(ages: &mut Ages) -> String {
    let mut age = |of_hundred| ages.percentile(of_hundred).map_or_else(|| "-".to_owned(), in_words);
    let (half, most, nearly_all, oldest) = (age(50), age(95), age(99), age(100));
    let Ages { users, stale, missing, malformed, paused, .. } = ages;
    let others =
        [(*stale, "stale"), (*missing, "never synced"), (*malformed, "malformed"), (*paused, "paused")];
    let others = others.iter().filter(|(count, _)| *count > 0);
    let others: Vec<_> = others.map(|(count, word)| format!(", {}{GLUE}{word}", grouped(*count))).collect();
    format!(
        "p50 {half}, p95 {most}, p99 {nearly_all}, oldest {oldest}; {} users{}",
        grouped(*users),
        others.concat()
    )
}
