// Watches the documents that an account is judged by, and says what to show.

import { doc, onSnapshot } from "firebase/firestore";
import { decide, decimal, judge, plain } from "./reader.mjs";

/** So long after a listener has ended it is opened again: rules look at the token that it was opened with. */
const PAUSE = 5_000;

/** What a user is told, by what is known of their sync. Nothing if all is well. */
export const BANNERS = {
  connect: "Connect your Alpaca account.",
  needs_reauth: "Reconnect your account.",
  incomplete: "Your Alpaca account is not open yet.",
  trouble: "We are having trouble. What you see may be old.",
  denied: "You have no access to this account. Sign in again.",
};

const NO_ACCESS = { banner: BANNERS.denied, money: null, age: null, denied: "no_access" };
const UNREAD = { ...NO_ACCESS, banner: BANNERS.trouble, denied: "unread" };

/** What is shown when a listener has ended with that code of Firestore's. */
export function endedBy(code) {
  return code === "permission-denied" ? NO_ACCESS : UNREAD;
}

/** The least that anybody orders: whether any order may go out. What is pending is not known here. */
const LEAST = { side: "buy", notional: decimal("0.01"), closes: false };

export function bannerOf({ verdict, sync }, syncDocument) {
  if (["needs_reauth", "incomplete"].includes(sync)) return BANNERS[sync];
  // Of a tenant's account there is none, as nobody reads another member's sync.
  const isWell = sync === "ok" || syncDocument === undefined;
  if (verdict === "missing" && (isWell || syncDocument.error === "keys_missing")) return BANNERS.connect;
  return verdict === "fresh" && isWell ? "" : BANNERS.trouble;
}

/**
 * Calls `show` with `{ banner, money, age, denied }` whenever it changes and each second: `money` by figure as exact text
 * and `age` in seconds, null if there is none; `denied` is why no order may go out on the policy's terms (reader.mjs),
 * null if one may. `refresh` gets a new token (`user.getIdToken(true)`). Returns what ends it.
 */
export function watchUser(db, user, policy, show, refresh = async () => {}) {
  const paths = {
    snapshot: `users/${user}/alpacaAccounts/snapshot`,
    sync: `users/${user}/alpacaAccounts/sync`,
    lastPulse: "ops/last_pulse",
  };
  return watch(db, paths, { source: "user", owner: user, user, policy }, show, refresh);
}

/**
 * The same of a tenant's account. Who is no member, or no more, is shown nothing: the membership is watched beside the
 * figures, whose own listener only ends when they are written again.
 */
export function watchTenant(db, tenant, user, policy, show, refresh = async () => {}) {
  const paths = { snapshot: `tenants/${tenant}/accounts/primary`, lastPulse: "ops/last_pulse" };
  let end = null;
  const leave = (instead) => {
    end?.();
    end = null;
    show(instead);
  };
  const join = () => {
    end ??= watch(db, paths, { source: "tenant", owner: tenant, user, policy }, show, refresh);
  };
  const heard = ({ membership }) => (membership ? join() : leave(NO_ACCESS));
  const membership = `tenants/${tenant}/users/${user}`;
  const endMembership = listen(db, { membership }, { heard, ended: (code) => leave(endedBy(code)) }, refresh);
  return () => {
    endMembership();
    end?.();
  };
}

function watch(db, paths, whose, show, refresh) {
  let found = null;
  const draw = () => found && show(viewOf(found, whose));
  const heard = (documents) => {
    found = documents;
    draw();
  };
  const ended = (code) => {
    found = null;
    show(endedBy(code));
  };
  const end = listen(db, paths, { heard, ended }, refresh);
  // Figures grow old without a change of any document.
  const clock = setInterval(draw, 1_000);
  return () => {
    clearInterval(clock);
    end();
  };
}

/** What is shown of documents that were found. */
export function viewOf(found, whose, now = Date.now()) {
  const account = judge({ ...found, ...whose, now });
  // Without a sync old figures are nothing to trade on, but as long as they may stand, nobody is in trouble.
  const asIfWell = found.sync === undefined ? judge({ ...found, ...whose, now, sync: null }) : account;
  const isKnown = ["fresh", "stale"].includes(account.verdict);
  const figures = isKnown ? Object.entries(account.figures).filter(([, figure]) => figure !== null) : [];
  const texts = Object.fromEntries(figures.map(([name, figure]) => [name, plain(figure)]));
  return {
    banner: bannerOf({ ...account, verdict: asIfWell.verdict }, found.sync),
    money: isKnown ? { ...texts, currency: account.currency } : null,
    age: isKnown ? Math.floor(account.age / 1_000) : null,
    denied: decide({ ...LEAST, user: whose.user }, account, whose.policy, decimal("0")).deny ?? null,
  };
}

/** Listens to documents: `heard` gets all of them once each is known, `ended` the code when one's listener has ended. */
function listen(db, paths, { heard, ended }, refresh) {
  const found = {};
  let [ends, timer, isOver] = [[], null, false];
  const close = () => ends.splice(0).forEach((end) => end());
  const open = () => {
    for (const name of Object.keys(found)) delete found[name];
    ends = Object.entries(paths).map(([name, path]) =>
      onSnapshot(doc(db, path), { includeMetadataChanges: true }, (document) => {
        // A write that the rules will refuse shows first; without a connection what was never read seems absent.
        const { hasPendingWrites, fromCache } = document.metadata;
        if (hasPendingWrites || (fromCache && !document.exists())) return;
        found[name] = document.data() ?? null;
        if (Object.keys(found).length === Object.keys(paths).length) heard(found);
      }, again));
  };
  const again = ({ code }) => {
    if (isOver || timer) return;
    close();
    ended(code);
    timer = setTimeout(async () => {
      await refresh().catch(() => {});
      timer = null;
      if (!isOver) open();
    }, PAUSE);
  };
  open();
  return () => {
    isOver = true;
    clearTimeout(timer);
    close();
  };
}
