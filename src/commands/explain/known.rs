//! What is known of one user.

use crate::commands::explain::ask::Asked;
use crate::commands::frame::{CheckState, Finding, in_words};
use crate::commands::pulse_check::Looked;
use crate::commands::reading::Unread;
use crate::commands::standing::Standing;
use crate::documents::pulse_view::PulseView;
use crate::documents::reader::UserView;
use crate::model::ids::DocumentId;
use crate::model::tenancy::TenantLookup;
use crate::model::user::{TenantClaim, User};
use account_reader::Verdict;
use jiff::Timestamp;

/// All of it.
pub(super) struct Known<'a> {
    pub(super) user: &'a DocumentId,
    pub(super) looked: Looked<'a>,
    pub(super) view: UserView,
    pub(super) tenant: TenantLine,
    pub(super) pulse: Option<PulseView>,
    /// What came of trying the keys, if they were.
    pub(super) asked: Option<Asked>,
}

impl Known<'_> {
    /// What every reader concludes now.
    pub(super) fn verdict(&self) -> Verdict<'_> {
        self.view.snapshot.verdict(self.looked.now)
    }

    pub(super) fn standing(&self) -> Standing<'_> {
        Standing::of(&self.view, self.looked.now)
    }

    /// Alpaca's id of the snapshot's account.
    pub(super) fn account(&self) -> Option<String> {
        match self.verdict() {
            Verdict::Fresh { account, .. } | Verdict::Stale { account, .. } => {
                Some(account.external_account_id.clone())
            }
            Verdict::Missing | Verdict::Malformed { .. } => None,
        }
    }

    /// Whether the user has ever synced, as far as it is known.
    pub(super) fn has_ever_synced(&self) -> bool {
        let synced = self.view.trouble.as_ref().is_some_and(|trouble| trouble.last_success.is_some());
        synced || !matches!(self.verdict(), Verdict::Missing)
    }

    /// What is worth a word beside the conclusion: the job itself, the tenant's document, what Alpaca said. Whether the
    /// user's figures are fresh is the conclusion's alone.
    pub(super) fn findings_beside(&self, conclusion: &str, is_mended: bool) -> Vec<Finding> {
        let of_job = self.looked.at_pulse(self.pulse.as_ref()).into_iter();
        let mut findings: Vec<_> =
            of_job.filter(|finding| finding.reason != conclusion).map(milder).collect();
        findings.extend(self.tenant.finding(self.user));
        let asked = self.asked.as_ref().and_then(|asked| asked.finding(self.looked.place));
        // What is to be done is said once.
        let mend = |found: &Finding| found.mend.clone().filter(|_| !is_mended);
        findings.extend(asked.map(|found| Finding { mend: mend(&found), ..found }));
        findings
    }
}

fn milder(finding: Finding) -> Finding {
    match finding.state {
        CheckState::Failed => Finding { state: CheckState::Warning, ..finding },
        _ => finding,
    }
}

/// Which tenant's document has the user's figures too.
#[derive(Debug)]
pub(super) enum TenantLine {
    /// There is no user.
    Nobodys,
    /// It is the user's own tenant, or one that they are a member of.
    Member { tenant: String, shows: Option<Shown> },
    /// They say so themselves, and nobody else does.
    NoMember { tenant: String },
    /// What they say can be no tenant's id.
    Unusable,
    /// It could not be read.
    Unread(Unread),
}

/// Whose figures a tenant's document shows.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) owner: Option<String>,
    pub(super) updated_at: Option<Timestamp>,
}

impl TenantLine {
    pub(super) fn of(user: &User, lookup: TenantLookup) -> Self {
        let TenantLookup { is_member, primary } = lookup;
        let shows = primary.map(|primary| Shown { owner: primary.owner, updated_at: primary.updated_at });
        match &user.tenant {
            TenantClaim::Own => Self::Member { tenant: user.id.as_str().to_owned(), shows },
            TenantClaim::Of(tenant) if !is_member => Self::NoMember { tenant: tenant.as_str().to_owned() },
            TenantClaim::Of(tenant) | TenantClaim::Assigned(tenant) => {
                Self::Member { tenant: tenant.as_str().to_owned(), shows }
            }
            TenantClaim::Unusable => Self::Unusable,
        }
    }

    /// For people.
    pub(super) fn words(&self, user: &DocumentId, now: Timestamp) -> String {
        match self {
            Self::Nobodys => "none, without a user".into(),
            Self::Member { tenant, shows: None } => format!("{tenant}, which has no account document"),
            Self::Member { tenant, shows: Some(Shown { owner, updated_at }) } => {
                let whose = match owner.as_deref() {
                    Some(owner) if owner == user.as_str() => "the user's".to_owned(),
                    Some(owner) => format!("{owner}'s"),
                    None => "nobody's by name".to_owned(),
                };
                let age = updated_at.map(|at| format!(", {} old", in_words(now.duration_since(at))));
                format!("{tenant}, which shows figures that are {whose}{}", age.unwrap_or_default())
            }
            Self::NoMember { tenant } => format!("{tenant} by the user's own word, without membership"),
            Self::Unusable => "the user's tenant_id can be no tenant's".into(),
            Self::Unread(_) => "could not be read".into(),
        }
    }

    fn finding(&self, user: &DocumentId) -> Option<Finding> {
        match self {
            Self::NoMember { tenant } => {
                let sentence = format!(
                    "The document of tenant {tenant} is not written: {user} names it and is no member of it. The \
                     user's own snapshot does not depend on that."
                );
                Some(Finding::new(CheckState::Warning, "TenantWithoutMembership", sentence))
            }
            Self::Unusable => {
                let sentence = "No tenant's document is written: the user's tenant_id can be no tenant's id.";
                Some(Finding::new(CheckState::Warning, "TenantUnusable", sentence))
            }
            Self::Unread(unread) => Some(unread.finding().clone()),
            Self::Nobodys | Self::Member { .. } => None,
        }
    }
}
