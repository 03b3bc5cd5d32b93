"""What a backend may conclude from the account snapshots that pulse keeps in Firestore.

Amounts are exact decimals in the account's currency, times are datetimes of UTC. Only `read` needs a client, of
google-cloud-firestore. The rules are those of crates/account-reader, whose cases are this file's test.
"""

import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

MAX_AGE, MAX_AHEAD = timedelta(seconds=300), timedelta(seconds=60)
BLOCKS = ("trading_blocked", "account_blocked", "trade_suspended_by_user", "transfers_blocked")
REQUIRED, OPTIONAL = ("equity", "buying_power", "cash"), ("last_equity", "non_marginable_buying_power")
UNREAD = object()  # A document that nobody asked for; None is one that is not there.


class Malformed(Exception):  # Names the first field that is not what pulse writes there.
    pass


class Snapshot(NamedTuple):
    """`verdict` is fresh, stale, missing or malformed; only a fresh one's figures are money to trade on."""

    verdict: str
    source: str
    sync: str
    field: str | None = None
    age: timedelta | None = None
    figures: dict | None = None
    account: dict | None = None  # The whole document.
    updated_at: datetime | None = None
    standing: tuple | None = None  # User, environment, blocks; of a malformed one if they can be read.


def read(client, user):
    """The user's documents; an answer that fails is the client's exception, never a missing document."""
    if not user or "/" in user:
        raise ValueError("no user's id")
    paths = [f"users/{user}/alpacaAccounts/snapshot", f"users/{user}/alpacaAccounts/sync", "ops/last_pulse"]
    answers = client.get_all(map(client.document, paths), timeout=10)
    found = {document.reference.path: document.to_dict() for document in answers}
    return [found.get(path) for path in paths]


def decimal(text):
    """Reads what pulse writes into `exact`; a text that is no finite decimal is a ValueError."""
    is_decimal = re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text) and len(text) <= 100
    is_zero = not re.search("[1-9]", re.split("[eE]", text)[0])
    if not is_decimal or abs(float(text)) == float("inf") or (float(text) == 0) != is_zero:
        raise ValueError("no decimal that a double holds")
    return Decimal(0) if is_zero else Decimal(text)


def parse_iso(text):
    """Reads 2026-01-05T14:30:00.123Z; None for any other form, also of the same time."""
    try:
        time = datetime.fromisoformat(text[:-1] + "+00:00")
    except (TypeError, ValueError):
        return None
    return time if time.year >= 1970 and time.isoformat(timespec="milliseconds")[:-6] + "Z" == text else None


def is_number(value):  # Not isinstance: True is an int there.
    return type(value) in (int, float) and abs(float(value)) < float("inf")


def is_text(value):
    return isinstance(value, str) and value != ""


def check(is_good, field):
    if not is_good:
        raise Malformed(field)


def figure(document, name):
    """The figure in `exact`, which the number beside it has to be the nearest double of."""
    check(name not in document or is_number(document[name]), name)
    check(isinstance(document.get("exact"), dict), "exact")
    text = document["exact"].get(name)
    if name in OPTIONAL and name not in document["exact"]:  # Not sent; the number is what another version left.
        return None
    check(name in document, name)
    try:
        value = decimal(text)
    except (TypeError, ValueError):
        raise Malformed(f"exact.{name}") from None
    check(float(document[name]) == float(text), name)
    return value


def standing_of(document, source, owner):
    check(document.get("broker") == "alpaca", "broker")
    if source != "legacy":
        name = {"user": "user_id", "tenant": "tenant_id"}[source]
        check(is_text(owner) and document.get(name) == owner, name)
    check(is_text(document.get("user_id")), "user_id")
    check(document.get("environment") in ("paper", "live"), "environment")
    for name in BLOCKS:
        check(isinstance(document.get(name, False), bool), name)
    return document["user_id"], document["environment"], [name for name in BLOCKS if document.get(name)]


def account_of(document, source, owner):
    updated_at = parse_iso(document.get("updated_at_iso"))
    check(updated_at, "updated_at_iso")
    figures = {name: figure(document, name) for name in REQUIRED + OPTIONAL}
    standing = standing_of(document, source, owner)
    for name in ("external_account_id", "status", "currency"):
        check(is_text(document.get(name)), name)
    check(isinstance(document.get("multiplier", ""), str), "multiplier")
    check(isinstance(document.get("pattern_day_trader", False), bool), "pattern_day_trader")
    return {"account": document, "updated_at": updated_at, "figures": figures, "standing": standing}


def sync_state(sync):
    if sync is None:
        return "ok"
    is_clear = sync is not UNREAD and isinstance(sync.get("failing_since", datetime.min), datetime)
    is_known = is_clear and sync.get("state") in ("ok", "retrying", "needs_reauth", "incomplete")
    return sync["state"] if is_known else "unknown"


def may_stand(document, sync, pulse, now):
    """A job that stopped, or a user who fails, makes nobody's old money look fresh."""
    is_well = sync_state(sync) == "ok" and "failing_since" not in (sync or {})
    until, at = document.get("fresh_until"), isinstance(pulse, dict) and pulse.get("timestamp")
    if not (is_well and isinstance(until, datetime) and isinstance(at, datetime)):
        return False
    return now < until and pulse.get("status") in ("ok", "degraded") and -MAX_AHEAD <= now - at <= MAX_AGE


def judge(document, sync, pulse, now, source, owner=None):
    """What the documents are worth at a time after their read: `source` is user, tenant or legacy, `owner` whose."""
    said = Snapshot("missing", source, sync_state(sync))
    if document is None:
        return said
    try:
        said = said._replace(**account_of(document, source, owner))
        check((age := now - said.updated_at) >= -MAX_AHEAD, "updated_at_iso")
    except Malformed as malformed:
        said = Snapshot("malformed", source, said.sync, field=str(malformed))
        try:
            return said._replace(standing=standing_of(document, source, owner))
        except Malformed:
            return said
    verdict = "fresh" if age <= MAX_AGE or may_stand(document, sync, pulse, now) else "stale"
    return said._replace(verdict=verdict, age=max(age, timedelta(0)))
