//! The documents' paths, the names of their fields, and the words that stand in them.
//!
//! Written down once, for whoever writes these documents and whoever reads them. Paths are relative to the database:
//! behind `projects/{project}/databases/{database}/documents/`.
//!
//! ```
//! use account_reader::documents::{InvalidId, snapshot, sync};
//! assert_eq!(snapshot::path("ana")?, "users/ana/alpacaAccounts/snapshot");
//! assert_eq!(snapshot::path("ana/alpacaAccounts/sync"), Err(InvalidId));
//! assert_eq!((sync::STATE, sync::NEEDS_REAUTH), ("state", "needs_reauth"));
//! # Ok::<(), InvalidId>(())
//! ```

/// Why a text cannot be an id in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot be a document's id")]
pub struct InvalidId;

/// One segment of a path, by Firestore's own rules for ids: 1 to 1500 bytes, no slash, not `.`, `..` or `__…__`.
fn id(text: &str) -> Result<&str, InvalidId> {
    let reserved = text == "." || text == ".." || (text.starts_with("__") && text.ends_with("__"));
    let is_id = (1..=1500).contains(&text.len()) && !text.contains('/') && !reserved;
    is_id.then_some(text).ok_or(InvalidId)
}

/// The path with that id in its gap.
fn around([before, behind]: [&str; 2], text: &str) -> Result<String, InvalidId> {
    Ok(format!("{before}{}{behind}", id(text)?))
}

/// `users/{user}/alpacaAccounts/snapshot` and `tenants/{tenant}/accounts/primary`: an account's figures.
pub mod snapshot {
    use super::{InvalidId, around};

    /// What stands before and behind the user's id in [`path`].
    pub const AROUND_USER: [&str; 2] = ["users/", "/alpacaAccounts/snapshot"];

    /// Path of a user's snapshot.
    ///
    /// # Errors
    ///
    /// [`InvalidId`] when the user's id would name another document.
    pub fn path(user: &str) -> Result<String, InvalidId> {
        around(AROUND_USER, user)
    }

    /// What stands before and behind the tenant's id in [`tenant_path`].
    pub const AROUND_TENANT: [&str; 2] = ["tenants/", "/accounts/primary"];

    /// Path of a tenant's document, with the figures of the member whom its `user_id` names.
    ///
    /// # Errors
    ///
    /// [`InvalidId`] when the tenant's id would name another document.
    pub fn tenant_path(tenant: &str) -> Result<String, InvalidId> {
        around(AROUND_TENANT, tenant)
    }

    /// Path of the snapshot of the single account that a deployment without users has.
    pub const LEGACY_PATH: &str = "alpacaAccounts/snapshot";

    /// Text: always [`ALPACA`].
    pub const BROKER: &str = "broker";
    /// The broker's name in [`BROKER`].
    pub const ALPACA: &str = "alpaca";
    /// Text: whose account it is.
    pub const USER_ID: &str = "user_id";
    /// Text, only in a tenant's document: which tenant it is of.
    pub const TENANT_ID: &str = "tenant_id";
    /// Text: Alpaca's id of the account.
    pub const EXTERNAL_ACCOUNT_ID: &str = "external_account_id";
    /// Text: the account's status as Alpaca sent it.
    pub const STATUS: &str = "status";
    /// The only [`STATUS`] in which an account takes orders.
    pub const ACTIVE: &str = "ACTIVE";
    /// Text: `paper` or `live`.
    pub const ENVIRONMENT: &str = "environment";
    /// Text: the figures' currency, as Alpaca sent it.
    pub const CURRENCY: &str = "currency";
    /// Double, in [`CURRENCY`]: what the account is worth.
    pub const EQUITY: &str = "equity";
    /// Double, in [`CURRENCY`]: what orders can spend, credit included.
    pub const BUYING_POWER: &str = "buying_power";
    /// Double, in [`CURRENCY`]: may be negative.
    pub const CASH: &str = "cash";
    /// Double, in [`CURRENCY`], absent if Alpaca sent none: the worth at the end of the trading day before.
    pub const LAST_EQUITY: &str = "last_equity";
    /// Double, in [`CURRENCY`], absent if Alpaca sent none: what orders can spend without credit.
    pub const NON_MARGINABLE_BUYING_POWER: &str = "non_marginable_buying_power";
    /// Map of text: every figure by its field's name, as Alpaca's own decimal text.
    pub const EXACT: &str = "exact";
    /// Text, absent if Alpaca sent none: by how much credit multiplies cash.
    pub const MULTIPLIER: &str = "multiplier";
    /// Bool, absent if Alpaca sent none: Alpaca takes no order.
    pub const TRADING_BLOCKED: &str = "trading_blocked";
    /// Bool, absent if Alpaca sent none: the user can do nothing with the account.
    pub const ACCOUNT_BLOCKED: &str = "account_blocked";
    /// Bool, absent if Alpaca sent none: the user has forbidden orders.
    pub const TRADE_SUSPENDED_BY_USER: &str = "trade_suspended_by_user";
    /// Bool, absent if Alpaca sent none: no money goes in or out.
    pub const TRANSFERS_BLOCKED: &str = "transfers_blocked";
    /// The fields that say that an account is blocked; any of them true is one too many.
    pub const BLOCKS: [&str; 4] =
        [TRADING_BLOCKED, ACCOUNT_BLOCKED, TRADE_SUSPENDED_BY_USER, TRANSFERS_BLOCKED];
    /// Bool, absent if Alpaca sent none; says how an account trades, and blocks nothing.
    pub const PATTERN_DAY_TRADER: &str = "pattern_day_trader";
    /// Timestamp: until when the snapshot may stand unchanged, if nothing else speaks against it.
    pub const FRESH_UNTIL: &str = "fresh_until";
    /// Timestamp: the server's time of the commit.
    pub const UPDATED_AT: &str = "updated_at";
    /// Text, see [`crate::time::parse_iso`]: when Alpaca answered.
    pub const UPDATED_AT_ISO: &str = "updated_at_iso";
    /// Text: the secret's path, never its payload. Not in a tenant's document.
    pub const ENCRYPTED_KEY_PATH: &str = "encrypted_key_path";
    /// Text: the secret's version that the keys were of. Not in a tenant's document.
    pub const KEY_VERSION: &str = "key_version";
    /// Map: Alpaca's whole answer, only where the job was told to store it. Not in a tenant's document.
    pub const RAW: &str = "raw";
}

