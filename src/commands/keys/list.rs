//! `pulse keys list`.

use crate::commands::failures::{LeadsOn, Stopped, sentence};
use crate::commands::frame::{self, CheckState, Column, Finding, Report, Table, brief, counted, in_words};
use crate::commands::keys::destroy::older_left;
use crate::config::Place;
use crate::config::filter::UserFilter;
use crate::config::keys_args::KeysListArgs;
use crate::firestore::query::Pages;
use crate::limits::deadlines::USER_BUDGET;
use crate::limits::rate::SECRET_CALLS_PER_MINUTE;
use crate::limits::retry::Deadline;
use crate::model::ids::{Database, UserId};
use crate::model::prices::VERSIONS;
use crate::model::selection::IdRange;
use crate::model::suggested::about;
use crate::model::user::User;
use crate::services::desk::Desk;
use crate::services::secret_changes::{SecretChangeError, VersionInfo, VersionState};
use crate::services::secret_manager::SecretManager;
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

/// How often it is asked at the same time; how often in a minute, it waits for itself.
const LOOKS_AT_ONCE: usize = 16;

/// Ids, and versions of one, that are named in a sentence.
const NAMED: usize = 3;

/// Rows that are shown at a time.
const PART: usize = 100;

const COLUMNS: [Column; 6] = [
    Column { title: "USER", rank: 0 },
    Column { title: "ENABLED", rank: 0 },
    Column { title: "DISABLED", rank: 2 },
    Column { title: "A MONTH", rank: 1 },
    Column { title: "AGE", rank: 0 },
    Column { title: "IS A USER", rank: 0 },
];

pub(super) async fn run(args: &KeysListArgs) -> ExitCode {
    frame::run("keys list", &args.operator, async |place, report| {
        let desk = Desk::at(place);
        if let Err(stopped) = list(&desk, args, place, report).await {
            stopped.tell(&LeadsOn::from(again(args, place), place), report);
        }
        report.used(desk.used());
    })
    .await
}

fn again(args: &KeysListArgs, place: &Place) -> String {
    let older = args.older_than.map(|limit| format!(" --older-than={}s", limit.as_secs()));
    format!("pulse keys list{}{}", older.unwrap_or_default(), place.database.flags())
}

async fn list(
    desk: &Desk<'_>,
    args: &KeysListArgs,
    place: &Place,
    report: &mut Report,
) -> Result<(), Stopped> {
    let secrets = desk.secrets().await?;
    let with_keys = all_secrets(&secrets, &place.database).await?;
    let users = all_users(desk, &place.database).await?;
    tell_before(with_keys.len(), users.len(), report);
    let mut listing = Listing { older_than: args.older_than, ..Listing::default() };
    let look = async |user: &String| {
        let id = UserId::parse(user).ok()?;
        let versions = secrets.versions(&place.database, &id, Deadline::after(USER_BUDGET)).await;
        Some((Row::of(id, users.contains(user)), versions))
    };
    let mut parts = stream::iter(&with_keys).map(look).buffered(LOOKS_AT_ONCE).chunks(PART);
    let mut table = Table::new(&COLUMNS);
    report.begin_list("secrets");
    while let Some(part) = parts.next().await {
        let rows: Vec<Row> = part.into_iter().flatten().filter_map(|looked| listing.take(looked)).collect();
        rows.iter().for_each(|row| report.item(row));
        if !rows.is_empty() {
            report.text(|page| table.rows(page, &rows.iter().map(Row::cells).collect::<Vec<_>>()));
        }
    }
    // Whose id cannot name a secret can have none.
    let without: Vec<&String> =
        users.difference(&with_keys).filter(|user| UserId::parse(user).is_ok()).collect();
    listing.tell_none(report);
    report.field("users_without_secret", &without);
    listing.find(&without, (&place.database.flags(), again(args, place)), report);
    Ok(())
}

fn tell_before(secrets: usize, users: usize, report: &mut Report) {
    let (secrets, users) = (secrets as u64, users as u64);
    let minutes = secrets.div_ceil(SECRET_CALLS_PER_MINUTE.get().into());
    report.text(|page| {
        page.paragraph(&format!(
            "{}, {}; the versions take up to {minutes} min to read",
            counted(secrets, ["secret with keys", "secrets with keys"]),
            counted(users, ["user", "users"])
        ));
        page.gap();
    });
}

