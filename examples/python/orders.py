"""Whether an order may go out, on the snapshot that reader.py judged. Amounts are exact decimals.

Only `read` needs a client. Nothing here reserves money: two programs that decide at once may decide for the same. Where
that can be, propose (crates/account-reader).
"""

from datetime import datetime, timedelta, timezone
from decimal import Context, Decimal

from reader import decimal, parse_iso

UNSEEN = timedelta(seconds=60)  # So long before the broker's answer an order may be executed that it does not show.
EXACT = Context(prec=2000)  # Python's own rounds to 28 digits.
FUNDS = ("buying_power", "non_marginable_buying_power", "cash")
LATEST_EXECUTION = timedelta(hours=24)  # So long after its end a signal may become executed; it begins before that.
OVER = ("rejected", "failed", "cancelled", "expired", "archived")


def read(client, user, document):
    """The user's signals that may be pending on that snapshot's document, with the time of their last write. Needs the
    index on `proposed_by`, `status` and `expires_at` of firestore.indexes.json."""
    from google.cloud.firestore import FieldFilter as Where  # What is pure needs no client.

    now = datetime.now(timezone.utc)
    since = min(parse_iso((document or {}).get("updated_at_iso")) or now, now) - LATEST_EXECUTION
    signals = client.collection(f"users/{user}/tradingSignals").where(filter=Where("proposed_by", "==", "backend"))
    executing = signals.where(filter=Where("status", "==", "executing"))
    others = signals.where(filter=Where("status", "in", ["proposed", "executed"]))
    others = others.where(filter=Where("expires_at", ">", since))
    return [(found.to_dict(), found.update_time) for query in (executing, others) for found in query.stream(timeout=10)]


def pending_sum(signals, snapshot, now):
    """What is spoken for, in US dollars, or None if that is not known. `signals` are pairs of a document and the time
    of its last write (`update_time`), of all the user's that are proposed, executing or executed."""
    amounts = [amount(signal) for signal, written in signals if is_pending(signal, written, snapshot, now)]
    return None if None in amounts else sum_of(amounts)


def sum_of(amounts):
    total = Decimal(0)
    for each in amounts:
        total = EXACT.add(total, each)
    return total


def is_pending(signal, written, snapshot, now):
    # Users can write signals of their own, which move no money.
    if signal.get("proposed_by") != "backend" or signal.get("action") in ("sell", "flat"):
        return False
    status, expiry = signal.get("status"), signal.get("expires_at")
    if status == "proposed":
        return not isinstance(expiry, datetime) or now < expiry
    if status == "executed":
        is_known = isinstance(written, datetime) and snapshot.updated_at is not None
        return not is_known or written > snapshot.updated_at - UNSEEN
    return status not in OVER


def amount(signal):
    number = signal.get("notional_usd")
    if type(number) not in (int, float) or not 0 <= number < float("inf"):
        return None
    return decimal(repr(float(number)))


def decide(order, snapshot, policy, pending):
    """{"allow": the most that may be spent} or {"deny": code}; of several causes the first one.

    `order` has user, side, notional and closes (it only reduces a position: True and nothing else), `policy`
    environment, currency, funds (the figure that pays, one of FUNDS) and reserve; `pending` is the sum above. Judge the
    snapshot at the moment of the order."""
    if policy["funds"] not in FUNDS:
        raise ValueError(f"no figure that pays: {policy['funds']}")
    try:
        check_terms(order, policy, pending)
        check_standing(order, snapshot, policy)
        if order["closes"] is True:  # Never denied for money or age.
            return {"allow": order["notional"]}
        return {"allow": available(order, snapshot, policy, pending)}
    except Denied as denied:
        return {"deny": str(denied)}


class Denied(Exception):
    """Why, as a code."""


def deny_if(is_so, code):
    if is_so:
        raise Denied(code)


def check_terms(order, policy, pending):
    amounts = (order["notional"], policy["reserve"], pending or Decimal(0))
    # A NaN is neither less than 0 nor anything else.
    deny_if(not all(each.is_finite() and each >= 0 for each in amounts), "invalid_order")
    deny_if(order["notional"] == 0 and order["closes"] is not True, "invalid_order")


def check_standing(order, snapshot, policy):
    deny_if(snapshot.verdict == "missing", "snapshot_missing")
    deny_if(snapshot.standing is None, "snapshot_malformed")
    user, environment, blocks = snapshot.standing
    deny_if(user != order["user"], "other_user")
    deny_if(environment != policy["environment"], "environment")
    deny_if(blocks, "blocked")


def available(order, snapshot, policy, pending):
    deny_if(snapshot.verdict != "fresh", f"snapshot_{snapshot.verdict}")
    deny_if(snapshot.sync == "needs_reauth", "needs_reauth")
    deny_if(snapshot.sync == "unknown", "sync_unknown")
    deny_if(snapshot.account["status"] != "ACTIVE", "status")
    deny_if(snapshot.account["currency"] != policy["currency"], "currency")
    # What is pending is in dollars, and so not known in anything else.
    deny_if(pending is None or (pending != 0 and policy["currency"] != "USD"), "pending_unknown")
    funds = snapshot.figures[policy["funds"]]
    deny_if(funds is None, "funds_unknown")
    free = EXACT.subtract(EXACT.subtract(funds, policy["reserve"]), pending)
    deny_if(order["notional"] > free, "insufficient_funds")
    return free
