//! `users/{userId}/tradingSignals/{signalId}`: that user reads and writes it, but a signal of the backend's, which has
//! `proposed_by`, is only taken back.

use crate::caller::Caller::Anonymous;
use crate::caller::{ANA, BOB};
use crate::scenario::{create, delete, get, group, increment, list, merge, newest, overwrite};
use crate::scenarios;
use serde_json::json;

scenarios! {
    a_user_gets_their_signal: ANA.may(get("users/ana/tradingSignals/buy"));
    a_user_lists_their_signals: ANA.may(list("users/ana/tradingSignals"));
    a_user_creates_a_signal: ANA.may(create("users/ana/tradingSignals/sell", json!({"text": "sell"})));
    a_user_changes_their_signal: ANA.may(merge("users/ana/tradingSignals/buy", &["text"], json!({"text": "y"})));
    a_user_overwrites_their_signal: ANA.may(overwrite("users/ana/tradingSignals/buy", json!({"side": "y"})));
    a_user_deletes_their_signal: ANA.may(delete("users/ana/tradingSignals/buy"));

    another_user_gets_no_signal: BOB.may_not(get("users/ana/tradingSignals/buy"));
    another_user_lists_no_signals: BOB.may_not(list("users/ana/tradingSignals"));
    another_user_creates_no_signal:
        BOB.may_not(create("users/ana/tradingSignals/sell", json!({"text": "sell"})));
    another_user_changes_no_signal:
        BOB.may_not(merge("users/ana/tradingSignals/buy", &["text"], json!({"text": "y"})));
    another_user_deletes_no_signal: BOB.may_not(delete("users/ana/tradingSignals/buy"));
    nobody_anonymous_gets_a_signal: Anonymous.may_not(get("users/ana/tradingSignals/buy"));
    nobody_anonymous_lists_signals: Anonymous.may_not(list("users/ana/tradingSignals"));
    nobody_anonymous_creates_a_signal:
        Anonymous.may_not(create("users/ana/tradingSignals/sell", json!({"text": "sell"})));
    nobody_anonymous_deletes_a_signal: Anonymous.may_not(delete("users/ana/tradingSignals/buy"));

    a_user_reads_what_the_backend_proposed: ANA.may(get("users/ana/tradingSignals/proposed"));
    a_user_lists_what_is_proposed_newest_first: ANA.may(newest("users/ana/tradingSignals", "proposed"));
    another_user_lists_nothing_that_is_proposed: BOB.may_not(newest("users/ana/tradingSignals", "proposed"));

    a_signal_is_not_made_the_backends_on_create:
        ANA.may_not(create("users/ana/tradingSignals/sell", json!({"proposed_by": "backend"})));
    a_signal_is_not_made_anybody_elses_on_create:
        ANA.may_not(create("users/ana/tradingSignals/sell", json!({"text": "x", "proposed_by": "ana"})));
    a_null_proposer_is_one_on_create:
        ANA.may_not(create("users/ana/tradingSignals/sell", json!({"proposed_by": null})));
    a_map_of_a_proposer_is_one_on_create:
        ANA.may_not(overwrite("users/ana/tradingSignals/sell", json!({"proposed_by": {"id": "backend"}})));
    a_signal_is_not_made_the_backends_by_the_server_on_create:
        ANA.may_not(increment("users/ana/tradingSignals/sell", "proposed_by"));
    a_signal_is_not_made_the_backends_by_a_change: ANA.may_not(merge(
        "users/ana/tradingSignals/buy",
        &["proposed_by"],
        json!({"proposed_by": "backend"}),
    ));
    a_signal_is_not_made_the_backends_among_other_fields: ANA.may_not(merge(
        "users/ana/tradingSignals/buy",
        &["text", "proposed_by"],
        json!({"text": "y", "proposed_by": "backend"}),
    ));
    a_signal_is_not_made_the_backends_by_overwriting: ANA.may_not(overwrite(
        "users/ana/tradingSignals/buy",
        json!({"status": "proposed", "proposed_by": "backend"}),
    ));
    a_signal_is_not_made_the_backends_by_the_server:
        ANA.may_not(increment("users/ana/tradingSignals/buy", "proposed_by"));
    a_null_proposer_is_not_added:
        ANA.may_not(merge("users/ana/tradingSignals/buy", &["proposed_by"], json!({"proposed_by": null})));
    a_user_sets_the_status_of_their_own_signal:
        ANA.may(merge("users/ana/tradingSignals/buy", &["status"], json!({"status": "executed"})));

    a_proposed_signal_is_taken_back:
        ANA.may(merge("users/ana/tradingSignals/proposed", &["status"], json!({"status": "cancelled"})));
    a_proposed_signal_is_taken_back_by_overwriting_it_as_it_is: ANA.may(overwrite(
        "users/ana/tradingSignals/proposed",
        json!({"symbol": "SPY", "status": "cancelled", "created_at": 1.0, "proposed_by": "backend"}),
    ));
    another_user_takes_no_signal_back:
        BOB.may_not(merge("users/ana/tradingSignals/proposed", &["status"], json!({"status": "cancelled"})));
    nobody_anonymous_takes_a_signal_back:
        Anonymous.may_not(merge("users/ana/tradingSignals/proposed", &["status"], json!({"status": "cancelled"})));
    a_signal_on_its_way_is_not_taken_back:
        ANA.may_not(merge("users/ana/tradingSignals/executing", &["status"], json!({"status": "cancelled"})));
    a_signal_of_the_backends_without_a_status_is_not_taken_back:
        ANA.may_not(merge("users/ana/tradingSignals/bare", &["status"], json!({"status": "cancelled"})));
    a_proposed_signal_is_not_executed_by_its_user:
        ANA.may_not(merge("users/ana/tradingSignals/proposed", &["status"], json!({"status": "executed"})));
    a_proposed_signal_does_not_lose_its_status:
        ANA.may_not(merge("users/ana/tradingSignals/proposed", &["status"], json!({})));
    a_signal_is_not_changed_while_it_is_taken_back: ANA.may_not(merge(
        "users/ana/tradingSignals/proposed",
        &["status", "notional_usd"],
        json!({"status": "cancelled", "notional_usd": 0.0}),
    ));
    a_proposed_amount_is_not_changed: ANA.may_not(merge(
        "users/ana/tradingSignals/proposed",
        &["notional_usd"],
        json!({"notional_usd": 1e6}),
    ));
    a_field_is_not_added_to_a_proposed_signal:
        ANA.may_not(merge("users/ana/tradingSignals/proposed", &["text"], json!({"text": "y"})));
    the_proposer_is_not_changed:
        ANA.may_not(merge("users/ana/tradingSignals/proposed", &["proposed_by"], json!({"proposed_by": "ana"})));
    the_proposer_is_not_removed:
        ANA.may_not(merge("users/ana/tradingSignals/proposed", &["proposed_by"], json!({})));
    the_proposer_is_not_removed_by_overwriting: ANA.may_not(overwrite(
        "users/ana/tradingSignals/proposed",
        json!({"symbol": "SPY", "status": "cancelled", "created_at": 1.0}),
    ));
    a_proposed_signal_is_not_deleted: ANA.may_not(delete("users/ana/tradingSignals/proposed"));
    a_signal_on_its_way_is_not_deleted: ANA.may_not(delete("users/ana/tradingSignals/executing"));

    nobody_lists_the_signals_of_all_users: ANA.may_not(group("", "tradingSignals"));
    nothing_below_a_signal_is_read: ANA.may_not(get("users/ana/tradingSignals/buy/notes/one"));
    nothing_below_a_signal_is_written:
        ANA.may_not(create("users/ana/tradingSignals/buy/notes/two", json!({"text": "x"})));
}