/// `users/{user}/alpacaAccounts/snapshot/equity_history/{YYYYMMDDHHMM}`: what an account was worth at a minute.
pub mod equity_history {
    use super::{InvalidId, id};

    /// The collection that the entries are in, below the snapshot.
    pub const COLLECTION: &str = "equity_history";

    /// Path of the entry of a minute of UTC, `202601051430`.
    ///
    /// # Errors
    ///
    /// [`InvalidId`] when one of both would name another document.
    pub fn path(user: &str, minute: &str) -> Result<String, InvalidId> {
        Ok(format!("{}/{COLLECTION}/{}", super::snapshot::path(user)?, id(minute)?))
    }

    /// Timestamp: when Alpaca answered.
    pub const TS: &str = "ts";
    /// Double, in the account's currency.
    pub const EQUITY: &str = "equity";
    /// Timestamp: when the entry may be deleted.
    pub const EXPIRES_AT: &str = "expires_at";
}

/// `users/{user}/alpacaAccounts/sync`: what keeps a user from being synced. Absent for who never had trouble.
pub mod sync {
    use super::{InvalidId, around};

    /// The collection that it is in, beside the snapshot.
    pub const COLLECTION: &str = "alpacaAccounts";

    /// What stands before and behind the user's id in [`path`].
    pub const AROUND_USER: [&str; 2] = ["users/", "/alpacaAccounts/sync"];

    /// Path of a user's sync state.
    ///
    /// # Errors
    ///
    /// [`InvalidId`] when the user's id would name another document.
    pub fn path(user: &str) -> Result<String, InvalidId> {
        around(AROUND_USER, user)
    }

    /// Text: [`OK`], [`RETRYING`], [`NEEDS_REAUTH`] or [`INCOMPLETE`].
    pub const STATE: &str = "state";
    /// The last sync was a success.
    pub const OK: &str = "ok";
    /// It failed and is tried again.
    pub const RETRYING: &str = "retrying";
    /// The broker rejects the keys: the user has to connect the account again.
    pub const NEEDS_REAUTH: &str = "needs_reauth";
    /// The account is not open yet.
    pub const INCOMPLETE: &str = "incomplete";
    /// Text: the code of the failure.
    pub const ERROR: &str = "error";
    /// Timestamp: since when [`STATE`] is what it is.
    pub const SINCE: &str = "since";
    /// Timestamp: the first failure after the last success; absent while all is well.
    pub const FAILING_SINCE: &str = "failing_since";
    /// Timestamp: the last success before the trouble; absent for who never synced.
    pub const LAST_SUCCESS_AT: &str = "last_success_at";
    /// Text: the version of the keys of that success.
    pub const LAST_SUCCESS_KEY_VERSION: &str = "last_success_key_version";
    /// Integer: passes in a row in which the broker rejected the keys.
    pub const REJECTIONS: &str = "rejections";
    /// Text: the version of the keys that were tried last.
    pub const KEY_VERSION: &str = "key_version";
    /// Timestamp: when the broker is asked next.
    pub const NEXT_ATTEMPT_AT: &str = "next_attempt_at";
    /// Timestamp: the server's time of the commit.
    pub const UPDATED_AT: &str = "updated_at";
}

/// `ops/last_pulse`: the job's last pass over all users. Only what readers of snapshots need.
pub mod last_pulse {
    /// Path of the document.
    pub const PATH: &str = "ops/last_pulse";

