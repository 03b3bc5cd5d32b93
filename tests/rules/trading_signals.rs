//! `users/{userId}/tradingSignals/{signalId}`: that user reads and writes it.

use crate::caller::Caller::Anonymous;
use crate::caller::{ANA, BOB};
use crate::scenario::{create, delete, get, group, list, merge, overwrite};
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

    nobody_lists_the_signals_of_all_users: ANA.may_not(group("", "tradingSignals"));
    nothing_below_a_signal_is_read: ANA.may_not(get("users/ana/tradingSignals/buy/notes/one"));
    nothing_below_a_signal_is_written:
        ANA.may_not(create("users/ana/tradingSignals/buy/notes/two", json!({"text": "x"})));
}
