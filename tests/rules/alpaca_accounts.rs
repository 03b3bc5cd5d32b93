//! `users/{userId}/alpacaAccounts/**`: that user reads it, and only the backend writes it.

use crate::caller::Caller::Anonymous;
use crate::caller::{ANA, BOB, CY, EVE};
use crate::scenario::{create, delete, get, group, list, merge, overwrite};
use crate::scenarios;
use serde_json::json;

scenarios! {
    a_user_gets_their_snapshot: ANA.may(get("users/ana/alpacaAccounts/snapshot"));
    a_user_gets_what_keeps_them_from_being_synced: ANA.may(get("users/ana/alpacaAccounts/sync"));
    a_user_asks_for_a_snapshot_that_does_not_exist_yet: CY.may(get("users/cy/alpacaAccounts/snapshot"));
    a_user_lists_their_accounts: ANA.may(list("users/ana/alpacaAccounts"));
    a_user_gets_what_is_below_a_snapshot: ANA.may(get("users/ana/alpacaAccounts/snapshot/history/monday"));
    a_user_lists_what_is_below_a_snapshot: ANA.may(list("users/ana/alpacaAccounts/snapshot/history"));

    another_user_gets_no_snapshot: BOB.may_not(get("users/ana/alpacaAccounts/snapshot"));
    a_user_with_the_same_tenant_claim_gets_no_snapshot: EVE.may_not(get("users/ana/alpacaAccounts/snapshot"));
    another_user_lists_no_accounts: BOB.may_not(list("users/ana/alpacaAccounts"));
    another_user_gets_nothing_below_a_snapshot:
        BOB.may_not(get("users/ana/alpacaAccounts/snapshot/history/monday"));
    nobody_anonymous_gets_a_snapshot: Anonymous.may_not(get("users/ana/alpacaAccounts/snapshot"));
    nobody_anonymous_lists_accounts: Anonymous.may_not(list("users/ana/alpacaAccounts"));

    nobody_lists_the_accounts_of_all_users: ANA.may_not(group("", "alpacaAccounts"));
    nobody_anonymous_lists_the_accounts_of_all_users: Anonymous.may_not(group("", "alpacaAccounts"));
    nobody_lists_the_accounts_below_another_user: BOB.may_not(group("users/ana", "alpacaAccounts"));
    nobody_lists_the_history_of_all_users: ANA.may_not(group("", "history"));

    a_snapshot_is_not_forged_by_its_user: ANA.may_not(merge(
        "users/ana/alpacaAccounts/snapshot",
        &["equity"],
        json!({"equity": 1e9}),
    ));
    a_snapshot_is_not_overwritten_by_its_user:
        ANA.may_not(overwrite("users/ana/alpacaAccounts/snapshot", json!({"equity": 1e9})));
    a_snapshot_is_not_deleted_by_its_user: ANA.may_not(delete("users/ana/alpacaAccounts/snapshot"));
    a_first_snapshot_is_not_made_by_its_user:
        CY.may_not(create("users/cy/alpacaAccounts/snapshot", json!({"equity": 1e9})));
    another_account_is_not_made_by_its_user:
        ANA.may_not(create("users/ana/alpacaAccounts/other", json!({"equity": 1e9})));
    nothing_is_planted_below_a_snapshot:
        ANA.may_not(create("users/ana/alpacaAccounts/snapshot/history/tuesday", json!({"equity": 1e9})));
    nothing_is_planted_in_a_new_subcollection:
        ANA.may_not(create("users/ana/alpacaAccounts/snapshot/a/b/c/d", json!({"equity": 1e9})));
    nothing_below_a_snapshot_is_changed: ANA.may_not(merge(
        "users/ana/alpacaAccounts/snapshot/history/monday",
        &["equity"],
        json!({"equity": 1e9}),
    ));
    nothing_below_a_snapshot_is_deleted: ANA.may_not(delete("users/ana/alpacaAccounts/snapshot/history/monday"));
    trouble_is_not_talked_away_by_its_user:
        ANA.may_not(merge("users/ana/alpacaAccounts/sync", &["state"], json!({"state": "ok"})));
    trouble_is_not_deleted_by_its_user: ANA.may_not(delete("users/ana/alpacaAccounts/sync"));

    another_user_forges_no_snapshot: BOB.may_not(merge(
        "users/ana/alpacaAccounts/snapshot",
        &["equity"],
        json!({"equity": 0.0}),
    ));
    another_user_deletes_no_snapshot: BOB.may_not(delete("users/ana/alpacaAccounts/snapshot"));
    nobody_anonymous_forges_a_snapshot:
        Anonymous.may_not(overwrite("users/ana/alpacaAccounts/snapshot", json!({"equity": 0.0})));
}
