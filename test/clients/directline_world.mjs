// What the stories of the published Direct Line client share: nodes, and people
// who talk to them by it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import "./browser_globals.mjs";

const { DirectLine, ConnectionStatus } = (await import("botframework-directlinejs")).default;
const { PARLEY_BIN, ONLY = "" } = process.env;
export const SECRET = "the-secret-of-a-site";
export const tmp = mkdtempSync(join(tmpdir(), "parley-directline-"));
export const sleep = (ms) => new Promise((r) => setTimeout(r, ms));

export async function until(what, f, ms = 30_000) {
  for (const end = Date.now() + ms; Date.now() < end; ) {
    const got = await f();
    if (got) return got;
    await sleep(15);
  }
  throw new Error(`waited ${ms} ms in vain: ${what}`);
}

let last = process.pid * 61;

// freePort finds a port that nobody listens on now, below those of outgoing
// connections: one of these could have it while the node that it is for is dead.
export async function freePort() {
  for (;;) {
    const port = 20000 + (++last % 12768);
    const s = createServer();
    const free = await new Promise((done) => s.once("error", () => done(false)).listen(port, "127.0.0.1", () => done(true)));
    if (!free) continue;
    await new Promise((done) => s.close(done));
    return port;
  }
}

// Node is a parley process that keeps port and data over its deaths.
export class Node {
  static all = [];
  static async start(name, settings) {
    const n = new Node();
    const port = await freePort();
    n.dir = join(tmp, name);
    mkdirSync(n.dir);
    n.url = `http://127.0.0.1:${port}`;
    n.base = n.url + "/v3/directline";
    n.file = join(n.dir, "parley.yaml");
    writeFileSync(n.file, `listen: 127.0.0.1:${port}\ndata: ${join(n.dir, "data")}\noffline: true\nlimits: {reserve: 1MiB}\n${settings}\n`);
    Node.all.push(n);
    n.spawn();
    return n;
  }
  spawn() {
    const log = openSync(join(this.dir, "log"), "a");
    this.process = spawn(PARLEY_BIN, ["serve", "-c", this.file], { stdio: ["ignore", log, log] });
    closeSync(log);
    this.gone = new Promise((r) => this.process.once("exit", r));
  }
  async ready() {
    const said = () => readFileSync(join(this.dir, "log"), "utf8").slice(-4000);
    await until(`${this.url} is ready`, () => {
      if (this.process.exitCode !== null) throw new Error(`the node ended: ${said()}`);
      return fetch(this.url + "/readyz").then((r) => r.ok, () => false);
    }, 60_000).catch((err) => {
      throw new Error(`${err.message}\n${said()}`);
    });
    return this;
  }
  async kill() {
    this.process.kill("SIGKILL");
    await this.gone;
  }
  async token(user, base = this.base) {
    const r = await fetch(base + "/tokens/generate", {
      method: "POST", headers: { authorization: "Bearer " + SECRET, "content-type": "application/json" }, body: JSON.stringify(user ? { user: { id: user } } : {}),
    });
    assert.equal(r.status, 200, await r.clone().text());
    const t = await r.json();
    secrets.add(t.token);
    return t;
  }
}

// three regions, the third of which is a witness.
export async function regions() {
  const ports = [await freePort(), await freePort(), await freePort()];
  const names = ["one", "two", "three"];
  const nodes = names.map((n, i) => `  - {name: ${n}, region: ${n}, address: "127.0.0.1:${ports[i]}"${n === "three" ? ", witness: true" : ""}}\n`).join("");
  return (me) => `region: ${me}\ncluster: {round_trip: 20ms}\nnodes:\n${nodes}`;
}

export const site = (life = "1h") => `channels:\n  directline:\n    - {name: shop, secret: ${SECRET}, token: ${life}}`;

// Person is one real client; it keeps every activity in the order it came.
export class Person {
  static all = [];
  constructor(options) {
    this.got = [];
    this.statuses = [];
    this.id = options.user ?? "u";
    this.line = new DirectLine({ timeout: 2000, random: () => 0, ...options });
    this.line.connectionStatus$.subscribe((s) => this.statuses.push(ConnectionStatus[s]), () => {});
    this.sub = this.line.activity$.subscribe((a) => this.got.push(a), (err) => (this.error = err));
    Person.all.push(this);
  }
  post(a) {
    return new Promise((ok, no) => this.line.postActivity({ from: { id: this.id }, ...a }).subscribe(ok, no));
  }
  say(text, more = {}) {
    return this.post({ type: "message", text, ...more });
  }
  messages(role) {
    return this.got.filter((a) => a.type === "message" && (!role || a.from.role === role));
  }
  answer(text, ms) {
    return until(`the answer to ${text}; ${this.statuses.at(-1)}`, () => this.messages("bot").find((a) => a.text?.includes(text)), ms);
  }
  is(status) {
    return until(`${status}, not ${this.statuses}`, () => this.statuses.at(-1) === status);
  }
  end() {
    this.sub.unsubscribe();
    this.line.end();
  }
}

// once checks that nothing came twice and that times and order never go back.
export function once(p) {
  const ids = p.messages().map((a) => a.id);
  assert.equal(new Set(ids).size, ids.length, `something came twice: ${ids}`);
  assert.deepEqual(ids, [...ids].sort(), "the order of what came is not that of the ids");
  for (const [i, a] of p.messages().entries()) {
    if (i > 0) assert.ok(Date.parse(a.timestamp) >= Date.parse(p.messages()[i - 1].timestamp), `times run backwards at ${a.id}`);
  }
}

// secrets are what no node may write into its log.
export const secrets = new Set([SECRET]);

function silent() {
  for (const n of Node.all) {
    const log = readFileSync(join(n.dir, "log"), "utf8");
    for (const s of secrets) assert.ok(!log.includes(s), `${n.url} has written a secret into its log: ${s.slice(0, 12)}…`);
  }
}

// tell runs stories and prints a line for each: "ok NAME", or "failed NAME"
// behind the reasons; last, "end".
export async function tell(stories, before, after = () => {}) {
  let bad = 0;
  try {
    await before();
    for (const [name, story] of Object.entries({ ...stories, "no secret is in what a node says": silent })) {
      if (!name.includes(ONLY)) continue;
      try {
        await story();
        console.log("ok " + name);
      } catch (err) {
        bad++;
        for (const n of Node.all) console.log(n.url, "says:\n" + readFileSync(join(n.dir, "log"), "utf8").split("\n").slice(-15).join("\n"));
        console.log(err.stack);
        console.log("failed " + name);
      }
      for (const p of Person.all.splice(0)) p.end();
    }
  } finally {
    await after();
    for (const n of Node.all) if (n.process.exitCode === null) n.process.kill("SIGKILL");
    rmSync(tmp, { recursive: true, force: true });
  }
  console.log("end");
  process.exit(bad ? 1 : 0);
}
