//! Settings that are one of a few words.

use crate::model::user::TenantClaim;
use clap::ValueEnum;

/// Which lines about single users are logged. `--user-lines`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum UserLines {
    /// Every line.
    #[default]
    All,
    /// Of the good news those that are news.
    Changed,
    /// No good news.
    Failed,
}

impl UserLines {
    /// Whether a line is logged that asks nobody to act; `is_news`: it tells that the user's state has changed. Errors
    /// and warnings always are.
    #[must_use]
    pub(crate) fn tell(self, is_news: bool) -> bool {
        match self {
            Self::All => true,
            Self::Changed => is_news,
            Self::Failed => false,
        }
    }
}

/// What the readers of the snapshots go by. `--readers`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Readers {
    /// Some call every snapshot stale that is 300 s old.
    #[default]
    #[value(name = "300s")]
    Age,
    /// All go by `fresh_until`.
    FreshUntil,
}

/// For whom tenants' documents are written. `--legacy-tenant-path`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TenantPath {
    /// Every user.
    #[default]
    On,
    /// Users with a `tenant_id` and membership.
    Members,
    /// Nobody.
    Off,
}

impl TenantPath {
    /// Whether the document of the tenant that a user claims, or of the one that they are, may be written at all.
    #[must_use]
    pub(crate) fn covers(self, claim: &TenantClaim) -> bool {
        match self {
            Self::On => true,
            Self::Members => *claim != TenantClaim::Own,
            Self::Off => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_news_is_told_as_far_as_it_is_wanted() {
        for (lines, good_news, news) in [
            (UserLines::All, true, true),
            (UserLines::Changed, false, true),
            (UserLines::Failed, false, false),
        ] {
            assert_eq!((lines.tell(false), lines.tell(true)), (good_news, news), "{lines:?}");
        }
    }
}
