//! How a user stands, and whose cause it is.

use crate::documents::reader::UserView;
use crate::model::outcome::Code;
use crate::model::sync_state::State;
use crate::model::user::{TenantClaim, User};
use account_reader::Verdict;
use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

/// How a user's sync goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Condition {
    /// No trouble.
    Ok,
    /// Failing, and tried again.
    Retrying,
    /// Alpaca rejects the keys.
    NeedsReauth,
    /// The account is not open yet.
    Incomplete,
    /// Switched off in the user's document.
    Paused,
}

impl Condition {
    /// As `sync` says it, and `paused`.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Retrying => "retrying",
            Self::NeedsReauth => "needs_reauth",
            Self::Incomplete => "incomplete",
            Self::Paused => "paused",
        }
    }
}

/// Whose cause it is. Only ours makes anybody act at night.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    Ours,
    User,
}

impl Cause {
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::User => "user",
        }
    }

    /// For people.
    #[must_use]
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::User => "theirs",
        }
    }
}

fn word<S: Serializer>(word: &'static str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(word)
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        word(self.as_str(), serializer)
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        word(self.as_str(), serializer)
    }
}

/// What is told of one user, by the names that `--json` has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Standing<'a> {
    pub(crate) user_id: &'a str,
    pub(crate) state: Condition,
    pub(crate) error: Option<&'static str>,
    /// None while nothing is wrong.
    pub(crate) cause: Option<Cause>,
    pub(crate) failing_since: Option<Timestamp>,
    pub(crate) next_attempt_at: Option<Timestamp>,
    /// What every reader concludes of the snapshot: `fresh`, `stale`, `missing` or `malformed`.
    pub(crate) snapshot: &'static str,
    pub(crate) age_s: Option<i64>,
    pub(crate) environment: Option<&'static str>,
    pub(crate) tenant_id: Option<&'a str>,
}

impl<'a> Standing<'a> {
    #[must_use]
    pub(crate) fn of(view: &'a UserView, now: Timestamp) -> Self {
        let verdict = view.snapshot.verdict(now);
        let account = match &verdict {
            Verdict::Fresh { age, account } | Verdict::Stale { age, account } => Some((*age, *account)),
            Verdict::Missing | Verdict::Malformed { .. } => None,
        };
        let trouble = view.trouble.as_ref();
        Self {
            user_id: view.id.as_str(),
            state: condition(view),
            error: trouble.and_then(|trouble| trouble.error).map(Code::as_str),
            cause: cause(view, &verdict),
            failing_since: trouble.map(|trouble| trouble.failing_since.unwrap_or(trouble.since)),
            next_attempt_at: trouble.and_then(|trouble| trouble.next_attempt_at),
            snapshot: verdict.as_str(),
            age_s: account.map(|(age, _)| age.as_secs()),
            environment: account.map(|(_, account)| account.environment().as_str()),
            tenant_id: view.user.as_ref().and_then(tenant),
        }
    }

    /// Whether readers call the figures too old, for a cause of ours.
    #[must_use]
    pub(crate) fn is_stale_of_ours(&self) -> bool {
        self.cause == Some(Cause::Ours) && self.snapshot == "stale"
    }

    /// For how long the user has been failing.
    #[must_use]
    pub(crate) fn failing_for(&self, now: Timestamp) -> Option<SignedDuration> {
        self.failing_since.map(|since| now.duration_since(since))
    }
}

fn condition(view: &UserView) -> Condition {
    match &view.trouble {
        _ if view.user.as_ref().is_some_and(|user| !user.is_synced()) => Condition::Paused,
        None => Condition::Ok,
        Some(trouble) => match trouble.state {
            State::Retrying => Condition::Retrying,
            State::NeedsReauth => Condition::NeedsReauth,
            State::Incomplete => Condition::Incomplete,
            State::Ok => Condition::Ok,
        },
    }
}

fn cause(view: &UserView, verdict: &Verdict<'_>) -> Option<Cause> {
    let trouble = view.trouble.as_ref();
    match condition(view) {
        Condition::Paused | Condition::NeedsReauth | Condition::Incomplete => Some(Cause::User),
        Condition::Retrying => {
            let synced = trouble.is_some_and(|trouble| trouble.last_success.is_some());
            let ever_synced = synced || !matches!(verdict, Verdict::Missing);
            let code = trouble.and_then(|trouble| trouble.error);
            Some(if code.is_none_or(|code| code.is_ours(ever_synced)) { Cause::Ours } else { Cause::User })
        }
        // The job has not come round to a user whom nothing keeps from being synced.
        Condition::Ok => matches!(verdict, Verdict::Stale { .. }).then_some(Cause::Ours),
    }
}

/// The tenant that the user's document names, whether or not they are a member.
fn tenant(user: &User) -> Option<&str> {
    match &user.tenant {
        TenantClaim::Of(tenant) | TenantClaim::Assigned(tenant) => Some(tenant.as_str()),
        TenantClaim::Own | TenantClaim::Unusable => None,
    }
}
