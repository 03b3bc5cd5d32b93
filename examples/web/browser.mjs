// Shows the page in Chromium for the test that drives this: node browser.mjs [CHROMIUM]
//
// Serves this directory, reads a command a line from standard input, and answers with a line: `{"open": QUERY}` loads the
// page, `{"until": EXPRESSION}` waits until it is true there. Both answer with the page's text, and all hosts that were
// asked for anything. Ends with its input.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, normalize } from "node:path";
import { createInterface } from "node:readline";

const ROOT = import.meta.dirname;
const TYPES = { html: "text/html", mjs: "text/javascript", js: "text/javascript" };
const PATIENCE = 30_000;

const server = createServer((request, response) => {
  const path = normalize(new URL(request.url, "http://localhost").pathname.replace(/\/$/, "/index.html"));
  try {
    const file = readFileSync(join(ROOT, path));
    response.writeHead(200, { "content-type": TYPES[path.split(".").at(-1)] ?? "application/octet-stream" }).end(file);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

const profile = mkdtempSync(join(tmpdir(), "page-"));
const flags = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-proxy-server",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
  // No other host has an address.
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
  "--remote-debugging-pipe", `--user-data-dir=${profile}`,
];
const chromium = spawn(process.argv[2] ?? "chromium", flags, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
chromium.on("error", (error) => fail(error.message));

// DevTools' protocol: JSON with a zero byte behind it, commands on descriptor 3, answers and events on 4.
let [last, rest] = [0, ""];
const open = new Map();
const hosts = new Set();
chromium.stdio[4].setEncoding("utf8").on("data", (text) => {
  const messages = (rest + text).split("\0");
  rest = messages.pop();
  messages.forEach((message) => received(JSON.parse(message)));
});

function received({ id, result, error, method, params }) {
  if (method === "Network.requestWillBeSent") hosts.add(new URL(params.request.url).hostname);
  if (error) return fail(error.message);
  open.get(id)?.(result);
  open.delete(id);
}

function call(method, params = {}, sessionId = undefined) {
  chromium.stdio[3].write(`${JSON.stringify({ id: ++last, method, params, sessionId })}\0`);
  return new Promise((resolve) => open.set(last, resolve));
}

async function fail(message) {
  console.log(JSON.stringify({ error: message }));
  await end();
}

async function end() {
  const ended = new Promise((resolve) => chromium.on("exit", resolve));
  if (chromium.exitCode === null && chromium.kill()) await ended;
  rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  process.exit();
}

let page = null;

async function evaluate(expression) {
  const { result } = await call("Runtime.evaluate", { expression, returnByValue: true }, page);
  return result.value;
}

const COMMANDS = {
  async open(query) {
    const { targetId } = await call("Target.createTarget", { url: "about:blank" });
    page = (await call("Target.attachToTarget", { targetId, flatten: true })).sessionId;
    await call("Network.enable", {}, page);
    await call("Page.navigate", { url: `http://127.0.0.1:${server.address().port}/?${query}` }, page);
  },
  async until(expression) {
    const last = Date.now() + PATIENCE;
    while (!(await evaluate(expression))) {
      if (Date.now() > last) throw new Error(`never ${expression}: ${await evaluate("document.body.innerText")}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  try {
    for (const [name, argument] of Object.entries(JSON.parse(line))) await COMMANDS[name](argument);
    const text = await evaluate(`document.body?.innerText ?? ""`);
    console.log(JSON.stringify({ text, hosts: [...hosts] }));
  } catch (error) {
    await fail(error.message);
  }
}
await end();
