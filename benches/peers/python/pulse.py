"""The pulse as a Python program on Google's and Alpaca's own clients, one user after the other or in threads."""

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from json import loads
from time import monotonic

from alpaca.trading.client import TradingClient
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore, secretmanager
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
    SecretManagerServiceRestTransport,
)

PROJECT = os.environ["GCP_PROJECT"]


def secret_manager():
    host = os.environ["SECRET_MANAGER_EMULATOR_HOST"]
    transport = SecretManagerServiceRestTransport(
        host=host, url_scheme="http", credentials=AnonymousCredentials()
    )
    return secretmanager.SecretManagerServiceClient(transport=transport)


def now():
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Pulse:
    def __init__(self):
        self.store = firestore.Client(project=PROJECT)
        self.secrets = secret_manager()

    def users(self):
        return ((user.id, user.to_dict()) for user in self.store.collection("users").stream())

    def sync(self, user_id, user):
        started = monotonic()
        print(f"Syncing Alpaca account for user {user_id}")
        name = f"projects/{PROJECT}/secrets/alpaca-keys-{user_id}/versions/latest"
        secret = self.secrets.access_secret_version(name=name)
        keys = loads(secret.payload.data)
        paper = keys["environment"] == "paper"
        client = TradingClient(
            keys["key_id"],
            keys["secret_key"],
            paper=paper,
            url_override=os.environ.get("APCA_API_BASE_URL"),
        )
        account = client.get_account()
        exact = {
            "equity": account.equity,
            "buying_power": account.buying_power,
            "cash": account.cash,
        }
        common = {
            "broker": "alpaca",
            "user_id": user_id,
            "external_account_id": str(account.id),
            "status": account.status.value,
            "environment": "paper" if paper else "live",
            "currency": account.currency,
            **{name: float(text) for name, text in exact.items()},
            "exact": exact,
            "updated_at": firestore.SERVER_TIMESTAMP,
            "updated_at_iso": now(),
        }
        snapshot = {
            **common,
            "encrypted_key_path": name,
            "key_version": secret.name.rsplit("/", 1)[1],
        }
        tenant_id = user.get("tenant_id") or user_id
        primary = {**common, "tenant_id": tenant_id}
        batch = self.store.batch()
        users, tenants = self.store.collection("users"), self.store.collection("tenants")
        batch.set(users.document(user_id).collection("alpacaAccounts").document("snapshot"), snapshot, merge=True)
        batch.set(tenants.document(tenant_id).collection("accounts").document("primary"), primary, merge=True)
        batch.commit()
        took = round((monotonic() - started) * 1000)
        print(f"Successfully synced Alpaca account for user {user_id} in {took} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    threads = parser.parse_args().threads
    pulse = Pulse()
    if threads == 1:
        for user_id, user in pulse.users():
            pulse.sync(user_id, user)
    else:
        with ThreadPoolExecutor(max_workers=threads) as pool:
            running = [pool.submit(pulse.sync, user_id, user) for user_id, user in pulse.users()]
            for user in running:
                user.result()


if __name__ == "__main__":
    main()
