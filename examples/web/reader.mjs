// What an app or a server may conclude from the account snapshots that pulse keeps in Firestore.
//
// Pure: documents come as Firebase's SDKs give them (`snapshot.data()`), null is a document that is not there, undefined
// one that nobody asked for. Amounts are exact decimals (`decimal`), times milliseconds since 1970. The rules are those of
// crates/account-reader, whose cases are this file's test.

export const MAX_AGE = 300_000;
export const MAX_AHEAD = 60_000;
const UNSEEN = 60_000;
const BLOCKS = ["trading_blocked", "account_blocked", "trade_suspended_by_user", "transfers_blocked"];
const REQUIRED = ["equity", "buying_power", "cash"];
const OPTIONAL = ["last_equity", "non_marginable_buying_power"];
/** By source the field that names the owner. */
const SOURCES = { user: "user_id", tenant: "tenant_id", legacy: null };
const FUNDS = ["buying_power", "non_marginable_buying_power", "cash"];
const STATES = ["ok", "retrying", "needs_reauth", "incomplete"];
const OVER = ["rejected", "failed", "cancelled", "expired", "archived"];

// --- Decimals: digits × 10^-scale, as doubles lose cents.

/** Reads a decimal text; null for one that is no finite decimal, or zero only as a double. */
export function decimal(text) {
  const parts = typeof text === "string" && text.length <= 100
    && /^([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]+))?$/.exec(text);
  if (!parts) return null;
  const [, sign, whole, fraction = "", exponent = "0"] = parts;
  if (whole + fraction === "" || !Number.isFinite(Number(text))) return null;
  const digits = BigInt(whole + fraction) * (sign === "-" ? -1n : 1n);
  if (digits === 0n) return { digits, scale: 0 };
  return Number(text) === 0 ? null : { digits, scale: fraction.length - Number(exponent) };
}

const ZERO = { digits: 0n, scale: 0 };

function aligned(one, other) {
  const scale = Math.max(one.scale, other.scale);
  return [...[one, other].map(({ digits, scale: own }) => digits * 10n ** BigInt(scale - own)), scale];
}

export function add(one, other) {
  const [a, b, scale] = aligned(one, other);
  return { digits: a + b, scale };
}

export function subtract(one, other) {
  const [a, b, scale] = aligned(one, other);
  return { digits: a - b, scale };
}

export function isLess(one, other) {
  const [a, b] = aligned(one, other);
  return a < b;
}

/** The shortest text: no exponent, no zeros at the end. */
export function plain({ digits, scale }) {
  const [sign, all] = digits < 0n ? ["-", `${-digits}`] : ["", `${digits}`];
  if (scale <= 0) return sign + all + (digits === 0n ? "" : "0".repeat(-scale));
  const padded = all.padStart(scale + 1, "0");
  const text = `${padded.slice(0, -scale)}.${padded.slice(-scale)}`;
  return sign + text.replace(/\.?0+$/, "");
}

// --- Snapshots.

/** Reads `2026-01-05T14:30:00.123Z`; null for any other form, also of the same time. */
export function parseIso(text) {
  const time = typeof text === "string" ? new Date(text) : new Date(NaN);
  return time.getTime() >= 0 && time.toISOString() === text ? time.getTime() : null;
}

class Malformed extends Error {}

function check(isGood, field) {
  if (!isGood) throw new Malformed(field);
}

const has = (fields, name) => Object.hasOwn(fields, name);
const isText = (value) => typeof value === "string" && value !== "";
const isMap = (value) => typeof value === "object" && value !== null && !Array.isArray(value) && millis(value) === null;

/** A timestamp's milliseconds; of anything else null, a text or a number too. */
function millis(value) {
  return typeof value?.toMillis === "function" ? value.toMillis() : null;
}

