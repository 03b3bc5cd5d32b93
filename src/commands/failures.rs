//! What keeps a command that changes something from going on, as a finding: what could not be asked is unknown, what has
//! to be mended has failed.

use crate::commands::frame::{CheckState, Finding, Refused, Report};
use crate::config::{ConfigError, Place};
use crate::firestore::StoreError;
use crate::limits::rate::UsedUp;
use crate::model::ids::{Database, UserId};
use crate::model::suggested::about;
use crate::services::alpaca::AlpacaError;
use crate::services::clients::ConnectError;
use crate::services::secret_changes::SecretChangeError;
use crate::services::secret_manager::{Denial, SecretError};
use crate::shutdown::{StopSignal, first_signal};
use crate::telemetry::Chain;
use std::error::Error;
use std::io::{self, IsTerminal, Write};

/// Why a command did not go on.
#[derive(Debug)]
pub(super) enum Stopped {
    /// This was found.
    Found(Finding),
    /// It could not be looked at or done, and this leads on.
    Open(Finding, Next),
    /// Nobody said yes.
    Refused(Refused),
    /// What was typed cannot be used.
    Usage(Finding),
    /// A signal ended it.
    Told(StopSignal),
}

/// Which command leads on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The same once more: what was done by then stays, and the rest follows.
    Again,
    /// The one that looks whether the project is set up right.
    Doctor,
}

/// The commands that lead on.
#[derive(Debug)]
pub(super) struct LeadsOn {
    again: String,
    doctor: String,
}

impl LeadsOn {
    /// From a command in that place, which was typed so.
    #[must_use]
    pub(super) fn from(again: String, place: &Place) -> Self {
        Self { again, doctor: doctor(place) }
    }

    /// From a command about a user, with its own flags.
    #[must_use]
    pub(super) fn from_about(command: &str, user: &str, own_flags: &str, place: &Place) -> Self {
        let flags = place.database.flags();
        Self::from(about(command, user, &format!("{own_flags}{flags}")), place)
    }
}

/// The command that looks whether the project is set up right.
#[must_use]
pub(super) fn doctor(place: &Place) -> String {
    format!("pulse doctor{}", place.database.flags())
}

/// Does it, unless a signal comes first: then it is left where it is.
pub(super) async fn unless_told<T>(work: impl Future<Output = Result<T, Stopped>>) -> Result<T, Stopped> {
    // Where signals cannot be heard, they end the process at once.
    let Ok(told) = first_signal() else { return work.await };
    tokio::select! {
        biased;
        done = work => done,
        signal = told => {
            leave_the_question();
            Err(Stopped::Told(signal))
        }
    }
}

/// Nobody has ended the line on which something may have been asked.
fn leave_the_question() {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        // Without it the answer stands behind the question.
        let _ = stderr.write_all(b"\n");
    }
}

/// Says that nobody said yes.
pub(super) fn not_confirmed(refused: Refused, report: &mut Report) {
    let sentence = format!("{}.", capitalised(&refused.to_string()));
    report.found(Finding::new(CheckState::Failed, "NotConfirmed", sentence));
    report.exit_with(refused.exit_code());
}

impl Stopped {
    /// Adds it to what is told.
    pub(super) fn tell(self, next: &LeadsOn, report: &mut Report) {
        match self {
            Self::Found(finding) => report.found(finding),
            Self::Open(finding, Next::Again) => report.found(finding.mended_by(&next.again)),
            Self::Open(finding, Next::Doctor) => report.found(finding.mended_by(&next.doctor)),
            Self::Usage(finding) => {
                report.found(finding);
                report.exit_with(2);
            }
            Self::Refused(refused) => not_confirmed(refused, report),
            Self::Told(signal) => {
                let sentence = "Told to stop. What was done by then stays: run this again to go on.";
                report.found(Finding::new(CheckState::Warning, "Stopped", sentence).mended_by(&next.again));
                report.exit_with(signal.exit_code());
            }
        }
    }

    /// Something that somebody has to mend.
    pub(super) fn failed(reason: &'static str, sentence: impl Into<String>) -> Self {
        Self::Found(Finding::new(CheckState::Failed, reason, sentence))
    }

    /// The same with the command that mends it.
    pub(super) fn mended_by(self, command: impl Into<String>) -> Self {
        match self {
            Self::Found(finding) => Self::Found(finding.mended_by(command)),
            other => other,
        }
    }
}

