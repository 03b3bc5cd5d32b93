//! The documents of the single-tenant layout and of the platform's older writers: where they are, and what becomes of
//! their fields in the documents of today.

mod equity;
mod inside;
mod keys;
mod signal;
mod unreadable;

pub(crate) use self::equity::entry_of_today;
pub(crate) use self::inside::has_keys_inside;
pub(crate) use self::keys::{NoKeys, has_keys, has_keys_below, keys_of};
pub(crate) use self::signal::signal_of_today;
pub(crate) use self::unreadable::Unreadable;

use crate::firestore::reader::Collection;
use crate::model::ids::DocumentId;
use account_reader::documents::{equity_history, signal as signals};

/// Where older writers kept signals, in the order in which one of several with the same id is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalCollection {
    /// `tradingSignals` at the root.
    TradingSignals,
    /// `trade_signals` at the root.
    TradeSignals,
    /// `users/{user}/signals`.
    OfUser,
    /// `users/{user}/trading_signals`.
    TradingOfUser,
}

impl SignalCollection {
    const ALL: [Self; 4] = [Self::TradingSignals, Self::TradeSignals, Self::OfUser, Self::TradingOfUser];

    /// The path of a signal of that id in it, which may be a user's.
    fn path(self, user: &DocumentId, id: &DocumentId) -> String {
        let (user, id) = (user.as_str(), id.as_str());
        match self {
            Self::TradingSignals => format!("tradingSignals/{id}"),
            Self::TradeSignals => format!("trade_signals/{id}"),
            Self::OfUser => format!("users/{user}/signals/{id}"),
            Self::TradingOfUser => format!("users/{user}/trading_signals/{id}"),
        }
    }

    /// The paths of the signals that are taken before this one, if they are that user's too.
    pub(crate) fn rivals(self, user: &DocumentId, id: &DocumentId) -> Vec<String> {
        let before = Self::ALL.into_iter().take_while(|other| *other != self);
        before.map(|other| other.path(user, id)).collect()
    }
}

/// What a legacy document is, by its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Legacy {
    /// `alpacaAccounts/snapshot/equity_history/{minute}`.
    Equity(DocumentId),
    /// Figures that no reader of today reads: `alpacaAccounts/snapshot`, `tenants/{tenant}/accounts/live` or
    /// `users/{user}/data/snapshot`.
    Figures,
    /// `tenants/{tenant}/accounts/primary`.
    Primary(DocumentId),
    /// `users/{user}/alpacaAccounts/snapshot`.
    Snapshot(DocumentId),
    /// A signal, below its user unless it is at the root.
    Signal { collection: SignalCollection, user: Option<DocumentId>, id: DocumentId },
    /// `shadowTradeHistory/{id}`.
    ShadowTrade(DocumentId),
    /// `users/{user}/secrets/alpaca` or `tenants/{tenant}/users/{user}/secrets/alpaca`.
    Keys(DocumentId),
    /// `users/{user}`.
    User(DocumentId),
}

impl Legacy {
    /// What is at that path below the database's root.
    #[must_use]
    pub(crate) fn at(path: &str) -> Option<Self> {
        use SignalCollection::{OfUser, TradeSignals, TradingOfUser, TradingSignals};
        let id = DocumentId::of_existing;
        let segments: Vec<&str> = path.split('/').collect();
        let signal = |collection, user: Option<&str>, signal| {
            Some(Self::Signal { collection, user: user.map(id), id: id(signal) })
        };
        match segments[..] {
            ["alpacaAccounts", "snapshot", "equity_history", minute] => Some(Self::Equity(id(minute))),
            ["alpacaAccounts", "snapshot"]
            | ["tenants", _, "accounts", "live"]
            | ["users", _, "data", "snapshot"] => Some(Self::Figures),
            ["tenants", tenant, "accounts", "primary"] => Some(Self::Primary(id(tenant))),
            ["users", user, "alpacaAccounts", "snapshot"] => Some(Self::Snapshot(id(user))),
            ["tradingSignals", name] => signal(TradingSignals, None, name),
            ["trade_signals", name] => signal(TradeSignals, None, name),
            ["users", user, "signals", name] => signal(OfUser, Some(user), name),
            ["users", user, "trading_signals", name] => signal(TradingOfUser, Some(user), name),
            ["shadowTradeHistory", trade] => Some(Self::ShadowTrade(id(trade))),
            ["users", user, "secrets", "alpaca"] | ["tenants", _, "users", user, "secrets", "alpaca"] => {
                Some(Self::Keys(id(user)))
            }
            ["users", user] => Some(Self::User(id(user))),
            _ => None,
        }
    }

    /// Whether all its fields are copied, into the journal at least.
    #[must_use]
    pub(crate) fn is_kept_whole(&self) -> bool {
        match self {
            Self::Equity(_)
            | Self::Figures
            | Self::Snapshot(_)
            | Self::Signal { .. }
            | Self::ShadowTrade(_) => true,
            Self::Primary(_) | Self::User(_) | Self::Keys(_) => false,
        }
    }
}

/// The collections that together have every legacy document, and others beside them. Those below users and tenants are
/// looked for everywhere, because not all users have a document of their own.
#[must_use]
pub(crate) fn collections() -> [Collection<'static>; 10] {
    let at_root = |id| Collection { parent: "", id, is_group: false, fields: None };
    let group = |id| Collection { is_group: true, ..at_root(id) };
    [
        at_root("tradingSignals"),
        at_root("trade_signals"),
        group("signals"),
        group("trading_signals"),
        at_root("shadowTradeHistory"),
        Collection { parent: "alpacaAccounts/snapshot", ..at_root("equity_history") },
        group("accounts"),
        group("data"),
        group("alpacaAccounts"),
        // What else there is to know of a user is not read: it may be long.
        Collection { fields: Some(&USER_FIELDS), ..at_root("users") },
    ]
}

