//! `pulse explain`: one user's whole way, and why they are fresh or not.

mod ask;
mod conclude;
mod known;
mod next;
mod text;

use crate::commands::explain::ask::ask;
use crate::commands::explain::known::{Known, TenantLine};
use crate::commands::frame::{Report, run};
use crate::commands::pulse_check::{Looked, region};
use crate::commands::reading::{Unread, read_pulse};
use crate::config::Place;
use crate::config::operator_args::ExplainArgs;
use crate::config::variables::environment;
use crate::documents::reader::UserView;
use crate::firestore::{Store, StoreError};
use crate::limits::deadlines::USER_BUDGET;
use crate::limits::retry::Deadline;
use crate::model::ids::DocumentId;
use crate::model::past::READERS_CALL_STALE_AFTER;
use crate::services::desk::Desk;
use account_reader::Lookup;
use std::process::ExitCode;

/// Looks, tells, and exits with 3 where readers do not see fresh figures of the user.
pub(crate) async fn explain(args: &ExplainArgs) -> ExitCode {
    run("explain", &args.common, async |place, report| {
        report.field("user_id", &args.user.as_str());
        let desk = Desk::at(place);
        look((&args.user, args.ask), (place, &desk), report).await;
        report.used(desk.used());
    })
    .await
}

async fn look((user, asks): (&DocumentId, bool), (place, desk): (&Place, &Desk<'_>), report: &mut Report) {
    let read = read(user, place, desk).await;
    let account = read.as_ref().ok().and_then(Known::account);
    let asked = if asks { Some(ask(user, place, desk, account).await) } else { None };
    match read {
        Ok(known) => {
            let known = Known { asked, ..known };
            text::tell(report, &known);
            let conclusion = conclude::conclude(&known);
            report.field("conclusion", &conclusion);
            report.found_all(known.findings_beside(conclusion.reason, conclusion.mend.is_some()));
            report.concludes(conclusion.finding());
        }
        Err(unread) => {
            report.found_all(unread.with_skipped(&["UserState"]));
            report.found_all(asked.and_then(|asked| asked.alone(user, place)).into_iter().collect());
        }
    }
}

/// Everything that Firestore knows.
async fn read<'a>(user: &'a DocumentId, place: &'a Place, desk: &Desk<'_>) -> Result<Known<'a>, Unread> {
    let (store, pulse) = read_pulse(desk).await?;
    let last_pulse = pulse.as_ref().map_or(Lookup::Absent, |pulse| Lookup::Found(&pulse.fields));
    let view = view(user, &store, last_pulse).await.map_err(|err| Unread::firestore(place, &err))?;
    let tenant = tenant(&view, (place, &store)).await;
    let region = region(environment);
    let looked = Looked { place, now: store.clock().now(), stale: READERS_CALL_STALE_AFTER, region };
    Ok(Known { user, looked, view, tenant, pulse, asked: None })
}

async fn view(user: &DocumentId, store: &Store, last_pulse: Lookup<'_>) -> Result<UserView, StoreError> {
    let deadline = Deadline::after(USER_BUDGET);
    let named = store.named_users(std::slice::from_ref(user), deadline).await?;
    let (document, trouble) = named.into_iter().next().unwrap_or_default();
    let views = store.views(vec![(user.clone(), document, trouble)], last_pulse, deadline).await?;
    // One user was asked for.
    views.into_iter().next().ok_or(StoreError::OutOfTime)
}

/// A tenant that cannot be read is no reason to say nothing of the user.
async fn tenant(view: &UserView, (place, store): (&Place, &Store)) -> TenantLine {
    let Some(user) = &view.user else { return TenantLine::Nobodys };
    let asked = [(user.id.as_str(), &user.tenant)];
    match store.tenant_lookups(&asked, Deadline::after(USER_BUDGET)).await {
        Ok(mut lookups) => TenantLine::of(user, lookups.pop().unwrap_or_default()),
        Err(err) => TenantLine::Unread(Unread::tenant(place, &err)),
    }
}
