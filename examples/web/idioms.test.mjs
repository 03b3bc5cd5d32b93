// What Firebase's SDK does under firestore.rules, and what an app has to know of it: FIRESTORE_EMULATOR_HOST=... node
// idioms.test.mjs

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { deleteApp, initializeApp } from "firebase/app";
import {
  collection, connectFirestoreEmulator, deleteDoc, doc, documentId, getDoc, getDocs, initializeFirestore, onSnapshot, orderBy,
  query, serverTimestamp, setDoc, setLogLevel, updateDoc, where,
} from "firebase/firestore";
import { BANNERS, bannerOf, endedBy, viewOf, watchUser } from "./live.mjs";
import { decimal } from "./reader.mjs";

const HOST = process.env.FIRESTORE_EMULATOR_HOST;
const PROJECT = `idioms-${process.pid}`;
const [, ADDRESS, PORT] = /^(.*):(\d+)$/.exec(HOST);
const RULES = readFileSync(new URL("../../firestore.rules", import.meta.url), "utf8");
// Denied reads are what is tried here.
setLogLevel("silent");

async function call(method, path, body) {
  const headers = { authorization: "Bearer owner", "content-type": "application/json" };
  const answer = await fetch(`http://${HOST}/${path}`, { method, headers, body: body && JSON.stringify(body) });
  assert.ok(answer.ok, await answer.text());
}

const rules = { rules: { files: [{ name: "firestore.rules", content: RULES }] } };
await call("PUT", `emulator/v1/projects/${PROJECT}:securityRules`, rules);

/** What the backend does, past the rules. */
const path = (name) => `v1/projects/${PROJECT}/databases/(default)/documents/${name}`;
function typed(value) {
  if (typeof value === "object") return { mapValue: { fields: typedAll(value) } };
  return typeof value === "number" ? { doubleValue: value } : { stringValue: value };
}
const typedAll = (fields) => Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, typed(value)]));
const put = (name, fields) => call("PATCH", path(name), { fields: typedAll(fields) });
const remove = (name) => call("DELETE", path(name));

const apps = [];
after(() => Promise.all(apps.map(deleteApp)));

/** A session of a user, or of nobody. */
function session(user, claims = {}) {
  const app = initializeApp({ projectId: PROJECT }, `app-${apps.length}`);
  apps.push(app);
  const db = initializeFirestore(app, {});
  connectFirestoreEmulator(db, ADDRESS, Number(PORT), user ? { mockUserToken: { sub: user, ...claims } } : {});
  return db;
}

/** What a listener hears: `next()` is its next document, or the code that it ended with. */
function heard(reference, options = {}) {
  const [queue, waiting] = [[], []];
  const hear = (one) => (waiting.length > 0 ? waiting.shift()(one) : queue.push(one));
  const end = onSnapshot(reference, options, hear, (error) => hear(error.code));
  return { end, next: () => (queue.length > 0 ? queue.shift() : new Promise((resolve) => waiting.push(resolve))) };
}

const isDenied = { code: "permission-denied" };

test("a listener on an absent document stays, and fires when it is there", async () => {
  const listener = heard(doc(session("u1"), "users/u1/alpacaAccounts/snapshot"));
  assert.equal((await listener.next()).exists(), false);
  await put("users/u1/alpacaAccounts/snapshot", { equity: 1 });
  assert.equal((await listener.next()).get("equity"), 1);
  listener.end();
});

test("a listener that is opened before there is a membership, or signed out, ends", async () => {
  await put("tenants/t2/accounts/primary", { equity: 1 });
  const db = session("u2", { tenant_id: "t2" });
  assert.equal(await heard(doc(db, "tenants/t2/accounts/primary")).next(), "permission-denied");
  assert.equal(await heard(doc(session(null), "ops/last_pulse")).next(), "permission-denied");
  // The membership itself may be waited for.
  const membership = heard(doc(db, "tenants/t2/users/u2"));
  assert.equal((await membership.next()).exists(), false);
  await put("tenants/t2/users/u2", { role: "member" });
  assert.equal((await membership.next()).exists(), true);
  membership.end();
  const again = heard(doc(db, "tenants/t2/accounts/primary"));
  assert.equal((await again.next()).get("equity"), 1);
  again.end();
});

