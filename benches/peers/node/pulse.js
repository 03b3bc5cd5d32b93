// The pulse as a Node.js program: Google's own clients, Firestore's BulkWriter, and a limit of users at once.

import { FieldValue, Firestore } from '@google-cloud/firestore';
import { SecretManagerServiceClient } from '@google-cloud/secret-manager';
import { parseArgs } from 'node:util';

const { values: flags } = parseArgs({ options: { concurrency: { type: 'string', default: '64' } } });
const project = process.env.GCP_PROJECT;
const [secretHost, secretPort] = process.env.SECRET_MANAGER_EMULATOR_HOST.split(':');

const store = new Firestore({ projectId: project });
const secrets = new SecretManagerServiceClient({
  projectId: project,
  apiEndpoint: secretHost,
  port: Number(secretPort),
  protocol: 'http',
  fallback: true,
  auth: anonymous(),
});
const writer = store.bulkWriter({ throttling: false });

/** Google's clients want credentials even where nobody asks for them. */
function anonymous() {
  const client = {
    universeDomain: 'googleapis.com',
    getRequestHeaders: async () => new Headers(),
    fetch: (url, options) => fetch(url, options),
  };
  return {
    universeDomain: 'googleapis.com',
    getClient: async () => client,
    getProjectId: async () => project,
    getUniverseDomain: async () => 'googleapis.com',
    getRequestHeaders: async () => new Headers(),
    fetch: (url, options) => fetch(url, options),
  };
}

async function account(keys) {
  const hosts = { paper: 'https://paper-api.alpaca.markets', live: 'https://api.alpaca.markets' };
  const host = process.env.APCA_API_BASE_URL ?? hosts[keys.environment];
  const answer = await fetch(`${host}/v2/account`, {
    headers: { 'APCA-API-KEY-ID': keys.key_id, 'APCA-API-SECRET-KEY': keys.secret_key },
    redirect: 'error',
  });
  if (!answer.ok) throw new Error(`Alpaca answered ${answer.status}`);
  return answer.json();
}

async function sync(user) {
  const started = performance.now();
  console.log(`Syncing Alpaca account for user ${user.id}`);
  const name = `projects/${project}/secrets/alpaca-keys-${user.id}/versions/latest`;
  const [version] = await secrets.accessSecretVersion({ name });
  const keys = JSON.parse(Buffer.from(version.payload.data).toString());
  const { id, status, currency, equity, buying_power, cash } = await account(keys);
  const exact = { equity, buying_power, cash };
  const common = {
    broker: 'alpaca',
    user_id: user.id,
    external_account_id: id,
    status,
    environment: keys.environment,
    currency,
    equity: Number(equity),
    buying_power: Number(buying_power),
    cash: Number(cash),
    exact,
    updated_at: FieldValue.serverTimestamp(),
    updated_at_iso: new Date().toISOString(),
  };
  const tenant = user.get('tenant_id') ?? user.id;
  const keyVersion = version.name.split('/').at(-1);
  const snapshot = { ...common, encrypted_key_path: name, key_version: keyVersion };
  await Promise.all([
    writer.set(store.doc(`users/${user.id}/alpacaAccounts/snapshot`), snapshot, { merge: true }),
    writer.set(store.doc(`tenants/${tenant}/accounts/primary`), { ...common, tenant_id: tenant }, { merge: true }),
  ]);
  const took = Math.round(performance.now() - started);
  console.log(`Successfully synced Alpaca account for user ${user.id} in ${took} ms`);
}

/** Takes the next user from the stream until there is none. */
async function worker(users) {
  for (let next = await users.next(); !next.done; next = await users.next()) {
    await sync(next.value);
  }
}

const users = store.collection('users').stream()[Symbol.asyncIterator]();
// BulkWriter sends a batch when it is full or asked to; nobody may wait for the others to fill it.
const flushing = setInterval(() => writer.flush().catch(() => {}), 5);
await Promise.all(Array.from({ length: Number(flags.concurrency) }, () => worker(users)));
clearInterval(flushing);
await writer.close();
