import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError } from "../src/api.ts";
import { Outbox, type Item, type OutboxOptions, type Store } from "../src/outbox.ts";

class Memory implements Store {
  map = new Map<string, string>();
  full = false;
  getItem = (k: string): string | null => this.map.get(k) ?? null;
  setItem = (k: string, v: string): void => {
    if (this.full) throw new Error("QuotaExceededError");
    this.map.set(k, v);
  };
  removeItem = (k: string): void => void this.map.delete(k);
  key = (n: number): string | null => [...this.map.keys()][n] ?? null;
  get length(): number {
    return this.map.size;
  }
}

// Late is the storage as a tab sees it: its own writes at once, those of other
// tabs when the browser gets round to telling it. The last write of a place wins.
class Late extends Memory {
  constructor(private readonly journal: [string, string | null][]) {
    super();
    this.setItem = (k, v) => void (this.map.set(k, v), journal.push([k, v]));
    this.removeItem = (k) => void (this.map.delete(k), journal.push([k, null]));
  }
  hear(): void {
    this.map.clear();
    for (const [k, v] of this.journal) v === null ? this.map.delete(k) : this.map.set(k, v);
  }
}

const item = (key: string, more: Partial<Item> = {}): Item => ({
  key, kind: "message", conversation: "c1", draft: "", text: key, created: 0, ...more,
});

// World is a node that remembers what it accepted, by key.
class World {
  accepted = new Map<string, Item>();
  calls: string[] = [];
  created: string[] = [];
  faults: unknown[] = []; // thrown after taking the message, if "after", else before
  store = new Memory();
  logins = 0;

  box(more: Partial<OutboxOptions> = {}): Outbox {
    return new Outbox({
      store: this.store,
      create: async (key) => {
        this.created.push(key);
        return { id: `conv-${key}` };
      },
      send: async (i) => {
        this.calls.push(i.key);
        const fault = this.faults.shift();
        if (fault instanceof ApiError) throw fault;
        this.accepted.set(i.key, i);
        if (fault === "after") throw new ApiError(0, "network", "", null);
        return { id: `act-${i.key}`, turn: `turn-${i.key}` };
      },
      onChange: () => {},
      onUnauthenticated: () => this.logins++,
      wait: () => 1,
      ...more,
    });
  }
}

async function until(ok: () => boolean): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (ok()) return;
    await new Promise((done) => setTimeout(done, 2));
  }
  throw new Error("it did not happen in 4 s");
}

test("a lost reply is tried again with the same key, and in order", async () => {
  const w = new World();
  w.faults = ["after", new ApiError(503, "unavailable", "starting", 1), undefined];
  const box = w.box();
  box.add(item("k1"));
  box.add(item("k2"));
  await until(() => box.items().every((i) => i.activity !== undefined));
  assert.deepEqual(w.calls, ["k1", "k1", "k1", "k2"]);
  assert.deepEqual([...w.accepted.keys()], ["k1", "k2"]);
  box.settle("k1");
  box.settle("k2");
  assert.deepEqual(w.store.map.size, 0);
});

test("what is not acknowledged survives the page and is not doubled", async () => {
  const w = new World();
  w.faults = Array.from({ length: 50 }, () => new ApiError(0, "network", "", null));
  const first = w.box({ wait: () => 100_000 });
  first.add(item("k1"));
  await until(() => w.calls.length === 1);
  w.faults = [];
  const second = w.box(); // the page was closed and opened again
  await second.flush();
  assert.equal(second.items()[0]!.activity, "act-k1");
  assert.deepEqual(w.calls, ["k1", "k1"]);
  first.resume(); // the first page is alive after all: it sees that it is done
  await first.flush();
  assert.deepEqual(w.calls, ["k1", "k1"]);
  first.stop();
});

test("a refusal waits for the reader, and retry keeps the key", async () => {
  const w = new World();
  w.faults = [new ApiError(413, "too_large", "the message is too long", null)];
  const box = w.box();
  box.add(item("k1"));
  box.add(item("k2"));
  await until(() => box.items().some((i) => i.key === "k2" && i.activity !== undefined));
  assert.equal(box.items()[0]!.failed, "the message is too long");
  box.retry("k1");
  await until(() => box.items()[0]!.activity !== undefined);
  assert.deepEqual(w.calls, ["k1", "k2", "k1"]);
});