impl From<Refused> for Stopped {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<StoreError> for Stopped {
    fn from(err: StoreError) -> Self {
        let next = after_store(&err);
        Self::Open(unknown("FirestoreUnavailable", &err), next)
    }
}

/// What passes is tried again; who is refused, or nobody to Google, has to be looked at.
fn after_store(err: &StoreError) -> Next {
    match err {
        StoreError::Unavailable(_)
        | StoreError::Timeout
        | StoreError::OutOfTime
        | StoreError::OutOfBudget(_)
        | StoreError::Conflict(_) => Next::Again,
        StoreError::NoToken(_) | StoreError::Unauthenticated | StoreError::Rejected(_) => Next::Doctor,
    }
}

impl From<UsedUp> for Stopped {
    fn from(err: UsedUp) -> Self {
        StoreError::from(err).into()
    }
}

impl From<ConnectError> for Stopped {
    fn from(err: ConnectError) -> Self {
        let next = match &err {
            ConnectError::Store(err) => after_store(err),
            ConnectError::Credentials(_) | ConnectError::Http(_) | ConnectError::Panicked => Next::Doctor,
        };
        Self::Open(unknown("NotConnected", &err), next)
    }
}

impl From<SecretChangeError> for Stopped {
    fn from(err: SecretChangeError) -> Self {
        match &err {
            SecretChangeError::Forbidden { denial, .. } => forbidden(denial, &err),
            SecretChangeError::Different => Self::Open(unknown("ReadBackDiffers", &err), Next::Again),
            SecretChangeError::Refused(_) => {
                Self::Open(unknown("SecretManagerUnavailable", &err), Next::Doctor)
            }
            SecretChangeError::Missing
            | SecretChangeError::Exists
            | SecretChangeError::Unavailable { .. } => {
                Self::Open(unknown("SecretManagerUnavailable", &err), Next::Again)
            }
        }
    }
}

/// Where a role is missing, the sentence has it, and no command of ours gives it.
fn forbidden(denial: &Denial, err: &(dyn Error + 'static)) -> Stopped {
    let found = unknown("RightMissing", err);
    match denial {
        Denial::Role => Stopped::Found(found),
        Denial::Reason(_) | Denial::Unexplained | Denial::NotGoogles => Stopped::Open(found, Next::Doctor),
    }
}

impl From<ConfigError> for Stopped {
    fn from(err: ConfigError) -> Self {
        Self::Usage(Finding::new(CheckState::Failed, "Configuration", err.to_string()))
    }
}

/// There is no such user where it was looked.
#[must_use]
pub(super) fn no_user(user: &str, database: &Database) -> Stopped {
    Stopped::failed("UserUnknown", format!("There is no user {user} in {}.", database.in_words()))
}

/// Why a user's keys could not be read.
pub(super) fn by_secret(user: &UserId, err: &SecretError, place: &Place) -> Stopped {
    let reason = match err {
        SecretError::Missing { .. } => "KeysMissing",
        SecretError::Disabled { .. } => "KeysDisabled",
        SecretError::Malformed { .. } => "KeysMalformed",
        SecretError::Forbidden { denial, .. } => return forbidden(denial, err),
        SecretError::Refused { .. } => {
            return Stopped::Open(unknown("SecretManagerUnavailable", err), Next::Doctor);
        }
        SecretError::OutOfTime { .. }
        | SecretError::Silent { .. }
        | SecretError::OutOfBudget { .. }
        | SecretError::Unavailable { .. } => {
            return Stopped::Open(unknown("SecretManagerUnavailable", err), Next::Again);
        }
    };
    let mend = about("keys set", user.as_str(), &place.database.flags());
    Stopped::failed(reason, sentence(err)).mended_by(mend)
}

/// Why Alpaca gave no account for keys.
pub(super) fn by_alpaca(err: &AlpacaError) -> Stopped {
    match err {
        AlpacaError::Rejected { .. } => Stopped::failed("KeysRejected", sentence(err)),
        AlpacaError::Incomplete(_) => {
            Stopped::Found(Finding::new(CheckState::Warning, "AccountNotOpen", sentence(err)))
        }
        AlpacaError::NoJson { .. } | AlpacaError::BadAnswer { .. } => {
            Stopped::Open(unknown("AlpacaBadAnswer", err), Next::Again)
        }
        AlpacaError::Intercepted { .. }
        | AlpacaError::RateLimited { .. }
        | AlpacaError::Failing { .. }
        | AlpacaError::Unreachable(_)
        | AlpacaError::TooLate(_)
        | AlpacaError::OutOfTime(_)
        | AlpacaError::StoodStill(_)
        | AlpacaError::NoTurn(_)
        | AlpacaError::Silent
        | AlpacaError::OutOfBudget(_) => Stopped::Open(unknown("AlpacaUnavailable", err), Next::Again),
    }
}

fn unknown(reason: &'static str, err: &(dyn Error + 'static)) -> Finding {
    Finding::new(CheckState::Unknown, reason, sentence(err))
}

/// An error with all its causes, as a sentence.
pub(super) fn sentence(err: &(dyn Error + 'static)) -> String {
    let chain = Chain(err).to_string();
    // Google's own sentences have one at their end.
    format!("{}.", capitalised(chain.trim_end_matches('.')))
}

/// The text with its first letter as a sentence has it.
pub(super) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::secret_manager::UnavailableCause;

    fn next(stopped: impl Into<Stopped>) -> Option<Next> {
        match stopped.into() {
            Stopped::Open(Finding { state: CheckState::Unknown, .. }, next) => Some(next),
            _ => None,
        }
    }

    #[test]
    fn a_cause_that_is_a_sentence_gets_no_second_full_stop() {
        for cause in ["Missing or insufficient permissions.", "missing or insufficient permissions"] {
            assert_eq!(sentence(&io::Error::other(cause)), "Missing or insufficient permissions.");
        }
    }

    #[test]
    fn what_passes_is_tried_again_and_what_is_refused_is_looked_into() {
        assert_eq!(next(StoreError::Timeout), Some(Next::Again));
        assert_eq!(next(StoreError::Unauthenticated), Some(Next::Doctor));
        assert_eq!(next(ConnectError::Store(StoreError::OutOfTime)), Some(Next::Again));
        assert_eq!(next(ConnectError::Panicked), Some(Next::Doctor));
        let unavailable = SecretChangeError::Unavailable { wait: None, cause: UnavailableCause::Timeout };
        assert_eq!(next(unavailable), Some(Next::Again));
        let forbidden =
            |denial| SecretChangeError::Forbidden { right: "secretmanager.secrets.create", denial };
        assert_eq!(next(forbidden(Denial::NotGoogles)), Some(Next::Doctor));
        assert_eq!(next(forbidden(Denial::Role)), None, "no command of ours gives a role");
    }
}