/** The figure in `exact`, which the number beside it has to be the nearest double of. */
function figure(fields, name) {
  check(!has(fields, name) || Number.isFinite(fields[name]), name);
  check(isMap(fields.exact), "exact");
  // Not sent; a number beside it is what another version of the job left.
  if (OPTIONAL.includes(name) && !has(fields.exact, name)) return null;
  check(has(fields, name), name);
  const text = has(fields.exact, name) ? fields.exact[name] : null;
  const value = decimal(text);
  check(value !== null, `exact.${name}`);
  check(fields[name] === Number(text), name);
  return value;
}

function standingOf(fields, source, owner) {
  check(fields.broker === "alpaca", "broker");
  const name = SOURCES[source];
  if (name) check(isText(owner) && fields[name] === owner, name);
  check(isText(fields.user_id), "user_id");
  check(["paper", "live"].includes(fields.environment), "environment");
  for (const name of BLOCKS) check(!has(fields, name) || typeof fields[name] === "boolean", name);
  const blocks = BLOCKS.filter((name) => fields[name] === true);
  return { user: fields.user_id, environment: fields.environment, blocks };
}

function accountOf(fields, source, owner) {
  const updatedAt = parseIso(fields.updated_at_iso);
  check(updatedAt !== null, "updated_at_iso");
  const figures = Object.fromEntries([...REQUIRED, ...OPTIONAL].map((name) => [name, figure(fields, name)]));
  const standing = standingOf(fields, source, owner);
  for (const name of ["external_account_id", "status", "currency"]) check(isText(fields[name]), name);
  check(!has(fields, "multiplier") || typeof fields.multiplier === "string", "multiplier");
  const trader = "pattern_day_trader";
  check(!has(fields, trader) || typeof fields[trader] === "boolean", trader);
  return { updatedAt, figures, standing, status: fields.status, currency: fields.currency };
}

/** `ok`, `retrying`, `needs_reauth`, `incomplete`, or `unknown`. */
export function syncState(sync) {
  if (sync === null) return "ok";
  if (sync === undefined || (has(sync, "failing_since") && millis(sync.failing_since) === null)) return "unknown";
  return STATES.includes(sync.state) ? sync.state : "unknown";
}

/** A job that stopped, or a user who fails, makes nobody's old money look fresh. */
function mayStand(fields, sync, pulse, now) {
  const isWell = syncState(sync) === "ok" && !(sync && has(sync, "failing_since"));
  const [until, at] = [millis(fields.fresh_until), millis(pulse?.timestamp)];
  if (!isWell || until === null || at === null) return false;
  return now < until && ["ok", "degraded"].includes(pulse.status) && now - at <= MAX_AGE && now - at >= -MAX_AHEAD;
}

/**
 * What the documents are worth at `now`: `verdict` is fresh, stale, missing or malformed (`field`), and only a fresh one's
 * `figures` are money to trade on. `source` is user, tenant or legacy, `owner` that user or tenant.
 */
export function judge({ snapshot, sync, lastPulse, source, owner, now }) {
  if (!has(SOURCES, source)) throw new TypeError(`no source: ${source}`);
  const said = { source, sync: syncState(sync) };
  if (snapshot === null) return { ...said, verdict: "missing" };
  try {
    const account = accountOf(snapshot, source, owner);
    const age = now - account.updatedAt;
    check(age >= -MAX_AHEAD, "updated_at_iso");
    const isFresh = age <= MAX_AGE || mayStand(snapshot, sync, lastPulse, now);
    return { ...said, ...account, verdict: isFresh ? "fresh" : "stale", age: Math.max(age, 0) };
  } catch (fault) {
    if (!(fault instanceof Malformed)) throw fault;
    return { ...said, verdict: "malformed", field: fault.message, standing: standingIfReadable(snapshot, source, owner) };
  }
}

function standingIfReadable(fields, source, owner) {
  try {
    return standingOf(fields, source, owner);
  } catch (fault) {
    if (!(fault instanceof Malformed)) throw fault;
    return null;
  }
}

