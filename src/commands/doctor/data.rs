//! What is found out by doing what the job does: documents, a query, a secret, Alpaca's hosts.

use crate::commands::doctor::site::Site;
use crate::commands::doctor::writes::LastPulse;
use crate::commands::frame::{CheckState, Finding};
use crate::commands::reading;
use crate::config::Place;
use crate::config::filter::UserFilter;
use crate::firestore::query::Pages;
use crate::firestore::{Store, StoreError};
use crate::google::error::Denied;
use crate::limits::clock::ServerClock;
use crate::limits::deadlines::USER_BUDGET;
use crate::limits::retry::Deadline;
use crate::model::ids::{DEFAULT_DATABASE, Database, UserId};
use crate::model::selection::IdRange;
use crate::model::suggested::{about, argument};
use crate::model::user::User;
use crate::services::desk::Desk;
use crate::services::secret_manager::{Denial, SecretError};
use crate::telemetry::Chain;
use jiff::Timestamp;
use std::error::Error;
use std::sync::Arc;

/// Those that need Firestore.
const OF_FIRESTORE: [&str; 3] = ["TroubleQuery", "Secrets", "Clock"];

/// All of them, because of the identity.
pub(super) fn skipped() -> impl Iterator<Item = Finding> {
    ["Firestore"].into_iter().chain(OF_FIRESTORE).map(|check| reading::skipped(check, "Identity"))
}

/// What was found, and when the last pulse ended, unless Firestore did not say.
pub(super) async fn look(site: &Site<'_>, desk: &Desk<'_>) -> (Vec<Finding>, Option<LastPulse>) {
    let (store, at) = match reach(site, desk).await {
        Ok(reached) => reached,
        Err(finding) => {
            let skipped = OF_FIRESTORE.map(|check| reading::skipped(check, "Firestore"));
            return ([finding].into_iter().chain(skipped).collect(), None);
        }
    };
    let database = &site.place.database.database;
    let findings = vec![
        Finding::new(CheckState::Ok, "Firestore", format!("Documents of database {database} can be read.")),
        trouble_query(&store, site).await,
        secrets(&store, (site, desk)).await,
        clock(store.clock(), Timestamp::now()),
    ];
    (findings, Some(LastPulse { at, now: store.clock().now() }))
}

async fn reach(site: &Site<'_>, desk: &Desk<'_>) -> Result<(Arc<Store>, Option<Timestamp>), Finding> {
    let store = desk.store().await.map_err(|err| failed("Firestore", &err))?;
    match store.pulse_view(Deadline::after(USER_BUDGET)).await {
        Ok(pulse) => Ok((store, pulse.and_then(|pulse| pulse.at))),
        Err(err) => Err(of_store("Firestore", &err, ("datastore.entities.get", site))),
    }
}

fn failed(check: &'static str, err: &(dyn Error + 'static)) -> Finding {
    Finding::new(CheckState::Failed, check, format!("{}.", Chain(err)))
}

/// Whether Google did not do it this time.
fn is_passing(err: &StoreError) -> bool {
    matches!(err, StoreError::Unavailable(_) | StoreError::Timeout)
}

/// What Google does not do now it may do later.
fn unavailable(check: &'static str, err: &(dyn Error + 'static)) -> Finding {
    let sentence = format!("{}. Whether Google knows says https://status.cloud.google.com.", Chain(err));
    Finding::new(CheckState::Failed, check, sentence)
}

fn of_store(check: &'static str, err: &StoreError, (right, site): (&str, &Site<'_>)) -> Finding {
    match err.denied() {
        Some(why) => denied(check, why, err, &Needed { right, api: "firestore", site }),
        None if is_passing(err) => unavailable(check, err),
        None => failed(check, err),
    }
}

/// What was denied needs.
struct Needed<'a> {
    right: &'a str,
    api: &'static str,
    site: &'a Site<'a>,
}

/// What is denied is not known. Neither is why, unless Google says it; and whoever looks may not be the job.
fn denied(check: &'static str, why: Denied, err: &dyn Error, needed: &Needed<'_>) -> Finding {
    let Needed { right, api, site } = needed;
    let unknown = |sentence: String| Finding::new(CheckState::Unknown, check, sentence);
    match why {
        Denied::Role => unknown(format!("{} lacks the right {right}. This gives it:", site.who()))
            .mended_by(site.grant(right)),
        Denied::Disabled => unknown(format!("The API {api}.googleapis.com is not enabled in the project."))
            .mended_by(enable(api, site.place)),
        Denied::Otherwise => unknown(format!("{}.", Chain(err))),
        Denied::Unclear => {
            let told = Chain(err);
            unknown(format!(
                "{told}. Who refuses it and why is not known; it takes the right {right}. Whether the job is refused \
                 too says its log:"
            ))
            .mended_by(site.log())
        }
    }
}

/// What Secret Manager's denial is for.
fn kind(denial: &Denial) -> Denied {
    match denial {
        Denial::Role => Denied::Role,
        Denial::Reason(reason) => Denied::by(Some(reason)),
        Denial::Unexplained | Denial::NotGoogles => Denied::Unclear,
    }
}

/// The command that switches an API on.
pub(super) fn enable(api: &str, place: &Place) -> String {
    format!("gcloud services enable {api}.googleapis.com --project={}", argument(&place.database.project))
}

