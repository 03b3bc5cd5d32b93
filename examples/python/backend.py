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
    snapshot = reader.read(client, user)
    print(f"{user}: {snapshot.verdict}, sync {snapshot.sync}")
    if snapshot.figures:
        print(f"{snapshot.figures['cash']} {snapshot.account['currency']}, {snapshot.age.seconds} s old")
    order = {"user": user, "side": "buy", "notional": Decimal(notional), "closes": False}
    pending = orders.pending_sum(orders.read(client, user), snapshot, datetime.now(timezone.utc))
    decision = orders.decide(order, snapshot, POLICY, pending)
    print(f"allowed, up to {decision['allow']}" if "allow" in decision else f"denied: {decision['deny']}")


main(*sys.argv[1:])
