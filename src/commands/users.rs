//! `pulse users`: one line a user.

use crate::commands::frame::{CheckState, Column, Finding, Report, Table, brief, grouped, run};
use crate::commands::pulse_check::{Looked, is_standstill, region};
use crate::commands::reading::{Unread, announce, read_pulse};
use crate::commands::standing::{Cause, Standing};
use crate::commands::user_list::UserList;
use crate::config::Place;
use crate::config::operator_args::UsersArgs;
use crate::config::variables::environment;
use crate::documents::pulse_view::PulseView;
use crate::documents::reader::UserView;
use crate::firestore::{Store, StoreError};
use crate::model::past::READERS_CALL_STALE_AFTER;
use crate::services::desk::Desk;
use jiff::{SignedDuration, Timestamp};
use std::process::ExitCode;

const COLUMNS: [Column; 8] = [
    Column { title: "USER", rank: 0 },
    Column { title: "STATE", rank: 0 },
    Column { title: "ERROR", rank: 0 },
    Column { title: "CAUSE", rank: 1 },
    Column { title: "FAILING", rank: 0 },
    Column { title: "SNAPSHOT", rank: 0 },
    Column { title: "ENV", rank: 2 },
    Column { title: "TENANT", rank: 3 },
];

/// Lists them. Nothing is judged: whoever asks for users in trouble and finds some has what they asked for.
pub(crate) async fn users(args: &UsersArgs) -> ExitCode {
    run("users", &args.common, async |place, report| {
        let desk = Desk::at(place);
        match read_pulse(&desk).await {
            Ok((store, pulse)) => list(args, (place, &store, pulse.as_ref()), report).await,
            Err(unread) => report.found_all(unread.with_skipped(&[])),
        }
        report.used(desk.used());
    })
    .await
}

async fn list(
    args: &UsersArgs,
    (place, store, pulse): (&Place, &Store, Option<&PulseView>),
    report: &mut Report,
) {
    let mut told = Told { args, table: Table::new(&COLUMNS), seen: 0, shown: 0 };
    report.begin_list("users");
    if let Err(err) = told.all((store, pulse), report).await {
        report.found_all(Unread::users(place, &err).with_skipped(&[]));
    }
    told.end(report);
    let region = region(environment);
    let looked = Looked { place, now: store.clock().now(), stale: READERS_CALL_STALE_AFTER, region };
    report.found_all(looked.at_pulse(pulse).into_iter().filter_map(of_then).collect());
}

/// What is listed is what the last pulse left. That is to know, and no judgement.
fn of_then(found: Finding) -> Option<Finding> {
    if !is_standstill(&found) {
        return None;
    }
    let sentence = format!("{} What is listed is of then.", found.sentence);
    Some(Finding { state: CheckState::Warning, sentence, ..found })
}

/// What was told so far.
struct Told<'a> {
    args: &'a UsersArgs,
    table: Table,
    seen: u64,
    shown: u64,
}

impl Told<'_> {
    async fn all(
        &mut self,
        (store, pulse): (&Store, Option<&PulseView>),
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let mut list = UserList::new(store, pulse, self.args.is_about_everybody());
        announce(&list).await?;
        while let Some(views) = list.next().await? {
            self.some(&views, store.clock().now(), report);
        }
        Ok(())
    }

    fn some(&mut self, views: &[UserView], now: Timestamp, report: &mut Report) {
        let users = views.iter().map(|view| Standing::of(view, now));
        let wanted: Vec<_> = users.filter(|user| is_wanted(user, self.args, now)).collect();
        (self.seen, self.shown) = (self.seen + views.len() as u64, self.shown + wanted.len() as u64);
        wanted.iter().for_each(|user| report.item(user));
        if !wanted.is_empty() {
            let rows: Vec<_> = wanted.iter().map(|user| row(user, now)).collect();
            report.text(|page| self.table.rows(page, &rows));
        }
    }

    fn end(&self, report: &mut Report) {
        let kind = if self.args.is_about_everybody() { "users" } else { "users in trouble" };
        report.field("users_count", &self.shown);
        report.field("seen_count", &self.seen);
        report.text(|page| {
            page.gap();
            page.paragraph(&format!("{} of {} {kind}", grouped(self.shown), grouped(self.seen)));
            let left_out = self.table.left_out();
            if !left_out.is_empty() {
                let left_out = listed(&left_out);
                page.paragraph(&format!(
                    "{left_out}: too wide for this screen, and in --json and in a pipe."
                ));
            }
        });
    }
}

/// `ENV`, `ENV and TENANT`, `CAUSE, ENV and TENANT`.
fn listed(titles: &[&str]) -> String {
    match titles {
        [before @ .., last] if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        _ => titles.concat(),
    }
}

/// Whether a user is one of those who were asked for.
fn is_wanted(user: &Standing<'_>, args: &UsersArgs, now: Timestamp) -> bool {
    let longest = args.failing_for.map(|time| SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX));
    args.state.as_deref().is_none_or(|state| user.state.as_str() == state)
        && args.error.as_deref().is_none_or(|code| user.error == Some(code))
        && longest.is_none_or(|least| user.failing_for(now).is_some_and(|time| time >= least))
}

fn row(user: &Standing<'_>, now: Timestamp) -> Vec<String> {
    let age = user.age_s.map(|age| brief(SignedDuration::from_secs(age)));
    vec![
        user.user_id.to_owned(),
        user.state.as_str().to_owned(),
        user.error.unwrap_or_default().to_owned(),
        user.cause.map(Cause::in_words).unwrap_or_default().to_owned(),
        user.failing_for(now).map(brief).unwrap_or_default(),
        age.unwrap_or_else(|| user.snapshot.to_owned()),
        user.environment.unwrap_or_default().to_owned(),
        user.tenant_id.unwrap_or_default().to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_listed_in_words() {
        for (titles, expected) in [
            (&[][..], ""),
            (&["TENANT"], "TENANT"),
            (&["ENV", "TENANT"], "ENV and TENANT"),
            (&["CAUSE", "ENV", "TENANT"], "CAUSE, ENV and TENANT"),
        ] {
            assert_eq!(listed(titles), expected);
        }
    }
}