test("a listener goes on after the membership has ended, until the next write", async () => {
  await put("tenants/t3/users/u3", { role: "member" });
  await put("tenants/t3/accounts/primary", { equity: 1 });
  const db = session("u3", { tenant_id: "t3" });
  const [figures, membership] = ["accounts/primary", "users/u3"].map((name) => heard(doc(db, `tenants/t3/${name}`)));
  assert.equal((await figures.next()).get("equity"), 1);
  assert.equal((await membership.next()).exists(), true);
  await remove("tenants/t3/users/u3");
  // So the membership is what to watch.
  assert.equal((await membership.next()).exists(), false);
  await put("tenants/t3/accounts/primary", { equity: 2 });
  assert.equal(await figures.next(), "permission-denied");
  membership.end();
});

test("a user's document is written with merge, as the rest of it is the backend's", async () => {
  await put("users/u4", { tenant_id: "t4", name: "Ann" });
  const own = doc(session("u4"), "users/u4");
  await assert.rejects(setDoc(own, { name: "Anna" }), isDenied);
  await setDoc(own, { name: "Anna" }, { merge: true });
  assert.deepEqual((await getDoc(own)).data(), { tenant_id: "t4", name: "Anna" });
});

test("a user's document is got, not asked for", async () => {
  const db = session("u5");
  await assert.rejects(getDocs(query(collection(db, "users"), where(documentId(), "==", "u5"))), isDenied);
  assert.equal((await getDoc(doc(db, "users/u5"))).exists(), false);
});

test("the list of accounts has the sync beside them", async () => {
  await put("users/u6/alpacaAccounts/snapshot", { broker: "alpaca" });
  await put("users/u6/alpacaAccounts/sync", { state: "ok" });
  const all = collection(session("u6"), "users/u6/alpacaAccounts");
  const ids = ({ docs }) => docs.map(({ id }) => id);
  assert.deepEqual(ids(await getDocs(all)), ["snapshot", "sync"]);
  assert.deepEqual(ids(await getDocs(query(all, where("broker", "==", "alpaca")))), ["snapshot"]);
});

test("a write that is denied shows first, and is taken back", async () => {
  await put("users/u7/alpacaAccounts/snapshot", { equity: 1 });
  const snapshot = doc(session("u7"), "users/u7/alpacaAccounts/snapshot");
  const listener = heard(snapshot, { includeMetadataChanges: true });
  let document = await listener.next();
  while (document.metadata.fromCache) document = await listener.next();
  const denied = assert.rejects(updateDoc(snapshot, { equity: 1e9 }), isDenied);
  document = await listener.next();
  assert.deepEqual([document.get("equity"), document.metadata.hasPendingWrites], [1e9, true]);
  await denied;
  document = await listener.next();
  assert.deepEqual([document.get("equity"), document.metadata.hasPendingWrites], [1, false]);
  listener.end();
});

test("signals are listed newest first, made without a proposer, and the backend's only taken back", async () => {
  const db = session("u8");
  const signals = collection(db, "users/u8/tradingSignals");
  await setDoc(doc(signals, "own"), { status: "proposed", created_at: serverTimestamp() });
  await put("users/u8/tradingSignals/k1", { status: "proposed", proposed_by: "backend", notional_usd: 5 });
  const newest = query(signals, where("status", "==", "proposed"), orderBy("created_at", "desc"));
  assert.deepEqual((await getDocs(newest)).docs.map(({ id }) => id), ["own"]);
  await assert.rejects(setDoc(doc(signals, "forged"), { proposed_by: "backend" }), isDenied);
  await assert.rejects(updateDoc(doc(signals, "own"), { proposed_by: "backend" }), isDenied);
  await assert.rejects(updateDoc(doc(signals, "k1"), { notional_usd: 500 }), isDenied);
  await assert.rejects(deleteDoc(doc(signals, "k1")), isDenied);
  await updateDoc(doc(signals, "k1"), { status: "cancelled" });
  await assert.rejects(updateDoc(doc(signals, "k1"), { status: "proposed" }), isDenied);
});

const POLICY = { environment: "paper", currency: "USD", funds: "cash", reserve: decimal("0") };

test("a page shows nothing of what it may not read, and asks again with a new token", async () => {
  const views = [];
  const refreshed = await new Promise((resolve) => {
    const end = watchUser(session("eve"), "ana", POLICY, (view) => views.push(view), async () => {
      end();
      resolve(true);
    });
  });
  assert.ok(refreshed);
  assert.deepEqual(views, [{ banner: BANNERS.denied, money: null, age: null, denied: "no_access" }]);
});

