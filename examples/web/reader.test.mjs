// Runs the cases of crates/account-reader/vectors: node --test examples/web

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { decide, decimal, judge, parseIso, pendingSum, plain } from "./reader.mjs";

const FIELDS = ["name", "why", "now", "source", "snapshot", "sync", "last_pulse", "expected"];
const OF_ORDERS = ["order", "policy", "signals"];

/** As Firebase's SDKs have values: a number is a number, a timestamp an object. */
const VALUES = {
  nullValue: () => null,
  booleanValue: (flag) => flag,
  integerValue: Number,
  doubleValue: Number,
  timestampValue: (text) => ({ toMillis: () => Date.parse(text) }),
  stringValue: (text) => text,
  mapValue: ({ fields }) => values(fields),
};

function value(typed) {
  const [[kind, written], ...others] = Object.entries(typed);
  assert.equal(others.length, 0);
  return VALUES[kind](written);
}

function values(fields) {
  return Object.fromEntries(Object.entries(fields).map(([name, typed]) => [name, value(typed)]));
}

function hasExactly(object, names, label) {
  assert.deepEqual(Object.keys(object).sort(), [...names].sort(), label);
}

function file(name, fields) {
  const read = JSON.parse(readFileSync(new URL(`../../crates/account-reader/vectors/${name}`, import.meta.url), "utf8"));
  hasExactly(read, ["documents", "cases"], name);
  for (const one of read.cases) hasExactly(one, fields, one.name);
  assert.ok(read.cases.length >= 60, `${name}: ${read.cases.length} cases`);
  return read;
}

function document(templates, written) {
  if (written === null) return null;
  if (written === "unread") return undefined;
  hasExactly(written, ["base", "set", "remove"]);
  const fields = values(templates[written.base]);
  const place = (name) => (name.includes(".") ? [fields[name.split(".")[0]], name.split(".")[1]] : [fields, name]);
  for (const name of written.remove) {
    const [map, key] = place(name);
    assert.ok(Object.hasOwn(map, key), name);
    delete map[key];
  }
  for (const [name, typed] of Object.entries(written.set)) {
    const [map, key] = place(name);
    map[key] = value(typed);
  }
  return fields;
}

function judged(templates, one) {
  const [[source, owner]] = Object.entries(one.source);
  const [snapshot, sync, lastPulse] = [one.snapshot, one.sync, one.last_pulse].map((each) => document(templates, each));
  return judge({ snapshot, sync, lastPulse, source, owner, now: Date.parse(one.now) });
}

function wordsOf({ verdict, source, sync, field, age, figures }) {
  if (verdict === "missing") return { verdict, source, sync };
  if (verdict === "malformed") return { verdict, source, sync, field };
  const known = Object.entries(figures).filter(([, figure]) => figure !== null);
  const texts = Object.fromEntries(known.map(([name, figure]) => [name, plain(figure)]));
  return { verdict, source, sync, age_ms: age, figures: texts };
}

function decided(templates, one) {
  const [snapshot, now] = [judged(templates, one), Date.parse(one.now)];
  const signals = one.signals.map((signal) => ({
    fields: document(templates, signal.document),
    updateTime: signal.update_time && Date.parse(signal.update_time),
  }));
  const order = { ...one.order, notional: decimal(one.order.notional) };
  const policy = { ...one.policy, reserve: decimal(one.policy.reserve) };
  const decision = decide(order, snapshot, policy, pendingSum(signals, snapshot, now));
  return decision.allow ? { allow: { max_notional: plain(decision.allow) } } : decision;
}

test("snapshots.json", () => {
  const { documents, cases } = file("snapshots.json", FIELDS);
  for (const one of cases) assert.deepEqual(wordsOf(judged(documents, one)), one.expected, `${one.name}: ${one.why}`);
  console.log(`snapshots.json: ${cases.length} cases`);
});

test("decisions.json", () => {
  const { documents, cases } = file("decisions.json", [...FIELDS, ...OF_ORDERS]);
  for (const one of cases) assert.deepEqual(decided(documents, one), one.expected, `${one.name}: ${one.why}`);
  console.log(`decisions.json: ${cases.length} cases`);
});

