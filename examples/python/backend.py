"""Shows a user's money, and says whether an order may go out: python3 backend.py PROJECT USER NOTIONAL"""

import sys
from datetime import datetime, timezone
from decimal import Decimal

import orders
import reader
from google.cloud import firestore

POLICY = {"environment": "paper", "currency": "USD", "funds": "cash", "reserve": Decimal(100)}


def main(project, user, notional):
    client = firestore.Client(project)
    documents = reader.read(client, user)
    signals = orders.read(client, user, documents[0])
    now = datetime.now(timezone.utc)  # Reads may take long, and figures are as old as they are after them.
    snapshot = reader.judge(*documents, now, "user", user)
    print(f"{user}: {snapshot.verdict}, sync {snapshot.sync}")
    if snapshot.figures:
        age = int(snapshot.age.total_seconds())
        print(f"{snapshot.figures['cash']} {snapshot.account['currency']}, {age} s old")
    order = {"user": user, "side": "buy", "notional": Decimal(notional), "closes": False}
    decision = orders.decide(order, snapshot, POLICY, orders.pending_sum(signals, snapshot, now))
    print(f"allowed, up to {decision['allow']}" if "allow" in decision else f"denied: {decision['deny']}")


main(*sys.argv[1:])
