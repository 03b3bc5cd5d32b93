"""Runs the cases of crates/account-reader/vectors: python3 -m unittest discover examples/python"""

import contextlib
import datetime as clocks
import io
import json
import runpy
import types
import unittest
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from unittest import mock

import orders
import reader

VECTORS = Path(__file__).parents[2] / "crates/account-reader/vectors"
FIELDS = {"name", "why", "now", "source", "snapshot", "sync", "last_pulse", "expected"}


def time(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


VALUES = {
    "nullValue": lambda value: value,
    "booleanValue": lambda value: value,
    "integerValue": int,
    "doubleValue": float,
    "timestampValue": time,
    "stringValue": lambda value: value,
    "mapValue": lambda value: values(value["fields"]),
}


def value(typed):
    ((kind, written),) = typed.items()
    return VALUES[kind](written)


def values(fields):
    return {name: value(typed) for name, typed in fields.items()}


def place(document, name):
    first, _, rest = name.partition(".")
    return (document[first], rest) if rest else (document, first)


class File:
    def __init__(self, name, fields):
        file = json.loads((VECTORS / name).read_text())
        assert set(file) == {"documents", "cases"}, set(file)
        self.templates, self.cases = file["documents"], file["cases"]
        for case in self.cases:
            assert set(case) == fields, case["name"]

    def document(self, case):
        if case in (None, "unread"):
            return reader.UNREAD if case else None
        assert set(case) == {"base", "set", "remove"}, case
        document = values(self.templates[case["base"]])
        for name in case["remove"]:
            where, name = place(document, name)
            del where[name]
        for name, typed in case["set"].items():
            where, name = place(document, name)
            where[name] = value(typed)
        return document

    def judge(self, case):
        ((source, owner),) = case["source"].items()
        documents = [self.document(case[name]) for name in ("snapshot", "sync", "last_pulse")]
        return reader.judge(*documents, time(case["now"]), source, owner)


def plain(number):
    text = format(number.normalize(orders.EXACT), "f")
    return "0" if number == 0 else text


def said_of(snapshot):
    said = {"verdict": snapshot.verdict, "source": snapshot.source, "sync": snapshot.sync}
    if snapshot.verdict == "malformed":
        said["field"] = snapshot.field
    if snapshot.verdict in ("fresh", "stale"):
        said["age_ms"] = snapshot.age // timedelta(milliseconds=1)
        figures = snapshot.figures.items()
        said["figures"] = {name: plain(figure) for name, figure in figures if figure is not None}
    return said


class Vectors(unittest.TestCase):
    def test_snapshots(self):
        file = File("snapshots.json", FIELDS)
        self.assertGreaterEqual(len(file.cases), 60)
        for case in file.cases:
            with self.subTest(case["name"], why=case["why"]):
                self.assertEqual(said_of(file.judge(case)), case["expected"])
        print(f"snapshots.json: {len(file.cases)} cases")

    def test_decisions(self):
        file = File("decisions.json", FIELDS | {"order", "policy", "signals"})
        self.assertGreaterEqual(len(file.cases), 60)
        for case in file.cases:
            with self.subTest(case["name"], why=case["why"]):
                self.assertEqual(self.decided(file, case), case["expected"])
        print(f"decisions.json: {len(file.cases)} cases")

    def decided(self, file, case):
        snapshot, now = file.judge(case), time(case["now"])
        signals = [
            (file.document(signal["document"]), signal["update_time"] and time(signal["update_time"]))
            for signal in case["signals"]
        ]
        order = {**case["order"], "notional": Decimal(case["order"]["notional"])}
        policy = {**case["policy"], "reserve": Decimal(case["policy"]["reserve"])}
        decision = orders.decide(order, snapshot, policy, orders.pending_sum(signals, snapshot, now))
        return {"allow": {"max_notional": plain(decision["allow"])}} if "allow" in decision else decision


class Amounts(unittest.TestCase):
    def test_no_amount_that_is_no_number_is_allowed(self):
        file = File("decisions.json", FIELDS | {"order", "policy", "signals"})
        snapshot = file.judge(file.cases[0])
        order = {"user": "ana", "side": "buy", "notional": Decimal(1), "closes": False}
        policy = {"environment": "paper", "currency": "USD", "funds": "cash", "reserve": Decimal(0)}
        self.assertIn("allow", orders.decide(order, snapshot, policy, Decimal(0)))
        for text in ("NaN", "sNaN", "Infinity", "-Infinity"):
            wrong = Decimal(text)
            for decision in (
                orders.decide({**order, "notional": wrong}, snapshot, policy, Decimal(0)),
                orders.decide(order, snapshot, {**policy, "reserve": wrong}, Decimal(0)),
                orders.decide(order, snapshot, policy, wrong),
            ):
                self.assertEqual(decision, {"deny": "invalid_order"}, text)


class Arguments(unittest.TestCase):
    def test_nothing_but_true_closes_and_only_what_pays_is_funds(self):
        file = File("decisions.json", FIELDS | {"order", "policy", "signals"})
        snapshot = file.judge(file.cases[0])
        order = {"user": "ana", "side": "buy", "notional": Decimal(1_000_000), "closes": False}
        policy = {"environment": "paper", "currency": "USD", "funds": "cash", "reserve": Decimal(0)}
        for closes in ("false", "true", 1, [1], None):
            for notional, code in ((order["notional"], "insufficient_funds"), (Decimal(0), "invalid_order")):
                asked = {**order, "closes": closes, "notional": notional}
                self.assertEqual(orders.decide(asked, snapshot, policy, Decimal(0)), {"deny": code}, closes)
        self.assertIn("allow", orders.decide({**order, "closes": True}, snapshot, policy, Decimal(0)))
        for funds in ("equity", "last_equity", "", None):
            with self.assertRaises(ValueError):
                orders.decide(order, snapshot, {**policy, "funds": funds}, Decimal(0))

    def test_what_was_executed_counts_in_full_where_nobody_knows_when(self):
        now = time("2026-01-05T14:30:00.000Z")
        snapshot = reader.Snapshot("fresh", "user", "ok", updated_at=now)
        signal = {"proposed_by": "backend", "action": "buy", "status": "executed", "notional_usd": 5}
        for written in (None, 0, "", now.timestamp(), now):
            self.assertEqual(orders.pending_sum([(signal, written)], snapshot, now), 5, written)
        self.assertEqual(orders.pending_sum([(signal, now - orders.UNSEEN)], snapshot, now), 0)

    def test_an_owner_that_is_none_owns_nothing(self):
        file = File("snapshots.json", FIELDS)
        user = file.document({"base": "user", "set": {}, "remove": []})
        for source in ("user", "tenant"):
            judged = reader.judge(user, None, None, time(file.cases[0]["now"]), source)
            self.assertEqual(judged.verdict, "malformed")


class Reference:
    def __init__(self, path, fields):
        self.path, self.fields, self.reference = path, fields, self

    def to_dict(self):
        return self.fields


class Client:
    """As google-cloud-firestore's: what it gets comes in any order."""

    def __init__(self, documents):
        self.documents = documents

    def document(self, path):
        return Reference(path, self.documents.get(path))

    def get_all(self, references, timeout):
        return reversed(list(references))


class Reading(unittest.TestCase):
    def test_the_documents_of_a_user_are_read_whatever_their_order(self):
        file = File("snapshots.json", FIELDS)
        user, failing = (file.document({"base": base, "set": {}, "remove": []}) for base in ("user", "failing"))
        client = Client({"users/ana/alpacaAccounts/snapshot": user, "users/ana/alpacaAccounts/sync": failing})
        now = time("2026-01-05T14:31:00.000Z")
        for owner, expected in (("ana", ("fresh", "user", "retrying")), ("bob", ("missing", "user", "ok"))):
            documents = reader.read(client, owner)
            self.assertEqual(reader.judge(*documents, now, "user", owner)[:3], expected)

    def test_no_id_leads_to_another_document(self):
        for wrong in ("", "a/b", "../x"):
            with self.assertRaises(ValueError):
                reader.read(Client({}), wrong)


class SlowClient(Client):
    """Its answers take long, by `Clock`."""

    def get_all(self, references, timeout):
        Clock.time += timedelta(seconds=25)
        return super().get_all(references, timeout)

    def collection(self, path):
        return self

    def where(self, filter):
        return self

    def stream(self, timeout):
        Clock.time += timedelta(seconds=25)
        return []


class Clock(datetime):
    @classmethod
    def now(cls, zone):
        return cls.time


class Backend(unittest.TestCase):
    def run_at(self, text):
        """What the program says of the money, begun at that time."""
        user = File("snapshots.json", FIELDS).document({"base": "user", "set": {}, "remove": ["fresh_until"]})
        client = SlowClient({"users/ana/alpacaAccounts/snapshot": user})
        library = types.SimpleNamespace(Client=lambda project: client, FieldFilter=lambda *terms: terms)
        cloud = types.SimpleNamespace(firestore=library)
        modules = {"google": types.SimpleNamespace(), "google.cloud": cloud, "google.cloud.firestore": library}
        modules["datetime"] = types.SimpleNamespace(datetime=Clock, timezone=clocks.timezone)
        Clock.time = time(f"2026-01-05T{text}.000Z")
        program = str(Path(__file__).with_name("backend.py"))
        said = io.StringIO()
        arguments = mock.patch("sys.argv", [program, "my-project", "ana", "400"])
        with mock.patch.dict("sys.modules", modules), arguments, contextlib.redirect_stdout(said):
            runpy.run_path(program, run_name="__main__")
        return said.getvalue().splitlines()[1:]

    def test_figures_are_as_old_as_they_are_after_the_last_read(self):
        # They are of 14:30:00, and three reads take 75 s.
        self.assertEqual(self.run_at("14:33:45"), ["500.05 USD, 300 s old", "allowed, up to 400.05"])
        self.assertEqual(self.run_at("14:33:46"), ["500.05 USD, 301 s old", "denied: snapshot_stale"])


if __name__ == "__main__":
    unittest.main()
