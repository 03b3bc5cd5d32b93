//! One pass.

use crate::config::Config;
use crate::execution::assignment::TaskAssignment;
use crate::execution::checkpoint::Checkpointer;
use crate::execution::progress::Late;
use crate::execution::publish::{Leave, Leaving};
use crate::limits::retry::{Deadline, PUBLISH_RESERVE, USER_BUDGET};
use crate::model::fleet_guard::{AtHost, Rejections};
use crate::model::keys::Environment;
use crate::model::ledger::TaskState;
use crate::model::outcome::{Code, PassStatus};
use crate::pass::admission::Admission;
use crate::pass::count::{self as census};
use crate::pass::fan_out::{FanOutEnd, fan_out};
use crate::pass::summary::{Figures, PassEnd, conclude};
use crate::pass::sync_user::{SyncTarget, admit, sync_target};
use crate::pass::tally::Tally;
use crate::pass::user_pages::UserPages;
use crate::services::clients::{Clients, Tick};
use crate::shutdown::{CLOSING_LIMIT, Stop};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{error, warn};

/// For reading, at the end of a pass, when those last succeeded who came into trouble in it. What could not be
/// read by then is taken for the worst.
const LOOK_BACK_BUDGET: Duration = Duration::from_secs(5);

/// The same from the moment the process is told to stop: a third of [`CLOSING_LIMIT`].
const LOOK_BACK_LIMIT: Duration = Duration::from_millis(500);

/// One pass over all users that are this task's, which was due at `due`.
pub(crate) async fn run_pass(
    job: Arc<Clients>,
    part: &TaskAssignment,
    due: Instant,
    stop: &Stop,
    start: Instant,
) -> PassStatus {
    let Config { filter, spread, concurrency, legacy_account, legacy_tenant_path, .. } = &job.config;
    let legacy = legacy_account.clone().filter(|_| part.has_legacy_account);
    if let Some(written) = &job.written {
        written.begin(due);
    }
    let spread = tokio::select! {
        spread = census::spread(&job.store, &part.selection, filter, *spread, start) => spread,
        () = stop.requested() => None,
    };
    let admission = Admission::new(&job.pace, spread);

    let roster = UserPages::new(&job.store, *legacy_tenant_path, part.schedule.now).only(filter.clone());
    let pages = roster.start(part.selection.clone());
    let mut unreadable = None;
    let users = stream::unfold(pages, |mut pages| async { Some((pages.recv().await?, pages)) })
        .filter_map(|page| std::future::ready(page.map_err(|err| unreadable = Some(err)).ok()))
        .flat_map(stream::iter)
        .map(|entry| SyncTarget::user(entry, job.config.takes_everybody().then_some(&part.schedule)));
    let subjects = stream::iter(legacy.map(SyncTarget::Legacy)).chain(users);
    let books = part.checkpointer(&job);
    let travellers = subjects.then(async |subject| {
        admit(&admission, &job, &subject, part.schedule).await;
        ((books.begin(subject.user_id()), subject.traveller()), subject)
    });

    let mut verdicts = Tally::after(&part.finished, part.schedule.now);
    let tick = Tick { due, schedule: part.schedule };
    let journey = |subject| sync_target(Arc::clone(&job), subject, tick);
    let ended = fan_out(travellers, *concurrency, stop, journey, |(place, traveller), end| {
        books.end(place, verdicts.add(traveller, end.ok()));
    })
    .await;

    let told = stop.deadline().filter(|_| ended != FanOutEnd::Complete);
    let unreached = match told {
        Some(told) => {
            let reached = admission.reached();
            Some(census::unreached(&job.store, &part.selection, filter, reached, told).await)
        }
        None => None,
    };
    let ending = PassEnd::new(ended, unreached, unreadable);
    let leave = tokio::select! {
        leave = close(&job, part, books, &mut verdicts, &ending, stop, start) => leave,
        // Once told to stop, there is little time before the process is killed.
        () = stop.requested_for(CLOSING_LIMIT) => {
            warn!("Stopped before everything was recorded");
            Leave::Unrecorded
        }
    };
    part.status(ending.state(), &verdicts.counts, leave)
}

/// Says how it went, and records it.
async fn close(
    job: &Clients,
    part: &TaskAssignment,
    books: Checkpointer,
    verdicts: &mut Tally,
    ending: &PassEnd,
    stop: &Stop,
    start: Instant,
) -> Leave {
    let mut finished = books.close(stop).await;
    let (scope, now) = (Some(job.config.scope()), Timestamp::now());
    if ending.state() == TaskState::Completed {
        finished.add_late(&look_back(job, verdicts, stop, now).await);
        let of_others = tokio::select! {
            of_others = part.rejections_of_others(job, &finished, |known| verdicts.need_others(known)) => of_others,
            // Told to stop, the task has no time to wait for the others.
            () = stop.requested() => Rejections::default(),
        };
        report_rejections(&verdicts.fleet_wide(of_others));
        let worth = part.worth(&verdicts.counts);
        if let Some(silence) = worth.and_then(|worth| worth.silence) {
            silence.tell(&verdicts.counts, &job.config);
        }
        let (counts, used, status) = (&verdicts.counts, part.used(job), worth.map(|worth| worth.status));
        conclude(&Figures { scope, status, counts, used, start }, ending);
        // What is published includes what the records cost; what is left of the time is for publishing.
        let deadline = Deadline::after(USER_BUDGET);
        let records = verdicts.records(of_others, now);
        job.settle(records, part.schedule.now, deadline.less(PUBLISH_RESERVE)).await;
        let leaving = Leaving { state: ending.state(), finished: &finished, counts, start };
        return part.leave(job, leaving, deadline).await;
    }
    let (counts, used, status) = (&verdicts.counts, part.used(job), Some(PassStatus::Failed));
    conclude(&Figures { scope, status, counts, used, start }, ending);
    // How far it came matters more, when there may be no time for both.
    let deadline = Deadline::after(USER_BUDGET);
    let leaving = Leaving { state: ending.state(), finished: &finished, counts, start };
    let leave = part.leave(job, leaving, deadline).await;
    look_back(job, verdicts, stop, now).await;
    report_rejections(&verdicts.fleet_wide(Rejections::default()));
    let mut records = verdicts.records(Rejections::default(), now);
    // A retried attempt asks again about everybody after the cursor: two rejections within moments are one.
    records.retain(|(user, _)| finished.cursor.as_ref().is_some_and(|cursor| user <= cursor));
    if !part.is_one_of_several() {
        job.settle(records, part.schedule.now, deadline.less(PUBLISH_RESERVE)).await;
    }
    leave
}

/// Reads when those last succeeded who came into trouble in this pass and wait for its judgement.
async fn look_back(job: &Clients, verdicts: &mut Tally, stop: &Stop, now: Timestamp) -> Late {
    let unread: Vec<_> = verdicts.unread().cloned().collect();
    let read = tokio::select! {
        read = job.last_successes(&unread, Deadline::after(LOOK_BACK_BUDGET)) => read,
        () = stop.requested_for(LOOK_BACK_LIMIT) => HashMap::new(),
    };
    verdicts.learn(&read, now)
}

/// Where rejections are the provider's fault or ours.
fn report_rejections(fleet_wide: &[(Environment, AtHost)]) {
    for (host, at) in fleet_wide {
        let (rejected, users) = (at.rejected, at.users());
        error!(
            severity = "CRITICAL",
            error = Code::BrokerRejected.as_str(),
            environment = host.as_str(),
            "Alpaca rejected {rejected} of {users} users: not marking anyone for re-authentication"
        );
    }
}
