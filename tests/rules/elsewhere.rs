//! The legacy paths and everything that the rules do not name: nobody reads and nobody writes.

use crate::caller::Caller::Anonymous;
use crate::caller::{ANA, BOB};
use crate::scenario::{create, delete, get, group, list, merge};
use crate::scenarios;
use serde_json::json;

scenarios! {
    the_legacy_snapshot_is_not_read: ANA.may_not(get("alpacaAccounts/snapshot"));
    a_legacy_account_of_ones_own_name_is_not_read: ANA.may_not(get("alpacaAccounts/ana"));
    legacy_accounts_are_not_listed: ANA.may_not(list("alpacaAccounts"));
    nothing_below_a_legacy_account_is_read: ANA.may_not(get("alpacaAccounts/ana/history/monday"));
    a_legacy_account_is_not_created: ANA.may_not(create("alpacaAccounts/new", json!({"equity": 1e9})));
    the_legacy_snapshot_is_not_changed:
        ANA.may_not(merge("alpacaAccounts/snapshot", &["equity"], json!({"equity": 1e9})));
    the_legacy_snapshot_is_not_deleted: ANA.may_not(delete("alpacaAccounts/snapshot"));
    nothing_below_a_legacy_account_is_created:
        ANA.may_not(create("alpacaAccounts/ana/history/tuesday", json!({"equity": 1e9})));

    a_legacy_signal_is_not_read: ANA.may_not(get("tradingSignals/buy"));
    legacy_signals_are_not_listed: ANA.may_not(list("tradingSignals"));
    nothing_below_a_legacy_signal_is_read: ANA.may_not(get("tradingSignals/buy/notes/one"));
    a_legacy_signal_is_not_created: ANA.may_not(create("tradingSignals/sell", json!({"text": "x"})));
    a_legacy_signal_is_not_changed: ANA.may_not(merge("tradingSignals/buy", &["text"], json!({"text": "y"})));
    a_legacy_signal_is_not_deleted: ANA.may_not(delete("tradingSignals/buy"));
    nothing_below_a_legacy_signal_is_created:
        ANA.may_not(create("tradingSignals/buy/notes/two", json!({"text": "x"})));

    keys_in_a_document_are_not_read_by_their_user: ANA.may_not(get("users/ana/secrets/alpaca"));
    keys_in_a_document_are_not_read_by_another_user: BOB.may_not(get("users/ana/secrets/alpaca"));
    keys_in_a_document_are_not_listed: ANA.may_not(group("", "secrets"));
    keys_are_not_put_into_a_document: ANA.may_not(create("users/ana/secrets/new", json!({"key_id": "PK2"})));
    keys_in_a_document_are_not_changed:
        ANA.may_not(merge("users/ana/secrets/alpaca", &["key_id"], json!({"key_id": "PK2"})));
    keys_in_a_tenants_document_are_not_read: ANA.may_not(get("tenants/acme/users/ana/secrets/alpaca"));
    keys_in_a_tenants_document_are_not_changed:
        ANA.may_not(merge("tenants/acme/users/ana/secrets/alpaca", &["key_id"], json!({"key_id": "PK2"})));

    an_unknown_subcollection_of_a_user_is_not_read: ANA.may_not(get("users/ana/notes/one"));
    an_unknown_subcollection_of_a_user_is_not_listed: ANA.may_not(list("users/ana/notes"));
    an_unknown_subcollection_of_a_user_is_not_created:
        ANA.may_not(create("users/ana/notes/two", json!({"text": "x"})));
    an_unknown_subcollection_of_a_user_is_not_deleted: ANA.may_not(delete("users/ana/notes/one"));
    an_unknown_group_is_not_listed: ANA.may_not(group("", "notes"));
    an_unknown_collection_is_not_read: ANA.may_not(get("unknown/one"));
    an_unknown_collection_is_not_read_anonymously: Anonymous.may_not(get("unknown/one"));
    an_unknown_collection_is_not_created: ANA.may_not(create("unknown/two", json!({"text": "x"})));
    an_unknown_collection_is_not_changed: ANA.may_not(merge("unknown/one", &["text"], json!({"text": "y"})));
}