/// The collections that have keys, of which not even the documents' fields are read to plan.
#[must_use]
pub(crate) fn key_collection() -> Collection<'static> {
    Collection { parent: "", id: "secrets", is_group: true, fields: Some(&["__name__"]) }
}

/// The older name of a user's tenant, and today's.
pub(crate) const OLD_TENANT_ID: &str = "tenantId";
const USER_FIELDS: [&str; 2] = [OLD_TENANT_ID, crate::documents::user::TENANT_ID];

/// The path of a user's signal of today.
pub(crate) fn signal_path(user: &DocumentId, id: &DocumentId) -> Result<String, Unreadable> {
    signals::path(user.as_str(), id.as_str()).map_err(|_| Unreadable("id"))
}

/// The path of an entry of a user's history of today.
pub(crate) fn equity_path(user: &DocumentId, minute: &DocumentId) -> Result<String, Unreadable> {
    equity_history::path(user.as_str(), minute.as_str()).map_err(|_| Unreadable("id"))
}

/// The path of a user's shadow trade of today.
pub(crate) fn shadow_trade_path(user: &DocumentId, id: &DocumentId) -> Result<String, Unreadable> {
    let checked = |id: &DocumentId| DocumentId::parse(id.as_str()).map_err(|_| Unreadable("id"));
    Ok(format!("users/{}/shadowTradeHistory/{}", checked(user)?.as_str(), checked(id)?.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_legacy_document_is_known_by_its_path_and_nothing_else_is() {
        let id = DocumentId::of_existing;
        let signal =
            |collection, user: Option<&str>| Legacy::Signal { collection, user: user.map(id), id: id("s") };
        for (path, expected) in [
            ("alpacaAccounts/snapshot/equity_history/202501051430", Some(Legacy::Equity(id("202501051430")))),
            ("alpacaAccounts/snapshot", Some(Legacy::Figures)),
            ("tenants/local/accounts/live", Some(Legacy::Figures)),
            ("users/ana/data/snapshot", Some(Legacy::Figures)),
            ("tenants/acme/accounts/primary", Some(Legacy::Primary(id("acme")))),
            ("users/ana/alpacaAccounts/snapshot", Some(Legacy::Snapshot(id("ana")))),
            ("tradingSignals/s", Some(signal(SignalCollection::TradingSignals, None))),
            ("trade_signals/s", Some(signal(SignalCollection::TradeSignals, None))),
            ("users/ana/signals/s", Some(signal(SignalCollection::OfUser, Some("ana")))),
            ("users/ana/trading_signals/s", Some(signal(SignalCollection::TradingOfUser, Some("ana")))),
            ("shadowTradeHistory/t", Some(Legacy::ShadowTrade(id("t")))),
            ("users/ana/secrets/alpaca", Some(Legacy::Keys(id("ana")))),
            ("tenants/acme/users/ana/secrets/alpaca", Some(Legacy::Keys(id("ana")))),
            ("users/ana", Some(Legacy::User(id("ana")))),
            ("users/ana/tradingSignals/s", None),
            ("users/ana/alpacaAccounts/sync", None),
            ("users/ana/alpacaAccounts/snapshot/equity_history/202501051430", None),
            ("users/ana/data/other", None),
            ("tenants/acme/users/ana", None),
            ("strategies/x/signals/s", None),
            ("a/b/users/ana/signals/s", None),
            ("alpacaAccounts/other", None),
            ("users/ana/secrets/other", None),
        ] {
            assert_eq!(Legacy::at(path), expected, "{path}");
        }
    }

    #[test]
    fn the_collections_have_every_legacy_document() {
        let collections: Vec<_> = collections().into_iter().chain([key_collection()]).collect();
        for path in [
            "alpacaAccounts/snapshot/equity_history/m",
            "alpacaAccounts/snapshot",
            "tenants/t/accounts/live",
            "users/u/data/snapshot",
            "tenants/t/accounts/primary",
            "users/u/alpacaAccounts/snapshot",
            "tradingSignals/s",
            "trade_signals/s",
            "users/u/signals/s",
            "users/u/trading_signals/s",
            "shadowTradeHistory/t",
            "users/u/secrets/alpaca",
            "tenants/t/users/u/secrets/alpaca",
            "users/u",
        ] {
            let (collection, _) = path.rsplit_once('/').expect("a document");
            let (parent, id) = collection.rsplit_once('/').unwrap_or(("", collection));
            let has = |of: &&Collection<'_>| of.id == id && (of.is_group || of.parent == parent);
            assert_eq!(collections.iter().filter(has).count(), 1, "{path}");
        }
    }

    #[test]
    fn of_several_signals_with_one_id_an_order_says_which_is_taken() {
        let (ana, s) = (DocumentId::of_existing("ana"), DocumentId::of_existing("s"));
        assert_eq!(SignalCollection::TradingSignals.rivals(&ana, &s), [""; 0]);
        assert_eq!(
            SignalCollection::TradingOfUser.rivals(&ana, &s),
            ["tradingSignals/s", "trade_signals/s", "users/ana/signals/s"]
        );
    }

    #[test]
    fn no_id_leads_to_another_document() {
        let id = DocumentId::of_existing;
        assert_eq!(shadow_trade_path(&id("ana"), &id("t")).as_deref(), Ok("users/ana/shadowTradeHistory/t"));
        for paths in [signal_path, equity_path, shadow_trade_path] {
            assert_eq!(paths(&id("__id7__"), &id("s")), Err(Unreadable("id")));
            assert_eq!(paths(&id("ana"), &id("..")), Err(Unreadable("id")));
        }
    }
}