    /// Timestamp: the server's time of the commit.
    pub const TIMESTAMP: &str = "timestamp";
    /// Text: [`OK`], [`DEGRADED`] or [`FAILED`].
    pub const STATUS: &str = "status";
    /// All users went well.
    pub const OK: &str = "ok";
    /// Some users failed.
    pub const DEGRADED: &str = "degraded";
    /// The pass failed.
    pub const FAILED: &str = "failed";
}

/// `users/{user}/tradingSignals/{key}`: what somebody proposes to trade.
pub mod signal {
    use super::{InvalidId, id};

    /// The collection that they are in, below the user.
    pub const COLLECTION: &str = "tradingSignals";

    /// Path of a user's signal.
    ///
    /// # Errors
    ///
    /// [`InvalidId`] when the user's id or the key would name another document.
    pub fn path(user: &str, key: &str) -> Result<String, InvalidId> {
        Ok(format!("users/{}/{COLLECTION}/{}", id(user)?, id(key)?))
    }

    /// Text: what to trade.
    pub const SYMBOL: &str = "symbol";
    /// Text: [`BUY`], [`SELL`] or [`FLAT`].
    pub const ACTION: &str = "action";
    /// To buy.
    pub const BUY: &str = "buy";
    /// To sell.
    pub const SELL: &str = "sell";
    /// To close the whole position.
    pub const FLAT: &str = "flat";
    /// Double: for how many US dollars; absent where nobody knows.
    pub const NOTIONAL_USD: &str = "notional_usd";
    /// Text, for people: why.
    pub const REASON: &str = "reason";
    /// Text: one of the words below.
    pub const STATUS: &str = "status";
    /// Decided and allowed; its money is spoken for until it expires.
    pub const PROPOSED: &str = "proposed";
    /// On its way to the broker.
    pub const EXECUTING: &str = "executing";
    /// The broker took it.
    pub const EXECUTED: &str = "executed";
    /// The broker did not take it.
    pub const FAILED: &str = "failed";
    /// Decided and denied, see [`DENIED_CODE`].
    pub const REJECTED: &str = "rejected";
    /// Taken back before it was executed.
    pub const CANCELLED: &str = "cancelled";
    /// Nobody executed it in time.
    pub const EXPIRED: &str = "expired";
    /// From another time; kept for show.
    pub const ARCHIVED: &str = "archived";
    /// Text, with [`REJECTED`]: a [`crate::DenyCode`].
    pub const DENIED_CODE: &str = "denied_code";
    /// Text: which strategy proposes it.
    pub const STRATEGY_ID: &str = "strategy_id";
    /// Timestamp: when it was proposed.
    pub const CREATED_AT: &str = "created_at";
    /// Timestamp: from when on nobody may execute it.
    pub const EXPIRES_AT: &str = "expires_at";
    /// Text, see [`crate::time::parse_iso`]: the time of the snapshot that it was decided by.
    pub const SNAPSHOT_UPDATED_AT_ISO: &str = "snapshot_updated_at_iso";
    /// Text: [`BACKEND`] or absent. Users can write signals of their own, but never this field.
    pub const PROPOSED_BY: &str = "proposed_by";
    /// Who proposes what may be executed, in [`PROPOSED_BY`].
    pub const BACKEND: &str = "backend";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_document_is_where_the_job_has_it() {
        let ana = "ana@example.com";
        for (path, expected) in [
            (snapshot::path(ana), "users/ana@example.com/alpacaAccounts/snapshot"),
            (sync::path(ana), "users/ana@example.com/alpacaAccounts/sync"),
            (snapshot::tenant_path("acme"), "tenants/acme/accounts/primary"),
            (signal::path(ana, "k1"), "users/ana@example.com/tradingSignals/k1"),
            (
                equity_history::path(ana, "202601051430"),
                "users/ana@example.com/alpacaAccounts/snapshot/equity_history/202601051430",
            ),
        ] {
            assert_eq!(path.as_deref(), Ok(expected));
        }
    }

    #[test]
    fn no_id_leads_to_another_document() {
        let long = "x".repeat(1501);
        for wrong in ["", "a/b", ".", "..", "__all__", long.as_str()] {
            assert_eq!(snapshot::path(wrong), Err(InvalidId), "{wrong}");
            assert_eq!(snapshot::tenant_path(wrong), Err(InvalidId), "{wrong}");
            assert_eq!(sync::path(wrong), Err(InvalidId), "{wrong}");
            assert_eq!(signal::path(wrong, "k"), Err(InvalidId), "{wrong}");
            assert_eq!(signal::path("ana", wrong), Err(InvalidId), "{wrong}");
            assert_eq!(equity_history::path("ana", wrong), Err(InvalidId), "{wrong}");
        }
        assert!(snapshot::path(&long[1..]).is_ok());
        assert!(
            snapshot::path("...").is_ok() && snapshot::path("__a").is_ok() && snapshot::path("a__").is_ok()
        );
    }
}