async fn all_secrets(secrets: &SecretManager, database: &Database) -> Result<BTreeSet<String>, Stopped> {
    let (mut all, mut page) = (BTreeSet::new(), String::new());
    loop {
        let (found, next) = secrets.key_secrets(database, &page, Deadline::after(USER_BUDGET)).await?;
        all.extend(found);
        match next {
            Some(next) => page = next,
            None => return Ok(all),
        }
    }
}

async fn all_users(desk: &Desk<'_>, database: &Database) -> Result<BTreeSet<String>, Stopped> {
    let store = desk.store().await?;
    let mut pages = Pages::<User>::of_users(database, &IdRange::default(), &UserFilter::default());
    let mut all = BTreeSet::new();
    while let Some(page) = pages.next(&store).await? {
        all.extend(page.into_iter().map(|user| user.id.as_str().to_owned()));
    }
    Ok(all)
}

/// One secret.
#[derive(Debug, Serialize)]
struct Row {
    user: String,
    is_a_user: bool,
    enabled: usize,
    disabled: usize,
    newest_version: Option<String>,
    age_s: Option<i64>,
    dollars_a_month: f64,
}

impl Row {
    fn of(user: UserId, is_a_user: bool) -> Self {
        let user = user.as_str().to_owned();
        Self {
            user,
            is_a_user,
            enabled: 0,
            disabled: 0,
            newest_version: None,
            age_s: None,
            dollars_a_month: 0.0,
        }
    }

    fn with(self, versions: &[VersionInfo], now: Timestamp) -> Self {
        let count = |state| versions.iter().filter(|info| info.state == state).count();
        let (enabled, disabled) = (count(VersionState::Enabled), count(VersionState::Disabled));
        let newest = versions.first();
        let created = newest.and_then(|newest| newest.created);
        Self {
            enabled,
            disabled,
            newest_version: newest.map(|newest| newest.version.as_str().to_owned()),
            age_s: created.map(|created| now.duration_since(created).as_secs()),
            dollars_a_month: cents(VERSIONS.of_all((enabled + disabled) as f64)),
            ..self
        }
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.user.clone(),
            self.enabled.to_string(),
            self.disabled.to_string(),
            format!("${:.2}", self.dollars_a_month),
            self.age_s.map_or_else(String::new, |age| brief(SignedDuration::from_secs(age))),
            if self.is_a_user { "yes" } else { "no" }.to_owned(),
        ]
    }
}

fn cents(dollars: f64) -> f64 {
    (dollars * 100.0).round() / 100.0
}

/// What is counted of all rows.
#[derive(Debug, Default)]
struct Listing {
    older_than: Option<Duration>,
    old: Vec<String>,
    older: Older,
    /// That are not destroyed.
    versions: usize,
    of_nobody: Vec<String>,
    unknown: Option<(u64, String)>,
}

impl Listing {
    /// The row, if it is to be shown.
    fn take(&mut self, (row, versions): (Row, Result<Vec<VersionInfo>, SecretChangeError>)) -> Option<Row> {
        let row = match versions {
            Ok(versions) => {
                // Who is no user has nothing to rotate: all of the secret goes.
                if row.is_a_user {
                    self.older.add(&row.user, &versions);
                }
                row.with(&versions, Timestamp::now())
            }
            // Deleted meanwhile.
            Err(SecretChangeError::Missing) => return None,
            Err(err) => {
                let (count, _) = self.unknown.get_or_insert_with(|| (0, sentence(&err)));
                *count += 1;
                row
            }
        };
        self.versions += row.enabled + row.disabled;
        self.of_nobody.extend((!row.is_a_user).then(|| row.user.clone()));
        let Some(limit) = self.older_than else { return Some(row) };
        let is_old = row.age_s.is_some_and(|age| u64::try_from(age).is_ok_and(|age| age > limit.as_secs()));
        self.old.extend((is_old && row.is_a_user).then(|| row.user.clone()));
        is_old.then_some(row)
    }

