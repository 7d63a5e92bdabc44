import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, test } from "node:test";
import { World, type WorldOptions } from "../src/world.ts";

// A region of the world: a real server that can be ill, hang and be killed.
class Place {
  ready = true;
  hangs = false;
  status = 200;
  asked: { path: string; auth: string }[] = [];
  private server = createServer((req, res) => this.serve(req, res));
  port = 0;
  constructor(readonly name: string) {}

  async start(): Promise<this> {
    await new Promise<void>((done) => this.server.listen(this.port, "127.0.0.1", done));
    this.port = (this.server.address() as AddressInfo).port;
    up.push(this);
    return this;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  kill(): void {
    this.server.closeAllConnections();
    this.server.close();
  }

  async back(): Promise<void> {
    this.server = createServer((req, res) => this.serve(req, res));
    await this.start();
  }

  private serve(req: IncomingMessage, res: ServerResponse): void {
    if (this.hangs) return;
    const json = (v: unknown): void => void res.writeHead(this.status, { "Content-Type": "application/json" }).end(JSON.stringify(v));
    if (req.url === "/readyz") return void res.writeHead(this.ready ? 200 : 503).end();
    this.asked.push({ path: req.url!, auth: req.headers.authorization ?? "" });
    if (req.url === "/api/v1/regions") {
      const at = up.filter((p, i) => up.findIndex((q) => q.name === p.name) === i);
      return json({ regions: at.map((p) => ({ name: p.name, role: "full", state: "serving", here: p === this, leads: [], lag: 0, address: p.url, nodes: [] })) });
    }
    if (req.url === "/api/v1/session/pass") return json({ pass: "pass.p", until: new Date(Date.now() + 12 * 3_600_000).toISOString() });
    json({ from: this.name });
  }
}

let up: Place[] = [];
let worlds: World[] = [];
afterEach(() => {
  for (const p of up) p.kill();
  for (const w of worlds) w.stop();
  up = [];
  worlds = [];
});

// world is one whose page came from the place; relative addresses go there, as
// in a browser.
function world(from: Place, o: WorldOptions = {}): World {
  const w = new World({
    origin: from.url,
    patience: 400,
    limit: 500, // enough for a busy machine
    election: 300,
    store: null,
    fetch: (url, init) => fetch(String(url).startsWith("/") ? from.url + String(url) : url, init),
    ...o,
  });
  worlds.push(w);
  return w;
}

const ask = async (w: World): Promise<string> => ((await (await w.fetch("/api/v1/x")).json()) as { from: string }).from;

test("a page whose region is killed goes on in another one, and comes home", async () => {
  const a = await new Place("a").start();
  const b = await new Place("b").start();
  const w = world(a);
  let moves = 0;
  w.onMove = () => moves++;
  await w.refresh();
  assert.equal(await ask(w), "a");
  assert.equal(a.asked.at(-1)!.auth, "", "at home the cookie does");
  a.kill();
  await assert.rejects(ask(w)); // the call that noticed
  assert.equal(await ask(w), "b");
  assert.equal(b.asked.at(-1)!.auth, "Bearer pass.p");
  assert.ok(w.away());
  await w.refresh();
  assert.equal(w.here()?.name, "b");
  await a.back();
  await w.refresh();
  assert.ok(w.away(), "one good check is not enough");
  await w.refresh();
  assert.ok(!w.away());
  assert.equal(await ask(w), "a");
  assert.equal(moves, 2);
});

test("a region that hangs is left after its time", async () => {
  const a = await new Place("a").start();
  await new Place("b").start();
  const w = world(a);
  await w.refresh();
  a.hangs = true;
  const began = Date.now();
  await assert.rejects(ask(w));
  assert.equal(await ask(w), "b");
  assert.ok(Date.now() - began < 4000, `it took ${Date.now() - began} ms`);
});

test("a slow answer of a living region is waited for", async () => {
  const a = await new Place("a").start();
  await new Place("b").start();
  let late = 0;
  const w = world(a, {
    fetch: async (url, init) => {
      if (String(url) === "/api/v1/x") await new Promise((go) => setTimeout(go, (late = 900)));
      return fetch(String(url).startsWith("/") ? a.url + String(url) : url, init);
    },
  });
  await w.refresh();
  assert.equal(await ask(w), "a");
  assert.equal(late, 900);
  assert.ok(!w.away());
});

test("a region that says that it can't is left, one that merely broke off is not", async () => {
  const a = await new Place("a").start();
  await new Place("b").start();
  let cut = false;
  const w = world(a, {
    fetch: (url, init) => {
      if (cut && String(url) === "/api/v1/x") {
        cut = false;
        return Promise.reject(new TypeError("cut"));
      }
      return fetch(String(url).startsWith("/") ? a.url + String(url) : url, init);
    },
  });
  await w.refresh();
  cut = true;
  await assert.rejects(ask(w));
  assert.equal(await ask(w), "a");
  a.status = 503;
  assert.equal((await w.fetch("/api/v1/x")).status, 503);
  assert.equal(await ask(w), "b");
});

test("where nobody is ready the page stays, and a lone node is never probed", async () => {
  const a = await new Place("a").start();
  const b = await new Place("b").start();
  const w = world(a);
  await w.refresh();
  a.ready = b.ready = false;
  a.status = 503;
  await w.fetch("/api/v1/x");
  await w.fetch("/api/v1/x");
  assert.ok(!w.away());
  b.kill();
  up = up.filter((p) => p !== b);
  const lone = world(a, { origin: "https://chat.example.org" }); // through a proxy
  a.status = 200;
  await lone.refresh();
  assert.ok(!lone.several());
  assert.equal(await lone.doubt(), true);
  assert.equal(lone.here(), undefined);
});

test("a caller who gives up gives up, and nobody moves", async () => {
  const a = await new Place("a").start();
  await new Place("b").start();
  const w = world(a);
  await w.refresh();
  a.hangs = true;
  await assert.rejects(w.fetch("/api/v1/x", { signal: AbortSignal.timeout(50) }));
  a.hangs = false;
  assert.equal(await ask(w), "a");
});

test("what a tab knew of the world outlives a reload, and odd things kept do no harm", async () => {
  const kept = new Map<string, string>();
  const store = { getItem: (k: string) => kept.get(k) ?? null, setItem: (k: string, v: string) => void kept.set(k, v) };
  const a = await new Place("a").start();
  await new Place("b").start();
  const w = world(a, { store });
  await w.refresh();
  a.kill();
  const again = world(a, { store });
  assert.ok(again.several());
  await assert.rejects(ask(again));
  assert.equal(await ask(again), "b");
  for (const odd of ["", "{", "null", "[]", '{"places":3}', '{"places":[1,null],"pass":7}']) {
    kept.set("parley.world.v1", odd);
    assert.ok(!world(a, { store }).several(), odd);
  }
});
