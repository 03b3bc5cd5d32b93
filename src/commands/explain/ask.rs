//! Trying a user's keys at Alpaca, as the next pulse would, without writing anything.

use crate::commands::failures::doctor;
use crate::commands::frame::{CheckState, Finding};
use crate::config::Place;
use crate::limits::deadlines::USER_BUDGET;
use crate::limits::retry::Deadline;
use crate::model::advice::{Advice, Heard, Who};
use crate::model::ids::{DocumentId, UserId};
use crate::model::keys::Environment;
use crate::model::outcome::Code;
use crate::services::alpaca::AlpacaError;
use crate::services::desk::Desk;
use crate::services::secret_manager::{Denial, SecretError, StoredKeys};
use crate::telemetry::Chain;
use std::error::Error;

/// What came of it.
#[derive(Debug)]
pub(super) enum Asked {
    /// Alpaca takes the keys.
    Took {
        version: String,
        environment: Environment,
        account: String,
        status: String,
        /// Another account than the snapshot's, if that says which.
        is_other: bool,
    },
    /// There is something wrong with the keys or the account.
    Refused { code: Code, version: Option<String>, sentence: String },
    /// Nothing was heard that says anything about them.
    Unheard { sentence: String },
}

/// Takes the newest version of the keys to Alpaca. `account` is the snapshot's.
pub(super) async fn ask(user: &DocumentId, place: &Place, desk: &Desk<'_>, account: Option<String>) -> Asked {
    let id = match UserId::parse(user.as_str()) {
        Ok(id) => id,
        Err(err) => return Asked::refused(Code::UserIdInvalid, None, &err),
    };
    let (secrets, alpaca) = match (desk.secrets().await, desk.alpaca()) {
        (Ok(secrets), Ok(alpaca)) => (secrets, alpaca),
        (Err(err), _) | (_, Err(err)) => return Asked::unheard(&err),
    };
    let stored = secrets.keys(&place.database, &id, once()).await;
    let StoredKeys { keys, version } = match stored {
        Ok(stored) => stored,
        Err(err) => return of_secret(&err),
    };
    let version = version.as_str().to_owned();
    match alpaca.account(&keys, once()).await {
        Ok(answer) => Asked::Took {
            version,
            environment: keys.environment(),
            is_other: account.is_some_and(|known| known != answer.account.external_account_id),
            account: answer.account.external_account_id,
            status: answer.account.status,
        },
        Err(err) => of_alpaca(&err, version),
    }
}

/// For one call: whoever asks sees what a single one gives.
fn once() -> Deadline {
    Deadline::after(USER_BUDGET).tried_once()
}

/// A right that the person lacks who asks says nothing about the job's.
fn of_secret(err: &SecretError) -> Asked {
    match err {
        SecretError::Missing { .. } | SecretError::Disabled { .. } => Asked::refused(err.code(), None, err),
        SecretError::Malformed { version, .. } => {
            Asked::refused(err.code(), Some(version.as_str().to_owned()), err)
        }
        SecretError::Forbidden { secret, denial: Denial::Role } => Asked::Unheard {
            sentence: format!("your own login lacks roles/secretmanager.secretAccessor for secret {secret}"),
        },
        SecretError::Forbidden { .. }
        | SecretError::Refused { .. }
        | SecretError::OutOfTime { .. }
        | SecretError::Silent { .. }
        | SecretError::OutOfBudget { .. }
        | SecretError::Unavailable { .. } => Asked::unheard(err),
    }
}

fn of_alpaca(err: &AlpacaError, version: String) -> Asked {
    match err {
        AlpacaError::Rejected { .. }
        | AlpacaError::Incomplete(_)
        | AlpacaError::NoJson { .. }
        | AlpacaError::BadAnswer { .. } => Asked::refused(err.code(), Some(version), err),
        AlpacaError::Intercepted { .. }
        | AlpacaError::RateLimited { .. }
        | AlpacaError::NoTurn(_)
        | AlpacaError::Silent
        | AlpacaError::Failing { .. }
        | AlpacaError::Unreachable(_)
        | AlpacaError::TooLate(_)
        | AlpacaError::OutOfTime(_)
        | AlpacaError::StoodStill(_)
        | AlpacaError::OutOfBudget(_) => Asked::unheard(err),
    }
}

impl Asked {
    fn refused(code: Code, version: Option<String>, err: &dyn Error) -> Self {
        Self::Refused { code, version, sentence: Chain(err).to_string() }
    }

    fn unheard(err: &dyn Error) -> Self {
        Self::Unheard { sentence: Chain(err).to_string() }
    }

    /// What of it is a finding of its own: all but a refusal, which the conclusion is made of.
    pub(super) fn finding(&self, place: &Place) -> Option<Finding> {
        let (state, reason, sentence) = match self {
            Self::Took { is_other: true, account, .. } => {
                let sentence = format!("The keys are of another account than the snapshot's: {account}.");
                (CheckState::Warning, "AskedOtherAccount", sentence)
            }
            Self::Took { version, environment, .. } => {
                let sentence =
                    format!("Alpaca takes version {version} of the keys ({}).", environment.as_str());
                (CheckState::Ok, "AskedKeysTaken", sentence)
            }
            Self::Unheard { sentence } => {
                let sentence = format!("The keys could not be tried from here: {sentence}.");
                let finding = Finding::new(CheckState::Unknown, "AskedUnheard", sentence);
                return Some(finding.mended_by(doctor(place)));
            }
            Self::Refused { .. } => return None,
        };
        Some(Finding::new(state, reason, sentence))
    }

    /// The finding where nothing else could be looked at.
    pub(super) fn alone(&self, user: &DocumentId, place: &Place) -> Option<Finding> {
        let Self::Refused { code, sentence, .. } = self else { return self.finding(place) };
        let advice = Advice::on(*code, true).once_asked(Heard::Refusal);
        let state = if advice.who == Who::Nobody { CheckState::Warning } else { CheckState::Failed };
        let finding = Finding::new(state, advice.reason, format!("{sentence}; {}.", advice.act));
        Some(Finding { mend: advice.mend(user.as_str(), &place.database), ..finding })
    }
}
