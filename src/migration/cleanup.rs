//! Which legacy documents the clean-up deletes.

use crate::documents::legacy::Legacy;
use crate::migration::load::Judged;
use crate::migration::options::Options;
use crate::migration::reason::Class;
use jiff::Timestamp;

/// What the clean-up does with a legacy document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is deleted.
    Delete,
    /// It is a document of today too, or has keys, which go last.
    Keep,
    /// It was written after the verification: somebody still uses it.
    WrittenLater,
    /// It is not what it should have become by now.
    Open,
}

/// Decides it, after a verification that found nothing at that time.
#[must_use]
pub(crate) fn fate(judged: &Judged, options: &Options, verified: Timestamp) -> Fate {
    if !is_of_the_past(&judged.document.path) {
        return Fate::Keep;
    }
    match judged.diff.class() {
        _ if judged.document.updated_at > verified => Fate::WrittenLater,
        Class::Same | Class::Cleanup => Fate::Delete,
        _ if options.gives_up(judged.diff.reason) => Fate::Delete,
        _ => Fate::Open,
    }
}

/// Whether it is a document that nobody of today writes or reads, and that has no keys.
#[must_use]
pub(crate) fn is_of_the_past(path: &str) -> bool {
    match Legacy::at(path) {
        Some(Legacy::Equity(_) | Legacy::Figures | Legacy::Signal { .. } | Legacy::ShadowTrade(_)) => true,
        Some(Legacy::Primary(_) | Legacy::Snapshot(_) | Legacy::User(_) | Legacy::Keys(_)) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::Fields;
    use crate::migration::diff::Diff;
    use crate::migration::reason::Reason;
    use crate::migration::stored::Stored;
    use jiff::SignedDuration;

    fn judged(path: &str, reason: Reason, updated_at: Timestamp) -> Judged {
        let document = Stored { path: path.to_owned(), fields: Fields::new(), updated_at };
        Judged { document, diff: Diff { reason, target: None, change: None } }
    }

    #[test]
    fn only_what_is_of_the_past_settled_and_no_longer_written_is_deleted() {
        let verified: Timestamp = "2026-11-29T09:25:52Z".parse().expect("a time");
        let options = Options { left_behind: [Class::Malformed].into(), ..Options::default() };
        let signal = "tradingSignals/s";
        for (path, reason, later, expected) in [
            (signal, Reason::AlreadyThere, 0, Fate::Delete),
            (signal, Reason::Duplicate, -5, Fate::Delete),
            (signal, Reason::Malformed("action"), 0, Fate::Delete),
            (signal, Reason::KeysInside, 0, Fate::Open),
            (signal, Reason::NoOwner, 0, Fate::Open),
            (signal, Reason::TargetIsNewer, 0, Fate::Open),
            (signal, Reason::NotThere, 0, Fate::Open),
            (signal, Reason::AlreadyThere, 1, Fate::WrittenLater),
            ("users/ana/signals/s", Reason::AlreadyThere, 0, Fate::Delete),
            ("users/ana/trading_signals/s", Reason::AlreadyThere, 0, Fate::Delete),
            ("trade_signals/s", Reason::AlreadyThere, 0, Fate::Delete),
            ("shadowTradeHistory/t", Reason::AlreadyThere, 0, Fate::Delete),
            ("alpacaAccounts/snapshot", Reason::OldFigures, 0, Fate::Delete),
            ("alpacaAccounts/snapshot/equity_history/m", Reason::AlreadyThere, 0, Fate::Delete),
            ("tenants/t/accounts/live", Reason::OldFigures, 0, Fate::Delete),
            ("users/ana/data/snapshot", Reason::OldFigures, 0, Fate::Delete),
            ("users/ana", Reason::AlreadyThere, 0, Fate::Keep),
            ("users/ana/alpacaAccounts/snapshot", Reason::Placeholder, 0, Fate::Keep),
            ("tenants/t/accounts/primary", Reason::WithoutOwner, 0, Fate::Keep),
            ("users/ana/secrets/alpaca", Reason::Keys, 0, Fate::Keep),
            ("users/ana/tradingSignals/s", Reason::AlreadyThere, 0, Fate::Keep),
        ] {
            let document = judged(path, reason, verified + SignedDuration::from_secs(later));
            assert_eq!(fate(&document, &options, verified), expected, "{path} {reason:?}");
        }
    }
}