test("a page never shows a write that is denied", async () => {
  const snapshot = "users/u9/alpacaAccounts/snapshot";
  const figures = (cash) => ({ equity: 5, buying_power: 5, cash, exact: { equity: "5", buying_power: "5", cash: `${cash}` } });
  const account = { broker: "alpaca", user_id: "u9", external_account_id: "a", status: "ACTIVE", environment: "paper" };
  const write = (cash) =>
    put(snapshot, { ...account, currency: "USD", updated_at_iso: new Date().toISOString(), ...figures(cash) });
  await write(1);
  const db = session("u9");
  const shown = [];
  let told = () => {};
  const end = watchUser(db, "u9", POLICY, ({ money }) => told(shown.push(money?.cash)));
  const until = (cash) => new Promise((resolve) => {
    told = () => shown.at(-1) === cash && resolve();
    told();
  });
  await until("1");
  await assert.rejects(updateDoc(doc(db, snapshot), figures(1e6)), isDenied);
  await write(2);
  await until("2");
  end();
  assert.deepEqual([...new Set(shown)], ["1", "2"]);
});

test("only who is denied has no access", () => {
  assert.equal(endedBy("permission-denied").banner, BANNERS.denied);
  for (const code of ["unavailable", "resource-exhausted", "unauthenticated", "internal", undefined]) {
    const { banner, money, denied } = endedBy(code);
    assert.deepEqual([banner, money, denied], [BANNERS.trouble, null, "unread"], code);
  }
});

test("each state of the sync has its banner", () => {
  for (const [verdict, sync, document, banner] of [
    ["fresh", "ok", null, ""],
    ["fresh", "ok", { state: "ok" }, ""],
    ["missing", "ok", null, BANNERS.connect],
    ["missing", "retrying", { state: "retrying", error: "keys_missing" }, BANNERS.connect],
    ["missing", "retrying", { state: "retrying", error: "broker_timeout" }, BANNERS.trouble],
    ["missing", "needs_reauth", { state: "needs_reauth" }, BANNERS.needs_reauth],
    ["stale", "needs_reauth", { state: "needs_reauth" }, BANNERS.needs_reauth],
    ["missing", "incomplete", { state: "incomplete" }, BANNERS.incomplete],
    ["fresh", "retrying", { state: "retrying" }, BANNERS.trouble],
    ["stale", "ok", null, BANNERS.trouble],
    ["malformed", "ok", null, BANNERS.trouble],
    ["missing", "unknown", { state: "?" }, BANNERS.trouble],
    // A tenant's account, of which no sync is read.
    ["fresh", "unknown", undefined, ""],
    ["stale", "unknown", undefined, BANNERS.trouble],
    ["missing", "unknown", undefined, BANNERS.connect],
  ]) {
    assert.equal(bannerOf({ verdict, sync }, document), banner, `${verdict} ${sync} ${document?.error}`);
  }
});

test("a tenant's figures that may stand are no trouble, and nothing to trade on", () => {
  const now = 1_767_623_400_000;
  const at = (time) => ({ toMillis: () => time });
  const figures = { equity: 5, buying_power: 5, cash: 5, exact: { equity: "5", buying_power: "5", cash: "5" } };
  const account = { broker: "alpaca", user_id: "ana", external_account_id: "a", status: "ACTIVE", environment: "paper" };
  const snapshot = { ...account, ...figures, currency: "USD", tenant_id: "acme", updated_at_iso: new Date(now).toISOString() };
  const whose = { source: "tenant", owner: "acme", user: "ana", policy: POLICY };
  const view = (seconds, pulse = {}) => {
    const later = now + 1_000 * seconds;
    const lastPulse = { status: "ok", timestamp: at(later - 60_000), ...pulse };
    const found = { snapshot: { ...snapshot, fresh_until: at(now + 900_000) }, lastPulse };
    const { banner, money, age, denied } = viewOf(found, whose, later);
    return [banner, money?.cash, age, denied];
  };
  assert.deepEqual(view(300), ["", "5", 300, "sync_unknown"]);
  assert.deepEqual(view(301), ["", "5", 301, "snapshot_stale"]);
  assert.deepEqual(view(899), ["", "5", 899, "snapshot_stale"]);
  assert.deepEqual(view(900), [BANNERS.trouble, "5", 900, "snapshot_stale"]);
  assert.deepEqual(view(301, { status: "failed" }), [BANNERS.trouble, "5", 301, "snapshot_stale"]);
  assert.deepEqual(view(301, { timestamp: at(now) }), [BANNERS.trouble, "5", 301, "snapshot_stale"]);
});