    fn tell_costs(&self, report: &mut Report) {
        let dollars = cents(VERSIONS.of(self.versions as f64));
        let words = ["version that is not destroyed costs", "versions that are not destroyed cost"];
        let versions = counted(self.versions as u64, words);
        let text = format!("{versions} ${dollars:.2} a month, {} of an account being free.", VERSIONS.free);
        report.field("dollars_a_month", &dollars);
        report.found(Finding::new(CheckState::Ok, "KeysListed", text));
    }

    /// Where there is no row, a sentence.
    fn tell_none(&self, report: &mut Report) {
        let Some(limit) = self.older_than.filter(|_| self.old.is_empty() && self.unknown.is_none()) else {
            return;
        };
        let limit = SignedDuration::try_from(limit).unwrap_or(SignedDuration::MAX);
        report.text(|page| {
            page.paragraph(&format!("No user's newest keys are older than {}.", in_words(limit)));
        });
    }

    fn find(&self, without: &[&String], (flags, again): (&str, String), report: &mut Report) {
        self.tell_costs(report);
        let found = [
            some(
                CheckState::Failed,
                "KeysOld",
                &self.old,
                ["has keys that are older", "have keys that are older"],
                "keys set",
            ),
            some(
                CheckState::Warning,
                "SecretsWithoutUser",
                &self.of_nobody,
                ["has a secret and is no user", "have a secret and are no users"],
                "user remove",
            ),
            some(
                CheckState::Warning,
                "UsersWithoutSecret",
                without,
                ["has no secret", "have no secret"],
                "keys set",
            ),
        ];
        report.found_all(self.older.finding(flags).into_iter().collect());
        for (finding, (command, user)) in found.into_iter().flatten() {
            report.found(finding.mended_by(about(command, user, flags)));
        }
        if let Some((count, why)) = &self.unknown {
            let secrets = counted(*count, ["secret", "secrets"]);
            let sentence = format!("Of {secrets} the versions could not be read: {why}");
            report.found(Finding::new(CheckState::Unknown, "VersionsUnknown", sentence).mended_by(again));
        }
    }
}

/// Versions that a newer one has replaced, and that are not destroyed.
#[derive(Debug, Default)]
struct Older {
    versions: u64,
    users: u64,
    /// Whose they are.
    first: Option<String>,
    named: Vec<String>,
}

impl Older {
    fn add(&mut self, user: &str, versions: &[VersionInfo]) {
        let left = versions.iter().filter(|info| info.is_left());
        let older: Vec<&str> = left.skip(1).map(|info| info.version.as_str()).collect();
        if older.is_empty() {
            return;
        }
        self.versions += older.len() as u64;
        self.users += 1;
        self.first.get_or_insert_with(|| user.to_owned());
        if self.named.len() < NAMED {
            let more = if older.len() > NAMED { ", …" } else { "" };
            self.named.push(format!("{}{more} of {user}", older[..older.len().min(NAMED)].join(", ")));
        }
    }

    fn finding(&self, flags: &str) -> Option<Finding> {
        let mend = about("keys set", self.first.as_ref()?, &format!(" --destroy-old{flags}"));
        let more = if self.users > self.named.len() as u64 { "; …" } else { "" };
        let sentence = format!(
            "{}{more}. With the keys of the newest version typed once more, this destroys them once that is safe.",
            older_left(self.versions, &self.named.join("; "))
        );
        Some(Finding::new(CheckState::Warning, "OlderVersionsLeft", sentence).mended_by(mend))
    }
}

/// The finding about some ids, if there are any; the command is for the first one.
fn some<'a>(
    state: CheckState,
    reason: &'static str,
    ids: &'a [impl AsRef<str>],
    [one, many]: [&str; 2],
    command: &'static str,
) -> Option<(Finding, (&'static str, &'a str))> {
    let user = ids.first()?.as_ref();
    let shown: Vec<&str> = ids.iter().take(NAMED).map(AsRef::as_ref).collect();
    let more = if ids.len() > shown.len() { ", …" } else { "" };
    let what = counted(ids.len() as u64, [one, many]);
    let sentence = format!("{what}: {}{more}.", shown.join(", "));
    Some((Finding::new(state, reason, sentence), (command, user)))
}