test("no amount that is no decimal is allowed", () => {
  const { documents, cases } = file("decisions.json", [...FIELDS, ...OF_ORDERS]);
  const snapshot = judged(documents, cases[0]);
  const zero = decimal("0");
  const order = { user: "ana", side: "buy", notional: decimal("1"), closes: false };
  const policy = { environment: "paper", currency: "USD", funds: "cash", reserve: zero };
  assert.ok(decide(order, snapshot, policy, zero).allow);
  for (const wrong of [decimal("NaN"), NaN, 1, "1", undefined]) {
    const denied = { deny: "invalid_order" };
    assert.deepEqual(decide({ ...order, notional: wrong }, snapshot, policy, zero), denied);
    assert.deepEqual(decide(order, snapshot, { ...policy, reserve: wrong }, zero), denied);
  }
});

test("what was executed counts in full where nobody knows when", () => {
  const snapshot = { updatedAt: 1_000_000 };
  const sum = (fields, updateTime, now = 1_000_000) => {
    const signal = { fields: { proposed_by: "backend", action: "buy", notional_usd: 5, ...fields }, updateTime };
    return plain(pendingSum([signal], snapshot, now));
  };
  const at = (time) => ({ toMillis: () => time });
  for (const unknown of [null, undefined, NaN, Infinity, "0", {}, { seconds: 0 }, new Date(0), at(NaN)]) {
    assert.equal(sum({ status: "executed" }, unknown), "5", String(unknown));
  }
  for (const time of [940_001, at(940_001)]) assert.equal(sum({ status: "executed" }, time), "5");
  for (const time of [940_000, at(940_000)]) assert.equal(sum({ status: "executed" }, time), "0");
  assert.equal(sum({ status: "proposed", expires_at: at(1_000_001) }, null), "5");
  for (const wrong of [null, NaN, "1000000", at(1_000_000), new Date(0)]) {
    assert.throws(() => sum({ status: "proposed", expires_at: at(1) }, null, wrong), TypeError);
  }
  assert.throws(() => pendingSum([], snapshot), TypeError);
});

test("no argument that is none opens anything", () => {
  const { documents, cases } = file("decisions.json", [...FIELDS, ...OF_ORDERS]);
  const snapshot = judged(documents, cases[0]);
  const zero = decimal("0");
  const order = { user: "ana", side: "buy", notional: decimal("1000000"), closes: false };
  const policy = { environment: "paper", currency: "USD", funds: "cash", reserve: zero };
  for (const closes of ["false", "true", 1, {}, [], undefined, null]) {
    assert.deepEqual(decide({ ...order, closes }, snapshot, policy, zero), { deny: "insufficient_funds" });
    assert.deepEqual(decide({ ...order, closes, notional: zero }, snapshot, policy, zero), { deny: "invalid_order" });
  }
  assert.ok(decide({ ...order, closes: true }, snapshot, policy, zero).allow);
  for (const funds of ["equity", "last_equity", "", "toString", ["cash"], undefined, null]) {
    assert.throws(() => decide(order, snapshot, { ...policy, funds }, zero), TypeError);
  }
});

test("whose the figures are is said, or nothing is judged", () => {
  const { documents, cases } = file("snapshots.json", FIELDS);
  const now = Date.parse(cases[0].now);
  for (const source of ["users", "", "toString", undefined, null]) {
    for (const snapshot of [documents.user, null]) {
      assert.throws(() => judge({ snapshot, sync: null, lastPulse: null, source, owner: "ana", now }), TypeError);
    }
  }
  const snapshot = values(documents.user);
  for (const source of ["user", "tenant"]) {
    assert.equal(judge({ snapshot, sync: null, lastPulse: null, source, now }).verdict, "malformed");
  }
});

test("decimals and times are read as they are written", () => {
  for (const [text, expected] of [
    ["0", "0"], ["-0.00", "0"], ["-23140.20", "-23140.2"], ["122011.09751111286868", "122011.09751111286868"],
    ["1e3", "1000"], ["+.5", "0.5"], ["5.", "5"], ["1E-3", "0.001"], ["100", "100"], ["0e99999999999", "0"],
  ]) {
    assert.equal(plain(decimal(text)), expected, text);
  }
  for (const text of ["", " 1", "NaN", "Infinity", "1,0", "1_0", "0x1", "--1", "1.2.3", "e5", "1e", ".", "-", "1e400", "1e-400"]) {
    assert.equal(decimal(text), null, text);
  }
  assert.equal(parseIso("2026-01-05T14:30:00.123Z"), 1767623400123);
  for (const text of ["", "2026", "2026-01-05T14:30:00Z", "2026-02-30T14:30:00.000Z", "1969-12-31T23:59:59.999Z", null, 5]) {
    assert.equal(parseIso(text), null, text);
  }
});