// --- Orders.

/**
 * What is spoken for, in US dollars; null if that is not known. `signals` are all the user's that are proposed, executing
 * or executed: `{ fields, updateTime }`, the latter a timestamp or in milliseconds. Where the SDK does not tell, as in a
 * web page, what was executed counts in full.
 */
export function pendingSum(signals, snapshot, now) {
  if (!Number.isFinite(now)) throw new TypeError(`no time in milliseconds: ${now}`);
  const amounts = signals.filter((signal) => isPending(signal, snapshot, now)).map(({ fields }) => amount(fields));
  return amounts.includes(null) ? null : amounts.reduce(add, ZERO);
}

function isPending({ fields, updateTime }, snapshot, now) {
  // Users can write signals of their own, which move no money.
  if (fields.proposed_by !== "backend" || ["sell", "flat"].includes(fields.action)) return false;
  if (fields.status === "executed") {
    const written = millis(updateTime) ?? updateTime;
    const isKnown = Number.isFinite(written) && Number.isFinite(snapshot.updatedAt);
    return !isKnown || written > snapshot.updatedAt - UNSEEN;
  }
  const expiry = millis(fields.expires_at);
  return fields.status === "proposed" ? expiry === null || now < expiry : !OVER.includes(fields.status);
}

function amount({ notional_usd: number }) {
  return Number.isFinite(number) && number >= 0 ? decimal(String(number)) : null;
}

/**
 * `{ allow: the most that may be spent }` or `{ deny: code }`; of several causes the first one. `order` has user, side,
 * notional and closes (it only reduces a position: `true` and nothing else), `policy` environment, currency, funds (the
 * figure that pays: buying_power, non_marginable_buying_power or cash) and reserve. Judge the snapshot at the moment of
 * the order.
 */
export function decide(order, snapshot, policy, pending) {
  if (!FUNDS.includes(policy.funds)) throw new TypeError(`no figure that pays: ${policy.funds}`);
  const denied = deniedByTerms(order, policy, pending) ?? deniedByStanding(order, snapshot, policy);
  if (denied) return { deny: denied };
  // Never denied for money or age.
  return order.closes === true ? { allow: order.notional } : decideByMoney(order, snapshot, policy, pending);
}

function deniedByTerms(order, policy, pending) {
  const amounts = [order.notional, policy.reserve, pending ?? ZERO];
  const isNone = order.notional?.digits === 0n && order.closes !== true;
  const isValid = amounts.every((each) => typeof each?.digits === "bigint" && each.digits >= 0n);
  return isNone || !isValid ? "invalid_order" : null;
}

function deniedByStanding(order, snapshot, policy) {
  if (snapshot.verdict === "missing") return "snapshot_missing";
  if (!snapshot.standing) return "snapshot_malformed";
  if (snapshot.standing.user !== order.user) return "other_user";
  if (snapshot.standing.environment !== policy.environment) return "environment";
  return snapshot.standing.blocks.length > 0 ? "blocked" : null;
}

function decideByMoney(order, snapshot, policy, pending) {
  if (snapshot.verdict !== "fresh") return { deny: `snapshot_${snapshot.verdict}` };
  if (snapshot.sync === "needs_reauth") return { deny: "needs_reauth" };
  if (snapshot.sync === "unknown") return { deny: "sync_unknown" };
  if (snapshot.status !== "ACTIVE") return { deny: "status" };
  if (snapshot.currency !== policy.currency) return { deny: "currency" };
  // What is pending is in dollars, and so not known in anything else.
  if (!pending || (pending.digits !== 0n && policy.currency !== "USD")) return { deny: "pending_unknown" };
  const funds = snapshot.figures[policy.funds] ?? null;
  if (funds === null) return { deny: "funds_unknown" };
  const free = subtract(subtract(funds, policy.reserve), pending);
  return isLess(free, order.notional) ? { deny: "insufficient_funds" } : { allow: free };
}
