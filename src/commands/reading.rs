//! What commands that look read first, and what they say when they cannot.

use crate::commands::failures::doctor;
use crate::commands::frame::{CheckState, Finding, counted};
use crate::commands::user_list::{Foreseen, UserList};
use crate::config::Place;
use crate::documents::pulse_view::PulseView;
use crate::firestore::{Store, StoreError};
use crate::limits::deadlines::USER_BUDGET;
use crate::limits::retry::Deadline;
use crate::services::clients::ConnectError;
use crate::services::desk::Desk;
use crate::telemetry::{Chain, output};
use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;

/// What could not be looked at, and why.
#[derive(Debug)]
pub(crate) struct Unread(Finding);

impl Unread {
    /// Firestore, of which nothing could be read.
    #[must_use]
    pub(crate) fn firestore(place: &Place, err: &dyn Error) -> Self {
        Self::of("FirestoreUnread", "Firestore could not be read", (place, err))
    }

    /// The users, of whom at least some could not be read.
    #[must_use]
    pub(crate) fn users(place: &Place, err: &StoreError) -> Self {
        Self::of("UsersUnread", "Not all users could be read", (place, err))
    }

    /// The tenant of one user.
    #[must_use]
    pub(crate) fn tenant(place: &Place, err: &StoreError) -> Self {
        Self::of("TenantUnread", "The tenant could not be read", (place, err))
    }

    /// Whether that is Firestore, the way to it or a right that is missing, another command finds out.
    fn of(reason: &'static str, what: &str, (place, err): (&Place, &dyn Error)) -> Self {
        let sentence = format!("{what}: {}.", Chain(err));
        Self(Finding::new(CheckState::Unknown, reason, sentence).mended_by(doctor(place)))
    }

    /// The finding itself.
    #[must_use]
    pub(crate) fn finding(&self) -> &Finding {
        &self.0
    }

    /// With the checks that depend on it.
    #[must_use]
    pub(crate) fn with_skipped(self, checks: &[&'static str]) -> Vec<Finding> {
        let because = self.0.reason;
        let skipped: Vec<_> = checks.iter().map(|check| skipped(check, because)).collect();
        [self.0].into_iter().chain(skipped).collect()
    }
}

/// A check that had to wait for another.
#[must_use]
pub(crate) fn skipped(check: &'static str, because: &str) -> Finding {
    Finding::new(CheckState::Skipped, check, format!("Not checked, because of {because}."))
}

/// Connects, and reads `ops/last_pulse`, if it exists.
pub(crate) async fn read_pulse(desk: &Desk<'_>) -> Result<(Arc<Store>, Option<PulseView>), Unread> {
    let place = desk.place();
    let store = desk.store().await.map_err(|err: ConnectError| Unread::firestore(place, &err))?;
    let pulse = store.pulse_view(Deadline::after(USER_BUDGET)).await;
    let pulse = pulse.map_err(|err| Unread::firestore(place, &err))?;
    Ok((store, pulse))
}

/// Says what reading everybody will cost, on stderr: stdout is for the answer.
pub(crate) async fn announce(list: &UserList<'_>) -> Result<(), StoreError> {
    let Some(Foreseen { users, reads }) = list.foreseen().await? else { return Ok(()) };
    let (reads, users) = (counted(reads, ["document", "documents"]), counted(users, ["user", "users"]));
    let line = format!("reading about {reads} for {users}");
    output::tell(move || writeln!(io::stderr(), "{line}")).await;
    Ok(())
}
