//! What keeps a command that changes something from going on, as a finding: what could not be asked is unknown, what has
//! to be mended has failed.

use crate::commands::frame::{CheckState, Finding, Refused, Report};
use crate::config::{ConfigError, Place};
use crate::firestore::StoreError;
use crate::limits::rate::UsedUp;
use crate::model::ids::UserId;
use crate::model::suggested::about;
use crate::services::alpaca::AlpacaError;
use crate::services::clients::ConnectError;
use crate::services::secret_changes::SecretChangeError;
use crate::services::secret_manager::SecretError;
use crate::telemetry::Chain;
use std::error::Error;

/// Why a command did not go on.
#[derive(Debug)]
pub(super) enum Stopped {
    /// This was found.
    Found(Finding),
    /// Nobody said yes.
    Refused(Refused),
    /// What was typed cannot be used.
    Usage(Finding),
}

impl Stopped {
    /// Adds it to what is told.
    pub(super) fn tell(self, report: &mut Report) {
        match self {
            Self::Found(finding) => report.found(finding),
            Self::Usage(finding) => {
                report.found(finding);
                report.exit_with(2);
            }
            Self::Refused(refused) => {
                let sentence = format!("{}.", capitalised(&refused.to_string()));
                report.found(Finding::new(CheckState::Skipped, "NotConfirmed", sentence));
                report.exit_with(refused.exit_code());
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
        Self::Found(unknown("FirestoreUnavailable", &err))
    }
}

impl From<UsedUp> for Stopped {
    fn from(err: UsedUp) -> Self {
        StoreError::from(err).into()
    }
}

impl From<ConnectError> for Stopped {
    fn from(err: ConnectError) -> Self {
        Self::Found(unknown("NotConnected", &err))
    }
}

impl From<SecretChangeError> for Stopped {
    fn from(err: SecretChangeError) -> Self {
        let reason = match &err {
            SecretChangeError::Forbidden { .. } => "RightMissing",
            SecretChangeError::Different => "ReadBackDiffers",
            SecretChangeError::Missing
            | SecretChangeError::Exists
            | SecretChangeError::Refused(_)
            | SecretChangeError::Unavailable { .. } => "SecretManagerUnavailable",
        };
        Self::Found(unknown(reason, &err))
    }
}

impl From<ConfigError> for Stopped {
    fn from(err: ConfigError) -> Self {
        Self::Usage(Finding::new(CheckState::Failed, "Configuration", err.to_string()))
    }
}

/// Why a user's keys could not be read.
pub(super) fn of_secret(user: &UserId, err: &SecretError, place: &Place) -> Finding {
    let (state, reason) = match err {
        SecretError::Missing { .. } => (CheckState::Failed, "KeysMissing"),
        SecretError::Disabled { .. } => (CheckState::Failed, "KeysDisabled"),
        SecretError::Malformed { .. } => (CheckState::Failed, "KeysMalformed"),
        SecretError::Forbidden { .. } => return asked_of_doctor("RightMissing", err, place),
        SecretError::Refused { .. }
        | SecretError::OutOfTime { .. }
        | SecretError::Silent { .. }
        | SecretError::OutOfBudget { .. }
        | SecretError::Unavailable { .. } => return asked_of_doctor("SecretManagerUnavailable", err, place),
    };
    Finding::new(state, reason, sentence(err)).mended_by(about(
        "keys set",
        user.as_str(),
        &place.database.flags(),
    ))
}

/// Why Alpaca gave no account for keys.
pub(super) fn of_alpaca(err: &AlpacaError) -> Finding {
    match err {
        AlpacaError::Rejected { .. } => Finding::new(CheckState::Failed, "KeysRejected", sentence(err)),
        AlpacaError::Incomplete(_) => Finding::new(CheckState::Warning, "AccountNotOpen", sentence(err)),
        AlpacaError::NoJson { .. } | AlpacaError::BadAnswer { .. } => unknown("AlpacaBadAnswer", err),
        AlpacaError::Intercepted { .. }
        | AlpacaError::RateLimited { .. }
        | AlpacaError::Failing { .. }
        | AlpacaError::Unreachable(_)
        | AlpacaError::TooLate(_)
        | AlpacaError::OutOfTime(_)
        | AlpacaError::StoodStill(_)
        | AlpacaError::NoTurn(_)
        | AlpacaError::Silent
        | AlpacaError::OutOfBudget(_) => unknown("AlpacaUnavailable", err),
    }
}

/// What could not be asked, of which the doctor tells more.
fn asked_of_doctor(reason: &'static str, err: &(dyn Error + 'static), place: &Place) -> Finding {
    unknown(reason, err).mended_by(format!("pulse doctor{}", place.database.flags()))
}

fn unknown(reason: &'static str, err: &(dyn Error + 'static)) -> Finding {
    Finding::new(CheckState::Unknown, reason, sentence(err))
}

/// An error with all its causes, as a sentence.
pub(super) fn sentence(err: &(dyn Error + 'static)) -> String {
    format!("{}.", capitalised(&Chain(err).to_string()))
}

/// The text with its first letter as a sentence has it.
pub(super) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