test("a missing session stops everything until it is back", async () => {
  const w = new World();
  w.faults = [new ApiError(401, "unauthenticated", "", null)];
  const box = w.box();
  box.add(item("k1"));
  await until(() => w.logins === 1);
  await box.flush();
  assert.deepEqual(w.calls, ["k1"]);
  box.resume();
  await until(() => box.items()[0]!.activity !== undefined);
});

test("a new conversation is made once for all messages of its draft", async () => {
  const w = new World();
  w.faults = [new ApiError(0, "network", "", null)];
  const made: string[] = [];
  const box = w.box({ onCreated: (draft, id) => made.push(`${draft} ${id}`) });
  box.add(item("k1", { conversation: "", draft: "d1" }));
  box.add(item("k2", { conversation: "", draft: "d1" }));
  await until(() => box.items().every((i) => i.activity !== undefined));
  assert.deepEqual(w.created, ["d1"]);
  assert.deepEqual(made, ["d1 conv-d1"]);
  assert.deepEqual(box.items().map((i) => i.conversation), ["conv-d1", "conv-d1"]);
});

test("a conversation that does not get through does not hold up another", async () => {
  const w = new World();
  w.faults = [new ApiError(503, "unavailable", "", null)];
  const box = w.box({ wait: () => 60_000 });
  box.add(item("k1"));
  box.add(item("k2", { conversation: "c2" }));
  box.add(item("k3"));
  await until(() => box.items()[1]!.activity !== undefined);
  assert.deepEqual(w.calls, ["k1", "k2"], "k3 waits behind k1");
  box.stop();
});

test("a full storage loses nothing while the page lives", async () => {
  const w = new World();
  w.store.full = true;
  const box = w.box();
  box.add(item("k1"));
  assert.equal(box.stored, false);
  await until(() => box.items()[0]!.activity !== undefined);
  assert.equal(w.accepted.get("k1")!.text, "k1");
});

test("two tabs that write at the same time lose nothing of each other", async () => {
  const w = new World();
  const journal: [string, string | null][] = [];
  const stores = [new Late(journal), new Late(journal)];
  let last: Promise<unknown> = Promise.resolve();
  const lock = <T>(work: () => Promise<T>): Promise<T> => {
    const mine = last.then(work);
    last = mine.catch(() => {});
    return mine;
  };
  const tabs = stores.map((store) => w.box({ store, lock }));
  for (let n = 0; n < 5; n++) {
    tabs.forEach((tab, t) => tab.add(item(`tab${t} ${n}`))); // neither has heard of the other's
    if (n % 2 === 1) stores.forEach((s, t) => (s.hear(), tabs[t]!.reread()));
  }
  await until(() => w.accepted.size === 10);
  for (const t of [0, 1]) {
    const mine = [...w.accepted.keys()].filter((k) => k.startsWith(`tab${t}`));
    assert.deepEqual(mine, [0, 1, 2, 3, 4].map((n) => `tab${t} ${n}`), "in the order of its tab");
  }
  await until(() => tabs.every((tab, t) => (stores[t]!.hear(), tab.reread(), tab.items().every((i) => i.activity !== undefined))));
  for (const k of w.accepted.keys()) tabs.forEach((tab) => tab.settle(k));
  stores.forEach((s) => s.hear());
  assert.deepEqual(stores.map((s) => s.map.size), [0, 0]);
});

test("what an earlier version kept in one list goes out, in its order", async () => {
  const w = new World();
  w.store.map.set("parley.outbox.v1", JSON.stringify([item("b"), item("a"), item("c")]));
  const box = w.box();
  assert.deepEqual(box.items().map((i) => i.key), ["b", "a", "c"]);
  assert.equal(w.store.map.has("parley.outbox.v1"), false);
  await box.flush();
  assert.deepEqual(w.calls, ["b", "a", "c"]);
});

test("foreign bytes in the storage are no outbox", () => {
  for (const raw of ["{", "null", "7", '{"a":1}', '[null,1,{"key":1},{"key":"k"}]']) {
    const w = new World();
    w.store.map.set("parley.outbox.v1", raw);
    w.store.map.set("parley.outbox.v1/k", raw);
    assert.deepEqual(w.box().items(), [], raw);
  }
});
