// The page's own code: signs in, and shows what live.mjs says.

import { initializeApp } from "firebase/app";
import { connectFirestoreEmulator, getFirestore } from "firebase/firestore";
import { watchTenant, watchUser } from "./live.mjs";
import { decimal } from "./reader.mjs";

const asked = Object.fromEntries(new URLSearchParams(location.search));
const db = getFirestore(initializeApp({ projectId: asked.project }));
// Against a project, leave this out, sign in with Firebase Auth, begin in onAuthStateChanged with `user.uid`, and give
// `() => user.getIdToken(true)` as last argument after `show`: it gets a new token, of which a mock has none.
const [host, port] = asked.emulator.split(":");
connectFirestoreEmulator(db, host, Number(port), { mockUserToken: { sub: asked.user, tenant_id: asked.tenant } });

const put = (id, text) => { document.getElementById(id).textContent = text; };

function show({ banner, money, age, denied }) {
  put("banner", banner);
  put("money", money ? `${money.cash} ${money.currency} in cash, ${money.equity} in all` : "");
  put("age", age === null ? "" : `${age} s ago`);
  put("trade", denied === null ? "Trade" : `No trading: ${denied}`);
  document.getElementById("trade").disabled = denied !== null;
}

const policy = { environment: "paper", currency: "USD", funds: "cash", reserve: decimal("0") };
if (asked.tenant) watchTenant(db, asked.tenant, asked.user, policy, show);
else watchUser(db, asked.user, policy, show);