/// The index is there if the query that needs it runs.
async fn trouble_query(store: &Store, site: &Site<'_>) -> Finding {
    let (check, place) = ("TroubleQuery", site.place);
    let now = store.clock().now();
    match Pages::of_sync_states(&place.database, &IdRange::default(), now).next(store).await {
        Ok(_) => {
            let sentence = "The query for users in trouble runs: its index is there.";
            Finding::new(CheckState::Ok, check, sentence)
        }
        Err(err) if err.denied().is_some() => of_store(check, &err, ("datastore.entities.list", site)),
        Err(err) if is_passing(&err) => unavailable(check, &err),
        Err(err) => {
            let sentence = format!("{}. {FROM_A_CHECKOUT}", Chain(&err));
            Finding::new(CheckState::Failed, check, sentence).mended_by(deploy("indexes", place))
        }
    }
}

/// What is to know of [`deploy`].
pub(super) const FROM_A_CHECKOUT: &str = "In a checkout of pulse, of this version, this deploys them:";

/// The command that deploys the `indexes`, or the `rules`, which takes the place of all that there are: neither is done for
/// the other's sake. The file `firebase.json` says of no database but the usual one.
pub(super) fn deploy(what: &str, place: &Place) -> String {
    let Database { project, database } = &place.database;
    let deploy = format!("npx firebase-tools deploy --only firestore:{what} --project={}", argument(project));
    match &**database {
        DEFAULT_DATABASE => deploy,
        named => format!(
            "jq '.firestore.database=\"{named}\"' firebase.json > firebase.{named}.json && {deploy} \
             --config=firebase.{named}.json"
        ),
    }
}

/// One access, for the first user.
async fn secrets(store: &Store, (site, desk): (&Site<'_>, &Desk<'_>)) -> Finding {
    let (check, place) = ("Secrets", site.place);
    let mut users = Pages::<User>::of_users(&place.database, &IdRange::default(), &UserFilter::default());
    let first = match users.next(store).await {
        Ok(page) => page.into_iter().flatten().find_map(|user| UserId::parse(user.id.as_str()).ok()),
        Err(err) => return of_store(check, &err, ("datastore.entities.list", site)),
    };
    let Some(user) = first else {
        return Finding::new(CheckState::Skipped, check, "There is no user yet whose secret could be read.");
    };
    let secrets = match desk.secrets().await {
        Ok(secrets) => secrets,
        Err(err) => return failed(check, &err),
    };
    let read = secrets.keys(&place.database, &user, Deadline::after(USER_BUDGET)).await;
    match read {
        Ok(_) => Finding::new(CheckState::Ok, check, format!("The keys of user {user} could be read.")),
        Err(
            err
            @ (SecretError::Missing { .. } | SecretError::Disabled { .. } | SecretError::Malformed { .. }),
        ) => {
            let sentence = format!("Secret Manager answers, but {}.", Chain(&err));
            let explain = about("explain", user.as_str(), &format!(" --ask{}", place.database.flags()));
            Finding::new(CheckState::Warning, check, sentence).mended_by(explain)
        }
        Err(ref err @ SecretError::Forbidden { ref denial, .. }) => {
            let needed = Needed { right: "secretmanager.versions.access", api: "secretmanager", site };
            denied(check, kind(denial), err, &needed)
        }
        Err(err @ (SecretError::Unavailable { .. } | SecretError::Silent { .. })) => unavailable(check, &err),
        Err(err) => failed(check, &err),
    }
}

fn clock(clock: &ServerClock, local: Timestamp) -> Finding {
    match clock.deviation(local) {
        None if !clock.is_known() => {
            Finding::new(CheckState::Unknown, "Clock", "Firestore did not say how late it is.")
        }
        None => Finding::new(CheckState::Ok, "Clock", "The clock of this machine is right."),
        Some(ahead) => {
            let way = if ahead.is_negative() { "behind" } else { "ahead of" };
            let sentence =
                format!("The clock of this machine is {} s {way} Firestore's.", ahead.abs().as_secs());
            Finding::new(CheckState::Failed, "Clock", sentence).mended_by("timedatectl set-ntp true")
        }
    }
}

/// Both hosts, without keys.
pub(super) async fn alpaca(desk: &Desk<'_>) -> Finding {
    let knocked = desk.knock_at_alpaca().await;
    let silent: Vec<_> = knocked
        .iter()
        .filter_map(|(url, answered)| Some(format!("{url}: {}", answered.as_ref().err()?)))
        .collect();
    match silent.as_slice() {
        [] => Finding::new(CheckState::Ok, "Alpaca", "Alpaca's hosts answer."),
        silent => {
            let sentence = format!(
                "Alpaca does not answer as it should ({}). Whether it knows says https://status.alpaca.markets.",
                silent.join("; ")
            );
            Finding::new(CheckState::Failed, "Alpaca", sentence)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_nobody_compared_is_neither_right_nor_wrong() {
        let local = Timestamp::UNIX_EPOCH;
        let server = ServerClock::new(local);
        assert_eq!(clock(&server, local).state, CheckState::Unknown);
        server.learn(Instant::now(), local);
        assert_eq!(clock(&server, local).state, CheckState::Ok);
        let hours = |hours| clock(&server, local + jiff::SignedDuration::from_hours(hours));
        assert_eq!([2, -2].map(|ahead| hours(ahead).state), [CheckState::Failed; 2]);
    }
}
