//! `pulse status`: how the last pulse went, who is failing, and how old everybody's figures are.

mod at_work;
mod findings;
mod gathered;
mod text;

use crate::commands::frame::{Report, run};
use crate::commands::pulse_check::{Looked, is_standstill, region};
use crate::commands::reading::{Unread, announce, read_pulse};
use crate::commands::standing::Standing;
use crate::commands::status::at_work::AtWork;
use crate::commands::status::findings::of_users;
use crate::commands::status::gathered::Gathered;
use crate::commands::user_list::UserList;
use crate::config::Place;
use crate::config::operator_args::StatusArgs;
use crate::config::variables::environment;
use crate::documents::pulse_view::PulseView;
use crate::firestore::{Store, StoreError};
use crate::limits::deadlines::USER_BUDGET;
use crate::limits::retry::Deadline;
use crate::services::desk::Desk;
use jiff::SignedDuration;
use std::process::ExitCode;

/// Looks, tells, and exits with 3 where somebody has to act.
pub(crate) async fn status(args: &StatusArgs) -> ExitCode {
    run("status", &args.common, async |place, report| {
        let desk = Desk::at(place);
        look(args, (place, &desk), report).await;
        report.used(desk.used());
    })
    .await
}

async fn look(args: &StatusArgs, (place, desk): (&Place, &Desk<'_>), report: &mut Report) {
    let (store, pulse) = match read_pulse(desk).await {
        Ok(read) => read,
        Err(unread) => return report.found_all(unread.with_skipped(&["PulseLate", "UsersStale"])),
    };
    let now = store.clock().now();
    let pulse = pulse.as_ref();
    text::pulse(report, pulse, now);
    // What is known without it is told all the same.
    let current = store.current_pulse(Deadline::after(USER_BUDGET)).await.unwrap_or_default();
    text::at_work(report, AtWork::of(&current, pulse).as_ref(), now);
    let stale = SignedDuration::try_from(args.stale).unwrap_or(SignedDuration::MAX);
    let looked = Looked { place, now, stale, region: region(environment) };
    let of_pulse = looked.at_pulse(pulse);
    let standstill = of_pulse.iter().find(|found| is_standstill(found)).cloned();
    report.found_all(of_pulse.into_iter().filter(|found| !is_standstill(found)).collect());
    match gather(&store, pulse, args.all).await {
        Ok(mut gathered) => {
            text::users(report, &mut gathered, now);
            let because = standstill.as_ref().map(|found| found.reason);
            report.found_all(of_users(&looked, &gathered, because));
        }
        Err(err) => report.found_all(Unread::users(place, &err).with_skipped(&["UsersStale"])),
    }
    // The root of all that stands before it.
    standstill.into_iter().for_each(|root| report.concludes(root));
}

async fn gather(store: &Store, pulse: Option<&PulseView>, is_of_all: bool) -> Result<Gathered, StoreError> {
    let mut list = UserList::new(store, pulse, is_of_all);
    announce(&list).await?;
    let mut gathered = Gathered::new(is_of_all);
    while let Some(views) = list.next().await? {
        let now = store.clock().now();
        views.iter().for_each(|view| gathered.add(&Standing::of(view, now), now));
    }
    Ok(gathered)
}
